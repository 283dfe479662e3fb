"""From a pool of experts to a network for one task: fine-tuning, a classifier to use."""

from smat.adaptation.averaging import TaskModels, averaged, models_of, tuned_models
from smat.adaptation.classifier import FewShotClassifier
from smat.adaptation.expert_tuners import ExpertTuner, GateTuning, Kind, WeightTuning, make_tuner
from smat.adaptation.finetune import FineTuning, fine_tune, plain_features
from smat.adaptation.fitted import Answers, FittedClassifier
from smat.adaptation.growing import Change
from smat.adaptation.installed import Network, find_networks
from smat.adaptation.learning_rate import can_choose, cross_validated_lr
from smat.adaptation.models import Device, Model, evaluating, open_model, pick_device
from smat.adaptation.networks import Choice, choose, default_model
from smat.adaptation.ranking import Ranked, ranking
from smat.adaptation.saved import is_classifier
from smat.adaptation.settings import FineTuneConfig, LearningRate, Rate, default_grid
from smat.adaptation.support import Support
from smat.adaptation.tuners import FineTuner, FullTuning, LoRATuning, NoTuning

__all__ = [
    "Answers",
    "Change",
    "Choice",
    "Device",
    "ExpertTuner",
    "FewShotClassifier",
    "FineTuneConfig",
    "FineTuner",
    "FineTuning",
    "FittedClassifier",
    "FullTuning",
    "GateTuning",
    "Kind",
    "LearningRate",
    "LoRATuning",
    "Model",
    "Network",
    "NoTuning",
    "Ranked",
    "Rate",
    "Support",
    "TaskModels",
    "WeightTuning",
    "averaged",
    "can_choose",
    "choose",
    "cross_validated_lr",
    "default_grid",
    "default_model",
    "evaluating",
    "find_networks",
    "fine_tune",
    "is_classifier",
    "make_tuner",
    "models_of",
    "open_model",
    "pick_device",
    "plain_features",
    "ranking",
    "tuned_models",
]
