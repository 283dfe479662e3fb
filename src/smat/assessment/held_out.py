"""What classifiers say of labelled images that they did not see."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from smat.assessment.knownness import Knownness
from smat.heads import MANY, Classifier, Head, Mixture, averaged, folds

PARTS, FEWEST_PARTS, WORK = 10, 2, 2000
"""Most and fewest parts of the images, of which each is held out in turn; in between, images times parts are at most
`WORK`, since each part takes a fit."""

SLOPE = 0.3
"""`HeldOut.slope` where images are too few to tell, since no class has more than two; it is much the same elsewhere."""

LEAST = -30.0
"""Least log-probability: that of a class which no neighbour votes for would be infinite."""


@dataclass(frozen=True)
class HeldOut:
    """What is said of labelled images by classifiers that were fitted to others.

    Attributes:
        log_probabilities: of each class, `[held, way]`.
        known: `Knownness` that was fitted to the same others, `[held]`.
        index: which of the labelled images each is, `[held]`; those that are alone in their class are missing.
        labels: 0..way-1, `[held]`.
        seen: share of the images of its class that the classifier was fitted to, `[held]`, less than 1.
        alone: classes that have one image, of which nothing can be held out.
        slope: by how much `Knownness` grows with the logarithm of the number of images per class.
    """

    log_probabilities: Float[Tensor, "held way"]
    known: Float[Tensor, " held"]
    index: Int[Tensor, " held"]
    labels: Int[Tensor, " held"]
    seen: Float[Tensor, " held"]
    alone: tuple[int, ...] = ()
    slope: float = SLOPE

    @property
    def right(self) -> Float[Tensor, " held"]:
        """1 where the most probable class is the image's, 0 elsewhere."""
        return (self.log_probabilities.argmax(1) == self.labels).float()

    def own(self, values: Float[Tensor, "held way"]) -> Float[Tensor, " held"]:
        """What each image has for its own class."""
        return values.gather(1, self.labels[:, None])[:, 0]

    @property
    def weights(self) -> Float[Tensor, " held"]:
        """Of each image, such that all classes that have held-out images count alike; they sum to 1."""
        counts = torch.bincount(self.labels, minlength=self.log_probabilities.shape[1])
        return 1 / counts[self.labels] / (counts > 0).sum()


def parts_for(labels: Int[Tensor, " n"], way: int) -> int:
    """Number of parts that are held out in turn: one image per class at a time where that is cheap."""
    most = min(PARTS, int(torch.bincount(labels, minlength=way).max()))
    return max(FEWEST_PARTS, min(most, WORK // len(labels)))


def fewer_views(features: Float[Tensor, "views n networks_dim"]) -> Float[Tensor, "fewer n networks_dim"]:
    """The features of many images, averaged over views: it hardly changes what a head learns, and is much faster."""
    return averaged(list(features))[None] if features.shape[1] > MANY else features


def query_views(head: Head, features: Float[Tensor, "views n networks_dim"]) -> Float[Tensor, "n networks_dim"]:
    """The features of support images, by view, as a classifier gets those of queries."""
    return averaged([features[head.views.support.index(view)] for view in head.views.query])


def networks_of(classifier: Classifier) -> int:
    """Number of networks whose features a classifier takes apart; 1 where it takes them as one."""
    return classifier.networks if isinstance(classifier, Mixture) else 1


@torch.no_grad()
def hold_out(
    head: Head, classifier: Classifier, features: Float[Tensor, "views n networks_dim"], labels: Int[Tensor, " n"]
) -> HeldOut:
    """What classifiers say of each labelled image that they were not fitted to.

    One image of each class at a time is held out, as far as `parts_for` has it, and several at a time of more images.
    So classifiers are fitted to as many images of one class as of another, which leaving out a single image would not
    do. What the head chose for the task (the weights of `Auto`) stays as it is: only the fit is made anew. It takes up
    to 10 fits of the head without its choice: on one core 0.05 s for 25 images, 0.5 s for 100, 0.7 s for 500 images of
    50 classes, less than the first fit.

    The network is that of all images. Merging experts for a task hardly depends on any one of them, but a network that
    was fine-tuned on the images knows them, and what this finds of it is worth nothing.

    Args:
        head: what made the classifier, for as many networks.
        classifier: of all images.
        features: of all images, by view of `head.views.support`.
        labels: 0..way-1.
    """
    way, networks = classifier.way, networks_of(classifier)
    head, images = head.settled(classifier), query_views(head, features)
    rows = fewer_views(features)
    part = folds(labels, way, parts_for(labels, way))
    counts = torch.bincount(labels, minlength=way)
    log_probabilities = features.new_zeros(len(labels), way)
    for fold in range(int(part.max()) + 1):
        kept, held = part != fold, part == fold
        fitted = head.fit(rows[:, kept].flatten(0, 1), labels[kept].repeat(len(rows)), way)
        log_probabilities[held] = fitted(images[held]).log_softmax(1).clamp(min=LEAST).to(features)
    index = (part >= 0).nonzero()[:, 0]
    alone = tuple((counts == 1).nonzero()[:, 0].tolist())
    known, seen = (values[index] for values in _known(features, images, labels, part, way, networks))
    half = folds(labels, way, FEWEST_PARTS)
    known_of_half, seen_of_half = (values[index] for values in _known(features, images, labels, half, way, networks))
    more = (seen / seen_of_half).log()
    slope = float((known - known_of_half).mean() / more.mean()) if more.sum() > 0 else SLOPE
    return HeldOut(log_probabilities[index], known, index, labels[index], seen, alone, max(slope, 0.0))


def _known(
    features: Tensor, images: Tensor, labels: Tensor, part: Tensor, way: int, networks: int
) -> tuple[Tensor, Tensor]:
    """`Knownness` of each image by those of the other parts, and the share of its class that these have."""
    known, seen = torch.zeros_like(images[:, 0]), torch.zeros_like(images[:, 0])
    counts = torch.bincount(labels, minlength=way)
    for fold in range(int(part.max()) + 1):
        kept, held = part != fold, part == fold
        known[held] = Knownness.fit(features[:, kept], labels[kept], way, networks)(images[held])
        seen[held] = (torch.bincount(labels[kept], minlength=way) / counts)[labels[held]].to(images)
    return known, seen
