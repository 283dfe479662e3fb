"""Where the files of a source begin, and which kind a folder might be."""

from pathlib import Path

from smat.errors import DataError
from smat.importing.files import inside

LANDMARKS = {
    "aircraft": ("data/images_variant_*.txt",),
    "cars": ("devkit/cars_*.mat", "cars_annos.mat"),
    "coco": ("annotations/instances_*2017.json", "instances_*2017.json"),
    "cub": ("image_class_labels.txt",),
    "domainnet": ("*_train.txt", "*_test.txt"),
    "dtd": ("labels/labels_joint_anno.txt",),
    "flowers": ("imagelabels.mat",),
    "food": ("meta/classes.txt",),
    "gtsrb": ("Final_Training/Images", "Training/00000", "Final_Test/Images/GT-final_test.csv"),
    "omniglot": ("images_background", "images_evaluation"),
    "pets": ("annotations/list.txt", "annotations/trainval.txt"),
    "quickdraw": ("*.npy", "*.ndjson"),
}
"""By kind: patterns, one of which something in the source's folder matches."""


def find_root(kind: str, source: Path) -> Path:
    """The folder that has the landmark of a kind: the source itself, or one in it.

    Raises:
        DataError: there is none; the message says which kind it might be instead.
    """
    try:
        within = [path for path in source.iterdir() if path.is_dir() and inside(source, path)]
        folders = [source, *sorted(path for path in within if not path.name.startswith((".", "__MACOSX")))]
    except OSError as error:
        raise DataError(f"'{source}' cannot be read as a folder: {error.strerror or error}") from error
    for folder in folders:
        if _has(folder, kind):
            return folder
    wanted = " or ".join(f"'{pattern}'" for pattern in LANDMARKS[kind])
    others = [other for other in LANDMARKS if any(_has(folder, other) for folder in folders)]
    guess = f"; it might be of kind {' or '.join(others)}" if others else ""
    raise DataError(
        f"'{source}' is not of kind {kind}: neither it nor a folder in it has {wanted}{guess}. Give the folder that "
        "the archives were unpacked to"
    )


def _has(folder: Path, kind: str) -> bool:
    return any(next(folder.glob(pattern), None) is not None for pattern in LANDMARKS[kind])
