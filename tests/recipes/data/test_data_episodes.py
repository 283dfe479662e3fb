"""Episodes written by one command and evaluated by another: the numbers are those of the sampler itself."""

import json
from pathlib import Path
from typing import Any

import pytest

from smat.episodes import EpisodeOptions, PlanOptions
from smat.errors import ConfigError, DataError
from smat.recipes.data.episodes import data_episodes
from smat.recipes.evaluate import evaluate
from tiny_checkpoint import save_checkpoint
from tracked import write_signs

DOMAINS = ["pocket:polygons", "pocket:mosaics"]
FIXED: dict[str, Any] = {"way": 3, "shot": 1, "query": 2}
VARIABLE = EpisodeOptions(sampler="variable")
QUIET: dict[str, Any] = {"workers": 0, "device": "cpu"}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_checkpoint(tmp_path_factory.mktemp("pool"))


@pytest.fixture
def written(tmp_path: Path) -> Path:
    return data_episodes(
        DOMAINS, output=str(tmp_path / "new" / "e.jsonl"), episodes=4, options=PlanOptions(seed=3, **FIXED)
    )


def numbers(result) -> list[tuple[str, str, float, list[float]]]:
    return [
        (row.id, name, outcome.accuracy, outcome.confidence.tolist())
        for row in result.rows
        for name, outcome in row.outcomes.items()
    ]


def test_the_numbers_are_those_of_the_sampler(checkpoint: str, written: Path, tmp_path: Path) -> None:
    drawn = evaluate(checkpoint, DOMAINS, episodes=4, options=EpisodeOptions(seed=3, **FIXED), **QUIET)
    output = tmp_path / "report.json"
    read = evaluate(checkpoint, DOMAINS, episodes_from=str(written), output=str(output), **QUIET)
    assert len(numbers(read)) == 2 * 2 * 4
    assert numbers(read) == numbers(drawn)
    config = json.loads(output.read_text())["config"]
    kept = {"episodes_from": str(written), "episodes": 4, "seed": 3, "sampler": "fixed", "split": "test", **FIXED}
    assert {key: config[key] for key in kept} == kept
    workers = evaluate(checkpoint, DOMAINS, episodes_from=str(written), workers=1, device="cpu")
    assert numbers(workers) == numbers(drawn)


def test_fewer_episodes_are_the_first_ones(checkpoint: str, written: Path) -> None:
    few = evaluate(checkpoint, DOMAINS[1:], episodes_from=str(written), episodes=2, **QUIET)
    assert [row.id for row in few.rows] == ["mosaics/test/3/0", "mosaics/test/3/1"]
    with pytest.raises(ConfigError, match=r"episodes is 5, but .* has only \{'mosaics': 4\}"):
        evaluate(checkpoint, DOMAINS[1:], episodes_from=str(written), episodes=5, **QUIET)


def test_variable_episodes(checkpoint: str, tmp_path: Path) -> None:
    path = data_episodes(DOMAINS[1:], output=str(tmp_path / "v"), episodes=2, options=PlanOptions(sampler="variable"))
    read = evaluate(checkpoint, DOMAINS[1:], episodes_from=str(path), method="pretrained", **QUIET)
    drawn = evaluate(checkpoint, DOMAINS[1:], episodes=2, options=VARIABLE, method="pretrained", **QUIET)
    assert numbers(read) == numbers(drawn)


@pytest.mark.parametrize("rule", ["validation", "published"])
def test_fine_tuning_chooses_the_same_learning_rate(checkpoint: str, tmp_path: Path, rule: Any) -> None:
    """`validation` draws from other classes; `published` takes the first 5 test episodes, all of which are written."""
    path = data_episodes(DOMAINS[:1], output=str(tmp_path / "e"), episodes=5, options=PlanOptions(**FIXED))
    tuning: dict[str, Any] = {"adapt": "full", "steps": 1, "grid": [1e-3, 1e-1], "method": "pretrained"}
    tuning |= {"learning_rate_from": rule, "episodes": 5}
    read = evaluate(checkpoint, DOMAINS[:1], episodes_from=str(path), **tuning, **QUIET)
    assert numbers(read) == numbers(
        evaluate(checkpoint, DOMAINS[:1], **tuning, options=EpisodeOptions(**FIXED), **QUIET)
    )


def test_two_episodes_are_enough_to_choose_a_learning_rate(checkpoint: str, tmp_path: Path) -> None:
    path = data_episodes(DOMAINS[:1], output=str(tmp_path / "e"), episodes=2, options=PlanOptions(**FIXED))
    tuning: dict[str, Any] = {"adapt": "full", "steps": 1, "grid": [1e-3], "method": "pretrained"}
    rule: Any = "published"
    read = evaluate(checkpoint, DOMAINS[:1], episodes_from=str(path), learning_rate_from=rule, **tuning, **QUIET)
    assert len(read.rows) == 2


def test_tracks_are_kept_apart_in_the_file_and_in_the_evaluation(checkpoint: str, tmp_path: Path) -> None:
    signs = [str(write_signs(tmp_path / "signs.parquet", [[4, 4, 4]] * 3))]
    found = {}
    for rule in ("keep-apart", "ignore"):
        options: dict[str, Any] = {"way": 3, "shot": 2, "query": 4, "tracks": rule}
        path = data_episodes(signs, output=str(tmp_path / rule), episodes=3, options=PlanOptions(**options))
        read = evaluate(checkpoint, signs, episodes_from=str(path), method="pretrained", **QUIET)
        drawn = evaluate(checkpoint, signs, episodes=3, method="pretrained", options=EpisodeOptions(**options), **QUIET)
        assert numbers(read) == numbers(drawn)
        assert [cell.key for cell in read.cells] == [cell.key for cell in drawn.cells]
        assert read.comparison.title.endswith("tracks kept apart in signs") == (rule == "keep-apart")
        found[rule] = numbers(read)
    assert found["keep-apart"] != found["ignore"]
    default = evaluate(
        checkpoint, signs, episodes=3, method="pretrained", options=EpisodeOptions(way=3, shot=2, query=4), **QUIET
    )
    assert numbers(default) == found["keep-apart"]


def test_what_the_file_says_cannot_be_chosen(checkpoint: str, written: Path) -> None:
    chosen = EpisodeOptions(way=10, seed=1, tracks="ignore")
    with pytest.raises(ConfigError, match=r"--way, --seed, --tracks cannot be chosen where episodes come from a file"):
        evaluate(checkpoint, DOMAINS, episodes_from=str(written), options=chosen, **QUIET)


def test_other_data_are_refused_before_the_work(checkpoint: str, written: Path) -> None:
    lines = written.read_text().splitlines(keepends=True)
    header = json.loads(lines[0])
    header["domains"]["mosaics"]["fingerprint"] = "of other images"
    written.write_text(json.dumps(header) + "\n" + "".join(lines[1:]))
    with pytest.raises(DataError, match=r"written for another domain 'mosaics'"):
        evaluate(checkpoint, DOMAINS, episodes_from=str(written), **QUIET)
    with pytest.raises(DataError, match="no file"):
        evaluate(checkpoint, DOMAINS, episodes_from=str(written) + "x", **QUIET)


def test_mistakes_in_writing(tmp_path: Path) -> None:
    path = tmp_path / "e.jsonl"
    with pytest.raises(ConfigError, match="episodes is 0"):
        data_episodes(DOMAINS, output=str(path), episodes=0)
    with pytest.raises(DataError, match="'polygons' has 14 classes; 15-way"):
        data_episodes(DOMAINS, output=str(path), options=PlanOptions(way=15))
    with pytest.raises(ConfigError, match="two domains have one name"):
        data_episodes([DOMAINS[0], DOMAINS[0]], output=str(path))
    with pytest.raises(ConfigError, match="is a folder"):
        data_episodes(DOMAINS, output=str(tmp_path))
    assert not path.exists()
