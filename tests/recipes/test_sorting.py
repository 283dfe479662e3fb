"""Copies of images in one folder per label."""

import errno
import io
import os
import shutil
from pathlib import Path

import pytest
from rich.console import Console

from made_predictions import painted
from smat.errors import ConfigError
from smat.left_out import collecting
from smat.recipes.sorting import check_sort_folder, copy_names, folder_names, sort_copies


def sort(folder: Path, root: Path, names: list[Path], labels: list[str]) -> str:
    screen = io.StringIO()
    sort_copies(folder, root, names, labels, Console(file=screen, width=200))
    return screen.getvalue()


def files_in(folder: Path) -> set[str]:
    return {file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()}


def test_every_image_is_copied_to_the_folder_of_its_label(tmp_path: Path) -> None:
    names = painted(tmp_path / "new", ["a/1.png", "a/2.png", "b/1.png", "b/c/1.png", "3.png"])
    sort(tmp_path / "out", tmp_path / "new", names, ["cat", "dog", "cat", "cat", "unknown"])
    expected = {"cat/1.png": 0, "dog/2.png": 1, "cat/b - 1.png": 2, "cat/b - c - 1.png": 3, "unknown/3.png": 4}
    assert files_in(tmp_path / "out") == {*expected}
    for copy, number in expected.items():
        assert (tmp_path / "out" / copy).read_bytes() == (tmp_path / "new" / names[number]).read_bytes()
    assert files_in(tmp_path / "new") == {name.as_posix() for name in names}


def test_names_that_clash_on_any_system_get_others() -> None:
    names = [Path(name) for name in ("x/a.jpg", "A.jpg", "x - a.jpg", "x/y - a.jpg", "x/y/a.jpg", "x - y/a.jpg")]
    found = copy_names(names, ["cat"] * 6)
    assert found == ["a.jpg", "A (2).jpg", "x - a.jpg", "y - a.jpg", "x - y - a.jpg", "x - y - a (2).jpg"]
    assert copy_names([Path("a.jpg"), Path("x/a.jpg")], ["cat", "dog"]) == ["a.jpg", "a.jpg"]
    (longest,) = {len(os.fsencode(name)) for name in copy_names([Path("é" * 90, "é" * 60 + ".jpg")] * 2, "aa")[1:]}
    assert longest <= 255


def test_labels_that_are_no_folder_names_get_some(tmp_path: Path) -> None:
    labels = ["a/b", "a:b", "..", "", "CON", "nul.txt", "end. ", ".hidden", "Owl", "owl", "e\u0301", "\xe9", "x" * 300]
    folders = folder_names(labels)
    assert [*folders.values()][:-1] == [
        *("a_b", "a_b (2)", "_", "_ (2)", "CON_", "nul.txt_", "end_", "_hidden", "Owl", "owl (2)", "e\u0301"),
        "\xe9 (2)",
    ]
    assert len(folders["x" * 300]) == 200
    names = painted(tmp_path / "new", [f"{n}.png" for n in range(len(labels))])
    said = sort(tmp_path / "out", tmp_path / "new", names, labels)
    assert files_in(tmp_path / "out") == {f"{folders[label]}/{n}.png" for n, label in enumerate(labels)}
    assert "images of 'a/b' are in the folder 'a_b'" in said
    assert "Owl" not in said


def test_a_folder_that_is_in_the_way_of_something_is_refused(tmp_path: Path) -> None:
    painted(tmp_path, ["new/1.png", "full/1.png"])
    sources = {"--query": str(tmp_path / "new")}
    for out in ("new", "new/sorted"):
        with pytest.raises(ConfigError, match="lies in the folder of --query"):
            check_sort_folder(str(tmp_path / out), sources, {})
    with pytest.raises(ConfigError, match="is not empty; empty it, or choose a new folder"):
        check_sort_folder(str(tmp_path / "full"), sources, {})
    with pytest.raises(ConfigError, match="is not empty"):
        check_sort_folder(str(tmp_path), sources, {})
    with pytest.raises(ConfigError, match=r"--output .* lies in the folder of --sort"):
        check_sort_folder(str(tmp_path / "out"), sources, {"--output": str(tmp_path / "out" / "labels.csv")})
    with pytest.raises(ConfigError, match=r"cannot be written to: .*is a file"):
        check_sort_folder(str(tmp_path / "new" / ".." / "full" / "1.png"), sources, {})
    assert check_sort_folder(str(tmp_path / "out"), sources, {"--report": None}) == tmp_path / "out"


@pytest.mark.parametrize("stop", [KeyboardInterrupt(), OSError(errno.ENOSPC, "No space left on device")])
@pytest.mark.parametrize("exists", [False, True])
def test_all_copies_are_made_or_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: BaseException, exists: bool
) -> None:
    names = painted(tmp_path / "new", ["1.png", "2.png"])
    out, copy = tmp_path / "out", shutil.copy2
    if exists:
        out.mkdir()

    def stopped(source: Path, target: Path) -> None:
        if source.name == "2.png":
            raise stop
        copy(source, target)

    with monkeypatch.context() as patch:
        patch.setattr("smat.recipes.sorting.shutil.copy2", stopped)
        with pytest.raises((KeyboardInterrupt, ConfigError)):
            sort(out, tmp_path / "new", names, ["cat", "dog"])
    assert out.exists() == exists
    assert files_in(out) == set()
    (out / ".unfinished" / "cat").mkdir(parents=True)  # as a process leaves it that is killed
    assert check_sort_folder(str(out), {}, {}) == out
    sort(out, tmp_path / "new", names, ["cat", "dog"])
    assert files_in(out) == {"cat/1.png", "dog/2.png"}
    assert {entry.name for entry in out.iterdir()} == {"cat", "dog"}


def test_an_image_that_is_gone_is_left_out_with_a_word(tmp_path: Path) -> None:
    names = painted(tmp_path / "new", ["1.png", "2.png"])
    (tmp_path / "new" / "2.png").unlink()
    with collecting() as left_out:
        sort(tmp_path / "out", tmp_path / "new", names, ["cat", "cat"])
    assert files_in(tmp_path / "out") == {"cat/1.png"}
    assert [[*entry.names] for entry in left_out] == [[str(tmp_path / "new" / "2.png")]]
