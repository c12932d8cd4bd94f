"""``sslcore interplay``: which functions are learnt is decided by augmentation and architecture together, exactly.

On the hypercube T and a dot-product kernel share the parities, and each is a line
mu_S(reg) = 1 - beta + beta t_S - reg / kappa_S.  For small reg the augmentation decides which line is highest, for
large reg the architecture, and between them neither (Cabannes et al. 2023, sections 2 and 4).

Pure functions, called by the command line; nothing here prints or draws.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..arrays import check_scalar
from ..augmentations import Augmentation, Compose, Crop
from ..kernels import NNGP, Kernel
from ..population import Crossing, Hypercube, Lines, Regime, crop_eigenvalue_by_diameter
from ._interplay_samples import Fits, Toy, crop_fits, toy
from ._registry import Registered, Run

__all__ = ["SETS", "STUDY", "Paper", "Study", "paper", "study"]

SETS = ((0, 5), (0, 2, 4), (0, 1, 2, 3))
"""The parities of the paper's picture."""

LISTED = 20
"""Largest dimension of which all parities are looked at."""


@dataclass(frozen=True, eq=False)
class Study:
    """Results of the study, with its settings.

    Attributes
    ----------
    cube : Hypercube
    augmentation : Augmentation
    kernel : Kernel
    beta : float
    lines : Lines
        Those of the chosen sets, in their order.
    crossings : list of Crossing
        Where the highest of them changes.
    regimes : list of Regime
        The highest between the crossings.
    small : Study or None
        The same sets on the cube of dimension 12, if that is smaller.
    classes : list of (size, t, kappa, multiplicity)
        All parities of the cube, those of equal lines together; empty for d > 20.
    seconds : float
    """

    cube: Hypercube
    augmentation: Augmentation
    kernel: Kernel
    beta: float
    lines: Lines
    crossings: list[Crossing]
    regimes: list[Regime]
    small: Study | None
    classes: list[tuple[int, float, float, int]]
    seconds: float

    def highest(self, reg: Any) -> np.ndarray:
        """Return max_S mu_S at each reg."""
        return np.array([self.lines.values(float(r), self.beta).max() for r in np.atleast_1d(reg)])

    def document(self) -> dict[str, Any]:
        """Return all results, for machines."""
        return {
            "d": self.cube.d,
            "augmentation": repr(self.augmentation),
            "kernel": repr(self.kernel),
            "beta": self.beta,
            "lines": [
                {"set": list(label), "augmentation": t, "kernel": kappa}
                for label, t, kappa in zip(self.lines.labels, self.lines.augmentation, self.lines.kernel, strict=True)
            ],
            "crossings": [
                {"reg": c.reg, "eigenvalue": c.eigenvalue, "before": list(c.before), "after": list(c.after)}
                for c in self.crossings
            ],
            "regimes": [
                {"name": r.name, "start": r.start, "stop": r.stop, "highest": list(r.labels[0])} for r in self.regimes
            ],
            "classes": [
                {"size": h, "augmentation": t, "kernel": kappa, "multiplicity": count}
                for h, t, kappa, count in self.classes
            ],
            "note": self.note(),
        }

    def table(self) -> str:
        """Return the results as lines, for people."""
        rows = [
            f"The cube of dimension {self.cube.d}: {self.augmentation}, {self.kernel}, beta {self.beta:g}",
            "",
            "parity            T (augmentation)   K (architecture)   mu(reg) = 1 - beta + beta t - reg / kappa",
        ]
        for label, t, kappa in zip(self.lines.labels, self.lines.augmentation, self.lines.kernel, strict=True):
            start = 1 - self.beta + self.beta * t
            slope = f"- reg / {kappa:.4e}" if kappa > 0 else "- inf: outside of the RKHS"
            rows.append(f"{named(label):<18}{t:<19.8f}{kappa:<19.8e}{start:.8f} {slope}")
        rows += ["", "regime            reg from        to              highest of these"]
        for r in self.regimes:
            stop = f"{r.stop:.6e}" if r.stop < math.inf else "infinity"
            rows.append(f"{r.name:<18}{r.start:<16.6e}{stop:<16}{named(r.labels[0])}")
        rows += ["", *(self.crossing_line(c) for c in self.crossings)]
        if not self.crossings:
            rows.append("no crossing: one parity is above the others for every reg")
        if self.note():
            rows += ["", self.note()]
        return "\n".join(rows)

    def verdict(self) -> str:
        """Return what is claimed and what is so, in one line; there is nothing to estimate, and so no error."""
        places = ", ".join(f"{c.reg:.4g}" for c in self.crossings) or "none"
        order = ", then ".join(f"{named(r.labels[0])} ({r.name})" for r in self.regimes)
        return (
            f"The paper: as reg grows, the function learnt first is the augmentation's, one of their interplay, and "
            f"then the architecture's. Exact for d = {self.cube.d}, without an error: crossings at reg = {places}; "
            f"first {order}."
        )

    def crossing_line(self, crossing: Crossing) -> str:
        """Say one crossing in words."""
        return (
            f"crossing at reg = {crossing.reg:.9e}, mu = {crossing.eigenvalue:.6f}: "
            f"{named(crossing.before)} below it, {named(crossing.after)} above it"
        )

    def note(self) -> str:
        """Say what the same sets do for d = 12, the dimension of the paper's notebook."""
        if self.small is None:
            return ""
        t = ", ".join(
            f"{named(label)} {value:.6f}"
            for label, value in zip(self.small.lines.labels, self.small.lines.augmentation, strict=True)
        )
        count = len(self.small.regimes)
        text = f"For d = 12 the exact counts of windows give T = {t}: {count} regime{'s' if count != 1 else ''}."
        if (self.augmentation, tuple(self.lines.labels)) == (Crop(8), SETS):
            text += (
                " There, as in the paper's notebook, the formula by the diameter, ((9 - diam S)_+ / 12)^2, would give "
                "{0, 5} 1/16 instead of 1/9; it holds for all sets only when 2 w <= d + 1. The three regimes need "
                "d >= 13."
            )
        return text


def study(
    d: int,
    augmentation: Augmentation,
    kernel: Kernel,
    sets: Iterable[Iterable[int]] = SETS,
    *,
    beta: float = 1.0,
) -> Study:
    """Compute lines, crossings and regimes of the chosen parities, and the lines of all others.

    Parameters
    ----------
    d : int
        Dimension of the cube.
    augmentation : Augmentation
        One that parities diagonalise: crops, flips, resampling, and their compositions.
    kernel : Kernel
    sets : iterable of sets of coordinates
    beta : float

    Examples
    --------
    >>> from sslcore.augmentations import Crop
    >>> from sslcore.studies.interplay import study
    >>> from sslcore.kernels import Gaussian
    >>> found = study(13, Crop(8), Gaussian(2.0), [{0, 5}, {0, 1, 2}])
    >>> [(r.name, r.labels[0]) for r in found.regimes]
    [('augmentation', (0, 1, 2)), ('architecture', (0, 5))]
    """
    started = time.perf_counter()
    cube = Hypercube(d)
    beta = check_scalar(beta, "beta", minimum=0.0)
    chosen = list(dict.fromkeys(tuple(sorted(s)) for s in sets))
    if len(chosen) < 2:
        raise ValueError(f"the interplay is one of two parities or more, found {len(chosen)}")
    lines = cube.select(augmentation, kernel, chosen)
    crossings = cube.crossings(augmentation, kernel, 1, labels=chosen, beta=beta)
    regimes = cube.regimes(augmentation, kernel, 1, labels=chosen, beta=beta)
    small = None
    if cube.d > 12 and max(itertools.chain(*chosen), default=0) < 12 and _crops(augmentation, 12):
        small = study(12, augmentation, kernel, chosen, beta=beta)
    return Study(
        cube,
        augmentation,
        kernel,
        beta,
        lines,
        crossings,
        regimes,
        small,
        _classes(cube, augmentation, kernel),
        time.perf_counter() - started,
    )


def _crops(augmentation: Augmentation, d: int) -> bool:
    """Tell whether there is a crop in it, and all crops are possible in dimension d."""
    parts = augmentation.parts if isinstance(augmentation, Compose) else (augmentation,)
    widths = [part.width for part in parts if isinstance(part, Crop)]
    return bool(widths) and max(widths) <= d


def _classes(cube: Hypercube, augmentation: Augmentation, kernel: Kernel) -> list[tuple[int, float, float, int]]:
    """Return (|S|, t, kappa, how many) of all parities."""
    if cube.d > LISTED:
        return []
    sizes = np.zeros(1, int)
    for _ in range(cube.d):  # the sets with one more coordinate
        sizes = np.concatenate([sizes, sizes + 1])
    t = cube.augmentation_eigenvalues(augmentation).round(14)
    pairs, counts = np.unique(np.stack([sizes, t], axis=1), axis=0, return_counts=True)
    kappa = cube.kernel_eigenvalues(kernel)
    return [(int(h), float(v), float(kappa[int(h)]), int(c)) for (h, v), c in zip(pairs, counts, strict=True)]


def named(label: Any) -> str:
    """Write a set as ``{0, 5}``."""
    return "{" + ", ".join(map(str, label)) + "}"


@dataclass(frozen=True, eq=False)
class Paper:
    """The pictures of the paper: exact lines, and fits on samples beside them.

    Attributes
    ----------
    exact : Study
        The cube of dimension 16, or 20.
    samples : Fits
        Its three parities, on samples.
    toy : Toy
        The three lines .9, .75, .5.
    quoted : Lines
        Those of dimension 12 by the formula of the notebook, for crops the square of (w + 1 - diam S) / d.
    """

    exact: Study
    samples: Fits
    toy: Toy
    quoted: Lines

    def document(self) -> dict[str, Any]:
        """Return all results, for machines."""
        return self.exact.document() | {
            "samples": self.samples.as_dict() | {"first_is_exact": self.agreement()},
            "toy": {
                "augmentation": self.toy.t,
                "kernel": self.toy.kappa,
                "crossings": [c.reg for c in self.toy.crossings],
                "samples": [fits.as_dict() for fits in self.toy.fits],
            },
            "notebook": {"augmentation": self.quoted.augmentation, "kernel": self.quoted.kernel},
        }

    def agreement(self) -> np.ndarray:
        """Return, for each regime, in which share of the draws the first function is that of the exact theory."""
        stop = self.samples.regs[-1]
        middles = [(r.start + min(r.stop, stop)) / 2 for r in self.exact.regimes]
        first = self.samples.first(np.array(middles))
        places = [list(self.exact.lines.labels).index(r.labels[0]) for r in self.exact.regimes]
        return np.array([row[place] for row, place in zip(first, places, strict=True)])

    def distance(self) -> tuple[float, float]:
        """Return the largest distance of a mean of the samples to the exact eigenvalue, and its standard error."""
        exact = np.array([self.exact.lines.values(float(r), self.exact.beta) for r in self.samples.regs])
        apart = np.abs(self.samples.mean() - np.sort(exact, axis=1)[:, ::-1])
        place = np.unravel_index(apart.argmax(), apart.shape)
        return float(apart[place]), float(self.samples.standard_error()[place])

    def table(self) -> str:
        """Return the results as lines, for people."""
        fits, apart = self.samples, self.distance()
        rows = [
            self.exact.table(),
            "",
            f"The same parities from {fits.n:,} samples with {fits.m} views, {len(fits.eigenvalues)} draws "
            "(mean +- standard error of the eigenvalues, decreasing):",
            "reg            " + "".join(f"{f'mu_{i + 1}':<22}" for i in range(fits.eigenvalues.shape[2])).rstrip(),
        ]
        for reg, mean, error in list(zip(fits.regs, fits.mean(), fits.standard_error(), strict=True))[::4]:
            cells = (f"{f'{m:.5f} +- {e:.5f}':<22}" for m, e in zip(mean, error, strict=True))
            rows.append(f"{reg:<15.3e}" + "".join(cells).rstrip())
        rows += [f"farthest from the exact line: {apart[0]:.5f} +- {apart[1]:.5f}", ""]
        places = ", ".join(f"{c.reg:.10g}" for c in self.toy.crossings)
        rows.append(f"Three lines, t = .9, .75, .5 and 1 / kappa = .4, .25, .125: crossings at reg = {places}")
        return "\n".join(rows)

    def verdict(self) -> str:
        """Return what is claimed, what is so exactly, and what samples make of it, in one line."""
        apart, error = self.distance()
        draws = len(self.samples.eigenvalues)
        counts = ", ".join(f"{round(share * draws)}" for share in self.agreement())
        return (
            f"{self.exact.verdict()} On {self.samples.n:,} samples the first function is that of the theory in "
            f"{counts} of {draws} draws (middle of each regime), and no mean of eigenvalues is farther from the exact "
            f"one than {apart:.4f} +- {error:.4f}."
        )


def paper(d: int, samples: tuple[int, int, int], draws: int, seed: int, begin: Callable[[str], Any]) -> Paper:
    """Compute the paper's pictures: the cube of dimension d, (samples, views, draws) of it, and the three lines."""
    begin("lines")
    exact = study(d, Crop(8), NNGP(2))
    cube = Hypercube(12)
    t = np.array([crop_eigenvalue_by_diameter(12, 8, s) for s in SETS])
    quoted = Lines(t, cube.kernel_eigenvalues(NNGP(2), SETS), np.ones(len(SETS), int), SETS)
    begin("samples")
    regs = np.linspace(0.05, 1.5, 30) * exact.crossings[-1].reg
    fits = crop_fits(exact.lines, d, Crop(8), regs, exact.beta, samples, seed)
    begin("three lines")
    return Paper(exact, fits, toy((100, 1000), draws, seed), quoted)


def _paper(run: Run) -> Paper:
    """Compute the example of the paper, in dimension 16, or 20."""
    size = (100_000, 8, 20) if run.full else (10_000, 8, 10)
    return paper(20 if run.full else 16, size, 100 if run.full else 20, run.seed, run.begin)


STUDY = Registered(
    "which parity of the cube is learnt first, by augmentation and architecture together: exactly, and from samples",
    run=_paper,
    seconds={"lines": 0.5, "samples": 1.5, "three lines": 1.0},
    pictures={"": "paper_figure"},
)
