import io
from pathlib import Path

import numpy as np
import PIL
import pytest
import torch
from PIL import Image

from small_images import encode, noise
from smat.domains import canvas, load_image
from smat.domains.images import image_mode
from smat.errors import DataError


def pixels(image: Image.Image) -> np.ndarray:
    assert image.mode == "RGB"
    return np.asarray(image)


def test_path_bytes_pil_and_array_give_the_same_picture(tmp_path: Path) -> None:
    image = noise(0)
    image.save(tmp_path / "a.png")
    for source in (tmp_path / "a.png", str(tmp_path / "a.png"), encode(image), image, np.asarray(image)):
        assert np.array_equal(pixels(load_image(source)), np.asarray(image))


OLD_PILLOW = pytest.mark.skipif(int(PIL.__version__.split(".")[0]) == 12, reason="Pillow 12 cannot read what it writes")


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK", pytest.param("YCbCr", marks=OLD_PILLOW)])
def test_modes_become_rgb(mode: str) -> None:
    stored = noise(1, mode=mode)
    form = "TIFF" if mode in ("CMYK", "YCbCr") else "PNG"
    assert np.array_equal(pixels(load_image(encode(stored, form))), np.asarray(stored.convert("RGB")))


def test_transparency_is_laid_on_white() -> None:
    red = Image.new("RGBA", (2, 1), (255, 0, 0, 255))
    red.putpixel((1, 0), (255, 0, 0, 0))
    assert pixels(load_image(encode(red))).tolist() == [[[255, 0, 0], [255, 255, 255]]]
    half = load_image(encode(Image.new("LA", (1, 1), (0, 128))))
    assert abs(int(pixels(half)[0, 0, 0]) - 127) <= 1  # 0·(128/255) + 255·(127/255)


def test_palette_transparency_is_laid_on_white() -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([0, 0, 255, 0, 255, 0])
    image.putpixel((1, 0), 1)
    shown = pixels(load_image(encode(image, transparency=0)))
    assert shown.tolist() == [[[255, 255, 255], [0, 255, 0]]]


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_sixteen_bits_are_scaled(form: str) -> None:
    deep = np.array([[0, 257, 128 * 257, 65535]], dtype=np.uint16)
    assert pixels(load_image(encode(Image.fromarray(deep), form)))[0, :, 0].tolist() == [0, 1, 128, 255]
    assert pixels(load_image(deep))[0, :, 1].tolist() == [0, 1, 128, 255]


def test_float_images() -> None:
    shares = np.array([[0.0, 0.5, 1.0]], dtype=np.float32)
    assert pixels(load_image(shares))[0, :, 0].tolist() == [0, 128, 255]
    assert pixels(load_image(Image.fromarray(shares)))[0, :, 0].tolist() == [0, 128, 255]


@pytest.mark.parametrize("shape", [(3, 8, 9), (8, 9, 2), (8,), (0, 4, 3), (1, 3, 8, 9)])
def test_arrays_of_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match="channels last"):
        load_image(np.zeros(shape, dtype=np.uint8))


@pytest.mark.parametrize("values", [np.full((2, 2), 3.0), np.full((2, 2), np.nan), np.full((2, 2), -0.1)])
def test_floats_outside_the_unit_interval_are_refused(values: np.ndarray) -> None:
    with pytest.raises(DataError, match=r"0\.\.1"):
        load_image(values)


def test_other_number_types_are_refused() -> None:
    with pytest.raises(DataError, match="int64"):
        load_image(np.zeros((2, 2), dtype=np.int64))


@pytest.mark.parametrize("orientation", [1, 2, 3, 4, 5, 6, 7, 8])
def test_exif_orientation_is_applied(orientation: int) -> None:
    # What each orientation says was done to the upright picture before it was stored.
    stored_as = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.swapaxes(0, 1),
        6: lambda a: np.rot90(a, 1),
        7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
        8: lambda a: np.rot90(a, -1),
    }
    upright = np.asarray(noise(2))
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(np.ascontiguousarray(stored_as[orientation](upright)))
    assert np.array_equal(pixels(load_image(encode(stored, exif=exif))), upright)


@pytest.mark.parametrize(
    "content",
    [b"", b"no image", encode(noise(3))[:-40], encode(noise(3), "JPEG")[:200], b"%!PS-Adobe-3.0 EPSF-3.0\n"],
)
def test_unreadable_bytes(content: bytes) -> None:
    with pytest.raises(DataError, match="cannot be read as an image"):
        load_image(content)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone\.png"):
        load_image(tmp_path / "gone.png")


def test_large_jpegs_are_decoded_smaller_but_large_enough() -> None:
    content = encode(noise(5, (640, 480)).resize((1600, 1200)), "JPEG")
    assert load_image(content).size == (1600, 1200)
    small = load_image(content, size=64)
    assert small.size == (200, 150)  # an eighth, JPEG's smallest scale, is still at least 2·64 on both sides
    full = canvas(load_image(content), 64).float()
    assert (canvas(small, 64).float() - full).abs().mean() < 3


def test_cmyk_jpeg_with_size() -> None:
    image = Image.new("CMYK", (900, 600), (0, 255, 255, 0))
    shown = pixels(load_image(encode(image, "JPEG", quality=95), size=64))
    assert shown[..., 0].min() > 240
    assert shown[..., 1:].max() < 15


@pytest.mark.parametrize("size", [(40, 20), (20, 40), (31, 31), (7, 3), (1, 1), (500, 17)])
def test_canvas_is_a_square_of_the_size(size: tuple[int, int]) -> None:
    square = canvas(Image.new("RGB", size, (10, 20, 30)), 24)
    assert square.shape == (3, 24, 24)
    assert square.dtype == torch.uint8
    assert torch.equal(square, torch.tensor([10, 20, 30], dtype=torch.uint8).view(3, 1, 1).expand(3, 24, 24))


@pytest.mark.parametrize("tall", [False, True])
def test_canvas_cuts_the_centre(tall: bool) -> None:
    image = np.zeros((20, 60, 3), dtype=np.uint8)
    image[:, 20:40] = 255  # a white square in the middle of a black band
    square = canvas(Image.fromarray(image.swapaxes(0, 1) if tall else image), 20)
    assert square.min() == 255


def test_canvas_of_the_right_size_changes_nothing() -> None:
    image = noise(6, (16, 16))
    assert np.array_equal(canvas(image, 16).permute(1, 2, 0).numpy(), np.asarray(image))


def test_canvas_averages_when_it_shrinks() -> None:
    board = (np.indices((256, 256)).sum(0) % 2 * 255).astype(np.uint8)
    shrunk = canvas(load_image(board), 16).float()
    assert (shrunk - 127.5).abs().max() < 16  # without antialiasing it would be all black or all white


def test_image_mode_reads_the_header_only() -> None:
    assert image_mode(encode(noise(7, mode="L"))) == "L"
    assert image_mode(encode(noise(7))[:60]) == "RGB"
    assert image_mode(b"nothing") is None


def test_bytes_are_not_changed_by_reading() -> None:
    content = encode(noise(8), "JPEG")
    assert np.array_equal(pixels(load_image(content)), np.asarray(Image.open(io.BytesIO(content))))
