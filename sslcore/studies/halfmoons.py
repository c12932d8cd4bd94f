"""The paper's illustration, ``sslcore halfmoons``: functions of the plane that follow the moons, learnt without labels.

Pure functions, called by the command line; nothing here prints or draws.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .. import datasets
from ..augmentations import Augmentation, GaussianNoise, Views
from ..fitting.pretraining import pretrain
from ..fitting.representation import Representation
from ..kernels import Exponential, Kernel
from ._registry import Registered

__all__ = ["N_COMPONENTS", "STEPS", "STUDY", "Study", "study"]

STEPS = ("samples", "fit")
"""Steps of `study`, each of which it reports as it begins it."""

N_COMPONENTS = 5
"""Functions that are learnt, and drawn."""

NOISE, KERNEL = GaussianNoise(0.1), Exponential(0.2)


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

    def verdict(self) -> str:
        """Return what is claimed and what was found, in one line."""
        values = ", ".join(f"{value:.3f}" for value in self.representation.eigenvalues)
        return f"The paper: functions learnt without labels follow the moons. Here, one fit: eigenvalues {values}."


def study(
    n: int = 1000,
    n_views: int = 4,
    augmentation: Augmentation = NOISE,
    kernel: Kernel = KERNEL,
    *,
    reg: float = 1e-4,
    beta: float = 1.0,
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
    reg, beta, center
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
    return Study(views, kernel, pretrain(views, kernel, N_COMPONENTS, reg=reg, beta=beta, center=center))


STUDY = Registered(
    "functions of the plane that follow the half-moons, learnt without labels",
    run=lambda run: study(2000 if run.full else 1000, seed=run.seed, begin=run.begin),
    seconds={"samples": 0.1, "fit": 3.0},
)
