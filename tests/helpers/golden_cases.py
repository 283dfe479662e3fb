"""Golden cases: the authors' numbers for a small network, under this package's names."""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.functional import gelu, scaled_dot_product_attention

from smat import backbones
from smat.episodes import Episode, EpisodePlan
from smat.experts import PoolConfig, SparseInterpolatedExperts, TemperatureSchedule
from smat.metatuning.objective import ObjectiveConfig, TaskNoise
from smat.released.smat_checkpoint import ROUTER


class _Patches(nn.Module):
    def __init__(self, patch: int, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, patch, patch)


class _Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.qkv, self.proj = heads, nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        n, t, d = x.shape
        q, k, v = self.qkv(x).view(n, t, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        return self.proj(scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(n, t, d))


class _Mlp(nn.Module):
    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, hidden), nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(gelu(self.fc1(x)))


class _Block(nn.Module):
    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width, 1e-6), nn.LayerNorm(width, 1e-6)
        self.attn, self.mlp = _Attention(width, heads), _Mlp(width, hidden)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class TinyViT(nn.Module):
    """A ViT with a fused qkv projection and the class token as its feature, under DINO's parameter names."""

    def __init__(self, image: int, patch: int, width: int, depth: int, heads: int, mlp_ratio: int) -> None:
        super().__init__()
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, (image // patch) ** 2 + 1, width))
        self.patch_embed = _Patches(patch, width)
        self.blocks = nn.ModuleList(_Block(width, heads, mlp_ratio * width) for _ in range(depth))
        self.norm = nn.LayerNorm(width, 1e-6)

    def forward(self, x: Tensor) -> Tensor:
        patches = self.patch_embed.proj(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), patches], 1) + self.pos_embed
        for block in self.blocks:
            x = block(x)
        return self.norm(x)[:, 0]


@dataclass
class GoldenCase:
    folder: Path
    device: str = "cpu"

    def load(self, name: str) -> dict[str, Tensor]:
        return load_file(self.folder / f"{name}.safetensors", device=self.device)

    @cached_property
    def meta(self) -> dict:
        return json.loads((self.folder / "meta.json").read_text())

    @cached_property
    def params(self) -> dict[str, Tensor]:
        return self.load("params")

    @property
    def target_sparsity(self) -> float:
        return self.meta["config"]["sparsity"]["target"]

    @property
    def objective(self) -> ObjectiveConfig:
        teacher = self.meta["config"]["dense_teacher"]
        return ObjectiveConfig(
            inner_lr=self.meta["config"]["inner_lr"]["lr"],
            teacher_lr=teacher["lr"],
            distillation_weight=teacher["lam"],
            distillation_temperature=float(teacher["T"]),
        ).official()

    def pool(self) -> SparseInterpolatedExperts:
        vit, settings = self.meta["tiny_vit"], self.meta["settings"]
        network = TinyViT(
            vit["img_size"][0],
            vit["patch_size"],
            vit["embed_dim"],
            vit["depth"],
            vit["num_heads"],
            vit["mlp_ratio"],
        )
        prefix = "net.encoder."
        network.load_state_dict({k.removeprefix(prefix): v for k, v in self.params.items() if k.startswith(prefix)})
        config = PoolConfig(
            experts=settings["num_experts"],
            structure="input" if settings["structured"] else "parameter",
            temperature=TemperatureSchedule(5.0, 0.5, 18_000),
        ).official()
        pool = SparseInterpolatedExperts(backbones.load(network, image_size=settings["size"]), config)
        pool.tasks_seen.fill_(int(settings["updates"]))
        with torch.no_grad():
            pool.update.delta.copy_(pool.layout.flatten(self.named("delta_hypernet.phis.{}", self.params, "phi_index")))
            pool.update.gate_logits.copy_(self.gate_logits(pool, self.params))
            pool.update.head_logits.copy_(self.head_logits(self.params))
            pool.update.after_step()
            pool.router.load_state_dict(self.router(self.params))
        return pool.to(self.device)

    def named(self, pattern: str, tensors: dict[str, Tensor], index: str) -> dict[str, Tensor]:
        """Tensors that the case keeps by number, by the name of the encoder's parameter."""
        return {
            name.replace("encoder.", "network.", 1): tensors[
                pattern.format(entry if isinstance(entry, int) else entry["idx"])
            ]
            for name, entry in self.meta[index].items()
            if name.startswith("encoder.")
            and pattern.format(entry if isinstance(entry, int) else entry["idx"]) in tensors
        }

    def gate_logits(
        self,
        pool: SparseInterpolatedExperts,
        tensors: dict[str, Tensor],
        pattern: str = "mask_hypernet.log_alphas.{}",
    ) -> Tensor:
        """Numbers of a gate each (experts last in the case), in the pool's order: `[experts, gates]`."""
        rows = self.named(pattern, tensors, "log_alpha_index")
        shapes = dict(zip(pool.layout.names, pool.layout.shapes, strict=True))
        experts = pool.config.experts
        per_parameter = torch.stack(
            [pool.layout.flatten({n: r[..., m].expand(shapes[n]) for n, r in rows.items()}) for m in range(experts)]
        )
        if pool.update.gate_index is None:
            return per_parameter
        gates = per_parameter.new_empty(experts, pool.update.gate_logits.shape[1])
        gates[:, pool.update.gate_index] = per_parameter
        return gates

    def head_logits(self, tensors: dict[str, Tensor], pattern: str = "mask_hypernet.log_alphas.{}") -> Tensor:
        return tensors[pattern.format(self.meta["log_alpha_index"]["head.weight"]["idx"])][0].T

    def router(self, tensors: dict[str, Tensor], prefix: str = "mask_hypernet.") -> dict[str, Tensor]:
        """The routing network's tensors under the router's names."""
        renamed = {}
        for theirs, ours in ROUTER.items():
            for key, value in tensors.items():
                name = key.removeprefix(prefix)
                if key.startswith(prefix) and (name == theirs or name.startswith(theirs + ".")):
                    leaf = name.removeprefix(theirs).replace("weight_orig", "weight").replace("weight_", "")
                    renamed[ours + leaf] = value[0] if ours == "tokens" else value
        return renamed

    def episode(self) -> Episode:
        e = self.load("episode")
        way = int(e["y_s"].max()) + 1
        rows = tuple(range(len(e["y_s"]) + len(e["y_q"])))
        plan = EpisodePlan(
            id=self.folder.name,
            domain=self.folder.name,
            split="train",
            classes=tuple(str(c) for c in range(way)),
            support_rows=rows[: len(e["y_s"])],
            support_labels=tuple(e["y_s"].tolist()),
            query_rows=rows[len(e["y_s"]) :],
            query_labels=tuple(e["y_q"].tolist()),
        )
        return Episode(plan, e["x_s"], e["y_s"], e["x_q"], e["y_q"])

    def noise(self, pool: SparseInterpolatedExperts) -> TaskNoise:
        drawn = self.load("train_noise")
        u = self.gate_logits(pool, drawn, "gate_u.{}")
        return TaskNoise(gates=lambda start, stop: u[:, start:stop], routing=drawn["concrete_uniform.0"])

    def check(self, entry: str, ours: Tensor, theirs: Tensor, key: str = "", terms: int = 1) -> None:
        """Equal within the error of float32: four times what the authors' float32 run is from float64, on a GPU eight.

        Both computations are float32 in another order, so each may be that far from the exact value; a spacing of
        float32 at the entry's size is added for entries that happen to agree exactly (at 1 for a share of gates, which
        theirs computes as 1 minus the rest). A number that sums `terms` others in another order than theirs may be off
        by √terms spacings.
        """
        bounds = json.loads((self.folder / "f64_maxabsdiff.json").read_text())[entry]
        size = 1.0 if "sparsit" in entry else bounds["max_abs"]
        times = 4 if self.device == "cpu" else 8  # theirs ran on a processor
        tolerance = times * bounds["max_abs_diff"] + 2 * terms**0.5 * torch.finfo(torch.float32).eps * size
        difference = float((ours.detach().cpu().reshape(theirs.shape) - theirs.cpu()).abs().max())
        assert difference <= tolerance, f"{entry} {key}: off by {difference:.2e}, allowed {tolerance:.2e}"
