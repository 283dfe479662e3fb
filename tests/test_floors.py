"""The house rules of CONTRIBUTING.md: imports only go down the floors, and modules do not import in circles."""

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "smat"
RULES = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
FLOORS = [line.split() for line in RULES.split("```\n")[1].splitlines()]
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}


def imports(path: Path) -> set[str]:
    """Modules of smat that a file imports, also within functions; those for type checkers alone left out."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    skipped = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for inner in ast.walk(node)
    }
    found: set[str] = set()
    for node in ast.walk(tree):
        if node in skipped:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return {name for name in found if name.split(".")[0] == "smat" and located(name)}


def located(module: str) -> Path | None:
    path = SOURCE.joinpath(*module.split(".")[1:])
    return next((p for p in (path.with_suffix(".py"), path / "__init__.py") if p.is_file()), None)


def named(path: Path) -> str:
    parts = path.relative_to(SOURCE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room(module: str) -> str:
    return [*module.split("."), "__init__"][1]


FILES = sorted(SOURCE.rglob("*.py"))


def test_every_room_has_a_floor() -> None:
    assert {room(named(path)) for path in FILES} <= set(FLOOR)


@pytest.mark.parametrize("path", FILES, ids=[named(path) for path in FILES])
def test_imports_only_go_down(path: Path) -> None:
    own = room(named(path))
    wrong = {
        other for other in imports(path) if room(other) not in (own, "__init__") and FLOOR[room(other)] <= FLOOR[own]
    }
    assert not wrong


def test_no_circles() -> None:
    # A package's __init__ only gathers names: importing it stands for what is taken from it, which is a module too.
    graph = {named(path): imports(path) - {named(path)} for path in FILES if path.name != "__init__.py"}
    try:
        tuple(TopologicalSorter(graph).static_order())
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))
