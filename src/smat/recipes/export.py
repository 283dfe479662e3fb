"""`smat export`: a saved classifier as one file that runs without smat."""

import logging
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from jaxtyping import UInt8
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from torch import Tensor

from smat.adaptation import FewShotClassifier
from smat.domains import list_images
from smat.errors import ConfigError, DataError
from smat.export import (
    Agreement,
    Deployed,
    ExportPrecision,
    Runner,
    compare,
    deployed_from,
    labelled_pictures,
    onnx_answers,
    onnx_bytes,
    pictures,
    program_answers,
    program_bytes,
    random_pictures,
)
from smat.files import check_writable, write_whole
from smat.schema import checked_arguments

logger = logging.getLogger(__name__)

Format = Literal["onnx", "torch"]

_FEW_ALIKE = 0.95  # share of equal labels below which there is a warning


@dataclass(frozen=True)
class Exported:
    """What `export` wrote.

    Attributes:
        file: the file.
        format: of what kind it is.
        precision: of its numbers.
        bytes: its size.
        classes: the labels, in the order of its probabilities.
        compared_on: what it was compared with PyTorch on.
        agreement: how it compares.
    """

    file: str
    format: Format
    precision: ExportPrecision
    bytes: int
    classes: tuple[str, ...]
    compared_on: str
    agreement: Agreement


@checked_arguments
def export(
    classifier: str,
    *,
    to: Format,
    out: str,
    precision: ExportPrecision = "float32",
    check: str | None = None,
    allow_imports: Collection[str] = (),
) -> Exported:
    """Write a classifier as one file that runs without smat: pictures in, probabilities out.

    Example: smat export birds/ --to onnx --out birds.onnx

    Args:
        classifier: folder of a classifier, as `smat fit` makes it.
        to: kind of file: `onnx`, for onnxruntime and many others, or `torch`, a program for PyTorch alone.
        out: file to write, such as birds.onnx or birds.pt2.
        precision: numbers of an ONNX file: `float32`; `float16`, half the size and hardly another answer; `int8`, about
            a quarter of the size and faster, with answers that differ more.
        check: folder of images on which the file is compared with PyTorch, and `int8` measures its ranges; by default
            the labelled images, where they still are or the classifier has thumbnails of them.
        allow_imports: packages whose code may be imported where the classifier names classes outside smat.

    Returns:
        What was written, and how it compares with PyTorch.

    Raises:
        SmatError: if there is no such classifier, it cannot be exported, there are no images to measure on, the file
            answers otherwise than PyTorch, it cannot be written, or packages are missing.
    """
    if to == "torch" and precision != "float32":
        raise ConfigError(
            f"--precision is {precision}, but programs of PyTorch are float32: leave it out, or --to onnx"
        )
    path = check_writable(out)
    fitted = FewShotClassifier.load(classifier, device="cpu", precision="32-true", allow_imports=allow_imports)
    deployed, about = deployed_from(fitted)
    name, images = _images(fitted, deployed, check)
    content, answers = _made(to, deployed, about, precision, images)
    agreement = compare(deployed, answers, random_pictures(deployed.side) if images is None else images)
    wrong = agreement.decided - agreement.decided_alike
    if precision == "float32" and wrong:
        raise ConfigError(
            f"the exported classifier gives another label than PyTorch for {wrong} of {agreement.decided} clear "
            f"{name}, so it was not written; please report it with the name of the backbone"
        )
    write_whole(path, lambda place: place.write_bytes(content), keep=True)
    labels = tuple(map(str, about["classes"]))
    found = Exported(str(path), to, precision, len(content), labels, name, agreement)
    _show(found, Console())
    return found


def _made(
    to: Format,
    deployed: Deployed,
    about: dict[str, Any],
    precision: ExportPrecision,
    images: UInt8[Tensor, "n side side 3"] | None,
) -> tuple[bytes, Runner]:
    """The content of the file, and what runs it."""
    if to == "torch":
        content = program_bytes(deployed, about)
        return content, program_answers(content)
    if precision == "int8" and images is None:
        raise ConfigError(
            "--precision is int8, but there are no images to measure on: the labelled ones are not where they were, "
            "and the classifier has no thumbnails of them. Give a folder of such images: --check"
        )
    content = onnx_bytes(deployed, about, precision=precision, pictures=images)
    return content, onnx_answers(content)


def _images(
    fitted: FewShotClassifier, deployed: Deployed, check: str | None
) -> tuple[str, UInt8[Tensor, "n side side 3"] | None]:
    """What to compare on: its name, and the images; without any, random ones will do for that."""
    if check is None:
        found = labelled_pictures(fitted, deployed.side)
        return ("random images", None) if found is None else ("labelled images", found)
    files = list_images(Path(check))
    if not files:
        raise DataError(f"no images in '{check}' or the folders within it; give a folder of images for --check")
    return f"images of {check}", pictures(fitted, files, deployed.side)


def _show(found: Exported, console: Console) -> None:
    agreement = found.agreement
    table = Table(show_header=False)
    table.add_row("file", escape(found.file))
    table.add_row("size", f"{found.bytes / 1e6:.1f} MB")
    table.add_row("label as PyTorch", escape(f"{agreement.alike} of {agreement.images} {found.compared_on}"))
    table.add_row("largest difference of probabilities", f"{agreement.probability:.1g}")
    table.add_row("per image", f"{agreement.milliseconds:.1f} ms")
    console.print(table)
    if agreement.alike < _FEW_ALIKE * agreement.images:
        logger.warning(
            "%s gives another label than PyTorch for %d of %d images: float16 is closer",
            found.precision,
            agreement.images - agreement.alike,
            agreement.images,
        )
