"""The controlled study of the paper: half-moons, functions that follow them without a label, and what few labels add.

``sslcore halfmoons`` fits once (`study`) and draws the functions.  ``sslcore study halfmoons`` adds the errors of a
probe over the numbers of pretraining samples and of labels (`controlled`), with the authors' settings: two views,
T biased, lambda_ref = 1e-3, unit eigenfunctions, labels drawn from the probabilities of the classes, least squares
without an intercept, errors against the true probabilities (Cabannes et al. 2023, section 6).

Pure functions, called by the command line; nothing here prints or draws.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import datasets
from ..augmentations import Augmentation, GaussianNoise, Views
from ..fitting.pretraining import pretrain
from ..fitting.representation import Representation
from ..kernels import Exponential, Kernel
from ..probing import LearningCurves, learning_curves
from ._registry import Registered, Run

__all__ = ["LAMBDA_REF", "N_COMPONENTS", "STEPS", "STUDY", "Controlled", "Study", "controlled", "log_sizes", "study"]

STEPS = ("samples", "fit")
"""Steps of `study`, each of which it reports as it begins it."""

N_COMPONENTS = 5
"""Functions that are learnt, and drawn."""

NOISE, KERNEL = GaussianNoise(0.1), Exponential(0.2)

POOL = 20_000
"""Fresh points of a repetition, from which its draws of labelled samples are taken if they need more together."""

LAMBDA_REF = 1e-3
"""Weight of K^-1 beside T_ref = kron(I, ones(2, 2)) in the authors' script: reg = lambda_ref / (2 N) for N views."""


@dataclass(frozen=True, eq=False)
class Study:
    """Results of the study, with its settings.

    Attributes
    ----------
    views : Views
        The training views, made again when asked for.
    kernel : Kernel
    representation : Representation
    """

    views: Views
    kernel: Kernel
    representation: Representation

    def document(self) -> dict[str, Any]:
        """Return all results, for machines."""
        views, found = self.views, self.representation.as_dict()
        document: dict[str, Any] = {"n": len(views), "n_views": views.n_views}
        document |= {"augmentation": repr(views.augmentation), "kernel": repr(self.kernel), "seed": views.seed}
        # the objective is unbiased, and reg as given: there is no choice to tell
        return document | {name: value for name, value in found.items() if name not in ("unbiased", "selection")}

    def table(self) -> str:
        """Return the results as lines, for people."""
        views = self.views
        return (
            f"data        half-moons, {len(views):,} samples; {views.n_views} views of each, {views.augmentation}, "
            f"seed {views.seed}; no labels\n{self.representation.summary(brief=True)}"
        )


def study(
    n: int = 1000,
    n_views: int = 4,
    augmentation: Augmentation = NOISE,
    kernel: Kernel = KERNEL,
    *,
    reg: float = 1e-4,
    beta: float = 1.0,
    unbiased: bool = True,
    center: bool = True,
    seed: int = 0,
    begin: Callable[[str], Any] = lambda step: None,
    made: Callable[[Views], Any] = lambda views: None,
) -> Study:
    """Learn five functions of the plane from views of half-moons, which show the classes that nobody told.

    Parameters
    ----------
    n, n_views : int
        Samples, and views of each.
    augmentation : Augmentation
    kernel : Kernel
    reg, beta, unbiased, center
        As for `sslcore.pretrain`.
    seed : int
        Of samples and views.
    begin : callable
        Called with each of `STEPS` as it begins.
    made : callable
        Called with the views once they are there, before the fit.

    Examples
    --------
    >>> from sslcore.studies import halfmoons
    >>> found = halfmoons.study(60, 2)
    >>> found.representation.n_components, found.document()["n"]
    (5, 60)
    """
    begin("samples")
    views = Views(datasets.half_moons(n, seed=seed), augmentation, n_views, seed)
    made(views)
    begin("fit")
    numbers: dict[str, Any] = {"reg": reg, "beta": beta, "unbiased": unbiased, "center": center}
    return Study(views, kernel, pretrain(views, kernel, N_COMPONENTS, **numbers))


# ---------------------------------------------------------------- the controlled study


@dataclass(frozen=True, eq=False)
class Controlled:
    """Results of the controlled study.

    Attributes
    ----------
    setup : Study
        One fit to many samples, whose functions are drawn.
    curves : LearningCurves
        Errors of the probe, over numbers of pretraining samples and of labels.
    """

    setup: Study
    curves: LearningCurves

    @property
    def draws(self) -> tuple[int, int]:
        """Draws of pretraining samples, and of labelled ones for each of these."""
        return self.curves.n_repetitions, self.curves.settings["downstream_draws"]

    def document(self) -> dict[str, Any]:
        """Return all results, for machines."""
        setup = self.setup.document() | {"unbiased": self.setup.representation.unbiased, "lambda_ref": LAMBDA_REF}
        return setup | {"learning_curves": self.curves.as_dict()}

    def arrays(self) -> dict[str, np.ndarray]:
        """Return sizes, means and standard errors."""
        curves = self.curves
        found: dict[str, Any] = {
            "pretraining_sizes": curves.pretraining_sizes,
            "downstream_sizes": curves.downstream_sizes,
        }
        for name in ("squared", "zero_one"):
            found |= {f"{name}_mean": curves.mean[name], f"{name}_standard_error": curves.standard_error[name]}
        return {name: np.asarray(value) for name, value in found.items()}

    def table(self) -> str:
        """Return the results as lines, for people."""
        curves = self.curves
        rows, columns = (_some(sizes) for sizes in (curves.pretraining_sizes, curves.downstream_sizes))
        lines = [
            "The fit whose functions are drawn:",
            self.setup.table(),
            "",
            f"A probe on unit eigenfunctions: {self.draws[0]} draws of pretraining samples (down), for each "
            f"{self.draws[1]} of labelled ones (across); mean (standard error)",
        ]
        for name, about in (("squared", "squared error"), ("zero_one", "excess 0-1 error")):
            mean, error = curves.mean[name], curves.standard_error[name]
            lines += ["", f"{about:<18}" + "".join(f"{curves.downstream_sizes[j]:>18,}" for j in columns)]
            for i in rows:
                cells = [f"{mean[i, j]:.4f} ({error[i, j]:.4f})" for j in columns]
                lines.append(f"{curves.pretraining_sizes[i]:>18,}" + "".join(f"{cell:>18}" for cell in cells))
        return "\n".join(lines)

    def verdict(self) -> str:
        """Return what is claimed and what was measured, in one line."""
        curves = self.curves
        samples, labels = (
            (int(sizes[0]), int(sizes[-1])) for sizes in (curves.pretraining_sizes, curves.downstream_sizes)
        )

        def corners(name: str) -> str:
            mean, error = curves.mean[name], curves.standard_error[name]
            cells = [(i, j) for i in (0, -1) for j in (0, -1)]
            return ", ".join(f"{mean[cell]:.4f} +- {error[cell]:.4f}" for cell in cells)

        return (
            f"The paper: pretraining samples and labels both bound the downstream error, and neither replaces the "
            f"other. Measured at (samples, labels) = ({samples[0]}, {labels[0]}), ({samples[0]}, {labels[1]}), "
            f"({samples[1]}, {labels[0]}), ({samples[1]}, {labels[1]}): squared error {corners('squared')}; excess 0-1 "
            f"error {corners('zero_one')}."
        )


def _some(sizes: Sequence[int] | np.ndarray, most: int = 6) -> list[int]:
    """Return the places of at most six sizes, the first and the last among them."""
    return sorted({round(i) for i in np.linspace(0, len(sizes) - 1, min(most, len(sizes)))})


def log_sizes(count: int, first: int = 30, last: int = 1000) -> tuple[int, ...]:
    """Return integers log-spaced from first to last, as the paper's.

    Examples
    --------
    >>> from sslcore.studies.halfmoons import log_sizes
    >>> log_sizes(5)
    (30, 72, 173, 416, 1000)
    """
    return tuple(sorted({int(size) for size in np.geomspace(first, last, count).round(6)}))


def published_reg(n_views: int) -> float:
    """Return reg for so many views, n m, of two each: T_ref - lambda_ref K^-1 = 2 (T - (lambda_ref / 2 N) Khat^-1)."""
    return LAMBDA_REF / (2 * n_views)


def controlled(
    pretraining_sizes: Sequence[int],
    downstream_sizes: Sequence[int],
    repetitions: tuple[int, int],
    n: int = 2000,
    n_test: int = 500,
    run: Run | None = None,
) -> Controlled:
    """Fit once to n samples, then measure the errors of the probe over both numbers of samples.

    Parameters
    ----------
    pretraining_sizes, downstream_sizes : sequence of int
        Numbers of samples, of two views each, and of labelled ones.
    repetitions : (int, int)
        Draws of pretraining samples, and for each of them of labelled ones.
    n : int
        Samples of the fit that is drawn.
    n_test : int
        Fresh points on which errors are measured, in each repetition of pretraining.
    run : Run, optional
        Its seed is that of all draws.

    Examples
    --------
    >>> from sslcore.studies import halfmoons
    >>> found = halfmoons.controlled((20, 80), (30, 300), (4, 5), n=60, n_test=100)
    >>> bool(found.curves.mean["squared"][1, 1] < found.curves.mean["squared"][0, 0])
    True
    """
    run = run or Run()
    setup = study(n, 2, reg=published_reg(2 * n), unbiased=False, center=False, seed=run.seed, begin=run.begin)
    run.begin("learning curves")
    needed = repetitions[1] * max(downstream_sizes)
    curves = learning_curves(
        datasets.half_moons,
        KERNEL,
        N_COMPONENTS,
        target=datasets.half_moons_probabilities,
        kind="probabilities",
        augmentation=NOISE,
        pretraining_sizes=pretraining_sizes,
        downstream_sizes=downstream_sizes,
        repetitions=repetitions,
        n_test=n_test,
        reg=published_reg,
        unbiased=False,
        downstream_pool=POOL if needed > POOL else None,
        seed=run.seed,
        **run.cells("curves"),
    )
    return Controlled(setup, curves)


def _sizes(run: Run) -> Controlled:
    """Run the sizes of the paper, or fewer of them."""
    if run.full:
        return controlled(log_sizes(50), log_sizes(100), (100, 200), run=run)
    return controlled(log_sizes(12), log_sizes(15), (40, 20), run=run)


STUDY = Registered(
    "errors over the numbers of pretraining samples and labels, on half-moons whose functions no label has shown",
    run=_sizes,
    seconds={"samples": 0.1, "fit": 5.0, "learning curves": 15.0},
    pictures={"": "figure", "-setup": "setup_figure"},
)
