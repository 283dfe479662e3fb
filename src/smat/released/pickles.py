"""PyTorch's own files, read without running what is in them."""

import argparse
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from smat.errors import CheckpointError, one_line
from smat.weights import check_finite

_ADVICE = "Copy or download it again"


def read_pickle(path: Path) -> dict[str, Any]:
    """What a `.pt`, `.pth` or `.bin` file holds: tensors and plain data, on the CPU.

    Of code, only what PyTorch calls safe is run, and `argparse.Namespace`, in which scripts keep their options.

    Raises:
        CheckpointError: it cannot be read, or wants other code to run.
    """
    try:
        with torch.serialization.safe_globals([argparse.Namespace]):
            found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # of damaged pickles, whatever their damage leads to
        reason = one_line(error)[:200]
        if isinstance(error, pickle.UnpicklingError) and "weights_only" in str(error):
            raise CheckpointError(
                f"'{path}' wants code to run when it is read, which smat does not: {reason}. Save its state_dict alone"
            ) from error
        raise CheckpointError(f"'{path}' cannot be read: {reason or type(error).__name__}. {_ADVICE}") from error
    if not isinstance(found, Mapping):
        raise CheckpointError(f"'{path}' holds a {type(found).__name__}; expected a state_dict, or a dict with one")
    return dict(found)


def read_state(path: Path) -> dict[str, Tensor]:
    """The state_dict in such a file: under `model`, `state_dict`, `teacher` or `student`, or the file itself.

    Raises:
        CheckpointError: it cannot be read, or there are no tensors, or numbers that are not finite.
    """
    found = read_pickle(path)
    inner = next((found[key] for key in ("model", "state_dict", "teacher", "student") if key in found), found)
    state = {str(k): v for k, v in inner.items() if isinstance(v, Tensor)} if isinstance(inner, Mapping) else {}
    if not state:
        raise CheckpointError(f"'{path}' has no tensors by name: expected a state_dict, or a dict with one as `model`")
    check_finite(state.items(), f"'{path}'", CheckpointError, _ADVICE)
    return state
