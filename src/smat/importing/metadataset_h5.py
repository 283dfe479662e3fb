"""The Meta-Dataset files of PMF (Hu et al. 2022): `DATASET/{class number}.h5`, with a group per image."""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from smat.domains.imported import Refused
from smat.domains.opening import MAX_PIXELS
from smat.errors import DataError
from smat.importing.files import PART, inside, printable
from smat.importing.kind import Kind
from smat.importing.listing import Found, Listing, Part
from smat.importing.metadataset import list_classes, list_datasets
from smat.importing.specs import SPECIFICATION, Specification, read_specification

_EPISODES = re.compile(r"(val|test)_ep\w*\.h5")
_SMALLEST = 64  # bytes; an image needs more of its file than that, whatever its size
_FILTERS = (1, 2, 3, 32000)  # gzip, shuffle, checksum, lzf: in the library itself; others are loaded from elsewhere


class MetaDatasetH5(Kind):
    """The datasets of a folder in the layout of PMF's public files: one, or all that are in it.

    With a `dataset_spec.json` beside the class files, names, splits and hierarchy are from it; without, classes are
    called by their numbers and all are test classes.
    """

    name = "metadataset-h5"
    summary = "Meta-Dataset as the public files of PMF have it"
    files = "0.h5, 1.h5, … in a folder, or in a folder for each data set"

    def list_domains(self, root: Path) -> list[Listing]:
        """A domain per dataset."""
        return list_datasets(root, "h5", _dataset)


def read(part: Part) -> Iterator[Found | Refused]:
    """Images of a run of groups; those that are damaged, or not labelled as their file's class, are refused."""
    path, number, first = part.payload
    file = printable(Path(path).name)
    try:
        opened = h5py.File(path, "r", locking=False)
    except Exception as error:
        yield Refused(
            file, f"it cannot be opened as an HDF5 file ({_first_line(error)}): {part.images} images are lost"
        )
        return
    with opened:
        for group in range(first, first + part.images):
            place = f"{file} group '{group}'"
            # The library raises almost any error for a damaged file.
            try:
                pixels, label = _pixels_and_label(opened, str(group))
            except MemoryError:
                raise
            except Exception as error:
                reason = str(error) if isinstance(error, _Wrong) else f"it cannot be read: {_first_line(error)}"
                yield Refused(place, reason)
                continue
            if label != number:
                yield Refused(place, f"its label is {label}; in this file all should be {number}")
            else:
                yield Found(f"{file}#{group}", pixels)


class _Wrong(ValueError):
    """What is wrong with a group."""


def _dataset(folder: Path) -> Listing:
    episodes = [path for path in sorted(folder.glob("*.h5")) if _EPISODES.fullmatch(path.name)]
    notes = [
        f"{printable(path.name)} is left out: its episodes are normalised pixels that do not say their classes or "
        "images; `smat data episodes` writes down episodes of what is imported"
        for path in episodes
    ]
    specified = folder / SPECIFICATION
    if not specified.is_file():
        notes.append(f"there is no {SPECIFICATION}: classes are called by their numbers, and all are test classes")
        numbers = [int(path.stem) for path in folder.glob("*.h5") if re.fullmatch(r"0|[1-9][0-9]{0,8}", path.stem)]
        classes = {number: str(number) for number in sorted(numbers)}
        specification = Specification(_name(folder), classes, {}, {"test": tuple(classes.values())})
    elif inside(folder, specified):
        specification = replace(read_specification(specified), sharded=False)
    else:
        raise DataError(f"'{specified}' is a symbolic link that leaves the dataset's folder; put the file itself there")
    listing = list_classes(folder, specification, "h5", _parts, read, episodes)
    return replace(listing, notes=(*listing.notes, *notes))


def _name(folder: Path) -> str:
    return re.sub(r"[^\w .+-]", "_", printable(folder.name)).strip(" .-") or "dataset"


def _parts(path: Path, label: int, number: int) -> tuple[list[Part], int, str | None]:
    try:
        with h5py.File(path, "r", locking=False) as file:
            count = len(file)
    except Exception as error:
        return [], 0, f"it cannot be opened as an HDF5 file: {_first_line(error)}"
    if count * _SMALLEST > path.stat().st_size:
        return [], 0, f"it says that it has {count} groups, more than {path.stat().st_size} bytes can hold"
    if not count:
        return [], 0, "it has no groups"
    runs = range(0, count, PART)
    return [Part(label, min(PART, count - first), (str(path), number, first)) for first in runs], count, None


def _pixels_and_label(file: h5py.File, name: str) -> tuple[np.ndarray, int]:
    group = _member(file, name, h5py.Group)
    pixels = _member(group, "image", h5py.Dataset)
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
        raise _Wrong(f"its 'image' is {pixels.shape} {pixels.dtype}; it should be [height, width, 3] uint8")
    if pixels.size > 3 * MAX_PIXELS:
        raise _Wrong(f"its 'image' has {pixels.shape[0]} x {pixels.shape[1]} pixels, too many to be meant")
    label = _member(group, "label", h5py.Dataset)
    if label.dtype.kind not in "iu" or label.size != 1:
        raise _Wrong(f"its 'label' is {label.shape} {label.dtype}; it should be one whole number")
    return _values(pixels, "image"), int(_values(label, "label").item())


def _member(group: h5py.Group, name: str, kind: type) -> Any:
    """A member that is in the file itself: links by path are not followed, since they may lead to other files."""
    link = group.get(name, getlink=True)
    if link is None:
        raise _Wrong(f"there is no '{name}'")
    if not isinstance(link, h5py.HardLink):
        raise _Wrong(f"'{name}' is a link to elsewhere, which is not followed")
    member = group[name]
    if not isinstance(member, kind):
        raise _Wrong(f"'{name}' is no {kind.__name__.lower()}")
    return member


def _values(dataset: h5py.Dataset, name: str) -> np.ndarray:
    """A dataset's values, if they are in the file itself; what was never written would read as zeros."""
    creation: Any = dataset.id.get_create_plist()
    if dataset.external or dataset.is_virtual:
        raise _Wrong(f"its '{name}' is in another file, which is not read")
    filters = [creation.get_filter(place)[0] for place in range(creation.get_nfilters())]
    if not set(filters) <= set(_FILTERS):
        raise _Wrong(f"its '{name}' is compressed in a way (filters {filters}) that needs a plug-in; none is loaded")
    stored = dataset.id.get_storage_size()
    if stored == 0 or (not filters and stored < dataset.size * dataset.dtype.itemsize):
        raise _Wrong(f"its '{name}' was not written in full")
    return np.asarray(dataset[()])


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [""])[0].strip("'\"") or type(error).__name__
