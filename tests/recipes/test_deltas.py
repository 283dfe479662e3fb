"""`smat import-delta` and `smat export-delta`: experts from what others have tuned, and back."""

import json
import stat
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import ViTModel

from smat.cli import main
from smat.errors import ConfigError
from smat.experts import PoolConfig, PrototypeRouter, SparseInterpolatedExperts
from smat.metatuning import MetaTuner
from smat.recipes.export_delta import export_delta
from smat.recipes.import_delta import RUN, import_delta
from smat.recipes.reproduce.run import reproduce
from smat.recipes.train import meta_tune
from tiny_checkpoint import save_checkpoint
from tuned_vits import SIZE, features, save_adapter, save_pretrained, tuned_from


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pre-trained network, one tuned from it, and an adapter to it."""
    folder = tmp_path_factory.mktemp("networks")
    pretrained = save_pretrained(folder / "pretrained")
    tuned_from(pretrained, 1).save_pretrained(folder / "tuned")
    save_adapter(pretrained, folder / "adapter", target_modules=["q_proj"])
    return folder


def arguments(networks: Path, out: Path, *more: str) -> list[str]:
    given = ["import-delta", str(networks / "pretrained"), str(networks / "tuned"), "--out", str(out)]
    return [*given, "--peft", f"[{networks / 'adapter'}]", *more]


def test_a_pool_of_a_network_and_an_adapter(networks: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main([*arguments(networks, tmp_path / "pool"), "--json", str(tmp_path / "report.json")])
    result = json.loads((tmp_path / "report.json").read_text())["result"]
    assert (result["experts"], result["told"]) == (2, None)
    assert "tuned" in capsys.readouterr().out
    pool = SparseInterpolatedExperts.from_pretrained(tmp_path / "pool")
    assert pool.route(torch.randn(3, 16))[0].tolist() == [0.5, 0.5]
    images = torch.randn(2, 3, SIZE, SIZE)
    with torch.no_grad():
        ours = pool.network(pool.merged_vector(torch.tensor([1.0, 0.0])))(images)
    theirs = ViTModel.from_pretrained(networks / "tuned", add_pooling_layer=False)
    torch.testing.assert_close(ours, features(theirs, images), rtol=1e-4, atol=1e-5)


def test_routing_by_prototypes(networks: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    more = "--routing", "prototypes", "--domains", "[pocket:glyphs,pocket:polygons]", "--tasks", "8", "--way", "3"
    main(arguments(networks, tmp_path / "pool", *more))
    assert "a task's own expert gets the largest weight in" in " ".join(capsys.readouterr().out.split())
    pool = SparseInterpolatedExperts.from_pretrained(tmp_path / "pool")
    assert isinstance(pool.router, PrototypeRouter)
    assert pool.router.scale > 0


def test_a_router_that_learns_leaves_the_experts_alone_and_goes_on_where_it_was_stopped(
    networks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    more = "--routing", "learned", "--domains", "[pocket:glyphs,pocket:polygons]", "--tasks", "8", "--way", "3"
    main(arguments(networks, tmp_path / "uniform"))
    main(arguments(networks, tmp_path / "whole", *more, "--workers", "0"))
    uniform, whole = (SparseInterpolatedExperts.from_pretrained(tmp_path / name) for name in ("uniform", "whole"))
    assert torch.equal(uniform.update.delta, whole.update.delta)
    assert not torch.equal(uniform.router.keys, whole.router.keys)
    assert not (tmp_path / "whole" / RUN).exists()

    step = MetaTuner._step

    def stopped(tuner: MetaTuner, batch: object) -> None:
        if tuner.progress.tasks == 4:
            tuner._end()
        step(tuner, batch)  # type: ignore[arg-type]

    with monkeypatch.context() as patched:
        patched.setattr(MetaTuner, "_step", stopped)
        with pytest.raises(SystemExit):
            main(arguments(networks, tmp_path / "halves", *more, "--workers", "0"))
    assert (tmp_path / "halves" / RUN / "state").exists()
    main(arguments(networks, tmp_path / "halves", *more, "--workers", "0"))
    halves = SparseInterpolatedExperts.from_pretrained(tmp_path / "halves")
    assert halves.fingerprint() == whole.fingerprint()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"domains": ["pocket:glyphs"]}, "--domains are for routing by prototypes or learned"),
        ({"routing": "learned"}, "needs tasks to learn from"),
        ({"routing": "prototypes", "domains": ["pocket:glyphs"]}, "a domain for each of the 2 networks"),
        ({"routing": "learned", "domains": ["pocket"], "peft": []}, "needs several networks to choose from, and 1"),
    ],
)
def test_what_does_not_go_together(more: dict, message: str, networks: Path, tmp_path: Path) -> None:
    given = {"peft": [str(networks / "adapter")]} | more
    with pytest.raises(ConfigError, match=message):
        import_delta(str(networks / "pretrained"), [str(networks / "tuned")], out=str(tmp_path / "pool"), **given)
    assert not (tmp_path / "pool").exists()


def test_experts_as_networks_and_task_vectors(networks: Path, tmp_path: Path) -> None:
    main(arguments(networks, tmp_path / "pool"))
    found = export_delta(str(tmp_path / "pool"), str(tmp_path / "vectors"))
    assert (found.experts, found.transformers) == (2, True)
    images = torch.randn(2, 3, SIZE, SIZE)
    own = ViTModel.from_pretrained(networks / "tuned", add_pooling_layer=False)
    theirs = ViTModel.from_pretrained(tmp_path / "vectors" / "expert-0", add_pooling_layer=False)
    torch.testing.assert_close(features(theirs, images), features(own, images), rtol=1e-4, atol=1e-5)
    base = load_file(tmp_path / "vectors" / "pretrained" / "model.safetensors")
    for number in (0, 1):
        folder = tmp_path / "vectors" / f"expert-{number}"
        whole, difference = (load_file(folder / name) for name in ("model.safetensors", "task_vector.safetensors"))
        assert difference.keys() == whole.keys()
        for name, vector in difference.items():
            torch.testing.assert_close(base[name] + vector, whole[name], rtol=1e-5, atol=1e-6)
        assert stat.S_IMODE((folder / "task_vector.safetensors").stat().st_mode) & 0o044
    again = tmp_path / "again"
    import_delta(
        str(tmp_path / "vectors" / "pretrained"),
        [str(tmp_path / "vectors" / f"expert-{number}") for number in (0, 1)],
        out=str(again),
    )
    first, second = (SparseInterpolatedExperts.from_pretrained(path) for path in (tmp_path / "pool", again))
    torch.testing.assert_close(first.update.delta, second.update.delta, rtol=1e-4, atol=1e-6)


def test_a_folder_with_other_files_is_left_alone(tmp_path: Path) -> None:
    checkpoint = save_checkpoint(tmp_path / "pool")
    with pytest.raises(ConfigError, match="has other files in it"):
        export_delta(checkpoint, checkpoint)
    export_delta(checkpoint, str(tmp_path / "vectors"))
    export_delta(checkpoint, str(tmp_path / "vectors"))


def test_a_network_without_experts_has_nothing_to_write(networks: Path, tmp_path: Path) -> None:
    pool = SparseInterpolatedExperts.from_pretrained(save_checkpoint(tmp_path / "pool"))
    SparseInterpolatedExperts(pool.backbone, PoolConfig(experts=0)).save_pretrained(tmp_path / "none")
    with pytest.raises(ConfigError, match="has no experts to write"):
        export_delta(str(tmp_path / "none"), str(tmp_path / "vectors"))


def test_tuning_goes_on_from_a_checkpoint(networks: Path, tmp_path: Path) -> None:
    main(arguments(networks, tmp_path / "pool"))
    tuning = {"tasks": 2, "meta_batch": 2, "target_sparsity": None, "validate_every": 0}
    tuning |= {"optimizers": {"delta": {"lr": 1e-3}}}
    episodes = {"way": 3, "shot": 1, "query": 2}
    best = meta_tune(
        domains=["pocket:glyphs"],
        init=str(tmp_path / "pool"),
        out=tmp_path / "run",
        tuning=tuning,
        episodes=episodes,
        workers=0,
    )
    before, after = (SparseInterpolatedExperts.from_pretrained(path) for path in (tmp_path / "pool", best))
    assert int(after.tasks_seen) == 2
    assert torch.equal(before.pretrained, after.pretrained)
    moved = (before.update.delta - after.update.delta).norm() / before.update.delta.norm()
    assert 0 < float(moved) < 0.1


def test_settings_that_are_not_the_checkpoints_are_refused(tmp_path: Path) -> None:
    checkpoint = save_checkpoint(tmp_path / "pool")
    given = {"domains": ["pocket:glyphs"], "init": checkpoint, "out": tmp_path / "run"}
    with pytest.raises(ConfigError, match=r"^pool differ.* those of init"):
        meta_tune(**given, pool={"experts": 5})
    with pytest.raises(ConfigError, match=r"^backbone and image_size differ"):
        meta_tune(**given, backbone="facebook/dino-vits16", image_size=32)
    main(["pack", checkpoint, str(tmp_path / "small")])
    with pytest.raises(ConfigError, match="a packed pool, which cannot be tuned"):
        meta_tune(**given | {"init": str(tmp_path / "small")})
    with pytest.raises(ConfigError, match=r"with tuning\.only_router no gate is trained"):
        meta_tune(**given, tuning={"only_router": True})


def test_comparisons_begin_from_the_backbone(tmp_path: Path) -> None:
    config = tmp_path / "base.yaml"
    config.write_text("domains: [pocket:glyphs]\ninit: somewhere\n")
    with pytest.raises(ConfigError, match="every method is trained from the backbone"):
        reproduce("table1", str(config), out=str(tmp_path / "runs"), methods=["pretrained"], episodes=1)
