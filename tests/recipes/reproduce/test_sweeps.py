"""What the figures of `smat reproduce` vary."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from smat.domains import DomainConfig
from smat.errors import ConfigError
from smat.metatuning.methods import method_config
from smat.recipes.reproduce.plan import places_of, plan
from smat.recipes.reproduce.sweeps import Sweep, training_subsets


@pytest.fixture
def base(base: str) -> str:
    """A base configuration with three domains to train on, and one that chooses the checkpoint."""
    values = yaml.safe_load(Path(base).read_text())
    values["domains"] = ["pocket:glyphs", "pocket:strokes", {"source": "pocket:textures", "weight": 2.0}]
    values["domains"] += [{"source": "pocket:plants", "role": "validation"}]
    values["tuning"] |= {"tasks": 20, "validate_every": 10}
    path = Path(base).with_name("several.yaml")
    path.write_text(yaml.safe_dump(values))
    return str(path)


def test_subsets_are_nested_and_no_two_orders_share_one_but_all() -> None:
    names = list("abcde")
    subsets = training_subsets(names, [1, 2, 3, 5], 3)
    assert subsets == training_subsets(names, [1, 2, 3, 5], 3)
    assert [(s.count, s.order) for s in subsets] == [(n, o) for n in (1, 2, 3) for o in (1, 2, 3)] + [(5, None)]
    assert len({s.names for s in subsets}) == len(subsets)
    assert all(list(s.names) == sorted(s.names) and len(s.names) == s.count for s in subsets)
    for order in (1, 2, 3):
        one, two, three = (set(s.names) for s in subsets if s.order == order)
        assert one < two < three


def test_with_as_many_orders_as_domains_each_domain_is_as_often_in_a_subset() -> None:
    pairs = training_subsets(list("abcd"), [2], 4)
    together = [name for subset in pairs for name in subset.names]
    assert {name: together.count(name) for name in "abcd"} == dict.fromkeys("abcd", 2)


def test_a_training_on_all_domains_is_that_of_the_method(base: str) -> None:
    frozen, *settings = plan("scale", base, ["smat", "pmf"], Sweep(domain_counts=[3, 1], orders=2))
    assert frozen.name == "pretrained"
    assert [s.point["domains"] for s in settings] == [1, 1, 3] * 2
    whole = settings[2]
    assert (whole.name, whole.training(0), whole.domains) == ("smat", "smat-seed0", ())
    assert whole.point["trained_on"] == ("glyphs", "strokes", "textures")
    assert len({setting.training(0) for setting in settings}) == 6


def test_domains_that_choose_the_checkpoint_stay_and_keep_their_settings(base: str) -> None:
    settings = plan("scale", base, ["smat"], Sweep(domain_counts=[2], orders=3))[1:]
    plants = DomainConfig("pocket:plants", role="validation")
    assert all(setting.domains[-1] == plants and len(setting.domains) == 3 for setting in settings)
    textures = [setting for setting in settings if "textures" in setting.point["trained_on"]]
    assert all(DomainConfig("pocket:textures", weight=2.0) in setting.domains for setting in textures)


def test_groups_of_pocket_domains_are_single_domains_here(base: str) -> None:
    path = Path(base).with_name("pocket-id.yaml")
    path.write_text(yaml.safe_dump(yaml.safe_load(Path(base).read_text()) | {"domains": ["pocket-id"]}))
    counts = [setting.point["domains"] for setting in plan("scale", str(path), ["smat"])[1:]]
    assert counts == [1] * 3 + [2] * 3 + [3] * 3 + [5] * 3 + [6]


def test_names_of_many_domains_do_not_make_a_long_file_name(base: str, tmp_path: Path) -> None:
    values = yaml.safe_load(Path(base).read_text())
    for number in range(3):
        for image in range(8):
            path = tmp_path / f"{number}{'x' * 90}" / f"class{image % 4}" / f"{image}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"never read")
    values["domains"] = [str(path) for path in sorted(tmp_path.iterdir())]
    path = Path(base).with_name("long.yaml")
    path.write_text(yaml.safe_dump(values))
    names = [setting.training(0) for setting in plan("scale", str(path), ["smat"])]
    assert max(map(len, names[1:])) < 120
    assert len(set(names[1:])) == 3 + 3 + 1


def test_the_course_of_a_training_is_one_training(base: str) -> None:
    settings = plan("overfitting", base, ["smat"], Sweep(keep_every=8))[1:]
    assert [setting.kept for setting in settings] == [0, 8, 16, 20]
    assert {setting.training(1) for setting in settings} == {"smat-kept8-seed1"}
    assert settings[1].pool == "kept/task-000008"
    assert settings[1].overrides[0] == "--tuning.keep_every=8"
    usual = plan("overfitting", base, None)[1:]
    assert [s.point["tasks"] for s in usual if s.method == "pmf"] == list(range(0, 21, 2))


def test_masks_have_as_many_experts_as_is_said_and_what_they_need_then(base: str) -> None:
    frozen, *usual = plan("masks", base, None)
    assert frozen.name == "pretrained"
    assert [setting.training(0) for setting in usual[:2]] == ["smat-seed0", "mask-random-seed0"]
    needs = Path(base).with_suffix("") / "mask-norm-m1.yaml"
    needs.parent.mkdir()
    needs.write_text("tuning: {optimizers: {delta: {lr: 0.5}}}")
    smat, norm = plan("masks", base, ["smat", "mask-norm"], Sweep(experts=[1]))[1:]
    assert (smat.training(2), norm.training(2)) == ("smat-m1-seed2", "mask-norm-m1-seed2")
    config = method_config(norm.method, base, *norm.overrides)
    assert (config.pool.experts, config.pool.gating, config.tuning.optimizers.delta.lr) == (1, "norm", 0.5)


@pytest.mark.parametrize(
    ("what", "sweep", "message"),
    [
        ("scale", {"domain_counts": [4]}, r"domain_counts has \[4\], and .* has 3 domains"),
        ("scale", {"domain_counts": [1, 1]}, "each once"),
        ("scale", {"domain_counts": []}, "one or more"),
        ("scale", {"orders": 4}, "orders is 4, and .* has 3 domains"),
        ("overfitting", {"keep_every": 3}, "keep_every is 3; give a multiple of tuning.meta_batch, which is 2"),
        ("overfitting", {"keep_every": 22}, "at most the 20 tasks"),
    ],
)
def test_what_does_not_fit_the_base_configuration(base: str, what: str, sweep: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        plan(what, base, ["smat"], Sweep(**sweep))


def test_a_method_that_leaves_domains_out_needs_two(base: str) -> None:
    with pytest.raises(ConfigError, match="smat-null leaves training domains out in turn"):
        plan("scale", base, ["smat-null"])
    assert len(plan("scale", base, ["smat-null"], Sweep(domain_counts=[2, 3]))) == 1 + 3 + 1


def test_one_domain_is_no_scale(base: str) -> None:
    path = Path(base).with_name("one.yaml")
    path.write_text(yaml.safe_dump(yaml.safe_load(Path(base).read_text()) | {"domains": ["pocket:glyphs"]}))
    with pytest.raises(ConfigError, match="has 1 domain to train on: scale compares numbers of them; give two or more"):
        plan("scale", str(path), None)


def test_each_backbone_has_its_folder(tmp_path: Path) -> None:
    places = places_of("backbones", "a/small.yaml", ["b/large.yaml=runs/large"], tmp_path)
    assert places == [("a/small.yaml", tmp_path / "small"), ("b/large.yaml", Path("runs/large"))]
    assert places_of("table1", "small.yaml", [], tmp_path) == [("small.yaml", tmp_path)]


@pytest.mark.parametrize(
    ("what", "bases", "checkpoint", "message"),
    [
        ("table1", ["b.yaml"], [], "bases are for backbones; table1 has one base configuration"),
        ("backbones", [], [], "give two or more"),
        ("backbones", ["other/a.yaml"], [], "each with a name and a folder of its own"),
        ("backbones", ["b.yaml=runs/x", "c.yaml=runs/x"], [], "each with a name and a folder of its own"),
        ("backbones", ["b.yaml"], ["smat=runs/smat"], "checkpoint is of one backbone"),
    ],
)
def test_bases_that_cannot_be(what: str, bases: list[str], checkpoint: list[str], message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        places_of(what, "a.yaml", bases, tmp_path, checkpoint)


def test_without_a_target_gates_are_not_hardened(base: str) -> None:
    values = yaml.safe_load(Path(base).read_text())
    values["pool"]["hardening"] = {"share": 0.1, "beta": 0.1}
    Path(base).write_text(yaml.safe_dump(values))
    dense, sparse = Sweep(tau=[0.0, 0.5], experts=[3]).settings("sparsity", ["smat"], base)
    assert method_config("smat", base, *dense.overrides).pool.hardening is None
    assert method_config("smat", base, *sparse.overrides).pool.hardening
