import numpy as np
import pytest

from smat.metatuning import GroupConfig, OptimizerConfig, TuningConfig
from smat.metatuning.watch import Watch, advice

NOISE = np.random.default_rng(0).normal(0, 0.04, 2000).tolist()


def follow(watch: Watch, difference: float, steps: int, noise: list[float] = NOISE, spread: float = 1.0) -> list[int]:
    """The steps at which a tuned network so far from the frozen one is warned of."""
    return [n for n, e in enumerate(noise[:steps]) if watch.add(0.6 + difference + e, 0.6, spread)]


@pytest.mark.parametrize(("meta_batch", "steps"), [(1, 20), (2, 10), (4, 5), (16, 5)])
def test_a_network_clearly_below_the_frozen_one_is_warned_of_after_20_tasks(meta_batch: int, steps: int) -> None:
    assert follow(Watch(meta_batch), -0.2, 100) == [steps - 1]
    assert follow(Watch(meta_batch), -0.2, steps - 1) == []


def test_every_episode_of_trouble_is_warned_of_once() -> None:
    watch = Watch(2)
    assert len(follow(watch, -0.2, 50)) == 1
    assert watch.doubtful
    assert follow(watch, 0.1, 50) == []
    assert not watch.doubtful
    assert len(follow(watch, -0.2, 50)) == 1


def test_neither_noise_nor_a_small_difference_is_trouble() -> None:
    assert follow(Watch(2), 0.02, len(NOISE)) == []
    assert follow(Watch(2), -0.005, 100, [0.0] * 100) == []
    watch = Watch(2)
    assert follow(watch, 0.0, 100, [0.0] * 100) == []
    assert not watch.doubtful


def test_features_count_as_constant_after_10_tasks_in_a_row() -> None:
    watch = Watch(2)
    seen = []
    for spread in [1.0, *[0.05] * 4, 0.5, *[0.05] * 6]:
        watch.add(0.5, 0.5, spread)
        seen.append((watch.doubtful, watch.collapsed))
    assert [doubtful for doubtful, _ in seen] == [False, *[True] * 4, False, *[True] * 6]
    assert [collapsed for _, collapsed in seen].index(True) == 10
    assert "is 0.05 of the frozen network's" in watch.collapse(24).replace("spread is", "is")


def test_a_watch_goes_on_from_its_state() -> None:
    for cut in (3, 12, 40):
        whole, first, second = Watch(2), Watch(2), Watch(2)
        follow(first, -0.2, cut)
        second.load_state_dict(first.state_dict())
        later = follow(second, -0.2, 60 - cut, NOISE[cut:])
        assert [n - cut for n in follow(whole, -0.2, 60) if n >= cut] == later
        assert second.state_dict() == whole.state_dict()


def test_advice_fits_the_schedule() -> None:
    config = TuningConfig(tasks=100, optimizers=OptimizerConfig(delta=GroupConfig("adamw", 3e-3), warmup=0.2))
    assert "lengthen" not in advice(config, 10)  # that would only put it off
    assert "Lower tuning.optimizers.delta.lr (0.003), lengthen tuning.optimizers.warmup (0.2), or" in advice(config, 30)
