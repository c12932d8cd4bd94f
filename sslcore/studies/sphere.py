"""Eigenfunctions on the sphere between augmentation and architecture, with T given as a matrix.

The paper's grid of longitudes and latitudes, T_ij the mean of exp(-5 |roll_a x_i - roll_b x_j|^2) over the nine pairs
of cyclic shifts of the three coordinates, K = exp(-|x - y|^2 / 5), and the first eigenfunctions of T - lambda_ref K^-1
(Cabannes et al. 2023, section 6).  K is so smooth that it is numerically singular: its range has some 100 dimensions.
Nothing is inverted here, and functions outside of the range have an infinite norm; the published script takes the
pseudo-inverse, for which they have none.

Pure functions, called by the command line; nothing here prints or draws.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..fitting.path import pretrain_path
from ..fitting.pretraining import pretrain
from ..kernels import Gaussian, Precomputed
from ..positives import Operator
from ._registry import Registered, Run

__all__ = ["KERNEL", "LAMBDA_REFS", "PRINTED", "STUDY", "Study", "by_pseudo_inverse", "grid", "shifts", "study"]

LAMBDA_REFS = (0.0, 0.1, 1.0, 10.0, 100.0)
"""Weights of K^-1 beside T, as the published script counts them."""

PRINTED = (
    (137.82696978, 128.84431069, 76.92672996, 70.92201429, 58.84831981, 57.5122717, 52.71397324, 42.31896366),
    (137.61807154, 128.36020773, 76.86886046, 70.54494403, 58.63131249, 55.82255167, 52.5873952, 39.95146749),
    (136.83924409, 127.69087447, 76.76712701, 69.74557759, 57.59033905, 51.47892562, 44.39650143, 21.03856606),
    (134.44488509, 126.54691957, 76.09822931, 63.43211815, 47.7444783, 40.39456075, 16.77171437, 2.09531958),
    (132.96797451, 122.54491209, 70.13106624, 23.46247833, 9.70251669, 2.12478949, 1.53406587, 1.43982283),
)
"""Eigenvalues that the published script printed on its grid of 50 by 50, for `LAMBDA_REFS`."""

KERNEL, N_COMPONENTS = Gaussian(2.5**0.5), 8


@dataclass(frozen=True, eq=False)
class Study:
    """Eigenvalues and eigenfunctions at each lambda, with the settings.

    Attributes
    ----------
    resolution : int
        Longitudes, and latitudes, of the grid.
    lambda_refs : tuple of float
    eigenvalues, published : (L, k)
        Of T - lambda_ref K^-1, decreasing: exact, and by the pseudo-inverse of K.
    functions, published_functions : (L, N, k)
        Unit eigenfunctions on the grid (mean square 1), signs as at the first lambda.
    outside : (L, k)
        The share of each published function, by its square, that is outside of the range of K.
    augmentation, architecture : (L,)
        The share of the span of the first k functions in that of T alone, and of K alone.
    apart : (L,)
        Largest difference from dense algebra on the range of K (for lambda 0, on all functions).
    worst : (L,)
        Worst residual of each certificate.
    rank : int
        Dimensions of the range of K that are not lost in rounding.
    """

    resolution: int
    lambda_refs: tuple[float, ...]
    eigenvalues: np.ndarray
    published: np.ndarray
    functions: np.ndarray
    published_functions: np.ndarray
    outside: np.ndarray
    augmentation: np.ndarray
    architecture: np.ndarray
    apart: np.ndarray
    worst: np.ndarray
    rank: int

    @property
    def n_active(self) -> np.ndarray:
        """Components with a positive eigenvalue, at each lambda."""
        out: np.ndarray = (self.eigenvalues > 0).sum(axis=1)
        return out

    @property
    def misled(self) -> np.ndarray:
        """Published functions that are outside of the range of K by more than half of their square, at each lambda."""
        out: np.ndarray = (self.outside > 0.5).sum(axis=1)
        return out

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the functions on the grid, and its points."""
        return {
            "points": grid(self.resolution),
            "functions": self.functions,
            "published_functions": self.published_functions,
        }

    def document(self) -> dict[str, Any]:
        """Return all results, for machines."""
        return {
            "resolution": self.resolution,
            "kernel": repr(KERNEL),
            "lambda_ref": self.lambda_refs,
            "reg": [value / self.resolution**2 for value in self.lambda_refs],
            "eigenvalues": self.eigenvalues,
            "by_pseudo_inverse": self.published,
            "printed": PRINTED if self._as_printed() else None,
            "share_outside_of_the_range": self.outside,
            "n_active": self.n_active,
            "span_in_that_of_the_augmentation": self.augmentation,
            "span_in_that_of_the_architecture": self.architecture,
            "apart_from_dense_algebra": self.apart,
            "certificates": self.worst,
            "rank": self.rank,
        }

    def table(self) -> str:
        """Return the results as lines, for people."""
        lines = [
            f"sphere, grid of {self.resolution} by {self.resolution} points; T of smoothed cyclic shifts, {KERNEL}; "
            f"its range has {self.rank} dimensions",
            "eigenvalues of T - lambda_ref K^-1; below: by the pseudo-inverse, as published (* outside of the range)",
            "",
            "lambda_ref  active  in T  in K  eigenvalues",
        ]
        for i, value in enumerate(self.lambda_refs):
            found = "".join(f"{mu:11.4f} " for mu in self.eigenvalues[i])
            shares = f"{self.augmentation[i]:.2f}  {self.architecture[i]:.2f}"
            lines.append(f"{value:<10g}  {self.n_active[i]:<6}  {shares} {found}".rstrip())
            marks = ("*" if share > 0.5 else " " for share in self.outside[i])
            theirs = "".join(f"{mu:11.4f}{mark}" for mu, mark in zip(self.published[i], marks, strict=True))
            lines.append(f"{'':31}{theirs}".rstrip())
        lines += ["", f"largest difference from dense algebra on the range: {self.apart.max():.1g}"]
        if self._as_printed():
            error = np.abs(np.array(PRINTED) - self.published).max()
            lines.append(
                f"largest difference of the pseudo-inverse from what the published script printed: {error:.1g}"
            )
        return "\n".join(lines)

    def verdict(self) -> str:
        """Return what is claimed and what was measured, in one line."""
        first, last = self.augmentation[0], self.augmentation[-1]
        bad = int(self.misled[-1])
        return (
            f"The paper: with lambda the first functions turn from those of the augmentation to those of the "
            f"architecture. Measured, the span of the first {self.eigenvalues.shape[1]}: its share in that of T falls "
            f"from {first:.3f} to {last:.3f}, in that of K it rises from {self.architecture[0]:.3f} to "
            f"{self.architecture[-1]:.3f}; at lambda_ref = {self.lambda_refs[-1]:g} {self.n_active[-1]} are active "
            f"(the pseudo-inverse of the published script adds {bad} outside of the RKHS); worst residual "
            f"{self.worst.max():.0e}, dense algebra on the range of K differs by {self.apart.max():.0e}."
        )

    def _as_printed(self) -> bool:
        return self.resolution == 50 and self.lambda_refs == LAMBDA_REFS and self.eigenvalues.shape[1] == N_COMPONENTS


def grid(resolution: int) -> np.ndarray:
    """Return the points of the grid, (resolution^2, 3): longitudes 0 to 2 pi and latitudes, ends included.

    Examples
    --------
    >>> from sslcore.studies.sphere import grid
    >>> grid(3).shape
    (9, 3)
    """
    longitude, angle = np.linspace(0, 2 * np.pi, resolution), np.linspace(0, np.pi, resolution)
    around = np.cos(longitude), np.sin(longitude), np.ones(resolution)
    up = np.sin(angle), np.sin(angle), np.cos(angle)
    return np.stack([np.outer(a, b).ravel() for a, b in zip(around, up, strict=True)], axis=1)


def shifts(x: np.ndarray) -> np.ndarray:
    """Return T, (N, N): the mean of exp(-5 |roll_a x_i - roll_b x_j|^2) over the shifts a, b of the coordinates.

    Examples
    --------
    >>> import numpy as np
    >>> from sslcore.studies.sphere import shifts
    >>> shifts(np.eye(3)).round(4)[0]
    array([0.3334, 0.3334, 0.3334])
    """
    kernel, d = Gaussian(0.1**0.5), x.shape[1]
    pairs = itertools.product(range(d), range(d))
    out: np.ndarray = sum((kernel(np.roll(x, a, axis=1), np.roll(x, b, axis=1)) for a, b in pairs), np.zeros(())) / d**2
    symmetric: np.ndarray = (out + out.T) / 2
    return symmetric


def by_pseudo_inverse(
    operator: np.ndarray, gram: np.ndarray, lambda_refs: Sequence[float], k: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, int]:
    """Return the published method beside dense algebra on the range of K.

    Of T - lambda_ref K^+ eigenvalues (L, k), unit eigenfunctions (L, N, k) and the share of each outside of the range;
    the eigenvalues on the range (L, k); and the rank.  K^+ has the cut N eps of ``scipy.linalg.pinvh``.  Eigenvalues of
    K near the cut are known to few digits, and so, at large lambda, are these answers.
    """
    from scipy.linalg import eigh

    n = len(gram)
    heights, vectors = eigh(gram)
    kept = np.abs(heights) > n * np.finfo(float).eps * np.abs(heights).max()
    inverse = (vectors[:, kept] / heights[kept]) @ vectors[:, kept].T
    sure = heights > n * np.finfo(float).eps * heights.max()
    basis = vectors[:, sure]
    inside = basis.T @ operator @ basis
    values, functions, outside, exact = [], [], [], []
    for value in lambda_refs:
        mu, v = eigh(operator - value * inverse, subset_by_index=[n - k, n - 1])
        values.append(mu[::-1])
        functions.append(v[:, ::-1] * n**0.5)
        outside.append(1.0 - ((basis.T @ v[:, ::-1]) ** 2).sum(axis=0))
        exact.append(mu[::-1] if value == 0 else np.linalg.eigvalsh(inside - np.diag(value / heights[sure]))[::-1][:k])
    return np.array(values), np.array(functions), np.array(outside), np.array(exact), int(sure.sum())


def study(
    resolution: int = 24,
    lambda_refs: Sequence[float] = LAMBDA_REFS,
    n_components: int = N_COMPONENTS,
    run: Run | None = None,
) -> Study:
    """Compute the first eigenfunctions of T - lambda_ref K^-1 at each lambda, and what the published script finds.

    T and K are matrices of N points, as published: on L2 of the uniform measure Khat = K / N, and reg = lambda_ref / N.
    lambda_ref = 0 is T alone, the limit in which every function is allowed: the kernel is then the identity, whose norm
    moves all eigenvalues alike (T = 1 - invariance, as the fit splits them).

    Parameters
    ----------
    resolution : int
        Longitudes, and latitudes, of the grid.
    lambda_refs : sequence of float
        Increasing; the first is 0.
    n_components : int
    run : Run, optional
        Told the steps ``"functions"`` and ``"published"``.

    Examples
    --------
    >>> from sslcore.studies import sphere
    >>> found = sphere.study(10, (0.0, 10.0), 4)
    >>> found.eigenvalues.shape, bool(found.apart.max() < 1e-4)
    ((2, 4), True)
    """
    run = run or Run()
    run.begin("functions")
    x = grid(resolution)
    n, k, law = len(x), n_components, Operator(shifts(x))
    alone = pretrain(np.eye(n), Precomputed(), k, reg=1.0 / n, positives=law)
    path = pretrain_path(x, KERNEL, k, regs=[value / n for value in lambda_refs[1:]], positives=law)
    architecture = pretrain(x, KERNEL, k, reg=1e-3, beta=0.0, positives=law)
    reps = [alone, *path]
    functions = np.array([rep.values for rep in reps])
    eigenvalues = np.array([1.0 - alone.invariance, *(rep.eigenvalues for rep in reps[1:])])
    run.begin("published")
    published, theirs, outside, exact, rank = by_pseudo_inverse(law.T, KERNEL(x, x), lambda_refs, k)
    # sums over a group of equal eigenvalues are unique, single functions are not: signs only
    functions = functions * _signs(functions, functions[0])
    theirs = theirs * _signs(theirs, functions[0])
    return Study(
        resolution=resolution,
        lambda_refs=tuple(float(value) for value in lambda_refs),
        eigenvalues=eigenvalues,
        published=published,
        functions=functions,
        published_functions=theirs,
        outside=outside,
        augmentation=_shares(functions, functions[0]),
        architecture=_shares(functions, architecture.values),
        apart=np.abs(eigenvalues - exact).max(axis=1),
        worst=np.array([rep.certificate.worst for rep in reps]),
        rank=rank,
    )


def _signs(functions: np.ndarray, first: np.ndarray) -> np.ndarray:
    """Return the signs with which functions (L, N, k) agree with the first ones, one by one."""
    out: np.ndarray = np.where(np.einsum("lnk,nk->lk", functions, first) < 0, -1.0, 1.0)[:, None]
    return out


def _shares(functions: np.ndarray, span: Any) -> np.ndarray:
    """Return the share of the span of functions (L, N, k) in that of others, (L,): 1 if they are the same."""
    overlaps = np.einsum("lnj,nk->ljk", functions, span) / functions.shape[1]
    out: np.ndarray = (overlaps**2).sum(axis=(1, 2)) / functions.shape[2]
    return out


STUDY = Registered(
    "eigenfunctions on the sphere between augmentation and architecture, with T given as a matrix",
    run=lambda run: study(50 if run.full else 24, run=run),
    seconds={"functions": 2.0, "published": 2.0},
)
