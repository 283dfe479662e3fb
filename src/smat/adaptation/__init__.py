"""From a pool of experts to a network for one task: prototypes, fine-tuning, a classifier to use."""

from smat.adaptation.classifier import FewShotClassifier
from smat.adaptation.models import Device, Model, evaluating, open_model, pick_device

__all__ = ["Device", "FewShotClassifier", "Model", "evaluating", "open_model", "pick_device"]
