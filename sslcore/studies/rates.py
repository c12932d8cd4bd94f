"""Pretraining on n samples of m views: how fast the exact risk approaches its minimum, and whether to draw n or m.

On the cube with random sign flips, the features are all 2^d parities (1,024 for d = 10), scaled: sqrt(nu_S) chi_S, with
the eigenvalues nu_S of a Gaussian kernel.  The population risk of any fit is exact, and so is its minimum; up to
131,072 samples of 64 views are fitted, whose kernel matrix would take 500 TB (`sslcore convergence` has kernels, on
four domains, up to 2,048 samples).  The paper bounds the excess risk by a multiple of n^(-1/2), and of 1/n under
stronger assumptions; more views only lower a variance (Cabannes et al. 2023).  At a fixed reg the limit of n times the
excess is known exactly here, A + B / m + C / (m (m - 1)), before anything is fitted (`_rates_limit`).

There are 2^d points, so that moments of features need two tables of counts alone: with h_i the share of the views of
sample i at each point, D = sum_i diag(h_i) and J = sum_i h_i h_i^T,

    sum_i phibar_i phibar_i^T = Phi^T J Phi,    sum_i (1/m) sum_a (phi_ia - phibar_i)(...)^T = Phi^T (D - J) Phi,

where Phi holds the features of all points: two Walsh-Hadamard transforms.

Pure functions, called by the command line; nothing here prints or draws.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import datasets, tunables
from ..arrays import Array
from ..augmentations import BitFlip, Views
from ..backends import get_backend
from ..kernels import Gaussian
from ..population import Hypercube, PopulationSpectrum, risk_of_moments
from ..runs import run_cells
from ..solvers.objective import Objective
from ..solvers.pencil import Pencil
from ..solvers.sums import Sums
from ._rates_limit import Limit, limit
from ._registry import Registered, Run

__all__ = ["REGS", "STUDY", "WAYS", "Slope", "Study", "cell", "parities", "study", "sums"]

KERNEL, LAW = Gaussian(3.0), BitFlip(0.1)
REGS = tuple(float(value) for value in np.logspace(-5.0, -2.0, 7))
"""The grid from which the tuned reg is taken."""
FIXED, SHRINKING = 1e-3, 0.03
"""The fixed reg, and the factor c of reg = c n^(-1/2)."""
WAYS = {
    "fixed": f"penalised risk above its minimum, reg = {FIXED:g}",
    "tuned": f"risk above its minimum over all functions, best reg of {len(REGS)} by this risk itself",
    "shrinking": f"the same, reg = {SHRINKING:g} n^(-1/2)",
}
"""What is measured."""


@dataclass(frozen=True)
class Slope:
    """An exponent a of error = c n^-a, or another number that is estimated from repetitions.

    Attributes
    ----------
    value, standard_error : float
        By the jackknife over repetitions; NaN for one of them.
    low, high : float
        Of the interval of 95 %, by Student's t.
    """

    value: float
    standard_error: float
    low: float
    high: float

    @classmethod
    def of(cls, statistic: Callable[[np.ndarray], float], repetitions: int) -> Slope:
        """Estimate ``statistic(indices of repetitions)``, leaving out one repetition after the other.

        Examples
        --------
        >>> import numpy as np
        >>> from sslcore.studies.rates import Slope
        >>> values = np.array([1.0, 2.0, 3.0, 4.0])
        >>> found = Slope.of(lambda kept: float(values[kept].mean()), 4)
        >>> found.value, round(found.standard_error, 4), str(found)
        (2.5, 0.6455, '2.50 (0.45 to 4.55)')
        """
        from scipy.stats import t

        every = np.arange(repetitions)
        value = statistic(every)
        if repetitions < 2:
            return cls(value, math.nan, math.nan, math.nan)
        left = np.array([statistic(np.delete(every, r)) for r in every])
        error = float(np.sqrt((repetitions - 1) / repetitions * ((left - left.mean()) ** 2).sum()))
        reach = float(t.ppf(0.975, repetitions - 1)) * error
        return cls(value, error, value - reach, value + reach)

    def __str__(self) -> str:
        return f"{self.value:.2f} ({self.low:.2f} to {self.high:.2f})"


@dataclass(frozen=True, eq=False)
class Study:
    """Risks of all fits, with the settings.

    Attributes
    ----------
    d, n_components : int
    n, m : tuple of int
        Numbers of samples, and of views of each; n grows by the same factor.
    penalised : array (len(m), len(n), repetitions)
        L + 2 reg |Theta|^2 above its minimum, reg = `FIXED`.
    grid : array (len(m), len(n), repetitions, len(REGS))
        L above its minimum over all functions.
    shrinking : array (len(m), len(n), repetitions)
        The same at reg = c n^(-1/2).
    first : int
        Slopes are fitted from this index of n on.
    limit : Limit
        Of n times the penalised excess, by theory.
    """

    d: int
    n_components: int
    n: tuple[int, ...]
    m: tuple[int, ...]
    penalised: np.ndarray
    grid: np.ndarray
    shrinking: np.ndarray
    first: int
    limit: Limit

    @property
    def repetitions(self) -> int:
        """Number of draws for each n and m."""
        return int(self.penalised.shape[2])

    def values(self, way: str, kept: np.ndarray | None = None) -> np.ndarray:
        """Return the errors of one of `WAYS`, (len(m), len(n), repetitions kept).

        The tuned reg is, for each n and m, the one of least mean over these repetitions.
        """
        kept = np.arange(self.repetitions) if kept is None else kept
        if way != "tuned":
            out: np.ndarray = (self.penalised if way == "fixed" else self.shrinking)[:, :, kept]
            return out
        grid = self.grid[:, :, kept]
        best = grid.mean(axis=2).argmin(axis=2)
        out = np.take_along_axis(grid, best[:, :, None, None], axis=3)[..., 0]
        return out

    def mean(self, way: str) -> np.ndarray:
        """Return the mean over repetitions, (len(m), len(n))."""
        out: np.ndarray = self.values(way).mean(axis=2)
        return out

    def standard_error(self, way: str) -> np.ndarray:
        """Return the standard error of that mean; NaN for a single repetition."""
        if self.repetitions < 2:
            return np.full((len(self.m), len(self.n)), math.nan)
        out: np.ndarray = self.values(way).std(axis=2, ddof=1) / self.repetitions**0.5
        return out

    def best(self) -> np.ndarray:
        """Return the tuned reg of each m and n."""
        out: np.ndarray = np.array(REGS)[self.grid.mean(axis=2).argmin(axis=2)]
        return out

    def slope(self, way: str, i: int) -> Slope:
        """Fit the exponent in n for m[i], by least squares in the logarithms of mean errors."""

        def statistic(kept: np.ndarray) -> float:
            mean = self.values(way, kept)[i, self.first :].mean(axis=1)
            return -float(np.polyfit(np.log(self.n[self.first :]), np.log(mean), 1)[0])

        return Slope.of(statistic, self.repetitions)

    def slope_of_views(self, way: str) -> Slope:
        """Fit the exponent in m at the largest n, by least squares in the logarithms of mean errors.

        It only describes these m: the law has a part that more views do not lower.
        """

        def statistic(kept: np.ndarray) -> float:
            mean = self.values(way, kept)[:, -1].mean(axis=1)
            return -float(np.polyfit(np.log(self.m), np.log(mean), 1)[0])

        return Slope.of(statistic, self.repetitions)

    def over_limit(self, i: int) -> Slope:
        """Compare n times the penalised excess with its limit, for m[i] at the largest n: the ratio."""
        exact = float(self.limit.at(self.m[i]))

        def statistic(kept: np.ndarray) -> float:
            return float(self.values("fixed", kept)[i, -1].mean()) * self.n[-1] / exact

        return Slope.of(statistic, self.repetitions)

    def budgets(self) -> list[int]:
        """List the numbers n m of views that every m reaches with some n."""
        return sorted(set.intersection(*({n * m for n in self.n} for m in self.m)))

    def at_budget(self, way: str, budget: int, kept: np.ndarray | None = None) -> np.ndarray:
        """Return the errors (len(m), repetitions) with budget / m samples of m views."""
        values = self.values(way, kept)
        out: np.ndarray = np.stack([values[i, self.n.index(budget // m)] for i, m in enumerate(self.m)])
        return out

    def price(self, way: str, i: int) -> Slope:
        """Compare m[i] views of each sample with m[0], at the largest common budget: the ratio of mean errors."""
        budget = self.budgets()[-1]

        def statistic(kept: np.ndarray) -> float:
            mean = self.at_budget(way, budget, kept).mean(axis=1)
            return float(mean[i] / mean[0])

        return Slope.of(statistic, self.repetitions)

    def document(self) -> dict[str, Any]:
        """Return all results, for machines."""
        ways = {
            way: {
                "about": about,
                "mean": self.mean(way),
                "standard_error": self.standard_error(way),
                "slopes": [vars(self.slope(way, i)) for i in range(len(self.m))],
                "slope_of_views": vars(self.slope_of_views(way)),
                "at_largest_budget_over_first": [vars(self.price(way, i)) for i in range(len(self.m))],
                "at_budgets": {str(b): self.at_budget(way, b).mean(axis=1) for b in self.budgets()},
            }
            for way, about in WAYS.items()
        }
        return {
            "d": self.d,
            "augmentation": repr(LAW),
            "kernel": repr(KERNEL),
            "n_components": self.n_components,
            "n": self.n,
            "m": self.m,
            "repetitions": self.repetitions,
            "fitted_from_n": self.n[self.first],
            "regs": REGS,
            "best_reg": self.best(),
            "minimum_risk": minimum(self.d, self.n_components),
            "limit": vars(self.limit) | {"best_views": self.limit.best_views},
            "over_limit": [vars(self.over_limit(i)) for i in range(len(self.m))],
            "measures": ways,
        }

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the errors of every repetition."""
        return {"penalised": self.penalised, "grid": self.grid, "shrinking": self.shrinking}

    def table(self) -> str:
        """Return the results as lines, for people."""
        lines = [
            f"cube, d = {self.d}: {2**self.d:,} scaled parities ({KERNEL}), {LAW}, {self.n_components} components",
            f"mean of {self.repetitions} draws (standard error); exponent a of c n^-a from n = {self.n[self.first]:,} "
            "on, with its interval of 95 %",
        ]
        for way, about in WAYS.items():
            mean, error, regs = self.mean(way), self.standard_error(way), self.best()
            lines += ["", about, f"{'m':>4}  n =" + "".join(f"{n:>20,}" for n in self.n) + f"{'a':>22}"]
            for i, m in enumerate(self.m):
                row = "".join(f"{f'{a:.3e} ({b:.0e})':>20}" for a, b in zip(mean[i], error[i], strict=True))
                lines.append(f"{m:>4}{'':5}{row}{self.slope(way, i)!s:>22}")
                if way == "tuned":
                    lines.append(f"{'reg':>7}{'':2}" + "".join(f"{value:>20.1e}" for value in regs[i]))
            lines.append(f"exponent of m^-a at n = {self.n[-1]:,}: {self.slope_of_views(way)}")
        lines += ["", f"n x excess at a fixed reg, n = {self.n[-1]:,}, over its limit {self.law()}:"]
        lines.append(", ".join(f"m = {m}: {self.over_limit(i)}" for i, m in enumerate(self.m)))
        lines += ["", f"at a fixed number of views, n m: errors with m = {', '.join(map(str, self.m))}"]
        for budget in self.budgets():
            for way in WAYS:
                row = "".join(f"{value:12.3e}" for value in self.at_budget(way, budget).mean(axis=1))
                lines.append(f"{budget:>10,}  {way:<10}{row}")
        lines += ["", f"the last of these over m = {self.m[0]}, with intervals of 95 %"]
        for way in WAYS:
            row = "".join(f"{self.price(way, i)!s:>22}" for i in range(1, len(self.m)))
            lines.append(f"{'':12}{way:<10}{row}")
        return "\n".join(lines)

    def law(self) -> str:
        """Write the limit of n times the penalised excess."""
        return f"{self.limit.samples:.3g} + {self.limit.views:.3g} / m + {self.limit.pairs:.3g} / (m (m - 1))"

    def verdict(self) -> str:
        """Return what is claimed and what was measured, in one line."""
        few, many = self.m[0], self.m[-1]
        words = {"fixed": "fixed reg", "tuned": "tuned reg", "shrinking": "reg ~ n^-0.5"}
        slopes = "; ".join(
            f"{name} {self.slope(way, 0)} with m = {few}, {self.slope(way, -1)} with m = {many}"
            for way, name in words.items()
        )
        over_m = ", ".join(f"{name} {self.slope_of_views(way)}" for way, name in words.items())
        ends = ", ".join(f"{self.over_limit(i)} at m = {self.m[i]}" for i in (0, len(self.m) - 1))
        prices = "; ".join(
            f"m = {m}: {self.price('fixed', i)}, tuned {self.price('tuned', i)}" for i, m in enumerate(self.m) if i
        )
        return (
            f"The paper: the excess risk falls as n^-0.5, under stronger assumptions as 1/n, and more views lower a "
            f"variance only. Measured exponents (95 %) over n: {slopes}; over m, at n = {self.n[-1]:,}: {over_m}. At a "
            f"fixed reg n x excess tends to {self.law()}, exactly; measured over that: {ends}. Of "
            f"{self.budgets()[-1]:,} views, excess over that of m = {few}: {prices}; by the law "
            f"{self.limit.best_views:.1f} views of each sample are best, beyond these draw new samples."
        )


# ---------------------------------------------------------------- features and their moments


def parities(x: Array) -> Array:
    """Return the scaled parities sqrt(nu_S) chi_S (N, 2^d) at points of the cube (N, d), S in the order of masks.

    Examples
    --------
    >>> import numpy as np
    >>> from sslcore.studies import rates
    >>> x = np.array([[1.0, 1.0, -1.0], [1.0, -1.0, -1.0]])
    >>> bool(np.allclose(rates.parities(x) @ rates.parities(x).T, rates.KERNEL(x, x)))
    True
    """
    d = x.shape[-1]
    chi = np.ones((*x.shape[:-1], 1))
    for i in range(d):  # the sets with i are those without it, times x_i
        chi = np.concatenate([chi, chi * x[..., i : i + 1]], axis=-1)
    out: Array = chi * np.sqrt(_weights(d))
    return out


def sums(d: int, views: Views) -> Sums:
    """Return the sums of the moments of `parities` over views (n, m, d) of the cube, from counts of its points.

    Examples
    --------
    >>> from sslcore import Moments, datasets, features
    >>> from sslcore.augmentations import Views
    >>> from sslcore.studies import rates
    >>> views = Views(datasets.hypercube(50, 4, seed=0), rates.LAW, 3, 1)
    >>> moments = Moments(features.Identity()).update(rates.parities(views[:]))
    >>> moments.n_views, rates.sums(4, views).n_views
    (150, 150)
    """
    from scipy.sparse import csr_matrix

    n, m, size = len(views), views.n_views, 1 << d
    joint, total = np.zeros((size, size)), np.zeros(size)
    step = max(1, tunables.CUBE_COUNTED_VIEWS // m)
    for start in range(0, n, step):
        block = np.asarray(views[start : start + step]) < 0
        points = (block @ (1 << np.arange(d))).ravel()
        shares = csr_matrix(
            (np.full(len(points), 1.0 / m), points, np.arange(0, len(points) + 1, m)), (len(block), size)
        )
        shares.sum_duplicates()
        joint += (shares.T @ shares).toarray()
        total += np.bincount(points, minlength=size)
    mean = total / (n * m)
    scale = np.sqrt(_weights(d))

    def of_features(table: np.ndarray) -> np.ndarray:
        """Return Phi^T table Phi."""
        backend = get_backend(table)
        half = backend.walsh_hadamard(np.ascontiguousarray(table))
        whole = backend.walsh_hadamard(np.ascontiguousarray(half.T))
        return np.asfortranarray(whole * scale * scale[:, None])

    between = of_features(joint - n * np.outer(mean, mean))
    within = of_features(np.diag(total / m) - joint)
    first = scale * get_backend(mean).walsh_hadamard(mean.copy())
    return Sums(n, n * m, float(n), first, between, within, m / (m - 1), None)


def _weights(d: int) -> np.ndarray:
    """Return nu_S for all 2^d sets."""
    out: np.ndarray = Hypercube(d).kernel_eigenvalues(KERNEL)[_sizes_of_sets(d)]
    return out


def _sizes_of_sets(d: int) -> np.ndarray:
    return np.bitwise_count(np.arange(1 << d, dtype=np.uint32)).astype(np.int64)


# ---------------------------------------------------------------- fits and their exact risks


def minimum(d: int, k: int) -> float:
    """Return the least risk of k functions, whatever they are: k - sum_i t_i^2."""
    return Hypercube(d).minimum_risk(LAW, None, k)


def risks(pencil: Pencil, d: int, k: int, reg: float) -> tuple[float, float]:
    """Fit at one reg; return the exact population risk L and the penalty 2 reg |Theta|^2."""
    spectrum = pencil.solve(Objective.of(k, reg, 1.0, True, False))
    active = np.maximum(1.0 - spectrum.gamma, 0.0)
    theta = np.asarray(spectrum.coefficients) * np.sqrt(active)
    c = theta * np.sqrt(_weights(d))[:, None]  # psi = sum_S c_S chi_S
    t = (1.0 - 2.0 * LAW.p) ** (2 * _sizes_of_sets(d))
    return risk_of_moments(c.T @ c, (c.T * t) @ c, 1.0), 2.0 * reg * float((theta**2).sum())


def cell(settings: dict[str, Any], at: list[int]) -> dict[str, np.ndarray]:
    """Fit n samples of m views at all regs, at = [n, m, repetition]: a cell of `run_cells`."""
    n, m, repetition = at
    d, k = settings["d"], settings["k"]
    seeds = np.random.SeedSequence(settings["seed"], spawn_key=(n, m, repetition)).generate_state(2)
    views = Views(datasets.hypercube(n, d, int(seeds[0])), LAW, m, int(seeds[1]))
    pencil = Pencil(sums(d, views), get_backend("numba"), finest=0.0, epsilon=0.0, unbiased=True, center=False)
    found = [risks(pencil, d, k, reg) for reg in (*REGS, FIXED, SHRINKING * n**-0.5)]
    return {"risk": np.array([risk for risk, _ in found]), "penalty": np.array([penalty for _, penalty in found])}


def population(d: int, k: int, reg: float = FIXED) -> PopulationSpectrum:
    """Return the components to which fits at a fixed reg tend."""
    return Hypercube(d).spectrum(LAW, KERNEL, reg=reg, n_components=k)


def study(
    n: Sequence[int] = (128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768),
    m: Sequence[int] = (2, 4, 8, 16, 32),
    repetitions: int = 8,
    d: int = 8,
    first: int = 3,
    run: Run | None = None,
) -> Study:
    """Fit at every n and m, ``repetitions`` times with fresh samples, at a fixed reg and at those of the grid.

    Parameters
    ----------
    n, m : sequence of int
        Numbers of samples, and of views of each, increasing.
    repetitions : int
    d : int
        The cube's dimension; the components are the constant and the d coordinates.
    first : int
        Slopes are fitted from n[first] on.
    run : Run, optional
        Told the step ``"fits"``; its workers share the fits.

    Examples
    --------
    >>> from sslcore.studies import rates
    >>> found = rates.study((64, 256), (2, 8), repetitions=3, d=4, first=0)
    >>> found.budgets(), found.mean("fixed").shape, bool((found.penalised > 0).all())
    ([512], (2, 2), True)
    """
    run = run or Run()
    run.begin("fits")
    k = d + 1
    settings = {"d": d, "k": k, "seed": run.seed, "regs": list(REGS)}
    cells = [[int(a), int(b), r] for b in m for a in n for r in range(repetitions)]
    found = run_cells(cell, cells, settings=settings, **run.cells("fits"))
    shape = (len(m), len(n), repetitions, len(REGS) + 2)
    risk, penalty = (np.array([part[name] for part in found]).reshape(shape) for name in ("risk", "penalty"))
    least = minimum(d, k)
    return Study(
        d,
        k,
        tuple(int(value) for value in n),
        tuple(int(value) for value in m),
        risk[..., -2] + penalty[..., -2] - population(d, k).minimum_risk(),
        risk[..., : len(REGS)] - least,
        risk[..., -1] - least,
        first,
        limit(_weights(d), LAW.p, FIXED, k),
    )


def _sized(run: Run) -> Study:
    """Run 256 parities, up to 32,768 samples of 32 views; or 1,024, up to 131,072 of 64."""
    if not run.full:
        return study(run=run)
    return study(tuple(128 << j for j in range(11)), (2, 4, 8, 16, 32, 64), 20, d=10, run=run)


STUDY = Registered(
    "the excess risk of pretraining falls with the samples, as 1/n at a fixed reg; a few views of each are enough",
    run=_sized,
    seconds={"fits": 60.0},
)
