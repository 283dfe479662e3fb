"""Domains of stored images: an imported domain, a parquet file, class folders, or a dataset of the hub."""

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor

from smat.domains.columns import ColumnNames
from smat.domains.domain import Domain, Role
from smat.domains.grey import GreyRange, RangeOption
from smat.domains.hierarchy import ClassGroups
from smat.domains.images import GREY_MODES, canvas, find_range, image_mode, load_image, why_unreadable
from smat.domains.mirroring import never_mirrored
from smat.domains.opening import MAX_PIXELS
from smat.domains.sources import hub_name, open_table
from smat.domains.splits import ClassSplits, Fractions, check_known, draw_splits, read_splits, splits_beside
from smat.domains.tables import ImageTable
from smat.domains.tracks import GTSRB_TRACKS, NO_TRACKS, check_pattern, find_tracks
from smat.errors import ConfigError, DataError
from smat.left_out import leave_out

logger = logging.getLogger(__name__)

_LOOKS = 8  # images whose mode decides the default of `flip`


@dataclass(frozen=True)
class BadImage:
    """An image that cannot be used, and why."""

    row: int
    name: str
    class_name: str
    reason: str

    def __str__(self) -> str:
        return f"{self.name} (row {self.row}, class '{self.class_name}'): {self.reason}"


class ImageDomain(Domain):
    """Images in a table, decoded where they are used. Made by `open_domain`.

    Args:
        table: images and labels.
        name: name of the domain, as for `Domain`.
        splits: class names of each split, as for `Domain`; every class has images in the table.
        flip: whether a mirrored image is still of its class.
        role: what experiments use it for.
        skip_bad: leave out rows without a valid label and images that cannot be read; reads every image once.
        tracks: pattern of the tracks in `image_name`, as for `open_domain`.
        range: values that are black and white in grey images of more than 8 bits; None: as each says.
        max_pixels: most pixels that an image is decoded to.

    Raises:
        DataError: as for `Domain`; a class without images; or, unless `skip_bad`, rows without a valid label.
        ConfigError: a pattern that is no regular expression.
    """

    def __init__(
        self,
        table: ImageTable,
        name: str,
        splits: Mapping[str, Sequence[str]],
        *,
        flip: bool,
        role: Role = "",
        skip_bad: bool = False,
        tracks: str | None = None,
        range: GreyRange | None = None,
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        super().__init__(name, splits, flip=flip, role=role)
        if tracks is not None:
            check_pattern(tracks)
        self._pattern = tracks
        self._table = table
        self.range, self.max_pixels = range, max_pixels
        self._label = {name: label for label, name in enumerate(table.names)}
        self.left_out: tuple[int, ...] = ()
        self._index(table.labels)
        wrong = np.flatnonzero((table.labels < 0) | (table.labels >= len(table.names)))
        if len(wrong):
            message = _wrong_labels(table, name, wrong)
            if not skip_bad:
                raise DataError(f"{message}: correct them, or go on without these rows with skip_bad (--skip-bad)")
            logger.warning("%s; left out", message)
        check_known(self.splits, self.counts(), name)
        if skip_bad:
            self._leave_out(check_images(self), wrong)

    def _index(self, labels: np.ndarray) -> None:
        self._order = np.argsort(labels, kind="stable")
        self._starts = np.searchsorted(labels[self._order], np.arange(len(self._table.names) + 1))

    def _leave_out(self, bad: Sequence[BadImage], wrong: np.ndarray) -> None:
        if bad:
            listing = "\n".join(f"  {image}" for image in bad)
            logger.warning("domain '%s' goes on without %d images:\n%s", self.name, len(bad), listing)
        labels = self._table.labels.copy()
        labels[[image.row for image in bad]] = -1
        self.left_out = tuple(sorted([*(image.row for image in bad), *wrong.tolist()]))
        self._index(labels)
        check_known(self.splits, self.counts(), self.name)

    def counts(self) -> dict[str, int]:
        """Number of images of each class, whether or not it is in a split."""
        return dict(zip(self._table.names, np.diff(self._starts).tolist(), strict=True))

    @property
    def fingerprint(self) -> str:
        """SHA-256 over the file (or the folder's file names and sizes), splits, rows left out, hierarchy, tracks and
        range.

        GTSRB's own tracks are not in it: they follow from the names, and results were stored before they were known.
        """
        parts: list[Any] = [self._table.digest, sorted(self.splits.items()), self.left_out]
        if self._table.hierarchy:
            parts.append(asdict(self._table.hierarchy))
        if self._pattern not in (None, NO_TRACKS, GTSRB_TRACKS):
            parts.append({"tracks": self._pattern})
        if self.range:
            parts.append({"range": str(self.range)})
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    def hierarchy(self, split: str) -> ClassGroups | None:
        """Which classes of a split lie together, by their indices in `classes(split)`; None: no hierarchy."""
        return self._table.hierarchy.within(self.classes(split)) if self._table.hierarchy else None

    def rows(self, class_name: str) -> np.ndarray:
        """Rows of a class's images, int64, ascending."""
        if class_name not in self._label:
            raise DataError(
                f"domain '{self.name}' has no class '{class_name}'; it has {', '.join(self._table.names[:3])}, ..."
            )
        label = self._label[class_name]
        return self._order[self._starts[label] : self._starts[label + 1]]

    def tracks(self, class_name: str) -> np.ndarray | None:
        """The track of each of `rows(class_name)`, int64; None: the domain has no tracks, or does not know them.

        Raises:
            DataError: images whose names do not fit the domain's pattern.
        """
        return None if self._tracks is None else self._tracks[self.rows(class_name)]

    @cached_property
    def _tracks(self) -> np.ndarray | None:
        rows = self._order[self._starts[0] : self._starts[-1]]  # those with a label
        try:
            tracks = find_tracks(self._table, rows, self._pattern)
        except DataError as error:
            raise DataError(f"domain '{self.name}' ({self._table.origin}): {error}") from error
        if tracks is not None:
            logger.info("domain '%s' has %d tracks, by the names of its images", self.name, tracks.max() + 1)
        return tracks

    def image(self, row: int) -> Image.Image:
        """One image, RGB, at its own size.

        Raises:
            DataError: it cannot be read; all images are then looked at, and the message lists every bad one.
        """
        return self._load(row, None)

    def canvas(self, row: int, size: int) -> UInt8[Tensor, "3 {size} {size}"]:
        """One image as a square of `size` pixels, raises as `image`; a large JPEG is decoded smaller."""
        return canvas(self._load(row, size), size)

    def load(self, row: int, size: int | None = None) -> Image.Image:
        """One image, as `load_image` gives it, which raises a `DataError` of this image alone."""
        return load_image(self.encoded(row), size, range=self.range, max_pixels=self.max_pixels)

    def encoded(self, row: int) -> bytes | Path:
        """One image as it is stored, or the file that holds it."""
        return self._table.encoded(row)

    def image_name(self, row: int) -> str:
        """The image's path as the data have it, or its row."""
        return self._table.path(row) or super().image_name(row)

    def _load(self, row: int, size: int | None) -> Image.Image:
        try:
            return self.load(row, size)
        except DataError as error:
            logger.warning("domain '%s': row %d cannot be read; looking at all its images", self.name, row)
            listing = "\n".join(f"  {image}" for image in check_images(self))
            raise DataError(
                f"domain '{self.name}' ({self._table.origin}) has images that cannot be read:\n{listing}\n"
                "Mend or remove them, or go on without them with skip_bad (--skip-bad)"
            ) from error


def check_images(domain: ImageDomain) -> list[BadImage]:
    """Read every image of the domain's splits, and list those that cannot be read, by row."""
    bad: list[BadImage] = []
    for label in (label for classes in domain.splits.values() for label in classes):
        for row in domain.rows(label).tolist():
            try:
                domain.load(row, size=1)
            except DataError as error:
                bad.append(BadImage(row, domain.image_name(row), label, why_unreadable(error.__cause__)))
    return sorted(bad, key=lambda image: image.row)


def open_domain(
    source: str | Path,
    *,
    name: str | None = None,
    splits: str | Path | Mapping[str, Sequence[str]] | None = None,
    fractions: Fractions | None = None,
    seed: int = 0,
    flip: bool | None = None,
    role: Role | None = None,
    skip_bad: bool = False,
    tracks: str | None = None,
    image_column: str | None = None,
    label_column: str | None = None,
    min_images: int = 1,
    range: RangeOption | GreyRange = None,
    max_pixels: int = MAX_PIXELS,
    verify: bool = False,
) -> ImageDomain:
    """A domain of stored images.

    The class splits are the first of these that there are: `splits` or `fractions`; the source's own, of an
    imported domain or as `train`, `val` and `test` folders that divide the classes; a `splits.json` next to the source
    that has this domain. Without any, all classes are in the test split: the domain can be evaluated on, not trained
    on.

    The role is the first of these that there is: `role`, that of the file `splits`, that of the `splits.json`. The
    pattern of the tracks is found likewise, and after these in an imported domain.

    Args:
        source: a folder made by `smat data import`; a parquet file with an image and a label column, as Hugging
            Face `datasets` writes it, or a folder of such files, which are parts of one table; a folder of class
            folders, or of `train`, `val` and `test` folders of these; or a dataset of the hub, as `hub:owner/name`, or
            `owner/name` where there is no such path.
        name: name of the domain; None: that of the file or folder.
        splits: splits file that has the domain by its name (see `splits.read_splits`), or the class names of
            each split.
        fractions: shares of train, val and test classes, which are then drawn at random.
        seed: random seed of that draw.
        flip: whether a mirrored image is still of its class. None: as an imported domain says; otherwise yes,
            unless the name is that of a known collection of characters, drawings or signs (see `mirroring`), or the
            images are stored as grey ones. Say False for colour images of signs or text.
        role: what experiments use it for.
        skip_bad: go on without rows that have no valid label and images that cannot be read; reads every
            image once, here.
        tracks: pattern of the tracks (several images of one object, which episodes keep apart) in the images' names: a
            regular expression, whose first group, or else all that it finds, is the track within its class; or
            `"none"`. None: as said above, or GTSRB's where all images have such names.
        image_column: column of the images in a parquet file or hub data set. None: the one that is declared as images,
            or is called `image` or `img`.
        label_column: column of the labels there. None: the one that is called `label`, is declared as class labels, or
            is called `labels` or `class`.
        min_images: classes with fewer images are in no split; they are left out with a word.
        range: values that are black and white in grey images of more than 8 bits, such as `(0, 4095)`; `"auto"` takes
            them from all such images, which are decoded once more for that. None: as each says, or it cannot be read.
        max_pixels: most pixels that an image is decoded to.
        verify: compare the content with its hash, also where that takes reading it all.

    Raises:
        DataError: no such source; no images or classes in it; labels outside the class names; splits that do
            not fit it; no class of `min_images`.
        ConfigError: both `splits` and `fractions`, fractions that do not sum to 1, columns of a source that has none,
            tracks that are no regular expression, or a range that is none.
    """
    if splits is not None and fractions is not None:
        raise ConfigError(f"'{source}' is given both splits and fractions; give one of them")
    table, path, default_name = open_table(source, ColumnNames(image_column, label_column), verify=verify)
    name = name or default_name
    from_file = isinstance(splits, str | Path)
    said = read_splits(splits, name) if from_file else splits_beside(path, name) if path else None
    divided, said_role, said_tracks = said or ({}, "", None)
    if isinstance(splits, Mapping):
        classes: ClassSplits = {split: tuple(labels) for split, labels in splits.items()}
    elif fractions is not None:
        classes = draw_splits(table.used_names(), fractions, seed)
    elif from_file and divided:
        classes = divided
    elif table.splits is not None:
        classes = dict(table.splits)
    else:
        classes = divided or {"test": table.used_names()}
    role = said_role if role is None else role
    tracks = next((given for given in (tracks, said_tracks, table.tracks) if given is not None), None)
    flip = table.flip if flip is None else flip
    flip = not (never_mirrored(name) or _is_grey(table)) if flip is None else flip
    grey_range = find_range(range, map(table.encoded, np.arange(len(table.images)).tolist()), max_pixels)
    domain = ImageDomain(
        table,
        name,
        classes,
        flip=flip,
        role=role,
        skip_bad=skip_bad,
        tracks=tracks,
        range=grey_range,
        max_pixels=max_pixels,
    )
    domain.hub = hub_name(source)
    _leave_small(domain, min_images)
    return domain


def _leave_small(domain: ImageDomain, least: int) -> None:
    """Take classes of too few images out of the splits."""
    counts = domain.counts()
    small = [name for names in domain.splits.values() for name in names if counts[name] < least]
    leave_out("class", f"fewer than {least} images, which is what min_images asks for", small)
    kept = {split: tuple(name for name in names if counts[name] >= least) for split, names in domain.splits.items()}
    domain.splits = {split: names for split, names in kept.items() if names}
    if not domain.splits:
        raise DataError(f"no class of domain '{domain.name}' has {least} images: lower min_images (--min-images)")


def _is_grey(table: ImageTable) -> bool:
    """Whether the images looked at, across the table, are all stored as grey ones."""
    rows = np.linspace(0, len(table.images), _LOOKS, endpoint=False).astype(int).tolist()
    modes = {image_mode(table.encoded(row)) for row in rows} - {None}
    return bool(modes) and modes <= GREY_MODES


def _wrong_labels(table: ImageTable, name: str, wrong: np.ndarray) -> str:
    shown = ", ".join(f"row {row}: {table.labels[row]}" for row in wrong[:20])
    more = f" and {len(wrong) - 20} more" if len(wrong) > 20 else ""
    return (
        f"domain '{name}' ({table.origin}) has {len(table.names)} class names, but labels outside "
        f"0..{len(table.names) - 1} (-1: none) in {len(wrong)} rows ({shown}{more})"
    )
