"""`smat data episodes`: write down which images episodes are made of."""

from pathlib import Path
from typing import Literal

from rich.console import Console

from smat.domains import open_domains
from smat.episodes import EpisodeSource, SamplerKind, episode_lines, make_sampler
from smat.errors import ConfigError
from smat.files import check_writable, write_whole


def data_episodes(
    domains: list[str],
    *,
    output: str,
    episodes: int = 600,
    split: Literal["train", "val", "test"] = "test",
    way: int = 5,
    shot: int = 5,
    query: int = 15,
    sampler: SamplerKind = "fixed",
    flat: bool = False,
    splits: str | None = None,
    skip_bad: bool = False,
    seed: int = 0,
) -> Path:
    """Write the episodes that `smat evaluate` would draw: which classes, and row, name and label of each image.

    The file has a line of JSON for each episode after one that says how they were drawn, and from what: `smat evaluate
    --episodes_from` takes it, and another system can read it in a few lines of code.

    Example: smat data episodes birds.parquet data/omniglot --sampler variable --output tasks.jsonl

    Args:
        domains: as for `smat evaluate`.
        output: the file to write.
        episodes: how many a domain.
        split: whose classes.
        way: classes of an episode (fixed sampler).
        shot: support images a class (fixed sampler).
        query: query images a class (fixed sampler).
        sampler: `fixed`, or `variable`: ways and shots vary by Meta-Dataset's rule.
        flat: draw from all classes of a domain also where they have a hierarchy (variable sampler).
        splits: a splits file for all domains; the one beside each otherwise.
        skip_bad: go on without images that cannot be read.
        seed: another seed, other episodes.

    Returns:
        The file.

    Raises:
        SmatError: a domain or setting that does not fit, or a file that cannot be written.
    """
    if episodes < 1:
        raise ConfigError(f"episodes is {episodes}; give 1 or more (600 are usual)")
    path = check_writable(output)
    draws = make_sampler(sampler, way, shot, query, hierarchy=not flat)
    opened = open_domains(domains, splits=splits, skip_bad=skip_bad)
    # Which images does not depend on how they are shown, so any size and normalisation will do.
    common = {"image_size": 1, "mean": (0.0,) * 3, "std": (1.0,) * 3, "seed": seed}
    EpisodeSource(opened, split, draws, **common)  # for its checks of the domains together
    sources = [EpisodeSource([domain], split, draws, **common) for domain in opened]
    write_whole(path, "".join(episode_lines(sources, episodes)))
    names = ", ".join(domain.name for domain in opened)
    Console().print(f"{episodes} episodes of each of {names}: {path}", soft_wrap=True, markup=False)
    return path
