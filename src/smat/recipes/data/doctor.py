"""`smat data doctor`: what is wrong with a domain, and how to mend it."""

from collections import Counter
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from smat.domains import MAX_PIXELS, ImageDomain, RangeOption, open_domain
from smat.domains.imported import Imported, by_reason, content_hash, is_imported, read_imported
from smat.errors import DataError, SomethingWrong
from smat.importing import expected_counts
from smat.recipes.data.counts import Finding, count_findings
from smat.recipes.data.examination import Examination, examine
from smat.schema import Count, Processes, checked_arguments

_COLOURS = {"good": "green", "note": "yellow", "wrong": "bold red"}
_SMALL = 8  # pixels


Findings = dict[str, list[Finding]]
"""What was found, by domain."""


class DomainsWrong(SomethingWrong):
    """Something is wrong with domains.

    Attributes:
        findings: everything that was found, also what is good.
    """

    def __init__(self, message: str, findings: Findings) -> None:
        super().__init__(message, findings)
        self.findings = findings


@checked_arguments
def data_doctor(
    path: str, *, processes: Processes | None = None, range: RangeOption = None, max_pixels: Count = MAX_PIXELS
) -> Findings:
    """Read every image of a domain, and say what is wrong and how to mend it.

    Compares counts with those of the source, looks for images that cannot be read, for the same image twice, for tracks
    (several images of one object), for odd sizes and channels, and whether anything has changed since the import. The
    exit status is 1 if anything is wrong.

    Example: smat data doctor data/cifar100

    Args:
        path: an imported domain or parquet file, or a folder of these; or a folder of class folders.
        processes: number of processes that read images; as many as there are processor cores by default; 0: only this
            one.
        range: values LOW and HIGH that are black and white in grey images of more than 8 bits, or `auto`: from all such
            images of a domain.
        max_pixels: most pixels that an image is decoded to.

    Returns:
        What was found, where nothing is wrong.

    Raises:
        DomainsWrong: something is wrong; it has what was found.
        DataError: there is no domain.
    """
    console = Console()
    findings: Findings = {}
    for place in _domains(Path(path)):
        findings[place.name] = _diagnose(place, processes, range, max_pixels, console)
        console.print(_table(place, findings[place.name]))
    wrong = sum(finding.status == "wrong" for domain in findings.values() for finding in domain)
    if wrong:
        raise DomainsWrong(f"{'1 thing is' if wrong == 1 else f'{wrong} things are'} wrong with '{path}'", findings)
    console.print("nothing is wrong")
    return findings


def _domains(path: Path) -> list[Path]:
    if not path.is_dir() or is_imported(path):
        return [path]
    within = sorted(p for p in path.iterdir() if (p.is_dir() and is_imported(p)) or p.suffix == ".parquet")
    return within or [path]


def _diagnose(
    path: Path, processes: int | None, range: RangeOption, max_pixels: int, console: Console
) -> list[Finding]:
    if not path.exists():
        raise DataError(f"there is no '{path}'; give an imported domain, a parquet file or a folder of class folders")
    try:
        domain = open_domain(path, range=range, max_pixels=max_pixels)
        imported = read_imported(path) if path.is_dir() and is_imported(path) else None
    except DataError as error:
        return [Finding("opening", "wrong", str(error), "see what it says")]
    seen = examine(path, domain, processes, console)
    findings = [
        *count_findings(domain, imported),
        _order(domain),
        _unreadable(domain, seen),
        *_duplicates(domain, seen),
        *_tracks(domain, imported),
        _sizes(seen),
        _modes(seen),
    ]
    return findings + ([_hash(path, imported), *_said(imported)] if imported else [])


def _order(domain: ImageDomain) -> Finding:
    labels = np.full(sum(domain.counts().values()), -1)
    for place, name in enumerate(domain.counts()):
        rows = domain.rows(name)
        labels[rows[rows < len(labels)]] = place
    ordered = "sorted by class" if bool(np.all(np.diff(labels) >= 0)) else "not sorted by class"
    return Finding("order", "good", f"rows are {ordered}; episodes draw classes and their images in random order")


def _unreadable(domain: ImageDomain, seen: Examination) -> Finding:
    bad = sorted(seen.unreadable.items())
    if not bad:
        return Finding("unreadable images", "good", "none")
    shown = "; ".join(f"{domain.image_name(row)} (row {row}): {reason}" for row, reason in bad[:5])
    return Finding(
        "unreadable images",
        "wrong",
        f"{len(bad):,}: {shown}{' …' * (len(bad) > 5)}",
        "mend or remove them at the source and import again, or go on without them: --skip-bad",
    )


def _duplicates(domain: ImageDomain, seen: Examination) -> list[Finding]:
    """Images with the same pixels: within a class, between classes of one split, and between splits."""
    class_of: dict[int, str] = {row: name for name in domain.counts() for row in domain.rows(name).tolist()}
    split_of = {name: split for split, names in domain.splits.items() for name in names}
    groups: dict[str, list[list[int]]] = {"within a class": [], "between classes": [], "between splits": []}
    for rows in seen.same_pixels():
        classes = {class_of[row] for row in rows}
        splits = {split_of.get(name, "none") for name in classes}
        kind = "between splits" if len(splits) > 1 else "between classes" if len(classes) > 1 else "within a class"
        groups[kind].append(rows)
    advice = {
        "within a class": "an episode may have one in its support and its query: keep one at the source, import again",
        "between classes": "one of the labels is wrong: find out which, mend the source and import again",
        "between splits": "test images are seen in training: remove them from one of the splits at the source",
    }
    findings = []
    for kind, found in groups.items():
        if found:
            shown = "; ".join(
                " = ".join(f"{domain.image_name(row)} ('{class_of[row]}')" for row in rows[:2]) for rows in found[:3]
            )
            text = f"{len(found):,} images more than once: {shown}{' …' * (len(found) > 3)}"
            findings.append(Finding(f"duplicates {kind}", "wrong", text, advice[kind]))
    return findings or [Finding("duplicates", "good", "no two images have the same pixels")]


def _tracks(domain: ImageDomain, imported: Imported | None) -> list[Finding]:
    """How many tracks there are, and whether there should be some; nothing of collections without."""
    try:
        counts = {
            name: len(np.unique(tracks)) for name in domain.counts() if (tracks := domain.tracks(name)) is not None
        }
    except DataError as error:
        return [Finding("tracks", "wrong", str(error), "see what it says")]
    if counts := {name: count for name, count in counts.items() if count}:
        least = min(counts, key=counts.__getitem__)
        text = (
            f"{sum(counts.values()):,} tracks (several images of one object); '{least}' has the fewest, {counts[least]}"
        )
        return [
            Finding("tracks", "good", text, "kept apart in episodes of the fixed sampler: support or query, not both")
        ]
    known = expected_counts(domain.name, imported.source if imported else {})
    if not known or not known.tracks:
        return []
    name = domain.image_name(next(int(domain.rows(name)[0]) for name, count in domain.counts().items() if count))
    text = f"{known.title}: its images are of tracks, several of one object; names such as '{name}' do not say them"
    advice = (
        "an episode may have one object in support and query: import the authors' own files, or say in splits.json "
    )
    return [Finding("tracks", "note", text, f'{advice}where names have the track ({{"tracks": pattern}})')]


def _sizes(seen: Examination) -> Finding:
    sides = seen.sides[seen.sides.min(axis=1) > 0]
    if not len(sides):
        return Finding("sizes", "wrong", "no image can be read", "import again")
    longest, shortest = sides.max(axis=1), sides.min(axis=1)
    text = f"longer side {longest.min()} to {longest.max()}, median {np.median(longest):.0f} pixels"
    tiny = int((shortest < _SMALL).sum())
    if tiny:
        return Finding("sizes", "note", f"{text}; {tiny:,} images are narrower than {_SMALL} pixels", "look at them")
    return Finding("sizes", "good", text)


def _modes(seen: Examination) -> Finding:
    modes = Counter(seen.modes)
    text = ", ".join(f"{mode} {count:,}" for mode, count in modes.most_common())
    return Finding("channels", "good", f"stored as {text}; all are read as RGB")


def _hash(path: Path, imported: Imported) -> Finding:
    same = content_hash(path, imported) == imported.sha256
    advice = "" if same else "something changed the file since the import: delete the folder and import again"
    return Finding("content hash", "good" if same else "wrong", imported.sha256[:16] if same else "another", advice)


def _said(imported: Imported) -> list[Finding]:
    """What the import said: its notes, and what it left out, by reason."""
    findings = [Finding("note of the import", "note", note) for note in imported.notes]
    for reason, places in by_reason(imported.refused).items():
        text = f"{len(places):,} left out: {reason}, such as {places[0]}"
        findings.append(Finding("refused at import", "note", text, "domain.json lists all"))
    return findings


def _table(path: Path, findings: list[Finding]) -> Table:
    table = Table(title=str(path), title_justify="left", show_lines=True)
    for heading in ("check", "", "what there is", "what to do"):
        table.add_column(heading, overflow="fold")
    for finding in findings:
        colour = _COLOURS[finding.status]
        table.add_row(finding.check, Text(finding.status, colour), Text(finding.found), Text(finding.advice))
    return table
