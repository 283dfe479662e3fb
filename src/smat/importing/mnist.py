"""MNIST and what has its format (idx): Fashion-MNIST, Kuzushiji-MNIST, EMNIST."""

import gzip
import math
import re
import zlib
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from smat.domains.imported import Refused, listed
from smat.errors import DataError
from smat.importing.files import inside
from smat.importing.kind import Kind, Known
from smat.importing.listing import Found, Listing, Part

_IMAGES = re.compile(r"(?P<set>.*?)(?P<part>train|t10k|test)-images[-.]idx3-ubyte(\.gz)?")
_SIDE = 28
_PART = 1000
_MOST = 2**30  # bytes of a file, unpacked; the largest of EMNIST has half of it
_DIGITS = "0,1,2,3,4,5,6,7,8,9"
_NAMES = {
    "fashion": "T-shirt/top,Trouser,Pullover,Dress,Coat,Sandal,Shirt,Sneaker,Bag,Ankle boot",
    "kuzushiji": "o,ki,su,tsu,na,ha,ma,ya,re,wo",
    "kmnist": "o,ki,su,tsu,na,ha,ma,ya,re,wo",
}


class _Idx(NamedTuple):
    """A file of unsigned bytes: its shape as its head has it, the values there are, and what is wrong."""

    shape: tuple[int, ...]
    values: np.ndarray
    wrong: str


class Mnist(Kind):
    """A domain per set of idx files: training and test images joined by class, all for testing.

    It has the folder's name (that of the folder around it, if it is called `raw`), or the name that EMNIST's files
    begin with.
    """

    name = "mnist"
    summary = "MNIST, and what has its format: Fashion-MNIST, Kuzushiji-MNIST, EMNIST"
    files = "train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-… of both, gzipped (.gz) or not"
    known = (
        Known(("mnist",), "MNIST", 10, 70_000),
        Known(("fashionmnist",), "Fashion-MNIST", 10, 70_000, 7_000),
        Known(("kmnist", "kuzushijimnist"), "Kuzushiji-MNIST", 10, 70_000, 7_000),
    )

    def list_domains(self, root: Path) -> list[Listing]:
        """A domain per set of files."""
        found: dict[str, list[Path]] = {}
        for path in sorted(root.iterdir() if root.is_dir() else []):
            match = _IMAGES.fullmatch(path.name)
            if match and not (path.suffix == ".gz" and path.with_suffix("").is_file()):
                found.setdefault(match["set"], []).append(path)
        if not found:
            raise DataError(
                f"'{root}' has no idx files, such as train-images-idx3-ubyte or train-images-idx3-ubyte.gz; give the "
                "folder that holds them"
            )
        return [_list(root, prefix, paths) for prefix, paths in found.items()]


def _list(source: Path, prefix: str, paths: list[Path]) -> Listing:
    folder = source.resolve()
    name = prefix.rstrip("-_.") or (folder.parent.name if folder.name == "raw" else folder.name)
    refused: list[Refused] = []
    labels_of: dict[Path, np.ndarray] = {}
    files: list[Path] = []
    for images in sorted(paths, key=lambda path: not path.name.startswith(f"{prefix}train")):
        labels = _labels_path(images)
        files += [path for path in (images, labels) if path.is_file()]
        try:
            labels_of[images], lost = _pair(images, labels)
            refused += lost
        except DataError as error:
            refused.append(Refused(images.name, f"none of it is read: {error}"))
    names = _names(source, prefix, name)
    parts: list[Part] = []
    for place, label in enumerate(names):
        for path, labels in labels_of.items():
            rows = np.flatnonzero(labels == label).tolist()
            for some in (rows[start : start + _PART] for start in range(0, len(rows), _PART)):
                parts.append(Part(place, len(some), (str(path), tuple(some), _is_emnist(prefix))))
    for path, labels in labels_of.items():
        wrong = np.flatnonzero(~np.isin(labels, list(names))).tolist()
        refused += [
            Refused(f"{path.name}#{row}", f"label {labels[row]}; expected {min(names)} to {max(names)}")
            for row in wrong
        ]
    classes = tuple(names.values())
    if not parts:
        raise DataError(f"nothing of '{name}' in '{source}' can be read:{listed(refused)}")
    return Listing(
        name=name,
        classes=classes,
        splits={"test": classes},
        parts=parts,
        read=read_rows,
        files=files,
        refused=tuple(refused),
        notes=("the training and test images of each class are joined; all classes are for testing",),
    )


def read_rows(part: Part) -> Iterator[Found | Refused]:
    """Rows of an images file; EMNIST has them lying on their side."""
    path, rows, turned = Path(part.payload[0]), part.payload[1], part.payload[2]
    try:
        images = _images(path, path.stat().st_mtime_ns)
    except (DataError, OSError) as error:
        yield Refused(path.name, f"none of it is read any more: {error}")
        return
    for row in rows:
        yield Found(f"{path.name}#{row}", images[row].T if turned else images[row])


@lru_cache(maxsize=2)
def _images(path: Path, changed: int) -> np.ndarray:
    """A file's images; kept, since the parts of all classes come from the same files."""
    idx = _read(path, 3)
    whole = len(idx.values) // (idx.shape[1] * idx.shape[2])
    return idx.values[: whole * idx.shape[1] * idx.shape[2]].reshape(whole, *idx.shape[1:])


def _labels_path(images: Path) -> Path:
    """The labels file of an images file, gzipped or not."""
    name = images.name.replace("-images", "-labels").replace("idx3", "idx1").removesuffix(".gz")
    plain = images.with_name(name)
    return plain if plain.is_file() else images.with_name(f"{name}.gz")


def _pair(images: Path, labels: Path) -> tuple[np.ndarray, list[Refused]]:
    """The labels of the images that can be read, and what is lost."""
    pictures, numbers = _read(images, 3), _read(labels, 1)
    count, height, width = pictures.shape
    wrong = pictures.wrong or numbers.wrong
    if count != numbers.shape[0]:
        raise DataError(f"{numbers.shape[0]} labels for {count} images: which belong together cannot be known")
    if not height * width:
        raise DataError(f"its images have {height} x {width} pixels")
    if wrong and (height, width) != (_SIDE, _SIDE):
        raise DataError(f"{wrong}, and its images are said to have {height} x {width} pixels: its head may be damaged")
    whole = min(len(pictures.values) // (height * width), len(numbers.values))
    lost = [Refused(f"{images.name}#{whole}", f"{wrong}: {count - whole} images are lost, this one and those after it")]
    return numbers.values[:whole], lost if whole < count else []


def _read(path: Path, dimensions: int) -> _Idx:
    """An idx file of unsigned bytes with so many dimensions, which may be cut short."""
    head = 4 + 4 * dimensions
    try:
        if not path.is_file():
            raise DataError(f"there is no file {path.name}")
        if not inside(path.parent, path):
            raise DataError(f"{path.name} is a symbolic link that leaves the folder")
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            content = file.read(_MOST + 1)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:  # what was unpacked until then may be wrong already
        raise DataError(f"{path.name} is damaged or cut short ({error}): fetch it again") from error
    except OSError as error:
        raise DataError(f"{path.name} cannot be read: {error.strerror or error}") from error
    if len(content) > _MOST:
        raise DataError(f"{path.name} has more than {_MOST} bytes")
    if len(content) < head or content[:4] != bytes([0, 0, 8, dimensions]):
        raise DataError(
            f"{path.name} begins with {content[:4].hex(' ')}; an idx file of bytes in {dimensions} dimensions begins "
            f"with 00 00 08 0{dimensions}"
        )
    shape = tuple(int.from_bytes(content[place : place + 4], "big") for place in range(4, head, 4))
    expected = math.prod(shape)
    values = np.frombuffer(content, np.uint8, offset=head)
    if len(values) > expected:
        raise DataError(f"{path.name} has {len(values)} bytes after its head, which says {expected}")
    wrong = f"{path.name} has {len(values)} bytes after its head, which says {expected}" * (len(values) < expected)
    return _Idx(shape, values, wrong)


def _is_emnist(prefix: str) -> bool:
    return prefix.lower().startswith("emnist")


def _names(source: Path, prefix: str, name: str) -> dict[int, str]:
    """The class name of each label; EMNIST has a file of them, in lines `label code` or `label code code`."""
    if not _is_emnist(prefix):
        known = next((names for word, names in _NAMES.items() if word in name.lower()), _DIGITS)
        return dict(enumerate(known.split(",")))
    path = source / f"{prefix}mapping.txt"
    try:
        lines = [
            [int(number) for number in line.split()] for line in path.read_text("ascii").splitlines() if line.strip()
        ]
        names = {line[0]: chr(line[1]) for line in sorted(lines)}
        if not names or len(set(names.values())) < len(lines) or max(names) > 255:
            raise ValueError("no lines, or a label or character twice")
    except (OSError, ValueError, IndexError, OverflowError) as error:
        raise DataError(
            f"'{path}' cannot be used ({error}): it should have a line for each class, of its label and the code of "
            "its character; EMNIST has it beside its images"
        ) from error
    return names
