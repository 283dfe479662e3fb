"""Sources of image files whose labels are in MATLAB files: Stanford Cars and VGG Flower 102."""

from pathlib import Path

import numpy as np

from smat.domains.imported import Refused
from smat.errors import DataError
from smat.importing.class_splits import numbered_names
from smat.importing.files import shown
from smat.importing.landmarks import find_root
from smat.importing.listing import Listing
from smat.importing.lists import Row, is_text, make_listing
from smat.importing.matlab import read_mat


def list_flowers(source: Path) -> list[Listing]:
    """VGG Flower 102: `jpg/image_00001.jpg` is of the first class number in `imagelabels.mat`, and so on.

    The classes have Meta-Dataset's names, such as `001.pink primrose`.

    Raises:
        DataError: there is nothing of it.
    """
    root = find_root("flowers", source)
    path = root / "imagelabels.mat"
    labels = _variable(read_mat(root, path), "labels", path)
    if labels.ndim > 1 or labels.dtype.kind not in "uif":
        raise DataError(f"'{path}' has labels {labels.dtype} {labels.shape}; expected a row of class numbers")
    names = numbered_names("flowers")
    rows: list[Row] = []
    refused: list[Refused] = []
    for image, label in enumerate(np.atleast_1d(labels).tolist(), start=1):
        place = f"imagelabels.mat, image {image}"
        if label in names:
            rows.append(Row(place, f"jpg/image_{image:05d}.jpg", names[label]))
        else:
            refused.append(Refused(place, f"its class is {label}; expected 1 to {max(names)}"))
    present = {row.label for row in rows}
    classes = [name for name in names.values() if name in present]
    return [make_listing("flowers", root, rows, classes, refused, [path])]


def list_cars(source: Path) -> list[Listing]:
    """Stanford Cars: training and test images, whole, joined by class.

    Either of its forms: `cars_train` and `cars_test` with the development kit, or `car_ims` with `cars_annos.mat`.

    Raises:
        DataError: there is nothing of it.
    """
    root = find_root("cars", source)
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
    names: list[str] = np.atleast_1d(_variable(read_mat(root, named), "class_names", named)).tolist()
    if not all(isinstance(name, str) and is_text(name) for name in names) or len(set(names)) < len(names):
        raise DataError(f"'{named}' has class names that are no text, empty or there twice: unpack the archive again")
    rows: list[Row] = []
    refused: list[Refused] = []
    for path, field, folder in lists:
        try:
            annotations = np.atleast_1d(_variable(read_mat(root, path), "annotations", path))
        except DataError as error:
            refused.append(Refused(shown(path, root), str(error)))
            continue
        if not {"class", field} <= {*(annotations.dtype.names or ())}:
            refused.append(Refused(shown(path, root), f"its annotations have no fields 'class' and '{field}'"))
            continue
        for number, (label, image) in enumerate(zip(annotations["class"], annotations[field], strict=True), start=1):
            place = f"{shown(path, root)}, annotation {number}"
            known = np.size(label) == 1 and np.asarray(label).dtype.kind in "uif" and 1 <= label <= len(names)
            if not known or label != int(label) or not isinstance(image, str):
                refused.append(Refused(place, f"it says class {label}, image {image!r}; expected 1 to {len(names)}"))
            else:
                rows.append(Row(place, folder + image, names[int(label) - 1]))
    return [make_listing("cars", root, rows, names, refused, [named, *(path for path, _, _ in lists)], notes=notes)]


def _variable(variables: dict[str, np.ndarray], name: str, path: Path) -> np.ndarray:
    if name not in variables:
        raise DataError(f"'{path}' has no '{name}', but {', '.join(variables) or 'nothing'}: is it another file?")
    return variables[name]
