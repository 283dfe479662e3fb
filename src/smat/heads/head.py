"""What a head is: support features and labels in, a classifier of features out."""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from jaxtyping import Float, Int
from torch import Tensor, nn

from smat.errors import ConfigError
from smat.experts import MERGED, Strength
from smat.heads.views import ONE_VIEW, Views
from smat.plugins import Plugin

Weights = Float[Tensor, " n"] | None
"""How much each support image counts, above 0: 2 as much as the image twice. None: each once."""


class Classifier(nn.Module, ABC):
    """Classifies features of one task.

    What it knows of the task, and what its head has learned, are tensors registered as buffers: so it moves between
    devices and is saved with the network, and meta-tuning can differentiate by them.
    """

    way: int

    @abstractmethod
    def forward(self, features: Float[Tensor, "n dim"]) -> Float[Tensor, "n way"]:
        """Logits of the task's classes, such that their softmax gives the probabilities."""

    def probabilities(self, features: Float[Tensor, "n dim"]) -> Float[Tensor, "n way"]:
        """Of the task's classes; rows sum to 1."""
        return self(features).softmax(dim=1)


class Head(Plugin, ABC):
    """Makes a classifier of features from a support set; an extension point.

    A head works on the features of any network: the frozen one, a merged one, a fine-tuned one. Its settings are the
    constructor's arguments, kept as attributes of the same name; `fit` changes nothing in it.

    Attributes:
        differentiable: whether the classifier's tensors and its logits are differentiable in the features. Meta-tuning
            needs it; fine-tuning goes through class means where it is not.
        views: what passes through the network of each image. With several views of a support image, `fit` gets the
            features of all first views, then of all second ones, and so on, and the labels as often.
        strengths: networks of a pool whose features it gets where nobody says which, by how far each goes from the
            frozen one to the merged one. After fine-tuning it gets those of the tuned network alone.
        version: what its classifiers depend on beside its settings, such as learned numbers that come with it.
    """

    differentiable: bool = True
    views: Views = ONE_VIEW
    strengths: tuple[Strength, ...] = MERGED
    version: str = ""

    @abstractmethod
    def fit(
        self, features: Float[Tensor, "n dim"], labels: Int[Tensor, " n"], way: int, weights: Weights = None
    ) -> Classifier:
        """The classifier of a support set.

        A head that cannot weigh images may do without the last parameter; `fit_weighted` then refuses weights.

        Args:
            features: of the support images.
            labels: classes 0..way-1, each at least once.
            way: number of classes.
            weights: how much each image counts.
        """

    def fit_weighted(
        self, features: Float[Tensor, "n dim"], labels: Int[Tensor, " n"], way: int, weights: Weights = None
    ) -> Classifier:
        """As `fit`; raises a `ConfigError` for weights where the head has no use for them."""
        if weights is None:
            return self.fit(features, labels, way)
        if "weights" not in inspect.signature(self.fit).parameters:
            raise ConfigError(f"the head {type(self).__name__} cannot weigh images: leave sample_weight out")
        return self.fit(features, labels, way, weights)

    def with_prior(self, prior: Mapping[str, Any]) -> "Head":
        """The head with what a pool has learned of tasks (`PoolConfig.head_prior`); for most it means nothing."""
        return self

    def for_networks(self, networks: int) -> "Head":
        """The head for the features of several networks side by side; they are one long feature unless it says more."""
        return self

    def after_tuning(self) -> "Head":
        """The head for a network that has been tuned on the support set, which then says nothing of what is best."""
        return self

    def settled(self, classifier: Classifier) -> "Head":
        """The head with what it chose for a task left as it is, to be fitted to parts of that task.

        Most choose nothing; for one that does, choosing again for each part would take long.

        Args:
            classifier: what the head made of the whole task.
        """
        return self
