"""A comparison of `smat reproduce` whose inputs were all looked at, before its work begins."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from smat.adaptation import FineTuner
from smat.domains import open_domains
from smat.episodes import EpisodeSource
from smat.errors import ConfigError, Interrupted
from smat.evaluation import (
    Cell,
    Comparison,
    EvaluationSettings,
    Store,
    compare,
    domain_sources,
    validation_sources,
)
from smat.experts import SparseInterpolatedExperts
from smat.heads import Head
from smat.metatuning.run_config import TrainConfig
from smat.process import leave_cores_to
from smat.recipes.reproduce.episodes import EpisodeOverrides
from smat.recipes.reproduce.evaluator import Evaluator, batches
from smat.recipes.reproduce.setting import Setting
from smat.recipes.reproduce.training import Workshop
from smat.recipes.result_tables import result_title
from smat.recipes.sharing import Sharing


class Size(NamedTuple):
    """A backbone in a figure: the name of its base configuration, and its number of parameters."""

    name: str
    parameters: int


@dataclass(frozen=True)
class Prepared:
    """A comparison that can begin.

    Attributes:
        workshop: what trains and opens its pools.
        columns: what is compared.
        tuners: kinds of fine-tuning.
        backbone: the backbone of the base configuration, as a pool without experts.
        sources: test episodes, one source per domain.
        episodes: number of episodes per domain.
        settings: how everything is evaluated.
        store: finished results.
        missing: trainings that are not finished, by name.
        sharing: who else does the work.
    """

    workshop: Workshop
    columns: Sequence[Setting]
    tuners: Sequence[FineTuner]
    backbone: SparseInterpolatedExperts
    sources: Sequence[EpisodeSource]
    episodes: int
    settings: EvaluationSettings
    store: Store
    missing: dict[str, TrainConfig]
    sharing: Sharing

    @property
    def folder(self) -> Path:
        """Where results lie."""
        return self.store.path.parent

    @property
    def size(self) -> Size:
        """Name and number of parameters of the backbone."""
        return Size(Path(self.workshop.config).stem, self.backbone.pretrained.numel())

    def compared(
        self,
        subject: str,
        head: Head | str,
        against: str,
        paper: Mapping[str, dict[str, float]],
        tables: Sequence[Sequence[FineTuner]],
    ) -> list[Comparison]:
        """Train and evaluate what is missing, and compare all of it.

        Args:
            subject: what is compared, for the title.
            head: head of the columns that name none, for the title.
            against: name of the column that paired differences are to.
            paper: numbers of the paper (`paper_numbers`).
            tables: kinds of fine-tuning that are compared with each other, for each comparison.

        Raises:
            SmatError: if a training breaks its network.
            Interrupted: after an interruption; what is finished is in the files.
        """
        order = [column.name for column in self.columns]
        cells = sorted(self._cells(), key=lambda cell: order.index(cell.key.method))
        seeds = len(self.workshop.seeds)
        trained = "1 training seed" if seeds == 1 else f"{seeds} training seeds"

        def comparison(together: Sequence[FineTuner]) -> Comparison:
            title = result_title(subject, head, together, self.settings, self.sources, self.episodes)
            return compare(
                [cell for tuner in together for cell in cells if cell.key.adapt == tuner.name],
                against=against,
                title=f"{title}, {trained}",
                paper=paper,
            )

        return [comparison(together) for together in tables]

    def _cells(self) -> list[Cell]:
        try:
            self.workshop.train(self.missing, self.sharing)
            leave_cores_to(self.workshop.workers)
            evaluator = Evaluator(
                self.workshop, self.backbone, self.sources, self.episodes, self.settings, self.store, self.sharing
            )
            planned = batches(self.columns, self.workshop.seeds, self.tuners)
            return [cell for batch in planned for cell in evaluator.cells(batch)]
        except KeyboardInterrupt as interruption:
            raise Interrupted(
                f"{len(self.store)} results are kept in {self.store.path}, trainings beside it: the same command goes "
                "on from there"
            ) from interruption


def prepare(
    workshop: Workshop,
    columns: Sequence[Setting],
    tuners: Sequence[FineTuner],
    domains: Sequence[str] | None,
    options: EpisodeOverrides,
    episodes: int,
    settings: EvaluationSettings,
    store: Store,
    sharing: Sharing,
) -> Prepared:
    """Look at data, checkpoints and begun trainings of a comparison.

    Args:
        workshop: what trains and opens its pools.
        columns: what is compared.
        tuners: kinds of fine-tuning.
        domains: domains to evaluate on; None for those of the base configuration and its test domains, but the ones of
            role `validation`.
        options: what differs from the episodes of the base configuration.
        episodes: number of episodes per domain.
        settings: how everything is evaluated; validation episodes are added.
        store: finished results.
        sharing: who else does the work.

    Raises:
        SmatError: if a checkpoint, domain or setting does not fit.
    """
    if workshop.base.init:
        raise ConfigError(
            f"init is {workshop.base.init}, but here every method is trained from the backbone: leave it out, and give "
            "trained pools by --checkpoint"
        )
    drawn = options.options(workshop.base)
    every = open_domains(domains or [*workshop.base.domains, *workshop.base.test_domains], **drawn.opening())
    opened = [domain for domain in every if domains or domain.role != "validation"]
    backbone = workshop.open_backbone()
    sources = domain_sources(
        backbone.backbone.spec.image_format,
        opened,
        drawn.split,
        drawn.build_sampler(),
        drawn.transforms(),
        drawn.seed,
        tracks=drawn.tracks,
    )
    settings = replace(settings, validation=validation_sources(every, sources[0]))
    workshop.check(columns, backbone)
    workshop.check_tuners(tuners, columns, backbone)
    missing = workshop.trainings(columns, backbone)
    return Prepared(workshop, columns, tuners, backbone, sources, episodes, settings, store, missing, sharing)
