"""The page of labelled images."""

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from made_predictions import painted, predicted
from smat.recipes import prediction_report as report
from smat.recipes.pages import thumbnail


class Page(HTMLParser):
    """What a page is made of: its tags with their attributes, and its texts."""

    def __init__(self, content: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(content)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts += [data.strip()] if data.strip() else []


def made(root: Path, names: list[str], labels: list[str], certainty: list[float], unknown: str | None = None) -> Page:
    result = predicted(names, labels, certainty, unknown)
    return Page(report.prediction_report(result, root, [Path(name) for name in names], None, 10**6))


def named(page: Page) -> list[str | None]:
    return [attributes["title"] for tag, attributes in page.tags if attributes.get("class") == "name"]


def test_images_of_a_class_are_together_the_least_certain_first(tmp_path: Path) -> None:
    names = ["a.png", "b.png", "c.png", "d.png", "e.png", "f.png"]
    painted(tmp_path, names)
    labels, certainty = ["owl", "cat", "owl", "cat", "none", "none"], [0.9, 0.8, 0.6, 0.7, 0.55, 0.6]
    page = made(tmp_path, names, labels, certainty, "none")
    assert [text for text in page.texts if re.fullmatch(r"\w+ \(\d\)", text)] == ["none (2)", "cat (2)", "owl (2)"] * 2
    assert named(page) == ["f.png", "e.png", "d.png", "b.png", "c.png", "a.png"]
    assert sum(tag == "img" for tag, _ in page.tags) == 6
    assert page.texts[page.texts.index("of none of them") + 1] == "2"
    assert not any(tag == "table" for tag, _ in page.tags)


def test_it_holds_everything_that_it_shows_and_no_markup_of_names(tmp_path: Path) -> None:
    names = ["<script>alert(1)<\\script>/\"><img src=x onerror=alert(2)>'.png", "b.png"]
    painted(tmp_path, names)
    page = made(tmp_path, names, ["<b>&amp;</b>", "\"'><i>"], [0.9, 0.8])
    assert {tag for tag, _ in page.tags} & {"script", "link", "iframe", "b"} == set()
    sources = [attributes["src"] or "" for tag, attributes in page.tags if tag == "img"]
    assert len(sources) == 2
    assert all(source.startswith("data:image/jpeg;base64,") for source in sources)
    assert named(page) == ["b.png", names[0]]
    assert "<b>&amp;</b> (1)" in page.texts


def test_of_many_images_as_many_of_each_label_are_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "SHOWN", 7)
    names = [f"{number:02}.png" for number in range(23)]
    labels = ["cat"] * 20 + ["dog"] * 2 + ["owl"]
    page = made(tmp_path, names, labels, [0.99 - number / 100 for number in range(23)])
    assert named(page) == ["19.png", "18.png", "17.png", "16.png", "21.png", "20.png", "22.png"]
    assert "the 4 least certain of 20" in page.texts
    assert page.texts[page.texts.index("shown here") + 1] == "7"


def test_known_classes_give_a_table_and_mark_what_is_wrong(tmp_path: Path) -> None:
    names = ["cat/a.png", "cat/b.png", "owl/c.png", "elsewhere/d.png"]
    page = made(tmp_path, names, ["cat", "owl", "owl", "cat"], [0.9, 0.8, 0.7, 0.6])
    assert page.texts[page.texts.index("accuracy by names of folders") + 1] == "66.7 % of 3"
    start = page.texts.index("folder / label")
    assert page.texts[start + 1 : start + 8] == ["cat", "owl", "cat", "1", "1", "owl", "1"]
    assert "folder: cat" in page.texts
    marks = [attributes["class"] for tag, attributes in page.tags if tag == "figure"]
    assert marks == ["", "right", "right", "wrong"]


def test_a_table_of_many_classes_has_those_that_are_mistaken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "_COLUMNS", 2)
    names = ["a/1.png", "b/2.png", "b/3.png", "c/4.png", "d/5.png"]
    page = made(tmp_path, names, ["a", "c", "b", "c", "d"], [0.9] * 5)
    start = page.texts.index("folder / label")
    assert page.texts[start + 1 : start + 8] == ["b", "c", "b", "1", "1", "c", "1"]
    assert any(text.endswith("Of 4 classes, the 2 that are taken for others most often.") for text in page.texts)


def test_an_image_that_is_gone_has_no_picture(tmp_path: Path) -> None:
    painted(tmp_path, ["a.png"])
    assert thumbnail(tmp_path / "b.png") is None
    page = made(tmp_path, ["a.png", "b.png"], ["cat", "owl"], [0.9, 0.8])
    assert "no picture" in page.texts
