"""What can be taken home: the classifier as it is saved, as something that runs elsewhere, and what it said."""

import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp
from typing import Literal

from smat.adaptation import FewShotClassifier
from smat.app.trying import Tried
from smat.app.uploads import zipped
from smat.left_out import leave_out

Export = Literal["onnx", "web"]
Report = Literal["report.html", "labels.csv"]


class Writers(ABC):
    """What writes files as the commands do, which are above this."""

    @abstractmethod
    def labels(self, out: Path, tried: Tried) -> None:
        """Write labels: a table (`.csv`) or a page (`.html`)."""

    @abstractmethod
    def export(self, folder: Path, to: Export, out: Path) -> None:
        """Write a saved classifier as something that runs elsewhere: a file, or a folder (`web`)."""


def saved_zip(classifier: FewShotClassifier, place: Path, thumbnails: bool) -> Path:
    """The classifier's folder as a zip archive.

    Args:
        classifier: the classifier.
        place: folder for the archive.
        thumbnails: whether small pictures of the labelled photos go with it, where they are there.

    Raises:
        ConfigError: it cannot be written.
    """
    if thumbnails and not _has_pictures(classifier):
        reason = "it was opened without pictures, or has too many photos"
        leave_out("thumbnail", reason, [*classifier.support_.names])
        thumbnails = False
    with _saved(classifier, place, thumbnails) as folder:
        return zipped(folder, _output(place, "classifier.zip"), "classifier")


def exported(classifier: FewShotClassifier, place: Path, to: Export, writers: Writers) -> Path:
    """The classifier as an ONNX file, or as a web page in a zip archive; raises as the command.

    Args:
        classifier: the classifier.
        place: folder for it.
        to: what is made.
        writers: what makes it.
    """
    with _saved(classifier, place, _has_pictures(classifier)) as folder:  # what it is compared on
        if to == "onnx":
            out = _output(place, "classifier.onnx")
            writers.export(folder, to, out)
            return out
        page = folder.with_name(f"{folder.name}-page")
        try:
            writers.export(folder, to, page)
            return zipped(page, _output(place, "classifier-page.zip"), "classifier-page")
        finally:
            shutil.rmtree(page, ignore_errors=True)


def reported(tried: Tried, place: Path, name: Report, writers: Writers) -> Path:
    """What a classifier says of photos, as a page or a table in a folder."""
    out = _output(place, name)
    writers.labels(out, tried)
    return out


def _has_pictures(classifier: FewShotClassifier) -> bool:
    """Whether pictures of the labelled photos are in memory."""
    return classifier._squares is not None or classifier.support_.thumbnails is not None


@contextmanager
def _saved(classifier: FewShotClassifier, place: Path, thumbnails: bool) -> Iterator[Path]:
    """Within the block, a folder with the classifier as it is saved."""
    folder = place / "saved"
    try:
        classifier.save(folder, thumbnails=thumbnails)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _output(place: Path, name: str) -> Path:
    """A file of a name, in a folder of its own so that no browser takes it for an earlier one."""
    for earlier in place.glob(f"{name}-*"):
        shutil.rmtree(earlier, ignore_errors=True)
    folder = Path(mkdtemp(prefix=f"{name}-", dir=place))
    return folder / name
