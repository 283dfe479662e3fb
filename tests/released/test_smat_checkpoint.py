"""Checkpoints of the authors' code become pools that compute what the formulas say, and the authors' numbers."""

import json
from pathlib import Path

import pytest
import torch
from torch.func import functional_call

from authors_format import HEADS, PATCH, SIZE, TASKS, model_of, tiny_vit, write
from formulas import cosine_logits
from golden_cases import GoldenCase
from smat.backbones.positions import resize_positions
from smat.cli import main
from smat.errors import CheckpointError, ConfigError
from smat.experts import SparseInterpolatedExperts, class_prototypes
from smat.recipes.import_checkpoint import import_checkpoint
from smat.released import read_smat_checkpoint


@pytest.mark.parametrize("structured", [False, True])
@pytest.mark.parametrize("experts", [1, 3])
def test_a_checkpoint_becomes_the_network_that_the_formulas_say(experts: int, structured: bool, tmp_path: Path) -> None:
    network = tiny_vit()
    model = model_of(network, experts, structured)
    pool = read_smat_checkpoint(write(tmp_path / "run", model, experts, structured), heads=HEADS)
    assert (int(pool.tasks_seen), pool.config.experts, pool.training) == (TASKS, experts, False)
    images, weights = torch.randn(3, 3, SIZE, SIZE), torch.tensor([0.5, 0.2, 0.3])[:experts]
    merged = {}
    for number, (name, p) in enumerate(network.named_parameters()):
        logits = model[f"mask_hypernet.log_alphas.{number}"].clamp(*pool.config.logit_range)
        gates = (logits.sigmoid() * 1.2 - 0.1).clamp(0, 1)  # β = 1 outside training
        merged[name] = p + (gates @ weights) * model[f"delta_hypernet.phis.{number}"]
    with torch.no_grad():
        torch.testing.assert_close(pool.backbone(images), network(images), rtol=1e-4, atol=1e-5)
        ours = pool.network(pool.merged_vector(weights))(images)
        torch.testing.assert_close(ours, functional_call(network, merged, images), rtol=1e-4, atol=1e-5)
    assert (ours - pool.backbone(images)).abs().max() > 0.01


def test_what_is_imported_is_used_like_any_other(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = write(tmp_path / "run", model_of(tiny_vit(), 3))
    arguments = ["import-checkpoint", str(run), str(tmp_path / "pool"), "--heads", str(HEADS)]
    main([*arguments, "--json", str(tmp_path / "said.json")])
    printed = " ".join(capsys.readouterr().out.split())
    assert f"{HEADS} attention heads" in printed
    assert "3,000" in printed
    result = json.loads((tmp_path / "said.json").read_text())["result"]
    assert (result["experts"], result["image_size"], len(result["sparsity"])) == (3, SIZE, 3)
    again = SparseInterpolatedExperts.from_pretrained(tmp_path / "pool")
    assert again.fingerprint() == read_smat_checkpoint(run, heads=HEADS).fingerprint()


def test_the_authors_numbers(pytestconfig: pytest.Config) -> None:
    folder = Path(pytestconfig.getoption("--golden"))
    if not (folder / "official_ckpt_tiny").is_dir():
        pytest.skip(f"no authors' checkpoint in {folder}: give its folder with --golden DIR")
    case = GoldenCase(folder / "m3_unstructured")
    pool, episode, theirs = (
        read_smat_checkpoint(folder / "official_ckpt_tiny", heads=2),
        case.episode(),
        case.load("eval"),
    )
    with torch.no_grad():
        probe = class_prototypes(pool.backbone(episode.support), episode.support_labels, episode.way)
        weights, logits = pool.route(probe)
        merged = pool.merge(weights)
        network = pool.network(merged.vector)
        prototypes = class_prototypes(network(episode.support), episode.support_labels, episode.way)
    ours = {
        "dot_attn": logits,
        "merge_scores": weights,
        "expert_sparsities": merged.sparsity,
        "expected_l0": merged.expected_density,
        "query_logits": cosine_logits(network(episode.query), prototypes),
    }
    for name, value in ours.items():
        case.check(f"eval/{name}", value, theirs[name])


def test_without_routing_keys_only_equal_weights_will_do(tmp_path: Path) -> None:
    model = model_of(tiny_vit(), 3)
    for name in ("masks_keys", "skills_tokens"):
        del model[f"mask_hypernet.{name}"]
    run = write(tmp_path / "run", model)
    with pytest.raises(CheckpointError, match=r"has no routing keys and no tokens.*--routing uniform"):
        read_smat_checkpoint(run, heads=HEADS)
    pool = read_smat_checkpoint(run, heads=HEADS, routing="uniform")
    for _ in range(2):
        weights, _ = pool.route(torch.randn(3, 16))
        torch.testing.assert_close(weights, torch.full((3,), 1 / 3))


def test_another_image_size(tmp_path: Path) -> None:
    network = tiny_vit()
    run, size = write(tmp_path / "run", model_of(network, 2), 2), SIZE + 2 * PATCH
    pool = read_smat_checkpoint(run, heads=HEADS, image_size=size)
    assert pool.backbone.spec.image_size == size
    network.pos_embed = torch.nn.Parameter(resize_positions(network.pos_embed[0], size // PATCH, 1, "dino")[None])
    images = torch.randn(2, 3, size, size)
    with torch.no_grad():
        torch.testing.assert_close(pool.backbone(images), network(images), rtol=1e-4, atol=1e-5)


def test_one_head_for_64_features_by_default(tmp_path: Path) -> None:
    pool = read_smat_checkpoint(write(tmp_path / "run", model_of(tiny_vit(), 2), 2))
    assert pool.backbone.spec.config["num_attention_heads"] == 1


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("delta_hypernet.phis.3", None, "has no update and gates of 3 experts for encoder.patch_embed.proj.bias"),
        ("mask_hypernet.log_alphas.5", torch.zeros(16, 4), "has no update and gates of 3 experts for encoder.blocks.0"),
        ("net.encoder.blocks.1.mlp.fc2.bias", torch.tensor([float("nan")] * 16), "not finite"),
        ("mask_hypernet.task_embed_agg.norm1.bias", None, "has another routing network"),
        ("mask_hypernet.masks_keys", torch.zeros(4, 16), "has another routing network"),
    ],
)
def test_a_checkpoint_that_was_changed_is_refused(
    name: str, value: torch.Tensor | None, message: str, tmp_path: Path
) -> None:
    model = model_of(tiny_vit(), 3)
    del model[name]
    run = write(tmp_path / "run", model | ({} if value is None else {name: value}))
    with pytest.raises(CheckpointError, match=message):
        read_smat_checkpoint(run, heads=HEADS)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1", "exp_configs.yaml' cannot be used"),
        ("[", "exp_configs.yaml' cannot be used"),
        ("a: !!python/object/apply:os.system [ls]", "exp_configs.yaml' cannot be used"),
    ],
)
def test_settings_that_cannot_be_read(text: str, message: str, tmp_path: Path) -> None:
    run = write(tmp_path / "run", model_of(tiny_vit(), 3))
    (run / "exp_configs.yaml").write_text(text)
    with pytest.raises(CheckpointError, match=message):
        read_smat_checkpoint(run)


def test_another_model_and_other_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"is of the model 'PMF'; expected SPARSE_INTERPOLATED_EXPERTS"):
        read_smat_checkpoint(write(tmp_path / "pmf", model_of(tiny_vit(), 3), name="PMF"))
    with pytest.raises(
        CheckpointError, match=r"no checkpoint of the authors' code: there is no .*exp_configs\.yaml and"
    ):
        read_smat_checkpoint(tmp_path)
    with pytest.raises(CheckpointError, match="num_experts 0"):
        read_smat_checkpoint(write(tmp_path / "none", model_of(tiny_vit(), 3), 0))
    with pytest.raises(CheckpointError, match="which 3 heads do not divide: give --heads"):
        read_smat_checkpoint(write(tmp_path / "heads", model_of(tiny_vit(), 3)), heads=3)
    with pytest.raises(CheckpointError, match="patches of 4 pixels, which do not divide images of 18"):
        read_smat_checkpoint(tmp_path / "heads", heads=HEADS, image_size=18)


def test_options_of_the_other_kind_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="leave them out with --pretrained"):
        import_checkpoint("pmf.pth", str(tmp_path / "out"), pretrained="facebook/dino-vits16", heads=6)
