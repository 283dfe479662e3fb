"""`smat export`: a saved classifier as what runs without smat: a file, a web page, or a folder of transformers."""

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
from smat.export.hf import HfReport, export_hf
from smat.export.web import write_web
from smat.files import check_folder, check_writable, write_whole
from smat.schema import checked_arguments

logger = logging.getLogger(__name__)

Format = Literal["onnx", "torch", "web", "hf"]

_FEW_ALIKE = 0.95  # share of equal labels below which there is a warning


@dataclass(frozen=True)
class Exported:
    """What `export` wrote.

    Attributes:
        file: the file or folder.
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
    agreement: Agreement | HfReport


@checked_arguments
def export(
    classifier: str,
    *,
    to: Format,
    out: str,
    precision: ExportPrecision = "float32",
    check: str | None = None,
    runtime: str | None = None,
    allow_imports: Collection[str] = (),
) -> Exported:
    """Write a classifier as what runs without smat: pictures in, probabilities out.

    Example: smat export birds/ --to onnx --out birds.onnx

    Args:
        classifier: folder of a classifier, as `smat fit` makes it.
        to: kind of output: `onnx`, a file for onnxruntime and many others; `torch`, a program for PyTorch alone; `web`,
            a folder with a page that classifies in the browser, without uploading anything; `hf`, a folder that the
            pipelines of transformers load.
        out: file to write, such as birds.onnx or birds.pt2, or folder, such as birds-web.
        precision: numbers of an ONNX file or a web page: `float32`; `float16`, half the size and hardly another answer;
            `int8`, a quarter to a third of the size, with answers that differ more.
        check: folder of images on which the file is compared with PyTorch, and `int8` measures its ranges; by default
            the labelled images, where they still are or the classifier has thumbnails of them.
        runtime: onnxruntime-web, for `web`: a folder that its package is unpacked to, or the file that npm packs; by
            default npm fetches it, once.
        allow_imports: packages whose code may be imported where the classifier names classes outside smat.

    Returns:
        What was written, and how it compares with PyTorch.

    Raises:
        SmatError: if there is no such classifier, it cannot be exported, there are no images to measure on, the file
            answers otherwise than PyTorch, it cannot be written, or packages are missing.
    """
    _check_options(to, precision, runtime)
    path = check_folder(out, "output") if to in ("web", "hf") else check_writable(out)
    fitted = FewShotClassifier.load(classifier, device="cpu", precision="32-true", allow_imports=allow_imports)
    if to == "hf":
        return _as_transformers(fitted, path, check)
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
    if to == "web":
        write_web(path, content, about, name=Path(classifier).absolute().name, runtime=runtime)
    else:
        write_whole(path, lambda place: place.write_bytes(content), keep=True)
    return _shown(Exported(str(path), to, precision, _size(path), _labels(fitted), name, agreement))


def _check_options(to: Format, precision: ExportPrecision, runtime: str | None) -> None:
    if to in ("torch", "hf") and precision != "float32":
        what = "programs of PyTorch" if to == "torch" else "folders of transformers"
        raise ConfigError(f"--precision is {precision}, but {what} are float32: leave it out, or --to onnx")
    if runtime is not None and to != "web":
        raise ConfigError(f"--runtime is onnxruntime-web, which --to {to} has no use for: leave it out, or --to web")


def _as_transformers(fitted: FewShotClassifier, path: Path, check: str | None) -> Exported:
    if check is None:
        name, files = "labelled images", [Path(name) for name in fitted.support_.names if Path(name).is_file()]
    else:
        name, files = f"images of {check}", _listed(check)
    report = export_hf(fitted, path, pictures=files)
    return _shown(Exported(str(path), "hf", "float32", _size(path), _labels(fitted), name, report))


def _labels(fitted: FewShotClassifier) -> tuple[str, ...]:
    return tuple(str(label) for label in fitted.classes_)


def _size(path: Path) -> int:
    return sum(file.stat().st_size for file in ([path] if path.is_file() else path.rglob("*")) if file.is_file())


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
    return f"images of {check}", pictures(fitted, _listed(check), deployed.side)


def _listed(check: str) -> list[Path]:
    files = list_images(Path(check))
    if not files:
        raise DataError(f"no images in '{check}' or the folders within it; give a folder of images for --check")
    return files


def _shown(found: Exported) -> Exported:
    """The same, when a table of it is on the screen."""
    agreement, console = found.agreement, Console()
    table = Table(show_header=False)
    table.add_row("folder" if Path(found.file).is_dir() else "file", escape(found.file))
    table.add_row("size", f"{found.bytes / 1e6:.1f} MB")
    if isinstance(agreement, HfReport):
        table.add_row("class of transformers", agreement.architecture)
    if agreement.images:
        table.add_row("label as PyTorch", escape(f"{agreement.alike} of {agreement.images} {found.compared_on}"))
        table.add_row("largest difference of probabilities", f"{agreement.probability:.1g}")
    if isinstance(agreement, Agreement):
        table.add_row("per image", f"{agreement.milliseconds:.1f} ms")
    console.print(table)
    if isinstance(agreement, HfReport):
        _explain(agreement, console)
        return found
    if agreement.alike < _FEW_ALIKE * agreement.images:
        logger.warning(
            "%s gives another label than PyTorch for %d of %d images: float16 is closer",
            found.precision,
            agreement.images - agreement.alike,
            agreement.images,
        )
    if found.format == "web":
        console.print(f"open {Path(found.file) / 'index.html'}", soft_wrap=True, markup=False)
    return found


def _explain(report: HfReport, console: Console) -> None:
    """Why the answers of transformers may be others."""
    console.print(
        "images are cut and resized by transformers' own rule there, which is not quite smat's"
        + ("" if report.exact else "; the labels of the head are the same, but its probabilities are not"),
        soft_wrap=True,
    )
