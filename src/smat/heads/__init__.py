"""Heads: support features and labels in, a classifier of features out; with a network, a classifier of images."""

from smat.heads.auto import MANY, Auto, folds
from smat.heads.features import TaskFeatures, averaged, in_batches, query_features, support_features
from smat.heads.head import Classifier, Head
from smat.heads.linear import LDA, LinearClassifier, Logistic, Ridge
from smat.heads.linear_layer import LinearLayer
from smat.heads.mixtures import Average, Each, InViews, Mixture, Weighted
from smat.heads.named import HeadName, make_head
from smat.heads.neighbours import Neighbours
from smat.heads.prototype import LOGIT_SCALE, Prototype, PrototypeClassifier
from smat.heads.task_model import TaskModel, fit_head, fit_task, head_of, specialise, usual_strengths, vectors_at
from smat.heads.views import WHOLE, View, Views

__all__ = [
    "LDA",
    "LOGIT_SCALE",
    "MANY",
    "WHOLE",
    "Auto",
    "Average",
    "Classifier",
    "Each",
    "Head",
    "HeadName",
    "InViews",
    "LinearClassifier",
    "LinearLayer",
    "Logistic",
    "Mixture",
    "Neighbours",
    "Prototype",
    "PrototypeClassifier",
    "Ridge",
    "TaskFeatures",
    "TaskModel",
    "View",
    "Views",
    "Weighted",
    "averaged",
    "fit_head",
    "fit_task",
    "folds",
    "head_of",
    "in_batches",
    "make_head",
    "query_features",
    "specialise",
    "support_features",
    "usual_strengths",
    "vectors_at",
]
