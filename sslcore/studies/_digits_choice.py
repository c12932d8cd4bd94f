"""Real digits: what the choice of reg without labels is worth to a probe, and learning curves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..features import Nystrom
from ..fitting.path import pretrain_path
from ..probing import LearningCurves, learning_curves, ridge_probe

if TYPE_CHECKING:
    from .digits import Study

__all__ = ["Choice", "choice", "curves"]


@dataclass(frozen=True, eq=False)
class Choice:
    """Held-out risk, which knows no label, beside the error of a probe, over reg.

    Attributes
    ----------
    regs : array (r,)
        Increasing.
    risks, risk_errors : array (r,)
        Unbiased risk on held-out images, and its standard error.
    errors : array (r, draws)
        Share of wrong answers of the probe on the images that were not labelled, by the draw of labels.
    n_labels : int
    """

    regs: np.ndarray
    risks: np.ndarray
    risk_errors: np.ndarray
    errors: np.ndarray
    n_labels: int

    @property
    def by_risk(self) -> int:
        """Index of the reg of least risk."""
        return int(np.nanargmin(self.risks))

    @property
    def by_labels(self) -> int:
        """Index of the reg of least error."""
        return int(self.errors.mean(axis=1).argmin())

    def price(self) -> tuple[float, float]:
        """Return how much more error the choice without labels has than the best, and the standard error of that."""
        more = self.errors[self.by_risk] - self.errors[self.by_labels]
        return float(more.mean()), float(more.std(ddof=1) / len(more) ** 0.5)

    def as_dict(self) -> dict[str, Any]:
        """Return all numbers, for machines."""
        return {
            "reg": self.regs,
            "risk": self.risks,
            "risk_standard_error": self.risk_errors,
            "error": self.errors.mean(axis=1),
            "error_standard_error": self.errors.std(axis=1, ddof=1) / self.errors.shape[1] ** 0.5,
            "n_labels": self.n_labels,
            "reg_by_risk": self.regs[self.by_risk],
            "reg_by_labels": self.regs[self.by_labels],
        }


def choice(found: Study, images: np.ndarray, draws: list[np.ndarray]) -> Choice:
    """Probe the fits of the whole grid of reg, with each draw of labelled images.

    The fits are those of the search, with Nystrom features in place of the kernel, but to all images.
    """
    settings, searched = found.settings, found.selection
    features = Nystrom(settings.kernel, min(settings.search_features, len(images)))
    path = pretrain_path(
        found.views, features, settings.n_components, regs=searched.regs, betas=[settings.beta], center=True
    )
    errors = []
    for (rep,) in path.representations:
        z = rep(images)
        row = []
        for labelled in draws:
            probe = ridge_probe(z[labelled], found.labels[labelled], settings.probe_regs)
            others = np.delete(np.arange(len(z)), labelled)
            row.append(1.0 - probe.score(z[others], found.labels[others]))
        errors.append(row)
    order = [list(searched.regs).index(reg) for reg in path.regs]  # the search goes down, the path up
    risks, risk_errors = searched.risks[order], searched.standard_errors[order]
    return Choice(np.array(path.regs), risks, risk_errors, np.array(errors), len(draws[0]))


def curves(
    found: Study, images: np.ndarray, repetitions: tuple[int, int], seed: int, cells: dict[str, Any]
) -> LearningCurves:
    """Measure the error over the number of images without labels, and of those with."""
    settings, n = found.settings, len(images)
    sizes = [n // 24, n // 12, n // 6, n // 3, (2 * n) // 3]
    return learning_curves(
        images,
        settings.kernel,
        settings.n_components,
        target=found.labels,
        augmentation=settings.augmentation,
        kind="classes",
        pretraining_sizes=[size for size in sizes if 2 * size > settings.n_components],  # of two views
        downstream_sizes=[n // 36, n // 18, n // 9],
        repetitions=repetitions,
        n_test=n // 4,
        reg=found.selection.reg,
        beta=settings.beta,
        center=True,
        scale="risk",
        probe_reg=1e-2,
        fit_intercept=True,
        seed=seed,
        **cells,
    )
