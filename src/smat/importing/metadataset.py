"""Meta-Dataset's records: `DATASET/{class number}.tfrecords` and `DATASET/dataset_spec.json`."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from smat.domains.imported import Refused, listed
from smat.errors import DataError
from smat.importing.files import inside, printable
from smat.importing.kind import Kind
from smat.importing.listing import Found, Listing, Part
from smat.importing.specs import SPECIFICATION, Specification, read_specification
from smat.importing.tfrecords import image_and_label, read_run, survey


class MetaDataset(Kind):
    """The datasets of a folder that the Meta-Dataset converter wrote: one, or all that are in it."""

    name = "metadataset"
    summary = "Meta-Dataset as its official conversion writes it"
    files = "dataset_spec.json and 0.tfrecords, 1.tfrecords, … in a folder, or in a folder for each data set"

    def list_domains(self, root: Path) -> list[Listing]:
        """A domain per dataset."""
        return list_datasets(root, "tfrecords", _dataset)


def read(part: Part) -> Iterator[Found | Refused]:
    """Images of a run of records; those that are damaged, or not labelled as their file's class, are refused."""
    run, number = part.payload
    file = printable(Path(run.path).name)
    for record, data in read_run(run):
        place = f"{file} record {record}"
        if isinstance(data, str):
            yield Refused(place, data)
            continue
        try:
            image, label = image_and_label(data)
        except ValueError as error:
            yield Refused(place, str(error))
            continue
        if label != number:
            yield Refused(place, f"its label is {label}; in this file all should be {number}")
        else:
            yield Found(f"{file}#{record}", image)


def _dataset(folder: Path) -> Listing:
    path = folder / SPECIFICATION
    if not path.is_file():
        unsafe = " (its dataset_spec.pkl is not read: reading one can run code)"
        raise DataError(
            f"'{folder}' has no {SPECIFICATION}{unsafe if (folder / 'dataset_spec.pkl').exists() else ''}, so nothing "
            "tells the classes of its records. The Meta-Dataset repository has it, as "
            f"dataset_conversion/dataset_specs/NAME_{SPECIFICATION}: put it there by the name {SPECIFICATION}"
        )
    if not inside(folder, path):
        raise DataError(f"'{path}' is a symbolic link that leaves the dataset's folder; put the file itself there")
    return list_classes(folder, read_specification(path), "tfrecords", _parts, read)


def _parts(path: Path, label: int, number: int) -> tuple[list[Part], int, str | None]:
    found = survey(path)
    lost = found.lost and f"the rest of the file is lost from record {found.records} on, since {found.lost}"
    return [Part(label, run.count, (run, number)) for run in found.runs], found.records, lost


def list_datasets(source: Path, suffix: str, dataset: Callable[[Path], Listing]) -> list[Listing]:
    """Listings of a dataset's folder, or of all dataset folders in a folder.

    A folder that cannot be listed is among what the first listing refuses.

    Args:
        source: the folder.
        suffix: suffix of class files, such as `tfrecords`.
        dataset: function that makes the listing of one dataset's folder.

    Raises:
        DataError: there is none, or all are bad.
    """
    root = source.resolve()
    if not root.is_dir():
        raise DataError(f"'{source}' is no folder; give one with {SPECIFICATION}, or with such folders in it")
    if _is_dataset(root, suffix):
        return [dataset(root)]
    listings: dict[str, Listing] = {}
    refused: list[Refused] = []
    for folder in sorted(path for path in root.iterdir() if path.is_dir() and _is_dataset(path, suffix)):
        name = printable(folder.name)
        if not inside(root, folder):
            refused.append(Refused(name, "it is a symbolic link that leaves the source folder"))
            continue
        try:
            listings[name] = dataset(folder)
        except DataError as error:
            refused.append(Refused(name, str(error)))
    if not listings:
        if refused:
            raise DataError(f"no dataset in '{source}' can be imported:{listed(refused)}")
        raise DataError(
            f"'{source}' has no class files such as 0.{suffix} and no {SPECIFICATION}, and no folder in it has. Give a "
            f"dataset's folder, such as aircraft, or the folder that all of them are in{_other_kind(root, suffix)}"
        )
    times = Counter(listing.name for listing in listings.values())
    made = [one if times[one.name] == 1 else replace(one, name=folder) for folder, one in listings.items()]
    return [replace(made[0], refused=(*refused, *made[0].refused)), *made[1:]]


def list_classes(
    folder: Path,
    specification: Specification,
    suffix: str,
    parts_of: Callable[[Path, int, int], tuple[list[Part], int, str | None]],
    read: Callable[[Part], Iterator[Found | Refused]],
    others: Sequence[Path] = (),
) -> Listing:
    """The listing of a dataset from its specification and its class files.

    Args:
        folder: folder of the dataset.
        specification: specification of its classes.
        suffix: suffix of class files.
        parts_of: function that gives, for a file and its class's label and number, the parts, how many images they
            have, and what is wrong with the file.
        read: `Listing.read` for such parts.
        others: files with that suffix that are known to be of no class.

    Raises:
        DataError: no class has a file with images.
    """
    parts: list[Part] = []
    files: list[Path] = []
    refused: list[Refused] = []
    differing: list[str] = []
    tried: set[Path] = set()
    for label, (number, name) in enumerate(specification.classes.items()):
        expected = specification.images.get(number)
        found = 0
        problems: list[Refused] = []
        for path in _class_files(folder, number, suffix, specification.sharded):
            tried.add(path)
            problem = _why_no_file(folder, path)
            if problem is None:
                try:
                    some, count, problem = parts_of(path, label, number)
                except OSError as error:
                    problem = f"it cannot be read: {error.strerror or error}"
                else:
                    files.append(path)
                    parts += some
                    found += count
            if problem:
                problems.append(Refused(printable(path.name), f"{problem}; it is of class {number} ('{name}')"))
        if problems and expected is not None:
            told = f", which has {found} of {expected} images"
            problems[-1] = replace(problems[-1], reason=problems[-1].reason + told)
        elif expected not in (None, found):
            differing.append(f"class {number} ('{name}') with {found} of {expected}")
        refused += problems
    for path in sorted(set(folder.glob(f"*.{suffix}")) - tried - set(others)):
        refused.append(Refused(printable(path.name), "by its name it is of no class"))
    if not parts:
        hint = _other_kind(folder, suffix)
        raise DataError(f"'{folder}' has no class file with images, such as 0.{suffix}{hint}:{listed(refused)}")
    numbers = "classes have other numbers of images than the specification says"
    specified = folder / SPECIFICATION
    return Listing(
        name=specification.name,
        classes=tuple(specification.classes.values()),
        splits=specification.splits,
        parts=parts,
        read=read,
        files=[*([specified] if specified.is_file() else []), *files],
        hierarchy=specification.hierarchy,
        refused=tuple(refused),
        notes=(f"{len(differing)} {numbers}, such as {differing[0]}",) if differing else (),
        expected={specification.classes[number]: count for number, count in specification.images.items()},
    )


def _class_files(folder: Path, number: int, suffix: str, sharded: bool) -> list[Path]:
    """The files that a class has, or the one that it should have."""
    found = sorted(folder.glob(f"{number}_*.{suffix}")) if sharded else []
    return found or [folder / f"{number}{'_0' if sharded else ''}.{suffix}"]


def _why_no_file(folder: Path, path: Path) -> str | None:
    if not inside(folder, path):
        return "it is a symbolic link that leaves the dataset's folder"
    return None if path.is_file() else "there is no such file"


def _other_kind(folder: Path, suffix: str) -> str:
    other, kind = {"tfrecords": ("h5", "metadataset-h5"), "h5": ("tfrecords", "metadataset")}[suffix]
    found = any(any(some.glob(f"[0-9]*.{other}")) for some in (folder, *folder.iterdir()) if some.is_dir())
    return f"; it has .{other} files, which are of kind {kind}" if found else ""


def _is_dataset(folder: Path, suffix: str) -> bool:
    return (folder / SPECIFICATION).is_file() or any(folder.glob(f"[0-9]*.{suffix}"))
