"""Shared fixtures. Shapes in the package's annotations are checked while the tests run."""

from pathlib import Path

import pytest
import torch
from jaxtyping import install_import_hook

from shared import SHARED

install_import_hook("smat", "beartype.beartype")
torch.set_num_threads(1)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--golden", type=Path, default=SHARED / "golden", help="folder of golden cases")
