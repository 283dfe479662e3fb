"""Files that a browser sends: photos, and archives of them, within limits. Their names are labels, never paths."""

import os
import secrets
import shutil
import zipfile
import zlib
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from smat.adaptation.saved import CARD, CLASSIFIER, THUMBNAILS, WEIGHTS
from smat.domains.folders import printable
from smat.domains.formats import IMAGE_SUFFIXES, why_unread
from smat.errors import DataError
from smat.left_out import leave_out

_PIECE = 2**20
_RATIO = 200  # how many times as large as its archive a file may be, beyond the first megabyte
_NAME = 200  # characters of a name that are kept


@dataclass(frozen=True)
class Limits:
    """What one person may bring.

    Attributes:
        photos: most photos, of classes and to try together.
        file_mb: size of one file that is sent, also of an archive, in MB.
        total_mb: size of all photos together.
        classes: most classes.
        pixels: most pixels that a photo is decoded to.
    """

    photos: int = 2000
    file_mb: int = 1000
    total_mb: int = 4000
    classes: int = 200
    pixels: int = 100_000_000


@dataclass(frozen=True)
class Upload:
    """A file that was sent.

    Attributes:
        path: where it lies.
        name: what it is called, with the folders that it was in, such as `birds/robin/1.jpg`.
    """

    path: Path
    name: str


class Inbox:
    """Files that were sent, kept in a folder until whoever they are for has time.

    Args:
        folder: the folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._waiting: deque[Upload] = deque()

    def put(self, uploads: Sequence[Upload]) -> None:
        """Keep files.

        Raises:
            DataError: one is not there any more.
        """
        for upload in uploads:
            place = self.folder / f"sent-{secrets.token_hex(8)}"
            copied(upload, place)
            self._waiting.append(Upload(place, upload.name))

    @contextmanager
    def taken(self) -> Iterator[list[Upload]]:
        """Within the block, the files that were not taken before."""
        uploads: list[Upload] = []
        with suppress(IndexError):  # the end; others may put more in meanwhile
            while True:
                uploads.append(self._waiting.popleft())
        try:
            yield uploads
        finally:
            for upload in uploads:
                upload.path.unlink(missing_ok=True)


def shown_name(name: str) -> str:
    """A name that came from outside, as text of one line."""
    line = "".join(each if each.isprintable() else " " for each in printable(name).replace("\\", "/"))
    return line.strip()[-_NAME:] or "photo"


def class_of(name: str) -> str:
    """The class that a file's folders say; empty where it lay in none.

    Of a folder of folders it is the inner one: `birds/robin/1.jpg` and `robin/1.jpg` are both of class robin.
    """
    folders = PurePosixPath(name).parts[:-1]
    return folders[min(1, len(folders) - 1)].strip() if folders else ""


def hidden(name: str) -> bool:
    """Whether a file is hidden, or lies where a system keeps what is its own."""
    return any(part.startswith((".", "__MACOSX")) for part in PurePosixPath(name).parts)


def not_a_photo(name: str) -> str:
    """Why a file is not taken for a photo, by its name; empty if it is."""
    suffix = PurePosixPath(name).suffix.lower()
    if hidden(name):
        return "it is hidden, or made by a system"
    return "" if suffix in IMAGE_SUFFIXES else why_unread(suffix)


def is_archive(upload: Upload) -> bool:
    """Whether a file is a zip archive."""
    return upload.name.lower().endswith(".zip") or zipfile.is_zipfile(upload.path)


def unpacked(archive: Upload, folder: Path, limits: Limits) -> Iterator[Upload]:
    """The photos in a zip archive, one after the other, each under a name of ours; what is no photo is left out.

    Args:
        archive: the file.
        folder: where to; files of it are the caller's.
        limits: what it may hold.

    Raises:
        DataError: it is damaged or encrypted, or holds more than it may.
    """
    with _opened(archive) as file:
        entries = [entry for entry in file.infolist() if not entry.is_dir()]
        photos = []
        for entry in entries:
            name = shown_name(entry.filename)
            if reason := not_a_photo(name):
                leave_out("file", reason, [name])
            else:
                photos.append((entry, name))
        _check_sizes(archive.name, [entry for entry, _ in photos], limits)
        for number, (entry, name) in enumerate(photos):
            place = folder / f"unpacked-{number}"
            _extract(file, entry, place, archive.name)
            yield Upload(place, name)


def unpack_classifier(archive: Upload, folder: Path, limits: Limits) -> Path:
    """A saved classifier from the zip of its folder; only files that such a folder has are taken from it.

    Args:
        archive: the file.
        folder: where to; not there yet.
        limits: what it may hold.

    Returns:
        The folder.

    Raises:
        DataError: it is no zip of a classifier, or damaged, or too large.
    """
    with _opened(archive) as file:
        marks = [entry.filename for entry in file.infolist() if PurePosixPath(entry.filename).name == CLASSIFIER]
        if len(marks) != 1:
            raise DataError(
                f"'{archive.name}' has {len(marks)} files {CLASSIFIER}; give the zip of one classifier's folder"
            )
        root = marks[0].removesuffix(CLASSIFIER)
        wanted = {}
        for entry in file.infolist():
            inner = entry.filename.removeprefix(root)
            picture = inner.removeprefix(f"{THUMBNAILS}/").removesuffix(".jpg")
            if inner in (CLASSIFIER, WEIGHTS, CARD) or (inner == f"{THUMBNAILS}/{picture}.jpg" and picture.isdecimal()):
                wanted[inner] = entry
        _check_sizes(archive.name, list(wanted.values()), limits)
        (folder / THUMBNAILS).mkdir(parents=True)
        for inner, entry in wanted.items():
            _extract(file, entry, folder / inner, archive.name)
    return folder


def zipped(folder: Path, archive: Path, name: str) -> Path:
    """A folder as a zip archive, in which it has a name."""
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                file.write(path, f"{name}/{path.relative_to(folder).as_posix()}")
    return archive


def copied(upload: Upload, place: Path) -> None:
    """A file under another name; of the same disk it is not copied."""
    try:
        os.link(upload.path, place)
    except FileNotFoundError as error:
        raise DataError(f"'{upload.name}' is not here any more; give it again") from error
    except OSError:
        shutil.copyfile(upload.path, place)


@contextmanager
def _opened(archive: Upload) -> Iterator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(archive.path) as file:
            yield file
    except (zipfile.BadZipFile, zipfile.LargeZipFile, EOFError, NotImplementedError) as error:
        raise DataError(f"'{archive.name}' is no zip archive that can be read: {error}; make it anew") from error


def _check_sizes(name: str, entries: list[zipfile.ZipInfo], limits: Limits) -> None:
    """Raise a `DataError` for an archive that says that it is more than it may be."""
    if any(entry.flag_bits & 1 for entry in entries):
        raise DataError(f"'{name}' is encrypted; make a zip archive without a password")
    if len(entries) > limits.photos:
        raise DataError(f"'{name}' has {len(entries):,} files; at most {limits.photos:,} are taken: give fewer")
    total = sum(entry.file_size for entry in entries)
    if total > limits.total_mb * 1e6:
        raise DataError(f"'{name}' would be {total / 1e6:,.0f} MB; at most {limits.total_mb:,} MB are taken: give less")
    if any(entry.file_size > 1e6 + _RATIO * entry.compress_size for entry in entries):
        raise DataError(f"'{name}' unpacks to so much more than it holds that it is not opened; give the photos")


def _extract(file: zipfile.ZipFile, entry: zipfile.ZipInfo, place: Path, name: str) -> None:
    """Write a file of an archive, and no more of it than the archive says that it has."""
    left = entry.file_size
    try:
        with file.open(entry) as source, place.open("xb") as target:
            while piece := source.read(_PIECE):
                left -= len(piece)
                if left < 0:
                    raise DataError(f"'{name}' holds more than it says, so that it is not opened; give the photos")
                target.write(piece)
    except (RuntimeError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"'{name}' is damaged at '{shown_name(entry.filename)}': {error}; make it anew") from error
