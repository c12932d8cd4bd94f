"""Empirical against population, ``sslcore convergence``: fits on n samples approach the exact spectrum, at a rate.

On each of the four domains in closed form, samples are drawn, views are made, `sslcore.pretrain` is fitted, and what it
found is compared with what is exact in the population (`sslcore.population`): the eigenvalues, the eigenspaces of
complete blocks, and the penalised risk above its minimum.  Nothing is estimated on fresh points: the comparisons are
exact too.

Pure functions, called by the command line; nothing here prints or draws.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import datasets, population
from ..arrays import Array, as_seed, check_integer
from ..augmentations import Augmentation, BitFlip, GaussianNoise, TangentStep, Views
from ..fitting.pretraining import pretrain
from ..fitting.representation import Representation
from ..kernels import Gaussian, Kernel, PeriodicGaussian
from ._registry import Registered, Run, plus_minus

__all__ = ["MEASURES", "SETTINGS", "STUDY", "Settings", "Study", "compare", "settings", "study"]

MEASURES = {
    "eigenvalues": "largest error of an eigenvalue",
    "eigenspaces": "largest sine between eigenspaces",
    "risk": "risk above the minimum",
}
"""What is measured: max_i |mu_i - mu_i*|, max over blocks of the sine of the largest principal angle between the spans
in L2 of the population, and L + 2 reg ||Theta||^2 less its minimum."""


@dataclass(frozen=True)
class Settings:
    """One domain, its views and its kernel.

    Attributes
    ----------
    name : str
    domain : sslcore.population.Domain
    sample : callable
        (n, seed) to n points of the domain.
    augmentation : Augmentation
    kernel : Kernel
    reg : float
    n_components : int
        The end of a complete block.
    """

    name: str
    domain: Any
    sample: Callable[[int, int], Array]
    augmentation: Augmentation
    kernel: Kernel
    reg: float
    n_components: int


SETTINGS = (
    Settings(
        "cube, d = 6",
        population.Hypercube(6),
        lambda n, seed: datasets.hypercube(n, 6, seed),
        BitFlip(0.1),
        Gaussian(3.0),
        1e-2,
        7,
    ),
    Settings(
        "sphere, d = 3",
        population.Sphere(3),
        lambda n, seed: datasets.sphere(n, 3, seed),
        TangentStep(0.5),
        Gaussian(1.0),
        1e-3,
        9,
    ),
    Settings(
        "torus, d = 2",
        population.Torus(2),
        lambda n, seed: datasets.torus(n, 2, seed),
        GaussianNoise(0.06),
        PeriodicGaussian(0.2),
        1e-3,
        9,
    ),
    Settings(
        "Gaussian, d = 1",
        population.Gaussian(1, 1.0),
        lambda n, seed: datasets.gaussian(n, 1, seed),
        GaussianNoise(0.5),
        Gaussian(1.0),
        1e-3,
        4,
    ),
)
"""The four domains of the command."""


def settings(name: str) -> Settings:
    """Return the setting whose name begins with this word.

    Examples
    --------
    >>> from sslcore.studies.convergence import settings
    >>> settings("torus").n_components
    9
    """
    for setting in SETTINGS:
        if setting.name.lower().startswith(name.lower()):
            return setting
    raise ValueError(f"a domain is one of {', '.join(s.name.split(',')[0] for s in SETTINGS)}, found {name!r}")


@dataclass(frozen=True, eq=False)
class Study:
    """Errors of every fit of the study, with its settings.

    Attributes
    ----------
    settings : tuple of Settings
    n, m : tuple of int
        Numbers of samples, and of views of each.
    errors : dict
        By name of the setting and measure: array (len(m), len(n), repetitions).
    exact : dict
        By name of the setting: the exact eigenvalues.
    seed : int
    seconds : float
    """

    settings: tuple[Settings, ...]
    n: tuple[int, ...]
    m: tuple[int, ...]
    errors: dict[str, dict[str, np.ndarray]]
    exact: dict[str, np.ndarray]
    seed: int
    seconds: float

    @property
    def repetitions(self) -> int:
        """Number of fits at each point."""
        return int(next(iter(self.errors.values()))["risk"].shape[2])

    def mean(self, name: str, measure: str) -> np.ndarray:
        """Return the geometric mean over repetitions, (len(m), len(n))."""
        out: np.ndarray = np.exp(np.log(self.errors[name][measure]).mean(axis=2))
        return out

    def rates(self, name: str, measure: str) -> np.ndarray:
        """Return, for each m, the exponent a of error = c n^-a, by least squares in logarithms; NaN for a single n."""
        if len(self.n) < 2:
            return np.full(len(self.m), math.nan)
        out: np.ndarray = -np.polyfit(np.log(self.n), np.log(self.mean(name, measure)).T, 1)[0]
        return out

    def exponents(self, measure: str) -> np.ndarray:
        """Return the mean of `rates` over domains and numbers of views, (repetitions,): of each repetition alone.

        Repetitions are independent, domains are not draws of anything: errors are taken from the former.
        """
        logs = np.log(np.stack([self.errors[setting.name][measure] for setting in self.settings])).mean(axis=(0, 1))
        if len(self.n) < 2:
            return np.full(self.repetitions, math.nan)
        out: np.ndarray = -np.polyfit(np.log(self.n), logs, 1)[0]
        return out

    def document(self) -> dict[str, Any]:
        """Return all results, for machines."""
        found = []
        for setting in self.settings:
            errors = {
                measure: {
                    "mean": self.mean(setting.name, measure),
                    "all": self.errors[setting.name][measure],
                    "rate": self.rates(setting.name, measure),
                }
                for measure in MEASURES
            }
            found.append(
                {
                    "domain": repr(setting.domain),
                    "augmentation": repr(setting.augmentation),
                    "kernel": repr(setting.kernel),
                    "reg": setting.reg,
                    "n_components": setting.n_components,
                    "exact_eigenvalues": self.exact[setting.name],
                    "errors": errors,
                }
            )
        return {
            "n": self.n,
            "m": self.m,
            "repetitions": self.repetitions,
            "seed": self.seed,
            "measures": dict(MEASURES),
            "domains": found,
        }

    def table(self) -> str:
        """Return the results as lines, for people."""
        lines = [
            "Empirical fits against the exact population: geometric means of errors over "
            f"{self.repetitions} repetitions, and the rate a of error = c n^-a.",
        ]
        for setting in self.settings:
            mu = " ".join(f"{value:.4f}" for value in np.unique(self.exact[setting.name].round(12))[::-1])
            lines += [
                "",
                f"{setting.name}: {setting.augmentation}, {setting.kernel}, reg {setting.reg:g}, "
                f"{setting.n_components} components (exact eigenvalues {mu})",
                f"{'':34}{'m':>3}{'n =':>5}" + "".join(f"{n:>10,}" for n in self.n) + f"{'rate':>8}",
            ]
            for measure, about in MEASURES.items():
                mean, rates = self.mean(setting.name, measure), self.rates(setting.name, measure)
                for i, m in enumerate(self.m):
                    label = f"  {about}" if i == 0 else ""
                    row = "".join(f"{value:10.2e}" for value in mean[i])
                    lines.append(f"{label:<34}{m:>3}{'':5}{row}{rates[i]:8.2f}")
        return "\n".join(lines)

    def verdict(self) -> str:
        """Return what is claimed and what was measured, in one line."""
        rates = {measure: plus_minus(self.exponents(measure)) for measure in MEASURES}
        return (
            f"Theory: eigenvalues and eigenspaces approach the population's as n^-0.5, the risk its minimum as n^-1. "
            f"Measured, n = {self.n[0]} to {self.n[-1]}, mean exponent over domains and numbers of views: "
            f"{rates['eigenvalues']}, {rates['eigenspaces']} and {rates['risk']}."
        )


def study(
    chosen: tuple[Settings, ...] = SETTINGS,
    n: tuple[int, ...] = (64, 128, 256, 512, 1024),
    m: tuple[int, ...] = (2, 4),
    repetitions: int = 4,
    seed: int = 0,
    begin: Callable[[str], None] = lambda step: None,
) -> Study:
    """Fit and compare, at every n and m, ``repetitions`` times with fresh samples.

    ``begin`` is called with the name of each domain as its work starts.
    """
    started = time.perf_counter()
    seed = as_seed(seed)
    n = tuple(check_integer(value, "n", minimum=2) for value in n)
    m = tuple(check_integer(value, "m", minimum=2) for value in m)
    repetitions = check_integer(repetitions, "repetitions", minimum=1)
    seeds = np.random.SeedSequence(seed)
    errors, exact = {}, {}
    for setting in chosen:
        begin(setting.name)
        if min(n) * min(m) < setting.n_components:
            raise ValueError(f"{setting.name} has {setting.n_components} components, n * m must be at least as many")
        found = np.empty((len(MEASURES), len(m), len(n), repetitions))
        compared = Exact.of(setting)
        exact[setting.name] = compared.spectrum.eigenvalues
        for i, views in enumerate(m):
            for j, count in enumerate(n):
                for r in range(repetitions):
                    one, two = (int(s) for s in seeds.spawn(1)[0].generate_state(2))
                    x = setting.sample(count, one)
                    data = Views(x, setting.augmentation, views, two)
                    rep = pretrain(data, setting.kernel, setting.n_components, reg=setting.reg)
                    found[:, i, j, r] = compared.errors(rep)
        errors[setting.name] = dict(zip(MEASURES, found, strict=True))
    return Study(tuple(chosen), n, m, errors, exact, seed, time.perf_counter() - started)


def compare(representation: Representation, setting: Settings) -> tuple[float, float, float]:
    """Return the three errors of a fit, in the order of `MEASURES`.

    Examples
    --------
    >>> from sslcore import pretrain
    >>> from sslcore.studies import convergence
    >>> s = convergence.settings("torus")
    >>> views = s.augmentation.views(s.sample(200, 0), 2, seed=0)
    >>> rep = pretrain(views, s.kernel, s.n_components, reg=s.reg)
    >>> [round(e, 3) for e in convergence.compare(rep, s)]  # of eigenvalues, of eigenspaces, of the risk
    [0.076, 0.685, 0.611]
    """
    return Exact.of(setting).errors(representation)


@dataclass(frozen=True, eq=False)
class Exact:
    """The population's side of the comparison, made once."""

    setting: Settings
    spectrum: population.PopulationSpectrum
    minimum: float
    images: Callable[[Array], Array]
    """K f_j for each eigenfunction f_j, at points: <k(., c), f> = (K f)(c)."""

    @classmethod
    def of(cls, setting: Settings) -> Exact:
        numbers: dict[str, Any] = {"reg": setting.reg, "n_components": setting.n_components}
        domain, law, kernel = setting.domain, setting.augmentation, setting.kernel
        spectrum = domain.spectrum(law, kernel, **numbers)
        if isinstance(domain, population.Gaussian):  # K f by quadrature: f is no eigenfunction of K
            f = domain.eigenfunctions(law, kernel, **numbers)
            nodes, weights = np.polynomial.hermite_e.hermegauss(120)
            nodes, weights = domain.views(law)[0] * nodes[:, None], weights / weights.sum()
            weighted = weights[:, None] * f(nodes)

            def images(x: Array) -> Array:
                out: Array = kernel(x, nodes) @ weighted
                return out

        else:

            def images(x: Array) -> Array:
                out: Array = spectrum.kernel * _functions(domain, spectrum, law, kernel, numbers)(x)
                return out

        return cls(setting, spectrum, spectrum.minimum_risk(), images)

    def errors(self, rep: Representation) -> tuple[float, float, float]:
        """Return the errors of eigenvalues, of eigenspaces, and of the risk."""
        eigenvalues = float(np.abs(rep.eigenvalues - self.spectrum.eigenvalues).max())
        second, smooth = self.setting.domain.moments(rep, self.setting.augmentation)
        risk = population.risk_of_moments(second, smooth, rep.beta)
        active = np.maximum(rep.eigenvalues, 0.0)
        penalty = 2.0 * rep.reg * float(active @ rep.norms)
        scale = np.sqrt(active)
        overlap = (np.asarray(rep.coefficients) * scale).T @ self.images(np.asarray(rep.centres))  # <psi_i, f_j>
        sines, start = [], 0
        for stop in self.spectrum.block_ends:
            block = slice(start, stop)
            if (scale[block] == 0).any():
                sines.append(1.0)  # a collapsed component spans nothing
            else:
                # the projection of the span of psi on that of f: eigenvalues are squared cosines
                inverse = np.linalg.inv(np.linalg.cholesky(second[block, block]))
                cosines = np.linalg.svd(inverse @ overlap[block, block], compute_uv=False)
                sines.append(math.sqrt(max(0.0, 1.0 - float(cosines.min()) ** 2)))
            start = stop
        return eigenvalues, max(sines), risk + penalty - self.minimum


def _functions(domain: Any, spectrum: Any, law: Any, kernel: Any, numbers: Any) -> Callable[[Array], Array]:
    """Make the eigenfunctions of a spectrum of complete blocks, for domains where T and K commute."""
    if isinstance(domain, population.Hypercube):
        return domain.eigenfunctions(law, kernel, **numbers)
    bases = [domain.harmonics(label) for label in dict.fromkeys(spectrum.labels)]
    return lambda x: np.concatenate([basis(x) for basis in bases], axis=1)


def _sizes(run: Run) -> Study:
    """Run up to 1,024 samples four times, or up to 2,048 samples eight times."""
    n = (64, 128, 256, 512, 1024)
    return study(n=(*n, 2048) if run.full else n, repetitions=8 if run.full else 4, seed=run.seed, begin=run.begin)


STUDY = Registered(
    "fits on n samples approach the exact spectrum of the population, at a rate",
    run=_sizes,
    seconds={setting.name: 6.0 for setting in SETTINGS},
    pictures={"": "convergence_figure"},
)
