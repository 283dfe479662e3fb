"""`smat data doctor`: what is wrong with a domain, and how to mend it."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from smat.domains import MAX_PIXELS, ImageDomain, RangeOption, open_domain
from smat.domains.imported import Imported, content_hash, is_imported, read_imported
from smat.errors import DataError, SomethingWrong
from smat.importing import Known, expected_counts
from smat.recipes.data.examination import Examination, examine

_COLOURS = {"good": "green", "note": "yellow", "wrong": "bold red"}
_SMALL = 8  # pixels


@dataclass(frozen=True)
class Finding:
    """What one check found.

    Attributes:
        check: name of the check.
        status: `good`, `note` (something to know of) or `wrong`.
        found: what there is.
        advice: what to do about it.
    """

    check: str
    status: str
    found: str
    advice: str = ""


Findings = dict[str, list[Finding]]
"""What was found, by domain."""


class DomainsWrong(SomethingWrong):
    """Something is wrong with domains.

    Attributes:
        findings: everything that was found, also what is good.
    """

    def __init__(self, message: str, findings: Findings) -> None:
        super().__init__(message)
        self.findings = findings


def data_doctor(
    path: str, *, processes: int | None = None, range: RangeOption = None, max_pixels: int = MAX_PIXELS
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
        *_counts(domain, imported),
        _order(domain),
        _unreadable(domain, seen),
        *_duplicates(domain, seen),
        *_tracks(domain, imported),
        _sizes(seen),
        _modes(seen),
    ]
    return findings + ([_hash(path, imported), *_refused(imported)] if imported else [])


def _counts(domain: ImageDomain, imported: Imported | None) -> list[Finding]:
    counts = {name: count for name, count in domain.counts().items() if count}
    sizes = list(counts.values())
    spread = f"{min(sizes)}" if min(sizes) == max(sizes) else f"{min(sizes)} to {max(sizes)}"
    found = f"{len(counts):,} classes, {sum(sizes):,} images, {spread} per class"
    kind = str(imported.source.get("kind", "folder")) if imported else "folder"
    known = expected_counts(domain.name, imported.source if imported else {})
    few = [name for name, count in counts.items() if count < 2]
    findings = []
    if known is None:
        findings.append(Finding("counts", "good", f"{found} (no known numbers for this name)"))
    else:
        differences = _differences(known, domain, counts, imported is not None and kind != "folder")
        advice = "get what is missing and import again" + f", if it is meant to be {known.title}" * (kind == "folder")
        status = "good" if not differences else "wrong" if kind != "folder" else "note"
        findings.append(
            Finding(
                "counts", status, "; ".join([found, *differences]), advice if differences else f"as {known.title} has"
            )
        )
    if few:
        findings.append(
            Finding(
                "class sizes", "note", f"{len(few)} classes have one image, such as '{few[0]}'", "not in any episode"
            )
        )
    outside = sorted({*counts} - {name for names in domain.splits.values() for name in names})
    if outside:
        text = f"{len(outside)} classes are in no split, such as '{outside[0]}'"
        findings.append(Finding("splits", "note", text, "add them to the splits if they are to be used"))
    return findings


def _differences(known: Known, domain: ImageDomain, counts: dict[str, int], with_splits: bool) -> list[str]:
    """Where a domain's numbers are others than those of its source."""
    images = sum(counts.values())
    text = []
    if len(counts) != known.classes:
        text.append(f"{known.title} has {known.classes:,} classes")
    if known.images is not None and images != known.images:
        text.append(f"{known.title} has {known.images:,} images")
    if known.each is not None:
        other = [name for name, count in counts.items() if count != known.each]
        if other:
            name = other[0]
            text.append(f"{len(other)} classes have not {known.each:,} images, such as '{name}' with {counts[name]:,}")
    split = tuple(len(domain.splits.get(part, ())) for part in ("train", "val", "test"))
    if with_splits and known.splits is not None and split[:2] != (0, 0) and split != known.splits:
        text.append(f"{split} training, validation and test classes; Meta-Dataset has {known.splits}")
    return text


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


def _refused(imported: Imported) -> list[Finding]:
    if not imported.refused:
        return []
    text = f"{len(imported.refused):,} left out, such as {imported.refused[0]}"
    return [Finding("refused at import", "note", text, "domain.json lists all")]


def _table(path: Path, findings: list[Finding]) -> Table:
    table = Table(title=str(path), title_justify="left", show_lines=True)
    for heading in ("check", "", "what there is", "what to do"):
        table.add_column(heading, overflow="fold")
    for finding in findings:
        colour = _COLOURS[finding.status]
        table.add_row(finding.check, Text(finding.status, colour), Text(finding.found), Text(finding.advice))
    return table
