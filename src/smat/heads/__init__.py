"""Heads: support features and labels in, a classifier of features out; with a network, a classifier of images."""

from smat.heads.head import Classifier, Head
from smat.heads.prototype import LOGIT_SCALE, Prototype, PrototypeClassifier
from smat.heads.sklearn_heads import Logistic, Neighbours
from smat.heads.task_model import TaskModel, fit_task, head_of, specialise

__all__ = [
    "LOGIT_SCALE",
    "Classifier",
    "Head",
    "Logistic",
    "Neighbours",
    "Prototype",
    "PrototypeClassifier",
    "TaskModel",
    "fit_task",
    "head_of",
    "specialise",
]
