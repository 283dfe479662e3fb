"""The photos that someone has put into classes."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from smat.adaptation.inputs import squares_of
from smat.adaptation.support import THUMBNAIL, thumbnail_of
from smat.app.uploads import Limits, Upload, class_of, copied, is_archive, not_a_photo, shown_name, unpacked
from smat.domains.images import why_unreadable
from smat.errors import DataError
from smat.left_out import leave_out

UNKNOWN = "unknown"
"""The label of photos of no class."""

_LONGEST = 80  # characters of a class's name
_AT_ONCE = 32  # photos that are decoded at once


@dataclass
class Photo:
    """A photo.

    Attributes:
        number: what it is known by.
        name: what its file was called, with folders.
        thumbnail: a small JPEG of it; None where none was saved.
        label: its class; empty of one to try.
        path: the file; None where only a saved classifier knows it.
        stored: its index among the labelled images of the classifier that was opened; None of others.
    """

    number: int
    name: str
    thumbnail: bytes | None
    label: str = ""
    path: Path | None = None
    stored: int | None = None


@dataclass
class Shelf:
    """Where files of photos are kept, under names of ours.

    Attributes:
        folder: the folder.
        limits: how many it may hold.
        photos: number of photos that it holds.
        bytes: size of their files.
    """

    folder: Path
    limits: Limits
    photos: int = 0
    bytes: int = 0
    _next: int = 0

    def number(self) -> int:
        """A number that no photo has had yet."""
        self._next += 1
        return self._next

    def keep(self, uploads: Sequence[Upload]) -> list[Photo]:
        """Photos from files and archives; those that cannot be read are left out with a word.

        Raises:
            DataError: an archive cannot be read, or holds more than it may.
        """
        kept: list[Photo] = []
        for upload in uploads:
            if is_archive(upload):
                try:
                    kept += self._read([*unpacked(upload, self.folder, self.limits)])
                finally:
                    for left in self.folder.glob("unpacked-*"):
                        left.unlink(missing_ok=True)
        return kept + self._read([upload for upload in uploads if not is_archive(upload)])

    def drop(self, photos: Collection[Photo]) -> None:
        """Delete the files of photos."""
        for photo in photos:
            if photo.path:
                self.photos -= 1
                self.bytes -= photo.path.stat().st_size if photo.path.exists() else 0
                photo.path.unlink(missing_ok=True)

    def _read(self, uploads: Sequence[Upload]) -> list[Photo]:
        """Photos from files, as many at a time as fit the memory."""
        kept = []
        for start in range(0, len(uploads), _AT_ONCE):
            batch = [found for upload in uploads[start : start + _AT_ONCE] if (found := self._taken(upload))]
            squares = squares_of([photo.path for photo in batch], THUMBNAIL, None, self.limits.pixels)
            for photo, square in zip(batch, squares, strict=True):
                if isinstance(square, DataError):
                    leave_out("photo", f"it cannot be read: {_why(square)}", [photo.name])
                    self.drop([photo])
                else:
                    photo.thumbnail = thumbnail_of(square)
                    kept.append(photo)
        return kept

    def _taken(self, upload: Upload) -> Photo | None:
        """A file as a photo that was not looked at yet; None where it is left out."""
        name = shown_name(upload.name)
        if reason := not_a_photo(name):
            leave_out("file", reason, [name])
            return None
        size = upload.path.stat().st_size if upload.path.exists() else 0
        if self.photos >= self.limits.photos or self.bytes + size > self.limits.total_mb * 1e6:
            reason = f"only {self.limits.photos:,} photos of {self.limits.total_mb:,} MB together fit here: remove some"
            leave_out("photo", reason, [name])
            return None
        number = self.number()
        place = self.folder / str(number)
        copied(upload, place)
        self.photos, self.bytes = self.photos + 1, self.bytes + size
        return Photo(number, name, None, path=place)


def _why(error: DataError) -> str:
    return why_unreadable(error.__cause__).replace(
        "--max-pixels (max_pixels)", "--max-pixels when this page is started"
    )


@dataclass
class Board:
    """Classes and their photos.

    Attributes:
        limits: how many classes there may be.
        photos: the photos by number, in the order of their coming.
    """

    limits: Limits
    photos: dict[int, Photo] = field(default_factory=dict)

    @property
    def classes(self) -> dict[str, list[Photo]]:
        """The photos by class, in the order in which the classes came."""
        found: dict[str, list[Photo]] = {}
        for photo in self.photos.values():
            found.setdefault(photo.label, []).append(photo)
        return found

    def label_for(self, name: str, label: str) -> str:
        """The class of a file: that of its folder, or else the one that is given.

        Raises:
            DataError: neither says one, or it cannot be one.
        """
        return checked_label(class_of(name) or label)

    def put(self, photos: Sequence[Photo], label: str) -> None:
        """Put photos into classes.

        Args:
            photos: the photos.
            label: class of those that lay in no folder.

        Raises:
            DataError: a photo without a class, a name that cannot be one, or too many classes; none is put anywhere.
        """
        labels = [self.label_for(photo.name, label) for photo in photos]
        self._check_classes(labels)
        for photo, each in zip(photos, labels, strict=True):
            photo.label = each
            self.photos[photo.number] = photo

    def move(self, numbers: Collection[int], label: str) -> None:
        """Put photos into another class, perhaps a new one.

        Raises:
            DataError: a name that cannot be one, or a photo that is only in the classifier that was opened.
        """
        label = checked_label(label)
        self._check_classes([label])
        moved = self.found(numbers)
        if any(photo.path is None for photo in moved):
            raise DataError(
                "photos of the classifier that was opened cannot change their class: remove them, and add their files "
                "to the other class"
            )
        for photo in moved:
            photo.label = label

    def rename(self, old: str, new: str) -> None:
        """Give a class another name.

        Raises:
            DataError: no such class, or the name cannot be one or is another's.
        """
        new = checked_label(new)
        if new == old:
            return
        if old not in self.classes:
            raise DataError(f"there is no class '{old}' any more")
        if new in self.classes:
            raise DataError(f"there is a class '{new}' already: to unite them, select the photos and move them there")
        for photo in self.classes[old]:
            photo.label = new

    def found(self, numbers: Collection[int]) -> list[Photo]:
        """Those of the photos that are still there."""
        return [self.photos[number] for number in numbers if number in self.photos]

    def remove(self, numbers: Collection[int]) -> list[Photo]:
        """Take photos away, and give them back."""
        return [self.photos.pop(photo.number) for photo in self.found(numbers)]

    def _check_classes(self, labels: Collection[str]) -> None:
        if len({*self.classes, *labels}) > self.limits.classes:
            raise DataError(f"there would be more than {self.limits.classes} classes; remove some, or give fewer")


def checked_label(label: str) -> str:
    """A class's name.

    Raises:
        DataError: it is empty, too long, or the word for photos of no class.
    """
    label = " ".join(shown_name(label).split()) if label.strip() else ""
    if not label:
        raise DataError("these photos have no class: type a name for it first, or give a folder that is called by it")
    if len(label) > _LONGEST:
        raise DataError(f"the name '{label[:20]}...' has {len(label)} characters; give at most {_LONGEST}")
    if label.lower() == UNKNOWN:
        raise DataError(f"'{UNKNOWN}' is the answer for photos of no class; give this class another name")
    return label
