"""Probes: how much of a target a frozen representation explains, linearly or by its nearest neighbours."""

from __future__ import annotations

from ._class_errors import ProbabilityErrors, probability_errors
from ._curves import LearningCurves
from ._learning_curves import learning_curves
from ._probes import KNNProbe, RidgeProbe, knn_probe, ridge_probe

__all__ = [
    "KNNProbe",
    "LearningCurves",
    "ProbabilityErrors",
    "RidgeProbe",
    "knn_probe",
    "learning_curves",
    "probability_errors",
    "ridge_probe",
]
