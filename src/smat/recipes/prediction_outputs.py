"""Where labels go: the screen, a file, folders of copies, a page."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from smat.errors import ConfigError, Interrupted
from smat.files import check_writable, write_whole
from smat.recipes.label_files import check_label_file, label_file
from smat.recipes.photos import Reader
from smat.recipes.prediction_report import prediction_report
from smat.recipes.predictions import Predictions
from smat.recipes.sorting import check_sort_folder, sort_copies

_SHOWN = 10  # rows of the table on screen


@dataclass(frozen=True)
class Outputs:
    """The files and folders that labels go to.

    Attributes:
        labels: file of labels.
        report: HTML page; None: none is made.
        sort: folder of copies, likewise.
    """

    labels: Path
    report: Path | None
    sort: Path | None

    @staticmethod
    def of(output: str, report: str | None, sort: str | None, sources: Mapping[str, str]) -> "Outputs":
        """The outputs of a command, checked before long work.

        Args:
            output: file of labels.
            report: HTML page.
            sort: folder of copies.
            sources: folders that copies must lie apart from, by option.

        Raises:
            ConfigError: one of them cannot be written, or they are in each other's way.
        """
        if report is not None and Path(report).resolve() == Path(output).resolve():
            raise ConfigError(f"--output and --report are both '{output}'; give each a file of its own")
        folder = check_sort_folder(sort, sources, {"--output": output, "--report": report}) if sort else None
        labels = check_label_file(output)
        return Outputs(labels, check_writable(report, "--report") if report else None, folder)

    def keep(self, result: Predictions, images: int) -> Interrupted:
        """Keep what is done beside the file of labels, which has all images or is not there; gives what to raise."""
        path = self.labels
        part = path.with_name(f"{path.stem}.part{path.suffix}") if path.is_file() or not path.exists() else path
        write_whole(part, label_file(path, result), keep=True)
        return Interrupted(f"The labels of {len(result.files)} of {images} images are in {part}", result)

    def write(self, result: Predictions, root: Path, names: Sequence[Path], reader: Reader, console: Console) -> None:
        """Show and write labels.

        Args:
            result: the labels.
            root: folder of the images.
            names: the images, relative to that.
            reader: what they were read with.
            console: the screen.

        Raises:
            ConfigError: something cannot be written.
            Interrupted: after an interruption; the labels are written.
        """
        try:
            show(result, console)
        finally:  # whatever becomes of the screen
            write_whole(self.labels, label_file(self.labels, result), keep=True)
        _say(console, f"labels and probabilities of all {len(names)} images: {self.labels}")
        try:
            if self.report:
                page = prediction_report(result, root, names, reader.grey_range, reader.max_pixels)
                write_whole(self.report, page, keep=True)
                _say(console, f"page: {self.report}")
            if self.sort:
                copies = sort_copies(self.sort, root, names, result.labels, console)
                _say(console, f"copies of {copies} images by label: {self.sort}")
        except KeyboardInterrupt as interruption:
            raise Interrupted(f"The labels of all {len(names)} images are in {self.labels}", result) from interruption


def show(result: Predictions, console: Console) -> None:
    """Show the first labels, how many images each has, and the accuracy."""
    table = Table("file", "label", "probability")
    rows = zip(result.files, result.labels, result.probabilities.max(axis=1), strict=True)
    for _, (file, label, probability) in zip(range(_SHOWN), rows, strict=False):
        table.add_row(escape(file), escape(label), f"{probability:.2f}")
    if len(result.files) > _SHOWN:
        table.add_row("...", "", "")
    console.print(table)
    counts = Counter(result.labels)
    words = [*result.classes, *({*counts} - {*result.classes})]
    _say(console, "images per class: " + ", ".join(f"{name} {counts[name]}" for name in words))
    if result.accuracy is not None:
        rest = len(result.files) - result.scored
        others = f"; {rest} more lie in folders that name no class: {', '.join(result.other_folders[:5])}"
        _say(
            console,
            f"accuracy, if the query folders name the classes: {100 * result.accuracy:.1f} % of {result.scored} images"
            f"{others if rest else ''}",
        )
    if result.accuracy is not None and result.answered < result.scored:
        share, right = 100 * result.answered / result.scored, result.accuracy_of_answered
        accuracy = "" if right is None else f", of which {100 * right:.1f} % are right"
        _say(console, f"{share:.1f} % of these are answered with a class{accuracy}")
    if result.expected_accuracy is not None:
        _say(console, f"accuracy to expect of new images, by the labelled ones: {result.expected_accuracy}")


def _say(console: Console, text: str) -> None:
    console.print(text, soft_wrap=True, markup=False)
