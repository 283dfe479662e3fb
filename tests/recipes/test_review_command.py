"""Which labelled images may be wrong, on the screen and on a page."""

import shutil
from pathlib import Path

import pytest

from saved_photos import save_photos
from smat.adaptation import FewShotClassifier
from smat.assessment import Suspect
from smat.errors import CheckpointError, ConfigError
from smat.left_out import collecting
from smat.recipes.review import review

SUSPECTS = [
    Suspect("label", 1, 1, 0.93, "look at it"),
    Suspect("duplicate", 0, 4, 0.998, "keep one"),
    Suspect("odd", 5, None, 4.25, "look again"),
]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("photos")
    save_photos(root)
    return root


@pytest.fixture
def suspects(monkeypatch: pytest.MonkeyPatch) -> None:
    """What every classifier finds."""
    monkeypatch.setattr(FewShotClassifier, "review", lambda _: SUSPECTS)


@pytest.mark.usefixtures("suspects")
def test_suspects_are_said_by_name(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = review(str(root / "colours"), device="cpu")
    names = sorted(map(str, (root / "support").rglob("*.png")))
    assert [(each.kind, each.file, each.label) for each in found] == [
        ("label", names[1], "blue"),
        ("duplicate", names[0], "blue"),
        ("odd", names[5], "green"),
    ]
    assert [(each.other_file, each.other_label) for each in found] == [
        (None, "green"),
        (names[4], "green"),
        (None, None),
    ]
    assert [str(each) for each in found] == [
        "looks like 'green' (93 %)",
        f"nearly the same as '{names[4]}' of 'green' (similarity 0.998)",
        "unlike the others (4.2 standard deviations)",
    ]
    screen = capsys.readouterr().out
    assert all(text in screen for text in ("labels that look wrong", "the same image twice", "odd ones out"))


@pytest.mark.usefixtures("suspects")
def test_a_page_needs_pictures_from_somewhere(root: Path, tmp_path: Path) -> None:
    report = tmp_path / "review.html"
    with pytest.raises(ConfigError, match=r"has no thumbnails for --report: .*\(--support\)"):
        review(str(root / "colours"), report=str(report), device="cpu")
    assert not report.exists()
    review(str(root / "colours"), report=str(report), support=str(root / "support"), device="cpu")
    assert report.read_text(encoding="utf-8").count("data:image/jpeg") == 4
    moved = tmp_path / "moved" / "more"
    shutil.copytree(root / "support", moved)
    (moved / "blue" / "0.png").unlink()
    (moved / "blue" / "1.png").rename(moved / "another name.png")
    with collecting() as left_out:
        review(str(root / "colours"), report=str(report), support=str(moved.parent), device="cpu")
    assert report.read_text(encoding="utf-8").count("data:image/jpeg") == 4 - 1
    assert [name for entry in left_out for name in entry.names] == [str(root / "support" / "blue" / "0.png")]
    save_photos(tmp_path, thumbnails=True)
    shutil.rmtree(tmp_path / "support")
    review(str(tmp_path / "colours"), report=str(report), device="cpu")
    assert report.read_text(encoding="utf-8").count("data:image/jpeg") == 4


def test_nothing_suspect_is_said_too(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(FewShotClassifier, "review", lambda _: [])
    assert review(str(root / "colours"), device="cpu") == []
    assert "none of the 6 labelled images is suspect" in capsys.readouterr().out
    with pytest.raises(CheckpointError, match="holds no classifier"):
        review(str(root / "pool"), device="cpu")
