"""Episodes written down, so that two systems see the same tasks: a file of JSON lines.

The first line is a header: `{"format": "smat episodes", "version": 1, "split", "seed", "sampler": {"name", settings},
"domains": {name: {"fingerprint", "episodes"}}}`, with `"tracks": "keep-apart"` where domains have tracks that were
kept apart. Each of the others is an episode as `EpisodeSource.trace` gives it: id, domain, split, class names in the
order of their labels, and row, name and label of each support and query image.
A sampler from outside smat is named by its import path, `{"name": "my_lab.samplers.Pairs", "settings": {...}}`.
Reading does not import it: the episodes are all there.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from smat.domains.domain import Domain, Split
from smat.episodes.episode import EpisodePlan
from smat.episodes.samplers import FixedSampler, RecordedSampler, Sampler, VariableSampler, sampler_settings
from smat.episodes.source import EpisodeSource
from smat.episodes.tracks import TrackRule, track_rule
from smat.errors import DataError, SmatError
from smat.schema import Number, Seed, parse_json

_FORMAT, _VERSION = "smat episodes", 1
_AGAIN = "Please write the file again"
_SAMPLERS = {kind.__name__: kind for kind in (FixedSampler, VariableSampler)}


@dataclass(frozen=True)
class _Announced:
    fingerprint: str
    episodes: Number


@dataclass(frozen=True)
class _Header:
    format: str
    version: int
    split: Split
    seed: Seed
    sampler: dict[str, Any]
    domains: dict[str, _Announced]
    tracks: TrackRule | None = None  # files written before there was a choice do not say


@dataclass(frozen=True)
class _Image:
    row: Number
    image: str
    label: Number


@dataclass(frozen=True)
class _Episode:
    id: str
    domain: str
    split: Split
    classes: tuple[str, ...]
    support: tuple[_Image, ...]
    query: tuple[_Image, ...]


@dataclass(frozen=True)
class WrittenEpisodes:
    """What a file of episodes says.

    Attributes:
        split: split whose classes the episodes have.
        seed: random seed that they were drawn with.
        sampler: what drew them; of a sampler from outside smat, only its name and settings.
        plans: episodes by domain, in order.
        tracks: what became of tracks.
    """

    split: str
    seed: int
    sampler: Sampler
    plans: Mapping[str, tuple[EpisodePlan, ...]]
    tracks: TrackRule = "ignore"


def episode_lines(sources: Sequence[EpisodeSource], episodes: int) -> Iterator[str]:
    """The lines of a file with episodes 0..episodes-1 of each source.

    Args:
        sources: sources of one domain each, alike but for the domain; at least one.
        episodes: number of episodes of each.
    """
    first, domains = sources[0], [source.domains[0] for source in sources]
    header = {
        "format": _FORMAT,
        "version": _VERSION,
        "split": first.split,
        "seed": first.seed,
        "sampler": sampler_settings(first.sampler),
        "domains": {domain.name: {"fingerprint": domain.fingerprint, "episodes": episodes} for domain in domains},
    }
    if any(source.tracks_apart for source in sources):
        header["tracks"] = "keep-apart"
    for content in (header, *(source.trace(n) for source in sources for n in range(episodes))):
        yield json.dumps(content, ensure_ascii=False) + "\n"


def read_episodes(path: str | Path, domains: Sequence[Domain]) -> WrittenEpisodes:
    """The episodes of some domains from a file.

    Args:
        path: file of episodes.
        domains: domains whose episodes are wanted; each is in the file, with the same images, labels and splits.

    Raises:
        DataError: no such file, a damaged one (the line is named), one without a domain's episodes, or with those of
            other images.
    """
    path, line = Path(path), 0
    wanted = {domain.name: domain for domain in domains}
    plans: dict[str, list[EpisodePlan]] = {name: [] for name in wanted}
    try:
        with path.open(encoding="utf-8") as file:
            texts = enumerate(file, start=1)
            line, text = next(texts, (1, ""))
            header = _header(text, path)
            _check_domains(path, wanted, header.domains)
            left = {name: entry.episodes for name, entry in header.domains.items()}
            rows: dict[str, dict[str, frozenset[int]]] = {name: {} for name in wanted}
            for number, text in texts:
                line = number
                plan = _plan(text, f"line {line} of '{path}' is damaged, and")
                if plan.split != header.split or not left.get(plan.domain):
                    raise ValueError(f"episode '{plan.id}' is not one of those that the first line announces")
                left[plan.domain] -= 1
                if plan.domain in wanted:
                    _check_rows(plan, wanted[plan.domain], rows[plan.domain])
                    plans[plan.domain].append(plan)
        missing = {name: count for name, count in left.items() if count}
        if missing:
            line += 1
            raise ValueError(f"the file ends here, without {sum(missing.values())} episodes of {', '.join(missing)}")
    except DataError:
        raise
    except (FileNotFoundError, IsADirectoryError) as error:
        raise DataError(f"there is no file '{path}'; `smat data episodes` writes one") from error
    except (OSError, ValueError) as error:
        raise DataError(f"line {line} of '{path}' is damaged ({error}): {_AGAIN}") from error
    plans_by_domain = {name: tuple(some) for name, some in plans.items()}
    tracks = track_rule(header.tracks, "ignore")
    return WrittenEpisodes(header.split, header.seed, _sampler(header.sampler), plans_by_domain, tracks)


def _header(text: str, path: Path) -> _Header:
    where = f"line 1 of '{path}' is damaged, or it is no file of episodes, and"
    said = parse_json(text, dict, where, DataError, _AGAIN)
    if said.get("format") != _FORMAT:
        raise ValueError("it is not the first line of a file of episodes")
    if said.get("version") != _VERSION:
        raise ValueError(f"version {said.get('version')} of the format; this package reads version {_VERSION}")
    header = parse_json(text, _Header, where, DataError, _AGAIN)
    _sampler(header.sampler)
    return header


def _sampler(said: Mapping[str, Any]) -> Sampler:
    name, settings = said.get("name"), {key: value for key, value in said.items() if key != "name"}
    if isinstance(name, str) and "." in name:
        if not isinstance(settings.get("settings"), dict):
            raise ValueError(f"sampler {name} has no settings")
        return RecordedSampler(name, settings["settings"])
    if not isinstance(name, str) or name not in _SAMPLERS:
        raise ValueError(f"sampler {name!r}; known are {', '.join(_SAMPLERS)}, and others by their import path")
    try:
        return _SAMPLERS[name](**settings)
    except (SmatError, TypeError) as error:
        raise ValueError(str(error)) from error


def _check_domains(path: Path, wanted: Mapping[str, Domain], written: Mapping[str, _Announced]) -> None:
    for name, domain in wanted.items():
        if name not in written:
            raise DataError(f"'{path}' has no episodes of domain '{name}'; it has those of {', '.join(written)}")
        if written[name].fingerprint != domain.fingerprint:
            raise DataError(
                f"'{path}' was written for another domain '{name}': its fingerprint is {written[name].fingerprint}, "
                f"that of the domain given is {domain.fingerprint}. Open the same images, with the same splits and "
                "skip_bad, or write the episodes again"
            )


def _plan(text: str, where: str) -> EpisodePlan:
    entry = parse_json(text, _Episode, where, DataError, _AGAIN)
    parts = {
        f"{part}_{name}s": tuple(getattr(image, name) for image in getattr(entry, part))
        for part in ("support", "query")
        for name in ("row", "label")
    }
    return EpisodePlan(id=entry.id, domain=entry.domain, split=entry.split, classes=entry.classes, **parts)


def _check_rows(plan: EpisodePlan, domain: Domain, known: dict[str, frozenset[int]]) -> None:
    """Raise a `ValueError` for images that are not of their class, or are in support and query."""
    classes = domain.classes(plan.split)
    for name in plan.classes:
        if name not in known:
            if name not in classes:
                raise ValueError(f"'{name}' is no class of the {plan.split} split of domain '{domain.name}'")
            known[name] = frozenset(domain.rows(name).tolist())
    for rows, labels in ((plan.support_rows, plan.support_labels), (plan.query_rows, plan.query_labels)):
        if set(labels) != set(range(plan.way)):
            raise ValueError(
                f"labels are {sorted(set(labels))}; each of 0..{plan.way - 1} has support and query images"
            )
        for row, label in zip(rows, labels, strict=True):
            if row not in known[plan.classes[label]]:
                raise ValueError(f"row {row} is no image of class '{plan.classes[label]}'")
    if len({*plan.support_rows, *plan.query_rows}) < len(plan.support_rows) + len(plan.query_rows):
        raise ValueError("an image is in it twice")
