"""Images that a table lists with their classes: a CSV file, or one for each split."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from smat.domains.domain import SPLITS
from smat.domains.formats import IMAGE_SUFFIXES
from smat.domains.imported import Refused
from smat.domains.layout import split_of
from smat.domains.splits import splits_beside
from smat.errors import DataError
from smat.importing.class_splits import own_splits
from smat.importing.csv_tables import Record, read_table
from smat.importing.kind import Kind, Known
from smat.importing.listing import Listing
from smat.importing.lists import Row, make_listing, path_problem

_SUFFIXES = ("csv", "tsv")


@dataclass(frozen=True, kw_only=True)
class Csv(Kind):
    """One domain of a file, or of files `train`, `val` and `test` in a folder.

    A column `split`, or the files' names, divide the classes. Where they divide the images of a class, these are
    joined, and all classes are for testing.

    Attributes:
        image_column: column of the images' paths.
        label_column: column of the class names.
        split_column: column of the splits; it need not be there.
        image_folder: folder that the paths start from, itself from the file's folder on.
        suffix: what is added to each path, as `.jpg`.
    """

    name: str = "csv"
    summary: str = "any images that a CSV file lists with their classes"
    files: str = "a CSV file with the columns file and label, or the file itself"
    landmarks: tuple[str, ...] = tuple(f"*.{suffix}" for suffix in _SUFFIXES)
    known: tuple[Known, ...] = ()
    takes_file: bool = True
    image_column: str = "file"
    label_column: str = "label"
    split_column: str = "split"
    image_folder: str = ""
    suffix: str = ""

    def list_domains(self, root: Path) -> list[Listing]:
        """One domain, called as the file or the folder that is given."""
        name = root.stem if root.is_file() else root.resolve().name
        tables = {root: ""} if root.is_file() else _tables(root)
        return [self.listing(root.parent if root.is_file() else root, tables, name)]

    def listing(self, root: Path, tables: Mapping[Path, str], name: str) -> Listing:
        """The listing of what the tables say.

        Args:
            root: folder of the tables.
            tables: the files, and the split that each is of; empty: the column says it, if anything does.
            name: name of the domain.

        Raises:
            DataError: a table cannot be read, or there is no row that can be used.
        """
        refused: list[Refused] = []
        places: dict[str, str] = {}
        rows: list[Row] = []
        found: dict[str, set[str]] = {}
        options = "--image-column and --label-column name others" if self.takes_file else "unpack the file again"
        for path, of_file in tables.items():
            records, wrong = read_table(root, path, (self.image_column, self.label_column), f"; {options}")
            refused += wrong
            for record in records:
                image, label, split = self._said(record, of_file)
                problem = self._problem(root, image, label, split) or _twice(places, image, label)
                if problem:
                    refused.append(Refused(record.place, problem))
                    continue
                places[f"{image}\n{label}"] = record.place
                rows.append(Row(record.place, image, label))
                if split is not None:
                    found.setdefault(split, set()).add(label)
        classes = sorted({row.label for row in rows})
        listing = make_listing(self, root, rows, classes, refused, list(tables), name=name)
        source = next(iter(tables)) if len(tables) == 1 else root
        ordered = {split: sorted(found[split]) for split in SPLITS if split in found}
        by_split, notes = own_splits(source, classes, ordered, "splits", splits_beside(source, name))
        return replace(listing, splits=by_split, notes=notes)

    def _said(self, record: Record, of_file: str) -> tuple[str, str, str | None]:
        """Path, class and split of a row; None: there are no splits."""
        image = record.cells[self.image_column].replace("\\", "/")
        path = PurePosixPath(self.image_folder, f"{image}{self.suffix}").as_posix() if image else ""
        said = of_file or record.cells.get(self.split_column)
        return path, record.cells[self.label_column], said and (split_of(said) or said)

    def _problem(self, root: Path, image: str, label: str, split: str | None) -> str:
        """Why a row is not used; empty if there is no reason."""
        if not image or not label:
            return f"its '{self.label_column if image else self.image_column}' is empty"
        if split is not None and split not in SPLITS:
            return f"its split is '{split}'; expected {', '.join(SPLITS)}"
        if problem := path_problem(image):
            return problem
        if os.path.isfile(root / image):
            return ""
        others = (suffix for suffix in sorted(IMAGE_SUFFIXES) if os.path.isfile(root / f"{image}{suffix}"))
        suffix = next(others, "") if self.takes_file else ""
        return f"there is no file '{image}'" + (f", but one with {suffix}: give --suffix {suffix}" if suffix else "")


def _tables(root: Path) -> dict[Path, str]:
    """The tables in a folder: one, or those of the splits."""
    found = sorted(path for suffix in _SUFFIXES for path in root.glob(f"*.{suffix}"))
    of_split = {path: split for path in found if (split := split_of(path.stem))}
    if len(found) == 1:
        return {found[0]: of_split.get(found[0], "")}
    if len(set(of_split.values())) == len(of_split) == len(found):
        return of_split
    names = ", ".join(path.name for path in found[:20])
    raise DataError(
        f"'{root}' has {len(found)} tables ({names}): give one of them, or leave only train, val and test there"
    )


def _twice(places: Mapping[str, str], image: str, label: str) -> str:
    before = places.get(f"{image}\n{label}")
    return f"'{image}' is of this class already by '{before}'" if before else ""
