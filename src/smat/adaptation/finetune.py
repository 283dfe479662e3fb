"""Fine-tuning a task's network on its support set."""

from collections.abc import Iterator

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from smat.experts.prototypes import class_prototypes, cosine_logits


def fine_tune(
    network: nn.Module, images: Float[Tensor, "n 3 height width"], labels: Int[Tensor, " n"], *, lr: float, steps: int
) -> Iterator[Float[Tensor, ""]]:
    """Full fine-tuning by AdamW, the prototypes computed anew, with gradient, at every step.

    Args:
        network: images in, features out; its parameters change in place.
        images: the support set, normalised.
        labels: 0..way-1.
        lr: learning rate.
        steps: number of steps.

    Yields:
        The support loss before each step's update; the update has happened when the next value is asked for, and
        after the last one when the iterator ends.
    """
    way = int(labels.max()) + 1
    optimizer = torch.optim.AdamW(network.parameters(), lr=lr)
    for _ in range(steps):
        features = network(images)
        loss = cross_entropy(cosine_logits(features, class_prototypes(features, labels, way)), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        yield loss.detach()
