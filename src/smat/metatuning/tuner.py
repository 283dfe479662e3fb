"""The meta-tuning loop."""

import logging
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from lightning.fabric import Fabric
from torch import Tensor, nn

from smat.episodes import Episode, EpisodeSource, episode_loader
from smat.errors import CheckpointError, CollapseError, ConfigError, NonFiniteError, SmatError, one_line
from smat.experts import SparseInterpolatedExperts
from smat.heads import Head, fit_task
from smat.metatuning.checkpoints import KeptState, recover_folder, replace_folder
from smat.metatuning.objective import TaskNoise, TaskResult, train_task
from smat.metatuning.optimizers import MetaOptimizer
from smat.metatuning.settings import Progress, StepReport, TuningConfig
from smat.metatuning.watch import Watch, advice, early
from smat.precision import NetworkPrecision, resolve_precision
from smat.rng import torch_generator
from smat.schema import from_plain

_log = logging.getLogger(__name__)


class MetaTuner:
    """Meta-tunes a pool on the tasks of a source.

    Args:
        pool: on the CPU; it is moved to Fabric's device.
        train: training episodes.
        validation: one source of validation episodes per domain; none: no validation, the last state is the best.
        config: the run's settings.
        folder: where `state` (to resume), `best` and `last` (pools) are written.
        fabric: devices; launched.
        workers: processes that make episodes.
        on_step: called after every optimizer step, on the first process only.
        on_validation: called with tasks and accuracies by domain after every validation, likewise.
        on_warning: called with a text when the tuned network has fallen below the frozen one, likewise.
    """

    def __init__(
        self,
        pool: SparseInterpolatedExperts,
        train: EpisodeSource,
        validation: Sequence[EpisodeSource],
        config: TuningConfig,
        folder: Path,
        fabric: Fabric,
        *,
        workers: int = 0,
        on_step: Callable[[StepReport], None] = lambda _: None,
        on_validation: Callable[[int, dict[str, float]], None] = lambda _, __: None,
        on_warning: Callable[[str], None] = _log.warning,
    ) -> None:
        if not pool.config.experts:
            raise ConfigError("a pool without experts has nothing to tune: set pool.experts to 1 or more")
        if config.target_sparsity is not None and not pool.update.trainable().get("gates"):
            raise ConfigError(
                f"tuning.target_sparsity is {config.target_sparsity}, but {type(pool.update).__name__} (pool.gating "
                f"{pool.config.gating!r}) has no gates to learn: set tuning.target_sparsity to null"
            )
        if config.leave_out.share and not pool.config.routed:
            raise ConfigError(
                f"tuning.leave_out.share is {config.leave_out.share}, but one expert without a null expert leaves the "
                "router no choice to learn: set pool.null_expert, pool.experts to 2 or more, or the share to 0"
            )
        if config.meta_batch % fabric.world_size:
            raise ConfigError(
                f"tuning.meta_batch is {config.meta_batch}, which {fabric.world_size} devices cannot share equally"
            )
        self.pool, self.config, self.fabric, self.folder = pool.to(fabric.device), config, fabric, folder
        self.precision: NetworkPrecision = resolve_precision(config.precision, fabric.device)
        self.train_source, self.validation = train, tuple(validation)
        self.workers, self.on_step, self.on_validation, self.on_warning = workers, on_step, on_validation, on_warning
        self.multipliers = nn.Parameter(torch.zeros(pool.config.experts, device=fabric.device))
        self.optimizer = MetaOptimizer(pool, self.multipliers, config.optimizers)
        self.progress = Progress()
        self.watch, self.kept = Watch(config.meta_batch), KeptState(folder)
        self._stop = False

    # -- the loop --------------------------------------------------------------------------------------------------

    def run(self) -> Progress:
        """Tune until the last task, until patience ends, or until SIGINT or SIGTERM; the state is saved in each case.

        Raises:
            NonFiniteError: a task's loss is not finite; the state before it is saved.
            CollapseError: the features have become constant; the last state before that is the one that is kept.
            KeyboardInterrupt: after an interruption, once the state is saved.
        """
        config, fabric = self.config, self.fabric
        share = config.meta_batch // fabric.world_size
        episodes = episode_loader(
            self.train_source,
            self.progress.tasks + fabric.global_rank,
            config.tasks,
            step=fabric.world_size,
            workers=self.workers,
        )
        with self._signals():
            while self.progress.tasks < config.tasks and not self._out_of_patience():
                batch = [next(episodes) for _ in range(share)]
                self._step(batch)
                tasks = self.progress.tasks
                if self.watch.collapsed:
                    raise CollapseError(
                        f"{self.watch.collapse(tasks)}. {self._return_to_good()}. {advice(config, tasks)}"
                    )
                if self.validation and config.validate_every and self._due(config.validate_every):
                    self._validate()
                if self._stop or self._due(config.checkpoint_every) or early(tasks, config):
                    self.save()
                if self._stop:
                    raise KeyboardInterrupt(
                        f"{tasks} tasks are done and kept in {self.folder}: go on with resume (--resume)"
                    )
        self.save()
        self._save_pool("last")
        if not (self.validation and config.validate_every):
            self._save_pool("best")
        return self.progress

    def _due(self, every: int) -> bool:
        """Whether the last step passed a multiple of `every` tasks, or was the last of all."""
        tasks = self.progress.tasks
        return tasks // every > (tasks - self.config.meta_batch) // every or tasks >= self.config.tasks

    def _out_of_patience(self) -> bool:
        return self.config.patience is not None and self.progress.waited >= self.config.patience

    def _step(self, batch: Sequence[Episode]) -> None:
        pool, config, start = self.pool, self.config, self.progress.tasks
        pool.train()
        pool.router.before_step()
        results = []
        for number, episode in enumerate(batch):
            task = start + self.fabric.global_rank + number * self.fabric.world_size
            result = train_task(
                pool,
                self.multipliers,
                episode.to(self.fabric.device),
                config.objective,
                target_sparsity=config.target_sparsity,
                head=config.head,
                noise=self._noise(task),
                precision=self.precision,
                weight=1 / config.meta_batch,
            )
            results.append(_numbers(result))
        finite = torch.stack([r["loss"].isfinite() for r in results])
        stop, broken = self._agree(self._stop, not bool(finite.all()))
        if broken:
            self.save()
            bad = [e.plan.id for e, ok in zip(batch, finite.tolist(), strict=True) if not ok]
            raise NonFiniteError(
                f"the loss is not finite in episode {' and '.join(bad) or 'of another process'}, at task {start}; the "
                f"state before it is in {self.folder}. Look at its images, lower optimizers.delta.lr, or use 32-true"
            )
        self._reduce_gradients()
        alone = {"router"} if config.router_alone(start) else None
        norms = self.optimizer.step(self._share_done(start), alone)
        pool.update.after_step()
        self.progress.tasks += config.meta_batch
        pool.tasks_seen += config.meta_batch
        self._stop = stop
        self._report(results, norms)

    def _share_done(self, tasks: int) -> float:
        """Where on the schedule of the learning rates a step begins, 0..1."""
        return tasks / self.config.tasks

    def _noise(self, task: int) -> TaskNoise:
        """The draws of a training task: functions of the seed and its number alone."""
        pool, seed = self.pool, self.config.seed
        experts, device = pool.config.experts, self.fabric.device
        generator = torch_generator(seed, "routing", task)
        routing = torch.rand(pool.config.routes, generator=generator).clamp_(1e-6, 1 - 1e-6).to(device)

        def gates(start: int, stop: int) -> Tensor:
            u = torch.rand(experts, stop - start, generator=torch_generator(seed, "gates", task, start))
            return u.clamp_(1e-6, 1 - 1e-6).to(device)

        return TaskNoise(gates if pool.config.random_gates else None, routing)

    # -- several devices -------------------------------------------------------------------------------------------

    def _agree(self, *flags: bool) -> list[bool]:
        """Whether any process raises each flag."""
        return (self._mean(torch.tensor([float(flag) for flag in flags], device=self.fabric.device)) > 0).tolist()

    def _reduce_gradients(self) -> None:
        """Sum gradients over the processes; multipliers that one process set to 0 are 0 in all."""
        if self.fabric.world_size == 1:
            return
        for parameter in [*self.pool.parameters(), self.multipliers]:
            if parameter.grad is not None:
                torch.distributed.all_reduce(parameter.grad)
        torch.distributed.all_reduce(self.multipliers.data, torch.distributed.ReduceOp.MIN)

    def _mean(self, value: Tensor) -> Tensor:
        """The average over the processes."""
        if self.fabric.world_size > 1:
            torch.distributed.all_reduce(value)
        return value / self.fabric.world_size

    def _report(self, results: list[dict[str, Tensor]], norms: dict[str, float]) -> None:
        mean = {key: self._mean(torch.stack([r[key] for r in results]).mean(0)) for key in results[0]}
        sparsity = [round(s, 4) for s in mean.pop("sparsity").tolist()]
        routing = mean.pop("merge_weights").tolist()
        values = {key: float(value) for key, value in mean.items()}
        values |= {f"gradient_norm/{group}": norm for group, norm in norms.items()}
        values |= {f"sparsity/{m}": s for m, s in enumerate(sparsity)}
        values |= {f"multiplier/{m}": v for m, v in enumerate(self.multipliers.clamp(min=0).tolist())}
        values |= {f"merge_weight/{m}": w for m, w in enumerate(routing)}
        if self.pool.config.null_expert:
            values["merge_weight/null"] = 1 - sum(routing)
        values["temperature"] = self.pool.temperature
        fell = self.watch.add(values["accuracy"], values["accuracy/frozen"], values["feature_spread"])
        if self.fabric.is_global_zero:
            self.on_step(StepReport(self.progress.tasks, values, sparsity))
            if fell:
                self.on_warning(
                    f"{self.watch.warning(self.progress.tasks)}. {advice(self.config, self.progress.tasks)}"
                )

    # -- validation and saving -------------------------------------------------------------------------------------

    @torch.no_grad()
    def _validate(self) -> None:
        """Accuracy on validation classes; the best pool so far is kept."""
        self.pool.eval()
        accuracies = {}
        for source in self.validation:
            correct = torch.zeros(2, device=self.fabric.device)
            rank, world = self.fabric.global_rank, self.fabric.world_size
            for episode in episode_loader(source, rank, self.config.validation_episodes, world, self.workers):
                accuracy = query_accuracy(self.pool, episode.to(self.fabric.device), self.config.head, self.precision)
                correct += torch.stack([accuracy, correct.new_ones(())])
            correct = self._mean(correct)
            accuracies[source.domains[0].name] = float(correct[0] / correct[1])
        accuracy = sum(accuracies.values()) / len(accuracies)
        self.progress.waited += 1
        if accuracy > self.progress.best_accuracy:
            self.progress.best_accuracy, self.progress.best_tasks = accuracy, self.progress.tasks
            self.progress.waited = 0
            self._save_pool("best")
        if self.fabric.is_global_zero:
            self.on_validation(self.progress.tasks, accuracies)

    def _save_pool(self, name: str) -> None:
        if self.fabric.is_global_zero:
            replace_folder(lambda path: self.pool.save_pretrained(path), self.folder / name)
        self.fabric.barrier()

    def save(self) -> None:
        """Write everything that the rest of the run depends on; in trouble, beside the last state before it."""
        if self.fabric.is_global_zero:
            pool = {k: v for k, v in self.pool.tensors().items() if k != "pretrained"}
            state = {
                "pool": pool,
                "multipliers": self.multipliers.data,
                "optimizer": self.optimizer.state_dict(),
                "progress": vars(self.progress),
                "watch": self.watch.state_dict(),
            }
            self.kept.save(state, self.watch.doubtful)
        self.fabric.barrier()

    def resume(self) -> None:
        """Take up a saved state.

        Raises:
            CheckpointError: there is none, or it is damaged.
        """
        recover_folder(self.folder / "best")
        state, origin = self.kept.load(), f"the training state in {self.kept.now}"
        try:
            tensors = state["pool"] | {"pretrained": self.pool.pretrained}
            self.pool.load_tensors(tensors, origin)
            self.multipliers.data.copy_(state["multipliers"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.progress = from_plain(state["progress"], Progress, "progress", CheckpointError)
            self.watch = Watch(self.config.meta_batch)
            if "watch" in state:  # older states have none
                self.watch.load_state_dict(state["watch"])
        except (SmatError, KeyError, TypeError, AttributeError, RuntimeError) as error:
            raise CheckpointError(f"{origin} does not fit this run ({one_line(error)}): start it anew") from error

    def _return_to_good(self) -> str:
        """Make the last good state the one to resume from, and its pool `good`; says where they are."""
        if self.fabric.is_global_zero:
            self.kept.drop_doubtful()
        self.fabric.barrier()
        if self.kept.now.exists():
            self.resume()
        if not self.kept.now.exists() or self.watch.doubtful:
            return "No state from before that was kept: start again in another folder"
        self._save_pool("good")
        return (
            f"The last good state, of task {self.progress.tasks}, is kept: as a pool in {self.folder / 'good'}, and to "
            "go on from with another rate (--resume, in Python resume=True)"
        )

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """SIGINT and SIGTERM finish the step and save; a second SIGINT stops at once."""

        def request(number: int, frame: FrameType | None) -> None:
            if self._stop and number == signal.SIGINT:
                raise KeyboardInterrupt
            self._stop = True

        before = {number: signal.signal(number, request) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


@torch.no_grad()
def query_accuracy(
    pool: SparseInterpolatedExperts, episode: Episode, head: Head | None, precision: NetworkPrecision
) -> Tensor:
    """The share of right answers of a pool, in evaluation mode, on an episode's query images."""
    support, labels, query = episode.support, episode.support_labels, episode.query
    classifier, features = fit_task(pool, support, labels, query, head=head, precision=precision)
    return (classifier(features).argmax(1) == episode.query_labels).float().mean()


def _numbers(result: TaskResult) -> dict[str, Tensor]:
    """What is kept of a task once its gradients are taken."""
    terms: dict[str, Any] = {f"loss/{name}": value for name, value in result.terms.items()}
    return terms | {
        "loss": result.loss,
        "accuracy": result.accuracy,
        "accuracy/frozen": result.frozen_accuracy,
        "feature_spread": result.feature_spread,
        "sparsity": result.sparsity,
        "merge_weights": result.merge_weights,
    }
