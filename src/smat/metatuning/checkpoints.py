"""Training state on disk: tensors in safetensors, the rest in JSON, written so that a crash leaves a whole one."""

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch.optim import SGD, AdamW, Optimizer

from smat.errors import CheckpointError
from smat.files import write_whole, writing
from smat.schema import read_json
from smat.weights import read_weights

_TENSOR = "__tensor__"
_STATE, _TENSORS = "state.json", "state.safetensors"
_KEPT: dict[type[Optimizer], tuple[str, ...]] = {
    SGD: ("momentum_buffer",),
    AdamW: ("step", "exp_avg", "exp_avg_sq"),
}
"""What optimizers keep of a parameter."""
_ANEW = "Start the run anew, in another folder"

STATES = ("state", "state.old", "state-before")
"""Folders within that of a run, any of which is a state, or becomes one."""


def replace_folder(write: Any, folder: Path) -> None:
    """Let `write(path)` fill a new folder, by `write_whole`, then put it in the place of `folder`.

    Whenever the process dies, `folder` is the old one, the new one or (between two renames) beside it as `.old`, which
    `recover_folder` puts back.

    Raises:
        ConfigError: it cannot be written.
    """
    fresh, old = folder.with_name(folder.name + ".new"), folder.with_name(folder.name + ".old")
    shutil.rmtree(fresh, ignore_errors=True)
    try:
        with writing(folder):
            fresh.mkdir(parents=True)
            write(fresh)
            shutil.rmtree(old, ignore_errors=True)
            if folder.exists():
                folder.rename(old)
            fresh.rename(folder)
            shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)  # half of it would take the room that a full disk needs


def recover_folder(folder: Path) -> bool:
    """Whether `folder` exists, after putting back what an interrupted `replace_folder` set aside."""
    old = folder.with_name(folder.name + ".old")
    if not folder.exists() and old.exists():
        old.rename(folder)
    return folder.exists()


def save_state(state: dict[str, Any], folder: Path) -> None:
    """Write a nested dict of tensors, numbers, strings, lists and dicts (keys: strings or integers), atomically."""
    tensors: dict[str, torch.Tensor] = {}
    packed = _pack(state, "", tensors)

    def write(path: Path) -> None:
        write_whole(path / _TENSORS, lambda file: save_file(tensors, file))
        write_whole(path / _STATE, json.dumps(packed))

    replace_folder(write, folder)


def load_state(folder: Path) -> dict[str, Any]:
    """The inverse of `save_state`.

    Raises:
        CheckpointError: no state there, or a damaged one.
    """
    if not recover_folder(folder):
        raise CheckpointError(f"{folder} holds no training state: there is nothing to resume; start without resume")
    packed = read_json(folder / _STATE, dict, CheckpointError, _ANEW)
    tensors = read_weights(folder / _TENSORS, CheckpointError, _ANEW)
    try:
        return _unpack(packed, tensors)
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"the training state in {folder} is damaged ({error!r}). {_ANEW}") from error


class KeptState:
    """The state of a run on disk, and beside it, while the run is in doubt, the last one before that.

    Args:
        folder: folder of the run.
    """

    def __init__(self, folder: Path) -> None:
        self.now, self.before = folder / STATES[0], folder / STATES[2]

    def save(self, state: dict[str, Any], doubtful: bool) -> None:
        """Write a state; a doubtful one does not take the place of the last one that was not."""
        if doubtful and not self.before.exists() and recover_folder(self.now):
            self.now.rename(self.before)
        save_state(state, self.now)
        if not doubtful:
            shutil.rmtree(self.before, ignore_errors=True)

    def load(self) -> dict[str, Any]:
        """The state to resume from; raises a `CheckpointError` where there is none, or a damaged one."""
        if not recover_folder(self.now) and self.before.exists():
            self.before.rename(self.now)
        return load_state(self.now)

    def drop_doubtful(self) -> bool:
        """Go back to the last state before doubts, where there were some; whether there is a state."""
        if self.before.exists():
            shutil.rmtree(self.now, ignore_errors=True)
            self.before.rename(self.now)
        return recover_folder(self.now)


def restore_optimizer(optimizer: Optimizer, state: dict[str, Any], name: str) -> None:
    """Give an optimizer the numbers that a state has of its parameters; its settings stay its own.

    Raises:
        CheckpointError: the state is of other parameters; the message has the optimizer's name.
    """
    numbers, parameters = state.get("state"), [p for group in optimizer.param_groups for p in group["params"]]
    ours = optimizer.state_dict()
    if not isinstance(numbers, dict) or not set(numbers) <= set(range(len(parameters))):
        raise CheckpointError(f"the state of optimizer {name} is not of its {len(parameters)} parameters")
    for index, values in numbers.items():
        shapes = {key: () if key == "step" else tuple(parameters[index].shape) for key in _KEPT[type(optimizer)]}
        found = {key: tuple(value.shape) for key, value in values.items() if value is not None}
        if found and found != shapes:  # a parameter that has had no gradient yet has no numbers
            raise CheckpointError(f"the state of optimizer {name} does not fit its parameter {index}")
    optimizer.load_state_dict({"state": numbers, "param_groups": ours["param_groups"]})


def _pack(value: Any, path: str, tensors: dict[str, torch.Tensor]) -> Any:
    if isinstance(value, torch.Tensor):
        tensors[path] = value.detach().cpu().contiguous().clone()
        return {_TENSOR: path}
    if isinstance(value, dict):
        # pairs, because JSON would turn the integer keys of optimizer states into strings
        return {"pairs": [[key, _pack(item, f"{path}/{key}", tensors)] for key, item in value.items()]}
    if isinstance(value, list | tuple):
        return [_pack(item, f"{path}/{number}", tensors) for number, item in enumerate(value)]
    return value


def _unpack(value: Any, tensors: dict[str, torch.Tensor]) -> Any:
    if isinstance(value, dict):
        if _TENSOR in value:
            return tensors[value[_TENSOR]]
        return {key: _unpack(item, tensors) for key, item in value["pairs"]}
    if isinstance(value, list):
        return [_unpack(item, tensors) for item in value]
    return value
