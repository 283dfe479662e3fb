"""From a pool of experts to a network for one task: prototypes, fine-tuning, a classifier to use."""

from smat.adaptation.classifier import FewShotClassifier
from smat.adaptation.finetune import adapt, fine_tune, plain_features
from smat.adaptation.learning_rate import cross_validated_lr
from smat.adaptation.lora import adapted_layers
from smat.adaptation.models import Device, Model, evaluating, open_model, pick_device
from smat.adaptation.settings import Adapt, FineTuneConfig, LearningRate

__all__ = [
    "Adapt",
    "Device",
    "FewShotClassifier",
    "FineTuneConfig",
    "LearningRate",
    "Model",
    "adapt",
    "adapted_layers",
    "cross_validated_lr",
    "evaluating",
    "fine_tune",
    "open_model",
    "pick_device",
    "plain_features",
]
