"""What `smat analyse` makes of pools of every kind, and what it refuses."""

import csv
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from smat.cli import main
from smat.episodes import EpisodeOptions
from smat.errors import ConfigError, Interrupted, SmatError
from smat.experts import SparseInterpolatedExperts
from smat.recipes.analyse.run import analyse
from tiny_runs import save_pool

DOMAINS = ["pocket:glyphs", "pocket:mosaics"]
SMALL: dict[str, Any] = {
    "tasks": 2,
    "grid_tasks": 1,
    "ways": [3],
    "shots": [1, 2],
    "options": EpisodeOptions(way=3, shot=1, query=2),
    "device": "cpu",
    "precision": "32-true",
}


class Page(HTMLParser):
    """Headings, pictures and texts of a page."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.headings: list[str] = []
        self.pictures: list[dict[str, str | None]] = []
        self.text = ""
        self._heading = False
        self.feed(file.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._heading = tag == "h2"
        self.pictures += [dict(attrs)] if tag == "img" else []

    def handle_data(self, data: str) -> None:
        self.text += data
        if self._heading and data.strip():
            self.headings.append(data)
            self._heading = False


def rows(folder: Path, table: str) -> list[dict[str, str]]:
    with (folder / "tables" / f"{table}.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def analysed(run: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an analysis of the run without domains."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("smat.recipes.figure_style.FORMATS", ("svg",))
        return analyse(run, out=str(tmp_path_factory.mktemp("analysed") / "out"), device="cpu").page.parent


def test_a_run_without_domains(analysed: Path) -> None:
    page = Page(analysed / "report.html")
    assert page.headings == [
        "In short",
        "Where the experts work",
        "Where they share, and where they specialise",
        "How it was learned",
        "How this was made",
    ]
    figures = sorted(path.stem for path in (analysed / "figures").iterdir())
    assert {"capacity-type", "overlap", "sharing", "course-accuracy", "course-sparsity"} < set(figures)
    assert len(page.pictures) == len(figures)
    assert all(len(picture["alt"] or "") > 20 for picture in page.pictures)
    assert "The run went over 6 of 10 tasks: it was stopped early." in page.text
    assert "after 4 tasks, at an accuracy of 60.0 %" in page.text
    assert "1 line of its log left out" in page.text


def test_nothing_is_fetched_by_the_page(analysed: Path) -> None:
    html = (analysed / "report.html").read_text(encoding="utf-8")
    assert all((picture["src"] or "").startswith("data:image/") for picture in Page(analysed / "report.html").pictures)
    assert not re.search(r"<(script|link|iframe)|url\(|@import", html)


def test_numbers_of_the_tables(run: str, analysed: Path) -> None:
    pool = SparseInterpolatedExperts.from_pretrained(Path(run) / "best")
    gates = pool.gates()
    assert gates is not None
    for table in ("capacity-type", "capacity-depth", "capacity-type-depth"):
        found = [row for row in rows(analysed, table) if row["expert"] == "1"]
        assert sum(int(row["parameters"]) for row in found) == pool.layout.size
        assert sum(int(row["open"]) for row in found) == int((gates[1] > 0).sum())
    both, either = ((gates > 0).all(0).sum(), (gates > 0).any(0).sum())
    (pair, _) = rows(analysed, "overlap")
    assert float(pair["Jaccard"]) == pytest.approx(float(both / either))


def test_an_analysis_goes_onto_the_card_of_its_pool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("smat.recipes.figure_style.FORMATS", ("png", "svg"))
    pool = save_pool(tmp_path / "pool")
    found = analyse(pool, out=str(tmp_path / "out"), device="cpu", card=True)
    kept = SparseInterpolatedExperts.from_pretrained(pool).card
    assert kept.analysis is not None
    assert kept.analysis.findings == found.in_short
    files = [figure.file for figure in kept.analysis.figures]
    assert files == ["capacity-type.png", "capacity-depth.png", "overlap.png"]
    assert found.in_short[0] in (tmp_path / "pool" / "README.md").read_text(encoding="utf-8")
    drawn = tmp_path / "out" / "figures" / "overlap.png"
    assert (tmp_path / "pool" / "figures" / "overlap.png").read_bytes() == drawn.read_bytes()
    with pytest.raises(ConfigError, match="--card is of one pool"):
        analyse(pool, out=str(tmp_path / "two"), against=pool, device="cpu", card=True)


def test_domains_own_tasks_and_another_pool(run: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        (tmp_path / "mine" / name).mkdir(parents=True)
        Image.fromarray(rng.integers(0, 255, (20, 20, 3), dtype=np.uint8)).save(tmp_path / "mine" / name / "1.png")
    other = save_pool(tmp_path / "other", seed=1)
    given = {**SMALL, "support": str(tmp_path / "mine"), "against": other}
    found = analyse(run, DOMAINS, out=str(tmp_path / "out"), **given)
    page = Page(found.page)
    assert page.headings[4:] == [
        "Which tasks get which experts",
        "Do tasks pull the same way?",
        "What the experts change",
        "Images won and lost: first",
        "Images won and lost: other",
        "How this was made",
    ]
    figures = {path.stem for path in (tmp_path / "out" / "figures").iterdir()}
    assert {"overlap-against", "tasks-weights", "tasks-tree-masks", "tasks-tree-masks-against", "alignment"} < figures
    tasks = rows(tmp_path / "out", "tasks")
    assert [row["pool"] for row in tasks] == ["first"] * 4 + ["other"] * 4
    assert all(float(row["weight 0"]) + float(row["weight 1"]) == pytest.approx(1, abs=1e-5) for row in tasks)
    assert {row["task"] for row in rows(tmp_path / "out", "own-tasks")} == {"mine"}
    assert "Your task 'mine' by first lies nearest to " in page.text
    assert any(re.match(r"Expert 1 of other .* weighs most in ", text) for text in found.in_short)


@pytest.mark.parametrize(
    "settings",
    [
        {"experts": 1, "gating": "open", "method": "pmf"},
        {"gating": "open", "separate_deltas": True, "method": "softmerge"},
        {"gating": "norm", "separate_deltas": True},
        {"null_expert": True, "experts": 1},
        {"experts": 10},
    ],
    ids=lambda settings: "-".join(map(str, settings.values())),
)
def test_pools_of_every_kind(settings: dict[str, Any], tmp_path: Path) -> None:
    pool = save_pool(tmp_path / "pool", **settings)
    given = {**SMALL, "gradient_tasks": 0, "grid_tasks": 0}
    found = analyse(pool, DOMAINS, out=str(tmp_path / "out"), **given)
    headings = Page(found.page).headings
    routed = settings.get("experts") != 1 or "null_expert" in settings
    assert ("Which tasks get which experts" in headings) == routed
    assert ("Where they share, and where they specialise" in headings) == (
        settings.get("experts") != 1 and settings.get("gating") != "open"
    )
    assert "nan" not in " ".join(found.in_short)


def test_an_interrupted_analysis_has_what_is_finished(
    run: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("smat.recipes.analyse.on_tasks.measure_alignment", stopped)
    with pytest.raises(Interrupted, match="has the 4 parts that were finished"):
        analyse(run, DOMAINS, out=str(tmp_path / "out"), **SMALL)
    page = Page(tmp_path / "out" / "report.html")
    assert "The analysis was stopped" in page.text
    assert "Which tasks get which experts" in page.headings


def test_an_earlier_analysis_is_replaced_by_the_same(run: str, analysed: Path) -> None:
    before = (analysed / "report.html").read_bytes()
    (analysed / "figures" / "old.svg").touch()
    assert analyse(run, out=str(analysed), device="cpu").page.read_bytes() == before
    assert not (analysed / "figures" / "old.svg").exists()


def refused(*arguments: str, capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as stopped:
        main(["analyse", *arguments])
    assert stopped.value.code == 2
    return " ".join(capsys.readouterr().err.split())


def test_what_is_refused(run: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = ["--out", str(tmp_path / "out")]
    (tmp_path / "file").write_text("mine")
    (tmp_path / "begun").mkdir()
    (tmp_path / "begun" / "config.yaml").write_text("domains: [pocket-id]\n")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    cases = [
        (["pocket", *out], "'pocket' has no experts, so there is nothing to analyse"),
        ([str(tmp_path / "nothing"), *out], "nothing"),
        ([str(tmp_path / "begun"), *out], "has no pool yet, neither best/ nor last/ nor kept/"),
        ([run, "--out", str(tmp_path / "file")], "is a file"),
        ([run, "--out", str(tmp_path / "full")], "has other files in it"),
        ([run, "nowhere.parquet", *out], "nowhere.parquet"),
        ([run, "--support", "mine", *out], "--support shows where tasks of your own lie among domains"),
        ([run, "pocket-ood", "--gradient-tasks", "1", *out], "give 2 or more tasks per domain"),
        ([run, "--against", run, *out], "is the pool that is analysed: give another one"),
    ]
    for arguments, message in cases:
        assert message in refused(*arguments, capsys=capsys)
    assert not (tmp_path / "out").exists()
    assert (tmp_path / "file").read_text() == "mine"


def test_a_pool_of_another_network_is_refused(run: str, tmp_path: Path) -> None:
    other = save_pool(tmp_path / "other", seed=1, size=24)
    with pytest.raises(SmatError, match=r"is a pool around another network \(tiny, .* parameters\)"):
        analyse(run, out=str(tmp_path / "out"), against=other, device="cpu")
