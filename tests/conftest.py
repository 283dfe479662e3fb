"""Shared fixtures. Shapes in the package's annotations are checked while the tests run."""

import os
from functools import lru_cache
from importlib import import_module
from pathlib import Path

import datasets
import hypothesis
import pytest
import torch

from checks import check_shapes
from shared import SHARED
from small_images import write_parquet

# What smat's modules import is compiled anew while the hook is at work, unless it is there already.
for library in (
    "kornia",
    "lightning.pytorch",
    "peft",
    "sklearn.linear_model",
    "torchmetrics",
    "transformers.modeling_utils",
):
    import_module(library)
check_shapes()
# A sixth of the tests' time went into drawings, most of which had been drawn before.
pocket = import_module("smat.domains.pocket.domain")
pocket.drawing = lru_cache(20_000)(pocket.drawing)
torch.set_num_threads(1)
os.environ["OMP_NUM_THREADS"] = "1"  # in processes that tests start: these share the cores with other tests

# Examples of each property: `make test-all` looks at 15 times as many.
hypothesis.settings.register_profile("ci", max_examples=40, deadline=None)
hypothesis.settings.register_profile("full", max_examples=600, deadline=None)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--golden", type=Path, default=SHARED / "golden", help="folder of golden cases")


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("hf_cache"))


@pytest.fixture
def parquet(tmp_path: Path) -> Path:
    """8 classes, `c0`..`c7`, of 10 images each; the rows go through the classes in turn."""
    return write_parquet(tmp_path / "small.parquet", [i % 8 for i in range(80)], [f"c{i}" for i in range(8)])
