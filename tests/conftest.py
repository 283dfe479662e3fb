"""Shared fixtures. Shapes in the package's annotations are checked while the tests run."""

from pathlib import Path

import pytest
import torch
from jaxtyping import install_import_hook

install_import_hook("smat", "beartype.beartype")
torch.set_num_threads(1)

SHARED = Path(__file__).resolve().parents[2] / "shared"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--golden", type=Path, default=SHARED / "golden", help="folder of golden cases")
