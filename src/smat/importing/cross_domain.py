"""The four target data sets of the cross-domain benchmark (BSCD-FSL, Guo et al. 2020), by its rules."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from smat.domains.imported import Refused
from smat.errors import DataError
from smat.importing.csv_tables import read_table
from smat.importing.files import class_files, printable, shown
from smat.importing.kind import Kind, Known
from smat.importing.listing import Listing
from smat.importing.lists import Row, make_listing

_BY = "The benchmark"


@dataclass(frozen=True, kw_only=True)
class ClassFolders(Kind):
    """Class folders in the first of some folders that is there.

    Attributes:
        places: the folders, from the root on.
        notes: what to know besides.
    """

    name: str
    summary: str
    files: str
    landmarks: tuple[str, ...]
    known: tuple[Known, ...]
    places: tuple[str, ...]
    notes: tuple[str, ...] = ()
    divided_by: str = _BY

    def list_domains(self, root: Path) -> list[Listing]:
        """One domain."""
        top = next((root / place for place in self.places if (root / place).is_dir()), None)
        if top is None:
            raise DataError(f"'{root}' has no folder {' or '.join(self.places)}: unpack the archive there")
        refused: list[Refused] = []
        rows: list[Row] = []
        for folder in sorted(path for path in top.iterdir() if path.is_dir() and not path.name.startswith(".")):
            images, wrong = class_files(folder, root)
            refused += wrong
            if not images and not wrong:
                refused.append(Refused(shown(folder, root), "no images in this class folder"))
            rows += [Row(shown(image, root), shown(image, root), printable(folder.name)) for image in images]
        classes = sorted({row.label for row in rows})
        return [make_listing(self, root, rows, classes, refused, [top], notes=self.notes)]


class Isic(Kind):
    """The training images of ISIC 2018, task 3, with the class whose column is not 0."""

    name = "isic"
    summary = "ISIC 2018, task 3 (skin lesions), the training images"
    files = "ISIC2018_Task3_Training_Input and ISIC2018_Task3_Training_GroundTruth.csv"
    landmarks = (
        "ISIC2018_Task3_Training_GroundTruth/ISIC2018_Task3_Training_GroundTruth.csv",
        "ISIC2018_Task3_Training_GroundTruth.csv",
    )
    known = (Known(("isic", "isic2018"), "ISIC 2018 task 3", 7, 10_015),)
    divided_by = _BY
    classes = ("MEL", "NV", "BCC", "AKIEC", "BKL", "DF", "VASC")

    def list_domains(self, root: Path) -> list[Listing]:
        """One domain."""
        table = next(root / place for place in self.landmarks if (root / place).is_file())
        records, refused = read_table(root, table, ("image", *self.classes))
        rows: list[Row] = []
        for record in records:
            marked = [name for name in self.classes if _is_marked(record.cells, name)]
            if len(marked) != 1:
                said = f"it is of {' and '.join(marked) or 'no class'}; expected one column that is not 0"
                refused.append(Refused(record.place, said))
            else:
                path = f"ISIC2018_Task3_Training_Input/{record.cells['image'].removesuffix('.jpg')}.jpg"
                rows.append(Row(record.place, path, marked[0]))
        return [make_listing(self, root, rows, self.classes, refused, [table])]


def _is_marked(cells: Mapping[str, str], name: str) -> bool:
    """Whether a cell is a number other than 0."""
    try:
        return float(cells[name]) != 0
    except ValueError:
        return False


class ChestX(Kind):
    """The X-rays of ChestX-ray8 that have one finding, one of the seven that the benchmark uses."""

    name = "chestx"
    summary = "ChestX-ray8, the images with one finding of seven"
    files = "Data_Entry_2017.csv, and images or images_001 … images_012"
    landmarks = ("Data_Entry_2017*.csv",)
    known = (Known(("chestx",), "ChestX of the benchmark", 7),)
    divided_by = _BY
    classes = ("Atelectasis", "Cardiomegaly", "Effusion", "Infiltration", "Mass", "Nodule", "Pneumothorax")

    def list_domains(self, root: Path) -> list[Listing]:
        """One domain."""
        table = min(path for path in root.glob("Data_Entry_2017*.csv"))
        records, refused = read_table(root, table, ("Image Index", "Finding Labels"))
        paths = {
            path.name: shown(path, root)
            for pattern in ("images/*.png", "images_*/images/*.png")
            for path in sorted(root.glob(pattern))
        }
        rows: list[Row] = []
        others = 0
        for record in records:
            image, label = record.cells["Image Index"], record.cells["Finding Labels"]
            if label not in self.classes:  # several findings, none, or one that the benchmark leaves out
                others += 1
            elif image not in paths:
                refused.append(Refused(record.place, f"there is no image '{image}' in images or images_*/images"))
            else:
                rows.append(Row(record.place, paths[image], label))
        note = f"{others:,} images with no finding, several, or another one are left out, as in the benchmark"
        return [make_listing(self, root, rows, self.classes, refused, [table], notes=[note])]


CROP_DISEASE = ClassFolders(
    name="cropdisease",
    summary="Plant Disease (CropDisease), the training images",
    files="dataset/train with class folders",
    landmarks=("dataset/train", "train/Apple___Apple_scab"),
    known=(Known(("cropdisease", "cropdiseases", "plantdisease"), "CropDisease of the benchmark", 38, 43_456),),
    places=("dataset/train", "train"),
    notes=("the test images are left out, as in the benchmark",),
)
EUROSAT = ClassFolders(
    name="eurosat",
    summary="EuroSAT, the images in red, green and blue",
    files="2750 with class folders",
    landmarks=("2750", "AnnualCrop"),
    known=(Known(("eurosat",), "EuroSAT", 10, 27_000),),
    places=("2750", "."),
)
