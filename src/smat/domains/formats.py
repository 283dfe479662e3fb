"""The image formats that are read here, and the file suffixes that follow from them."""

import importlib
from contextlib import suppress

from PIL import Image, features

# Named, because Pillow also reads formats by running other programs on them (EPS), and some without a signature (TGA),
# of which almost any bytes could be. With the feature of Pillow that a build may lack.
_FORMATS = {
    "AVIF": "avif",
    "BMP": None,
    "DIB": None,
    "GIF": None,
    "HEIF": None,
    "JPEG": "jpg",
    "JPEG2000": "jpg_2000",
    "PNG": None,
    "PPM": None,
    "TIFF": None,
    "WEBP": "webp",
}
_READ_AS_JPEG = "MPO"  # several JPEG images in one file, of which the first is taken


def _formats() -> tuple[str, ...]:
    with suppress(ImportError):  # an extra
        importlib.import_module("pillow_heif").register_heif_opener()
    Image.init()
    return tuple(
        name
        for name, feature in _FORMATS.items()
        if name in Image.OPEN and (feature is None or features.check(feature))
    )


FORMATS = _formats()
"""Pillow's names of the formats that are read."""

IMAGE_SUFFIXES = frozenset(
    suffix for suffix, name in Image.registered_extensions().items() if name in (*FORMATS, _READ_AS_JPEG)
)
"""Suffixes of image files that are read, in lower case with the dot."""

_REASONS = {
    "heic heics heif heifs hif": "images need another package: pip install pillow-heif",
    "avif avifs": "images need Pillow 11.3 or later: pip install --upgrade pillow",
    "3fr arw cr2 cr3 crw dcr dng erf iiq kdc mef mrw nef nrw orf pef raf raw rw2 rwl sr2 srf srw x3f": (
        "files are a camera's raw data: convert them to JPEG or PNG"
    ),
    "ai cur czi dcm dcx dds emf eps exr fit fits fts hdr icns ico j2c j2k jls jp2 jpc jpf jpx jxl jxr lif mrxs nd2 "
    "ndpi nii pcd pcx psb psd qoi ras rgb rgba sgi svg svgz svs tga vsi wdp webp wmf xbm xcf xpm": (
        "images are not read: convert them to PNG"
    ),
}
_WHY = {f".{name}": f".{name} {reason}" for names, reason in _REASONS.items() for name in names.split()}

UNREAD_SUFFIXES = frozenset(_WHY) - IMAGE_SUFFIXES
"""Suffixes of image files that are not read here; `why_unread` says why."""


def why_unread(suffix: str) -> str:
    """Why files of a suffix are not used, and what to do.

    Args:
        suffix: as `Path.suffix` gives it, not in `IMAGE_SUFFIXES`.
    """
    other = f"{suffix} is no suffix of an image" if suffix else "files without a suffix are not taken for images"
    return _WHY.get(suffix.lower(), other)
