"""Pools and folders of runs to analyse, around a tiny vision transformer."""

import json
from pathlib import Path

import torch
import yaml

from smat.backbones import BackboneSpec, build
from smat.experts import PoolConfig, SparseInterpolatedExperts
from tiny_checkpoint import SIZE, tiny_vit


def save_pool(folder: Path, seed: int = 0, size: int = SIZE, **settings: object) -> str:
    """A pool around a tiny ViT, of two experts unless told otherwise; returns the folder's name."""
    settings_of_network = tiny_vit().to_dict() | {"image_size": size}
    spec = BackboneSpec("transformers", "tiny", settings_of_network, size, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25), "cls")
    torch.manual_seed(0)
    backbone = build(spec)
    for parameter in backbone.parameters():
        parameter.data.normal_(0, 0.3)
    torch.manual_seed(seed)
    pool = SparseInterpolatedExperts(backbone, PoolConfig(**({"experts": 2} | settings)))  # type: ignore[arg-type]
    for vector in pool.update.parameter_vectors():
        vector.data.normal_(0, 0.3)
    for logits in pool.update.trainable().get("gates", []):
        logits.data.normal_(-1, 2)
    pool.save_pretrained(folder)
    return str(folder)


def save_run(folder: Path) -> str:
    """A run of 10 tasks, stopped after 6 in the middle of a line of its log; returns the name of its folder."""
    save_pool(folder / "best")
    settings = {"domains": ["pocket-id"], "tuning": {"tasks": 10, "meta_batch": 2}}
    (folder / "config.yaml").write_text(yaml.safe_dump(settings))
    rows = [
        {
            "tasks": tasks,
            "loss": 1.0 / tasks,
            "loss/cross_entropy": 1.0 / tasks,
            "accuracy": 0.4 + tasks / 20,
            "accuracy/frozen": 0.5,
            "gradient_norm/delta": 1.0,
            **{
                f"{name}/{expert}": value
                for name, value in (("sparsity", 0.5), ("multiplier", 0.1))
                for expert in (0, 1)
            },
            **{f"merge_weight/{expert}": 0.5 for expert in (0, 1)},
        }
        for tasks in (2, 4, 6)
    ]
    rows.insert(2, {"tasks": 4, "validation": 0.6, "validation/glyphs": 0.6})
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "log.jsonl").write_text(f'{text}{{"tasks": 8, "lo')
    return str(folder)
