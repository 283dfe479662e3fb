"""`smat bench`: time and memory of the main computations, next to a plain eager implementation of the same formulas."""

import json
import multiprocessing
import platform
import resource
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from smat.errors import ConfigError
from smat.process import keep_freed_memory
from smat.recipes.bench.setup import BACKBONES, EAGER, Problem, Setup

WORK = ("train", "evaluate", "interpolation")
PRECISIONS = ("32-true", "bf16-mixed")


def bench(
    *,
    what: list[str] = ["train", "evaluate", "interpolation"],  # noqa: B006
    backbone: str = "vit-small",
    image_size: int = 128,
    experts: int = 8,
    way: int = 10,
    support: int = 50,
    query: int = 100,
    precision: list[str] = ["32-true", "bf16-mixed"],  # noqa: B006
    repeats: int = 3,
    threads: int | None = None,
    output: str | None = None,
) -> dict[str, Any]:
    """Measure a training task, an evaluation episode and the interpolation on this machine's processor.

    Each is run by turns with a plain eager implementation of the same formulas in float32 (a tensor for each parameter,
    gates in full, no sharing of passes), after a comparison of both losses and gradients. Peak memory is that of a
    process of its own. Weights and images are random.

    Example: smat bench --what=[train] --repeats 1 --output bench.json

    Args:
        what: any of train, evaluate, interpolation (forward and backward).
        backbone: vit-tiny, vit-small or vit-base.
        image_size: side of the images in pixels, a multiple of 16.
        experts: number of experts.
        way: number of classes.
        support: number of support images.
        query: number of query images.
        precision: any of 32-true, bf16-mixed; the eager implementation is always 32-true.
        repeats: measured runs of each; the median counts.
        threads: processor threads; those torch takes by itself if not given.
        output: a JSON file for all numbers and a description of the machine.

    Returns:
        What is written to `output`.

    Raises:
        ConfigError: an unknown name, or sizes that do not fit together.
    """
    problem = Problem(backbone, image_size, experts, way, support, query, threads or torch.get_num_threads())
    _check(problem, what, precision, repeats)
    console, before = Console(), torch.get_num_threads()
    contenders = {w: _contenders(w, precision) for w in what}
    memory = {w: {c: _peak_memory(problem, w, c) for c in contenders[w]} for w in what}
    torch.set_num_threads(problem.threads)
    keep_freed_memory()
    try:
        setup = Setup(problem)
        agreement = setup.agreement()
        console.print(
            "largest relative differences from the eager implementation (float32): "
            + ", ".join(f"{name} {value:.1e}" for name, value in agreement.items())
        )
        seconds = {w: _by_turns({c: setup.run(w, c) for c in contenders[w]}, repeats) for w in what}
    finally:
        torch.set_num_threads(before)
    results = {w: {c: _summary(seconds[w], memory[w], c) for c in contenders[w]} for w in what}
    report = {
        "machine": machine(problem.threads),
        "problem": asdict(problem),
        "agreement": agreement,
        "results": results,
    }
    console.print(_table(report))
    if output is not None:
        Path(output).write_text(json.dumps(report, indent=1) + "\n")
    return report


def _check(problem: Problem, what: Sequence[str], precision: Sequence[str], repeats: int) -> None:
    for name, given, known in (
        ("what", what, WORK),
        ("precision", precision, PRECISIONS),
        ("backbone", [problem.backbone], tuple(BACKBONES)),
    ):
        unknown = [g for g in given if g not in known]
        if unknown or not given:
            raise ConfigError(f"{name} {unknown or given} cannot be measured: choose from {', '.join(known)}")
    if problem.image_size < 16 or problem.image_size % 16:
        raise ConfigError(f"image_size is {problem.image_size}; give a multiple of 16")
    if problem.way < 2 or problem.support < problem.way:
        raise ConfigError(
            f"{problem.support} support images for {problem.way} classes: give at least two classes and one image each"
        )
    for name, value in (("experts", problem.experts), ("query", problem.query), ("repeats", repeats)):
        if value < 1:
            raise ConfigError(f"{name} is {value}; give 1 or more")


def _contenders(what: str, precision: Sequence[str]) -> list[str]:
    """The interpolation is float32 in both precisions, so there is one of it."""
    return [EAGER, "32-true"] if what == "interpolation" else [EAGER, *precision]


def _by_turns(runs: dict[str, Callable[[], None]], repeats: int) -> dict[str, list[float]]:
    """Seconds of each run, by turns, so that a slower spell of the machine meets all alike; one round to warm up."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(repeats + 1):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            if turn:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def _peak_memory(problem: Problem, what: str, contender: str) -> float:
    """Peak memory in GB (10⁹ bytes) of a fresh process that does the work once."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as executor:
        return executor.submit(_do_once, problem, what, contender).result()


def _do_once(problem: Problem, what: str, contender: str) -> float:
    keep_freed_memory()
    torch.set_num_threads(problem.threads)
    setup = Setup(problem)
    if contender == EAGER:
        setup.keep_eager_alone()
    setup.run(what, contender)()
    return _own_peak() / 1e9


def _own_peak() -> int:
    """Bytes. Linux hands a process the `ru_maxrss` of the one that started it, so its own mark is read there."""
    status = Path("/proc/self/status")
    if status.exists():
        return 1024 * int(status.read_text().partition("VmHWM:")[2].split()[0])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _summary(
    seconds: dict[str, list[float]], memory: dict[str, float], contender: str
) -> dict[str, float | list[float]]:
    median = statistics.median(seconds[contender])
    return {
        "seconds": seconds[contender],
        "median_seconds": median,
        "times_faster_than_eager": statistics.median(seconds[EAGER]) / median,
        "peak_memory_gb": memory[contender],
    }


def machine(threads: int) -> dict[str, Any]:
    """What the numbers depend on besides the code."""
    cpu_info = Path("/proc/cpuinfo")
    lines = cpu_info.read_text().splitlines() if cpu_info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "cpu": names[0] if names else platform.processor() or platform.machine(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "threads": threads,
        "platform": platform.platform(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "smat": version("smat"),
    }


def _table(report: dict[str, Any]) -> Table:
    machine = report["machine"]
    table = Table(title=f"{machine['cpu']}, {machine['threads']} threads, torch {machine['torch']}")
    for heading in ("work", "how", "seconds (median)", "times faster", "peak GB"):
        table.add_column(heading, justify="left" if heading in ("work", "how") else "right")
    for what, rows in report["results"].items():
        for contender, row in rows.items():
            table.add_row(
                what,
                contender,
                f"{row['median_seconds']:.3f}",
                f"{row['times_faster_than_eager']:.2f}",
                f"{row['peak_memory_gb']:.2f}",
            )
    return table
