"""Sources of image files with lists whose lines say an image and its class: Pets, Food-101, DTD and DomainNet."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from glob import escape
from pathlib import Path

from smat.domains.imported import Refused
from smat.errors import DataError
from smat.importing.class_splits import META_DATASET
from smat.importing.kind import Kind, Known
from smat.importing.listing import Listing
from smat.importing.lists import (
    Row,
    make_listing,
    one_number_per_class,
    read_all_lines,
    read_names,
    unparsed,
)


@dataclass(frozen=True, kw_only=True)
class LineLists(Kind):
    """A kind whose lists have lines of one form.

    Attributes:
        lists: patterns of the lists' names; of several such sets, the first that is there is read.
        pattern: regular expression of a line, with a group `label` and those that `path` is made of. With a group
            `number`, a class must have the same number in all lines. A line without a label is a comment.
        form: how a line should look, for messages.
        path: path of a line's image from the root on, with the pattern's groups in braces.
        classes: list of the class names, one per line; without it they are those of the lines.
    """

    name: str
    summary: str
    files: str
    landmarks: tuple[str, ...]
    lists: tuple[tuple[str, ...], ...]
    pattern: str
    form: str
    path: str
    classes: str = ""
    known: tuple[Known, ...] = ()
    splits: Mapping[str, Sequence[str]] | None = None

    def list_domains(self, root: Path) -> list[Listing]:
        """One domain."""
        return [self.listing(root)]

    def listing(
        self,
        root: Path,
        name: str | None = None,
        notes: Sequence[str] = (),
        problem: Callable[[Mapping[str, str]], str] = lambda groups: "",
    ) -> Listing:
        """The listing of what the lists say.

        Args:
            root: folder that the lists' names and images' paths start from.
            name: name of the domain; that of the kind if not given.
            notes: what to know besides.
            problem: says what is wrong with an image, from the pattern's groups; empty if nothing is.

        Raises:
            DataError: a list is missing or cannot be read, or there is no row that can be used.
        """
        files, more = self._present(root)
        named = [root / self.classes] if self.classes else []
        known, refused = read_names(root, named[0]) if named else ({}, [])
        lines, unread = read_all_lines(root, files)
        refused += unread
        rows: list[Row] = []
        numbers: list[int] = []
        pattern = re.compile(self.pattern)
        for line in lines:
            match = pattern.fullmatch(line[1])
            groups = match.groupdict() if match else {}
            label = groups.get("label")
            if not match:
                refused.append(unparsed(line, self.form))
            elif label is None:
                continue
            elif named and label not in known:
                refused.append(Refused(line[0], f"its class '{label}' is not in {self.classes}"))
            elif wrong := problem(groups):
                refused.append(Refused(line[0], wrong))
            else:
                rows.append(Row(line[0], self.path.format(**groups), label))
                numbers.append(int(groups.get("number", 0)))
        classes = list(known) if named else sorted({row.label for row in rows})
        if "number" in pattern.groupindex:
            rows, number_of, differing = one_number_per_class(list(zip(rows, numbers, strict=True)))
            classes = sorted(number_of, key=number_of.__getitem__)
            refused += differing
        return make_listing(self, root, rows, classes, refused, [*named, *files], name=name, notes=[*notes, *more])

    def _present(self, root: Path) -> tuple[list[Path], list[str]]:
        """The lists that are there, and what to say if one is missing."""
        for patterns in self.lists:
            found = [path for pattern in patterns for path in sorted(root.glob(pattern)) if path.is_file()]
            if len(found) >= len(patterns):
                return found, []
            if found:
                return found, [f"only the list {found[0].name} is there: images of the other one are missing"]
        raise DataError(f"'{root}' has neither {' nor '.join(self.lists[-1])}: unpack the lists there")


class DomainNet(LineLists):
    """A domain for each pair of lists `NAME_train.txt` and `NAME_test.txt`, whose images are joined."""

    def list_domains(self, root: Path) -> list[Listing]:
        """The domains that have a folder of their name."""
        found = {path.stem.rpartition("_")[0] for pattern in self.landmarks for path in root.glob(pattern)}
        names = sorted(name for name in found if name and name.isprintable())
        without = [name for name in names if not (root / name).is_dir()]
        notes = [f"there are lists of '{name}', but no folder of it: it is left out" for name in without]
        if without == names:
            raise DataError(f"'{root}' has lists ({', '.join(names)}), but no folder of these names: unpack the images")
        return [self._of(name).listing(root, name, notes) for name in names if name not in without]

    def _of(self, name: str) -> "DomainNet":
        return replace(
            self,
            lists=tuple(tuple(pattern.format(name=escape(name)) for pattern in some) for some in self.lists),
            pattern=self.pattern.replace("NAME", re.escape(name)),
            form=self.form.replace("NAME", name),
        )


PETS = LineLists(
    name="pets",
    summary="Oxford-IIIT Pet",
    files="images and annotations/list.txt",
    landmarks=("annotations/list.txt", "annotations/trainval.txt"),
    lists=(("annotations/list.txt",), ("annotations/trainval.txt", "annotations/test.txt")),
    pattern=r"#.*|(?P<label>[^/]+)_(?P<image>[^/_]*?)\s+(?P<number>[0-9]{1,9})\s+\S+\s+\S+",
    form="'BREED_NUMBER CLASS SPECIES BREED'",
    path="images/{label}_{image}.jpg",
    known=(Known(("pets",), "Oxford-IIIT Pet", 37, 7_349),),
)
FOOD = LineLists(
    name="food",
    summary="Food-101",
    files="images and meta with classes.txt, train.txt and test.txt",
    landmarks=("meta/classes.txt",),
    lists=(("meta/train.txt", "meta/test.txt"),),
    pattern=r"(?P<label>[^/]*)/(?P<image>[^/]+)",
    form="'CLASS/IMAGE'",
    path="images/{label}/{image}.jpg",
    classes="meta/classes.txt",
    known=(Known(("food", "food101"), "Food-101", 101, 101_000, 1_000),),
)
DTD = LineLists(
    name="dtd",
    summary="Describable Textures",
    files="images and labels/labels_joint_anno.txt",
    landmarks=("labels/labels_joint_anno.txt",),
    lists=(("labels/labels_joint_anno.txt",),),
    pattern=r"(?P<label>[^/\s]+)/(?P<image>(?P=label)_[^/_\s]*)(\s+[^/]*)?",
    form="'CLASS/CLASS_NUMBER.jpg' and its attributes",
    path="images/{label}/{image}",
    known=(Known(("dtd",), "Describable Textures", 47, 5_640, 120, (33, 7, 7)),),
    splits=META_DATASET["dtd"],
)
DOMAINNET = DomainNet(
    name="domainnet",
    summary="DomainNet: Sketch, Clipart and the others",
    files="sketch, clipart, …, and sketch_train.txt, sketch_test.txt, …",
    landmarks=("*_train.txt", "*_test.txt"),
    lists=(("{name}_train.txt", "{name}_test.txt"),),
    pattern=r"(?P<domain>NAME)/(?P<label>[^/]+)/(?P<image>[^/]+?)\s+(?P<number>[0-9]{1,9})",
    form="'NAME/CLASS/IMAGE NUMBER'",
    path="{domain}/{label}/{image}",
    known=(
        Known(("sketch",), "DomainNet's Sketch", 345, 69_128),
        Known(("clipart",), "DomainNet's Clipart", 345, 48_129),
        Known(("infograph", "painting", "quickdraw", "real"), "DomainNet", 345),
    ),
)
