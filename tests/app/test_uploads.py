"""Archives and names that come from outside."""

import io
import zipfile
from pathlib import Path

import pytest

from drawings import draw, session, zip_of
from smat.app import Limits, Upload
from smat.app.uploads import class_of, shown_name, unpack_classifier, unpacked
from smat.errors import DataError
from smat.left_out import collecting


def archive(path: Path, content: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> Upload:
    with zipfile.ZipFile(path, "w", compression) as file:
        for name, data in content.items():
            file.writestr(name, data)
    return Upload(path, path.name)


def picture(tmp_path: Path) -> bytes:
    return draw(tmp_path, {"fern": 0}, 1)[0].path.read_bytes()


def test_a_folder_of_folders_in_a_zip_becomes_classes(tmp_path: Path) -> None:
    draw(tmp_path / "plants", {"fern": 0, "moss": 1}, 2)
    one = session(tmp_path)
    assert one.add([zip_of(tmp_path / "plants", tmp_path / "plants.zip")]) == 4
    assert {name: len(photos) for name, photos in one.board.classes.items()} == {"fern": 2, "moss": 2}
    assert sorted(path.name for path in one.folder.iterdir()) == ["1", "2", "3", "4"]


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("1.jpg", ""),
        ("robin/1.jpg", "robin"),
        ("birds/robin/1.jpg", "robin"),
        ("birds/robin/2020/1.jpg", "robin"),
    ],
)
def test_the_class_that_folders_say(name: str, label: str) -> None:
    assert class_of(name) == label


def test_names_are_one_printable_line() -> None:
    assert shown_name("a\nb\x00\u202ec\\d.jpg") == "a b  c/d.jpg"
    assert shown_name("") == "photo"
    assert len(shown_name("x" * 1000)) == 200


@pytest.mark.parametrize("name", ["../../evil/a.png", "/etc/evil/a.png", "..\\..\\evil\\a.png"])
def test_paths_that_lead_out_lead_nowhere(tmp_path: Path, name: str) -> None:
    one = session(tmp_path / "inner")
    before = {*tmp_path.rglob("*")} - {*one.folder.rglob("*")}
    content = picture(tmp_path / "drawn")
    one.add([archive(tmp_path / "a.zip", {name: content})], "fern")
    after = {*tmp_path.rglob("*")} - {*one.folder.rglob("*"), tmp_path / "a.zip", *(tmp_path / "drawn").rglob("*")}
    assert after - {tmp_path / "drawn"} == before
    assert not Path("/etc/evil").exists()


def test_what_is_no_photo_in_an_archive_is_left_out(tmp_path: Path) -> None:
    one = session(tmp_path)
    content = {"fern/a.png": picture(tmp_path), "fern/notes.txt": b"", "__MACOSX/fern/._a.png": b"", "fern/b.zip": b""}
    with collecting() as left_out:
        assert one.add([archive(tmp_path / "a.zip", content)]) == 1
    assert sum(len(entry.names) for entry in left_out) == 3


def test_bombs_are_not_opened(tmp_path: Path) -> None:
    bomb = archive(tmp_path / "a.zip", {"fern/a.png": bytes(10**7)})
    with pytest.raises(DataError, match="so much more than it holds"):
        [*unpacked(bomb, tmp_path, Limits())]
    with pytest.raises(DataError, match="would be 10 MB"):
        [*unpacked(bomb, tmp_path, Limits(total_mb=1))]
    many = archive(tmp_path / "b.zip", {f"fern/{number}.png": b"" for number in range(11)})
    with pytest.raises(DataError, match="has 11 files"):
        [*unpacked(many, tmp_path, Limits(photos=10))]
    assert not [*tmp_path.glob("unpacked-*")]


def test_an_archive_that_says_less_than_it_holds(tmp_path: Path) -> None:
    content = archive(tmp_path / "a.zip", {"fern/a.png": bytes(5000)}, zipfile.ZIP_STORED).path.read_bytes()
    sizes = (5000).to_bytes(4, "little")
    lying = tmp_path / "b.zip"
    lying.write_bytes(content.replace(sizes, (10).to_bytes(4, "little")))
    one = session(tmp_path)
    with pytest.raises(DataError):
        one.add([Upload(lying, "b.zip")])
    assert not [*one.folder.iterdir()]


@pytest.mark.parametrize("content", [b"", b"no zip", b"PK\x03\x04" + bytes(40)])
def test_what_is_no_archive(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.zip"
    path.write_bytes(content)
    with pytest.raises(DataError, match="no zip archive that can be read"):
        session(tmp_path).add([Upload(path, "a.zip")])


def test_an_encrypted_archive_is_said(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.zip", {"fern/a.png": b"x"}).path
    content = bytearray(path.read_bytes())
    for start in (content.find(b"PK\x03\x04") + 6, content.find(b"PK\x01\x02") + 8):
        content[start] |= 1
    path.write_bytes(bytes(content))
    with pytest.raises(DataError, match="encrypted"):
        session(tmp_path).add([Upload(path, "a.zip")])


def test_of_a_classifier_only_its_own_files_are_taken(tmp_path: Path) -> None:
    names = [
        "classifier.json",
        "model.safetensors",
        "README.md",
        "thumbnails/0.jpg",
        "thumbnails/../../x.jpg",
        "run.py",
    ]
    found = archive(tmp_path / "a.zip", {f"birds/{name}": b"{}" for name in [*names, "thumbnails/a.jpg"]})
    folder = unpack_classifier(found, tmp_path / "taken", Limits())
    taken = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    assert taken == ["README.md", "classifier.json", "model.safetensors", "thumbnails/0.jpg"]
    twice = archive(tmp_path / "b.zip", {"a/classifier.json": b"", "b/classifier.json": b""})
    with pytest.raises(DataError, match="2 files"):
        unpack_classifier(twice, tmp_path / "other", Limits())


def test_a_large_photo_is_refused_by_its_header(tmp_path: Path) -> None:
    from PIL import Image

    path = tmp_path / "a.png"
    content = io.BytesIO()
    Image.new("1", (20_000, 10_000)).save(content, "PNG")
    path.write_bytes(content.getvalue())
    with collecting() as left_out:
        assert session(tmp_path).add([Upload(path, "a.png")], "fern") == 0
    assert "20000 x 10000 pixels" in left_out[0].reason
