"""What the page shows."""

from pathlib import Path

import pytest

from drawings import draw, session
from smat.app import Estimate, Upload, views
from smat.left_out import LeftOut

NASTY = "<img src=x onerror=alert(1)> \"' ${1} {{x}}"


def test_names_are_text_wherever_they_are_shown(tmp_path: Path) -> None:
    one = session(tmp_path)
    uploads = draw(tmp_path / "plants", {"fern": 0, "moss": 1}, 3)
    one.add([Upload(each.path, f"{NASTY}.png") for each in uploads[:3]], NASTY)
    one.add(uploads[3:])
    one.train("pocket")
    one.try_on([Upload(uploads[0].path, f"{NASTY}.png")])
    shown = views.board(one), views.summary(one), views.doubts(one), views.answers(one.tried())
    assert all("<img src=x" not in part and 'onerror=alert(1)> "' not in part for part in shown)
    assert "&lt;img src=x" in shown[0]
    assert "one of the labelled photos" in shown[3]
    assert "<b>" not in views.status("<b>", [LeftOut("file", "<b>", {"<b>": None})])


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(1.0, "about 5 seconds"), (42.0, "about 40 seconds"), (100.0, "about 2 minutes"), (9000.0, "about 2.5 hours")],
)
def test_times_in_words(seconds: float, words: str) -> None:
    assert views.duration(seconds) == words
    assert words in views.estimate(Estimate(seconds, 100, 0.1))
