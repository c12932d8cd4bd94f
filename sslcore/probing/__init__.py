"""Probes: how much of a target a frozen representation explains, linearly or by its nearest neighbours."""

from __future__ import annotations

from ._probes import KNNProbe, RidgeProbe, knn_probe, ridge_probe

__all__ = ["KNNProbe", "RidgeProbe", "knn_probe", "ridge_probe"]
