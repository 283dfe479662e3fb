from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import pytest
import torch
import yaml

from formulas import query_logits
from smat.cli import main
from smat.errors import ConfigError
from smat.experts import SparseInterpolatedExperts
from smat.heads import specialise
from smat.metatuning.methods import METHODS, method_config, method_files
from smat.recipes.train import train

TRAINED = [name for name, method in METHODS.items() if method.trained]


@pytest.fixture
def base(tmp_path: Path) -> Path:
    path = tmp_path / "base.yaml"
    values = {
        "backbone": "pocket",
        "domains": ["pocket:glyphs", "pocket:polygons"],
        "episodes": {"way": 3, "shot": 1, "query": 1},
        "pool": {"experts": 2},
        "tuning": {
            "tasks": 2,
            "meta_batch": 1,
            "validate_every": 0,
            "target_sparsity": 0.8,
            "optimizers": {"delta": {"lr": 1e-4}},
        },
        "workers": 0,
        "accelerator": "cpu",
    }
    path.write_text(yaml.safe_dump(values))
    return path


def test_every_file_is_a_method_and_every_method_has_a_file() -> None:
    shipped = {f.name.removesuffix(".yaml") for f in (files("smat") / "configs" / "methods").iterdir()}
    assert shipped == set(TRAINED)
    for name in TRAINED:
        assert yaml.safe_load(method_files(name)[-1].read_text())["pool"]["method"] == name


@pytest.mark.parametrize("name", TRAINED)
def test_every_method_trains_and_comes_back(name: str, base: Path, tmp_path: Path) -> None:
    config = method_config(name, base)
    assert config.episodes.way == 3, "what the method does not set is the base's"
    best = train(config, out=str(tmp_path / "run"))
    pool = SparseInterpolatedExperts.from_pretrained(str(best))
    assert pool.config.method == name
    assert pool.update.delta.abs().max() > 0
    images, labels = torch.rand(6, 3, *[pool.backbone.spec.image_size] * 2), torch.tensor([0, 0, 1, 1, 2, 2])
    logits = specialise(pool, images, labels)(images)
    assert torch.allclose(query_logits(pool, images, labels, images), logits, atol=1e-4)
    assert logits.isfinite().all()


def test_a_method_on_the_command_line(base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    main(["train", "--config", str(base), "--method=pmf", "--tuning.tasks", "3", "--out", str(out)])
    config = yaml.safe_load((out / "config.yaml").read_text())
    assert (config["pool"]["method"], config["pool"]["learned_head"], config["tuning"]["tasks"]) == ("pmf", True, 3)
    for arguments in (["--method", "nothing"], ["--method", "knn"], ["--method"]):
        with pytest.raises(SystemExit) as stopped:
            main(["train", "--config", str(base), "--out", str(out), *arguments])
        assert stopped.value.code == 2
        assert "smat-dense" in capsys.readouterr().err or len(arguments) == 1


def test_a_method_of_ones_own_is_a_file(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.yaml").write_text("pool: {method: mine, experts: 3}\ntuning: {tasks: 4}\n")
    main(["train", "--config", str(base), "--method", "mine.yaml", "--tuning.tasks", "3", "--out", "run"])
    config = yaml.safe_load(Path("run/config.yaml").read_text())
    assert (config["pool"]["method"], config["pool"]["experts"], config["tuning"]["tasks"]) == ("mine", 3, 3)
    with pytest.raises(SystemExit) as stopped:
        main(["train", "--config", str(base), "--method", "other.yaml", "--out", "run"])
    assert stopped.value.code == 2
    assert "there is no file 'other.yaml'" in capsys.readouterr().err


def test_what_a_method_needs_over_a_base_lies_in_the_bases_folder(base: Path, tmp_path: Path) -> None:
    own = base.with_suffix("") / "pmf.yaml"
    own.parent.mkdir()
    own.write_text("tuning: {tasks: 3, optimizers: {delta: {lr: 0.125}}}")
    delta = method_config("pmf", base).tuning.optimizers.delta
    assert (delta.rule, delta.lr) == ("sgd", 0.125)
    assert method_config("smat", base).tuning.tasks == 2
    out = tmp_path / "run"
    main(["train", f"--config={base}", "--method", "pmf", "--tuning.optimizers.delta.lr", "0.25", "--out", str(out)])
    tuning = yaml.safe_load((out / "config.yaml").read_text())["tuning"]
    assert (tuning["tasks"], tuning["optimizers"]["delta"]["lr"]) == (3, 0.25)


def test_a_method_over_another_has_its_settings_and_its_rate(base: Path) -> None:
    own = base.with_suffix("") / "pmf.yaml"
    own.parent.mkdir()
    own.write_text("tuning: {optimizers: {delta: {lr: 0.125}}}")
    config, pmf = method_config("pmf-no-episodes", base), method_config("pmf", base)
    assert config == replace(
        pmf, pool=replace(pmf.pool, method="pmf-no-episodes"), episodes=replace(pmf.episodes, split=False)
    )
    assert config.tuning.optimizers.delta.lr == 0.125


def test_ablations_of_the_distillation_change_one_weight(base: Path) -> None:
    def weights(method: str) -> list[tuple[str, float]]:
        cross, others = method_config(method, base).tuning.objective.query_terms()
        return [("cross", cross.weight), *((vars(term)["target"], term.weight) for term in others)]

    assert weights("smat") == [("cross", 0.75), ("pretrained", 0.125), ("teacher", 0.125)]
    assert weights("smat-no-teacher") == [("cross", 0.875), ("pretrained", 0.125)]
    assert weights("smat-teacher-only") == [("cross", 0.875), ("teacher", 0.125)]
    assert weights("smat-no-distillation") == [("cross", 1.0)]


def test_the_dense_network_with_the_teacher_has_smats_objective_and_nothing_closed(base: Path) -> None:
    config, smat = method_config("dense-teacher", base), method_config("smat", base)
    assert config.tuning.objective == smat.tuning.objective
    assert (config.pool.experts, config.pool.gating, config.tuning.target_sparsity) == (1, "open", None)
    assert not config.pool.routed
    configs = files("smat") / "configs"
    bases = [str(configs / name) for name in ("real_small.yaml", "real_mobilenet.yaml")]
    rates = [method_config("dense-teacher", base).tuning.optimizers.delta.lr for base in bases]
    assert rates == [1e-3, 1e-4]


def test_methods_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    main(["methods"])
    shown = capsys.readouterr().out
    assert all(name in shown for name in METHODS)


def test_joined_episodes_are_support_and_query_at_once(base: Path) -> None:
    from smat.backbones import ImageFormat
    from smat.domains import open_domains
    from smat.metatuning.sources import episode_sources

    config = method_config("smat-no-episodes", base)
    domains = open_domains(config.domains)
    source, _ = episode_sources(config, domains, ImageFormat(32))
    episode = source.episode(0)
    assert torch.equal(episode.support, episode.query)
    assert len(episode.support) == len(episode.plan.support_rows) + len(episode.plan.query_rows)
    assert torch.equal(episode.support_labels, episode.query_labels)


def test_a_sparsity_target_without_gates_to_learn_is_refused(base: Path, tmp_path: Path) -> None:
    config = method_config("mask-norm", base, "--tuning.target_sparsity=0.9")
    with pytest.raises(ConfigError, match=r"target_sparsity is 0.9.*norm"):
        train(config, out=str(tmp_path / "run"))
