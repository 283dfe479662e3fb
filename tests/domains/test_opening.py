import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile

from deep_images import RAMP, chunk, png
from small_images import encode, noise
from smat.domains import load_image
from smat.domains.opening import MAX_PIXELS, opened
from smat.errors import DataError


def test_the_limit_is_a_gibibyte_of_colours() -> None:
    assert 3 * MAX_PIXELS <= 2**30 < 3 * (MAX_PIXELS + 1)


def says_it_has(side: int) -> bytes:
    """A PNG file whose head says that it has side x side pixels."""
    content = png(np.zeros((1, 1), np.uint8))
    head = content[16:24].replace(content[16:24], side.to_bytes(4) * 2) + content[24:29]
    return content[:8] + chunk(b"IHDR", head) + content[33:]


@pytest.mark.parametrize("form", ["PNG", "BMP", "TIFF", "GIF", "WEBP", "PPM", "JPEG2000"])
def test_images_beyond_the_limit_are_not_decoded(form: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    content = encode(noise(0, (30, 20)), form)
    assert load_image(content, max_pixels=600).size == (30, 20)
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda *_: pytest.fail("it is decoded"))
    (tmp_path / "a").write_bytes(content)
    for source in (content, tmp_path / "a"):
        with pytest.raises(DataError, match=r"it has 30 x 20 pixels, more than 599: .*--max-pixels"):
            load_image(source, max_pixels=599)
    for side in (19_000, 60_000):  # a warning and an error of Pillow's own
        with pytest.raises(DataError, match=f"it has {side} x {side} pixels, more than 357,913,941"):
            load_image(says_it_has(side))


def test_images_within_the_limit_are_read_without_a_word(
    monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    for most in (100, 400):
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", most)
        for form in ("PNG", "WEBP", "GIF", "TIFF"):
            assert load_image(encode(noise(0, (30, 20)), form)).size == (30, 20)
        assert most == Image.MAX_IMAGE_PIXELS
    assert not recwarn.list


def test_the_limit_counts_what_a_jpeg_is_decoded_to() -> None:
    photograph = noise(0, (320, 240))
    content = encode(photograph, "JPEG")
    assert load_image(content, 20, max_pixels=80 * 60).size == (80, 60)
    with pytest.raises(DataError, match="320 x 240"):
        load_image(content, max_pixels=80 * 60)
    with pytest.raises(DataError, match="320 x 240"):  # decoded whole, and made smaller then
        load_image(encode(photograph, "JPEG", progressive=True), 20, max_pixels=80 * 60)


def test_images_of_pil_have_the_limit_too() -> None:
    with pytest.raises(DataError, match="it has 30 x 20 pixels"):
        load_image(noise(0, (30, 20)), max_pixels=599)


def test_pillows_limit_is_put_back_with_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    content = encode(noise(0))

    def read() -> None:
        for _ in range(50):
            load_image(content)

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Image.MAX_IMAGE_PIXELS == 100


@pytest.mark.parametrize("kind", [b"IHDR", b"IDAT", b"tEXt", b"IEND"])
def test_checksums_of_png_are_verified(kind: bytes, tmp_path: Path) -> None:
    content = bytearray(png(RAMP.astype(np.uint8), chunk(b"tEXt", b"a\0b")))
    content[content.find(kind) - 4 + 8 + int.from_bytes(content[content.find(kind) - 4 : content.find(kind)])] ^= 1
    (tmp_path / "a.png").write_bytes(content)
    for source in (bytes(content), tmp_path / "a.png", str(tmp_path / "a.png")):
        with pytest.raises(DataError, match=f"the checksum of its {kind.decode()} data is wrong"):
            load_image(source)


def test_lost_bytes_within_the_pixels_of_a_png() -> None:
    content = bytearray(encode(noise(0, (64, 64))))
    middle = len(content) // 2
    content[middle : middle + 64] = bytes(64)
    with pytest.raises(DataError, match="checksum"):
        load_image(bytes(content))


@pytest.mark.parametrize("form", ["PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP", "PPM", "JPEG2000", "AVIF"])
@pytest.mark.parametrize("share", [0.4, 0.8, 0.98])
def test_files_that_are_cut_short(form: str, share: float) -> None:
    content = encode(noise(0, (64, 48)), form)
    with pytest.raises(DataError, match=r"cannot be read as an image: ."):
        load_image(content[: int(share * len(content))])


def test_what_comes_after_the_end_of_a_png_does_no_harm() -> None:
    assert load_image(encode(noise(0)) + b"more").size == (20, 16)


def test_a_mode_is_read_without_checksums() -> None:
    with opened(encode(noise(0))[:60], check=False) as image:
        assert image.mode == "RGB"
