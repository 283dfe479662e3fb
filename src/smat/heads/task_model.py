"""From a pool to a classifier of a task's images: the one way."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from smat.backbones import Backbone
from smat.experts import MERGED, FeatureCache, SparseInterpolatedExperts, Strength, cached, count_classes
from smat.heads.features import FeatureNetwork, TaskFeatures, in_batches, query_features, support_features
from smat.heads.head import Classifier, Head, Weights
from smat.heads.mixtures import Mixture
from smat.heads.prototype import Prototype
from smat.precision import NetworkPrecision


class TaskModel(nn.Module):
    """Networks for one task, with ordinary parameters and no experts in them: images in, logits out.

    Attributes:
        backbone: a copy with the merged parameters: images in, features out.
        others: further networks, such as the frozen one, whose features come before those of `backbone`.
        head: what made the classifier, and makes it again when the backbone has been tuned.
        classifier: features in, logits out.
        merge_weights: how much of each expert the router put into it, `[experts]`; with a null expert they sum to less
            than 1.
        features: support features that the classifier was fitted to, `[views_n, networks_dim]`.
        frozen: features of the support images by the frozen network, which the router saw, `[n, dim]`.
        tuned: number of parameters that fine-tuning trained; 0 without it.
    """

    merge_weights: Tensor
    features: Tensor | None
    frozen: Tensor | None
    tuned: int = 0

    def __init__(
        self,
        backbone: Backbone,
        head: Head,
        classifier: Classifier,
        merge_weights: Tensor,
        others: Sequence[Backbone] = (),
        features: Tensor | None = None,
        frozen: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.backbone, self.others = backbone, nn.ModuleList(others)
        self.head, self.classifier = head, classifier
        self.register_buffer("merge_weights", merge_weights)
        self.register_buffer("features", features, persistent=False)
        self.register_buffer("frozen", frozen, persistent=False)

    @property
    def way(self) -> int:
        """Number of classes."""
        return self.classifier.way

    @property
    def networks(self) -> list[Backbone]:
        """All networks, in the order of their features."""
        return [*self.others, self.backbone]  # pyright: ignore[reportReturnType]

    @property
    def passes(self) -> int:
        """Passes through a network that an image takes."""
        return len(self.networks) * len(self.head.views.query)

    @torch.no_grad()
    def refit(
        self,
        features: Float[Tensor, "views_n networks_dim"],
        labels: Int[Tensor, " n"],
        weights: Weights = None,
        *,
        way: int | None = None,
        tuned: bool = True,
    ) -> None:
        """Make the classifier anew, from the support features of the networks as they are now.

        Args:
            features: as `support_features` gives them.
            labels: classes 0..way-1.
            weights: how much each image counts.
            way: number of classes; as before by default.
            tuned: whether the networks were tuned on these images, which then say nothing of what is best.
        """
        head = self.head.after_tuning() if tuned else self.head
        self.classifier = fit_head(head, features, labels, way or self.way, len(self.networks), weights)
        self.features = features

    def forward(self, images: Float[Tensor, "n 3 height width"]) -> Float[Tensor, "n way"]:
        """Logits of the task's classes, in the precision of the weights."""
        return self.classified(self.networks, images)

    def classified(
        self, networks: Sequence[FeatureNetwork], images: Float[Tensor, "n 3 height width"]
    ) -> Float[Tensor, "n way"]:
        """Logits by the features of networks that stand for its own: in another precision, or with a cache."""
        return self.described(networks, images)[1]

    def described(
        self, networks: Sequence[FeatureNetwork], images: Float[Tensor, "n 3 height width"]
    ) -> tuple[Float[Tensor, "n networks_dim"], Float[Tensor, "n way"]]:
        """Features and logits, likewise."""
        features = query_features(networks, images, self.head.views.query).to(self.merge_weights.dtype)
        with torch.autocast(images.device.type, enabled=False):
            return features, self.classifier(features)


def fit_head(
    head: Head,
    features: Float[Tensor, "views_n networks_dim"],
    labels: Int[Tensor, " n"],
    way: int,
    networks: int,
    weights: Weights = None,
) -> Classifier:
    """The classifier of support features as `support_features` gives them; weights are those of the images."""
    views = len(head.views.support)
    repeated = None if weights is None else weights.repeat(views)
    return head.for_networks(networks).fit_weighted(features, labels.repeat(views), way, repeated)


def usual_strengths(head: Head | None, tuned: bool) -> tuple[Strength, ...]:
    """Networks of a pool that a head gets the features of where nobody says which.

    Args:
        head: None for class means.
        tuned: whether the network is fine-tuned, which is then the only one.
    """
    return MERGED if head is None or tuned else head.strengths


def head_of(pool: SparseInterpolatedExperts, head: Head | None = None) -> Head:
    """The head that is given, or nearest prototypes; with what the pool has learned for it, if anything."""
    if head is None:
        return Prototype(None if pool.head is None else pool.head.detach().clone())
    return head.with_prior(pool.config.head_prior) if pool.config.head_prior else head


@torch.no_grad()
def specialise(
    pool: SparseInterpolatedExperts,
    images: Float[Tensor, "n 3 height width"],
    labels: Int[Tensor, " n"],
    *,
    head: Head | None = None,
    strengths: Sequence[Strength] = MERGED,
    precision: NetworkPrecision = "32-true",
    cache: FeatureCache | None = None,
    weights: Weights = None,
    batch_size: int | None = None,
) -> TaskModel:
    """Plain networks and a head for one task: the experts merged for its support set, the head fitted to it.

    A network that the head gives no weight is left out, so that no image has to pass through it.

    Args:
        pool: experts around a backbone, or none.
        images: support images, normalised as the backbone wants them.
        labels: classes 0..way-1, each at least once.
        head: nearest prototypes by default.
        strengths: networks that the head gets the features of, by how far they go from the frozen one (0) to the merged
            one (1); a pool without experts has one network whatever they are.
        precision: of the passes over the support set; the weights of the result are float32.
        cache: features of earlier calls, on disk.
        weights: how much each image counts for the head; the router sees each once.
        batch_size: number of images that pass through a network at a time; None for all.

    Raises:
        DataError: labels that are not 0..way-1, or a class without an image.
        ConfigError: weights where the head has no use for them.
    """
    way, head = count_classes(labels), head_of(pool, head)
    frozen = in_batches(cached(pool.network(pool.pretrained, precision), cache), batch_size)
    known = frozen(images)
    merged, merge_weights = pool.merged_for(images, labels, precision, known)
    vectors = vectors_at(pool, merged, strengths)
    networks: list[FeatureNetwork] = [
        (lambda x: known if x is images else frozen(x))
        if vector is pool.pretrained
        else in_batches(pool.network(vector, precision), batch_size)
        for vector in vectors
    ]
    features = support_features(networks, images, head.views.support)
    classifier = fit_head(head, features, labels, way, len(vectors), weights)
    if isinstance(classifier, Mixture) and len(classifier.used) < len(vectors):
        parts = features.chunk(len(vectors), dim=1)
        features = torch.cat([parts[k] for k in classifier.used], dim=1)
        vectors, classifier = [vectors[k] for k in classifier.used], classifier.without_unused()
    *others, backbone = (pool.plain_network(vector) for vector in vectors)
    return TaskModel(backbone, head, classifier, merge_weights, others, features, known)


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
    head = head_of(pool, head)
    vector, _ = pool.merged_for(support, labels, precision, frozen)
    features, queries = TaskFeatures(support, query).of({"merged": pool.network(vector, precision)}, head.views)
    return head.fit(features, labels.repeat(len(head.views.support)), count_classes(labels)), queries


def vectors_at(
    pool: SparseInterpolatedExperts, merged: Float[Tensor, " params"], strengths: Sequence[Strength]
) -> list[Float[Tensor, " params"]]:
    """The parameters of a task's networks, one per strength; of a pool without experts `pretrained` alone."""
    if not pool.config.experts:
        return [pool.pretrained]
    return [strength.apply(pool.pretrained, merged, pool.layout) for strength in strengths]
