"""A process that has imported what takes long and does each case in a fork: a crash or a hang is only that case's.

Beside the tests, it has no checks of shapes, and one thread. `Forks` is what tests use; the module run as a program is
the process.
"""

import gc
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

_MEMORY = 4 * 2**30  # bytes that a case may ask for


@dataclass(frozen=True)
class Outcome:
    """How a case ended.

    Attributes:
        status: exit status: 0, 2 for an error of smat, 70 for any other; minus the number of a signal.
        said: what it printed.
    """

    status: int
    said: str

    @property
    def well(self) -> bool:
        """Whether it ended as every command should: done, or refused in a few hundred characters."""
        # 1 is the finding of a command that looks for faults
        return self.status in (0, 1) or (self.status == 2 and "Traceback" not in self.said and len(self.said) < 2000)


class Forks:
    """The process, started when the first case comes.

    Args:
        targets: name of the module, on the path of the tests, with a function for each kind of case.
        folder: where cases find the files that the targets have made.
        seconds: of computing, which a case may take; one that waits for something else is ended after as many minutes.
        environment: variables of the process, beside those of the tests.
    """

    def __init__(self, targets: str, folder: Path, seconds: int = 5, **environment: str) -> None:
        environment = os.environ | environment
        helpers = str(Path(__file__).parent)
        path = [helpers, str(Path(__file__).parents[1] / "fuzz"), *filter(None, [environment.get("PYTHONPATH")])]
        environment |= {"PYTHONPATH": os.pathsep.join(path), "OMP_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            [sys.executable, __file__, targets, str(folder), str(seconds)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
            cwd=folder,
        )
        self._answer()  # it is ready

    def _answer(self) -> Any:
        assert self._process.stdout
        return json.loads(self._process.stdout.readline())

    def run(self, target: str, **arguments: Any) -> Outcome:
        """Do a case: call the target's function with the arguments, plain data."""
        assert self._process.stdin
        print(json.dumps([target, arguments]), file=self._process.stdin, flush=True)
        return Outcome(**self._answer())

    def close(self) -> None:
        """End the process."""
        self._process.communicate()


def _serve(name: str, folder: Path, seconds: int) -> None:
    """Answer each line of the input, a target and its arguments, with how it ended."""
    answers = os.fdopen(os.dup(1), "w")  # what targets print goes elsewhere
    os.dup2(2, 1)
    targets = import_module(name)
    targets.prepare(folder)
    gc.freeze()  # so that a fork does not copy what it only looks through
    print("{}", file=answers, flush=True)
    for line in sys.stdin:
        target, arguments = json.loads(line)
        with tempfile.TemporaryFile() as said:
            child = os.fork()
            if not child:
                _do(getattr(targets, target), arguments, said.fileno(), seconds)
            _, status = os.waitpid(child, 0)
            said.seek(0)
            outcome = {"status": os.waitstatus_to_exitcode(status), "said": said.read().decode(errors="replace")}
        print(json.dumps(outcome), file=answers, flush=True)


def _do(function: Callable[..., None], arguments: dict[str, Any], output: int, seconds: int) -> None:
    from smat.errors import SmatError

    os.dup2(output, 1)
    os.dup2(output, 2)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * os.sysconf("SC_PAGE_SIZE") + _MEMORY,) * 2)
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.alarm(60 * seconds)
    status = 0
    try:
        function(**arguments)
    except SystemExit as stop:
        status = stop.code if isinstance(stop.code, int) else 0 if stop.code is None else 70
    except SmatError as error:
        print(error)
        status = 2
    except BaseException:
        traceback.print_exc()
        status = 70
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    _serve(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
