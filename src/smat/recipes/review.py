"""`smat review`: which labelled images of a saved classifier may be wrong."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from rich.console import Console

from smat.adaptation import Device, FewShotClassifier
from smat.assessment import Kind, Suspect
from smat.domains import MAX_PIXELS, list_images
from smat.domains.folders import printable
from smat.errors import ConfigError
from smat.files import check_writable, write_whole
from smat.left_out import leave_out
from smat.recipes.pages import Card, Picture, Section, jpeg_address, page, thumbnail
from smat.recipes.photos import BATCH, Reader
from smat.schema import Count, checked_arguments

_TITLES: dict[Kind, str] = {
    "label": "labels that look wrong",
    "duplicate": "the same image twice",
    "odd": "odd ones out",
}
_SHOWN = 200  # suspects of each kind on a page, at most


@dataclass(frozen=True)
class Finding:
    """A labelled image that may be wrong.

    Attributes:
        kind: `label`: it looks like another class; `duplicate`: it is nearly the same as another image; `odd`: it is
            unlike all others.
        file: the image.
        label: its class.
        other_file: the image that it is a duplicate of, for that kind.
        other_label: the class that it looks like, or that of the other image.
        score: of a label the probability of the other class, of a duplicate the cosine of the features, of an odd one
            how many robust standard deviations it lies below the median.
        suggestion: what to do.
    """

    kind: Kind
    file: str
    label: str
    other_file: str | None
    other_label: str | None
    score: float
    suggestion: str

    def __str__(self) -> str:
        if self.kind == "label":
            return f"looks like '{self.other_label}' ({100 * self.score:.0f} %)"
        if self.kind == "duplicate":
            return f"nearly the same as '{self.other_file}' of '{self.other_label}' (similarity {self.score:.3f})"
        return f"unlike the others ({self.score:.1f} standard deviations)"


@checked_arguments
def review(
    classifier: str,
    *,
    report: str | None = None,
    support: str | None = None,
    device: Device = "auto",
    max_pixels: Count = MAX_PIXELS,
    allow_imports: Collection[str] = (),
) -> list[Finding]:
    """List labelled images that may be wrong: labels that look wrong, images that are there twice, odd ones out.

    Example: smat review birds/ --report review.html

    Args:
        classifier: folder of a classifier that `smat fit` made.
        report: HTML page to write, with the images.
        support: folder of the labelled images, whose pictures are larger on the page than the classifier's thumbnails;
            needed where it has none.
        device: device to compute on: `auto`, `cpu` or `cuda`.
        max_pixels: most pixels that an image is decoded to.
        allow_imports: packages whose code may be imported where the classifier names classes outside smat.

    Returns:
        The images, by kind, the most suspect first.

    Raises:
        SmatError: there is no such classifier, no pictures for the page, or the page cannot be written.
    """
    console = Console()
    file = check_writable(report, "--report") if report else None
    fitted = FewShotClassifier.load(classifier, device=device, allow_imports=allow_imports)
    if file and not support and fitted.support_.thumbnails is None:
        raise ConfigError(
            f"'{classifier}' has no thumbnails for --report: give the folder of its labelled images (--support)"
        )
    suspects = fitted.review()
    findings = [_finding(suspect, fitted) for suspect in suspects]
    _show(findings, fitted.support_.names, console)
    if file:
        pictures = _pictures(suspects, fitted, support, max_pixels)
        write_whole(file, review_page(findings, suspects, pictures, len(fitted.support_)), keep=True)
        console.print(f"page: {file}", soft_wrap=True, markup=False)
    return findings


def _finding(suspect: Suspect, classifier: FewShotClassifier) -> Finding:
    names = [printable(name) for name in classifier.support_.names]
    codes = classifier.support_.codes.tolist()
    classes = [str(label) for label in classifier.classes_]
    twin = suspect.other if suspect.kind == "duplicate" else None
    other = suspect.other if twin is None else codes[twin]
    return Finding(
        suspect.kind,
        names[suspect.index],
        classes[codes[suspect.index]],
        None if twin is None else names[twin],
        None if other is None else classes[other],
        suspect.score,
        suspect.suggestion,
    )


def _show(findings: Sequence[Finding], names: Sequence[str], console: Console) -> None:
    """Print what was found, a line for each image, so that no name is cut."""

    def say(text: str) -> None:
        console.print(text, soft_wrap=True, markup=False, highlight=False)

    if not findings:
        say(f"none of the {len(names)} labelled images is suspect")
    for kind, title in _TITLES.items():
        some = [finding for finding in findings if finding.kind == kind]
        if some:
            say(f"\n{title} ({len(some)}): {some[0].suggestion}")
        for finding in some:
            say(f"  {finding.file} ('{finding.label}'): {finding}")


def _pictures(
    suspects: Sequence[Suspect], classifier: FewShotClassifier, support: str | None, max_pixels: int
) -> dict[int, str]:
    """The pictures of suspects and their duplicates, by index: those kept, or of files of the same content."""
    kept = classifier.support_
    wanted = {s.index for s in suspects} | {s.other for s in suspects if s.kind == "duplicate" and s.other is not None}
    if support is None:
        assert kept.thumbnails is not None, "this was checked before"
        return {index: jpeg_address(kept.thumbnails[index]) for index in wanted}
    spec, files, by_content = classifier.task_model_.backbone.spec, list_images(support), {}
    reader = Reader(classifier.margin, spec, classifier.range_, max_pixels, skip_bad=True)
    for start in range(0, len(files), BATCH):
        for file, digest in reader.digests(files[start : start + BATCH]).items():
            by_content.setdefault(digest, file)
    found: dict[int, str] = {}
    for index in wanted:
        file = by_content.get(kept.digests[index])
        if file and (picture := thumbnail(file, classifier.range_, max_pixels)):
            found[index] = picture
    gone = [printable(kept.names[index]) for index in sorted(wanted - {*found})]
    leave_out("picture", f"'{support}' has no image of its content that can be read", gone)
    return found


def review_page(
    findings: Sequence[Finding], suspects: Sequence[Suspect], pictures: Mapping[int, str], images: int
) -> str:
    """A page of what was found, with the images.

    Args:
        findings: what was found.
        suspects: the same, with the images by index.
        pictures: addresses of pictures by index.
        images: number of labelled images.
    """

    def cards(kind: Kind) -> Iterator[Card]:
        for finding, suspect in zip(findings, suspects, strict=True):
            if finding.kind != kind:
                continue
            shown = [Picture(pictures.get(suspect.index), finding.file, [finding.label])]
            if finding.other_file is not None and suspect.other is not None:
                shown.append(Picture(pictures.get(suspect.other), finding.other_file, [str(finding.other_label)]))
            yield Card(shown, str(finding))

    sections, facts = [], [("labelled images", f"{images:,}")]
    for kind, title in _TITLES.items():
        of_kind = list(cards(kind))
        facts.append((title, f"{len(of_kind):,}"))
        if of_kind:
            suggestion = next(finding.suggestion for finding in findings if finding.kind == kind)
            note = suggestion if len(of_kind) <= _SHOWN else f"{suggestion} (the {_SHOWN} most suspect are shown)"
            sections.append(Section(f"{title[0].upper()}{title[1:]} ({len(of_kind):,})", note, of_kind[:_SHOWN]))
    return page(f"Review of {images:,} labelled images", facts, sections)
