"""The German Traffic Sign Recognition Benchmark: a list of images in each class's folder."""

import re
from pathlib import Path

from smat.domains.imported import Refused
from smat.domains.tracks import GTSRB_TRACKS
from smat.errors import DataError
from smat.importing.class_splits import META_DATASET, numbered_names
from smat.importing.files import class_files, shown
from smat.importing.kind import Kind, Known
from smat.importing.listing import Listing
from smat.importing.lists import Row, make_listing, read_lines, unparsed, whole_number


class Gtsrb(Kind):
    """The training images, whole, as Meta-Dataset has them.

    Where there are only the test images and their labelled list, these. Training images come in tracks of up to 30
    frames of one sign, by their names; the names of the test images do not say their tracks.
    """

    name = "gtsrb"
    summary = "German Traffic Sign Recognition Benchmark (Traffic Sign), the training images"
    files = "Final_Training/Images with 00000 … 00042"
    landmarks = ("Final_Training/Images", "Training/00000", "Final_Test/Images/GT-final_test.csv")
    known = (
        Known(
            ("gtsrb", "trafficsign", "trafficsigns"),
            "GTSRB, training images",
            43,
            39_209,
            splits=(0, 0, 43),
            tracks=True,
        ),
    )
    splits = META_DATASET["gtsrb"]

    def list_domains(self, root: Path) -> list[Listing]:
        """One domain, whose classes have Meta-Dataset's names, such as `14.Stop`."""
        names = numbered_names(self)
        rows: list[Row] = []
        refused: list[Refused] = []
        lists: list[Path] = []
        training = next((root / name for name in ("Final_Training/Images", "Training") if (root / name).is_dir()), None)
        labelled_test = root / "Final_Test/Images/GT-final_test.csv"
        if training is None:
            lists.append(labelled_test)
            rows, refused = _rows(root, labelled_test, names, None)
        for folder in sorted(path for path in training.iterdir() if path.is_dir()) if training else []:
            number = whole_number(folder.name)
            if number not in names:
                refused.append(Refused(shown(folder, root), "its name is no number of a class, 00000 to 00042"))
                continue
            annotations = folder / f"GT-{folder.name}.csv"
            if annotations.is_file():
                lists.append(annotations)
                try:
                    more, wrong = _rows(root, annotations, names, number)
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
        without = next((row.path for row in rows if not re.search(GTSRB_TRACKS, row.path)), None)
        if without:
            notes.append(
                f"no tracks, since names such as '{without}' do not say them: an episode may have one sign twice"
            )
        tracks = None if without else GTSRB_TRACKS
        return [make_listing(self, root, rows, classes, refused, lists, notes=notes, tracks=tracks)]


def _rows(root: Path, annotations: Path, names: dict[int, str], folder: int | None) -> tuple[list[Row], list[Refused]]:
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
