"""`smat data import`, from the command line to a domain that opens."""

import io
import json
import re
from pathlib import Path

import pytest
from PIL import Image

from smat.cli import main
from smat.domains import open_domain
from smat.importing import KINDS, Kind, Listing, list_sources
from smat.recipes.data.imports import data_import


def write_classes(root: Path, sizes: dict[str, int], side: int = 20) -> Path:
    for place, (name, count) in enumerate(sizes.items()):
        (root / name).mkdir(parents=True)
        for i in range(count):
            Image.new("RGB", (side, side // 2), (place, i, 7)).save(root / name / f"{i}.png")
    return root


def import_folder(source: Path, out: Path, *options: str) -> None:
    main(["data", "import", "folder", str(source), str(out), "--processes", "0", *options])


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_classes(tmp_path / "birds", {"owl": 3, "海鷗": 2})


def test_a_folder_becomes_a_domain_and_a_table(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for i in range(25):
        (source / "owl" / f"zero{i:02}.png").write_bytes(b"")
    import_folder(source, tmp_path / "out")
    domain = open_domain(tmp_path / "out" / "birds")
    assert domain.counts() == {"owl": 3, "海鷗": 2}
    captured = capsys.readouterr()
    screen = captured.out
    assert "test" in screen
    assert "2 to 3" in screen
    assert KINDS["folder"].summary in screen
    assert f"refused: 25, listed one by one in {tmp_path / 'out' / 'birds' / 'domain.json'}" in screen
    assert "25 items were left out: it has no bytes (such as 'birds: owl/zero00.png')" in captured.err
    assert "zero01" not in screen + captured.err
    listed = json.loads((tmp_path / "out" / "birds" / "domain.json").read_text(encoding="utf-8"))["refused"]
    assert [entry["place"] for entry in listed] == [f"owl/zero{i:02}.png" for i in range(25)]
    assert f"smat data doctor {tmp_path / 'out'}" in screen
    assert f"smat evaluate CHECKPOINT {tmp_path / 'out' / 'birds'}" in screen


def test_sides_and_keep(source: Path, tmp_path: Path) -> None:
    import_folder(source, tmp_path / "small", "--max-side", "10")
    import_folder(source, tmp_path / "kept", "--keep")
    small, kept = (open_domain(tmp_path / name / "birds") for name in ("small", "kept"))
    assert small.image(0).size == (10, 5)
    assert kept.image(0).size == (20, 10)
    assert kept.encoded(0) == (source / "owl" / "0.png").read_bytes()
    assert small.fingerprint != kept.fingerprint


def test_a_second_run_does_nothing_and_another_size_is_an_error(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import_folder(source, tmp_path / "out")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out" / "birds").iterdir()}
    import_folder(source, tmp_path / "out")
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out" / "birds").iterdir()} == before
    assert "finished before, nothing to do" in capsys.readouterr().out
    with pytest.raises(SystemExit) as stopped:
        import_folder(source, tmp_path / "out", "--max-side", "10")
    assert stopped.value.code == 2
    assert "with max_side 256, not max_side 10" in capsys.readouterr().err


def test_nothing_good_is_exit_status_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "bad" / "owl").mkdir(parents=True)
    (tmp_path / "bad" / "owl" / "zero.png").write_bytes(b"")
    with pytest.raises(SystemExit) as stopped:
        import_folder(tmp_path / "bad", tmp_path / "out")
    assert stopped.value.code == 2
    assert "owl/zero.png: it has no bytes" in capsys.readouterr().err


def write_digits(source: Path, prefix: str, labels: bytes) -> None:
    """Black images of 28 x 28 pixels in idx files."""
    count = len(labels).to_bytes(4, "big")
    side = (28).to_bytes(4, "big")
    source.mkdir(exist_ok=True)
    (source / f"{prefix}train-images-idx3-ubyte").write_bytes(
        b"\0\0\x08\x03" + count + 2 * side + bytes(784 * len(labels))
    )
    (source / f"{prefix}train-labels-idx1-ubyte").write_bytes(b"\0\0\x08\x01" + count + labels)


def test_one_domain_of_several_that_cannot_be_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_digits(tmp_path / "digits", "one-", b"\1\2")
    write_digits(tmp_path / "digits", "two-", b"\1\2")
    (tmp_path / "[red]out" / "one").mkdir(parents=True)
    (tmp_path / "[red]out" / "one" / "thesis.txt").write_text("dear")
    with pytest.raises(SystemExit) as stopped:
        main(["data", "import", "mnist", str(tmp_path / "digits"), str(tmp_path / "[red]out"), "--processes", "0"])
    assert stopped.value.code == 2
    assert f"'{tmp_path / '[red]out' / 'one'}' holds something else" in capsys.readouterr().err
    assert open_domain(tmp_path / "[red]out" / "two").counts()["2"] == 1


def test_one_domain_of_several_without_a_good_image(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_digits(tmp_path / "digits", "one-", b"\1\2")
    write_digits(tmp_path / "digits", "two-", b"\1\2")

    def listings(kind: Kind, source: str) -> list[Listing]:
        found = list_sources(kind, source)
        (tmp_path / "digits" / "one-train-images-idx3-ubyte").unlink()  # between listing and reading
        return found

    monkeypatch.setattr("smat.recipes.data.imports.list_sources", listings)
    main(["data", "import", "mnist", str(tmp_path / "digits"), str(tmp_path / "out"), "--processes", "0"])
    assert "Not imported: no image of 'one' can be imported" in capsys.readouterr().out
    assert not (tmp_path / "out" / "one").exists()
    assert (tmp_path / "out" / "two" / "domain.json").exists()


def test_every_kind_is_documented() -> None:
    guide = (Path(__file__).parents[3] / "docs" / "data.md").read_text(encoding="utf-8")
    for kind in KINDS:
        assert f"\n## {kind}\n" in guide
        assert re.search(rf"\b{kind}\b", data_import.__doc__ or "")


def test_a_photo_that_is_larger_is_made_smaller(tmp_path: Path) -> None:
    (tmp_path / "birds" / "owl").mkdir(parents=True)
    exif = Image.Exif()
    exif[0x0112] = 6
    photo = Image.effect_noise((640, 480), 40)
    photo.save(tmp_path / "birds" / "owl" / "1.jpg", exif=exif.tobytes())
    import_folder(tmp_path / "birds", tmp_path / "out")
    stored = open_domain(tmp_path / "out" / "birds").encoded(0)
    assert isinstance(stored, bytes)
    with Image.open(io.BytesIO(stored)) as image:
        assert (image.format, image.mode, image.size) == ("JPEG", "L", (192, 256))
