"""From a pool of experts to a network for one task: fine-tuning, a classifier to use."""

from smat.adaptation.classifier import FewShotClassifier
from smat.adaptation.finetune import FineTuning, fine_tune, plain_features
from smat.adaptation.learning_rate import cross_validated_lr
from smat.adaptation.models import Device, Model, evaluating, open_model, pick_device
from smat.adaptation.settings import FineTuneConfig, LearningRate
from smat.adaptation.tuners import FineTuner, FullTuning, Kind, LoRATuning, NoTuning, make_tuner

__all__ = [
    "Device",
    "FewShotClassifier",
    "FineTuneConfig",
    "FineTuner",
    "FineTuning",
    "FullTuning",
    "Kind",
    "LearningRate",
    "LoRATuning",
    "Model",
    "NoTuning",
    "cross_validated_lr",
    "evaluating",
    "fine_tune",
    "make_tuner",
    "open_model",
    "pick_device",
    "plain_features",
]
