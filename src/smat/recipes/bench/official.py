"""The authors' code, from a clone of it: the same task by their learner.

Golden tests show that both compute the same; here only their time and memory are of interest. Their numbers are fresh
ones, around the frozen network of the pool that they are measured against.
"""

import importlib
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import torch
import yaml
from torch import Tensor, nn

from smat.episodes import Episode
from smat.errors import ConfigError
from smat.experts import SparseInterpolatedExperts

_SETTINGS = Path("configs", "md_smat_vits_dino.yaml")
_LEARNER = "src.learners.meta_learners.sparse_interpolated_experts"
_NETWORK = "src.learners.base_learners.vit"
_ON_GPUS = '[f"cuda:{i}" for i in range(torch.cuda.device_count())]'


class OfficialExperts:
    """The authors' learner around a pool's frozen network.

    Where the device is no GPU, the one expression of their learner that lists the GPUs is read as the processor. On a
    GPU passes are in float16, as their configuration has them; elsewhere in float32.

    Args:
        clone: folder of their repository.
        pool: whose frozen network theirs starts from, and whose number of experts it has.
        episode: the task, on the device.

    Raises:
        ConfigError: it is no clone of their repository, or something that it imports is not installed.
    """

    def __init__(self, clone: Path, pool: SparseInterpolatedExperts, episode: Episode) -> None:
        self.episode, self.device = episode, episode.support.device
        settings = _settings(clone)
        settings.meta_learner.sparsity.num_experts = pool.config.experts
        with _imported(clone, on_gpus=self.device.type == "cuda") as (network, learner):

            class Network(network.VisionTransformer):
                def _get_backbone(self, args: Any) -> nn.Module:
                    return pool.plain_network(pool.pretrained).get_submodule("network").cpu()

            self.learner = learner.SparseInterpolatedExperts(Network(settings), settings).to(self.device)

    def task(self) -> Tensor:
        """A training task, forward and backward; its loss."""
        self.learner.train()
        with self._autocast():
            found = self.learner(*self._support, self.episode.query, self.episode.query_labels)
        loss = torch.stack([term.reshape(()) for term in found["outer_loss"].values()]).sum()
        loss.backward()
        return loss.detach()

    @torch.no_grad()
    def evaluate(self) -> Tensor:
        """An evaluation episode; its query logits."""
        self.learner.eval()
        with self._autocast():
            return self.learner(*self._support, self.episode.query, None)["y_q_pred"][-1]

    def clear(self) -> None:
        """Forget all gradients."""
        self.learner.zero_grad()
        self.learner.lagrangian_multiplier.grad = None  # which is no parameter of theirs

    @property
    def _support(self) -> tuple[Tensor, Tensor]:
        return self.episode.support, self.episode.support_labels

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.float16, enabled=self.device.type == "cuda")


def check_clone(clone: Path, device: torch.device) -> None:
    """Raise a `ConfigError`, as `OfficialExperts` does, where a folder is no clone that can be used."""
    _settings(clone)
    with _imported(clone, on_gpus=device.type == "cuda"):
        pass


def _settings(clone: Path) -> Any:
    """The settings of their ViT-S, as attributes."""
    file = clone / _SETTINGS
    if not file.is_file():
        raise ConfigError(f"'{clone}' has no {_SETTINGS}: give the folder of a clone of the authors' repository")
    return _attributes(yaml.safe_load(file.read_text()))


def _attributes(value: Any) -> Any:
    if isinstance(value, dict):
        return SimpleNamespace(**{name: _attributes(each) for name, each in value.items()})
    return value


@contextmanager
def _imported(clone: Path, on_gpus: bool) -> Iterator[tuple[ModuleType, ModuleType]]:
    """Their modules of networks and of the learner; within the block, they find each other.

    Their packages are entered without what they do when imported, which takes libraries that are not needed here.
    Nothing is written into the clone.
    """
    before = {name: module for name, module in sys.modules.items() if name.split(".")[0] == "src"}
    bytecode, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    for name in before:
        del sys.modules[name]
    try:
        for name in ("src", "src.learners", "src.learners.base_learners", "src.learners.meta_learners"):
            package = sys.modules[name] = ModuleType(name)
            package.__path__ = [str(clone.joinpath(*name.split(".")))]
        network = importlib.import_module(_NETWORK)
        learner = sys.modules[_LEARNER] = ModuleType(_LEARNER)
        file = clone.joinpath(*_LEARNER.split(".")).with_suffix(".py")
        text = file.read_text()
        exec(compile(text if on_gpus else text.replace(_ON_GPUS, '["cpu"]'), file, "exec"), vars(learner))
        _silence()
        yield network, learner
    except (ImportError, OSError) as error:
        raise ConfigError(
            f"the authors' code in '{clone}' cannot be imported: {error}. It must be their whole repository, and what "
            "it imports must be installed, such as dacite"
        ) from error
    finally:
        for name in [name for name in sys.modules if name.split(".")[0] == "src"]:
            del sys.modules[name]
        sys.modules.update(before)
        sys.dont_write_bytecode = bytecode


def _silence() -> None:
    """Their loggers say what they make, line by line."""
    for name in [name for name in logging.root.manager.loggerDict if name.split(".")[0] == "src"]:
        logging.getLogger(name).setLevel(logging.ERROR)
