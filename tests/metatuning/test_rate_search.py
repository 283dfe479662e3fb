import re
from pathlib import Path

import pytest
import torch
from lightning.fabric import Fabric

from smat.episodes import Episode
from smat.errors import ConfigError, DataError
from smat.metatuning import rate_search
from smat.metatuning.rate_search import Judging, RateSearch, Trial, choose, next_rate
from tiny import tiny_source, tiny_tuner

FROZEN = Trial(0.0, [0.5, 0.6, 0.7, 0.6])


def trial(rate: float, *accuracies: float) -> Trial:
    return Trial(rate, accuracies)


class Everything(dict[float, Trial]):
    """Every rate breaks the network."""

    def get(self, rate: float, default: object = None) -> Trial:  # type: ignore[override]
        return Trial(rate, broken="at once") if rate else FROZEN


def ladder(outcome: dict[float, Trial], rule: str) -> list[float]:
    """The rates that are tried where these come to that; others do as the frozen network does."""
    trials: list[Trial] = []
    while (rate := next_rate(trials, rule)) is not None:
        trials.append(outcome.get(rate, Trial(rate, FROZEN.accuracies)))
    return [t.rate for t in trials]


def test_rates_are_tried_upwards_until_one_breaks_the_network() -> None:
    outcome = {rate: trial(rate, 0.6, 0.7, 0.8, 0.7) for rate in (3e-4, 1e-3)} | {3e-3: Trial(3e-3, broken="at once")}
    assert ladder(outcome, "adamw") == [0, 1e-4, 3e-4, 1e-3, 3e-3]


def test_rates_are_tried_upwards_until_one_is_clearly_worse() -> None:
    best, worse = trial(3e-2, 0.6, 0.7, 0.8, 0.7), trial(1e-1, 0.5, 0.61, 0.7, 0.6)
    assert ladder({3e-2: best, 1e-1: worse}, "sgd") == [0, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1]
    assert 3e-1 in ladder({3e-2: best, 1e-1: trial(1e-1, 0.4, 0.8, 0.6, 0.9)}, "sgd")


def test_rates_are_tried_downwards_where_the_lowest_is_broken_or_best() -> None:
    broken = {rate: Trial(rate, broken="at once") for rate in (1e-4, 3e-5)}
    assert ladder(broken | {1e-5: trial(1e-5, 0.6, 0.7, 0.8, 0.7)}, "adamw") == [0, 1e-4, 3e-5, 1e-5, 3e-6]
    falling = {
        3e-5: trial(3e-5, 0.7, 0.8, 0.9, 0.8),
        1e-4: trial(1e-4, 0.6, 0.7, 0.8, 0.7),
        3e-4: trial(3e-4, 0.5, 0.6, 0.7, 0.6),
    }
    assert ladder(falling, "adamw") == [0, 1e-4, 3e-4, 3e-5, 1e-5]
    with pytest.raises(ConfigError, match="all learning rates from 1e-07 break the network"):
        ladder(Everything(), "sgd")


def test_rates_that_change_nothing_end_somewhere() -> None:
    assert ladder({}, "adamw")[-1] == 10
    assert len(ladder({}, "adamw")) == 12


def test_the_highest_of_the_rates_that_are_level_is_chosen() -> None:
    best = trial(1e-3, 0.70, 0.60, 0.80, 0.70)
    level, below = trial(3e-3, 0.72, 0.55, 0.81, 0.70), trial(1e-2, 0.68, 0.58, 0.77, 0.69)
    broken = Trial(3e-2, broken="at once")
    assert choose([FROZEN, trial(3e-4, 0.6, 0.6, 0.7, 0.6), best, level, below, broken]) is level
    assert choose([FROZEN, best, below, broken]) is best


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rate_search, "TRIAL_TASKS", 24)
    monkeypatch.setattr(rate_search, "JUDGING_EPISODES", 4)


def search(folder: Path, **settings: object) -> RateSearch:
    tuner = tiny_tuner(folder, **settings)
    judging = Judging.of(tuner.train_source, tuner.validation, tuner.config)
    return RateSearch(tuner.pool, tuner.train_source, judging, tuner.config, Fabric(accelerator="cpu", devices=1))


@pytest.mark.usefixtures("small")
def test_a_search_leaves_the_pool_at_its_start_and_goes_on_from_trials(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates = iter([0.0, 1e-3, 1e30, None])
    monkeypatch.setattr(rate_search, "next_rate", lambda *_: next(rates))
    own = search(tmp_path)
    before = {name: value.clone() for name, value in own.pool.tensors().items()}
    estimates: list[float] = []
    own.on_estimate = estimates.append
    frozen, low, high = own.run()
    assert all(torch.equal(value, before[name]) for name, value in own.pool.tensors().items())
    assert low.broken is None
    assert high.broken is not None
    assert re.fullmatch(r"(features became constant|the loss was not finite) after \d+ tasks", high.broken)
    assert len(frozen.accuracies) == len(low.accuracies) == 4
    assert list(tmp_path.iterdir()) == []
    assert len(estimates) == 1
    rates = iter([1e-3, None])
    again, same = search(tmp_path).run([frozen])
    assert again is frozen
    assert same.accuracies == low.accuracies


def test_a_trial_that_fails_keeps_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def damaged(n: int) -> Episode:
        if n == 4:
            raise DataError("damaged")
        return made(n)

    monkeypatch.chdir(tmp_path)
    own = search(tmp_path)
    made = own.train.episode
    own.train.episode = damaged  # type: ignore[method-assign]
    with pytest.raises(DataError, match="damaged"):
        own._try(1e-3)
    assert list(tmp_path.iterdir()) == []


def test_a_trial_is_at_the_full_rate_after_its_share_of_warmup(tmp_path: Path) -> None:
    own = search(tmp_path)
    assert own.tasks == 32
    config = own.config
    made = rate_search._Trial(own.pool, own.train, (), config, tmp_path, own.fabric)
    scales = [config.optimizers.scale(made._share_done(tasks)) for tasks in range(0, 32, 2)]
    assert scales[:4] == sorted(scales[:4])
    assert scales[0] == pytest.approx(0.01)
    assert scales[4:] == pytest.approx([1.0] * 12)  # 20 % of 32 tasks are 6.4
    assert search(tmp_path, tasks=120, meta_batch=6).tasks == 48  # at least 8 steps


def test_without_validation_classes_tasks_beyond_the_run_decide(tmp_path: Path) -> None:
    tuner = tiny_tuner(tmp_path)
    judging = Judging.of(tuner.train_source, (), tuner.config)
    assert judging.numbers == range(12, 32)
    assert [[d.name for d in source.domains] for source in judging.sources] == [["glyphs"], ["polygons"]]
    assert not any(source.train for source in judging.sources)
    assert "for want of validation classes" in str(judging)
    trained = {tuner.train_source.plan(n).id for n in range(12)}
    assert not trained & {source.plan(n).id for source in judging.sources for n in judging.numbers}
    own = Judging.of(tuner.train_source, [tiny_source("val", "glyphs")], tuner.config)
    assert (own.numbers, str(own)) == (range(40), "40 episodes each of glyphs: validation classes")
