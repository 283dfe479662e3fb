"""Sources of image files whose labels are in MATLAB files: Stanford Cars and VGG Flower 102."""

from pathlib import Path
from typing import Any

from smat.domains.imported import Refused
from smat.errors import DataError
from smat.importing.apart import read_matlab
from smat.importing.class_splits import META_DATASET, numbered_names
from smat.importing.files import shown
from smat.importing.kind import Kind, Known
from smat.importing.listing import Listing
from smat.importing.lists import Row, is_text, make_listing, read_bytes

_MOST_BYTES = 2**25  # of a MATLAB file; those of Stanford Cars have less than 2**23


class Flowers(Kind):
    """`jpg/image_00001.jpg` is of the first class number in `imagelabels.mat`, and so on."""

    name = "flowers"
    summary = "VGG Flower 102"
    files = "jpg and imagelabels.mat"
    landmarks = ("imagelabels.mat",)
    known = (Known(("flowers", "vggflower"), "VGG Flower 102", 102, 8_189, splits=(71, 15, 16)),)
    splits = META_DATASET["flowers"]

    def list_domains(self, root: Path) -> list[Listing]:
        """One domain, whose classes have Meta-Dataset's names, such as `001.pink primrose`."""
        path = root / "imagelabels.mat"
        labels = _as_list(_variable(root, path, "labels"))
        if not all(isinstance(label, int | float) for label in labels):
            raise DataError(f"'{path}' has the labels {labels!s:.80}; expected a row of class numbers")
        names = numbered_names(self)
        rows: list[Row] = []
        refused: list[Refused] = []
        for image, label in enumerate(labels, start=1):
            place = f"imagelabels.mat, image {image}"
            if label in names:
                rows.append(Row(place, f"jpg/image_{image:05d}.jpg", names[label]))
            else:
                refused.append(Refused(place, f"its class is {label}; expected 1 to {max(names)}"))
        present = {row.label for row in rows}
        classes = [name for name in names.values() if name in present]
        return [make_listing(self, root, rows, classes, refused, [path])]


class Cars(Kind):
    """Training and test images, whole, joined by class.

    Either of its forms: `cars_train` and `cars_test` with the development kit, or `car_ims` with `cars_annos.mat`.
    """

    name = "cars"
    summary = "Stanford Cars"
    files = "cars_train, cars_test and devkit, or car_ims and cars_annos.mat"
    landmarks = ("devkit/cars_*.mat", "cars_annos.mat")
    known = (Known(("cars",), "Stanford Cars", 196, 16_185),)

    def list_domains(self, root: Path) -> list[Listing]:
        """One domain."""
        if (root / "car_ims").is_dir() and (root / "cars_annos.mat").is_file():
            named = root / "cars_annos.mat"
            lists = [(named, "relative_im_path", "")]
            notes: list[str] = []
        else:
            named = root / "devkit/cars_meta.mat"
            labelled = "cars_test_annos_withlabels.mat"
            test = root / labelled if (root / labelled).is_file() else root / "devkit" / labelled
            lists = [(root / "devkit/cars_train_annos.mat", "fname", "cars_train/"), (test, "fname", "cars_test/")]
            notes = [] if test.is_file() else [f"{labelled} is not there: the test images are left out"]
            lists = [entry for entry in lists if entry[0].is_file()]
        names = _as_list(_variable(root, named, "class_names"))
        if not all(isinstance(name, str) and is_text(name) for name in names) or len(set(names)) < len(names):
            raise DataError(
                f"'{named}' has class names that are no text, empty or there twice: unpack the archive again"
            )
        rows: list[Row] = []
        refused: list[Refused] = []
        for path, field, folder in lists:
            try:
                annotations = _as_list(_variable(root, path, "annotations"))
            except DataError as error:
                refused.append(Refused(shown(path, root), str(error)))
                continue
            if not all(isinstance(entry, dict) and {"class", field} <= {*entry} for entry in annotations):
                refused.append(Refused(shown(path, root), f"its annotations have no fields 'class' and '{field}'"))
                continue
            for number, entry in enumerate(annotations, start=1):
                place = f"{shown(path, root)}, annotation {number}"
                label, image = entry["class"], entry[field]
                if isinstance(image, str) and label in range(1, len(names) + 1):
                    rows.append(Row(place, folder + image, names[int(label) - 1]))
                else:
                    refused.append(
                        Refused(place, f"it says class {label}, image {image!r}; expected 1 to {len(names)}")
                    )
        return [make_listing(self, root, rows, names, refused, [named, *(path for path, _, _ in lists)], notes=notes)]


def _variable(root: Path, path: Path, name: str) -> Any:
    """A variable of a MATLAB file, as `read_matlab` gives it.

    Raises:
        DataError: the file cannot be read, or has no such variable.
    """
    content = read_bytes(root, path, _MOST_BYTES)
    try:
        variables = read_matlab(content)
    except DataError as error:
        raise DataError(f"'{path}' cannot be read as a MATLAB 5 file: {error}") from error
    if name not in variables:
        raise DataError(f"'{path}' has no '{name}', but {', '.join(variables) or 'nothing'}: is it another file?")
    return variables[name]


def _as_list(value: Any) -> list[Any]:
    """A row, from which a single value has been squeezed out."""
    return value if isinstance(value, list) else [value]
