"""Lines of a few functions from samples: what finitely many views make of exact lines that cross.

The class of functions is the span of the chosen eigenfunctions chi_S, with their part of the kernel,
sum_S kappa_S chi_S(x) chi_S(y): the picture of the paper's few lines, fitted.  On samples T and K no longer commute,
the lines avoid each other, and the first function is a mixture where they would cross.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import datasets
from ..augmentations import Augmentation
from ..features import Identity
from ..fitting.path import pretrain_path
from ..population import Crossing, Eigenvalues, Modes

__all__ = ["PAPER", "Fits", "Toy", "crop_fits", "fit_lines", "toy"]

PAPER = ((0.9, 0.75, 0.5), (1 / 0.4, 1 / 0.25, 1 / 0.125))
"""t and kappa of the three lines in the paper's picture."""


@dataclass(frozen=True, eq=False)
class Fits:
    """Eigenvalues of fits on draws of samples, over reg.

    Attributes
    ----------
    n, m : int
        Samples and views of each.
    regs : array (r,)
    eigenvalues : array (draws, r, k)
        Decreasing.
    shares : array (draws, r, k)
        The part of the first function's square that is chi_S, by S.
    """

    n: int
    m: int
    regs: np.ndarray
    eigenvalues: np.ndarray
    shares: np.ndarray

    def mean(self) -> np.ndarray:
        """Return the means over the draws, (r, k)."""
        out: np.ndarray = self.eigenvalues.mean(axis=0)
        return out

    def standard_error(self) -> np.ndarray:
        """Return the standard errors of these means."""
        out: np.ndarray = self.eigenvalues.std(axis=0, ddof=1) / len(self.eigenvalues) ** 0.5
        return out

    def first(self, middles: np.ndarray) -> np.ndarray:
        """Return how often each S has the greatest share of the first function, at the regs next to ``middles``."""
        places = np.abs(self.regs - np.asarray(middles)[:, None]).argmin(axis=1)
        winners = self.shares[:, places].argmax(axis=2)
        return np.stack([(winners == s).mean(axis=0) for s in range(self.shares.shape[2])], axis=1)

    def as_dict(self) -> dict[str, Any]:
        """Return all numbers, for machines."""
        return {
            "n": self.n,
            "views": self.m,
            "draws": len(self.eigenvalues),
            "reg": self.regs,
            "mean": self.mean(),
            "standard_error": self.standard_error(),
        }


@dataclass(frozen=True, eq=False)
class Toy:
    """The three lines of the paper's picture, exactly and fitted.

    Attributes
    ----------
    t, kappa : tuple of float
    crossings : list of Crossing
        At reg = 1 and 2.
    fits : list of Fits
        Of the three bits of a cube, each flipped with a probability of its own: (1 - 2 p)^2 = t.
    """

    t: tuple[float, ...]
    kappa: tuple[float, ...]
    crossings: list[Crossing]
    fits: list[Fits]


def fit_lines(values: np.ndarray, kappa: np.ndarray, regs: np.ndarray, beta: float) -> tuple[np.ndarray, np.ndarray]:
    """Fit the span of the functions with these values (n, m, k) at the views: eigenvalues and shares, (r, k) each."""
    found = pretrain_path(values * np.sqrt(kappa), Identity(), len(kappa), regs=regs, betas=[beta])
    eigenvalues, shares = [], []
    for (rep,) in found.representations:
        parts = rep.transform(np.diag(np.sqrt(kappa)), scale="unit")[:, 0] ** 2  # row S: its coefficient on chi_S
        eigenvalues.append(rep.eigenvalues)
        shares.append(parts / parts.sum())
    return np.array(eigenvalues), np.array(shares)


def _toy_fits(n: int, regs: np.ndarray, draws: int, seed: int) -> Fits:
    """Fit the paper's three lines on n samples of three bits, two views of each."""
    t, kappa = (np.array(part) for part in PAPER)
    found = []
    for draw in range(draws):
        rng = np.random.default_rng((seed, 1, n, draw))
        x = rng.choice([-1.0, 1.0], (n, 1, 3))
        flipped = rng.random((n, 2, 3)) < (1 - np.sqrt(t)) / 2
        found.append(fit_lines(np.where(flipped, -x, x), kappa, regs, 1.0))
    eigenvalues, shares = (np.array(part) for part in zip(*found, strict=True))
    return Fits(n, 2, regs, eigenvalues, shares)


def toy(n: tuple[int, ...], draws: int, seed: int) -> Toy:
    """Compute the paper's three lines, their crossings, and fits of n samples for each n."""
    t, kappa = PAPER
    crossings = Modes(3).crossings(Eigenvalues(t), Eigenvalues(kappa))
    regs = np.linspace(0.1, 2.9, 29)
    return Toy(t, kappa, crossings, [_toy_fits(size, regs, draws, seed) for size in n])


def crop_fits(
    lines: Any, d: int, augmentation: Augmentation, regs: np.ndarray, beta: float, size: tuple[int, int, int], seed: int
) -> Fits:
    """Fit the chosen parities of a cube on samples: ``size`` is (samples, views of each, draws)."""
    n, m, draws = size
    found = []
    for draw in range(draws):
        at = int(np.random.SeedSequence([seed, 2, draw]).generate_state(1, np.uint64)[0] >> 1)
        views = np.asarray(augmentation.views(datasets.hypercube(n, d, seed=at), m, seed=at))
        values = np.stack([views[:, :, list(s)].prod(axis=2) for s in lines.labels], axis=2)
        found.append(fit_lines(values, lines.kernel, regs, beta))
    eigenvalues, shares = (np.array(part) for part in zip(*found, strict=True))
    return Fits(n, m, regs, eigenvalues, shares)
