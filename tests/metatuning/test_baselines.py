"""The other methods' training tasks against plain autograd."""

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy, normalize

from small_pools import random_episode, vit_pool
from smat.experts import SparseInterpolatedExperts, class_prototypes
from smat.metatuning import ObjectiveConfig, train_task

PLAIN = ObjectiveConfig(inner_lr=0.0, teacher_steps=0, distillation_weight=0.0, routing_penalty=0.0)


def query_loss(pool: SparseInterpolatedExperts, vector: Tensor, head: Tensor) -> Tensor:
    episode, parameters = random_episode(), pool.layout.views(vector)
    support = functional_call(pool.backbone, parameters, (episode.support,))
    query = functional_call(pool.backbone, parameters, (episode.query,))
    prototypes = class_prototypes(support, episode.support_labels, episode.way)
    cosine = normalize(query, dim=1) @ normalize(prototypes, dim=1).T
    return cross_entropy(head[0] * (cosine + head[1]), episode.query_labels)


def run(pool: SparseInterpolatedExperts, tasks: int = 1) -> None:
    multipliers = nn.Parameter(torch.zeros(pool.config.experts, dtype=torch.float64))
    for _ in range(tasks):
        train_task(pool, multipliers, random_episode(), PLAIN, target_sparsity=None, weight=0.5)


def test_one_dense_update_with_a_learned_head() -> None:
    pool = vit_pool(experts=1, gating="open", learned_head=True).train()
    assert pool.head is not None
    with torch.no_grad():
        pool.head.copy_(torch.tensor([7.0, 0.2]))
    run(pool, tasks=2)  # two halves: gradients add up
    delta, head = pool.update.delta.detach().clone().requires_grad_(), pool.head.detach().clone().requires_grad_()
    expected = torch.autograd.grad(query_loss(pool, pool.pretrained + delta, head), [delta, head])
    assert pool.update.delta.grad is not None
    assert pool.head.grad is not None
    assert torch.allclose(pool.update.delta.grad, expected[0], rtol=1e-9, atol=1e-11)
    assert torch.allclose(pool.head.grad, expected[1], rtol=1e-9, atol=1e-11)
    assert pool.head.grad[0] != 0


def test_experts_with_updates_of_their_own() -> None:
    pool = vit_pool(gating="open", separate_deltas=True).train()
    run(pool)
    episode = random_episode()
    probe = class_prototypes(pool.backbone(episode.support), episode.support_labels, episode.way)
    weights, _ = pool.route(probe)
    loss = query_loss(
        pool, pool.pretrained + weights @ pool.update.delta, torch.tensor([10.0, 0.0], dtype=torch.float64)
    )
    expected = torch.autograd.grad(loss, [pool.update.delta, pool.router.keys])
    for parameter, gradient in zip([pool.update.delta, pool.router.keys], expected, strict=True):
        assert parameter.grad is not None
        assert gradient.abs().max() > 0
        assert torch.allclose(parameter.grad, 0.5 * gradient, rtol=1e-9, atol=1e-11)
    merged = pool.merge(weights.detach())
    assert merged.expected_density.tolist() == [1, 1, 1]
    assert merged.sparsity.tolist() == [0, 0, 0]
    assert torch.equal(merged.vector, pool.merged_vector(weights.detach()))
    assert torch.equal(pool.gates(), torch.ones(3, pool.layout.size, dtype=torch.float64))
