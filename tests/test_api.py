"""What `import smat` gives, and that it imports nothing heavy by itself."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import smat
from smat.errors import ConfigError
from smat.metatuning import GroupConfig, OptimizerConfig, TuningConfig
from smat.metatuning.methods import METHODS
from smat.metatuning.run_config import EpisodeConfig, TrainConfig
from smat.recipes.evaluate import evaluate
from smat.recipes.train import meta_tune

SETTINGS = {
    "domains": ["pocket:glyphs"],
    "episodes": EpisodeConfig(way=3, shot=1, query=1),
    "pool": {"experts": 2},
    "tuning": {"tasks": 2, "meta_batch": 1, "validate_every": 0, "optimizers": {"delta": {"lr": 1e-4}}},
    "workers": 0,
    "accelerator": "cpu",
}

ONE_TASK = TuningConfig(tasks=1, meta_batch=1, optimizers=OptimizerConfig(delta=GroupConfig("sgd", 1e-4)))


def test_importing_is_light_and_shows_what_there_is() -> None:
    code = (
        "import sys, smat; shown = dir(smat); "
        "heavy = {'torch', 'transformers', 'datasets', 'kornia', 'numpy'} & set(sys.modules); "
        "print(heavy or 'none', 'meta_tune' in shown, smat.heads.Head.__name__)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["none", "True", "Head"]


def test_every_name_is_there() -> None:
    for name in dir(smat):
        assert getattr(smat, name) is not None
    assert smat.methods is METHODS
    assert (smat.evaluate, smat.meta_tune) == (evaluate, meta_tune)
    assert smat.load_backbone("pocket").spec.name
    with pytest.raises(AttributeError, match="no attribute 'meta_train'"):
        _ = smat.meta_train  # type: ignore[attr-defined]


def test_meta_tuning_from_python_takes_settings_in_any_form(tmp_path: Path) -> None:
    best = smat.meta_tune(SETTINGS, out=tmp_path / "dict", tuning=ONE_TASK)
    assert int(smat.SparseInterpolatedExperts.from_pretrained(str(best)).tasks_seen) == 1
    base = tmp_path / "base.yaml"
    base.write_text(yaml.safe_dump(SETTINGS | {"episodes": {"way": 3, "shot": 1, "query": 1}}))
    smat.meta_tune(base, method="pmf", out=tmp_path / "file", tuning={"target_sparsity": None})
    config = yaml.safe_load((tmp_path / "file" / "config.yaml").read_text())
    assert (config["pool"]["method"], config["episodes"]["way"], config["tuning"]["tasks"]) == ("pmf", 3, 2)
    settings = TrainConfig(domains=["pocket:glyphs"], workers=0, tuning=ONE_TASK)
    smat.meta_tune(settings, out=tmp_path / "object", episodes={"way": 3}, accelerator="cpu")
    config = yaml.safe_load((tmp_path / "object" / "config.yaml").read_text())
    assert (config["episodes"]["way"], config["episodes"]["shot"], config["tuning"]["meta_batch"]) == (3, 5, 1)
    with pytest.raises(ConfigError, match=r"settings and settings: there is no setting 'pool.expert'"):
        smat.meta_tune(SETTINGS, out=tmp_path / "none", pool={"expert": 2})
