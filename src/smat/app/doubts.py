"""What a classifier says of the photos that it was made of."""

from collections.abc import Sequence
from dataclasses import dataclass

from smat.adaptation import FewShotClassifier
from smat.app.board import Photo
from smat.assessment import LearningCurve, Suspect


@dataclass(frozen=True)
class Doubt:
    """A labelled photo that may be wrong.

    Attributes:
        photos: the photo; and if it is a duplicate, the other one.
        text: what seems wrong, and what to do.
        seems: the class that it seems to be of; empty where that is not what is wrong.
    """

    photos: tuple[Photo, ...]
    text: str
    seems: str = ""


@dataclass(frozen=True)
class LookedAt:
    """What was found out once about a classifier.

    Attributes:
        doubts: photos that may be wrong, the most suspect of each kind first.
        curve: whether more photos would help; None where that is not known.
    """

    doubts: tuple[Doubt, ...] = ()
    curve: LearningCurve | None = None

    @classmethod
    def of(cls, classifier: FewShotClassifier, photos: Sequence[Photo]) -> "LookedAt":
        """What there is to find out.

        Args:
            classifier: the classifier.
            photos: the photos that it was made of, in its order.
        """
        if classifier.assessment_ is None:
            return cls()
        doubts = tuple(_doubt(classifier, suspect, photos) for suspect in classifier.review())
        return cls(doubts, classifier.learning_curve())


def _doubt(classifier: FewShotClassifier, suspect: Suspect, photos: Sequence[Photo]) -> Doubt:
    photo, what = photos[suspect.index], suspect.suggestion
    if suspect.kind == "label" and suspect.other is not None:
        seems = str(classifier.classes_[suspect.other])
        return Doubt((photo,), f"In {photo.label}, but looks like {seems}: {what}.", seems)
    if suspect.kind == "duplicate" and suspect.other is not None:
        other = photos[suspect.other]
        same = other.label == photo.label
        where = f"in {photo.label} too" if same else f"in {other.label}, this one in {photo.label}"
        return Doubt((photo, other), f"Nearly the same as another photo, {where}: {what}.")
    return Doubt((photo,), f"In {photo.label}, and unlike all others: {what}.")
