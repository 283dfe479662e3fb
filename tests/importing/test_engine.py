import importlib
import io
import os
import signal
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile

from deep_images import RAMP, in_bits, png, tiff
from made import listing_of
from small_images import encode, noise
from smat.domains import open_domain
from smat.domains.grey import GreyRange, RangeOption
from smat.domains.hierarchy import Hierarchy
from smat.domains.imported import Refused, read_imported
from smat.errors import ConfigError, DataError
from smat.importing import Found, Listing, Part, import_domain
from smat.importing.decoding import Decoding, decoded
from smat.importing.reduce import stored_image

CLASSES = {name: [(f"{name}{i}", encode(noise(10 * place + i))) for i in range(5)] for place, name in enumerate("abcd")}


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def whole(tmp_path: Path) -> dict[str, bytes]:
    """What an import of `CLASSES` without interruption writes."""
    import_domain(listing_of(CLASSES, None, tmp_path), tmp_path / "whole")
    return files(tmp_path / "whole" / "made")


# Bytes that are stored


def bomb(side: int) -> bytes:
    """A PNG file of 20 kilobytes that says it has side x side black pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    pixels = zlib.compress(bytes(20_000_000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def test_bombs_are_refused_and_not_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda *_: pytest.fail("it is decoded"))
    for side in (60_000, 19_000):  # above and below the size at which Pillow itself gives up
        content = bomb(side)
        assert 15_000 < len(content) < 21_000
        for max_side in (256, None):
            with pytest.raises(DataError, match=f"it has {side} x {side} pixels, more than 357,913,941"):
                stored_image(content, max_side)
    with pytest.raises(DataError, match="more than 100: make it smaller"):
        stored_image(encode(noise(0)), 256, max_pixels=100)
    lazy = Image.new("1", (1, 1))
    monkeypatch.setattr(lazy, "_size", (60_000, 60_000))
    with pytest.raises(DataError, match="it has 60000 x 60000 pixels"):
        stored_image(lazy, 256)


def test_large_photographs_are_decoded_at_a_fraction() -> None:
    content = encode(smooth(640, 480), "JPEG")
    small = opened(stored_image(content, 40, max_pixels=160 * 120))
    assert (small.format, small.size) == ("JPEG", (40, 30))
    with pytest.raises(DataError, match="it has 640 x 480 pixels, more than 19,200"):
        stored_image(content, None, max_pixels=160 * 120)


@pytest.mark.parametrize("max_side", [None, 8, 300])
def test_deep_images_are_stored_in_eight_bits(max_side: int | None) -> None:
    twelve = GreyRange(0, 4095)
    for content, told in ((png(in_bits(12)), twelve), (tiff(in_bits(12)), twelve), (png(in_bits(16)), None)):
        stored = opened(stored_image(content, max_side, range=told))
        assert (stored.format, stored.mode) == ("PNG", "L")
        assert np.abs(np.asarray(stored) - RAMP).max() <= 1
    smaller = opened(stored_image(png(in_bits(12)), 4, range=twelve))
    assert (smaller.format, smaller.mode, smaller.size) == ("JPEG", "L", (4, 4))
    assert abs(np.asarray(smaller).mean() - RAMP.mean()) < 2
    with pytest.raises(DataError, match=r"not known which value is white: .*--range 0 4095"):
        stored_image(png(in_bits(12)), max_side)
    colours = opened(stored_image(png(np.dstack([in_bits(16)] * 3)), max_side))
    assert (colours.format, colours.mode) == ("PNG", "RGB")


def test_checksums_are_verified() -> None:
    content = bytearray(encode(noise(0)))
    content[len(content) // 2] ^= 1
    for max_side in (4, 300, None):
        with pytest.raises(DataError, match="the checksum of its IDAT data is wrong"):
            stored_image(bytes(content), max_side)


def opened(content: bytes) -> Image.Image:
    return Image.open(io.BytesIO(content))


@pytest.mark.parametrize("form", ["PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP"])
def test_images_that_are_not_larger_keep_their_bytes(form: str) -> None:
    content = encode(noise(0, (256, 40)), form)
    assert stored_image(content, 256) == content
    assert stored_image(content, None) == content
    assert opened(stored_image(content, 255)).format == "JPEG"


@pytest.mark.parametrize("form", ["PNG", "JPEG", "GIF", "WEBP", "TIFF"])
def test_cut_images_are_refused(form: str) -> None:
    content = encode(noise(0, (300, 200)), form)
    for kept in (0, 10, len(content) // 2):
        for max_side in (100, 400, None):
            with pytest.raises(DataError, match=r"no bytes|cannot be decoded|cut short"):
                stored_image(content[:kept], max_side)


def smooth(width: int, height: int) -> Image.Image:
    """Colours that change slowly: red to the right, green downwards."""
    x, y = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return Image.fromarray(np.stack([x, y, np.full_like(x, 100)], axis=2).round().astype(np.uint8))


@pytest.mark.parametrize("form", ["PNG", "JPEG"])
def test_larger_images_are_brought_to_the_side(form: str) -> None:
    small = opened(stored_image(encode(smooth(1000, 501), form), 200))
    assert (small.format, small.mode, small.size) == ("JPEG", "RGB", (200, 100))
    difference = np.asarray(small, dtype=float) - np.asarray(smooth(200, 100), dtype=float)
    assert np.abs(difference[5:-5, 5:-5]).max() < 6
    assert opened(stored_image(encode(smooth(30, 3000), form), 100)).size == (1, 100)


def test_fine_lines_are_averaged_when_made_smaller() -> None:
    lines = np.zeros((400, 400), np.uint8)
    lines[:, ::2] = 255
    small = np.asarray(opened(stored_image(lines, 50)))
    assert small.ndim == 2
    assert np.abs(small.astype(int) - 127)[5:-5, 5:-5].max() < 6


@pytest.mark.parametrize(
    ("image", "mode"),
    [
        (smooth(300, 200).convert("L"), "L"),
        (smooth(300, 200).convert("1"), "L"),
        (smooth(300, 200).convert("LA"), "L"),
        (Image.fromarray(np.asarray(smooth(300, 200))[..., 0].astype(np.uint16) * 257), "L"),
        (smooth(300, 200).convert("P", palette=Image.Palette.ADAPTIVE), "RGB"),
        (smooth(300, 200).convert("RGBA"), "RGB"),
        (smooth(300, 200).convert("CMYK"), "RGB"),
    ],
    ids=["grey", "black and white", "grey with transparency", "16 bits", "palette", "RGBA", "CMYK"],
)
def test_modes_of_larger_images(image: Image.Image, mode: str) -> None:
    stored = opened(stored_image(encode(image, "TIFF" if image.mode == "CMYK" else "PNG"), 150))
    assert (stored.mode, stored.size) == (mode, (150, 100))
    expected = image.convert("RGB") if image.mode != "I;16" else smooth(300, 200).getchannel(0)
    expected = np.asarray(expected.convert(mode).resize((150, 100), Image.Resampling.LANCZOS), dtype=float)
    assert np.abs(np.asarray(stored, dtype=float) - expected).mean() < 8
    cut_out = opened(stored_image(image, 300))  # in that mode, not larger
    assert (cut_out.format, cut_out.size) == ({"L": "PNG", "RGB": "JPEG"}[mode], (300, 200))
    assert opened(stored_image(image, None)).format == "PNG"


def test_cmyk_and_grey_jpegs() -> None:
    cmyk, grey = smooth(300, 200).convert("CMYK"), smooth(300, 200).convert("L")
    for image, mode in ((cmyk, "RGB"), (grey, "L")):
        content = encode(image, "JPEG")
        assert stored_image(content, 300) == content
        assert opened(stored_image(content, 100)).mode == mode


def test_transparency_is_laid_on_white() -> None:
    clear = Image.new("RGBA", (40, 40), (255, 0, 0, 0))
    assert np.asarray(opened(stored_image(encode(clear), 20))).min() > 250
    palette = Image.new("P", (40, 40), 1)
    palette.putpalette([0, 0, 0, 9, 9, 9])
    assert np.asarray(opened(stored_image(encode(palette, transparency=1), 20))).min() > 250


def test_the_cameras_orientation_is_applied() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # lies on its side: to be turned a quarter to the right
    content = encode(smooth(600, 300), "JPEG", exif=exif.tobytes())
    small = opened(stored_image(content, 200))
    assert small.size == (100, 200)
    red = np.asarray(small, dtype=float)[..., 0]
    assert red[190, 50] - red[10, 50] > 200  # what grew to the right grows downwards
    assert small.getexif().get(0x0112, 1) == 1
    assert stored_image(content, 600) == content


@pytest.mark.parametrize("shape", [(20, 30), (20, 30, 3)])
def test_pixels_are_kept_without_loss(shape: tuple[int, ...]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    for max_side in (30, None):
        stored = opened(stored_image(pixels, max_side))
        assert stored.format == "PNG"
        assert np.array_equal(np.asarray(stored), pixels)
    assert opened(stored_image(pixels, 15)).format == "JPEG"
    assert np.array_equal(np.asarray(opened(stored_image(Image.fromarray(pixels), None))), pixels)


@pytest.mark.parametrize("pixels", [np.zeros((4, 4)), np.zeros((4, 4, 2), np.uint8), np.zeros((0, 4), np.uint8)])
def test_arrays_that_are_no_images(pixels: np.ndarray) -> None:
    with pytest.raises(DataError, match=r"pixels are \[height, width\]|it is empty"):
        stored_image(pixels, 256)


# The import


def deep_classes() -> dict[str, list[tuple[str, bytes]]]:
    """12 bits in 16, of which one image is bright and the others are dark, and an image of 8 bits."""
    shares = (RAMP / 255, RAMP / 1000, RAMP / 2000)
    deep = [(f"deep{i}", png(in_bits(12, share))) for i, share in enumerate(shares)]
    return {"deep": deep, "other": [("eight", png(RAMP.astype(np.uint8)))]}


@pytest.mark.parametrize("option", [(0, 4095), "auto"])
@pytest.mark.parametrize("processes", [0, 2])
def test_deep_images_are_imported_on_one_range(tmp_path: Path, option: RangeOption, processes: int) -> None:
    listing = listing_of(deep_classes(), None, tmp_path)
    imported = import_domain(listing, tmp_path / "out", range=option, processes=processes)
    assert not imported.refused
    assert imported.options == {"max_side": 256, "range": "auto" if option == "auto" else [0, 4095]}
    assert "grey images of more than 8 bits are read on the range 0 4095" in imported.notes
    domain = open_domain(tmp_path / "out" / "made")
    for row, share in enumerate((1, 255 / 1000, 255 / 2000, 1)):
        assert np.abs(np.asarray(domain.image(row))[:, :, 0] - RAMP * share).max() <= 1
    assert import_domain(listing, tmp_path / "out", range=option) == imported
    with pytest.raises(DataError, match=r"with max_side 256, range .*, not max_side 256, range \[0, 1023\]: delete"):
        import_domain(listing, tmp_path / "out", range=(0, 1023))


def test_deep_images_without_a_range_are_refused_by_name(tmp_path: Path) -> None:
    imported = import_domain(listing_of(deep_classes(), None, tmp_path), tmp_path / "out")
    assert imported.classes == {"deep": 0, "other": 1}
    assert "deep0: its values are 321..3533" in str(imported.refused[0])
    with pytest.raises(ConfigError, match="the range is 5 0"):
        import_domain(listing_of(deep_classes(), None, tmp_path), tmp_path / "other", range=(5, 0))


def test_images_that_are_decoded_on_the_way_in_are_on_the_range(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png(in_bits(12)))
    assert "--range 0 4095" in str(decoded(tmp_path, tmp_path / "a.png"))
    with Decoding(GreyRange(0, 4095)):
        image = decoded(tmp_path, tmp_path / "a.png")
        assert isinstance(image, Image.Image)
        assert np.abs(np.asarray(image) - RAMP).max() <= 1
    with Decoding(max_pixels=63):
        assert "it has 8 x 8 pixels" in str(decoded(tmp_path, tmp_path / "a.png"))


@pytest.mark.parametrize("processes", [0, 2])
def test_the_same_whatever_the_number_of_processes(tmp_path: Path, whole: dict[str, bytes], processes: int) -> None:
    seen: list[int] = []
    listing = listing_of(CLASSES, None, tmp_path)
    import_domain(listing, tmp_path / "out", processes=processes, progress=seen.append)
    assert files(tmp_path / "out" / "made") == whole
    assert seen == [0, 2, 4, 5, 7, 9, 10, 12, 14, 15, 17, 19, 20]
    domain = open_domain(tmp_path / "out" / "made")
    assert np.array_equal(np.asarray(domain.image(13)), np.asarray(noise(23)))


def test_a_second_run_does_nothing(tmp_path: Path) -> None:
    listing = listing_of(CLASSES, None, tmp_path)
    first = import_domain(listing, tmp_path / "out")
    before = {path: path.stat() for path in (tmp_path / "out" / "made").iterdir()}
    unread = Listing(**{**vars(listing), "read": fail})
    assert import_domain(unread, tmp_path / "out") == first
    assert {path: path.stat() for path in (tmp_path / "out" / "made").iterdir()} == before


def fail(part: Part) -> Iterator[Found]:
    raise AssertionError("it is read again")


class Stop(BaseException):
    """As Ctrl-C, in the middle of things."""


@pytest.mark.parametrize("stop", range(0, 12))
def test_it_goes_on_where_it_was(tmp_path: Path, whole: dict[str, bytes], stop: int) -> None:
    listing = listing_of(CLASSES, None, tmp_path)

    def interrupt(done: int) -> None:
        seen.append(done)
        if len(seen) > stop:
            raise Stop

    seen: list[int] = []
    with pytest.raises(Stop):
        import_domain(listing, tmp_path / "out", progress=interrupt)
    assert (tmp_path / "out" / "made" / "progress.jsonl").exists()
    with pytest.raises(DataError, match="not finished"):
        open_domain(tmp_path / "out" / "made")
    again: list[int] = []
    import_domain(listing, tmp_path / "out", progress=again.append)
    assert again[0] == seen[-1]
    assert files(tmp_path / "out" / "made") == whole


@pytest.mark.parametrize(
    "damage",
    [
        lambda images, log: images.write_bytes(images.read_bytes() + b"half a batch" * 99_999),
        lambda images, log: log.write_text(log.read_text() + '{"images": 2, "si'),
        lambda images, log: log.write_bytes(log.read_bytes()[:-30] + bytes(29) + b"\n"),
        lambda images, log: log.write_bytes(b"\xff\x00\n"),
        lambda images, log: images.write_bytes(images.read_bytes()[:-100]),
        lambda images, log: images.unlink(),
        lambda images, log: log.write_text(""),
        lambda images, log: log.write_text(log.read_text()[:20]),
        lambda images, log: (images.parent / "parts-left").mkdir(),
    ],
    ids=[
        "images longer",
        "log longer",
        "zeros in the log",
        "no log any more",
        "images shorter",
        "no images",
        "empty log",
        "half a first line",
        "leftovers",
    ],
)
def test_what_a_kill_can_leave_behind(
    tmp_path: Path, whole: dict[str, bytes], damage: Callable[[Path, Path], object]
) -> None:
    listing = listing_of(CLASSES, None, tmp_path)

    def interrupt(done: int) -> None:
        if done == 9:
            raise Stop

    with pytest.raises(Stop):
        import_domain(listing, tmp_path / "out", progress=interrupt)
    folder = tmp_path / "out" / "made"
    damage(folder / "images.arrow", folder / "progress.jsonl")
    import_domain(listing, tmp_path / "out")
    assert files(folder) == whole


KILLED = """
import sys
from slow_source import listing
from smat.importing import import_domain
import_domain(listing, sys.argv[1], processes=1)
"""
SLOW_SOURCE = """
import os, time
from pathlib import Path
from PIL import Image
from smat.importing import Found, Listing, Part

here = Path(__file__).with_name("here")

def read(part):
    for row in range(part.images):
        if part.payload == 3 and not here.exists():
            here.with_name("soon").write_text(str(os.getpid()))
            here.with_name("soon").rename(here)
            time.sleep(60)
        yield Found(f"{part.payload}#{row}", Image.new("RGB", (9, 9), (part.payload, row, 0)))

parts = [Part(number // 2, 3, number) for number in range(6)]
listing = Listing("made", ("a", "b", "c"), {"test": ("a", "b", "c")}, parts, read, [Path(__file__)])
"""


def test_after_a_kill_it_goes_on_to_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "slow_source.py").write_text(SLOW_SOURCE)
    command = [sys.executable, "-c", KILLED, str(tmp_path / "killed")]
    path = [str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])]
    process = subprocess.Popen(command, env=os.environ | {"PYTHONPATH": os.pathsep.join(path)})
    while not (tmp_path / "here").exists():
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    worker = int((tmp_path / "here").read_text())
    while is_running(worker):  # it ends by itself when it is left alone
        time.sleep(0.02)
    lines = (tmp_path / "killed" / "made" / "progress.jsonl").read_text().splitlines()
    assert 1 <= len(lines) <= 4
    monkeypatch.syspath_prepend(tmp_path)
    listing = importlib.import_module("slow_source").listing
    for out in ("killed", "whole"):
        import_domain(listing, tmp_path / out)
    assert files(tmp_path / "killed" / "made") == files(tmp_path / "whole" / "made")
    assert open_domain(tmp_path / "killed" / "made").counts() == {"a": 6, "b": 6, "c": 6}


def is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{process}/stat")
    return not status.exists() or status.read_text().rpartition(")")[2].split()[0] != "Z"


def test_it_does_not_go_on_with_something_else(tmp_path: Path) -> None:
    listing = listing_of(CLASSES, None, tmp_path)

    def interrupt(done: int) -> None:
        raise Stop

    with pytest.raises(Stop):
        import_domain(listing, tmp_path / "out", progress=interrupt)
    for finished in (False, True):
        if finished:
            import_domain(listing, tmp_path / "out")
        with pytest.raises(DataError, match=r"finished import with max_side 256, not max_side 64: delete it"):
            import_domain(listing, tmp_path / "out", max_side=64)
        with pytest.raises(DataError, match=r"with max_side 256, not keep True"):
            import_domain(listing, tmp_path / "out", keep=True)
        with pytest.raises(DataError, match="other sizes or times"):
            import_domain(listing_of({**CLASSES, "a": CLASSES["a"][:3]}, None, tmp_path), tmp_path / "out")
    os.utime(tmp_path / "source.txt", ns=(1, 1))
    with pytest.raises(DataError, match="other sizes or times"):
        import_domain(listing, tmp_path / "out")


def test_two_imports_at_once_do_not_mix(tmp_path: Path) -> None:
    listing = listing_of(CLASSES, None, tmp_path)

    def second(done: int) -> None:
        with pytest.raises(DataError, match="another import is writing"):
            import_domain(listing, tmp_path / "out")

    assert import_domain(listing, tmp_path / "out", progress=second).images == 20


def test_what_is_refused_is_said_and_the_rest_is_kept(tmp_path: Path) -> None:
    images = {
        "good": [("one", encode(noise(1))), ("zero", b""), ("three", encode(noise(3)))],
        "bad": [("bomb", bomb(60_000)), ("text", b"text" * 50)],
        "odd": [("\udcff", encode(noise(4)))],
    }
    splits = {"train": ("bad", "good"), "test": ("odd",)}
    groups = {"train": {"first": ("bad",), "second": ("bad", "good")}, "test": {"third": ("odd",)}}
    early = Refused("list.txt:4", "no such class")
    listing = listing_of(images, splits, tmp_path, hierarchy=Hierarchy("groups", groups), refused=(early,))
    imported = import_domain(listing, tmp_path / "out")
    assert imported.classes == {"good": 2, "bad": 0, "odd": 1}
    assert imported.splits == {"train": ("good",), "test": ("odd",)}
    assert imported.hierarchy == Hierarchy("groups", {"train": {"second": ("good",)}, "test": {"third": ("odd",)}})
    assert imported.refused[0] == early
    assert [entry.place for entry in imported.refused[1:]] == ["zero", "bomb", "text", "class 'bad'"]
    assert read_imported(tmp_path / "out" / "made") == imported
    domain = open_domain(tmp_path / "out" / "made")
    assert [domain.image_name(row) for row in range(3)] == ["one", "three", "\ufffd"]


def test_where_nothing_is_good_nothing_is_left(tmp_path: Path) -> None:
    listing = listing_of({"a": [("zero", b"")]}, None, tmp_path)
    with pytest.raises(DataError, match=r"no image of 'made' can be imported.*\n  zero: it has no bytes"):
        import_domain(listing, tmp_path / "out")
    assert not (tmp_path / "out" / "made").exists()


def stumbling(part: Part) -> Iterator[Found | Refused]:
    yield Found("before", encode(noise(0)))
    if part.label == 1:
        raise {"value": ValueError("a bug"), "disk": OSError("input/output error")}[part.payload]


def dying(part: Part) -> Iterator[Found | Refused]:
    yield Found("before", encode(noise(0)))
    if part.label == 1:
        os._exit(1)


def three_parts(read: Callable[[Part], Iterator[Found | Refused]], payload: str, tmp_path: Path) -> Listing:
    return Listing("made", tuple("abc"), {"test": tuple("abc")}, [Part(i, 2, payload) for i in range(3)], read, [])


def test_an_importers_mistake_costs_one_part(tmp_path: Path) -> None:
    imported = import_domain(three_parts(stumbling, "value", tmp_path), tmp_path / "out")
    assert imported.classes == {"a": 1, "b": 1, "c": 1}
    [entry] = imported.refused
    assert str(entry).startswith("made, class 'b': reading stopped with ValueError: a bug, after 1 of 2 images")


def test_a_failing_disk_stops_the_import(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="reading made, class 'b' failed: input/output error"):
        import_domain(three_parts(stumbling, "disk", tmp_path), tmp_path / "out")
    assert len((tmp_path / "out" / "made" / "progress.jsonl").read_text().splitlines()) == 2


def test_a_worker_that_dies_is_an_error_and_loses_nothing(tmp_path: Path) -> None:
    listing = three_parts(dying, "", tmp_path)
    with pytest.raises(DataError, match=r"a worker process died while made, class '[ab]' was next"):
        import_domain(listing, tmp_path / "out", processes=1)
    again = Listing(**{**vars(listing), "read": stumbling, "parts": [Part(i, 2, "value") for i in range(3)]})
    assert import_domain(again, tmp_path / "out").classes == {"a": 1, "b": 1, "c": 1}


def test_folders_that_cannot_be_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listing = listing_of(CLASSES, None, tmp_path)
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataError, match="cannot be written"):
        import_domain(listing, tmp_path / "file")
    (tmp_path / "out" / "made").mkdir(parents=True)
    (tmp_path / "out" / "made" / "thesis.txt").write_text("dear")
    with pytest.raises(DataError, match="holds something else"):
        import_domain(listing, tmp_path / "out")
    assert (tmp_path / "out" / "made" / "thesis.txt").read_text() == "dear"


def test_a_full_disk(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    listing = listing_of(CLASSES, None, tmp_path)

    def fill(done: int) -> None:
        if done == 4:
            [parts] = (tmp_path / "out" / "made").glob("parts-*")
            (parts / "2").symlink_to("/dev/full")

    with pytest.raises(DataError, match=r"No space left on device; make room and run the same import again"):
        import_domain(listing, tmp_path / "out", progress=fill)
    assert import_domain(listing, tmp_path / "out").images == 20


def test_settings_and_listings_that_cannot_be(tmp_path: Path) -> None:
    listing = listing_of(CLASSES, None, tmp_path)
    with pytest.raises(ConfigError, match="max_side is 0"):
        import_domain(listing, tmp_path, max_side=0)
    with pytest.raises(ConfigError, match="processes is -1"):
        import_domain(listing, tmp_path, processes=-1)
    for change in (
        {"classes": ("a", "b", "a", "d")},
        {"splits": {"test": ("a",)}},
        {"splits": {"exam": tuple("abcd")}},
        {"parts": [*listing.parts[1:], listing.parts[0]]},
        {"parts": []},
        {"name": "../up"},
    ):
        with pytest.raises(DataError):
            import_domain(Listing(**{**vars(listing), **change}), tmp_path / "out")
