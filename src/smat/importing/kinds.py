"""The kinds of sources that can be imported, by name."""

import importlib
from dataclasses import dataclass
from pathlib import Path

from smat.errors import ConfigError, DataError
from smat.importing.listing import Listing


@dataclass(frozen=True)
class Kind:
    """A kind of source.

    Attributes:
        summary: what it is.
        files: what its folder holds.
        importer: module of this package, and after `:` the function if it is not `list_domains`.
    """

    summary: str
    files: str
    importer: str


KINDS = {
    "metadataset": Kind(
        "Meta-Dataset as its official conversion writes it",
        "dataset_spec.json and 0.tfrecords, 1.tfrecords, … in a folder, or in a folder for each data set",
        "metadataset",
    ),
    "metadataset-h5": Kind(
        "Meta-Dataset as the public files of PMF have it",
        "0.h5, 1.h5, … in a folder, or in a folder for each data set",
        "metadataset_h5",
    ),
    "folder": Kind(
        "any images, in a folder for each class",
        "class folders, or train, val and test folders of class folders",
        "folder",
    ),
    "cifar": Kind(
        "CIFAR-10 and CIFAR-100, the Python version",
        "data_batch_1 … 5, test_batch and batches.meta; or train, test and meta",
        "cifar",
    ),
    "mnist": Kind(
        "MNIST, and what has its format: Fashion-MNIST, Kuzushiji-MNIST, EMNIST",
        "train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-… of both, gzipped (.gz) or not",
        "mnist",
    ),
    "gtsrb": Kind(
        "German Traffic Sign Recognition Benchmark (Traffic Sign), the training images",
        "Final_Training/Images with 00000 … 00042",
        "listed_images:list_gtsrb",
    ),
    "coco": Kind(
        "MSCOCO: the objects, cut out of the images by their boxes",
        "annotations/instances_train2017.json and train2017",
        "coco:list_coco",
    ),
    "domainnet": Kind(
        "DomainNet: Sketch, Clipart and the others",
        "sketch, clipart, …, and sketch_train.txt, sketch_test.txt, …",
        "listed_images:list_domainnet",
    ),
    "pets": Kind("Oxford-IIIT Pet", "images and annotations/list.txt", "listed_images:list_pets"),
    "cars": Kind(
        "Stanford Cars", "cars_train, cars_test and devkit, or car_ims and cars_annos.mat", "matlab_lists:list_cars"
    ),
    "food": Kind("Food-101", "images and meta with classes.txt, train.txt and test.txt", "listed_images:list_food"),
    "flowers": Kind("VGG Flower 102", "jpg and imagelabels.mat", "matlab_lists:list_flowers"),
    "dtd": Kind("Describable Textures", "images and labels/labels_joint_anno.txt", "listed_images:list_dtd"),
    "aircraft": Kind(
        "FGVC-Aircraft, cut out of the images by their boxes",
        "data with images, images_box.txt, variants.txt and images_variant_*.txt",
        "aircraft:list_aircraft",
    ),
    "cub": Kind(
        "CU Birds (CUB-200-2011)",
        "images, images.txt, classes.txt and image_class_labels.txt",
        "listed_images:list_cub",
    ),
    "omniglot": Kind("Omniglot", "images_background and images_evaluation", "omniglot:list_omniglot"),
    "quickdraw": Kind("Quick, Draw!", "NAME.ndjson or NAME.npy of each class", "quickdraw:list_quickdraw"),
}


def list_domains(kind: str, source: str | Path) -> list[Listing]:
    """The domains of a source.

    Args:
        kind: of `KINDS`.
        source: its folder.

    Raises:
        ConfigError: an unknown kind.
        DataError: nothing there can be imported as this kind.
    """
    if kind not in KINDS:
        raise ConfigError(f"kind is {kind!r}; the kinds are {', '.join(KINDS)}")
    if not Path(source).is_dir():
        raise DataError(f"there is no folder '{source}'; for {kind}, give one with {KINDS[kind].files}")
    module, _, function = KINDS[kind].importer.partition(":")
    importer = importlib.import_module(f"{__package__}.{module}")
    listings: list[Listing] = getattr(importer, function or "list_domains")(Path(source))
    return listings
