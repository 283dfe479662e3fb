"""From a pool of experts to a network for one task: fine-tuning, a classifier to use."""

from smat.adaptation.averaging import TaskModels, averaged, models_of, tuned_models
from smat.adaptation.classifier import Answers, FewShotClassifier
from smat.adaptation.expert_tuners import ExpertTuner, GateTuning, Kind, WeightTuning, make_tuner
from smat.adaptation.finetune import FineTuning, fine_tune, plain_features
from smat.adaptation.growing import Change
from smat.adaptation.learning_rate import can_choose, cross_validated_lr
from smat.adaptation.models import Device, Model, evaluating, open_model, pick_device
from smat.adaptation.saved import is_classifier
from smat.adaptation.settings import FineTuneConfig, LearningRate, default_grid
from smat.adaptation.support import Support
from smat.adaptation.tuners import FineTuner, FullTuning, LoRATuning, NoTuning

__all__ = [
    "Answers",
    "Change",
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
    "Support",
    "TaskModels",
    "WeightTuning",
    "averaged",
    "can_choose",
    "cross_validated_lr",
    "default_grid",
    "evaluating",
    "fine_tune",
    "is_classifier",
    "make_tuner",
    "models_of",
    "open_model",
    "pick_device",
    "plain_features",
    "tuned_models",
]
