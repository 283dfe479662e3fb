"""miniImageNet, tieredImageNet, CIFAR-FS and FC100, in the forms that few-shot code reads them in."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from smat.domains.domain import SPLITS
from smat.domains.imported import Refused, listed
from smat.errors import DataError
from smat.importing.csv_lists import Csv
from smat.importing.files import class_files, inside, shown
from smat.importing.kind import Kind, Known
from smat.importing.listing import Listing, Part
from smat.importing.lists import Row, make_listing, read_names
from smat.importing.packed_images import Packed, read_packed
from smat.importing.stored import Stored, read_stored, stored_parts


@dataclass(frozen=True, kw_only=True)
class FewShotSet(Kind):
    """A set whose classes are divided by its files: one for each split, or a list of names for each.

    Attributes:
        packed: of each form, the files of a split: that of the images, and that of the labels where it is another one.
            `{split}` stands for `train`, `val` or `test`, `{phase}` for `train_phase_train`, `val` or `test`. The first
            form that is there is read.
        table: the CSV file of a split, with columns `filename` and `label`, beside a folder `images`.
        names: the list of a split's class names, beside a folder `data` of class folders.
    """

    name: str
    summary: str
    files: str
    known: tuple[Known, ...]
    landmarks: tuple[str, ...] = field(init=False, default=())
    packed: tuple[tuple[str, ...], ...]
    table: str = ""
    names: str = ""

    def __post_init__(self) -> None:
        patterns = [form[0] for form in self.packed] + [one for one in (self.table, self.names) if one]
        object.__setattr__(self, "landmarks", tuple(path for one in patterns for path in self._of(one).values()))

    def list_domains(self, root: Path) -> list[Listing]:
        """One domain, divided as its files say."""
        for form in self.packed:
            files = {split: names for split, names in self._forms(root, form).items() if names[0].exists()}
            if files:
                return [self._of_packed(root, files)]
        tables = {root / name: split for split, name in self._of(self.table).items() if (root / name).is_file()}
        if tables and (root / "images").is_dir():
            reader = Csv(name=self.name, image_column="filename", image_folder="images", takes_file=False)
            return [reader.listing(root, tables, self.name)]
        lists = {split: root / name for split, name in self._of(self.names).items() if (root / name).is_file()}
        if lists and (root / "data").is_dir():
            return [self._of_folders(root, lists)]
        raise DataError(f"'{root}' is not {self.name}: it needs {self.files}")

    def _of(self, pattern: str) -> dict[str, str]:
        """The name of each split's file."""
        phases = {split: "train_phase_train" if split == "train" else split for split in SPLITS}
        return {split: pattern.format(split=split, phase=phases[split]) for split in SPLITS} if pattern else {}

    def _forms(self, root: Path, form: Sequence[str]) -> dict[str, list[Path]]:
        by_split = [self._of(pattern) for pattern in form]
        return {split: [root / names[split] for names in by_split] for split in SPLITS}

    def _of_packed(self, root: Path, files: Mapping[str, list[Path]]) -> Listing:
        refused: list[Refused] = []
        found: dict[str, Packed] = {}
        for split, paths in files.items():
            try:
                for path in paths:
                    if not inside(root, path):
                        raise DataError(
                            f"'{path}' is a symbolic link that leaves the source folder: put the file there"
                        )
                found[split] = read_packed(*paths)
            except DataError as error:
                refused.append(Refused(shown(paths[0], root), f"none of it is read: {error}"))
                continue
            refused += [Refused(f"{shown(paths[0], root)}#{row}", why) for row, why in found[split].refused]
        if not any(packed.rows for packed in found.values()):
            raise DataError(f"nothing of {self.name} in '{root}' can be read:{listed(refused)}")
        classes, parts = _classes(root, found)
        missing = [split for split in SPLITS if split not in files]
        return Listing(
            name=self.name,
            classes=tuple(name for names in classes.values() for name in names),
            splits=classes,
            parts=parts,
            read=read_stored,
            files=[path for paths in files.values() for path in paths],
            refused=tuple(refused),
            notes=tuple(f"there is no file of {split}: its classes are missing" for split in missing),
        )

    def _of_folders(self, root: Path, lists: Mapping[str, Path]) -> Listing:
        refused: list[Refused] = []
        owner: dict[str, str] = {}
        rows: list[Row] = []
        for split, path in lists.items():
            names, wrong = read_names(root, path)
            refused += wrong
            for name in names:
                folder = root / "data" / name
                problem = (
                    f"class '{name}' is in the list of {owner[name]} too" if name in owner
                    else f"there is no folder 'data/{name}'" if Path(name).name != name or not folder.is_dir()
                    else ""
                )  # fmt: skip
                if problem:
                    refused.append(Refused(shown(path, root), problem))
                    continue
                owner[name] = split
                images, wrong = class_files(folder, root)
                refused += wrong
                rows += [Row(shown(image, root), shown(image, root), name) for image in images]
        others = sorted(
            folder.name for folder in (root / "data").iterdir() if folder.is_dir() and folder.name not in owner
        )
        refused += [Refused(f"data/{name}", "no list of a split has this class") for name in others]
        listing = make_listing(self, root, rows, list(owner), refused, list(lists.values()))
        splits = {split: tuple(name for name in owner if owner[name] == split) for split in SPLITS}
        return replace(listing, splits={split: names for split, names in splits.items() if names}, notes=())


def _classes(root: Path, found: Mapping[str, Packed]) -> tuple[dict[str, tuple[str, ...]], list[Part]]:
    """Class names by split, and the parts of all classes; numbers that stand for several classes get their split."""
    names = [name for packed in found.values() for name in packed.rows]
    ambiguous = {name for name in names if names.count(name) > 1}
    classes: dict[str, tuple[str, ...]] = {}
    parts: list[Part] = []
    label = 0
    for split, packed in found.items():
        called = {name: f"{split} {name}" if name in ambiguous else name for name in packed.rows}
        classes[split] = tuple(called.values())
        stored = Stored(shown(packed.file, root), packed.shape)
        for rows in packed.rows.values():
            parts += stored_parts(label, root, stored, [(str(row), *packed.places[row]) for row in rows])
            label += 1
    return classes, parts


MINI_IMAGENET = FewShotSet(
    name="miniimagenet",
    summary="miniImageNet, with the split of Ravi and Larochelle",
    files="mini-imagenet-cache-train.pkl or miniImageNet_category_split_train_phase_train.pickle, or images with "
    "train.csv; and those of val and test",
    packed=(("mini-imagenet-cache-{split}.pkl",), ("miniImageNet_category_split_{phase}.pickle",)),
    table="{split}.csv",
    known=(Known(("miniimagenet",), "miniImageNet", 100, 60_000, 600, (64, 16, 20), divided_by="its authors"),),
)
TIERED_IMAGENET = FewShotSet(
    name="tieredimagenet",
    summary="tieredImageNet",
    files="train_images_png.pkl or train_images.npz, with train_labels.pkl, and the same of val and test",
    packed=(
        ("{split}_images_png.pkl", "{split}_labels.pkl"),
        ("{split}_images.npz", "{split}_labels.pkl"),
    ),
    known=(
        Known(("tieredimagenet",), "tieredImageNet", 608, 779_165, splits=(351, 97, 160), divided_by="its authors"),
    ),
)
CIFAR_FS = FewShotSet(
    name="cifar-fs",
    summary="CIFAR-FS, with the split of Bertinetto et al.",
    files="CIFAR_FS_train.pickle, or class folders in data with splits/bertinetto/train.txt; and those of val and test",
    packed=(("CIFAR_FS_{split}.pickle",),),
    names="splits/bertinetto/{split}.txt",
    known=(Known(("cifarfs",), "CIFAR-FS", 100, 60_000, 600, (64, 16, 20), divided_by="its authors"),),
)
FC100 = FewShotSet(
    name="fc100",
    summary="FC100",
    files="FC100_train.pickle, FC100_val.pickle and FC100_test.pickle",
    packed=(("FC100_{split}.pickle",),),
    known=(Known(("fc100",), "FC100", 100, 60_000, 600, (60, 20, 20), divided_by="its authors"),),
)
