"""Probes: how much of a target a frozen representation explains, linearly or by its nearest neighbours."""

from __future__ import annotations

from ._curves import LearningCurves
from ._learning_curves import learning_curves
from ._probes import KNNProbe, RidgeProbe, knn_probe, ridge_probe

__all__ = ["KNNProbe", "LearningCurves", "RidgeProbe", "knn_probe", "learning_curves", "ridge_probe"]
