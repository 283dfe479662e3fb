"""A classifier as a web page that runs it in the browser, in a folder of its own."""

import base64
import gzip
import json
from collections.abc import Iterator, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from torch import Tensor

from smat.adaptation import FewShotClassifier
from smat.export.agreement import onnx_answers
from smat.export.fitted import deployed_from
from smat.export.onnx_file import ExportPrecision, onnx_bytes
from smat.export.web.runtime import FILES, runtime_files
from smat.files import check_folder, write_folder

MARK = "smat-page.js"
"""The file of the folder that has what the page knows of the classifier."""

PAGE = files("smat.export.web") / "page"
_WORKER = ("resample.js", "orientation.js", "worker.js")  # what stands behind onnxruntime-web in the worker's code
_PART = 3 * 2**22  # bytes of a script, before they are base64: a multiple of 3, so that each is a text of its own


def export_web(
    classifier: FewShotClassifier,
    out: str | Path,
    *,
    runtime: str | Path | None = None,
    precision: ExportPrecision = "float32",
    pictures: UInt8[Tensor, "n side side 3"] | None = None,
) -> None:
    """Write a folder whose `index.html` classifies pictures in the browser, where they stay.

    It runs where it is opened, from a web server or by a double click, and asks no other host for anything.

    Args:
        classifier: fitted.
        out: the folder; an earlier one of the kind is replaced.
        runtime: onnxruntime-web, as for `runtime_files`; by default npm fetches it once.
        precision: numbers of the network, as for `onnx_bytes`.
        pictures: what `int8` is measured on, likewise.

    Raises:
        ConfigError: it cannot be exported, onnxruntime-web is not there, or the folder cannot be written.
    """
    check_folder(out, "output")
    deployed, about = deployed_from(classifier)
    write_web(out, onnx_bytes(deployed, about, precision=precision, pictures=pictures), about, runtime=runtime)


def write_web(
    out: str | Path,
    model: bytes,
    about: Mapping[str, Any],
    *,
    name: str | None = None,
    runtime: str | Path | None = None,
) -> None:
    """As `export_web`, of a network that is ONNX already.

    Args:
        out: the folder.
        model: the content of an ONNX file, as `onnx_bytes` gives it.
        about: what goes with it, as `deployed_from` gives it.
        name: heading of the page; by default the name of the folder.
        runtime: as for `export_web`.
    """
    given = runtime_files(runtime)
    probabilities, _ = onnx_answers(model)(check_square(about["recipe"]["side"]))
    facts = {
        **about,
        "classes": [str(label) for label in about["classes"]],
        "name": name or Path(out).absolute().name,
        "check": probabilities[0].tolist(),
    }
    write_folder(out, lambda folder: _fill(folder, facts, model, given), MARK)


def _fill(folder: Path, facts: Mapping[str, Any], model: bytes, runtime: Mapping[str, bytes]) -> None:
    for file in PAGE.iterdir():
        if file.name not in _WORKER:
            (folder / file.name).write_bytes(file.read_bytes())
    worker = [(PAGE / name).read_bytes() for name in _WORKER]
    contents = {"model": model}
    for provider, (code, glue, wasm) in FILES.items():
        contents |= {
            provider: runtime[wasm],
            f"{provider}-glue": runtime[glue],
            f"{provider}-code": b"\n".join([runtime[code], *worker]),
        }
    (folder / "parts").mkdir()
    parts = {name: _write_parts(folder / "parts", name, content) for name, content in contents.items()}
    (folder / MARK).write_text(f"const about = {json.dumps({**facts, 'parts': parts}, indent=1)};\n", encoding="ascii")


def _write_parts(folder: Path, name: str, content: bytes) -> int:
    """Write bytes as scripts, which load also where nothing may be fetched; how many they are."""
    texts = list(_texts(gzip.compress(content, 6, mtime=0)))
    for number, text in enumerate(texts):
        (folder / f"{name}-{number}.js").write_text(f'part("{name}", "{text}");\n', encoding="ascii")
    return len(texts)


def _texts(content: bytes) -> Iterator[str]:
    for start in range(0, len(content), _PART):
        yield base64.b64encode(content[start : start + _PART]).decode()


def check_square(side: int) -> UInt8[np.ndarray, "1 side side 3"]:
    """What the page classifies first, to see that it finds the same there: worker.js makes it by the same rule."""
    place = np.arange(side * side * 3)
    return ((place * 37 + (place >> 8) * 101) % 256).astype(np.uint8).reshape(1, side, side, 3)
