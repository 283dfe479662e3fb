"""Leaving domains out in turn: whose turn it is, what learns when, and that all is a function of the task's number."""

import os
import signal
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch

from smat.backbones import ImageFormat
from smat.domains import DomainConfig, open_domains
from smat.episodes import EpisodeSource
from smat.errors import ConfigError
from smat.metatuning import LeaveOut, MetaTuner, StepReport, TuningConfig
from smat.metatuning.run_config import EpisodeConfig, TrainConfig
from smat.metatuning.sources import episode_sources
from tiny import tiny_pool, tiny_tuner

EVEN = LeaveOut(share=0.5)


def tuner_of(folder: Path, share: float = 0.5, **settings: object) -> MetaTuner:
    pool = tiny_pool(null_expert=True, random_gates=True)
    return tiny_tuner(folder, pool, leave_out=LeaveOut(share), **({"validate_every": 0} | settings))


def parts(tuner: MetaTuner) -> dict[str, dict[str, torch.Tensor]]:
    """Copies of all numbers that the rest of a run depends on, by the part that they belong to."""
    found = {"router": {}, "experts": {}, "multipliers": {"": tuner.multipliers.detach().clamp(min=0)}}
    for name, value in tuner.pool.named_parameters():
        found["router" if name.startswith("router.") else "experts"][name] = value.detach().clone()
    for group, state in tuner.optimizer.state_dict().items():
        entries = {f"{n}/{k}": v.clone() for n, values in state["state"].items() for k, v in values.items()}
        found[f"optimizer of {group}"] = entries
    return found


def equal(first: Mapping[str, torch.Tensor], second: Mapping[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(value, second[name]) for name, value in first.items())


def test_each_domain_is_left_out_as_often_and_a_domain_never_drawn_has_no_turn() -> None:
    weights, cycles, steps = [2.0, 0.0, 1.0, 3.0], 2, 60
    leave_out = LeaveOut(share=0.4, cycles=cycles)
    turns = []
    for step in range(steps):
        drawn = leave_out.domain_weights(weights, 7, step, steps)
        assert all(now in (0, weight) for now, weight in zip(drawn, weights, strict=True))
        if leave_out.router_alone(7, step):
            turns.append([i for i, weight in enumerate(drawn) if weight])
        else:
            turns.append([i for i in (0, 2, 3) if not drawn[i]])
    assert turns == [[turn] for _ in range(cycles) for turn in (0, 2, 3) for _ in range(10)]


def test_the_share_of_steps_is_as_asked_and_depends_on_the_seed_and_the_step_alone() -> None:
    alone = [LeaveOut(0.25).router_alone(0, step) for step in range(4000)]
    assert abs(sum(alone) - 1000) < 4 * (4000 * 0.25 * 0.75) ** 0.5
    assert [LeaveOut(0.25).router_alone(0, step) for step in reversed(range(4000))] == alone[::-1]
    assert [LeaveOut(0.25).router_alone(1, step) for step in range(4000)] != alone
    assert not any(LeaveOut().router_alone(0, step) for step in range(100))


def test_all_tasks_of_a_step_are_of_one_kind() -> None:
    config = TuningConfig(tasks=40, meta_batch=4, leave_out=EVEN)
    kinds = [config.router_alone(task) for task in range(40)]
    assert kinds == [kind for kind in kinds[::4] for _ in range(4)]
    assert len(set(kinds)) == 2
    weights = [config.domain_weights([1.0, 1.0], task) for task in range(40)]
    assert weights == [each for each in weights[::4] for _ in range(4)]


def sources(*domains: str | DomainConfig, leave_out: LeaveOut = EVEN) -> EpisodeSource:
    tuning = TuningConfig(tasks=36, meta_batch=2, leave_out=leave_out, validate_every=0)
    config = TrainConfig(list(domains), episodes=EpisodeConfig(way=2, shot=1, query=1), tuning=tuning)
    return episode_sources(config, open_domains(config.domains), ImageFormat(16))[0]


def test_the_tasks_of_a_run_are_of_the_domains_whose_turn_it_is() -> None:
    names = ["glyphs", "polygons", "strokes"]
    source = sources(*(f"pocket:{name}" for name in names))
    config = TuningConfig(tasks=36, meta_batch=2, leave_out=EVEN)
    domains = [source.plan(n).domain for n in reversed(range(36))][::-1]
    for task, domain in enumerate(domains):
        assert (domain == names[task // 12]) == config.router_alone(task), task
    assert set(domains[:12]) == set(names), "within a turn there are both kinds of tasks"


def test_with_a_share_of_0_tasks_are_what_they_were() -> None:
    given = ["pocket:glyphs", DomainConfig("pocket:polygons", weight=3.0)]
    off, plain = sources(*given, leave_out=LeaveOut(0.0, cycles=5)), sources(*given, leave_out=LeaveOut())
    assert [off.plan(n) for n in range(20)] == [plain.plan(n) for n in range(20)]


def test_the_router_alone_learns_where_a_domain_is_left_out_and_everything_otherwise(tmp_path: Path) -> None:
    before: list[dict[str, dict[str, torch.Tensor]]] = []
    changed: list[set[str]] = []

    def follow(report: StepReport) -> None:
        now = parts(tuner)
        changed.append({part for part, values in now.items() if not equal(values, before[-1][part])})
        before.append(now)
        shares = [value for name, value in report.values.items() if name.startswith("merge_weight/")]
        assert len(shares) == 3
        assert sum(shares) == pytest.approx(1, abs=1e-6)
        assert 0 < report.values["merge_weight/null"] < 1

    tuner = tuner_of(tmp_path, tasks=24, on_step=follow)
    before.append(parts(tuner))
    tuner.run()
    kinds = [tuner.config.router_alone(2 * step) for step in range(12)]
    assert 3 <= sum(kinds) <= 9
    router, optimizers = {"router", "optimizer of router"}, {f"optimizer of {name}" for name in ("delta", "router")}
    for alone, names in zip(kinds, changed, strict=True):
        assert names >= router
        if alone:
            assert names == router
        else:
            assert names >= {"experts"} | optimizers


def test_a_stopped_run_resumes_to_the_same_numbers_with_any_number_of_workers(tmp_path: Path) -> None:
    def stop(report: StepReport) -> None:
        if report.tasks == 6:
            os.kill(os.getpid(), signal.SIGTERM)

    whole = tuner_of(tmp_path / "whole")
    whole.run()
    with pytest.raises(KeyboardInterrupt):
        tuner_of(tmp_path / "stopped", on_step=stop).run()
    again = tuner_of(tmp_path / "stopped")
    again.workers = 2
    again.resume()
    again.run()
    expected, got = parts(whole), parts(again)
    assert [part for part in expected if not equal(expected[part], got[part])] == []


def test_settings_that_cannot_work_are_refused(tmp_path: Path) -> None:
    for share in (-0.1, 1.0):
        with pytest.raises(ConfigError, match=r"tuning\.leave_out\.share is .*expected 0 or more, below 1"):
            LeaveOut(share)
    with pytest.raises(ConfigError, match=r"tuning\.leave_out\.cycles is 0"):
        LeaveOut(0.5, cycles=0)
    with pytest.raises(ConfigError, match="1 domain is trained on: give two or more"):
        sources("pocket:glyphs", DomainConfig("pocket:polygons", weight=0.0))
    with pytest.raises(ConfigError, match="leaves the router no choice to learn"):
        tiny_tuner(tmp_path, tiny_pool(experts=1), leave_out=EVEN)
