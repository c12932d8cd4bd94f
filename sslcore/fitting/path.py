"""The path over reg and beta: what `sslcore.path` hands on; that page has the formulas."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from ..arrays import Array, ArrayLike, check_scalar, gives_memory_back
from ..augmentations import Views
from ..backends import get_backend
from ..declarations.reprs import brief
from ..features import Model
from ..positives import Positives
from ..solvers.certificate import located
from ..solvers.objective import Objective
from . import summary
from .checkpoint import checkpoint_of
from .crossings import crossings
from .folds import REFUSALS
from .pairs import as_given, as_training_data, sources
from .plan import memory_budget
from .posing import pose
from .problem import Frame, Problem
from .representation import Representation

__all__ = ["AvoidedCrossing", "Path", "pretrain_path"]

_NEAR, _SAME = 0.1, 0.01
"""Share of the way, and of the dimensions, within which two spans count as one (`Path.regimes`)."""


@dataclass(frozen=True)
class AvoidedCrossing:
    """Two neighbouring eigenvalues approach, exchange their slopes, and part.

    Attributes
    ----------
    component : int
        i, of the components i and i + 1 (from 0).
    reg, beta : float
        Where the gap is least, by interpolation between two points of the path.
    gap : float
        mu_i - mu_{i+1} there.
    exchange : float
        sin^2 of the angle by which the two functions turn into each other from where the gap begins to close to where
        it ceases to open: 1 if they have changed places, and with them their slopes.
    along : {"reg", "beta"}
        What changes.

    Examples
    --------
    >>> import sslcore
    >>> sslcore.path.AvoidedCrossing(0, 0.1, 1.0, 0.02, 0.9, "reg").gap
    0.02
    """

    component: int
    reg: float
    beta: float
    gap: float
    exchange: float
    along: str


@dataclass(frozen=True, eq=False)
class Path:
    r"""Minimisers of the penalised risk at every reg (increasing, L of them) and beta (increasing, B of them).

    Attributes
    ----------
    regs, betas : (L,), (B,)
    gamma, eigenvalues, invariance, norms : (L, B, k)
        As of a `Representation`: mu = 1 - gamma, gamma = beta invariance + reg norm.
    reg_slopes, beta_slopes : (L, B, k)
        d mu/d reg = -norm, d mu/d beta = -invariance.
    n_active, risk : (L, B)
    position : (L, B)
        Between the two ends of the path, 0 to 1; see `regimes`.
    regimes : (L, B) of str
    avoided_crossings : tuple of AvoidedCrossing

    Examples
    --------
    >>> import numpy as np, sslcore
    >>> x = sslcore.datasets.half_moons(100, seed=0)
    >>> views = sslcore.augmentations.GaussianNoise(0.1).views(x, 2, seed=0)
    >>> path = sslcore.pretrain_path(views, sslcore.kernels.Gaussian(0.5), 4, regs=np.logspace(-5, 0, 6))
    >>> path.regimes[:, 0].tolist()
    ['augmentation', 'augmentation', 'interplay', 'architecture', 'architecture', 'architecture']
    >>> path.eigenvalues.shape, path.at(2).reg, path.at(2)(x).shape
    ((6, 1, 4), 0.001, (100, 4))
    """

    regs: np.ndarray
    betas: np.ndarray
    position: np.ndarray
    representations: tuple[tuple[Representation, ...], ...] = field(repr=False)
    reg_overlaps: np.ndarray = field(repr=False)  # (L - 1, B, k, k): <f_i, f_j'>^2 of neighbours
    beta_overlaps: np.ndarray = field(repr=False)  # (L, B - 1, k, k)

    __repr__ = brief

    def at(self, i: int, j: int = 0) -> Representation:
        """Return the representation at ``regs[i]`` and ``betas[j]``."""
        return self.representations[i][j]

    def __iter__(self) -> Iterator[Representation]:
        return (rep for row in self.representations for rep in row)

    def _gather(self, name: str) -> np.ndarray:
        return np.array([[getattr(rep, name) for rep in row] for row in self.representations])

    @cached_property
    def gamma(self) -> np.ndarray:
        """1 - mu as computed."""
        return self._gather("gamma")

    @property
    def eigenvalues(self) -> np.ndarray:
        """mu = 1 - gamma."""
        return 1.0 - self.gamma

    @cached_property
    def invariance(self) -> np.ndarray:
        """<f, (I - T) f>."""
        return self._gather("invariance")

    @cached_property
    def norms(self) -> np.ndarray:
        """||f||_H^2."""
        return self._gather("norms")

    @property
    def reg_slopes(self) -> np.ndarray:
        """d mu/d reg."""
        return -self.norms

    @property
    def beta_slopes(self) -> np.ndarray:
        """d mu/d beta."""
        return -self.invariance

    @property
    def n_active(self) -> np.ndarray:
        """Number of components with mu > 0."""
        return self._gather("n_active")

    @property
    def risk(self) -> np.ndarray:
        """The penalised risk at its minimum (not comparable between different beta)."""
        return self._gather("risk")

    @property
    def regimes(self) -> np.ndarray:
        r"""The rule of the span of the k functions at each point: "augmentation", "interplay" or "architecture".

        With P the projector on the span at a point, P_0 that at the smallest reg of the path and the same beta, and
        P_inf that of kernel PCA (the limit of large reg), and d(P, P') = ||P - P'||^2 / 2, the number of dimensions in
        which two spans differ,

            position = d(P, P_0) / (d(P, P_0) + d(P, P_inf)):

        "augmentation" up to 0.1, "architecture" from 0.9 on, "interplay" between.  If the ends themselves differ by
        less than 0.01 k dimensions, the augmentations have no say on this path, and all of it is "architecture".  The
        end of the augmentations is as good as the smallest reg: begin where the spans no longer depend on it, but above
        the reg at which a kernel of high capacity merely interpolates the views.
        """
        return np.where(
            self.position <= _NEAR, "augmentation", np.where(self.position >= 1 - _NEAR, "architecture", "interplay")
        )

    @cached_property
    def avoided_crossings(self) -> tuple[AvoidedCrossing, ...]:
        """The places where neighbours come closest and exchange their slopes, along reg, then along beta.

        Between two points of the path gap^2 is interpolated by the cubic with the values and (exact) slopes at both;
        for two levels it is a parabola, so that a crossing within one step is found exactly, too.  A gap that is least
        without an exchange (sin^2 of the angle below 1/2) is none.
        """
        found = []
        for j, beta in enumerate(self.betas):
            arrays = self.regs, self.gamma[:, j], self.norms[:, j], self.reg_overlaps[:, j]
            found += [AvoidedCrossing(i, x, float(beta), g, e, "reg") for i, x, g, e in crossings(*arrays)]
        for i, reg in enumerate(self.regs):
            arrays = self.betas, self.gamma[i], self.invariance[i], self.beta_overlaps[i]
            found += [AvoidedCrossing(c, float(reg), x, g, e, "beta") for c, x, g, e in crossings(*arrays)]
        return tuple(found)

    def summary(self, *, model: Any = None) -> str:
        """Tell, in lines for people, how the spectrum changes: a table for each beta, and the avoided crossings.

        Parameters
        ----------
        model : object, optional
            What to call the model; its own `repr`, as it was fitted, if not given.

        Examples
        --------
        >>> import sslcore
        >>> views = sslcore.augmentations.GaussianNoise(0.1).views(sslcore.datasets.half_moons(50, seed=0), 2, seed=0)
        >>> path = sslcore.pretrain_path(views, sslcore.kernels.Gaussian(0.5), 3, regs=[1e-3, 1e-1])
        >>> for line in path.summary().splitlines()[2:6]:
        ...     print(line)
        beta 1
               reg  active     mu_1     mu_2     mu_3  ruled by
             0.001       3    0.994    0.992    0.988  augmentation
               0.1       3    0.515    0.451    0.278  architecture
        """
        return "\n".join(summary.path_lines(self, self.at(0).model if model is None else model))

    def as_dict(self) -> dict[str, Any]:
        """Give the numbers of the path as plain numbers and lists, for JSON: no function, model or view.

        Eigenvalues beyond the numerical rank are -inf, which strict JSON has no word for: the commands write null.

        Examples
        --------
        >>> import sslcore
        >>> views = sslcore.augmentations.GaussianNoise(0.1).views(sslcore.datasets.half_moons(50, seed=0), 2, seed=0)
        >>> found = sslcore.pretrain_path(views, sslcore.kernels.Gaussian(0.5), 3, regs=[1e-3, 1e-1]).as_dict()
        >>> found["regs"], found["n_active"], found["regimes"]
        ([0.001, 0.1], [[3], [3]], [['augmentation'], ['architecture']])
        """
        return summary.path_as_dict(self)

    def plot(self, target: Any = None, beta: int = 0) -> Any:
        """Draw the eigenvalues over reg, the regimes as bands, crossings as circles; needs matplotlib.

        Parameters
        ----------
        target : str, path or matplotlib Axes, optional
            A .png, .pdf or .svg file to write, with a panel for each beta, or axes to draw on; new axes, of a figure of
            their own, if not given.
        beta : int
            Which of ``betas``, for axes.

        Returns
        -------
        matplotlib Axes, or None for a file
        """
        from ..plotting import panels

        if isinstance(target, str | os.PathLike):
            return panels.save(panels.side_by_side(len(self.betas), self.plot), target)
        if target is None:
            return panels.side_by_side(1, lambda axes, _: self.plot(axes, beta)).axes[0]
        values = self.eigenvalues[:, beta]
        here = [c for c in self.avoided_crossings if c.along == "reg" and c.beta == self.betas[beta]]
        # between two points of the path the upper of the two is drawn as straight as the line is
        logs = np.log(self.regs)
        tops = [float(np.interp(np.log(c.reg), logs, values[:, c.component])) for c in here]
        circles = [(c.reg, top - c.gap / 2) for c, top in zip(here, tops, strict=True)]
        panels.spectrum_over_reg(target, self.regs, values, self.regimes[:, beta], circles)
        target.set_title(rf"$\beta$ = {self.betas[beta]:g}")
        return target


@gives_memory_back
def pretrain_path(
    views: Views | ArrayLike | tuple[ArrayLike, ArrayLike],
    model: Model | tuple[Model, Model],
    n_components: int,
    *,
    regs: Sequence[float] | Array,
    betas: Sequence[float] | Array = (1.0,),
    unbiased: bool = True,
    center: bool = False,
    sample_weight: Any = None,
    groups: Any = None,
    positives: Positives | None = None,
    backend: str | None = None,
    memory: int | str | None = None,
    progress: Callable[[int, int], None] | None = None,
    solver: str | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
) -> Path:
    """Do as `sslcore.pretrain` at every reg and beta, sharing what does not depend on them.

    Features: one pass over the views, one eigendecomposition of Delta; a point is then some products with r x r
    matrices.  A kernel: one Gram matrix, and one reduction of its contrasts to a band, from which every point has its
    factor (of fewer than six points each is factorised); the block iterations of several points run side by side, each
    from the best combination of functions found at others, to residuals of a third of the certificate's tolerance, with
    products in float32 where they suffice for that.

    Parameters
    ----------
    views, model, n_components, unbiased, center, sample_weight, groups, positives, backend, memory, solver
        As of `sslcore.pretrain`, two modalities included.
    regs : sequence of float
        > 0, in any order; the path has them sorted.
    betas : sequence of float
        >= 0, in any order.
    progress : callable, optional
        Called with the number of points done, and of all.
    checkpoint : path, optional
        As of `sslcore.pretrain`: a file that has the points that are done, at most 200, and the iteration of the one at
        work.  It goes when the path is done.

    Returns
    -------
    Path

    Raises
    ------
    OSError
        The checkpoint cannot be read, or, at the beginning, be written.
    CertificateError
        At a reg below what rounding allows; the message says down to where the path is good.
    ValueError, TypeError, MemoryBudgetError, NotPositiveSemidefiniteError
        As `sslcore.pretrain`.

    Examples
    --------
    >>> import sslcore
    >>> x = sslcore.datasets.half_moons(300, seed=0)
    >>> phi = sslcore.features.Nystrom(sslcore.kernels.Gaussian(0.5), 64)
    >>> views = sslcore.Views(x, sslcore.augmentations.GaussianNoise(0.1), 2, seed=0)
    >>> path = sslcore.pretrain_path(views, phi, 5, regs=[1e-4, 1e-2, 1], betas=[0.5, 1])
    >>> path.n_active.tolist(), path.regimes[-1].tolist()
    ([[5, 5], [5, 5], [0, 0]], ['architecture', 'architecture'])
    """
    regs = _grid(regs, "regs", strict=True)
    betas = _grid(betas, "betas", strict=False)
    views = as_given(views, model)
    chosen = get_backend(*sources(views), backend=backend)
    objective = Objective.of(n_components, float(regs[-1]), float(betas[-1]), unbiased, center)
    data = as_training_data(views, model, positives, groups, sample_weight, objective)
    n_points = regs.size * betas.size + 1  # kernel PCA is one more
    budget = memory_budget(memory, chosen)
    problem = pose(model, data, objective, chosen, budget, n_points=n_points, solver=solver)
    asked = [[float(reg), float(beta)] for beta in betas for reg in reversed(regs)]
    kept = checkpoint_of(checkpoint, problem, objective, asked, solver)
    path = _walk(problem, regs, betas, progress)
    if kept:
        kept.remove()
    return path


def _grid(values: Any, name: str, *, strict: bool) -> np.ndarray:
    """Sort numbers, each once."""
    if isinstance(values, str) or not hasattr(values, "__len__"):
        raise TypeError(f"{name} must be a sequence of numbers, found {values!r}")
    one = name.removesuffix("s")
    numbers = sorted(check_scalar(value, f"each {one} of {name}", minimum=0.0, strict=strict) for value in values)
    if not numbers:
        raise ValueError(f"{name} must not be empty")
    twice = [a for a, b in itertools.pairwise(numbers) if a == b]
    if twice:
        raise ValueError(f"{name} must be different numbers, found {twice[0]!r} twice")
    return np.array(numbers)


def _walk(problem: Problem, regs: np.ndarray, betas: np.ndarray, progress: Callable[[int, int], None] | None) -> Path:
    """Solve at all points, and compare neighbours."""
    size, k = (len(regs), len(betas)), problem.objective.k
    representations: list[list[Any]] = [[None] * size[1] for _ in regs]
    position = np.zeros(size)
    reg_overlaps, beta_overlaps = np.zeros((size[0] - 1, size[1], k, k)), np.zeros((size[0], size[1] - 1, k, k))
    points = [replace(problem.objective, reg=float(reg), beta=float(beta)) for beta in betas for reg in reversed(regs)]
    pca = replace(problem.objective, beta=0.0)
    done = itertools.count(1)

    def report(objective: Objective) -> None:
        if progress is not None and objective in points:
            progress(next(done), len(points))

    solve = problem.sweep([*points, *([] if pca in points else [pca])], report)
    limit = solve(pca)
    architecture = problem.frame(limit)
    before: list[Frame] = []
    for j, beta in enumerate(betas):
        frames: list[Any] = [None] * len(regs)
        for i in reversed(range(len(regs))):
            objective = replace(problem.objective, reg=float(regs[i]), beta=float(beta))
            try:
                solution = limit if objective == pca else solve(objective)
            except REFUSALS as error:
                good = f"the path is good down to reg = {regs[i + 1]:.6g}; " if i + 1 < len(regs) else ""
                raise located(error, f"at reg = {regs[i]:.6g}, beta = {beta:.6g}: {good}") from error
            representations[i][j] = problem.represent(objective, solution)
            frames[i] = problem.frame(solution)
        for i, frame in enumerate(frames):
            start, end = problem.distance(frame, frames[0]), problem.distance(frame, architecture)
            position[i, j] = start / (start + end) if start + end > 0 else 1.0
            if i:
                _put(reg_overlaps[i - 1, j], problem.overlap(frames[i - 1], frame))
            if j:
                _put(beta_overlaps[i, j - 1], problem.overlap(before[i], frame))
        if problem.distance(frames[0], architecture) < _SAME * k:
            position[:, j] = 1.0
        before = frames
    rows = tuple(map(tuple, representations))
    return Path(regs, betas, position, rows, reg_overlaps, beta_overlaps)


def _put(where: np.ndarray, values: np.ndarray) -> None:
    where[: values.shape[0], : values.shape[1]] = values
