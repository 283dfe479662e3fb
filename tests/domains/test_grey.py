import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from deep_images import RAMP, chunk, encoded, grey, in_bits, png, tiff
from small_images import encode
from smat.domains import load_image
from smat.domains.grey import GreyRange
from smat.domains.images import find_range
from smat.errors import ConfigError, DataError

TWELVE = GreyRange(0, 4095)
SHARE = (RAMP / 255).astype(np.float32)


def assert_right(image: Image.Image) -> None:
    assert np.abs(grey(image) - RAMP).max() <= 1


def forms(values: np.ndarray) -> list:
    """One array of 16 bits in all that can hold it."""
    return [
        values,
        png(values),
        tiff(values),
        encoded(values, "JPEG2000"),
        encoded(values, "PPM"),
        Image.fromarray(values),
    ]


@pytest.mark.parametrize("place", range(6))
def test_all_of_sixteen_bits_need_no_range(place: int) -> None:
    assert_right(load_image(forms(in_bits(16))[place]))


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 15])
@pytest.mark.parametrize("place", range(6))
def test_fewer_bits_in_sixteen_need_their_range(bits: int, place: int) -> None:
    source = forms(in_bits(bits))[place]
    with pytest.raises(DataError, match=rf"its values are .*--range 0 {2**bits - 1}, or --range 0 65535"):
        load_image(source)
    assert_right(load_image(source, range=GreyRange(0, 2**bits - 1)))
    assert find_range("auto", [source]) == GreyRange(0, 2**bits - 1)
    assert grey(load_image(source, range=GreyRange(0, 65535))).max() == round(float(in_bits(bits).max()) / 257)


def test_a_black_image_is_black_on_any_range() -> None:
    for source in forms(np.zeros((4, 4), np.uint16)):
        assert grey(load_image(source)).max() == 0


def test_the_file_says_its_bits() -> None:
    twelve = in_bits(12)
    pgm = b"P5 8 8 4095\n" + twelve.astype(">u2").tobytes()
    plain = b"P2 8 8 4095\n" + " ".join(map(str, twelve.reshape(-1))).encode()
    for source in (tiff(twelve, bits=12), tiff(twelve, {340: 0, 341: 4095}), pgm, plain):
        assert_right(load_image(source))
        assert_right(load_image(source, range=TWELVE))
        assert find_range("auto", [source]) == TWELVE
        # What is said of all images goes before what one says of itself.
        assert np.abs(grey(load_image(source, range=GreyRange(0, 65535))) - twelve / 257).max() <= 1


def test_the_largest_value_of_an_image_is_not_its_white() -> None:
    with pytest.raises(DataError, match="not known which value is white"):
        load_image(tiff(in_bits(12), {340: 321, 341: 3533}))


def test_significant_bits_of_a_png_say_nothing_of_its_range() -> None:
    assert_right(load_image(png(in_bits(16), chunk(b"sBIT", b"\x0c"))))
    with pytest.raises(DataError, match="--range 0 4095"):
        load_image(png(in_bits(12), chunk(b"sBIT", b"\x0c")))


@pytest.mark.parametrize("values", [SHARE, in_bits(16)], ids=["floats", "16 bits"])
def test_zero_may_be_white(values: np.ndarray) -> None:
    most = 1 if values.dtype == np.float32 else 65535
    assert_right(load_image(tiff(most - values, {262: 0})))


def test_transparency_of_sixteen_bits_is_laid_on_white() -> None:
    values = in_bits(16)
    clear = chunk(b"tRNS", struct.pack(">H", values[0, 0]))
    shown = grey(load_image(png(values, clear)))
    assert shown[0, 0] == 255
    assert np.abs(shown - RAMP).reshape(-1)[1:].max() <= 1


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_transparency_of_few_bits_is_laid_on_white(bits: int) -> None:
    values = np.arange(8, dtype=np.uint8).reshape(2, 4) % 2**bits
    shown = grey(load_image(png(values, chunk(b"tRNS", struct.pack(">H", 1)), bits)))
    assert np.array_equal(shown, np.where(values == 1, 255, values * (255 // (2**bits - 1))))


@pytest.mark.parametrize("kind", [np.int16, np.int32, np.uint32])
def test_other_whole_numbers_need_a_range(kind: type) -> None:
    most = 2 ** (np.iinfo(kind).bits - 1) - 1
    values = np.rint(RAMP / 255 * most).astype(kind)
    for source in (values, tiff(values)):
        with pytest.raises(DataError, match=f"--range 0 {most}"):
            load_image(source)
        assert_right(load_image(source, range=GreyRange(0, most)))
    signed = (np.rint(RAMP / 255 * 2000) - 1000).astype(np.int16)
    assert_right(load_image(tiff(signed), range=GreyRange(-1000, 1000)))
    assert find_range("auto", [tiff(signed)]) == GreyRange(float(signed.min()), float(signed.max()))


def test_unsigned_numbers_of_32_bits_are_not_negative() -> None:
    values = np.rint(RAMP / 255 * (2**32 - 1)).astype(np.uint32)
    assert_right(load_image(tiff(values), range=GreyRange(0, 2**32 - 1)))


@pytest.mark.parametrize(
    ("values", "low", "high"), [(SHARE * 2 - 1, -1, 1), (SHARE * 4000, 0, 4000), (SHARE * 255, 0, 255)]
)
def test_floats_beyond_one_need_a_range(values: np.ndarray, low: int, high: int) -> None:
    for source in (values, tiff(values), Image.fromarray(values)):
        with pytest.raises(DataError, match=r"its values are .*, not within 0\.\.1"):
            load_image(source)
        assert_right(load_image(source, range=GreyRange(low, high)))
        assert find_range("auto", [source]) == GreyRange(min(0.0, float(values.min())), float(values.max()))


def test_one_value_beyond_one_becomes_white_where_the_range_is_said() -> None:
    values = SHARE.copy()
    values[0, 7] = 1.02
    with pytest.raises(DataError, match=r"1\.02"):
        load_image(tiff(values))
    shown = grey(load_image(tiff(values), range=GreyRange(0, 1)))
    assert shown[0, 7] == 255
    assert abs(shown[0, 0] - 20.0) <= 1


def test_values_that_are_no_numbers_are_refused() -> None:
    values = SHARE.copy()
    values[0, 7] = np.nan
    for source in (tiff(values), values, Image.fromarray(values)):
        for told in (None, GreyRange(0, 1)):
            with pytest.raises(DataError, match=r"1 of its 64 values are no numbers \(NaN\)"):
                load_image(source, range=told)
        assert find_range("auto", [source]) == GreyRange(0, float(np.nanmax(values)))
    values[0, 7] = np.inf
    with pytest.raises(DataError, match=r"\.\.inf"):
        load_image(tiff(values))
    assert grey(load_image(tiff(values), range=GreyRange(0, 1)))[0, 7] == 255


def test_floats_that_a_range_makes_black_are_refused() -> None:
    with pytest.raises(DataError, match="all come out alike on the range 0 4095"):
        load_image(tiff(SHARE), range=TWELVE)


def test_eight_bits_have_no_other_range() -> None:
    eight = RAMP.round().astype(np.uint8)
    for source in (
        png(eight),
        encode(Image.fromarray(eight), "TIFF"),
        Image.fromarray(eight),
        png(eight.repeat(3).reshape(8, 8, 3)),
    ):
        assert_right(load_image(source, range=TWELVE))
        assert find_range("auto", [source]) is None


def test_arrays_are_on_the_range_that_is_said() -> None:
    assert np.array_equal(grey(load_image(np.array([[0, 1]], np.uint8), range=GreyRange(0, 1))), [[0, 255]])
    assert np.array_equal(grey(load_image(np.array([[False, True]]), range=TWELVE)), [[0, 255]])
    with pytest.raises(DataError, match="uint8, which cannot be on the range 0 4095"):
        load_image(np.zeros((2, 2), np.uint8), range=TWELVE)
    colours = np.dstack([in_bits(12)] * 3)
    assert_right(load_image(colours, range=TWELVE))
    with pytest.raises(DataError, match="--range 0 4095"):
        load_image(np.dstack([colours, np.full((8, 8), 65535, np.uint16)]))


def test_colours_of_sixteen_bits() -> None:
    colours = in_bits(16).repeat(3).reshape(8, 8, 3)
    assert_right(load_image(png(colours)))
    clear = chunk(b"tRNS", struct.pack(">HHH", *colours[0, 0]))
    assert grey(load_image(png(colours, clear)))[0, 0] == 255
    for dark in (png(colours // 16), png(colours // 257), b"P6 8 8 65535\n" + (colours // 16).astype(">u2").tobytes()):
        with pytest.raises(DataError, match=r"colours of 16 bits.*convert it to 8 bits, or say --range 0 65535"):
            load_image(dark)
        assert grey(load_image(dark, range=GreyRange(0, 65535))).max() <= 14
        with pytest.raises(DataError, match="only grey images can be read on another range"):
            load_image(dark, range=TWELVE)
    assert_right(load_image(b"P6 8 8 4095\n" + (colours // 16).astype(">u2").tobytes()))


def test_a_range_of_all_images(tmp_path: Path) -> None:
    (tmp_path / "dark.png").write_bytes(png(in_bits(10)))
    sources = [tmp_path / "dark.png", png(in_bits(12)), png(RAMP.astype(np.uint8)), b"no image", tmp_path / "gone.png"]
    assert find_range("auto", sources) == TWELVE
    assert find_range("auto", sources[2:]) is None
    assert find_range((0, 4095), []) == TWELVE
    assert find_range(None, sources) is None
    with pytest.raises(DataError, match=r"whole numbers, as in '.*dark\.png', and floats, as in an image"):
        find_range("auto", [*sources, tiff(SHARE)])


@pytest.mark.parametrize("option", [(1, 0), (0, 0), (0, float("inf")), (0,), "full", (0, "a")])
def test_what_is_no_range(option: object) -> None:
    with pytest.raises(ConfigError, match="the range is"):
        find_range(option, [])


def test_orientation_is_applied_to_deep_images() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    stored = Image.fromarray(np.rot90(in_bits(16), 1).copy())
    assert_right(load_image(encode(stored, exif=exif)))
