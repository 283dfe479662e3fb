"""What comparisons are over."""

import pytest
import torch
import yaml
from transformers import ViTConfig, ViTModel


@pytest.fixture(scope="package")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A base configuration of 4 tasks around a small ViT."""
    folder = tmp_path_factory.mktemp("base")
    torch.manual_seed(0)
    config = ViTConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, image_size=16, patch_size=8
    )
    ViTModel(config, add_pooling_layer=False).save_pretrained(folder / "vit")
    (folder / "vit" / "preprocessor_config.json").write_text('{"image_mean": 0.5, "image_std": 0.25}')
    optimizers = {"delta": {"rule": "sgd", "lr": 1.0}, "gates": {"rule": "sgd", "lr": 1e5}}
    tuning = {"tasks": 4, "meta_batch": 2, "validate_every": 0, "checkpoint_every": 2, "optimizers": optimizers}
    tuning["precision"] = "32-true"
    values = {
        "backbone": str(folder / "vit"),
        "domains": ["pocket:glyphs"],
        "episodes": {"way": 3, "shot": 2, "query": 2},
        "pool": {"experts": 2},
        "tuning": tuning,
    }
    (folder / "base.yaml").write_text(yaml.safe_dump(values))
    return str(folder / "base.yaml")
