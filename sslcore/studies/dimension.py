"""The number of components of a probe: fewer are biased, more are noisy, and lambda limits them by itself.

On the cube {-1, 1}^8 all is exact: bit flips, a Gaussian kernel, a target with energy on the parities of one, two and
three coordinates.  A ridge probe of n noisy labels on psi = sqrt(mu_i) f_i, i <= k, has a bias, which falls with k and
grows with lambda, and a variance, which does the opposite; what counts is not k but the effective dimension
tr (S + g)^-1 S of S = E psi psi^T at the probe's ridge g, and for the variance that of the square, tr (S + g)^-2 S^2
(Cabannes et al. 2023, section 4).

Theory: with d1 = tr (S + c)^-1 S and d2 = tr (S + c)^-2 S^2 at the c with g = c (1 - d1 / n), the expectation of the
squared error is (b + sigma^2 d2 / n) / (1 - d2 / n), b the population's ridge risk at c, up to terms that vanish for
large n (Hastie et al. 2022; Bach 2024; c = g and no denominator is the first order).  It holds for any representation
whose S and target are known, and so for each fit too: of the 2^8 points all are listed.

Pure functions, called by the command line; nothing here prints or draws.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import datasets
from ..arrays import Array
from ..augmentations import BitFlip, Views
from ..fitting.path import pretrain_path
from ..kernels import Gaussian
from ..population import Hypercube
from ..population.cube_values import points
from ..runs import run_cells
from ._registry import Registered, Run, plus_minus

__all__ = [
    "COMPONENTS",
    "ENERGIES",
    "MEASURES",
    "REGS",
    "STUDY",
    "Study",
    "expected",
    "population",
    "probes",
    "repetition",
    "study",
    "target",
]

D = 8
LAW, KERNEL = BitFlip(0.1), Gaussian(3.0)
ENERGIES = (0.0, 0.6, 0.3, 0.1)
"""Of the target, by the size of the parity; shared by all of a size."""
COMPONENTS = (1, 3, 5, 9, 16, 23, 37, 55, 75, 93, 120, 163)
"""k; the blocks of equal eigenvalues end at 1, 9, 37, 93 and 163."""
REGS = tuple(float(value) for value in np.logspace(-6.0, -2.0, 9))
RIDGE, NOISE = 1e-2, 0.5
"""g of the probe, and sigma of the labels' noise."""
MEASURES = {
    "bias": "squared bias",
    "variance": "variance",
    "expected": "squared error by theory, of this representation",
    "dimension": "tr (S + g)^-1 S",
    "squared_dimension": "tr (S + g)^-2 S^2",
}


@dataclass(frozen=True, eq=False)
class Study:
    """Bias, variance and dimensions of all fits, and the population's.

    Attributes
    ----------
    components : tuple of int
        Numbers k of components.
    regs : tuple of float
    measured : dict of arrays (len(regs), len(components), repetitions)
        By the names of `MEASURES`: of probes on empirical fits.
    exact : dict of arrays (len(regs), len(components))
        By ``"bias"``, ``"variance"``, ``"dimension"`` and ``"squared_dimension"``: theory on the population's spectrum.
    simulated : dict of arrays (len(regs), len(components))
        As ``measured``, of probes on the population's own functions.
    n, n_labels, draws : int
        Samples (two views each), labels, and draws of the labels for each fit.
    """

    components: tuple[int, ...]
    regs: tuple[float, ...]
    measured: dict[str, np.ndarray]
    exact: dict[str, np.ndarray]
    simulated: dict[str, np.ndarray]
    n: int
    n_labels: int
    draws: int

    @property
    def repetitions(self) -> int:
        """Number of draws of the samples."""
        return int(self.measured["bias"].shape[2])

    @property
    def errors(self) -> np.ndarray:
        """Squared bias and variance together, of the probes on fits: (len(regs), len(components), repetitions)."""
        out: np.ndarray = self.measured["bias"] + self.measured["variance"]
        return out

    @property
    def exact_errors(self) -> np.ndarray:
        """Squared errors by theory in the population, (len(regs), len(components))."""
        out: np.ndarray = self.exact["bias"] + self.exact["variance"]
        return out

    def document(self) -> dict[str, Any]:
        """Return all results, for machines."""
        found = {
            name: {"mean": values.mean(axis=2), "standard_error": standard_error(values)}
            for name, values in {**self.measured, "error": self.errors}.items()
        }
        return {
            "d": D,
            "augmentation": repr(LAW),
            "kernel": repr(KERNEL),
            "energies": ENERGIES,
            "ridge": RIDGE,
            "noise": NOISE,
            "n": self.n,
            "n_labels": self.n_labels,
            "draws": self.draws,
            "repetitions": self.repetitions,
            "components": self.components,
            "reg": self.regs,
            "measures": dict(MEASURES),
            "fits": found,
            "population": {**self.exact, "error": self.exact_errors},
            "population_simulated": self.simulated,
        }

    def table(self) -> str:
        """Return the results as lines, for people."""
        mean, exact = self.errors.mean(axis=2), self.exact_errors
        lines = [
            f"the cube, d = {D}: {LAW}, {KERNEL}; {self.n} samples of two views; {self.n_labels} labels with noise "
            f"{NOISE:g}, ridge {RIDGE:g}",
            f"squared error of a target of norm 1, mean of {self.repetitions} fits, {self.draws} draws of labels each "
            "| for the population's functions, by theory",
            "",
            "reg         k =" + "".join(f"{k:>14}" for k in self.components),
        ]
        for i, reg in enumerate(self.regs):
            cells = "".join(f"{f'{a:.3f} | {b:.3f}':>14}" for a, b in zip(mean[i], exact[i], strict=True))
            lines.append(f"{reg:<15.1e}{cells}")
        names = [("bias", "squared bias"), ("variance", "variance"), *list(MEASURES.items())[3:]]
        lines += ["", f"at reg = {self.regs[0]:.1e}: fits | population"]
        for name, about in names:
            pairs = zip(self.measured[name][0].mean(axis=1), self.exact[name][0], strict=True)
            lines.append(f"{about:<20}" + "".join(f"{f'{a:.3g} | {b:.3g}':>19}" for a, b in pairs))
        return "\n".join(lines)

    def verdict(self) -> str:
        """Return what is claimed and what was measured, in one line."""
        errors = self.errors[0]
        best = int(errors.mean(axis=1).argmin())
        chosen = [0, best, len(self.components) - 1]
        parts = [
            f"k = {self.components[j]}: bias {plus_minus(self.measured['bias'][0, j])}, variance "
            f"{plus_minus(self.measured['variance'][0, j])}"
            for j in dict.fromkeys(chosen)
        ]
        ratio = self.errors.mean(axis=(0, 1)) / self.measured["expected"].mean(axis=(0, 1))
        most = int(self.errors[:, -1].mean(axis=1).argmin())
        exactly = self.components[int(self.exact_errors[0].argmin())]
        return (
            f"The paper: more components have less bias and more variance, and what counts is the effective dimension, "
            f"which lambda limits too. Measured at reg = {self.regs[0]:.0e}: {'; '.join(parts)} (population: least "
            f"error at k = {exactly}); with all {self.components[-1]} the best reg is {self.regs[most]:.0e}, of "
            f"effective dimension {plus_minus(self.measured['dimension'][most, -1])}, error "
            f"{plus_minus(self.errors[most, -1])}. Measured error over theory by effective dimensions, "
            f"over all k and reg: {plus_minus(ratio)}."
        )


def standard_error(values: Array) -> Array:
    """Return the standard error of the mean over the last axis; NaN for a single value."""
    count = values.shape[-1]
    out: Array = values.std(axis=-1, ddof=1) / count**0.5 if count > 1 else np.full(values.shape[:-1], np.nan)
    return out


# ---------------------------------------------------------------- theory


def target(x: Array) -> Array:
    """Return f* at points x (n, 8) of the cube: of each size h the sum of all parities, with energy ENERGIES[h]."""
    out = np.zeros(len(x))
    for h, energy in enumerate(ENERGIES):
        sets = list(itertools.combinations(range(D), h))
        out += math.sqrt(energy / len(sets)) * sum(x[:, list(s)].prod(axis=1) for s in sets)
    return out


def expected(eigenvalues: Array, energies: Array, rest: float, n: int) -> tuple[float, float]:
    """Return squared bias and variance of the probe of n labels, by theory (see the module's docstring).

    Parameters
    ----------
    eigenvalues : array (k,)
        Of S = E psi psi^T, >= 0.
    energies : array (k,)
        <f*, u_i>^2 on its eigenfunctions, of norm 1.
    rest : float
        ||f*||^2 beyond these.
    n : int

    Examples
    --------
    >>> import numpy as np
    >>> from sslcore.studies.dimension import expected
    >>> bias, variance = expected(np.ones(4), np.full(4, 0.25), 0.0, 10**6)
    >>> round(bias, 6), round(variance * 10**6, 4)  # (g / (1 + g))^2, and about 4 (1 + g)^-2 sigma^2
    (9.8e-05, 0.9807)
    """
    s = eigenvalues[eigenvalues > 0]
    c = RIDGE
    low, high = RIDGE, RIDGE + s.sum() / n  # of c, as c d1(c) <= tr S
    for _ in range(200):
        c = 0.5 * (low + high)
        low, high = (c, high) if c - c * float((s / (s + c)).sum()) / n < RIDGE else (low, c)
    shrunk = energies * (c / (np.maximum(eigenvalues, 0.0) + c)) ** 2
    bias = rest + float(shrunk.sum())
    d2 = float(((s / (s + c)) ** 2).sum())
    return bias, (bias + NOISE**2) * d2 / (n - d2)


def dimensions(eigenvalues: Array) -> tuple[float, float]:
    """Return tr (S + g)^-1 S and tr (S + g)^-2 S^2."""
    share = np.maximum(eigenvalues, 0.0) / (np.maximum(eigenvalues, 0.0) + RIDGE)
    return float(share.sum()), float((share**2).sum())


def population(reg: float, k: int, n_labels: int) -> dict[str, float]:
    """Return bias, variance and dimensions in the population, whose first components are parities by size.

    Each parity of a size has the same share of the target, so that it does not matter which ones k takes of a block.
    """
    eigenvalues, sizes = _components(reg, k)
    energies = np.array([ENERGIES[h] / math.comb(D, h) if h < len(ENERGIES) else 0.0 for h in sizes])
    energies[eigenvalues <= 0] = 0.0  # of collapsed components nothing is learnt
    bias, variance = expected(eigenvalues, energies, max(0.0, sum(ENERGIES) - float(energies.sum())), n_labels)
    one, two = dimensions(eigenvalues)
    return {"bias": bias, "variance": variance, "dimension": one, "squared_dimension": two}


def _components(reg: float, k: int) -> tuple[Array, list[int]]:
    """Return the first k eigenvalues, and the sizes of their parities; all of a block, then cut."""
    whole = sum(math.comb(D, h) for h in range(D + 1))
    found = Hypercube(D).spectrum(LAW, KERNEL, reg=reg, n_components=whole)
    return np.maximum(found.eigenvalues[:k], 0.0), [len(label) for label in found.labels[:k]]


# ---------------------------------------------------------------- probes


def probes(z: Array, components: Sequence[int], draws: int, n_labels: int, rng: Any) -> dict[str, np.ndarray]:
    """Fit probes to ``draws`` draws of noisy labels, and return the numbers of `MEASURES` for each k.

    Parameters
    ----------
    z : array (2^8, k_max)
        Values psi of all points of the cube, in the order of the population's tables.
    components : sequence of int
        The probes see the first k columns.
    draws, n_labels : int
        Points of the labels are drawn with replacement; each k sees the same ones.
    rng : numpy.random.Generator

    Returns
    -------
    dict of arrays (len(components),)
        The squared bias is corrected for the finite number of draws, and may be negative by rounding.
    """
    truth = target(points(D))
    where = rng.integers(len(truth), size=(draws, n_labels))
    labels = truth[where] + NOISE * rng.standard_normal((draws, n_labels))
    found = np.empty((len(MEASURES), len(components)))
    for j, k in enumerate(components):
        seen = z[:, :k]
        predicted = np.empty((draws, len(truth)))
        for r in range(draws):
            phi = seen[where[r]]
            gram = phi.T @ phi + n_labels * RIDGE * np.eye(k)
            predicted[r] = seen @ np.linalg.solve(gram, phi.T @ labels[r])
        variance = predicted.var(axis=0, ddof=1).mean()
        bias = ((predicted.mean(axis=0) - truth) ** 2).mean() - variance / draws
        eigenvalues, vectors = np.linalg.eigh(seen.T @ seen / len(truth))
        active = eigenvalues > 1e-12
        functions = seen @ vectors[:, active] / np.sqrt(eigenvalues[active])
        energies = (functions.T @ truth / len(truth)) ** 2
        rest = max(0.0, float((truth**2).mean() - energies.sum()))
        theory = sum(expected(eigenvalues[active], energies, rest, n_labels))
        found[:, j] = bias, variance, theory, *dimensions(eigenvalues)
    return dict(zip(MEASURES, found, strict=True))


def repetition(settings: dict[str, Any], index: int) -> dict[str, np.ndarray]:
    """Return the numbers of `MEASURES`, (len(regs), len(components)), of the fits to one draw: a cell of `run_cells`.

    Index 0 has the population's own functions in place of fits.
    """
    regs, components = settings["regs"], settings["components"]
    seeds = np.random.SeedSequence(settings["seed"], spawn_key=(index,))
    one, two, three = (int(word) for word in seeds.generate_state(3))
    every = points(D)
    if index == 0:
        values = [_exact_functions(every, reg, max(components)) for reg in regs]
    else:
        views = Views(datasets.hypercube(settings["n"], D, one), LAW, 2, two)
        path = pretrain_path(views, KERNEL, max(components), regs=regs)
        values = [np.asarray(rep(every)) for rep in path]
    sizes = settings["draws"], settings["n_labels"]
    found = [probes(z, components, *sizes, np.random.default_rng(three)) for z in values]
    return {name: np.stack([numbers[name] for numbers in found]) for name in MEASURES}


def _exact_functions(x: Array, reg: float, k: int) -> Array:
    """Return psi of the population at x: parities times sqrt(mu)."""
    eigenvalues, _ = _components(reg, k)
    sets = [s for h in range(D + 1) for s in itertools.combinations(range(D), h)][:k]
    return np.stack([x[:, list(s)].prod(axis=1) for s in sets], axis=1) * np.sqrt(eigenvalues)


def study(
    regs: Sequence[float] = REGS,
    components: Sequence[int] = COMPONENTS,
    repetitions: int = 6,
    n: int = 400,
    n_labels: int = 300,
    draws: int = 40,
    run: Run | None = None,
) -> Study:
    """Fit at each reg, probe with each number of components, beside the population.

    Parameters
    ----------
    regs : sequence of float
        Increasing.
    components : sequence of int
        Increasing, at most 2^8.
    repetitions : int
        Draws of the samples; every reg sees the same ones.
    n, n_labels, draws : int
        Samples, labels, draws of the labels.
    run : Run, optional
        Told the steps ``"population"`` and ``"fits"``; its workers share the repetitions, and all seeds come from its.

    Examples
    --------
    >>> from sslcore.studies import dimension
    >>> found = dimension.study((1e-4,), (1, 9, 37), repetitions=2, n=60, n_labels=100, draws=5)
    >>> found.exact["bias"].round(3)
    array([[1.   , 0.4  , 0.101]])
    """
    run = run or Run()
    run.begin("population")
    at = [[population(reg, k, n_labels) for k in components] for reg in regs]
    exact = {name: np.array([[numbers[name] for numbers in row] for row in at]) for name in at[0][0]}
    run.begin("fits")
    settings = {
        "regs": [float(reg) for reg in regs],
        "components": [int(k) for k in components],
        **{"n": n, "n_labels": n_labels, "draws": draws, "seed": run.seed},
    }
    cells = run_cells(repetition, range(1 + repetitions), settings=settings, **run.cells("fits"))
    measured = {name: np.stack([cell[name] for cell in cells[1:]], axis=-1) for name in MEASURES}
    return Study(tuple(components), tuple(regs), measured, exact, cells[0], n, n_labels, draws)


STUDY = Registered(
    "fewer components are biased, more are noisy: bias, variance and effective dimension over k and lambda",
    run=lambda run: study(repetitions=60 if run.full else 6, draws=200 if run.full else 40, run=run),
    seconds={"population": 1.0, "fits": 40.0},
)
