"""The downstream trade-off: little lambda serves an invariant target, much lambda serves another.

The trade-off of the paper on S^7: the three views of a point are itself and its shifts by one place, all of them, the
kernel is (1 + u) kappa1(u) with 1e-4 on the diagonal, and a ridge probe on the smooth part of the functions learns two
targets from 300 labels: one that no shift changes, of degree 3, and one that shifts do change, of degree 1.  For small
lambda the first 20 functions are the invariant ones of degree 3 and less (there are 1 + 1 + 4 + 14 of them); for large
lambda those of low degree come first, invariant or not (Cabannes et al. 2023, section 5).

Two things are done in two ways, side by side.  The published T leaves out the diagonal: pairs of different views.  As
all views of a point are there, the mean over all pairs is the true T, without any error.  With
I - T_published = (3/2) (I - T), and lambda_ref the same, 1 - mu_published = (3/2) (1 - mu) for the same functions: the
published T drops the components whose true mu is below 1/3.  And the published
script takes the probe's ridge of least error on the test points; here it is also chosen on a third of the labels.

Pure functions, called by the command line; nothing here prints or draws.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import datasets
from ..arrays import Array
from ..augmentations import Shift
from ..fitting.path import pretrain_path
from ..kernels import ArcCosine, Nugget, Polynomial
from ..population import CutBlockWarning, PopulationSpectrum, Sphere
from ..runs import run_cells
from ._registry import Registered, Run, plus_minus

__all__ = [
    "CHOICES",
    "KERNEL",
    "LAMBDA_REFS",
    "OPERATORS",
    "RIDGES",
    "SMOOTH",
    "STUDY",
    "TARGETS",
    "Study",
    "Target",
    "probe_errors",
    "repetition",
    "study",
    "views",
]

D, N_COMPONENTS = 8, 20
SMOOTH = Polynomial(1, 1.0) * ArcCosine(1)
"""(1 + u) kappa1(u) on unit vectors."""
KERNEL = SMOOTH + Nugget(1e-4)
LAW = Shift((1 / 3, 1 / 3, *[0.0] * (D - 3), 1 / 3))
"""The law of the views: each of the three is as likely."""
LAMBDA_REFS = tuple(float(value) for value in np.logspace(-2.0, 1.2, 20))
LINE_POINTS = 400
"""Lambdas of the population's lines in the picture."""
RIDGES = tuple(float(value) for value in np.logspace(-5.0, 0.0, 10))
OPERATORS = {"published": "diagonal left out", "true": "all pairs of views"}
"""Both have the same functions; they differ in which are active."""
CHOICES = {"validation": "ridge chosen on a third of the labels", "test": "ridge of least error on the test points"}


@dataclass(frozen=True)
class Target:
    """A function on the sphere: the mean of C_l^(d/2-1)(x_a) over some coordinates a, a Gegenbauer polynomial.

    Attributes
    ----------
    name : str
    degree : int
        l.
    shifts : tuple of int
        The coordinates a: shifts of the function of x_0.
    """

    name: str
    degree: int
    shifts: tuple[int, ...]

    def __call__(self, x: Array) -> Array:
        """Return the values at x (n, d), an array (n,)."""
        from scipy.special import eval_gegenbauer

        out: Array = eval_gegenbauer(self.degree, D / 2 - 1, x[:, list(self.shifts)]).mean(axis=1)
        return out

    def coefficients(self) -> dict[tuple[int, int], float]:
        """Return the norms of its projections on the classes (l, |w|) of `sslcore.population.Sphere`, of sum 1 squared.

        With Z = C_l(x_0) and R_a the shift by a, <R_a Z, Z> = P_l(0) ||Z||^2 for a != 0, so that the character w has
        the share (1 - P_l(0)) / d of ||Z||^2, and w = 0 P_l(0) more; the mean over shifts multiplies by |phat(w)|^2.
        """
        from scipy.special import eval_gegenbauer

        at_zero = float(eval_gegenbauer(self.degree, D / 2 - 1, 0.0) / eval_gegenbauer(self.degree, D / 2 - 1, 1.0))
        energy = np.full(D, (1.0 - at_zero) / D)
        energy[0] += at_zero
        law = np.bincount(np.mod(self.shifts, D), minlength=D) / len(self.shifts)
        energy *= np.abs(np.fft.fft(law)) ** 2
        energy[energy < 1e-15] = 0.0
        energy /= energy.sum()
        found: dict[tuple[int, int], float] = {}
        for w in range(D // 2 + 1):
            found[self.degree, w] = float(energy[w] + (energy[-w] if 0 < 2 * w < D else 0.0)) ** 0.5
        return {label: value for label, value in found.items() if value}


TARGETS = (
    Target("invariant", 3, tuple(range(D))),
    Target("not invariant", 1, (0, 1, -1)),
)


@dataclass(frozen=True, eq=False)
class Study:
    """Errors of all probes, with the settings.

    Attributes
    ----------
    lambda_refs : tuple of float
        The weight of K^-1 beside T_ref = kron(ones(3, 3) - I, I), which is 2 N reg, or beside kron(ones(3, 3), I),
        which is 3 N reg.
    errors : dict of arrays (len(TARGETS), len(lambda_refs), repetitions)
        By (operator, choice): the mean squared error over the test points, relative to the target's mean square there.
    ridges : dict of arrays (len(TARGETS), len(lambda_refs), repetitions)
        By the same: the ridge chosen.
    active : dict of arrays (len(lambda_refs), repetitions)
        By operator: how many of the 20 components are active.
    exact : dict of arrays (len(TARGETS), len(lambda_refs))
        By operator: the relative distance of the target to the active components of the population (`exact_error`).
    exact_active : dict of arrays (len(lambda_refs),)
        How many of these there are.
    lines : dict of (array (L,), array (len(TARGETS), L), array (L,))
        By operator: the same two on a grid fine enough to show where they step, and the lambdas of that grid.
    n : tuple of int
        Numbers of training points and of test points.
    """

    lambda_refs: tuple[float, ...]
    errors: dict[tuple[str, str], np.ndarray]
    ridges: dict[tuple[str, str], np.ndarray]
    active: dict[str, np.ndarray]
    exact: dict[str, np.ndarray]
    exact_active: dict[str, np.ndarray]
    lines: dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]
    n: tuple[int, int]

    @property
    def repetitions(self) -> int:
        """Number of draws of all points."""
        return int(self.errors["true", "test"].shape[2])

    def mean(self, operator: str, choice: str) -> np.ndarray:
        """Return the mean error over repetitions, (len(TARGETS), len(lambda_refs))."""
        out: np.ndarray = self.errors[operator, choice].mean(axis=2)
        return out

    def standard_error(self, operator: str, choice: str) -> np.ndarray:
        """Return the standard error of that mean; NaN for a single repetition."""
        if self.repetitions < 2:
            return np.full(self.errors[operator, choice].shape[:2], np.nan)
        out: np.ndarray = self.errors[operator, choice].std(axis=2, ddof=1) / self.repetitions**0.5
        return out

    def document(self) -> dict[str, Any]:
        """Return all results, for machines."""
        found = [
            {
                "operator": operator,
                "choice": choice,
                "target": target.name,
                "mean": self.mean(operator, choice)[t],
                "standard_error": self.standard_error(operator, choice)[t],
                "ridge": np.median(self.ridges[operator, choice][t], axis=1),
                "population": self.exact[operator][t],
            }
            for operator in OPERATORS
            for choice in CHOICES
            for t, target in enumerate(TARGETS)
        ]
        return {
            "d": D,
            "kernel": repr(KERNEL),
            "views": "the point and its shifts by 1 and -1",
            "n_components": N_COMPONENTS,
            "n_training": self.n[0],
            "n_test": self.n[1],
            "repetitions": self.repetitions,
            "lambda_ref": self.lambda_refs,
            "ridges": RIDGES,
            "targets": {t.name: {"degree": t.degree, "shifts": t.shifts} for t in TARGETS},
            "errors": found,
            "active": {name: values.mean(axis=1) for name, values in self.active.items()},
            "population_active": self.exact_active,
        }

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the errors of every repetition."""
        found = {f"errors-{operator}-{choice}": values for (operator, choice), values in self.errors.items()}
        return found | {"lambda_ref": np.array(self.lambda_refs)}

    def table(self) -> str:
        """Return the results as lines, for people."""
        n, n_test = self.n
        lines = [
            f"S^{D - 1}, {n} points and their shifts by 1 and -1 ({3 * n} views), (1 + u) kappa1(u) + 1e-4 I, "
            f"{N_COMPONENTS} components, those with mu > 0, at norm 1",
            f"squared error on {n_test:,} other points over the target's mean square, mean (standard error) of "
            f"{self.repetitions} draws;",
            "the ridge by validation on a third of the labels | of least error on the test points, as published | the "
            "population's projection error",
        ]
        for operator, about in OPERATORS.items():
            lines += ["", f"T {operator} ({about})"]
            lines += [f"lambda_ref{'active':>8}" + "".join(f"{target.name:>38}" for target in TARGETS)]
            chosen = {c: (self.mean(operator, c), self.standard_error(operator, c)) for c in CHOICES}
            for i, value in enumerate(self.lambda_refs):
                cells = ""
                for t in range(len(TARGETS)):
                    numbers = [f"{mean[t, i]:.4f} ({error[t, i]:.4f})" for mean, error in chosen.values()]
                    cells += f"{' | '.join([*numbers, f'{self.exact[operator][t, i]:.4f}']):>44}"
                lines.append(f"{value:<10.3g}{self.active[operator][i].mean():>8.1f}{cells}")
        return "\n".join(lines)

    def verdict(self) -> str:
        """Return what is claimed and what was measured, in one line."""
        values = self.errors["true", "validation"]
        ends = [
            f"{target.name} {plus_minus(values[t, 0])} at lambda_ref = {self.lambda_refs[0]:.3g} and "
            f"{plus_minus(values[t, -1])} at {self.lambda_refs[-1]:.3g} (population {self.exact['true'][t, 0]:.3f}, "
            f"{self.exact['true'][t, -1]:.3f})"
            for t, target in enumerate(TARGETS)
        ]
        gain = plus_minus((values - self.errors["true", "test"]).mean(axis=(0, 1)))
        fewer = plus_minus((self.active["true"] - self.active["published"])[-1])
        apart = plus_minus((self.errors["published", "validation"] - values)[1, -1])
        return (
            f"The paper: small lambda serves the invariant target, large lambda the other. Measured, relative error: "
            f"{'; '.join(ends)}. The published choice of the ridge on the test points flatters the errors by {gain} on "
            f"average; the published T drops {fewer} components more at the largest lambda, which costs the target "
            f"that is not invariant {apart}."
        )


# ---------------------------------------------------------------- one repetition


def views(x: Array) -> Array:
    """Make the three views of each point (n, d): itself, and its shifts by 1 and -1; (n, 3, d)."""
    return np.stack([x, np.roll(x, 1, axis=1), np.roll(x, -1, axis=1)], axis=1)


def probe_errors(phi: Array, y: Array, phi_test: Array, y_test: Array) -> tuple[np.ndarray, np.ndarray]:
    """Probe with every ridge, chosen in both ways of `CHOICES`; return relative errors and ridges, (t, 2) each.

    w = (phi^T phi + n r I)^-1 phi^T y for labels y (n, t).  By validation: fitted to the first two thirds of the
    labels, the r of least error on the others is taken for a fit to all.

    Examples
    --------
    >>> import numpy as np
    >>> from sslcore.studies.downstream import probe_errors
    >>> phi = np.arange(6.0)[:, None]
    >>> errors, ridges = probe_errors(phi, 2 * phi, phi[:2], 2 * phi[:2])
    >>> errors.shape, bool((errors < 1e-9).all()), ridges.round(9).tolist()
    ((1, 2), True, [[1e-05, 1e-05]])
    """
    n, k = phi.shape
    split = 2 * n // 3

    def residuals(fitted: slice, new: Array, target: Array) -> np.ndarray:
        """Return the mean squared error of each ridge and target, (ridges, t)."""
        a, b = phi[fitted], y[fitted]
        gram, moment = a.T @ a, a.T @ b
        found = [new @ np.linalg.solve(gram + len(a) * r * np.eye(k), moment) - target for r in RIDGES]
        return np.array([(f**2).mean(axis=0) for f in found])

    relative = residuals(slice(n), phi_test, y_test) / (y_test**2).mean(axis=0)
    validated = residuals(slice(split), phi[split:], y[split:])
    chosen = np.stack([validated.argmin(axis=0), relative.argmin(axis=0)], axis=1)
    errors: np.ndarray = np.take_along_axis(relative.T, chosen, axis=1)
    return errors, np.array(RIDGES)[chosen]


def repetition(settings: dict[str, Any], index: int) -> dict[str, np.ndarray]:
    """Return errors, ridges and numbers of active components with the points of one draw: a cell of `run_cells`."""
    n, lambda_refs = settings["n"], settings["lambda_refs"]
    seed = int(np.random.SeedSequence(settings["seed"], spawn_key=(index,)).generate_state(1)[0])
    x = datasets.sphere(settings["n_points"], D, seed=seed)
    y = np.stack([target(x) for target in TARGETS], axis=1)
    path = pretrain_path(
        views(x[:n]), KERNEL, N_COMPONENTS, regs=[value / (9 * n) for value in lambda_refs], unbiased=False
    )
    shape = (len(OPERATORS), len(CHOICES), len(TARGETS), len(lambda_refs))
    errors, ridges, active = np.ones(shape), np.full(shape, np.nan), np.zeros((len(OPERATORS), len(lambda_refs)), int)
    assert path.at(0).centres is not None
    # once for all lambdas; the smooth part, at the training points too, as in the published script
    values = SMOOTH(x, path.at(0).centres)
    for i, rep in enumerate(path):
        phi = values @ rep.coefficients
        for o, count in enumerate(active_components(rep.eigenvalues)):
            active[o, i] = count
            if count:
                found = probe_errors(phi[:n, :count], y[:n], phi[n:, :count], y[n:])
                errors[o, :, :, i], ridges[o, :, :, i] = (array.T for array in found)
    return {"errors": errors, "ridges": ridges, "active": active}


def active_components(eigenvalues: np.ndarray) -> tuple[int, int]:
    """Count mu > 0, for the published T, whose mu is (3 mu - 1) / 2, and for the true T, whose mu are given."""
    return int((eigenvalues > 1 / 3).sum()), int((eigenvalues > 0).sum())


# ---------------------------------------------------------------- the population


def spectrum(operator: str, lambda_ref: float, n: int) -> PopulationSpectrum:
    """Return the population's first 20 components, at the reg that lambda_ref is for 3 n views.

    The published T, (3 T - I) / 2, is T at beta = 3/2: 1 - (3/2) (1 - t + reg / kappa).
    """
    factor = {"published": 1.5, "true": 1.0}[operator]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CutBlockWarning)
        return Sphere(D).spectrum(
            LAW, KERNEL, reg=factor * lambda_ref / (9 * n), beta=factor, n_components=N_COMPONENTS
        )


def population(operator: str, lambda_refs: Array | Sequence[float], n: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the errors of `exact_error`, (len(TARGETS), len(lambda_refs)), and the numbers of active components."""
    spectra = [spectrum(operator, float(value), n) for value in lambda_refs]
    errors = np.array([[exact_error(found, target) for found in spectra] for target in TARGETS])
    return errors, np.array([found.n_active for found in spectra])


def exact_error(found: PopulationSpectrum, target: Target) -> float:
    """Return the squared distance of the target to the active components, relative to its squared norm.

    Of a block that the 20 components cut, any functions may be among them: the mean over all choices is taken, in which
    a block gives the share of its dimensions that are in.
    """
    energies = {label: value**2 for label, value in target.coefficients().items()}
    covered, start = 0.0, 0
    for stop in found.block_ends:
        inside = min(stop, found.n_components)
        if found.eigenvalues[start] > 0:
            labels = set(found.labels[start:inside])
            covered += (inside - start) / (stop - start) * sum(energies.get(label, 0.0) for label in labels)
        start = stop
    return max(0.0, 1.0 - covered)


# ---------------------------------------------------------------- all of it


def study(
    lambda_refs: Sequence[float] = LAMBDA_REFS,
    repetitions: int = 20,
    n: int = 300,
    n_points: int = 2000,
    seed: int = 0,
    run: Run | None = None,
) -> Study:
    """Pretrain at each lambda, probe for both targets, beside the population.

    Parameters
    ----------
    lambda_refs : sequence of float
        Increasing.
    repetitions : int
        Draws of all points; every lambda sees the same ones.
    n, n_points : int
        Training points, which have the labels too, and points in all.
    seed : int
    run : Run, optional
        Told the steps ``"population"`` and ``"fits"``; its workers share the repetitions.

    Examples
    --------
    >>> from sslcore.studies import downstream
    >>> found = downstream.study((1e-2, 10.0), repetitions=1, n=60, n_points=300)
    >>> found.exact["true"].round(3).tolist()  # the invariant target, the other one
    [[0.0, 1.0], [0.625, 0.139]]
    """
    run = run or Run()
    run.begin("population")
    refs = tuple(float(value) for value in lambda_refs)
    exact, exact_active, lines = {}, {}, {}
    fine = np.geomspace(refs[0], refs[-1], LINE_POINTS)
    for operator in OPERATORS:
        exact[operator], exact_active[operator] = population(operator, refs, n)
        lines[operator] = (fine, *population(operator, fine, n))
    run.begin("fits")
    settings = {"lambda_refs": list(refs), "n": n, "n_points": n_points, "seed": seed}
    cells = run_cells(repetition, range(repetitions), settings=settings, **run.cells("fits"))
    stacked = {name: np.stack([cell[name] for cell in cells], axis=-1) for name in ("errors", "ridges", "active")}
    pairs = [(o, c, (operator, choice)) for o, operator in enumerate(OPERATORS) for c, choice in enumerate(CHOICES)]
    return Study(
        refs,
        {key: stacked["errors"][o, c] for o, c, key in pairs},
        {key: stacked["ridges"][o, c] for o, c, key in pairs},
        {operator: stacked["active"][o] for o, operator in enumerate(OPERATORS)},
        exact,
        exact_active,
        lines,
        (n, n_points - n),
    )


def _sizes(run: Run) -> Study:
    """Compute the paper's 20 lambdas with 20 draws, or 40 lambdas with 100 draws."""
    lambda_refs = np.logspace(-2.0, 1.2, 40).tolist() if run.full else LAMBDA_REFS
    return study(lambda_refs, 100 if run.full else 20, seed=run.seed, run=run)


STUDY = Registered(
    "small lambda serves a target that views leave as it is, large lambda one that they change",
    run=_sizes,
    seconds={"population": 4.0, "fits": 40.0},
)
