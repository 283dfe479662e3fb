"""What pools do with tasks of domains: routing, gradients, images won and lost, one step after the other."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from rich.progress import Progress

from smat.analysis.accuracy import GridCell, accuracy_grid
from smat.analysis.alignment import measure_alignment
from smat.analysis.tasks import Tasks, route_own, route_tasks
from smat.analysis.won_lost import compare_queries
from smat.domains import Domain
from smat.episodes import EpisodeSource
from smat.evaluation import FixedFeatures
from smat.experts import FeatureCache
from smat.heads import Head
from smat.metatuning.alignment import GradientCosines
from smat.precision import NetworkPrecision
from smat.recipes.analyse.alignment_part import alignment_part
from smat.recipes.analyse.images_part import Changes, images_parts
from smat.recipes.analyse.parts import Part
from smat.recipes.analyse.subjects import Subject, of_one_backbone
from smat.recipes.analyse.tasks_part import Routing, tasks_part


@dataclass(frozen=True)
class TaskSettings:
    """How many tasks are drawn for what, and how they are classified."""

    tasks: int
    grid_tasks: int
    gradient_tasks: int
    ways: Sequence[int]
    shots: Sequence[int]
    head: Head | None
    precision: NetworkPrecision
    workers: int


@dataclass
class OnTasks:
    """The analysis of pools on tasks of domains.

    Attributes:
        subjects: the pool, and the one that it is compared with, if any.
        sources: episodes of one domain each.
        own: images of one's own, each a task.
        settings: how many tasks are drawn for what.
        cache: features of earlier runs, on disk.
        routing: by name of the pool, what was found of its routing so far.
    """

    subjects: Sequence[Subject]
    sources: Sequence[EpisodeSource]
    own: Sequence[Domain]
    settings: TaskSettings
    cache: FeatureCache | None = None
    routing: dict[str, Routing] = field(default_factory=dict)

    def __post_init__(self) -> None:
        first = FixedFeatures(self.subjects[0].pool, self.settings.precision, cache=self.cache)
        self._frozen = {self.subjects[0].name: first}
        for other in self.subjects[1:]:
            same = of_one_backbone(self.subjects[0], other)
            self._frozen[other.name] = (
                first if same else FixedFeatures(other.pool, self.settings.precision, cache=self.cache)
            )

    def parts(self, bar: Progress) -> Iterator[Part]:
        """The parts, each as it is finished.

        Args:
            bar: shows how far each step is.
        """
        domains = {source.domains[0].name: source.domains[0] for source in self.sources}
        for subject in self.subjects:
            if subject.pool.config.routed:
                self.routing[subject.name] = self._routing(subject, bar)
        if self.routing:
            yield tasks_part(self.routing)
        if self.settings.gradient_tasks:
            yield alignment_part({subject.name: self._cosines(subject, bar) for subject in self.subjects})
        yield from images_parts({subject.name: self._changes(subject, bar) for subject in self.subjects}, domains)

    def _routing(self, subject: Subject, bar: Progress) -> Routing:
        s, frozen = self.settings, self._frozen[subject.name]
        step = self._step(bar, "routing", subject, len(self.sources) * s.tasks)
        tasks = route_tasks(subject.pool, frozen, self.sources, s.tasks, workers=s.workers, on_task=step)
        own = [self._own_task(subject, domain) for domain in self.own]
        return Routing.of(subject.pool, tasks, own)

    def _own_task(self, subject: Subject, domain: Domain) -> Tasks:
        margin = self.sources[0].transforms.margin
        return route_own(subject.pool, domain, margin=margin, precision=self.settings.precision, cache=self.cache)

    def _cosines(self, subject: Subject, bar: Progress) -> GradientCosines:
        s, source = self.settings, self.sources[0]
        together = EpisodeSource(
            [each.domains[0] for each in self.sources],
            source.split,
            source.sampler,
            image_format=source.image_format,
            transforms=source.transforms,
            seed=source.seed,
            tracks=source.tracks,
        )
        config = replace(subject.tuning(), seed=source.seed)  # not the run's: two pools see the same tasks
        step = self._step(bar, "gradients", subject, len(self.sources) * s.gradient_tasks)
        return measure_alignment(
            subject.pool, together, config, tasks=s.gradient_tasks, precision=s.precision, on_task=step
        )

    def _changes(self, subject: Subject, bar: Progress) -> Changes:
        s, frozen = self.settings, self._frozen[subject.name]
        step = self._step(bar, "images", subject, len(self.sources) * s.tasks)
        queries = [
            compare_queries(
                subject.pool,
                frozen,
                source,
                s.tasks,
                head=s.head,
                precision=s.precision,
                workers=s.workers,
                on_episode=step,
            )
            for source in self.sources
        ]
        grid: dict[str, list[GridCell]] = {}
        if s.grid_tasks:
            total = len(self.sources) * s.grid_tasks * len(s.ways) * len(s.shots)
            step = self._step(bar, "ways and shots", subject, total)
            for source in self.sources:
                grid[source.domains[0].name] = accuracy_grid(
                    subject.pool,
                    frozen,
                    source,
                    s.grid_tasks,
                    ways=s.ways,
                    shots=s.shots,
                    head=s.head,
                    precision=s.precision,
                    workers=s.workers,
                    on_episode=step,
                )
            task = bar.tasks[-1]
            bar.update(task.id, total=task.completed)  # what a domain has too few images for was left out
        return Changes(queries, grid)

    def _step(self, bar: Progress, what: str, subject: Subject, total: int) -> Callable[[object], None]:
        name = f"{what}: {subject.name}" if len(self.subjects) > 1 else what
        task = bar.add_task(name, total=total, status="")

        def step(now: object) -> None:
            bar.update(task, advance=1, status=now if isinstance(now, str) else "")

        return step
