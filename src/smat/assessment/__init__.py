"""What labelled images say of the classifier of them: how right it is, what it does not know, which images are wrong.

All of it is computed from features that are kept, never from images.
"""

from smat.assessment.assessment import Assessment, AssessmentNumbers, assess
from smat.assessment.calibration import Accuracy, accuracy, temperature
from smat.assessment.curve import LearningCurve, Point, learning_curve
from smat.assessment.held_out import HeldOut, hold_out, networks_of
from smat.assessment.knownness import Knownness
from smat.assessment.review import Kind, Suspect, review

__all__ = [
    "Accuracy",
    "Assessment",
    "AssessmentNumbers",
    "HeldOut",
    "Kind",
    "Knownness",
    "LearningCurve",
    "Point",
    "Suspect",
    "accuracy",
    "assess",
    "hold_out",
    "learning_curve",
    "networks_of",
    "review",
    "temperature",
]
