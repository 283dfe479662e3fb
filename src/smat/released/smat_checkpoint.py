"""Checkpoints of the authors' code: `exp_configs.yaml` beside `checkpoints/best_validation.pt`."""

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from smat.backbones import build
from smat.backbones.positions import resize_positions
from smat.errors import CheckpointError
from smat.experts import OfficialGates, PoolConfig, RouterConfig, SparseInterpolatedExperts, TemperatureSchedule
from smat.released.pickles import read_state
from smat.released.vit_names import known, renamed, spec_of, vit_of
from smat.yaml_files import Unreadable, load_yaml

Routing = Literal["stored", "uniform"]

CONFIG, WEIGHTS = "exp_configs.yaml", "checkpoints/best_validation.pt"

ROUTER = {
    "masks_keys": "keys",
    "skills_tokens": "tokens",
    "task_embed_agg.attn.qkv": "qkv",
    "task_embed_agg.attn.proj": "proj",
    "task_embed_agg.mlp.fc1": "fc1",
    "task_embed_agg.mlp.fc2": "fc2",
    "task_embed_agg.norm1": "norm1",
    "task_embed_agg.norm2": "norm2",
}
"""The names of the authors' routing network, and the router's."""

_TASKS_OF_TEMPERATURE = 18_000  # until max(0.5, 5 - tasks/4000) has fallen

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Stored:
    """The parts of a checkpoint.

    Attributes:
        vit: the frozen network.
        delta: the update, by the network's names.
        gates: gate logits, by the network's names, in shapes that broadcast to the parameters', experts last.
        head_gates: those of the unused head, `[experts, dim]`.
        router: the router's tensors.
        tasks: number of training tasks.
    """

    vit: dict[str, Tensor]
    delta: dict[str, Tensor]
    gates: dict[str, Tensor]
    head_gates: Tensor
    router: dict[str, Tensor]
    tasks: int


def read_smat_checkpoint(
    path: Path, *, heads: int | None = None, image_size: int | None = None, routing: Routing = "stored"
) -> SparseInterpolatedExperts:
    """The pool in a checkpoint of the authors' code, which computes what that code does (`compat: official`).

    Args:
        path: folder of the run, or the `.pt` file in its folder `checkpoints`.
        heads: attention heads of the network; one for 64 features by default.
        image_size: side of the images; by default what the position embeddings are for. At another, these are resized,
            and where experts differ in them their gates are those of the nearest old position.
        routing: `stored`, or `uniform` weights for all experts, for checkpoints without routing keys and tokens.

    Raises:
        CheckpointError: there is no such checkpoint, it is of another model, damaged, or has no routing keys.
    """
    folder, file = _places(path)
    name, experts, structured = _settings(folder / CONFIG)
    stored = _parts(read_state(file), file, experts)
    spec = spec_of(stored.vit, name, heads, image_size)
    config = PoolConfig(
        experts=experts,
        structure="input" if structured else "parameter",
        temperature=TemperatureSchedule(5.0, 0.5, _TASKS_OF_TEMPERATURE),
        random_gates=True,
        router=RouterConfig(tokens=_tokens(stored.router)),
    ).official()
    pool = SparseInterpolatedExperts(build(spec), config)
    grid = spec.image_size // spec.config["patch_size"]
    if grid**2 + 1 != stored.vit["pos_embed"].shape[1]:
        _resize(stored, grid)
    try:
        _fill(pool, stored)
    except (CheckpointError, RuntimeError) as error:
        raise CheckpointError(f"'{file}' does not fit its own network: {error}") from error
    _load_router(pool, stored.router, file, routing)
    pool.tasks_seen.fill_(stored.tasks)
    return pool.eval()


@torch.no_grad()
def _fill(pool: SparseInterpolatedExperts, stored: _Stored) -> None:
    """The numbers of the network, the update and the gates."""
    update, experts = pool.update, pool.config.experts
    assert isinstance(update, OfficialGates), "compat: official"
    rows = {name: gates.expand(*stored.vit[name].shape, experts) for name, gates in stored.gates.items()}
    pool.pretrained.copy_(_flat(pool, stored.vit))
    update.delta.copy_(_flat(pool, stored.delta))
    each = torch.stack([_flat(pool, {name: row[..., m] for name, row in rows.items()}) for m in range(experts)])
    if update.gate_index is None:
        update.gate_logits.copy_(each)
    else:
        update.gate_logits[:, update.gate_index] = each
    update.head_logits.copy_(stored.head_gates)
    update.after_step()


def _places(path: Path) -> tuple[Path, Path]:
    """The run's folder and the file of weights."""
    folder, file = (path.parent.parent, path) if path.is_file() else (path, path / WEIGHTS)
    missing = [str(each) for each in (folder / CONFIG, file) if not each.is_file()]
    if missing:
        raise CheckpointError(
            f"'{path}' is no checkpoint of the authors' code: there is no {' and no '.join(missing)}. Give the folder "
            f"of a run, with {CONFIG} and {WEIGHTS}, or such a .pt file"
        )
    return folder, file


def _settings(path: Path) -> tuple[str, int, bool]:
    """The name of the network, the number of experts, and whether groups of parameters share a gate."""
    try:
        said = load_yaml(path, tuples=True)
        name, learner = said["base_learner"]["backbone"], said["meta_learner"]
        model, sparsity = learner["model"], learner["sparsity"]
        experts, structured = sparsity["num_experts"], sparsity["structured"]
    except (Unreadable, KeyError, TypeError) as error:
        raise CheckpointError(f"'{path}' cannot be used: {error!r}. Copy or download it again") from error
    if model != "SPARSE_INTERPOLATED_EXPERTS":
        raise CheckpointError(f"'{path}' is of the model {model!r}; expected SPARSE_INTERPOLATED_EXPERTS")
    if type(experts) is not int or not 1 <= experts <= 1000 or type(structured) is not bool:
        raise CheckpointError(f"'{path}' has num_experts {experts!r} and structured {structured!r}; it was changed")
    return str(name), experts, structured


def _parts(model: Mapping[str, Tensor], file: Path, experts: int) -> _Stored:
    """The parts of a state_dict; the update and the gates are numbered as the network's parameters are."""
    names = [name.removeprefix("net.") for name in model if name.startswith("net.")]
    delta, gates, head = {}, {}, torch.zeros(experts, 0)
    for number, name in enumerate(names):
        phi, alpha = (model.get(f"{part}.{number}") for part in ("delta_hypernet.phis", "mask_hypernet.log_alphas"))
        if phi is None or alpha is None or phi.shape != model[f"net.{name}"].shape or alpha.shape[-1] != experts:
            raise CheckpointError(
                f"'{file}' has no update and gates of {experts} experts for {name} (number {number}): it was changed"
            )
        inner = name.removeprefix("encoder.")
        if name == "head.weight":
            head = alpha[0].T
        elif inner != name and known(inner):
            delta[inner], gates[inner] = phi, alpha
        else:
            raise CheckpointError(f"'{file}' has a parameter {name}, which no vision transformer of this kind has")
    prefix = "mask_hypernet."
    router = {name.removeprefix(prefix): t for name, t in model.items() if name.startswith(prefix)}
    tasks = int(model["num_metaupdates"].reshape(-1)[0]) if "num_metaupdates" in model else 0
    return _Stored(vit_of(model, f"'{file}'"), delta, gates, head, router, max(0, tasks))


def _flat(pool: SparseInterpolatedExperts, tensors: Mapping[str, Tensor]) -> Tensor:
    return pool.layout.flatten({f"network.{name}": tensor for name, tensor in renamed(tensors).items()})


def _resize(stored: _Stored, grid: int) -> None:
    """Position embeddings for another image size, as the authors' code resizes them at each pass."""
    _log.info(
        "position embeddings: resized for %d x %d patches; where experts differ in these, gates are the nearest ones'",
        grid,
        grid,
    )
    gates = stored.gates["pos_embed"]
    side = math.isqrt(gates.shape[1] - 1)
    nearest = (torch.arange(grid) * side) // grid
    kept = torch.cat([torch.zeros(1, dtype=torch.long), 1 + (nearest[:, None] * side + nearest).flatten()])
    stored.gates["pos_embed"] = gates[:, kept]
    for tensors in (stored.vit, stored.delta):
        tensors["pos_embed"] = resize_positions(tensors["pos_embed"][0], grid, 1, "dino")[None]


def _tokens(router: Mapping[str, Tensor]) -> int:
    return router["skills_tokens"].shape[-2] if "skills_tokens" in router else RouterConfig().tokens


def _load_router(pool: SparseInterpolatedExperts, stored: Mapping[str, Tensor], file: Path, routing: Routing) -> None:
    tensors = {}
    for theirs, ours in ROUTER.items():
        for name, value in stored.items():
            if name == theirs or name.startswith(f"{theirs}."):
                leaf = name.removeprefix(theirs).replace("weight_orig", "weight").replace("weight_", "")
                tensors[ours + leaf] = value[0] if ours == "tokens" else value
    own = pool.router.state_dict()
    if routing == "uniform":  # logits of 0 for all experts
        tensors |= {name: torch.zeros_like(own[name]) for name in ("keys", "tokens")}
    elif missing := sorted({"keys", "tokens"} - tensors.keys()):
        raise CheckpointError(
            f"'{file}' has no routing {' and no '.join(missing)}: the authors' code does not keep them where it ran on "
            "a GPU. Its experts can be used with equal weights: --routing uniform (routing='uniform')"
        )
    try:
        pool.router.load_state_dict(tensors)
    except RuntimeError as error:
        raise CheckpointError(f"'{file}' has another routing network: {error}") from error
