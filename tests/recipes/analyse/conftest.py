"""A run to analyse, and fewer formats of figures."""

import pytest

from tiny_runs import save_run


@pytest.fixture(autouse=True)
def _one_format(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("smat.recipes.figure_style.FORMATS", ("svg",))


@pytest.fixture(scope="package")
def run(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_run(tmp_path_factory.mktemp("runs") / "first")
