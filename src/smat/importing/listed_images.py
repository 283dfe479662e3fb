"""Sources of image files with text lists: GTSRB, DomainNet, Oxford Pets, Food-101, DTD and CU Birds."""

from pathlib import Path

from smat.domains.imported import Refused
from smat.errors import DataError
from smat.importing.class_splits import numbered_names
from smat.importing.files import class_files, shown
from smat.importing.landmarks import find_root
from smat.importing.listing import Listing
from smat.importing.lists import (
    Line,
    Row,
    make_listing,
    one_number_each,
    present_lists,
    read_all_lines,
    read_lines,
    read_names,
    unparsed,
    whole_number,
)


def list_gtsrb(source: Path) -> list[Listing]:
    """The German Traffic Sign Recognition Benchmark: the training images, whole, as Meta-Dataset has them.

    Where there are only the test images and their labelled list, these.

    Raises:
        DataError: there is nothing of it.
    """
    root = find_root("gtsrb", source)
    names = numbered_names("gtsrb")
    rows: list[Row] = []
    refused: list[Refused] = []
    lists: list[Path] = []
    training = next((root / name for name in ("Final_Training/Images", "Training") if (root / name).is_dir()), None)
    labelled_test = root / "Final_Test/Images/GT-final_test.csv"
    if training is None:
        lists.append(labelled_test)
        rows, refused = _gtsrb_rows(root, labelled_test, names, None)
    for folder in sorted(path for path in training.iterdir() if path.is_dir()) if training else []:
        number = whole_number(folder.name)
        if number not in names:
            refused.append(Refused(shown(folder, root), "its name is no number of a class, 00000 to 00042"))
            continue
        annotations = folder / f"GT-{folder.name}.csv"
        if annotations.is_file():
            lists.append(annotations)
            try:
                more, wrong = _gtsrb_rows(root, annotations, names, number)
            except DataError as error:
                more, wrong = [], [Refused(shown(annotations, root), str(error))]
        else:  # the class is the folder's: the list is not needed
            images, wrong = class_files(folder, root)
            more = [Row(shown(path, root), shown(path, root), names[number]) for path in images]
        rows += more
        refused += wrong
    notes = ["the test images are left out, as in Meta-Dataset"] if training and labelled_test.is_file() else []
    present = {row.label for row in rows}
    classes = [name for name in names.values() if name in present]
    return [make_listing("gtsrb", root, rows, classes, refused, lists, flip=False, notes=notes)]


def _gtsrb_rows(
    root: Path, annotations: Path, names: dict[int, str], folder: int | None
) -> tuple[list[Row], list[Refused]]:
    """Rows of a list of GTSRB; `folder`: the class that all of them should have."""
    lines, refused = read_lines(root, annotations)
    header = lines[0][1].split(";") if lines else []
    if not {"Filename", "ClassId"} <= {*header}:
        return [], [*refused, Refused(shown(annotations, root), "its first line does not name Filename and ClassId")]
    rows: list[Row] = []
    for line in lines[1:]:
        fields = line[1].split(";")
        values = dict(zip(header, fields, strict=False))
        number = whole_number(values.get("ClassId", ""))
        if len(fields) != len(header) or "/" in values["Filename"] or number is None:
            refused.append(unparsed(line, ";".join(header)))
        elif number not in names or folder not in (number, None):
            expected = f"{folder}, as its folder says" if folder is not None else f"0 to {max(names)}"
            refused.append(Refused(line[0], f"its class is {number}; expected {expected}"))
        else:
            path = shown(annotations.parent, root) + "/" + values["Filename"]
            rows.append(Row(line[0], path, names[number]))
    return rows, refused


def list_domainnet(source: Path) -> list[Listing]:
    """DomainNet: a domain for each pair of lists `NAME_train.txt` and `NAME_test.txt`, whose images are joined.

    Raises:
        DataError: there is nothing of it.
    """
    root = find_root("domainnet", source)
    found = {path.stem.rpartition("_")[0] for part in ("train", "test") for path in root.glob(f"*_{part}.txt")}
    names = sorted(name for name in found if name and name.isprintable())
    without = [name for name in names if not (root / name).is_dir()]
    notes = [f"there are lists of '{name}', but no folder of it: it is left out" for name in without]
    if without == names:
        raise DataError(f"'{root}' has lists ({', '.join(names)}), but no folder of these names: unpack the images")
    return [_list_domain(root, name, notes) for name in names if name not in without]


def _list_domain(root: Path, name: str, notes: list[str]) -> Listing:
    """One domain of DomainNet; lines are `sketch/aircraft_carrier/sketch_001_000001.jpg 0`."""
    lists, alone = present_lists(root, (f"{name}_train.txt", f"{name}_test.txt"))
    lines, refused = read_all_lines(root, lists)
    numbered: list[tuple[Row, int]] = []
    for line in lines:
        path, _, last = line[1].rpartition(" ")
        number = whole_number(last)
        parts = path.strip().split("/")
        if number is None or len(parts) != 3 or parts[0] != name:
            refused.append(unparsed(line, f"'{name}/CLASS/IMAGE NUMBER'"))
        else:
            numbered.append((Row(line[0], path.strip(), parts[1]), number))
    rows, numbers, wrong = one_number_each(numbered)
    classes = sorted(numbers, key=numbers.__getitem__)
    refused += wrong
    return make_listing("domainnet", root, rows, classes, refused, lists, name=name, notes=[*notes, *alone])


def list_pets(source: Path) -> list[Listing]:
    """The Oxford-IIIT Pet data set; lines are `Abyssinian_100 1 1 1`, and a breed is what a name begins with.

    Raises:
        DataError: there is nothing of it.
    """
    root = find_root("pets", source)
    lists, notes = [root / "annotations/list.txt"], []
    if not lists[0].is_file():
        lists, notes = present_lists(root, ("annotations/trainval.txt", "annotations/test.txt"))
    lines, refused = read_all_lines(root, lists)
    numbered: list[tuple[Row, int]] = []
    for line in lines:
        if line[1].startswith("#"):
            continue
        name, *numbers = line[1].rsplit(None, 3)
        breed = name.rpartition("_")[0]
        number = whole_number(numbers[0]) if len(numbers) == 3 else None
        if number is None or not breed or "/" in name:
            refused.append(unparsed(line, "'BREED_NUMBER CLASS SPECIES BREED'"))
        else:
            numbered.append((Row(line[0], f"images/{name}.jpg", breed), number))
    rows, numbers, wrong = one_number_each(numbered)
    classes = sorted(numbers, key=numbers.__getitem__)
    return [make_listing("pets", root, rows, classes, [*refused, *wrong], lists, notes=notes)]


def list_food(source: Path) -> list[Listing]:
    """Food-101; lines of `train.txt` and `test.txt` are `apple_pie/1005649`.

    Raises:
        DataError: there is nothing of it.
    """
    root = find_root("food", source)
    named = root / "meta/classes.txt"
    lists, notes = present_lists(root, ("meta/train.txt", "meta/test.txt"))
    classes, refused = read_names(root, named)
    lines, wrong = read_all_lines(root, lists)
    refused += wrong
    rows: list[Row] = []
    for line in lines:
        label, _, image = line[1].partition("/")
        if not image or "/" in image:
            refused.append(unparsed(line, "'CLASS/IMAGE'"))
        elif label not in classes:
            refused.append(Refused(line[0], f"its class '{label}' is not in meta/classes.txt"))
        else:
            rows.append(Row(line[0], f"images/{line[1]}.jpg", label))
    return [make_listing("food", root, rows, list(classes), refused, [named, *lists], notes=notes)]


def list_dtd(source: Path) -> list[Listing]:
    """The Describable Textures Dataset, by its key attributes; lines begin with `banded/banded_0002.jpg`.

    Raises:
        DataError: there is nothing of it.
    """
    root = find_root("dtd", source)
    joint = root / "labels/labels_joint_anno.txt"
    lines, refused = read_lines(root, joint)
    rows: list[Row] = []
    for line in lines:
        path, *attributes = line[1].split()
        label, _, image = path.partition("/")
        if not label or image.rpartition("_")[0] != label or any("/" in word for word in attributes):
            refused.append(unparsed(line, "'CLASS/CLASS_NUMBER.jpg' and its attributes"))
        else:
            rows.append(Row(line[0], f"images/{path}", label))
    return [make_listing("dtd", root, rows, sorted({row.label for row in rows}), refused, [joint])]


def list_cub(source: Path) -> list[Listing]:
    """Caltech-UCSD Birds 200-2011, whole images, as Meta-Dataset has them.

    Raises:
        DataError: there is nothing of it.
    """
    root = find_root("cub", source)
    lists = [root / name for name in ("classes.txt", "image_class_labels.txt", "images.txt")]
    refused: list[Refused] = []
    names, labels, images = (_by_number(root, path, refused) for path in lists)
    rows: list[Row] = []
    for image, (place, path) in images.items():
        label = names.get(whole_number(labels.get(image, ("", ""))[1]) or -1, ("", ""))[1]
        if not label:
            refused.append(Refused(place, f"'{path}' has no class in image_class_labels.txt that classes.txt names"))
        elif path.split("/")[:-1] != [label]:
            refused.append(
                Refused(place, f"'{path}' is not in the folder of its class, which the lists say is '{label}'")
            )
        else:
            rows.append(Row(place, f"images/{path}", label))
    classes = dict.fromkeys(name for _, name in names.values())
    return [make_listing("cub", root, rows, list(classes), refused, lists)]


def _by_number(root: Path, path: Path, refused: list[Refused]) -> dict[int, Line]:
    """What a list of lines `NUMBER TEXT` says of each number, and where; what is wrong is added to `refused`."""
    lines, wrong = read_lines(root, path)
    refused += wrong
    said: dict[int, Line] = {}
    for line in lines:
        first, _, text = line[1].partition(" ")
        number = whole_number(first)
        if number is None or not text:
            refused.append(unparsed(line, "'NUMBER TEXT'"))
        elif number in said:
            refused.append(Refused(line[0], f"{number} is in {said[number][0]} already"))
        else:
            said[number] = (line[0], text.strip())
    return said
