"""The process: its memory, its threads, the versions of what it runs, and worker processes beside it."""

import ctypes
import multiprocessing
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from functools import partial
from importlib.metadata import version
from multiprocessing.connection import wait
from multiprocessing.context import BaseContext
from multiprocessing.synchronize import Event
from typing import Any, TypeVar

import torch

import smat

# Parameters of glibc's malloc (malloc.h).
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4
_AHEAD = 2  # tasks in work or waiting for their turn, per process

Task = TypeVar("Task")
Result = TypeVar("Result")


def keep_freed_memory() -> None:
    """Have this process keep freed memory for its next use; without glibc nothing happens.

    By default glibc asks the system for every large block and gives it back when it is freed. The system clears each
    page anew: for activations, needed for milliseconds, that takes as long as the computation with them.
    """
    if sys.platform == "linux" and hasattr(library := ctypes.CDLL(None), "gnu_get_libc_version"):
        library.mallopt(_M_MMAP_MAX, 0)
        library.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


def leave_cores_to(workers: int) -> None:
    """Compute with fewer threads, at least one, so that worker processes have cores of their own.

    Threads of one computation wait for each other: where a worker takes one's core, all stand still.
    """
    torch.set_num_threads(max(1, torch.get_num_threads() - workers))


def versions(*packages: str) -> dict[str, str]:
    """Versions of smat and of other packages, by name, for the records that numbers are kept with.

    smat's is its own: the distribution has another name, and a source tree on the path has none.
    """
    return {"smat": smat.__version__} | {name: version(name) for name in packages}


def in_workers(make: "partial[Callable[[Task], Result]]", tasks: Sequence[Task], processes: int) -> Generator[Result]:
    """The results of tasks, in their order, computed by worker processes.

    Only a few tasks are computed ahead of the one whose result is awaited. When the generator is closed, workers stop
    at the next task, or where a task asks `stop_requested`.

    Args:
        make: called once in each process, gives the function that is applied to the tasks; can be pickled, as can tasks
            and results.
        tasks: what to compute.
        processes: number of worker processes; 0: everything is computed in this process.

    Raises:
        BrokenProcessPool: a worker process died.
    """
    if not processes:
        yield from map(make(), tasks)
        return
    context = _context(make.func.__module__)
    stop = context.Event()
    pool = ProcessPoolExecutor(min(processes, len(tasks) or 1), context, _start_worker, (stop, make))
    waiting: deque[Future[Result]] = deque()
    try:
        for task in tasks:
            waiting.append(pool.submit(_apply, task))
            if len(waiting) > _AHEAD * processes:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        stop.set()
        pool.shutdown(cancel_futures=True)


def stop_requested() -> bool:
    """Whether this is a worker process whose results nobody waits for any more."""
    return _stop is not None and _stop.is_set()


_stop: Event | None = None
_work: Callable[[Any], Any] | None = None


def _context(module: str) -> BaseContext:
    """How worker processes are started: by a process that has imported the module already, where the system can."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([module])
    return context


def _start_worker(stop: Event, make: Callable[[], Callable[[Any], Any]]) -> None:
    global _stop, _work
    _stop = stop
    # Ctrl-C is for the first process: its workers go on until `stop` is set, or until that process is no more.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=lambda: (wait([parent.sentinel]), os._exit(1)), daemon=True).start()
    _work = make()


def _apply(task: Any) -> Any:
    assert _work is not None  # set when the process started
    return _work(task)
