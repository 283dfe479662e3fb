"""The authors' numbers, entry by entry, with `compat="official"` settings: every case in the golden folder."""

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from devices import DEVICES
from formulas import cosine_logits
from golden_cases import GoldenCase
from smat.adaptation.finetune import fine_tune
from smat.experts import PoolConfig, SparseInterpolatedExperts, class_prototypes
from smat.heads import specialise
from smat.metatuning.objective import TaskResult, train_task
from smat.metatuning.optimizers import GroupConfig, MetaOptimizer, OptimizerConfig


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "case" in metafunc.fixturenames:
        folder: Path = metafunc.config.getoption("--golden")
        cases = sorted(p.parent for p in folder.glob("*/meta.json"))
        skip = pytest.mark.skip(reason=f"no golden cases in {folder}: give their folder with --golden DIR")
        params = [pytest.param(GoldenCase(c, d), id=f"{c.name}-{d}") for c in cases for d in DEVICES]
        metafunc.parametrize("case", params or [pytest.param(None, marks=skip, id="absent")])


def compare_gates(case: GoldenCase, mode: str, gates: Tensor, weights: Tensor, pool: SparseInterpolatedExperts) -> None:
    theirs = case.load(mode)
    for name, where in pool.layout.slices.items():
        key = name.replace("network.", "encoder.", 1)
        case.check(f"{mode}/mask", gates[:, where].T, theirs[f"mask/{key}"].reshape(-1, len(gates)), key)
        case.check(f"{mode}/merged", weights @ gates[:, where], theirs[f"merged/{key}"].reshape(-1), key)
    size, head = pool.layout.size, theirs["merged/head.weight"]
    assert torch.equal(theirs["mask/head.weight"], torch.ones_like(theirs["mask/head.weight"]))
    case.check(f"{mode}/merged", weights.sum().expand(head.shape), head, "head")
    closed = ((weights @ gates) == 0).sum() / (size + head.numel())
    case.check(f"{mode}/merged_sparsity", closed, theirs["merged_sparsity"])


def compare_network(case: GoldenCase, entry: str, prefix: str, ours: dict[str, Tensor], file: str) -> None:
    theirs = case.load(file)
    for name, value in ours.items():
        case.check(entry, value, theirs[prefix + name.replace("network.", "encoder.", 1)], name)


def test_evaluation(case: GoldenCase) -> None:
    pool, episode, theirs = case.pool().eval(), case.episode(), case.load("eval")
    with torch.no_grad():
        probe = class_prototypes(pool.backbone(episode.support), episode.support_labels, episode.way)
        weights, logits = pool.route(probe)
        merged = pool.merge(weights)
        network = pool.network(merged.vector)
        features = network(episode.support)
        prototypes = class_prototypes(features, episode.support_labels, episode.way)
        support_logits = cosine_logits(features, prototypes)
    compare_gates(case, "eval", pool.gates(), weights, pool)
    compare_network(case, "eval/net", "net/", network.parameters, "eval")
    ours = {
        "temperature": torch.tensor(pool.temperature),
        "probe_prototypes": probe,
        "task_embed": pool.router.read_out(probe),
        "dot_attn": logits,
        "soft_scores": torch.sigmoid(logits / pool.temperature),
        "merge_scores": weights,
        "expert_sparsities": merged.sparsity,
        "expected_l0": merged.expected_density,
        "support_features": features,
        "prototypes": prototypes,
        "support_logits": support_logits,
        "query_logits": cosine_logits(network(episode.query), prototypes),
        "support_ce": cross_entropy(support_logits, episode.support_labels),
        "support_accuracy": (support_logits.argmax(1) == episode.support_labels).float().mean(),
    }
    for name, value in ours.items():
        case.check(f"eval/{name}", value, theirs[name])
    assert {k for k in theirs if "/" not in k} - {"merged_sparsity"} == set(ours)


@pytest.fixture
def trained(case: GoldenCase) -> tuple[SparseInterpolatedExperts, torch.nn.Parameter, TaskResult]:
    pool = case.pool().train()
    multipliers = torch.nn.Parameter(case.params["lagrangian_multiplier"].clone())
    pool.router.before_step()
    result = train_task(
        pool,
        multipliers,
        case.episode(),
        case.objective,
        target_sparsity=case.target_sparsity,
        noise=case.noise(pool),
        keep_networks=True,
    )
    pool.tasks_seen += 1
    return pool, multipliers, result


def test_training_task(case: GoldenCase, trained: tuple) -> None:
    pool, multipliers, result = trained
    theirs, noise = case.load("train"), case.noise(pool)
    tasks = int(case.meta["settings"]["updates"])
    compare_gates(case, "train", pool.gates(noise.gates), result.merge_weights, pool)
    temperature = pool.config.temperature.at(tasks)
    ours = {
        "temperature": torch.tensor(temperature),
        "probe_prototypes": class_prototypes(
            pool.backbone(case.episode().support), case.episode().support_labels, case.episode().way
        ),
        "dot_attn": result.routing_logits,
        "soft_scores": torch.sigmoid((result.routing_logits + torch.logit(noise.routing)) / temperature),
        "merge_scores": result.merge_weights,
        "expert_sparsities": result.sparsity,
        "expected_l0": result.expected_density,
        "prototypes": result.state["prototypes"],
        "support_logits": result.support_logits,
        "query_logits": result.student_logits,
        "teacher_logits_step0": result.student_logits,
        "teacher_logits": result.teacher_logits,
        "pretrained_logits": result.pretrained_logits,
        "lagrangian_multiplier_used": multipliers,
        "num_metaupdates_after": pool.tasks_seen.float(),
    }
    ours["pretrained_prototypes"] = ours["probe_prototypes"]
    ours["task_embed"] = pool.router.read_out(ours["probe_prototypes"])
    for name, value in ours.items():
        case.check(f"train/{name}", value, theirs[name])
    terms = {
        "query_ce": "cross_entropy",
        "query_kd": "distillation",
        "sparsity_loss": "density",
        "lagrangian": "constraint",
        "l2": "routing",
    }
    for name, term in terms.items():
        case.check("train/loss", result.terms[term], theirs[f"loss/{name}"], name)
    case.check("train/loss", result.loss, theirs["loss/total"], "total")
    named_losses = {f"loss/{name}" for name in terms} | {"loss/total"}
    parts = ("after/", "clamped/", "mask/", "merged/", "net_after_inner/", "net_teacher/")
    assert {k for k in theirs if not k.startswith(parts)} - {"merged_sparsity"} == set(ours) | named_losses


def test_networks_of_a_training_task(case: GoldenCase, trained: tuple) -> None:
    pool, _, result = trained
    theirs = case.load("train")
    compare_network(
        case, "train/net_after_inner", "net_after_inner/", pool.layout.views(result.networks.adapted), "train"
    )
    compare_network(case, "train/net_teacher", "net_teacher/", pool.layout.views(result.networks.teacher), "train")
    moved = theirs["net_after_inner/head.weight"]
    case.check("train/net_after_inner", result.adapted_state["prototypes"], moved, "head")
    case.check("train/net_teacher", result.teacher_state["prototypes"], theirs["net_teacher/head.weight"], "head")
    clamped = case.gate_logits(pool, theirs, "clamped/mask_hypernet.log_alphas.{}")
    case.check("train/clamped", pool.update.gate_logits, clamped)
    case.check(
        "train/clamped", pool.update.head_logits, case.head_logits(theirs, "clamped/mask_hypernet.log_alphas.{}")
    )
    for name, value in case.router(theirs, "after/").items():
        case.check("train/after", pool.router.state_dict()[name], value, name)


def test_gradients(case: GoldenCase, trained: tuple) -> None:
    pool, multipliers, _ = trained
    theirs = case.load("grads")
    shapes = dict(zip(pool.layout.names, pool.layout.shapes, strict=True))
    for name, grad in case.named("delta_hypernet.phis.{}", theirs, "phi_index").items():
        where = pool.layout.slices[name]
        case.check("grads/delta_hypernet.phis", pool.update.delta.grad[where].view(shapes[name]), grad, name)
    case.check("grads/mask_hypernet.log_alphas", pool.update.gate_logits.grad, case.gate_logits(pool, theirs))
    case.check("grads/mask_hypernet.log_alphas", pool.update.head_logits.grad, case.head_logits(theirs), "head")
    case.check("grads/lagrangian_multiplier", multipliers.grad, theirs["lagrangian_multiplier"])
    by_entry = {key.removeprefix("mask_hypernet."): value for key, value in theirs.items()}
    for name, grad in case.router(theirs).items():
        (entry,) = [k for k, v in by_entry.items() if v is grad or (name == "tokens" and k == "skills_tokens")]
        # products of vectors of the router's width, which every processor adds up in an order of its own
        ours, width = pool.router.get_parameter(name).grad, grad.shape[-1]
        case.check(f"grads/mask_hypernet.{entry}", ours, grad, name, terms=width)


def test_update(case: GoldenCase, trained: tuple) -> None:
    pool, multipliers, _ = trained
    theirs = case.load("step")
    config = OptimizerConfig(delta=GroupConfig("sgd", 1e-4, momentum=0.9, weight_decay=1e-4), warmup=0.0)
    optimizer = MetaOptimizer(pool, multipliers, config)
    norms = optimizer.clip()
    optimizer.step(progress=0.0)
    shapes = dict(zip(pool.layout.names, pool.layout.shapes, strict=True))
    for name, value in case.named("delta_hypernet.phis.{}", theirs, "phi_index").items():
        where = pool.layout.slices[name]
        case.check("step/delta_hypernet.phis", pool.update.delta[where].view(shapes[name]), value, name)
    case.check("step/mask_hypernet.log_alphas", pool.update.gate_logits, case.gate_logits(pool, theirs))
    case.check("step/mask_hypernet.log_alphas", pool.update.head_logits, case.head_logits(theirs), "head")
    case.check("step/lagrangian_multiplier", multipliers, theirs["lagrangian_multiplier"])
    for entry, group, parameters in (
        ("grad_norm_log_alphas", "gates", pool.update.trainable().get("gates", [])),
        ("grad_norm_selector", "router", pool.router.parameters()),
    ):
        terms = sum(p.numel() for p in parameters)
        case.check(f"step/{entry}", norms[group].clone(), theirs[entry], terms=terms)
    by_entry = {key.removeprefix("mask_hypernet."): value for key, value in theirs.items()}
    for name, value in case.router(theirs).items():
        (entry,) = [k for k, v in by_entry.items() if v is value or (name == "tokens" and k == "skills_tokens")]
        case.check(f"step/mask_hypernet.{entry}", pool.router.state_dict()[name], value, name)


@pytest.mark.parametrize("start", ["full", "pretrained+full"])
def test_fine_tuning(case: GoldenCase, start: str) -> None:
    pool, episode, theirs = case.pool().eval(), case.episode(), case.load("finetune")
    model = specialise(pool, episode.support, episode.support_labels)
    if start == "pretrained+full":
        frozen = SparseInterpolatedExperts(pool.backbone, PoolConfig(experts=0))
        model = specialise(frozen, episode.support, episode.support_labels)

    def query_logits() -> Tensor:
        with torch.no_grad():
            prototypes = class_prototypes(model.backbone(episode.support), episode.support_labels, episode.way)
            return cosine_logits(model.backbone(episode.query), prototypes)

    # Their list begins with the merged network's logits, then the starting network's, then one after each step.
    case.check(f"finetune/{start}", query_logits(), theirs[f"{start}/y_q_pred.1"], "start")
    steps = len([k for k in theirs if k.startswith(f"{start}/y_q_pred.")]) - 2
    for step, _ in enumerate(fine_tune(model.backbone, episode.support, episode.support_labels, lr=1e-3, steps=steps)):
        case.check(f"finetune/{start}", query_logits(), theirs[f"{start}/y_q_pred.{step + 2}"], f"step {step}")
    assert steps == 3
