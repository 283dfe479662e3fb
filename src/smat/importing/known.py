"""How many classes and images the well-known sources have, as their authors and Meta-Dataset say."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Known:
    """Numbers of a source; None: not said, since it depends on what is taken of it.

    Attributes:
        title: what it is.
        classes: number of classes.
        images: number of images.
        each: number of images of each class, where all have the same.
        splits: number of training, validation and test classes in Meta-Dataset.
    """

    title: str
    classes: int
    images: int | None = None
    each: int | None = None
    splits: tuple[int, int, int] | None = None


_SOURCES = {
    ("ilsvrc2012", "ilsvrc", "imagenet"): Known("ILSVRC-2012", 1000, splits=(712, 158, 130)),
    ("omniglot",): Known("Omniglot", 1623, 32_460, 20, (883, 81, 659)),
    ("aircraft",): Known("FGVC-Aircraft", 100, 10_000, 100, (70, 15, 15)),
    ("cub", "cubirds"): Known("CU Birds 200-2011", 200, 11_788, splits=(140, 30, 30)),
    ("dtd",): Known("Describable Textures", 47, 5_640, 120, (33, 7, 7)),
    ("quickdraw",): Known("Quick, Draw!", 345, 50_426_266, splits=(241, 52, 52)),
    ("fungi",): Known("FGVCx Fungi", 1394, 89_760, splits=(994, 200, 200)),
    ("flowers", "vggflower"): Known("VGG Flower 102", 102, 8_189, splits=(71, 15, 16)),
    ("gtsrb", "trafficsign", "trafficsigns"): Known("GTSRB, training images", 43, 39_209, splits=(0, 0, 43)),
    ("coco", "mscoco"): Known("MSCOCO", 80, splits=(0, 40, 40)),
    ("mnist",): Known("MNIST", 10, 70_000),
    ("fashionmnist",): Known("Fashion-MNIST", 10, 70_000, 7_000),
    ("kmnist", "kuzushijimnist"): Known("Kuzushiji-MNIST", 10, 70_000, 7_000),
    ("cifar10",): Known("CIFAR-10", 10, 60_000, 6_000),
    ("cifar100",): Known("CIFAR-100", 100, 60_000, 600),
    ("food", "food101"): Known("Food-101", 101, 101_000, 1_000),
    ("pets",): Known("Oxford-IIIT Pet", 37, 7_349),
    ("cars",): Known("Stanford Cars", 196, 16_185),
    ("sketch",): Known("DomainNet's Sketch", 345, 69_128),
    ("clipart",): Known("DomainNet's Clipart", 345, 48_129),
    ("infograph", "painting", "real", "domainnet"): Known("DomainNet", 345),
}
KNOWN: Mapping[str, Known] = {name: known for names, known in _SOURCES.items() for name in names}


def known_source(name: str) -> Known | None:
    """The source of a domain's name, whatever its capitals and separators."""
    return KNOWN.get("".join(letter for letter in name.lower() if letter.isalnum()))
