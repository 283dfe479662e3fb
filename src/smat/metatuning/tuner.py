"""The meta-tuning loop."""

import logging
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import NoReturn, TypeVar

import torch
from lightning.fabric import Fabric
from torch import nn

from smat.episodes import Episode, EpisodeSource, episode_loader
from smat.errors import CollapseError, ConfigError, NonFiniteError
from smat.experts import LearnedGates, ShardedGates, Slices, SparseInterpolatedExperts, Validation
from smat.metatuning.alignment import Probe, gradient_cosines
from smat.metatuning.budgets import budgets, check_sparsity
from smat.metatuning.checkpoints import KeptState, recover_folder, replace_folder
from smat.metatuning.compilation import is_compiled
from smat.metatuning.kept import drop_kept, kept_folder
from smat.metatuning.masks import choose_mask
from smat.metatuning.objective import TaskNoise, train_task
from smat.metatuning.optimizers import MetaOptimizer
from smat.metatuning.processes import Processes
from smat.metatuning.reports import averaged, numbers
from smat.metatuning.run_state import packed, restored
from smat.metatuning.settings import Progress, StepReport, TuningConfig
from smat.metatuning.validation import validate
from smat.metatuning.watch import Watch, advice, early
from smat.precision import NetworkPrecision, resolve_precision
from smat.signals import StopSignals

_log = logging.getLogger(__name__)

Found = TypeVar("Found")


class MetaTuner:
    """Meta-tunes a pool on the tasks of a source.

    Args:
        pool: on the CPU; it is moved to Fabric's device.
        train: training episodes.
        validation: one source of validation episodes per domain; none: no validation, the last state is the best.
        config: the run's settings.
        folder: where `state` (to resume), `best`, `last` and those of `kept` (pools) are written.
        fabric: devices; launched.
        workers: processes that make episodes.
        sharded: whether each process holds a slice of the update and the gates, in place of all of them.
        on_step: called after every optimizer step, on the first process only.
        on_validation: called with tasks and accuracies by domain after every validation, likewise.
        on_alignment: called with tasks and mean cosines by name after every record of alignment, likewise.
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
        sharded: bool = False,
        on_step: Callable[[StepReport], None] = lambda _: None,
        on_validation: Callable[[int, dict[str, float]], None] = lambda _, __: None,
        on_alignment: Callable[[int, dict[str, float]], None] = lambda _, __: None,
        on_warning: Callable[[str], None] = _log.warning,
    ) -> None:
        if not pool.config.experts:
            raise ConfigError("a pool without experts has nothing to tune: set pool.experts to 1 or more")
        check_sparsity(pool, config)
        if config.leave_out.share and not pool.config.routed:
            raise ConfigError(
                f"tuning.leave_out.share is {config.leave_out.share}, but one expert without a null expert leaves the "
                "router no choice to learn: set pool.null_expert, pool.experts to 2 or more, or the share to 0"
            )
        pool.backbone.activation_checkpointing = config.activation_checkpointing
        compiled = is_compiled(pool, config, fabric.device)
        if sharded:
            self._divide(pool, config, fabric)
        if isinstance(pool.update, LearnedGates):
            pool.update.compiled = compiled
        if config.only_router:
            if not pool.config.routed or not any(True for _ in pool.router.parameters()):
                raise ConfigError(
                    f"tuning.only_router is true, but the router of {pool.config.experts} "
                    f"expert{'s' if pool.config.experts > 1 else ''} has nothing to learn: set it to false"
                )
            pool.update.requires_grad_(False)
            if pool.head is not None:
                pool.head.requires_grad_(False)
        if config.meta_batch % fabric.world_size:
            raise ConfigError(
                f"tuning.meta_batch is {config.meta_batch}, which {fabric.world_size} devices cannot share equally"
            )
        self.pool, self.config, self.fabric, self.folder = pool.to(fabric.device), config, fabric, folder
        self.precision: NetworkPrecision = resolve_precision(config.precision, fabric.device)
        self.train_source, self.validation = train, tuple(validation)
        self.workers, self.on_step, self.on_warning = workers, on_step, on_warning
        self.on_validation, self.on_alignment = on_validation, on_alignment
        self.multipliers = nn.Parameter(torch.zeros(budgets(pool, config), device=fabric.device))
        self.optimizer = MetaOptimizer(pool, self.multipliers, config.optimizers)
        self.progress = Progress()
        self.watch, self.kept = Watch(config.meta_batch), KeptState(folder)
        self.processes, self.signals = Processes(fabric), StopSignals()
        self._stop = False  # what all processes have agreed on

    @staticmethod
    def _divide(pool: SparseInterpolatedExperts, config: TuningConfig, fabric: Fabric) -> None:
        """Leave the pool a slice of its update; raises a `ConfigError` if it cannot be divided."""
        if not isinstance(pool.update, LearnedGates) or pool.config.random_gates or pool.head is not None:
            raise ConfigError(
                "strategy sharded is for learned gates that are not drawn at random and the cosine head as it is: set "
                "pool.gating to learned, pool.random_gates and pool.learned_head to false, or strategy to replicated"
            )
        if config.record_alignment or config.sparsity_budget == "block":
            raise ConfigError(
                "strategy sharded cannot record the alignment of gradients, nor keep budgets by block: set "
                "tuning.record_alignment to 0 and tuning.sparsity_budget to expert or pool, or strategy to replicated"
            )
        if fabric.world_size > 1:
            slices = Slices(len(pool.pretrained), fabric.global_rank, fabric.world_size)
            pool.update = ShardedGates.of(pool.update, slices)

    # -- the loop --------------------------------------------------------------------------------------------------

    def run(self) -> Progress:
        """Tune until the last task, until patience ends, or until SIGINT or SIGTERM; the state is saved in each case.

        The first signal finishes the step; while episodes are awaited, or the network is validated, it need not.

        Raises:
            ConfigError: a file cannot be written, as on a full disk.
            WorkerError: a process that makes episodes was killed; the state is saved.
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
        if not self.progress.tasks:
            choose_mask(self.pool, self.train_source, config, self.precision)
        with self.signals:
            self._look_where_due()  # also at what an interruption cut short
            while self.progress.tasks < config.tasks and not self._out_of_patience():
                self._step(self._awaited(lambda: [next(episodes) for _ in range(share)]))
                tasks = self.progress.tasks
                if self.watch.collapsed:
                    raise CollapseError(
                        f"{self.watch.collapse(tasks)}. {self._return_to_good()}. {advice(config, tasks)}"
                    )
                self._look_where_due()
                if self._stop:
                    self._end()
                if self._due(config.checkpoint_every) or early(tasks, config):
                    self.save()
        self.save()
        self._save_pool("last")
        if not (self.validation and config.validate_every):
            self._save_pool("best")
        return self.progress

    def _awaited(self, work: Callable[[], Found]) -> Found:
        """What takes its time and changes nothing: a signal ends it at once; the state is saved, also before an error.

        One process of several cannot leave the others alone: there a signal waits for the end of the step.
        """
        try:
            with self.signals.at_once() if self.fabric.world_size == 1 else nullcontext():
                return work()
        except KeyboardInterrupt:
            self._end()
        except Exception:
            if self.progress.tasks and not isinstance(self.pool.update, ShardedGates):  # others would not take part
                self._write_state()
            raise

    def _end(self) -> NoReturn:
        """End a run that was asked to."""
        self.save()
        raise KeyboardInterrupt(
            f"{self.progress.tasks} tasks are done and kept in {self.folder}: go on with resume (--resume)"
        )

    def _due(self, every: int) -> bool:
        """Whether the last step passed a multiple of `every` tasks, or was the last of all; never with 0."""
        tasks = self.progress.tasks
        if not every:
            return False
        passed = tasks // every > (tasks - self.config.meta_batch) // every
        return passed or tasks >= self.config.tasks or self._out_of_patience()

    def _out_of_patience(self) -> bool:
        return self.config.patience is not None and self.progress.waited >= self.config.patience

    def _step(self, batch: Sequence[Episode]) -> None:
        pool, config, start = self.pool, self.config, self.progress.tasks
        pool.train()
        pool.router.before_step()
        pool.update.before_step(self._share_done(start))
        results = []
        for number, episode in enumerate(batch):
            task = start + self.fabric.global_rank + number * self.fabric.world_size
            result = train_task(
                pool,
                self.multipliers,
                episode.to(self.fabric.device),
                config.objective,
                target_sparsity=config.target_sparsity,
                budget=config.sparsity_budget,
                head=config.head,
                noise=TaskNoise.of_task(pool, config.seed, task),
                precision=self.precision,
                weight=1 / config.meta_batch,
            )
            results.append(numbers(result))
        divided = set(pool.update.parameters()) if isinstance(pool.update, ShardedGates) else set()
        self.processes.reduce_gradients((p for p in pool.parameters() if p not in divided), self.multipliers)
        alone = {"router"} if config.router_alone(start) else None
        norms, asked = self.optimizer.clip(alone), bool(self.signals.asked)
        values, sparsity, self._stop, broken = averaged(results, norms, asked, pool, self.multipliers, self.processes)
        if broken:
            self.save()
            bad = [e.plan.id for e, result in zip(batch, results, strict=True) if not result["loss"].isfinite()]
            raise NonFiniteError(
                f"the loss is not finite in episode {' and '.join(bad) or 'of another process'}, at task {start}; the "
                f"state before it is in {self.folder}. Look at its images, lower optimizers.delta.lr, or use 32-true"
            )
        self.optimizer.step(self._share_done(start), alone)
        pool.update.after_step()
        self.progress.tasks += config.meta_batch
        pool.tasks_seen += config.meta_batch
        self._report(values, sparsity)

    def _share_done(self, tasks: int) -> float:
        """Where on the schedule of the learning rates a step begins, 0..1."""
        return tasks / self.config.tasks

    def _report(self, values: dict[str, float], sparsity: list[float]) -> None:
        fell = self.watch.add(values["accuracy"], values["accuracy/frozen"], values["feature_spread"])
        if self.fabric.is_global_zero:
            self.on_step(StepReport(self.progress.tasks, values, sparsity))
            if fell:
                self.on_warning(
                    f"{self.watch.warning(self.progress.tasks)}. {advice(self.config, self.progress.tasks)}"
                )

    # -- looking at the network, and saving ------------------------------------------------------------------------

    def _look_where_due(self) -> None:
        """What is looked at and kept beside training, each once where it is due; none of it changes the training."""
        progress, config = self.progress, self.config
        self.pool.update.before_step(self._share_done(progress.tasks))  # as the next step will, also after a resume
        if self.validation and progress.validated != progress.tasks and self._due(config.validate_every):
            self._validate()
        if progress.aligned != progress.tasks and self._due(config.record_alignment):
            self._record_alignment()
        if self._due(config.keep_every):
            self._save_pool(kept_folder(progress.tasks), anew=False)

    def _validate(self) -> None:
        """Look at the accuracy on validation classes; the best pool so far is kept."""
        progress = self.progress
        accuracies = self._awaited(
            lambda: validate(
                self.pool, self.validation, self.config, self.precision, self.processes, workers=self.workers
            )
        )
        accuracy = sum(accuracies.values()) / len(accuracies)
        found = Validation(progress.tasks, self.config.validation_episodes, accuracies)
        self.pool.card = replace(self.pool.card, validation=found)
        progress.validated = progress.tasks
        progress.waited += 1
        if accuracy > progress.best_accuracy:
            progress.best_accuracy, progress.best_tasks, progress.waited = accuracy, progress.tasks, 0
            self._save_pool("best")
        if self.fabric.is_global_zero:
            self.on_validation(progress.tasks, accuracies)

    def _record_alignment(self) -> None:
        """Take the gradients of the probe, in the first process, without applying them."""
        if self.fabric.is_global_zero:
            probe = Probe(self.train_source, self.config.seed)
            found = self._awaited(lambda: gradient_cosines(self.pool, probe, self.config, self.precision))
            self.on_alignment(self.progress.tasks, found.values())
        self.fabric.barrier()
        self.progress.aligned = self.progress.tasks

    def _save_pool(self, name: str, anew: bool = True) -> None:
        """Write the pool as it is into a folder of the run's; one that is there already is only written anew."""
        folder, pool = self.folder / name, self.pool
        if isinstance(pool.update, ShardedGates) and (whole := pool.update.whole()) is not None:
            pool = pool.with_update(whole)
        if self.fabric.is_global_zero and (anew or not folder.exists()):
            replace_folder(pool.save_pretrained, folder)
        self.fabric.barrier()

    def save(self) -> None:
        """Write everything that the rest of the run depends on; in trouble, beside the last state before it.

        Raises:
            ConfigError: it cannot be written, as on a full disk; the last one is left.
        """
        self._write_state()
        self.fabric.barrier()

    def _write_state(self) -> None:
        sharded = isinstance(self.pool.update, ShardedGates)
        if not (self.fabric.is_global_zero or sharded):
            return
        state = packed(self.pool, self.multipliers, self.optimizer, self.progress, self.watch)
        if self.fabric.is_global_zero:
            try:
                self.kept.save(state, self.watch.doubtful)
            except ConfigError as error:
                raise ConfigError(f"{error}; then go on from the last state that was kept with --resume") from error

    def resume(self) -> None:
        """Take up a saved state.

        Raises:
            CheckpointError: there is none, or it is damaged.
        """
        recover_folder(self.folder / "best")
        state, origin = self.kept.load(), f"the training state in {self.kept.now}"
        self.watch = Watch(self.config.meta_batch)
        self.progress = restored(state, origin, self.pool, self.multipliers, self.optimizer, self.watch)
        if self.fabric.is_global_zero:
            drop_kept(self.folder, after=self.progress.tasks)

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
