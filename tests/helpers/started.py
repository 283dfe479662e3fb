"""Programs that are run in a fork (see `forks`): as in a process of their own, but with the libraries imported already.

Importing that takes longer than most of what tests run. smat itself is not among it: each program imports it anew.
"""

import os
import runpy
import signal
import sys
from importlib import import_module
from pathlib import Path

LIBRARIES = (
    "datasets",
    "jsonargparse",
    "kornia",
    "lightning",
    "matplotlib.figure",
    "scipy.stats",
    "sklearn.linear_model",
    "torch.utils.tensorboard",
    "transformers.models.vit.modeling_vit",
)


def prepare(folder: Path) -> None:
    """Import the libraries, and forget where the tests lie: their modules are none that a program may import."""
    for name in LIBRARIES:
        import_module(name)
    assert "smat" not in sys.modules
    tests = Path(__file__).resolve().parents[1]
    sys.path[:] = [entry for entry in sys.path if not Path(entry).resolve().is_relative_to(tests)]
    path = [entry for entry in os.environ["PYTHONPATH"].split(os.pathsep) if entry in sys.path]
    os.environ["PYTHONPATH"] = os.pathsep.join(path)


def program(arguments: list[str], folder: str, output: str) -> None:
    """Run `python FILE ...` or `smat ...` in a folder; what it prints goes into a file, warnings and errors do not."""
    os.chdir(folder)
    with open(output, "wb") as file:
        os.dup2(file.fileno(), 1)
    name, *rest = arguments
    if name == "python":
        sys.argv = rest
        sys.path.insert(0, str(Path(folder, rest[0]).parent))
        runpy.run_path(rest[0], run_name="__main__")
    else:
        assert name == "smat"
        sys.argv = arguments
        runpy.run_module("smat.cli", run_name="__main__")


def killed_training(arguments: list[str], steps: int) -> None:
    """Run `smat train ...`, which is killed when it has logged so many optimizer steps."""
    from smat.cli import main
    from smat.recipes.training_log import TrainingLog

    log, logged = TrainingLog.step, []

    def step(self, report):
        log(self, report)
        logged.append(report)
        if len(logged) == steps:
            os.kill(os.getpid(), signal.SIGKILL)

    TrainingLog.step = step
    main(arguments)
