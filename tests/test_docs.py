"""The documentation: its examples, run outside the repository with the built package, and the pages that are made."""

import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from examples import Example, commands, differs, example, examples, write
from forks import Forks
from smat.cli.commands import COMMANDS
from stand_in_hub import stand_in_hub

ROOT = Path(__file__).resolve().parents[1]
PAGES = ("python", "extending")
EXAMPLES = {f"{page}: {head}": made for page in PAGES for head, made in examples(ROOT / "docs" / f"{page}.md").items()}


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the built wheel's content. It is built from a copy: a build leaves files beside the sources."""
    copy, built = tmp_path_factory.mktemp("copy"), tmp_path_factory.mktemp("installed")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    shutil.copytree(ROOT / "src" / "smat", copy / "src" / "smat", ignore=shutil.ignore_patterns("__pycache__"))
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", str(copy)]
    subprocess.run([sys.executable, "-m", "pip", "wheel", *options, str(copy)], check=True)
    (wheel,) = copy.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(built)
    return built


@pytest.fixture(scope="session")
def environment(installed: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Variables with which commands find the installed package, and a hub of their own in place of the real one."""
    with stand_in_hub() as (address, _):
        yield {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(installed),
            "HF_ENDPOINT": address,
            "HF_HOME": str(tmp_path_factory.mktemp("hub")),
            "HF_TOKEN": "hf_example",
            "COLUMNS": "100",
        }


@pytest.fixture(scope="session")
def forks(environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forks]:
    forks = Forks("started", tmp_path_factory.mktemp("forks"), seconds=300, **environment)
    yield forks
    forks.close()


def started(command: str, folder: Path, environment: dict[str, str]) -> str:
    """What a command prints, in a process of its own."""
    done = subprocess.run(
        ["bash", "-euc", command], cwd=folder, env=os.environ | environment, text=True, capture_output=True, check=False
    )
    assert done.returncode == 0, f"$ {command}\n{done.stdout}{done.stderr}"
    return done.stdout


def forked(command: str, folder: Path, forks: Forks) -> str:
    """What a command prints, `python` or `smat`, in a fork: most of its time would go into importing torch."""
    output = folder.parent / "printed"
    arguments = shlex.split(command.replace("\\\n", ""))
    outcome = forks.run("program", arguments=arguments, folder=str(folder), output=str(output))
    printed = output.read_text(encoding="utf-8")
    assert outcome.status == 0, f"$ {command}\n{printed}{outcome.said}"
    return printed


def test_commands_use_the_built_wheel(
    installed: Path, environment: dict[str, str], forks: Forks, tmp_path: Path
) -> None:
    folder = tmp_path / "work"
    write({"where.py": "import smat, sys; print(smat.__file__, sys.path)"}, folder)
    for printed in (started("python where.py", folder, environment), forked("python where.py", folder, forks)):
        assert printed.startswith(str(installed))
        assert str(ROOT / "tests") not in printed
    assert started("smat --version", folder, environment).split()[0] == "smat"
    assert forked("smat --version", folder, forks) == started("smat --version", folder, environment)
    assert (installed / "smat" / "configs" / "methods" / "smat.yaml").is_file()


@pytest.mark.parametrize("name", EXAMPLES)
def test_example(name: str, environment: dict[str, str], forks: Forks, tmp_path: Path) -> None:
    chosen, folder = EXAMPLES[name], tmp_path / "work"
    assert not chosen.loose, "nothing runs a block without a comment in its first line that names a file"
    folder.mkdir()
    write(chosen.files, folder)
    for command, expected in chosen.commands:
        ours = command.startswith(("python ", "smat "))
        printed = forked(command, folder, forks) if ours else started(command, folder, environment)
        difference = differs(expected, printed)
        assert not difference, f"$ {command}\n{difference}"


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_file_of_an_example_is_used(name: str) -> None:
    chosen = EXAMPLES[name]
    for path in chosen.files:
        others = [text for other, text in chosen.files.items() if other != path]
        used = "\n".join([*others, *(command for command, _ in chosen.commands)])
        module = path.removesuffix(".py").replace("/", ".")
        assert path in used or module in used, f"no command or other file uses {path}"


def test_what_a_section_is_made_of() -> None:
    made = example(
        "Text.\n```python\n# lab/one.py\nx = 1\n```\n```console\n$ python lab/one.py \\\n    --more\n1\n$ ls\n```\n"
        "```python\ny = 2\n```\n```\nsmat quickstart\n```\n"
    )
    assert made == Example(
        files={"lab/one.py": "# lab/one.py\nx = 1\n"},
        commands=[("python lab/one.py \\\n    --more", "1\n"), ("ls", "")],
        loose=["y = 2\n"],
    )
    with pytest.raises(ValueError, match="begins with a command"):
        commands("ls\n")


def test_what_is_printed_may_differ_where_the_page_has_dots() -> None:
    assert not differs("accuracy ... %\n", "accuracy 81.2 %\n")
    assert not differs("", "anything\n")
    assert differs("accuracy ... %\n", "81.2 %\n")


@pytest.fixture(scope="module")
def command_line() -> str:
    return runpy.run_path(str(ROOT / "scripts" / "docs_hook.py"))["command_line"]()


def options(page: str) -> list[str]:
    return re.findall(r"^\| `(--[^ `]+)", page, flags=re.MULTILINE)


def test_the_page_on_the_command_line_has_every_command_and_writes_options_with_dashes(command_line: str) -> None:
    assert re.findall(r"^## smat (.*)$", command_line, flags=re.MULTILINE) == list(COMMANDS)
    assert {"--learning-rate-from", "--tuning.target-sparsity", "--max-side"} <= set(options(command_line))
    assert not [option for option in options(command_line) if "_" in option]
    assert "| `--way` | `5` |" in command_line


@pytest.mark.parametrize(
    "page", [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))], ids=lambda page: page.name
)
def test_options_on_a_page_exist(page: Path, command_line: str) -> None:
    others = r"^#SBATCH .*$|torchrun .*(?:\\\n.*)?-m smat.cli|^docker .*(?:\\\n)?"
    text = re.sub(others, "", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    named = re.findall(r"(?<![\w-])--[a-z][\w.-]*[a-z]", text)
    elsewhere = {"--shm-size", "--pool", "--constraint"}  # of `docker run`, scripts/fit_prior.py, and pip
    known = {*options(command_line), "--config", "--help", "--help-all", "--print-config", *elsewhere}
    # what follows an option that takes a class, such as --head.shrinkage, is a setting of the class
    assert not {name for name in named if name not in known and name.rpartition(".")[0] not in known}
