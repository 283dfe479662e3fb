"""`smat data episodes`: write down which images episodes are made of."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from smat.backbones import ImageFormat
from smat.domains import Domain, open_domains
from smat.episodes import EpisodeSource, PlanOptions, episode_lines
from smat.errors import ConfigError
from smat.files import check_writable, write_whole
from smat.schema import Count, checked_arguments


@checked_arguments
def data_episodes(
    domains: list[str],
    *,
    output: str,
    episodes: Count = 600,
    flat: bool = False,
    options: PlanOptions = PlanOptions(),
) -> Path:
    """Write the episodes that `smat evaluate` would draw: which classes, and row, name and label of each image.

    The file has a line of JSON for each episode after one that says how they were drawn, and from what: `smat evaluate
    --episodes_from` takes it, and another system can read it in a few lines of code.

    Example: smat data episodes birds.parquet data/omniglot --sampler variable --output tasks.jsonl

    Args:
        domains: parquet files, folders of class folders, hub data sets, or pocket domains.
        output: file to write.
        episodes: number of episodes per domain.
        flat: any classes may meet also where the domain has a hierarchy: short for --hierarchy false.
        options: which episodes are drawn.

    Returns:
        The file.

    Raises:
        SmatError: a domain or setting that does not fit, or a file that cannot be written.
    """
    if episodes < 1:
        raise ConfigError(f"episodes is {episodes}; give 1 or more (600 are usual)")
    path = check_writable(output)
    sampler = replace(options, hierarchy=options.hierarchy and not flat).build_sampler()
    opened = open_domains(domains, **options.opening())

    def source(members: Sequence[Domain]) -> EpisodeSource:
        any_format = ImageFormat(1)  # which images an episode has does not depend on how they are shown
        return EpisodeSource(
            members, options.split, sampler, image_format=any_format, seed=options.seed, tracks=options.tracks
        )

    source(opened)  # for its checks of the domains together
    sources = [source([domain]) for domain in opened]
    write_whole(path, "".join(episode_lines(sources, episodes)), keep=True)
    names = ", ".join(domain.name for domain in opened)
    Console().print(f"{episodes} episodes of each of {names}: {path}", soft_wrap=True, markup=False)
    return path
