"""From a pool to a classifier of a task's images: the one way."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from smat.backbones import Backbone
from smat.experts import SparseInterpolatedExperts, count_classes
from smat.heads.head import Classifier, Head
from smat.heads.prototype import Prototype
from smat.precision import NetworkPrecision


class TaskModel(nn.Module):
    """A network for one task, with ordinary parameters and no experts in it: images in, logits out.

    Attributes:
        backbone: a copy with the merged parameters: images in, features out.
        head: what made the classifier, and makes it again when the backbone has been tuned.
        classifier: features in, logits out.
        merge_weights: how much of each expert the router put into it, `[experts]`.
        tuned: number of parameters that fine-tuning trained; 0 without it.
    """

    merge_weights: Tensor
    tuned: int = 0

    def __init__(self, backbone: Backbone, head: Head, classifier: Classifier, merge_weights: Tensor) -> None:
        super().__init__()
        self.backbone, self.head, self.classifier = backbone, head, classifier
        self.register_buffer("merge_weights", merge_weights)

    @property
    def way(self) -> int:
        """Number of classes."""
        return self.classifier.way

    @torch.no_grad()
    def refit(self, features: Float[Tensor, "n dim"], labels: Int[Tensor, " n"]) -> None:
        """Make the classifier anew, from the support features of the backbone as it is now."""
        self.classifier = self.head.fit(features, labels, self.way)

    def forward(self, images: Float[Tensor, "n 3 height width"]) -> Float[Tensor, "n way"]:
        """Logits of the task's classes."""
        return self.classifier(self.backbone(images))


def head_of(pool: SparseInterpolatedExperts, head: Head | None = None) -> Head:
    """The head that is given; or nearest prototypes, with the scale and the bias that the pool has learned if any."""
    return head or Prototype(None if pool.head is None else pool.head.detach().clone())


@torch.no_grad()
def specialise(
    pool: SparseInterpolatedExperts,
    images: Float[Tensor, "n 3 height width"],
    labels: Int[Tensor, " n"],
    *,
    head: Head | None = None,
    precision: NetworkPrecision = "32-true",
) -> TaskModel:
    """A plain network and head for one task: the experts merged for its support set, the head fitted to it.

    Args:
        pool: experts around a backbone, or none.
        images: support images, normalised as the backbone wants them.
        labels: classes 0..way-1, each at least once.
        head: nearest prototypes by default.
        precision: of the passes over the support set; the weights of the result are float32.

    Raises:
        DataError: labels that are not 0..way-1, or a class without an image.
    """
    vector, weights = pool.merged_for(images, labels, precision)
    head = head_of(pool, head)
    classifier = head.fit(pool.network(vector, precision)(images), labels, count_classes(labels))
    return TaskModel(pool.plain_network(vector), head, classifier, weights)


@torch.no_grad()
def fit_task(
    pool: SparseInterpolatedExperts,
    support: Float[Tensor, "n_support 3 height width"],
    labels: Int[Tensor, " n_support"],
    query: Float[Tensor, "n_query 3 height width"],
    *,
    head: Head | None = None,
    precision: NetworkPrecision = "32-true",
    frozen: Float[Tensor, "n_support dim"] | None = None,
) -> tuple[Classifier, Float[Tensor, "n_query dim"]]:
    """A task's classifier and the features of its query images, as by `specialise`, but without a copy of the network.

    Args:
        pool: experts around a backbone, or none.
        support: support images.
        labels: their classes 0..way-1.
        query: images to classify.
        head: nearest prototypes by default.
        precision: of the passes over networks.
        frozen: the pre-trained network's features of the support, where they are known.
    """
    vector, _ = pool.merged_for(support, labels, precision, frozen)
    features = pool.network(vector, precision)(torch.cat([support, query]))
    n = len(support)
    return head_of(pool, head).fit(features[:n], labels, count_classes(labels)), features[n:]
