"""`smat bench`: time and memory of the main computations, compared with plain eager code for the same formulas."""

import json
import multiprocessing
import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import torch
from rich.console import Console
from rich.table import Table

from smat.adaptation.models import Device, pick_device
from smat.errors import ConfigError
from smat.files import check_writable, write_whole
from smat.metatuning import TuningConfig
from smat.metatuning.compilation import is_compiled
from smat.precision import Precision, resolve_precision
from smat.process import keep_freed_memory
from smat.recipes.bench.machine import machine, peak_memory
from smat.recipes.bench.official import check_clone
from smat.recipes.bench.workload import (
    BACKBONES,
    CHECKPOINTED,
    CLOSED,
    COPY,
    EAGER,
    LORA,
    OFFICIAL,
    PACKED,
    PACKED_PLAIN,
    PASSES,
    PLAIN,
    SEEDED,
    WORK,
    Problem,
    Workload,
)
from smat.schema import Count, Range, checked_arguments

_RIVALS = {"eager": EAGER, "official": OFFICIAL}
"""What others are so many times as fast as, by the name of that in the report."""


@checked_arguments
def bench(
    *,
    what: list[str] = ["train", "evaluate", "interpolation", "merge"],  # noqa: B006
    backbone: str = "vit-small",
    image_size: Count = 128,
    experts: Count = 8,
    way: Count = 10,
    support: Count = 50,
    query: Count = 100,
    precision: list[str] = ["32-true", "bf16-mixed"],  # noqa: B006
    repeats: Count = 3,
    threads: Annotated[int, Range(1, 1024)] | None = None,
    device: Device = "auto",
    against: tuple[Literal["official"], str] | None = None,
    output: str | None = None,
) -> dict[str, Any]:
    """Measure a training task, an evaluation episode, the interpolation and a merge on this machine.

    Each runs in turn with plain eager code for the same formulas in float32 (a tensor per parameter, gates in full,
    no sharing of passes), once losses and gradients of both were compared, and with random masks from a seed in place
    of learned gates; a training task also with activation checkpointing, a merge also of the packed pool. The
    interpolation and a merge also run without compiled kernels, beside a copy that moves as many bytes as they must (a
    merge: that of the packed pool); the interpolation also as it is late in training, with most gates closed.
    Fine-tuning has no eager code; its 10 steps on the support set train all parameters, or adapters. Training,
    evaluation and fine-tuning stand beside the passes through the network that they are made of, as a plain module
    does them. Peak memory is that of a fresh process, on a GPU of its tensors there. Weights and images are random.

    Example: smat bench --what=[train] --repeats 1 --output bench.json

    Args:
        what: any of `train`, `evaluate`, `interpolation` (forward and backward), `merge` (for use), `fine-tune`.
        backbone: `vit-tiny`, `vit-small` or `vit-base`.
        image_size: side of the images in pixels, a multiple of 16.
        experts: number of experts.
        way: number of classes.
        support: number of support images.
        query: number of query images.
        precision: any of `32-true`, `bf16-mixed`, `auto` (the faster of the two); the eager code is always `32-true`.
        repeats: number of measured runs of each; the median counts.
        threads: number of processor threads; PyTorch's choice by default.
        device: device to measure on: `auto` (the GPU where there is one), `cpu` or `cuda`.
        against: `official` and the folder of a clone of the authors' repository: their code does the training task and
            the evaluation episode in turn with the others. On a processor it computes in float32, on a GPU in float16.
        output: JSON file for all numbers and a description of the machine.

    Returns:
        What is written to `output`.

    Raises:
        ConfigError: if a name is unknown, or sizes do not fit together.
    """
    on = pick_device(device)
    clone = against[1] if against else None
    sizes = (backbone, image_size, experts, way, support, query)
    problem = Problem(*sizes, threads or torch.get_num_threads(), str(on), clone)
    _check(problem, what, precision, repeats)
    path = check_writable(output) if output else None
    console, before = Console(), torch.get_num_threads()
    resolved = list(dict.fromkeys(resolve_precision(name, on) for name in precision))
    compiled = is_compiled(Workload(problem).pool, TuningConfig(), on)
    contenders = {w: _contenders(w, resolved, compiled, against is not None) for w in what}
    # not of a merge: to make a packed pool takes more memory than to use it; nor of a pool with gates closed, likewise
    apart = (COPY, PASSES, CLOSED)
    measured = {w: [c for c in contenders[w] if w != "merge" and not c.endswith(apart)] for w in what}
    memory = {w: {c: _peak_memory(problem, w, c, compiled) for c in measured[w]} for w in what}
    torch.set_num_threads(problem.threads)
    keep_freed_memory()
    try:
        workload = Workload(problem, compiled=compiled)
        agreement = workload.agreement()
        console.print(
            "largest relative differences from the eager code (float32): "
            + ", ".join(f"{name} {value:.1e}" for name, value in agreement.items())
        )
        seeded = Workload(problem, seeded=True)
        seconds = {
            w: _by_turns({c: (seeded if SEEDED in c else workload).run(w, c) for c in contenders[w]}, repeats, on)
            for w in what
        }
    finally:
        torch.set_num_threads(before)
    results = {w: {c: _summary(seconds[w], memory[w].get(c), c) for c in contenders[w]} for w in what}
    report = {
        "machine": machine(problem.threads, on),
        "problem": asdict(problem),
        "auto": resolve_precision("auto", on),
        "compiled": compiled,
        "agreement": agreement,
        "results": results,
    }
    if "interpolation" in what:
        copy = statistics.median(seconds["interpolation"][COPY])
        report["copied_gb_per_second"] = workload.bytes_of_interpolation / 1e9 / copy
    console.print(_table(report))
    if path:
        write_whole(path, json.dumps(report, indent=1) + "\n", keep=True)
    return report


def _check(problem: Problem, what: Sequence[str], precision: Sequence[str], repeats: int) -> None:
    for name, given, known in (
        ("what", what, WORK),
        ("precision", precision, get_args(Precision)),
        ("backbone", [problem.backbone], tuple(BACKBONES)),
    ):
        unknown = [g for g in given if g not in known]
        if unknown or not given:
            raise ConfigError(f"{name} {unknown or given} cannot be measured: choose from {', '.join(known)}")
    if problem.official:
        check_clone(Path(problem.official), torch.device(problem.device))
    if problem.image_size < 16 or problem.image_size % 16:
        raise ConfigError(f"image_size is {problem.image_size}; give a multiple of 16")
    if problem.way < 2 or problem.support < problem.way:
        raise ConfigError(
            f"{problem.support} support images for {problem.way} classes: give at least two classes and one image each"
        )
    for name, value in (("experts", problem.experts), ("query", problem.query), ("repeats", repeats)):
        if value < 1:
            raise ConfigError(f"{name} is {value}; give 1 or more")


def _contenders(what: str, precision: Sequence[str], compiled: bool, official: bool) -> list[str]:
    """Interpolation and merge are float32 in both precisions, so there is one of them."""
    if what in ("interpolation", "merge"):
        plain = [PLAIN] if compiled else []
        packed = [PACKED, PACKED_PLAIN] if compiled else [PACKED]
        others = [CLOSED, *plain, SEEDED] if what == "interpolation" else [*plain, *packed]
        return [EAGER, "32-true", *(f"32-true{other}" for other in others), COPY]
    others = {"train": (SEEDED, CHECKPOINTED), "evaluate": (SEEDED,), "fine-tune": (LORA,)}[what]
    theirs = [] if what == "fine-tune" else [EAGER, OFFICIAL] if official else [EAGER]
    return [*theirs, *precision, *(f"{name}{other}" for other in (*others, PASSES) for name in precision)]


def _by_turns(runs: dict[str, Callable[[], None]], repeats: int, device: torch.device) -> dict[str, list[float]]:
    """Seconds of each run, in turn, so that slow spells of the machine meet all alike; the first round warms up."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(repeats + 1):
        for name, run in runs.items():
            _wait_for(device)
            start = time.perf_counter()
            run()
            _wait_for(device)
            if turn:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _peak_memory(problem: Problem, what: str, contender: str, compiled: bool) -> float:
    """Peak memory in GB (10⁹ bytes) of a fresh process that does the work once."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as executor:
        return executor.submit(_do_once, problem, what, contender, compiled).result()


def _do_once(problem: Problem, what: str, contender: str, compiled: bool) -> float:
    keep_freed_memory()
    torch.set_num_threads(problem.threads)
    workload = Workload(problem, seeded=SEEDED in contender, compiled=compiled)
    if contender in (EAGER, OFFICIAL):
        workload.keep_alone(contender)
    workload.run(what, contender)()
    return peak_memory(torch.device(problem.device)) / 1e9


def _summary(
    seconds: dict[str, list[float]], memory: float | None, contender: str
) -> dict[str, float | list[float] | None]:
    median = statistics.median(seconds[contender])
    others = {name: rival for name, rival in _RIVALS.items() if rival in seconds}
    passes = contender.partition(",")[0] + PASSES
    return {
        "seconds": seconds[contender],
        "median_seconds": median,
        **{f"times_faster_than_{name}": statistics.median(seconds[other]) / median for name, other in others.items()},
        **({"times_the_passes": median / statistics.median(seconds[passes])} if passes in seconds else {}),
        "peak_memory_gb": memory,
    }


def _table(report: dict[str, Any]) -> Table:
    machine = report["machine"]
    instructions = f" ({', '.join(machine['instructions'])})" if machine["instructions"] else ""
    gpu = f"{machine['gpu']}, " if machine["gpu"] else ""
    table = Table(title=f"{gpu}{machine['cpu']}{instructions}, {machine['threads']} threads, torch {machine['torch']}")
    if "copied_gb_per_second" in report:
        table.caption = f"a copy reads and writes {report['copied_gb_per_second']:.1f} GB/s"
    others = [name for name in _RIVALS if name == "eager" or report["problem"]["official"]]
    times_faster = [f"times faster than {name}" for name in others]
    for heading in ("work", "how", "seconds (median)", *times_faster, "times the passes alone", "peak GB"):
        table.add_column(heading, justify="left" if heading in ("work", "how") else "right")
    for what, rows in report["results"].items():
        for contender, row in rows.items():
            times = [*(row.get(f"times_faster_than_{name}") for name in others), row.get("times_the_passes")]
            numbers = [f"{row['median_seconds']:.3f}", *map(_hundredths, times), _hundredths(row["peak_memory_gb"])]
            table.add_row(what, contender, *numbers)
    return table


def _hundredths(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"
