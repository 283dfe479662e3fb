"""Finding the learning rate of the update by short trials, all from the same start and on the same tasks.

A trial is the first tasks of the run, with its settings, but at one rate after a warm-up of the same share. What it
comes to is judged by the query accuracy on episodes that no trial trains on, the same for all, so that differences are
paired. Rates are tried upwards, in steps of about √10, until one breaks the network or is clearly worse than the best;
then downwards, as long as the lowest is the best.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from lightning.fabric import Fabric

from smat.episodes import EpisodeSource, episode_loader
from smat.errors import CollapseError, ConfigError, NonFiniteError
from smat.experts import SparseInterpolatedExperts
from smat.metatuning.settings import TuningConfig
from smat.metatuning.tuner import MetaTuner
from smat.metatuning.validation import query_accuracy
from smat.precision import resolve_precision
from smat.schema import NotNegative, Share
from smat.statistics import Interval, interval, paired_difference

TRIAL_TASKS, TRIAL_STEPS = 32, 8
"""A trial has so many tasks, or more where they are fewer optimizer steps than the second number."""

JUDGING_EPISODES = 40
"""Episodes that a trial is judged by, shared by the domains."""

USUAL_TRIALS = 5
"""Trials that the time is reckoned for beforehand."""

_START = {"adamw": 1e-4, "sgd": 1e-3}
_LOWEST, _HIGHEST = 1e-7, 10.0
_CLEARLY = 2.0  # standard errors of the paired difference


@dataclass(frozen=True)
class Trial:
    """What came of a rate.

    Attributes:
        rate: highest learning rate; 0 stands for the frozen network.
        accuracies: query accuracy of each judging episode, 0..1; none where the network broke.
        broken: why there are none.
        seconds: time that it took.
    """

    rate: NotNegative
    accuracies: Sequence[Share] = ()
    broken: str | None = None
    seconds: NotNegative = 0.0

    @property
    def accuracy(self) -> Interval:
        """The mean accuracy."""
        return interval(self.accuracies)

    def difference(self, other: "Trial") -> Interval:
        """The mean accuracy over that of another trial, on the same episodes."""
        return paired_difference(self.accuracies, other.accuracies)

    def clearly_below(self, other: "Trial") -> bool:
        """Whether it is worse than another trial by more than chance."""
        if self.broken:
            return True
        difference = self.difference(other)
        return difference.mean < -_CLEARLY * difference.standard_error


@dataclass(frozen=True)
class Judging:
    """The episodes that trials are judged by.

    Attributes:
        sources: one per domain.
        numbers: which of their episodes.
        classes: whose they are, for the user.
    """

    sources: Sequence[EpisodeSource]
    numbers: range
    classes: str

    @classmethod
    def of(cls, train: EpisodeSource, validation: Sequence[EpisodeSource], config: TuningConfig) -> "Judging":
        """Episodes of validation classes; without any, tasks of the training classes that the run does not train on.

        Args:
            train: the training episodes.
            validation: the validation episodes, a source per domain.
            config: the run's settings.
        """
        sources, first, what = list(validation), 0, "validation classes"
        if not sources:
            first, what = (
                config.tasks,
                "training classes, for want of validation classes, in tasks not trained on",
            )
            sources = [
                EpisodeSource(
                    [domain],
                    train.split,
                    train.sampler,
                    image_format=train.image_format,
                    transforms=train.transforms,
                    seed=train.seed,
                )
                for domain in train.domains
            ]
        each = math.ceil(JUDGING_EPISODES / len(sources))
        return cls(sources, range(first, first + each), what)

    def __str__(self) -> str:
        """What the accuracies are of."""
        names = ", ".join(source.domains[0].name for source in self.sources)
        return f"{len(self.numbers)} episodes each of {names}: {self.classes}"


class RateSearch:
    """Tries learning rates of the update; the pool is afterwards what it was before.

    Args:
        pool: at its start.
        train: the training episodes.
        judging: the episodes that decide.
        config: the run's settings.
        fabric: devices; launched.
        workers: number of processes that make episodes.
        on_estimate: called with seconds that the search will take, once the first tasks were timed.
        on_task: called with the rate and the number of tasks after each step of a trial.
        on_trial: called after each trial, on every process.

    Attributes:
        tasks: number of tasks of a trial, a multiple of the meta-batch.
    """

    def __init__(
        self,
        pool: SparseInterpolatedExperts,
        train: EpisodeSource,
        judging: Judging,
        config: TuningConfig,
        fabric: Fabric,
        *,
        workers: int = 0,
        on_estimate: Callable[[float], None] = lambda _: None,
        on_task: Callable[[float, int], None] = lambda _, __: None,
        on_trial: Callable[[Trial], None] = lambda _: None,
    ) -> None:
        self.pool, self.train, self.judging, self.fabric, self.workers = pool, train, judging, fabric, workers
        self.tasks = max(TRIAL_STEPS, math.ceil(TRIAL_TASKS / config.meta_batch)) * config.meta_batch
        self.config = replace(
            config, tasks=self.tasks, validate_every=0, patience=None, record_alignment=0, keep_every=0
        )
        self.on_estimate, self.on_task, self.on_trial = on_estimate, on_task, on_trial
        self._times: list[float] = []
        self._judging_seconds: float | None = None

    def run(self, before: Sequence[Trial] = ()) -> list[Trial]:
        """Try rates until there is one to choose; the frozen network is tried first.

        Args:
            before: trials of an interrupted search, which are not made again.

        Raises:
            ConfigError: every rate breaks the network.
        """
        start = {name: value.clone() for name, value in self.pool.tensors().items() if name != "pretrained"}
        trials, rule = list(before), self.config.optimizers.delta.rule
        while (rate := next_rate(trials, rule)) is not None:
            self._judging_seconds = next((trial.seconds for trial in trials if not trial.rate), None)
            try:
                trial = self._try(rate)
            finally:
                self.pool.load_tensors(start | {"pretrained": self.pool.pretrained}, "the start of the trials")
            trials.append(trial)
            self.on_trial(trial)
        return trials

    def _try(self, rate: float) -> Trial:
        begun, config = time.monotonic(), self.config
        if rate:
            delta = replace(config.optimizers.delta, lr=rate)
            config = replace(config, optimizers=replace(config.optimizers, delta=delta))
            trial = _Trial(
                self.pool,
                self.train,
                (),
                config,
                Path(),  # where nothing is written
                self.fabric,
                workers=self.workers,
                on_step=lambda report: self._follow(rate, report.tasks),
                on_warning=lambda _: None,
            )
            try:
                trial.run()
            except (CollapseError, NonFiniteError):
                what = "features became constant" if trial.watch.collapsed else "the loss was not finite"
                broken = f"{what} after {trial.progress.tasks} tasks"
                return Trial(rate, broken=broken, seconds=time.monotonic() - begun)
        return Trial(rate, self._accuracies(), seconds=time.monotonic() - begun)

    def _follow(self, rate: float, tasks: int) -> None:
        """Note a step; the first one also prepares kernels and workers, so that the second one is timed."""
        self._times.append(time.monotonic())
        if len(self._times) == 2 and self._judging_seconds is not None:
            step = self._times[1] - self._times[0]
            steps = self.config.tasks / self.config.meta_batch
            self.on_estimate(USUAL_TRIALS * (self._judging_seconds + steps * step))
        self.on_task(rate, tasks)

    def _accuracies(self) -> list[float]:
        """The query accuracy on each judging episode."""
        self.pool.eval()
        fabric, numbers = self.fabric, self.judging.numbers
        found = torch.zeros(len(self.judging.sources), len(numbers), device=fabric.device)
        precision = resolve_precision(self.config.precision, fabric.device)
        mine = range(len(numbers))[fabric.global_rank :: fabric.world_size]
        for row, source in zip(found, self.judging.sources, strict=True):
            episodes = episode_loader(
                source, numbers.start + fabric.global_rank, numbers.stop, fabric.world_size, self.workers
            )
            for place, episode in zip(mine, episodes, strict=True):
                row[place] = query_accuracy(self.pool, episode.to(fabric.device), self.config.head, precision)
        if fabric.world_size > 1:
            torch.distributed.all_reduce(found)
        return [round(accuracy, 6) for accuracy in found.flatten().tolist()]


class _Trial(MetaTuner):
    """A training that is kept nowhere, and stays at the full rate after its warm-up."""

    def _share_done(self, tasks: int) -> float:
        return min(tasks / self.config.tasks, self.config.optimizers.warmup)

    def _write_state(self) -> None:
        """Nothing is kept."""

    def _save_pool(self, name: str, anew: bool = True) -> None:
        pass

    def _return_to_good(self) -> str:
        return ""


def next_rate(trials: Sequence[Trial], rule: str) -> float | None:
    """The rate to try next: 0, the frozen network, first; None where there is nothing more to try.

    Args:
        trials: those that were made.
        rule: optimizer rule of the update, `sgd` or `adamw`.

    Raises:
        ConfigError: every rate breaks the network.
    """
    if not trials:
        return 0.0
    tried = sorted((trial for trial in trials if trial.rate), key=lambda trial: trial.rate)
    if not tried:
        return _START[rule]
    whole = [trial for trial in tried if not trial.broken]
    lowest, highest = tried[0], tried[-1]
    if not whole:
        if lowest.rate <= _LOWEST:
            raise ConfigError(
                f"all learning rates from {lowest.rate:g} break the network: look at the images (smat data show), or "
                "set tuning.precision to 32-true"
            )
        return _beside(lowest.rate, down=True)
    best = max(whole, key=lambda trial: (trial.accuracy.mean, trial.rate))
    if not highest.clearly_below(best) and highest.rate < _HIGHEST:
        return _beside(highest.rate)
    if best is lowest and lowest.rate > _LOWEST:
        return _beside(lowest.rate, down=True)
    return None


def choose(trials: Sequence[Trial]) -> Trial:
    """The highest rate that is not worse than the best one by more than a standard error of their difference.

    A trial is short, and its gates are still open: the best rate of a whole training is more often higher than lower.
    """
    whole = [trial for trial in trials if trial.rate and not trial.broken]
    best = max(whole, key=lambda trial: trial.accuracy.mean)
    level = [trial for trial in whole if (d := trial.difference(best)).mean >= -d.standard_error]
    return max(level, key=lambda trial: trial.rate)


def _beside(rate: float, down: bool = False) -> float:
    """The next of 1e-4, 3e-4, 1e-3, 3e-3, ..."""
    exponent = math.floor(math.log10(rate) + 1e-6)
    first = rate / 10.0**exponent < 2
    if down:
        return float(f"3e{exponent - 1}" if first else f"1e{exponent}")
    return float(f"3e{exponent}" if first else f"1e{exponent + 1}")
