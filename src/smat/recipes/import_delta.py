"""`smat import-delta`: networks that others have tuned, as the experts of a pool."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import torch
from rich.console import Console
from rich.markup import escape
from rich.progress import track
from rich.table import Table
from torch import Tensor

from smat.domains import Domain, open_domains
from smat.episodes import EpisodeSource, PlanOptions
from smat.errors import ConfigError
from smat.experts import PrototypeRouter, SparseInterpolatedExperts, class_prototypes, task_direction
from smat.files import check_folder
from smat.metatuning.optimizers import GroupConfig, OptimizerConfig
from smat.metatuning.run_config import EpisodeConfig, TrainConfig
from smat.metatuning.settings import TuningConfig
from smat.recipes.train import train
from smat.released import read_tuned
from smat.rng import seeded_torch
from smat.schema import Processes, Range, checked_arguments

RUN = "routing"
"""Folder of the router's training, in that of the pool, until it is finished."""


@dataclass(frozen=True)
class ImportedExperts:
    """What `import_delta` wrote.

    Attributes:
        folder: the folder.
        experts: number of experts.
        change: of each expert, the length of its update over that of the pre-trained parameters.
        told: share of tasks whose own expert gets the largest weight, of tasks that the centres were not made of; None
            unless routing is by prototypes.
    """

    folder: str
    experts: int
    change: list[float]
    told: float | None = None


@checked_arguments
def import_delta(
    pretrained: str,
    tuned: list[str] = [],  # noqa: B006  (it is only read)
    *,
    out: str,
    peft: Sequence[str] = (),
    routing: Literal["uniform", "prototypes", "learned"] = "uniform",
    domains: Sequence[str] = (),
    tasks: Annotated[int, Range(4)] = 200,
    image_size: Annotated[int, Range(1, 4096)] | None = None,
    options: PlanOptions = PlanOptions(query=10, split="train"),
    workers: Processes = 1,
) -> ImportedExperts:
    """Make a pool of networks that others have tuned from one pre-trained network: an expert of each.

    An expert's update is what tuning changed. A router merges them for each task, or all alike. The pool is then used
    like any other, and can be tuned further (`smat train --init`).

    Example: smat import-delta facebook/dino-vits16 birds.safetensors cars/ --out runs/experts

    Args:
        pretrained: network that all were tuned from, by its name on the hub or its folder.
        tuned: tuned networks: folders or names on the hub, or files of a state_dict (.safetensors, .pt, .pth, .bin),
            which are read without running code in them.
        out: folder to write the checkpoint to.
        peft: folders of adapters that PEFT has tuned, or their names on the hub.
        routing: what the merge weights are: `uniform`, equal for all tasks; `prototypes`, by the distance of a task to
            the domain that each expert was tuned on; or `learned`, by a short training of the router alone.
        domains: domains for the routing: with `prototypes` one for each expert, in their order, adapters last; with
            `learned` any domains.
        tasks: number of tasks of the routing: of each domain with `prototypes`, in all with `learned`.
        image_size: side of the images in pixels; by default that of the pre-trained network.
        options: which tasks these are.
        workers: number of processes that make the tasks of `learned`.

    Returns:
        What the pool is.

    Raises:
        SmatError: if there is no such network, it is damaged or of another architecture, the domains do not fit, or the
            folder cannot be written.
        KeyboardInterrupt: if the training of the router was interrupted; the same command goes on with it.
    """
    folder = check_folder(out, "--out")
    sources = [*tuned, *peft]
    _check(routing, domains, len(sources))
    opened = open_domains(domains, **options.opening()) if domains else []
    with seeded_torch(options.seed, "initialisation"):
        pool = read_tuned(pretrained, tuned, peft, image_size=image_size)
    told = None
    if routing == "prototypes":
        pool, told = _by_prototypes(pool, opened, tasks, options)
    pool.save_pretrained(folder)
    if routing == "learned":
        pool = _learned(folder, domains, tasks, options, workers)
    delta = pool.update.get_parameter("delta").detach().reshape(len(sources), -1)
    change = (delta.norm(dim=1) / pool.pretrained.norm()).tolist()
    found = ImportedExperts(str(folder), len(sources), change, told)
    _show(found, sources)
    return found


def _check(routing: str, domains: Sequence[str], experts: int) -> None:
    if routing == "uniform" and domains:
        raise ConfigError("--domains are for routing by prototypes or learned: give --routing, or leave them out")
    if routing != "uniform" and experts < 2:
        raise ConfigError(f"--routing {routing} needs several networks to choose from, and {experts} is given")
    if routing == "prototypes" and len(domains) != experts:
        raise ConfigError(
            f"--routing prototypes needs a domain for each of the {experts} networks, in their order, adapters last; "
            f"--domains has {len(domains)}"
        )
    if routing == "learned" and not domains:
        raise ConfigError("--routing learned needs tasks to learn from: give --domains")


@torch.no_grad()
def _by_prototypes(
    pool: SparseInterpolatedExperts, domains: Sequence[Domain], tasks: int, options: PlanOptions
) -> tuple[SparseInterpolatedExperts, float]:
    """The pool with a router by where its experts were tuned; how often that is right."""
    network = pool.network(pool.pretrained)
    places = []
    for domain in domains:
        source = EpisodeSource(
            [domain],
            options.split,
            options.build_sampler(),
            image_format=pool.backbone.spec.image_format,
            seed=options.seed,
            tracks=options.tracks,
        )
        rows: list[Tensor] = []
        for number in track(range(tasks), f"tasks of {domain.name}", console=Console(stderr=True), transient=True):
            episode = source.episode(number)
            prototypes = class_prototypes(network(episode.support), episode.support_labels, episode.way)
            rows.append(task_direction(prototypes))
        places.append(torch.stack(rows))
    routed = pool.with_router(PrototypeRouter())
    assert isinstance(routed.router, PrototypeRouter)
    return routed, routed.router.fit(places)


def _learned(
    folder: Path,
    domains: Sequence[str],
    tasks: int,
    options: PlanOptions,
    workers: int,
) -> SparseInterpolatedExperts:
    """The pool after a training of its router, which goes on where it was stopped."""
    shape = {name: getattr(options, name) for name in ("sampler", "way", "shot", "query", "hierarchy", "tracks")}
    config = TrainConfig(
        domains=list(domains),
        init=str(folder),
        episodes=EpisodeConfig(**shape),
        tuning=TuningConfig(
            tasks=tasks,
            meta_batch=1 if tasks % 2 else 2,
            target_sparsity=None,
            optimizers=OptimizerConfig(router=GroupConfig("adamw", 1e-3, weight_decay=1e-2, clip=1.0), warmup=0.1),
            validate_every=0,
            checkpoint_every=50,
            seed=options.seed,
            only_router=True,
        ),
        workers=workers,
        **options.opening(),
    )
    run = folder / RUN
    train(config, out=str(run), resume=True)
    routed = SparseInterpolatedExperts.from_pretrained(run / "last")
    routed.save_pretrained(folder)
    shutil.rmtree(run)
    return routed


def _show(found: ImportedExperts, sources: Sequence[str]) -> None:
    """A table of the experts on the screen."""
    table = Table("expert", "tuned network", "change")
    for number, (source, change) in enumerate(zip(sources, found.change, strict=True)):
        table.add_row(str(number), escape(source), f"{change:.2%}")
    console = Console()
    console.print(table)
    if found.told is not None:
        console.print(
            f"a task's own expert gets the largest weight in {found.told:.0%} of tasks, by chance in "
            f"{1 / found.experts:.0%}"
        )
    console.print(f"written: {escape(found.folder)}", soft_wrap=True, highlight=False)
