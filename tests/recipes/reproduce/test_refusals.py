"""What `smat reproduce` refuses before any work."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from transformers import MobileNetV2Config, MobileNetV2Model

from small_comparison import SMALL
from smat.errors import CheckpointError, ConfigError, DataError
from smat.metatuning.run_config import load_config
from smat.recipes.reproduce.episodes import EpisodeOverrides
from smat.recipes.reproduce.plan import make_tuners, plan
from smat.recipes.reproduce.run import reproduce
from smat.recipes.reproduce.setting import Setting
from smat.recipes.reproduce.sweeps import Sweep
from tiny_checkpoint import save_checkpoint


@pytest.mark.parametrize(
    ("what", "arguments", "message"),
    [
        ("table1", {"methods": ["smta"]}, r"\['smta'\] are unknown: choose from pretrained"),
        ("table1", {"methods": ["smat", "smat"]}, "give each name once"),
        ("table1", {"methods": ["a/mine.yaml", "b/mine.yml"]}, "give each name once"),
        ("table1", {"methods": ["a/smat.yaml"]}, "has the name of the method smat.* rename the file"),
        ("table1", {"methods": ["absent.yaml"], "against": "absent"}, "absent.yaml"),
        ("table1", {"methods": ["smat+lad"]}, "head is 'lad'; choose one of prototype, ridge"),
        ("table1", {"methods": ["smat@half"]}, "strength 'half' is no number"),
        ("table1", {"methods": ["pretrained@0.5"]}, "pretrained@0.5 has no experts"),
        (
            "table1",
            {"methods": ["logistic+lda"]},
            "logistic is short for pretrained.logistic, to which nothing can be added",
        ),
        ("table1", {"methods": ["smta+lda"]}, r"\['smta\+lda'\] are unknown"),
        ("table1", {"head": "nonsense"}, "head is 'nonsense'; choose one of prototype, ridge"),
        ("table1", {"adapt": ["full", "full"]}, "each once"),
        ("table1", {"methods": ["knn"], "adapt": ["full"], "against": "knn"}, "can be fine-tuned"),
        (
            "table1",
            {"methods": ["pretrained"], "adapt": ["none", "weights"]},
            "none of pretrained can be .*weights out",
        ),
        (
            "table1",
            {"methods": ["smat@0@1+auto"], "adapt": ["none", "full"], "against": "smat@0@1+auto"},
            r"none of smat@0@1\+auto can be fine-tuned \(full\): leave full out",
        ),
        ("table1", {"methods": ["smat", "pmf"], "adapt": ["gates"]}, r"pool \(pmf\) has no gates that could be closed"),
        ("table1", {"against": "smat-dense"}, "choose one of what is compared: pretrained"),
        ("table1", {"seeds": []}, "one seed or more"),
        ("table1", {"episodes": 0}, "episodes is 0"),
        ("table1", {"steps": -1}, "steps"),
        ("table1", {"grid": []}, "grid"),
        ("table1", {"checkpoint": ["smat"]}, "METHOD=PATH"),
        ("table1", {"checkpoint": ["smat-dense=somewhere"]}, "METHOD=PATH with a method that is compared"),
        ("table1", {"checkpoint": ["smat=a", "smat=b"]}, "2 checkpoints and 1 seeds"),
        ("sparsity", {"checkpoint": ["smat=a"]}, "none, for all are trained anew"),
        ("sparsity", {"sweep": Sweep(tau=[])}, r"tau is \[\]"),
        ("sparsity", {"methods": ["pretrained"]}, "are not trained"),
        ("sparsity", {"methods": ["smat+lda"]}, r"\['smat\+lda'\] have heads or strengths .* takes methods alone"),
        ("wise-ft", {"methods": ["pmf@0.5"]}, "have heads or strengths of their own"),
        ("sparsity", {"domains": ["pocket:polygons"]}, "no OOD domains"),
        ("overfitting", {"domains": ["pocket:molecules"]}, "no ID domains"),
        ("overfitting", {"against": "smat after 0"}, "overfitting shows gains over pretrained"),
        ("overfitting", {"adapt": ["none", "weights"]}, "no experts that weights could tune: leave weights out"),
        ("wise-ft", {"paper": True}, "the paper has no numbers for wise-ft, only for table1 and table2"),
        ("table1", {"paper": True, "methods": ["knn"]}, "no numbers for knn in table1"),
    ],
)
def test_settings_that_cannot_work(
    base: str, tmp_path: Path, what: Any, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        reproduce(what, base, out=str(tmp_path), **(SMALL | arguments))
    assert not (tmp_path / "training").exists()


def test_values_out_of_range() -> None:
    with pytest.raises(ConfigError, match=r"tau.0 is 1.5"):
        Sweep(tau=[1.5])
    with pytest.raises(ConfigError, match=r"scales.1 is 2.0"):
        Sweep(scales=[0.5, 2.0])


def test_unknown_names() -> None:
    with pytest.raises(ConfigError, match="nothing to reproduce: choose one of table1"):
        plan("table3", "base.yaml", None)
    with pytest.raises(ConfigError, match=r"adapt is .* none, full, lora"):
        make_tuners(["some"], [Setting("smat", "smat")])


def test_data_and_checkpoints_are_looked_at_before_the_work(base: str, tmp_path: Path) -> None:
    out = str(tmp_path / "out")
    with pytest.raises(DataError, match="'polygons' has 14 classes; 15-way"):
        reproduce("table1", base, out=out, **SMALL | {"options": EpisodeOverrides(way=15)})
    with pytest.raises(CheckpointError, match="absent"):
        reproduce("table1", base, out=out, checkpoint=[f"smat={tmp_path / 'absent'}"], **SMALL)
    other = save_checkpoint(tmp_path / "other")
    with pytest.raises(CheckpointError, match="was tuned from another backbone"):
        reproduce("table1", base, out=out, checkpoint=[f"smat={other}"], **SMALL)
    large = Path(base).with_name("large.yaml")
    large.write_text(yaml.safe_dump(yaml.safe_load(Path(base).read_text()) | {"image_size": 32}))
    with pytest.raises(CheckpointError, match=r"is for images of 16 pixels, and .* says 32"):
        reproduce("table1", str(large), out=out, checkpoint=[f"smat={other}"], **SMALL)
    MobileNetV2Model(MobileNetV2Config(depth_multiplier=0.25, image_size=32)).save_pretrained(tmp_path / "cnn")
    shutil.copy(Path(base).parent / "vit" / "preprocessor_config.json", tmp_path / "cnn")
    cnn = tmp_path / "cnn.yaml"
    cnn.write_text(yaml.safe_dump(yaml.safe_load(Path(base).read_text()) | {"backbone": str(tmp_path / "cnn")}))
    with pytest.raises(ConfigError, match="LoRA adapts an attention's linear layers"):
        reproduce("table1", str(cnn), out=out, adapt=["none", "lora"], **SMALL)
    assert not (tmp_path / "out" / "training").exists()


def test_what_is_drawn_at_random_cannot_be_chosen(base: str, tmp_path: Path) -> None:
    values = yaml.safe_load(Path(base).read_text())
    variable = Path(base).with_name("variable.yaml")
    variable.write_text(yaml.safe_dump(values | {"episodes": {"sampler": "variable"}}))
    with pytest.raises(ConfigError, match=r"--query cannot be chosen where the sampler of the base configuration"):
        reproduce("table1", str(variable), out=str(tmp_path), **SMALL)


def test_tracks_can_be_chosen_whatever_the_sampler(base: str) -> None:
    config = load_config([base])
    assert EpisodeOverrides().options(config).tracks is None
    assert EpisodeOverrides(tracks="ignore").options(config).tracks == "ignore"
    variable = load_config([base], "--episodes.sampler=variable", "--episodes.tracks=ignore")
    assert EpisodeOverrides().options(variable).tracks == "ignore"
    assert EpisodeOverrides(tracks="keep-apart").options(variable).tracks == "keep-apart"
    with pytest.raises(ConfigError, match=r"^--way cannot be chosen"):
        EpisodeOverrides(way=4, tracks="ignore").options(variable)
