from pathlib import Path

import numpy as np
import pytest
from PIL import Image, features

from small_images import encode, noise
from smat.domains import load_image
from smat.domains.formats import FORMATS, IMAGE_SUFFIXES, UNREAD_SUFFIXES, why_unread
from smat.errors import DataError


def test_suffixes_follow_from_the_formats() -> None:
    always = {".bmp", ".gif", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".j2k", ".jpx", ".mpo", ".pgm", ".png", ".tif"}
    assert always <= IMAGE_SUFFIXES
    assert not IMAGE_SUFFIXES & UNREAD_SUFFIXES
    assert not IMAGE_SUFFIXES & {".eps", ".pdf", ".tga", ".txt"}
    assert (".avif" in IMAGE_SUFFIXES) == ("AVIF" in FORMATS) == features.check("avif")


@pytest.mark.parametrize("suffix", sorted(IMAGE_SUFFIXES - {".avifs", ".heics", ".heifs", ".pfm"}))
def test_a_file_of_every_suffix_is_read(suffix: str, tmp_path: Path) -> None:
    mode = {".pbm": "1", ".pgm": "L"}.get(suffix, "RGB")
    file = tmp_path / f"a{suffix.upper()}"
    image = Image.radial_gradient("L").resize((64, 48)).convert(mode)
    image.save(file, Image.registered_extensions()[suffix])
    difference = np.asarray(load_image(file), dtype=float) - np.asarray(image.convert("RGB"), dtype=float)
    assert np.abs(difference).mean() < 4


@pytest.mark.parametrize("suffix", sorted(UNREAD_SUFFIXES))
def test_every_other_suffix_of_images_has_a_reason(suffix: str) -> None:
    assert why_unread(suffix.upper()).startswith(suffix)
    assert any(advice in why_unread(suffix) for advice in ("convert", "pip install"))


def test_reasons_say_what_to_do() -> None:
    assert why_unread(".heic") == ".heic images need another package: pip install pillow-heif"
    assert "raw data" in why_unread(".NEF")
    assert why_unread(".txt") == ".txt is no suffix of an image"
    assert "without a suffix" in why_unread("")


def test_heic_is_read_where_its_package_is_installed() -> None:
    pytest.importorskip("pillow_heif")
    image = Image.radial_gradient("L").resize((64, 48)).convert("RGB")
    assert np.abs(np.asarray(load_image(encode(image, "HEIF")), float) - np.asarray(image, float)).mean() < 4
    assert ".heic" in IMAGE_SUFFIXES


def test_other_formats_are_not_tried() -> None:
    for form in ("TGA", "PCX", "ICO"):
        with pytest.raises(DataError, match=r"it is none of .*PNG"):
            load_image(encode(noise(1), form))
