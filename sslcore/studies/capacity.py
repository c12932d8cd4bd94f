"""Too rich a class of functions: with too small a lambda each pair of views is fitted by itself.

The half-moons of the paper, 100 samples of two views, with the Gaussian kernel exp(-|x - y|^2 / .1).  The functions of
least norm that agree on the two views of each sample have no risk on these samples; on others they have, as the
unbiased risk of fresh samples tells without any label (Cabannes et al. 2023, section 6).

Pure functions, called by the command line; nothing here prints or draws.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import datasets
from ..augmentations import GaussianNoise, Views
from ..fitting.pretraining import pretrain
from ..fitting.representation import Representation
from ..kernels import Gaussian
from ..risk import vicreg
from ..runs import run_cells
from ._registry import Registered, Run, plus_minus

__all__ = ["LAMBDA_REFS", "MEASURES", "SHOWN", "STUDY", "Study", "fit", "measure", "repetition", "study"]

LAMBDA_REFS = (
    *(1e-20, 1e-18, 1e-16, 1e-14, 1e-12, 1e-10, 1e-9, 1e-8),
    *(1e-7, 1e-6, 1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1),
)
"""Weights of the norm as the authors' script counts them; the first and the sixth are theirs."""

SHOWN = (1e-20, 1e-10, 1e-3, 3e-2)
"""Those of which the functions are drawn."""

MEASURES = {
    "training": "risk on the training views",
    "held_out": "risk on fresh samples",
    "training_distance": "|psi(xi) - psi(xi')|^2 on the training views",
    "held_out_distance": "|psi(xi) - psi(xi')|^2 on fresh samples",
}

KERNEL, NOISE, N_COMPONENTS = Gaussian(0.05**0.5), GaussianNoise(0.1), 5


@dataclass(frozen=True, eq=False)
class Study:
    """Risks of all fits, with the settings.

    Attributes
    ----------
    lambda_refs : tuple of float
        The weight of K^-1 beside T_ref = kron(I, ones(2, 2)), with K = exp(-|x - y|^2 / .1) / 200: twice reg.
    measured : dict of arrays (len(lambda_refs), repetitions)
        By the names of `MEASURES`.
    views : Views
        The training views of the first repetition.
    shown : list of (float, Representation)
        Fits to these, whose functions are drawn.
    n_held_out : int
        Fresh samples, each with two views.
    seed : int
    """

    lambda_refs: tuple[float, ...]
    measured: dict[str, np.ndarray]
    views: Views
    shown: list[tuple[float, Representation]]
    n_held_out: int
    seed: int

    @property
    def repetitions(self) -> int:
        """Number of draws of training and fresh samples."""
        return int(self.measured["training"].shape[1])

    def mean(self, name: str) -> np.ndarray:
        """Return the mean over repetitions, for each lambda."""
        out: np.ndarray = self.measured[name].mean(axis=1)
        return out

    def standard_error(self, name: str) -> np.ndarray:
        """Return the standard error of that mean."""
        out: np.ndarray = self.measured[name].std(axis=1, ddof=1) / self.repetitions**0.5
        return out

    @property
    def best(self) -> int:
        """Index of the lambda of least mean risk on fresh samples."""
        return int(self.mean("held_out").argmin())

    def document(self) -> dict[str, Any]:
        """Return all results, for machines."""
        means = {name: {"mean": self.mean(name), "standard_error": self.standard_error(name)} for name in MEASURES}
        return {
            "n": len(self.views),
            "n_views": self.views.n_views,
            "augmentation": repr(NOISE),
            "kernel": repr(KERNEL),
            "n_components": N_COMPONENTS,
            "unbiased": False,
            "n_held_out": self.n_held_out,
            "repetitions": self.repetitions,
            "lambda_ref": self.lambda_refs,
            "reg": [value / 2 for value in self.lambda_refs],
            "measures": means,
            "best_lambda_ref": self.lambda_refs[self.best],
            "eigenvalues": {f"{value:g}": rep.eigenvalues for value, rep in self.shown},
            "costs": {f"{value:g}": rep.gamma for value, rep in self.shown},
            "certificates": {f"{value:g}": rep.certificate.worst for value, rep in self.shown},
        }

    def table(self) -> str:
        """Return the results as lines, for people."""
        lines = [
            f"half-moons, {len(self.views)} samples of two views, {NOISE}, {KERNEL}; {N_COMPONENTS} components, "
            "T biased",
            f"risk at beta = 1/2 (what a biased T of two views stands for) and mean |psi(xi) - psi(xi')|^2, mean "
            f"(standard error) of {self.repetitions} draws,",
            f"on the views that were fitted, and on {self.n_held_out:,} fresh samples",
            "",
            f"lambda_ref{'risk, training':>20}{'risk, fresh':>22}{'distance, training':>22}{'distance, fresh':>22}",
        ]
        for i, value in enumerate(self.lambda_refs):
            cells = [f"{self.mean(name)[i]:.4g} ({self.standard_error(name)[i]:.1g})" for name in MEASURES]
            star = "   least" if i == self.best else ""
            lines.append(f"{value:<10.0e}{cells[0]:>20}{cells[1]:>22}{cells[2]:>22}{cells[3]:>22}{star}")
        return "\n".join(lines)

    def verdict(self) -> str:
        """Return what is claimed and what was measured, in one line."""
        fresh, best = self.measured["held_out"], self.best

        def at(i: int) -> str:
            above = plus_minus(fresh[i] - fresh[best])
            return (
                f"{plus_minus(fresh[i])} at lambda_ref = {self.lambda_refs[i]:g} (training "
                f"{self.mean('training')[i]:.1g}; above the best on the same draws: {above})"
            )

        published = [i for i, value in enumerate(self.lambda_refs) if value in (1e-10, 1e-20)]
        return (
            f"The paper: with too small a lambda each pair of views is fitted by itself. Measured, risk on fresh "
            f"samples: {', '.join(map(at, published))}; least, {plus_minus(fresh[best])}, at "
            f"{self.lambda_refs[best]:g} (training {self.mean('training')[best]:.2g})."
        )


def fit(views: Any, lambda_ref: float) -> Representation:
    """Fit the functions of this kernel as the authors' script weights its norm.

    Their K has the factor 1/200 = 1/N, which makes it Khat = K / N, and T_ref = kron(I, ones(2, 2)) is 2 T (biased):
    T_ref - lambda_ref K^-1 = 2 (T - (lambda_ref / 2) Khat^-1).

    Examples
    --------
    >>> from sslcore import datasets
    >>> from sslcore.studies import capacity
    >>> views = capacity.NOISE.views(datasets.half_moons(100, seed=0), 2, seed=0)
    >>> rep = capacity.fit(views, 1e-20)
    >>> rep.n_active, bool((rep.gamma < 1e-12).all())
    (5, True)
    """
    return pretrain(views, KERNEL, N_COMPONENTS, reg=lambda_ref / 2, unbiased=False)


def measure(rep: Representation, views: Any, fresh: Any) -> np.ndarray:
    """Return the numbers of `MEASURES` for a fit to ``views``, and samples that it has not seen.

    The biased T of two views is, in expectation, the population's at beta = 1/2: the biased risk of the training views
    at beta = 1 and the unbiased risk of fresh samples at beta = 1/2 have the same population risk.
    """
    known, new = rep(views), rep(fresh)
    distances = [float(((z[:, 0] - z[:, 1]) ** 2).sum(axis=1).mean()) for z in (known, new)]
    return np.array([vicreg(known, 1.0), vicreg(new, 0.5, unbiased=True), *distances])


def study(
    lambda_refs: Sequence[float] = LAMBDA_REFS,
    shown: Sequence[float] = SHOWN,
    repetitions: int = 20,
    n: int = 100,
    n_held_out: int = 1000,
    seed: int = 0,
    run: Run | None = None,
) -> Study:
    """Fit n samples of two views at each lambda, and measure the risk on these and on fresh samples.

    Parameters
    ----------
    lambda_refs, shown : sequence of float
        Weights of the norm, and those of which the fits are kept, for the picture.
    repetitions : int
        Draws of all samples; all lambdas see the same ones.
    n, n_held_out : int
        Samples, and fresh ones.
    seed : int
    run : Run, optional
        Told the steps ``"fits"`` and ``"functions"``; its workers share the repetitions.

    Examples
    --------
    >>> from sslcore.studies import capacity
    >>> found = capacity.study((1e-20, 1e-3), (1e-3,), repetitions=3)
    >>> bool(found.mean("training")[0] < 1e-10), found.best
    (True, 1)
    """
    run = run or Run()
    run.begin("fits")
    settings = {"lambda_refs": list(lambda_refs), "n": n, "n_held_out": n_held_out, "seed": seed}
    cells = run_cells(repetition, range(repetitions), settings=settings, **run.cells("fits"))
    measured = {name: np.stack([cell[name] for cell in cells], axis=1) for name in MEASURES}
    run.begin("functions")
    views = _drawn(n, seed, 0)
    fits = [(value, fit(views, value)) for value in shown]
    return Study(tuple(lambda_refs), measured, views, fits, n_held_out, seed)


def repetition(settings: dict[str, Any], index: int) -> dict[str, np.ndarray]:
    """Return the numbers of `MEASURES` for each lambda, with the samples of one repetition: a cell of `run_cells`."""
    training = np.asarray(_drawn(settings["n"], settings["seed"], index)[:])
    fresh = np.asarray(_drawn(settings["n_held_out"], settings["seed"], index, 1)[:])
    found = [measure(fit(training, value), training, fresh) for value in settings["lambda_refs"]]
    return dict(zip(MEASURES, np.array(found).T, strict=True))


def _drawn(n: int, seed: int, repetition: int, kind: int = 0) -> Views:
    """Draw samples of a repetition, of kind 0 to fit and 1 to test, with their two views."""
    one, two = (int(word) for word in np.random.SeedSequence(seed, spawn_key=(repetition, kind)).generate_state(2))
    return Views(datasets.half_moons(n, seed=one), NOISE, 2, two)


STUDY = Registered(
    "too small a lambda fits each pair of views by itself, and the risk on fresh samples says so",
    run=lambda run: study(repetitions=200 if run.full else 20, seed=run.seed, run=run),
    seconds={"fits": 15.0, "functions": 0.2},
)
