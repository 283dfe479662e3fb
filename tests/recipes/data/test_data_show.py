"""Contact sheets: the right pictures, unchanged, in the right places; names that fit."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view
from PIL import Image

from smat.backbones import ImageFormat
from smat.domains import open_domain
from smat.episodes import EpisodeOptions, EpisodeSource, FixedSampler, TransformConfig
from smat.errors import ConfigError, DataError
from smat.recipes.data.contact_sheet import Row, contact_sheet, font_for, letters_missing
from smat.recipes.data.show import data_show

NAMES = ["ant", "bee hive", "Красный гриб"]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for name in NAMES:
        (tmp_path / "photos" / name).mkdir(parents=True)
        for i in range(6):
            Image.fromarray(rng.integers(0, 256, (20, 26, 3), dtype=np.uint8)).save(
                tmp_path / "photos" / name / f"{i}.png"
            )
    return tmp_path / "photos"


def places(sheet: Path, picture: np.ndarray) -> list[tuple[int, int]]:
    """Where a picture is on the sheet, pixel by pixel: (top, left)."""
    pixels = np.asarray(Image.open(sheet))
    first = (pixels == picture[0, 0]).all(axis=2)[: -picture.shape[0] + 1, : -picture.shape[1] + 1]
    windows = sliding_window_view(pixels, picture.shape)[:, :, 0]
    return [(top, left) for top, left in np.argwhere(first).tolist() if np.array_equal(windows[top, left], picture)]


def test_an_episode_is_shown_as_the_network_sees_it(photos: Path, tmp_path: Path) -> None:
    options = EpisodeOptions(way=3, shot=2, query=3, margin=1.25, seed=4)
    output = str(tmp_path / "new" / "e.png")
    file = data_show(str(photos), episode=7, output=output, tile=16, image_size=16, options=options)
    mean, std = (0.4, 0.5, 0.6), (0.2, 0.3, 0.4)
    source = EpisodeSource(
        [open_domain(photos)],
        "test",
        FixedSampler(3, 2, 3),
        image_format=ImageFormat(16, mean, std),
        transforms=TransformConfig(margin=1.25),
        seed=4,
    )
    episode = source.episode(7)
    found: dict[str, list[list[tuple[int, int]]]] = {"support": [], "query": []}
    for part, images, labels in (
        ("support", episode.support, episode.support_labels),
        ("query", episode.query, episode.query_labels),
    ):
        pixels = images.permute(0, 2, 3, 1) * images.new_tensor(std) + images.new_tensor(mean)
        for label in range(3):
            where = [places(file, (255 * one).round().byte().numpy()) for one in pixels[labels == label]]
            assert all(len(some) == 1 for some in where)
            found[part].append([some[0] for some in where])
    tops = [{top for part in found.values() for top, _ in part[label]} for label in range(3)]
    assert all(len(some) == 1 for some in tops)  # a class, a row; from label 0 down
    assert sorted(min(some) for some in tops) == [min(some) for some in tops]
    for label in range(3):
        lefts = [left for part in ("support", "query") for _, left in found[part][label]]
        assert lefts == sorted(lefts)


def test_varied_images_are_others(photos: Path, tmp_path: Path) -> None:
    shown: dict[str, Any] = {"episode": 0, "image_size": 16, "options": EpisodeOptions(way=3, shot=1, query=1)}
    plain = data_show(str(photos), output=str(tmp_path / "a.png"), **shown)
    varied = data_show(str(photos), output=str(tmp_path / "b.png"), varied=True, **shown)
    assert plain.read_bytes() != varied.read_bytes()


def test_classes_are_shown_with_whole_images(photos: Path, tmp_path: Path) -> None:
    file = data_show(str(photos), output=str(tmp_path / "c.png"), images=4, tile=26)
    domain = open_domain(photos)
    tops = []
    for name in sorted(NAMES):
        where = [places(file, np.asarray(domain.image(row))) for row in domain.rows(name).tolist()]
        assert sum(map(len, where)) == 4  # of 6, each at most once
        assert max(map(len, where)) == 1
        tops.append({top for some in where for top, _ in some})
    assert [len(some) for some in tops] == [1, 1, 1]
    assert sorted(tops, key=min) == tops
    fewer = data_show(str(photos), output=str(tmp_path / "d.png"), images=4, tile=26, classes=2)
    with Image.open(file) as first, Image.open(fewer) as second:
        assert first.height > second.height
    ants = [places(fewer, np.asarray(domain.image(row))) for row in domain.rows("ant").tolist()]
    bees = [places(fewer, np.asarray(domain.image(row))) for row in domain.rows("bee hive").tolist()]
    assert (sum(map(len, ants)), sum(map(len, bees))) == (4, 0)  # the first and the last class


def drawn(name: str) -> np.ndarray:
    rows = [Row(name, "3 images", [[Image.new("RGB", (8, 8), "red")]])]
    return np.asarray(contact_sheet("title", "subtitle", rows, columns=[1], tile=40))


def test_names_of_any_length_stay_left_of_the_pictures() -> None:
    for name in ("a", "many words " * 30, "without_a_single_blank" * 20, "x" * 500, "Фотография " * 20):
        sheet = drawn(name)
        red = (sheet == (255, 0, 0)).all(axis=2)
        left = np.flatnonzero(red.any(axis=0))[0]
        beside = sheet[red.any(axis=1), :left]
        assert len(beside) == 40  # the picture lies there whole
        assert (beside[:, -30:-1] == 255).all()  # and no letter reaches into the gap
        assert left < 340
    assert not np.array_equal(drawn("one name"), drawn("two name"))


def test_letters_are_looked_for_in_all_fonts() -> None:
    assert letters_missing("Ünïcødé Красный שלום ελληνικά →") == ""
    assert "DejaVuSans" in str(font_for("Красный", 16).path)
    assert letters_missing("a\U0010fffdb") == "\U0010fffd"  # of private use: no font has it


def test_missing_letters_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "p" / "a\U0010fffd").mkdir(parents=True)
    Image.new("RGB", (9, 9)).save(tmp_path / "p" / "a\U0010fffd" / "1.png")
    data_show(str(tmp_path / "p"), output=str(tmp_path / "s.png"))
    assert "no font of this machine has \U0010fffd of the class names" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"classes": 0}, "classes is 0"),
        ({"images": 0}, "images is 0"),
        ({"tile": 2}, "tile is 2; give 16 or more"),
        ({"episode": -1}, "episode is -1"),
        ({"episode": 0, "options": EpisodeOptions(way=4)}, "4-way episodes need at least 4"),
        ({"options": EpisodeOptions(split="train")}, "has no train split"),
        ({"path": "pocket-id"}, r"is \d+ domains; give one: "),
    ],
)
def test_mistakes_say_what_to_do(photos: Path, tmp_path: Path, settings: dict[str, Any], says: str) -> None:
    with pytest.raises((ConfigError, DataError), match=says):
        data_show(**{"path": str(photos), "output": str(tmp_path / "x.png"), **settings})
    assert not (tmp_path / "x.png").exists()


def test_numbers_of_wordnet_get_their_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("n01440764", "n01443537"):
        (tmp_path / "fish" / name).mkdir(parents=True)
        for number in range(2):
            Image.new("RGB", (9, 9)).save(tmp_path / "fish" / name / f"{number}.png")
    (tmp_path / "LOC_synset_mapping.txt").write_text("n01440764 tench, Tinca tinca\nn02000000 other\n")
    names: list[set[str]] = []

    def sheet(title: str, facts: str, rows: list[Row], **_: Any) -> Image.Image:
        names.append({row.name for row in rows})
        return Image.new("RGB", (9, 9))

    monkeypatch.setattr("smat.recipes.data.show.contact_sheet", sheet)
    data_show(str(tmp_path / "fish"), output=str(tmp_path / "s.png"))
    options = EpisodeOptions(way=2, shot=1, query=1)
    data_show(str(tmp_path / "fish"), episode=0, output=str(tmp_path / "s.png"), options=options)
    assert names == [{"tench (n01440764)", "n01443537"}] * 2
