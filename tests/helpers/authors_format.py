"""Small checkpoints in the format of the authors' code, with numbers at random."""

from pathlib import Path

import torch
from torch import Tensor, nn

from golden_cases import TinyViT
from smat.experts import PoolConfig, RouterConfig
from smat.released.smat_checkpoint import ROUTER
from smat.rng import seeded_torch

SIZE, PATCH, WIDTH, HEADS, TASKS = 16, 4, 16, 2, 3000

_CONFIG = """
base_learner: {{backbone: ViT_Tiny}}
meta_learner:
  model: {model}
  sparsity: {{num_experts: {experts}, structured: {structured}}}
optimizer:
  betas: !!python/tuple
  - 0.9
  - 0.999
"""


def tiny_vit() -> TinyViT:
    """A vision transformer of two blocks under DINO's names."""
    with seeded_torch(3, "authors' format"):
        network = TinyViT(SIZE, PATCH, WIDTH, 2, HEADS, 2)
        for parameter in network.parameters():
            nn.init.normal_(parameter, std=0.2)
        nn.init.ones_(network.norm.weight)
    return network


def gate_shape(name: str, shape: torch.Size, structured: bool) -> list[int]:
    """One gate for a parameter; structured: for an input of a linear layer, and a filter of the patch embedding."""
    if structured and name.endswith("proj.weight") and len(shape) == 4:
        return [shape[0], 1, 1, 1]
    if structured and len(shape) == 2:
        return [1, shape[1]]
    return list(shape)


def model_of(network: TinyViT, experts: int, structured: bool = False) -> dict[str, Tensor]:
    """The state_dict of a model around a network."""
    parameters = {f"encoder.{name}": p.detach().clone() for name, p in network.named_parameters()}
    parameters["head.weight"] = torch.randn(1, WIDTH)
    model = {f"net.{name}": p for name, p in parameters.items()} | {"num_metaupdates": torch.tensor([float(TASKS)])}
    for number, (name, p) in enumerate(parameters.items()):
        gates = [*gate_shape(name, p.shape, structured), experts] if name != "head.weight" else [1, WIDTH, experts]
        model[f"delta_hypernet.phis.{number}"] = torch.randn(p.shape) * 0.1
        model[f"mask_hypernet.log_alphas.{number}"] = torch.randn(gates) * 2
    router = PoolConfig(experts=experts, router=RouterConfig()).official().make_router()
    router.build(WIDTH, experts)
    theirs = {ours: name for name, ours in ROUTER.items()}
    for name, value in router.state_dict().items():
        ours, _, leaf = name.partition(".")
        spectral = ours in ("qkv", "proj", "fc1", "fc2") and leaf != "bias"
        renamed = {"weight": "weight_orig", "u": "weight_u", "v": "weight_v"}.get(leaf, leaf) if spectral else leaf
        key = f"mask_hypernet.{theirs[ours]}{'.' if leaf else ''}{renamed}"
        model[key] = value[None] if ours == "tokens" else value
    return model


def write(
    folder: Path, model: dict[str, Tensor], experts: int = 3, structured: bool = False, name: str | None = None
) -> Path:
    """The folder of a run of the authors' code."""
    (folder / "checkpoints").mkdir(parents=True)
    text = _CONFIG.format(
        model=name or "SPARSE_INTERPOLATED_EXPERTS", experts=experts, structured=str(structured).lower()
    )
    (folder / "exp_configs.yaml").write_text(text)
    torch.save({"model": model, "optimizer": {}}, folder / "checkpoints/best_validation.pt")
    return folder
