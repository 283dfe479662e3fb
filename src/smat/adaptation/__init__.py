"""From a pool of experts to a network for one task: fine-tuning, a classifier to use."""

from smat.adaptation.averaging import TaskModels, averaged, tuned_models
from smat.adaptation.classifier import FewShotClassifier
from smat.adaptation.expert_tuners import ExpertTuner, GateTuning, Kind, WeightTuning, make_tuner
from smat.adaptation.finetune import FineTuning, fine_tune, plain_features
from smat.adaptation.learning_rate import can_choose, cross_validated_lr
from smat.adaptation.models import Device, Model, evaluating, open_model, pick_device
from smat.adaptation.settings import FineTuneConfig, LearningRate, default_grid
from smat.adaptation.tuners import FineTuner, FullTuning, LoRATuning, NoTuning

__all__ = [
    "Device",
    "ExpertTuner",
    "FewShotClassifier",
    "FineTuneConfig",
    "FineTuner",
    "FineTuning",
    "FullTuning",
    "GateTuning",
    "Kind",
    "LearningRate",
    "LoRATuning",
    "Model",
    "NoTuning",
    "TaskModels",
    "WeightTuning",
    "averaged",
    "can_choose",
    "cross_validated_lr",
    "default_grid",
    "evaluating",
    "fine_tune",
    "make_tuner",
    "open_model",
    "pick_device",
    "plain_features",
    "tuned_models",
]
