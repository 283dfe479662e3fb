"""Whether a domain has as many classes and images as it should, as far as anyone says."""

from collections.abc import Mapping
from dataclasses import dataclass

from smat.domains import ImageDomain
from smat.domains.imported import Imported
from smat.importing import Known, expected_counts, expected_images


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


def count_findings(domain: ImageDomain, imported: Imported | None) -> list[Finding]:
    """What there is to say of a domain's numbers of classes and images.

    They are compared with those of its kind or name, and class by class with what its source said of itself.
    """
    counts = {name: count for name, count in domain.counts().items() if count}
    sizes = list(counts.values())
    spread = f"{min(sizes)}" if min(sizes) == max(sizes) else f"{min(sizes)} to {max(sizes)}"
    found = f"{len(counts):,} classes, {sum(sizes):,} images, {spread} per class"
    origin = imported.source if imported else {}
    kind = str(origin.get("kind", "folder"))
    name = imported.name if imported else domain.name  # the folder may have been renamed
    known = expected_counts(name, origin)
    findings = [*_missing(expected_images(name, origin), domain.counts())]
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
    few = [name for name, count in counts.items() if count < 2]
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
        text.append(f"{split} training, validation and test classes; {known.divided_by} has {known.splits}")
    return text


def _missing(expected: Mapping[str, int], counts: Mapping[str, int]) -> list[Finding]:
    """What is not there of what the source itself says that it has."""
    short = [name for name, count in expected.items() if counts.get(name, 0) < count]
    if not short:
        return []
    there, all_of_them = sum(counts.values()), sum(expected.values())
    name = short[0]
    text = (
        f"{there:,} of {all_of_them:,} images that its source says it has; {len(short):,} classes have fewer, such as "
        f"'{name}' with {counts.get(name, 0):,} of {expected[name]:,}"
    )
    return [Finding("images of the source", "wrong", text, "get what is missing and import again")]
