"""Networks that were tuned from a pre-trained one, each as an expert of a pool over it: its task vector."""

import copy
import json
import logging
import math
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors.torch import save_file
from torch import Tensor

from smat.backbones import Backbone, load
from smat.backbones.checkpoint import Checkpoint
from smat.backbones.loading import POCKET
from smat.backbones.positions import PositionRule, resize_positions
from smat.errors import BackboneError, CheckpointError
from smat.experts import PoolConfig, RouterConfig, SparseInterpolatedExperts, TemperatureSchedule
from smat.flat import Layout
from smat.released.adapters import read_adapter
from smat.released.pickles import read_state
from smat.released.vit_names import is_vit, renamed, vit_of
from smat.weights import read_weights

_HEAD = ("scale_cls", "bias")  # of PMF's cosine
_FILES = (".safetensors", ".pt", ".pth", ".bin")
_ADVICE = "Copy or download it again"

_log = logging.getLogger(__name__)


def read_tuned(
    pretrained: str,
    tuned: Sequence[str] = (),
    adapters: Sequence[str] = (),
    *,
    image_size: int | None = None,
    position_rule: PositionRule = "exact",
) -> SparseInterpolatedExperts:
    """A pool with an expert for each tuned network: its task vector, the tuned numbers minus the pre-trained ones.

    Ilharco et al. (2023) add such vectors up; here a router merges them for each task. The router is new, and gives all
    experts the same weight.

    Args:
        pretrained: the network that was tuned, by its name on the hub or its folder.
        tuned: tuned networks, by name or folder, or files of their state_dict: .safetensors, .pt, .pth or .bin. Vision
            transformers may have the names of DINO and timm in these, such as those that PMF released (Hu et al. 2022),
            of which a single one's scale and bias of the cosine are taken over.
        adapters: folders of PEFT's adapters to it, or their names on the hub.
        image_size: side of the images; by default that of the pre-trained network.
        position_rule: how position embeddings are resized for it, as in `smat.backbones.load`.

    Raises:
        CheckpointError: there is no such file, it is damaged, or of another network than the pre-trained one.
        BackboneError: there is no such network.
    """
    if not tuned and not adapters:
        raise CheckpointError(f"nothing that was tuned from {pretrained} is given: give one or more networks")
    backbone = load(pretrained, image_size=image_size, position_rule=position_rule)
    base = _Base(pretrained, backbone, Layout.of(backbone), position_rule)
    vectors = [base.tuned(source) for source in tuned] + [base.adapted(source) for source in adapters]
    head = base.head if len(vectors) == 1 else None
    method = "tuned" if head is None else "pmf"
    pool = SparseInterpolatedExperts(backbone, _config(len(vectors), method, learned_head=head is not None))
    with torch.no_grad():
        pool.update.get_parameter("delta").copy_(torch.stack(vectors).squeeze(0) - pool.pretrained)
        if pool.head is not None and head is not None:
            pool.head.copy_(head)
        if len(vectors) > 1:
            pool.router.get_parameter("keys").zero_()
    return pool.eval()


def _config(experts: int, method: str, learned_head: bool) -> PoolConfig:
    """Updates without gates; where there are several, merge weights of which only the logits' differences matter."""
    several = experts > 1
    return PoolConfig(
        experts=experts,
        gating="open",
        separate_deltas=several,
        learned_head=learned_head,
        router=RouterConfig(choice="softmax") if several else RouterConfig(),
        temperature=TemperatureSchedule(1.0, 1.0, 1),
        method=method,
    )


@dataclass
class _Base:
    """The pre-trained network, and how what was tuned from it is read.

    Attributes:
        name: its name, for messages.
        backbone: the network.
        layout: names and shapes of its parameters.
        rule: how position embeddings are resized.
        head: scale and bias of a learned cosine, `[2]`, as the last file had them.
    """

    name: str
    backbone: Backbone
    layout: Layout
    rule: PositionRule
    head: Tensor | None = None

    def tuned(self, source: str) -> Float[Tensor, " params"]:
        """The parameters of a tuned network, by its file, folder or name on the hub."""
        path = Path(source)
        if path.is_file() or path.suffix in _FILES:
            return self._of_file(path)
        return self._of_network(load(source, image_size=self.backbone.spec.image_size, position_rule=self.rule), source)

    def adapted(self, source: str) -> Float[Tensor, " params"]:
        """The parameters that an adapter makes of the pre-trained ones."""
        network = copy.deepcopy(self.backbone.network)
        parameters = read_adapter(source, network)
        return self._flat({f"network.{name}": tensor for name, tensor in parameters.items()}, f"'{source}'")

    def _of_file(self, path: Path) -> Float[Tensor, " params"]:
        if not path.is_file() or path.suffix not in _FILES:
            raise CheckpointError(
                f"there is no file '{path}' of a tuned network: give its .safetensors, .pt, .pth or .bin file, its "
                "folder, or its name on the hub"
            )
        stored = path.suffix == ".safetensors"
        state = read_weights(path, CheckpointError, _ADVICE) if stored else read_state(path)
        head = [state[name].float().reshape(-1) for name in _HEAD if name in state]
        self.head = torch.cat(head) if [len(numbers) for numbers in head] == [1, 1] else None
        if self.backbone.spec.kind == "transformers" and is_vit(state):
            return self._of_vit(vit_of(state, f"'{path}'"), path)
        state = {name.removeprefix("module."): tensor for name, tensor in state.items()}
        if self.backbone.spec.kind == "transformers":
            return self._of_network(self._of_transformers(state, path), str(path))
        network = copy.deepcopy(self.backbone)
        missing = [name for name, _ in network.network.named_parameters() if name not in state]
        try:
            if missing:
                raise RuntimeError(f"there is no {', '.join(missing[:3])}")
            network.network.load_state_dict(state, strict=False)  # heads are left out
        except RuntimeError as error:
            raise CheckpointError(f"'{path}' is no tuned {self.name}: {error}") from error
        return self._of_network(network, str(path))

    def _of_vit(self, vit: dict[str, Tensor], path: Path) -> Float[Tensor, " params"]:
        shapes = dict(zip(self.layout.names, self.layout.shapes, strict=True))
        if (positions := shapes.get("network.embeddings.position_embeddings")) and "pos_embed" in vit:
            grid = math.isqrt(positions[1] - 1)
            vit["pos_embed"] = resize_positions(vit["pos_embed"][0], grid, 1, self.rule)[None]
        return self._flat({f"network.{name}": tensor for name, tensor in renamed(vit).items()}, f"'{path}'")

    def _of_transformers(self, state: dict[str, Tensor], path: Path) -> Backbone:
        """The network of a state_dict, read as transformers reads one, names of its earlier versions included."""
        config = Checkpoint(self.name, str(POCKET)) if self.name == "pocket" else Checkpoint.find(self.name)
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "config.json").write_text(json.dumps(config.config()), encoding="utf-8")
            apart = {name: tensor.clone().contiguous() for name, tensor in state.items()}
            save_file(apart, Path(folder, "model.safetensors"), metadata={"format": "pt"})
            size, spec = self.backbone.spec.image_size, self.backbone.spec
            try:
                return load(folder, image_size=size, position_rule=self.rule, mean=spec.mean, std=spec.std)
            except BackboneError as error:
                reason = str(error).replace(f"backbone '{folder}'", "it").replace(folder, str(path))
                raise CheckpointError(f"'{path}' is no tuned {self.name}: {reason}") from error

    def _of_network(self, network: Backbone, source: str) -> Float[Tensor, " params"]:
        vector = self._flat(dict(network.named_parameters()), f"'{source}'")
        theirs = dict(network.named_buffers())
        changed = [
            name for name, ours in self.backbone.named_buffers() if not torch.equal(ours, theirs.get(name, ours))
        ]
        if changed:
            _log.warning(
                "'%s' differs from %s in %d tensors that are no parameters, such as %s: experts have none of these, "
                "and the pre-trained ones are used",
                source,
                self.name,
                len(changed),
                changed[0],
            )
        return vector

    def _flat(self, parameters: dict[str, Tensor], where: str) -> Float[Tensor, " params"]:
        try:
            return self.layout.flatten(parameters)
        except CheckpointError as error:
            raise CheckpointError(f"{where} is no tuned {self.name}: {error}") from error
