"""Photos that a classifier is asked about, and what it says."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from smat.adaptation import Answers, FewShotClassifier
from smat.app.board import UNKNOWN, Photo
from smat.assessment import Assessment
from smat.errors import ConfigError


@dataclass(frozen=True)
class Tried:
    """What a classifier says of photos.

    Attributes:
        classes: its classes.
        photos: the photos.
        labels: the label of each, perhaps that for photos of no class.
        probabilities: of each class, `[photos, classes]`.
        known: how much each is like the labelled ones, `[photos]`; None where that is not known.
        seen: whether each is one of the labelled ones, `[photos]`.
        unknown: the label for photos of no class; None: every photo gets a class.
    """

    classes: tuple[str, ...]
    photos: tuple[Photo, ...]
    labels: tuple[str, ...]
    probabilities: np.ndarray
    known: np.ndarray | None
    seen: np.ndarray
    unknown: str | None


@dataclass
class Trial:
    """The photos, in the order of their coming, and the answers of one classifier, part by part."""

    photos: list[Photo] = field(default_factory=list)
    answers: list[Answers] = field(default_factory=list)

    def ask(self, classifier: FewShotClassifier, photos: Sequence[Photo]) -> None:
        """Ask about more photos."""
        if photos:
            self.answers.append(classifier.answer([str(photo.path) for photo in photos]))
            self.photos += photos

    def asked_again(self, classifier: FewShotClassifier) -> "Trial":
        """The same photos, and what another classifier says of them."""
        trial = Trial()
        trial.ask(classifier, self.photos)
        return trial

    def tried(self, classifier: FewShotClassifier, rate: float | None = None) -> Tried | None:
        """What was said; None where nothing was asked.

        Args:
            classifier: the one that was asked.
            rate: share of photos of the classes that may be taken for photos of none; None: every photo gets a class.

        Raises:
            ConfigError: the labelled photos are too few for the rate.
        """
        if not self.photos:
            return None
        classes = tuple(map(str, classifier.classes_))
        probabilities = np.concatenate([each.probabilities for each in self.answers])
        scores = [each.known for each in self.answers if each.known is not None]
        known = np.concatenate(scores) if len(scores) == len(self.answers) else None
        labels = [classes[code] for code in probabilities.argmax(axis=1)]
        if rate is not None and known is not None:
            threshold = _assessed(classifier).threshold(rate)
            labels = [UNKNOWN if score < threshold else label for score, label in zip(known, labels, strict=True)]
        seen = np.concatenate([each.seen for each in self.answers])
        unknown = None if rate is None else UNKNOWN
        return Tried(classes, tuple(self.photos), tuple(labels), probabilities, known, seen, unknown)


def smallest_rate(classifier: FewShotClassifier) -> float | None:
    """The smallest such rate that the labelled photos are enough for; None where there is none."""
    if classifier.assessment_ is None:
        return None
    smallest = classifier.assessment_.smallest()
    return smallest if smallest < 1 else None


def _assessed(classifier: FewShotClassifier) -> Assessment:
    if classifier.assessment_ is None:
        raise ConfigError("what is unknown is not known after this fine-tuning: fine-tune again, with that found out")
    return classifier.assessment_
