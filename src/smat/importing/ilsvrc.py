"""ILSVRC-2012 (ImageNet) as it is distributed: class folders, or the archive of archives."""

import json
import os
import re
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from smat.domains.domain import SPLITS
from smat.domains.hierarchy import Hierarchy
from smat.domains.imported import Refused, listed
from smat.errors import DataError
from smat.importing.class_splits import divided
from smat.importing.files import class_files, file_parts, inside, printable, read_file_part, shown
from smat.importing.kind import Kind, Known
from smat.importing.listing import Found, Listing, Part
from smat.importing.stored import Place, Stored, read_stored, stored_parts

_ARCHIVE = "ILSVRC2012_img_train.tar"
_CLASS = re.compile("n[0-9]{8}")
_FORM = "n" + 8 * "[0-9]"  # the same as a pattern of file names
_INSIDE = ("", "train", "ILSVRC2012_img_train", "Data/CLS-LOC/train", "ILSVRC/Data/CLS-LOC/train")

_FACTS: Mapping[str, Any] = json.loads(Path(__file__).with_name("ilsvrc.json").read_text(encoding="utf-8"))


@cache
def wordnet() -> Hierarchy:
    """The graph of concepts of each split in Meta-Dataset: the classes that each node spans."""
    groups: dict[str, dict[str, tuple[str, ...]]] = {}
    for split, nodes in _FACTS["graph"].items():
        children = {name.partition(" ")[0]: below for name, below in nodes.items()}
        groups[split] = {name: tuple(sorted(_spanned(name.partition(" ")[0], children))) for name in nodes}
    return Hierarchy("graph", groups)


def _spanned(node: str, children: Mapping[str, Sequence[str]]) -> set[str]:
    return set().union(*(_spanned(one, children) for one in children[node])) if node in children else {node}


def _graph_of(present: set[str]) -> Hierarchy:
    """The graphs of all splits, with no other classes than those that there are."""
    kept = {
        split: {node: tuple(name for name in below if name in present) for node, below in nodes.items()}
        for split, nodes in wordnet().groups.items()
    }
    nodes = {split: {node: below for node, below in some.items() if below} for split, some in kept.items()}
    return Hierarchy("graph", {split: some for split, some in nodes.items() if some})


def _class_names() -> dict[str, tuple[str, ...]]:
    tops = wordnet().groups
    return {split: tuple(sorted({name for names in tops[split].values() for name in names})) for split in SPLITS}


class Ilsvrc(Kind):
    """The training images, divided by classes as Meta-Dataset does, without those that its other data sets have too."""

    name = "ilsvrc"
    summary = "ILSVRC-2012 (ImageNet), the training images"
    files = f"folders n01440764 …, archives n01440764.tar …, or {_ARCHIVE}"
    landmarks = (*(os.path.join(place, form) for place in _INSIDE for form in (_FORM, f"{_FORM}.tar")), _ARCHIVE)
    known = (
        Known(
            ("ilsvrc2012", "ilsvrc", "imagenet"),
            "Meta-Dataset's ILSVRC-2012",
            1000,
            sum(_FACTS["images"].values()),
            splits=(712, 158, 130),
        ),
    )
    splits = _class_names()

    def list_domains(self, root: Path) -> list[Listing]:
        """One domain, whose classes are called by their WordNet numbers, as `n01440764`."""
        refused: list[Refused] = []
        parts: dict[str, list[Part]] = {}
        files: list[Path] = []
        for path in sorted(path for place in _INSIDE if (root / place).is_dir() for path in (root / place).iterdir()):
            name = path.name.removesuffix(".tar")
            if not _CLASS.fullmatch(name) or name in parts:
                continue
            parts[name] = self._class(root, path, refused)
            files.append(path)
        archive = root / _ARCHIVE
        if archive.is_file() and not parts:
            parts = self._whole(root, archive, refused)
            files = [archive]
        names = tuple(name for split in (self.splits or {}).values() for name in split if parts.get(name))
        names += tuple(sorted(name for name in parts if parts[name] and name not in names))
        if not names:
            raise DataError(f"'{root}' has no class with images that can be imported:{listed(refused)}")
        splits, notes = divided(self, names)
        skipped = f"{len(_SKIPPED)} images that Caltech 101, Caltech 256 or CU Birds have too"
        return [
            Listing(
                name=self.name,
                classes=names,
                splits=splits,
                parts=[
                    Part(label, part.images, part.payload) for label, name in enumerate(names) for part in parts[name]
                ],
                read=read_either,
                files=files,
                hierarchy=_graph_of({*names}),
                refused=tuple(refused),
                notes=(*notes, f"{skipped} are left out, as in Meta-Dataset"),
                expected=_FACTS["images"],
            )
        ]

    def _class(self, root: Path, path: Path, refused: list[Refused]) -> list[Part]:
        """Parts of a class's folder or archive; what is wrong with it is added to `refused`."""
        if path.is_dir():
            images, wrong = class_files(path, root)
            refused += wrong
            images = [image for image in images if image.name not in _SKIPPED]
            if not images and not wrong:
                refused.append(Refused(shown(path, root), "no images in this class folder"))
            return file_parts(0, root, images)
        if not inside(root, path):
            refused.append(Refused(shown(path, root), "it is a symbolic link that leaves the source folder"))
            return []
        try:
            with tarfile.open(path, "r:") as archive:
                return stored_parts(0, root, Stored(shown(path, root)), _members(archive, 0))
        except (OSError, tarfile.TarError) as error:
            refused.append(Refused(shown(path, root), f"it is no archive, or cut: {error}; unpack the outer one again"))
            return []

    def _whole(self, root: Path, path: Path, refused: list[Refused]) -> dict[str, list[Part]]:
        """Parts by class of the archive of archives."""
        parts: dict[str, list[Part]] = {}
        stored = Stored(shown(path, root))
        try:
            with tarfile.open(path, "r:") as outer:
                for member in outer:
                    name = Path(member.name).stem
                    if not member.isfile() or not _CLASS.fullmatch(name):
                        continue
                    try:
                        with tarfile.open(fileobj=outer.extractfile(member), mode="r:") as archive:
                            parts[name] = stored_parts(0, root, stored, _members(archive, member.offset_data))
                    except tarfile.TarError as error:
                        refused.append(Refused(f"{shown(path, root)}#{name}", f"it is no archive, or cut: {error}"))
        except (OSError, tarfile.TarError) as error:
            refused.append(Refused(shown(path, root), f"it is damaged or cut after {len(parts)} classes: {error}"))
        return parts


_SKIPPED = frozenset(_FACTS["duplicates"])


def _members(archive: tarfile.TarFile, start: int) -> list[Place]:
    """Where the images of a class's archive are, which itself starts at a byte of its file; sorted by name."""
    found = ((printable(Path(one.name).name), start + one.offset_data, one.size) for one in archive if one.isfile())
    return sorted(place for place in found if place[0] not in _SKIPPED)


def read_either(part: Part) -> Iterator[Found | Refused]:
    """The images of a part: files, or members of an archive."""
    return read_stored(part) if len(part.payload) == 3 else read_file_part(part)
