"""The path over reg and beta: what `sslcore.path` hands on; that page has the formulas."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from ..arrays import Array, as_native, check_scalar, gives_memory_back
from ..augmentations import Views
from ..backends import Backend, device_of, get_backend
from ..declarations.reprs import brief
from ..errors import CertificateError, NotPositiveSemidefiniteError
from ..features import Features
from ..kernels import Kernel, as_kernel
from ..solvers.objective import Objective
from .data import Data, as_data
from .moments import Moments
from .plan import features_plan, memory_budget
from .pretraining import ExactProblem
from .representation import Representation

__all__ = ["AvoidedCrossing", "Path", "pretrain_path"]

_NEAR, _SAME, _EXCHANGED = 0.1, 0.01, 0.5
"""Share of the way, and of the dimensions, within which two spans count as one (`Path.regimes`); of an exchange."""


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
        """The representation at ``regs[i]`` and ``betas[j]``."""
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
        r"""What rules the span of the k functions at each point: "augmentation", "interplay" or "architecture".

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
        """Where the gap of two neighbours is least and their slopes are exchanged, along reg, then along beta.

        Between two points of the path gap^2 is interpolated by the cubic with the values and (exact) slopes at both;
        for two levels it is a parabola, so that a crossing within one step is found exactly, too.  A gap that is least
        without an exchange (sin^2 of the angle below 1/2) is none.
        """
        found = []
        for j, beta in enumerate(self.betas):
            arrays = self.regs, self.gamma[:, j], self.norms[:, j], self.reg_overlaps[:, j]
            found += [AvoidedCrossing(i, x, float(beta), g, e, "reg") for i, x, g, e in _crossings(*arrays)]
        for i, reg in enumerate(self.regs):
            arrays = self.betas, self.gamma[i], self.invariance[i], self.beta_overlaps[i]
            found += [AvoidedCrossing(c, float(reg), x, g, e, "beta") for c, x, g, e in _crossings(*arrays)]
        return tuple(found)

    def plot(self, target: Any = None, beta: int = 0) -> Any:
        """Draw the eigenvalues over reg, the regimes as bands, crossings as circles; needs matplotlib.

        Parameters
        ----------
        target : str, path or matplotlib Axes, optional
            A PNG file to write, with a panel for each beta, or axes to draw on; new axes, of a figure of their own,
            if not given.
        beta : int
            Which of ``betas``, for axes.

        Returns
        -------
        matplotlib Axes, or None for a file
        """
        from ..plotting import panels

        if isinstance(target, str | os.PathLike):
            return panels.save_png(panels.side_by_side(len(self.betas), self.plot), target)
        if target is None:
            return panels.side_by_side(1, lambda axes, _: self.plot(axes, beta)).axes[0]
        values = self.eigenvalues[:, beta]
        crossings = [c for c in self.avoided_crossings if c.along == "reg" and c.beta == self.betas[beta]]
        # between two points of the path the upper of the two is drawn as straight as the line is
        logs = np.log(self.regs)
        tops = [float(np.interp(np.log(c.reg), logs, values[:, c.component])) for c in crossings]
        circles = [(c.reg, top - c.gap / 2) for c, top in zip(crossings, tops, strict=True)]
        panels.spectrum_over_reg(target, self.regs, values, self.regimes[:, beta], circles)
        target.set_title(rf"$\beta$ = {self.betas[beta]:g}", pad=18)
        return target


@gives_memory_back
def pretrain_path(
    views: Any,
    model: Any,
    n_components: int,
    *,
    regs: Sequence[float] | Array,
    betas: Sequence[float] | Array = (1.0,),
    unbiased: bool = True,
    center: bool = False,
    sample_weight: Any = None,
    groups: Any = None,
    backend: str | None = None,
    memory: int | str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """`sslcore.pretrain` at every reg and beta, sharing what does not depend on them.

    Features: one pass over the views, one eigendecomposition of Delta; a point is then some products with r x r
    matrices.  A kernel: one Gram matrix; a point is one Cholesky factorisation and the block iteration, which begins
    near the functions of the point before.

    Parameters
    ----------
    views, model, n_components, unbiased, center, sample_weight, groups, backend, memory
        As of `sslcore.pretrain`.
    regs : sequence of float
        > 0, in any order; the path has them sorted.
    betas : sequence of float
        >= 0, in any order.
    progress : callable, optional
        Called with the number of points done, and of all.

    Returns
    -------
    Path

    Raises
    ------
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
    views = as_native(views, "views")
    engine = get_backend(views.x if isinstance(views, Views) else views, backend=backend)
    single = not bool(betas.any())
    data = as_data(views, groups, sample_weight, single_views=single)
    budget = memory_budget(memory, engine)
    numbers = Objective.of(n_components, float(regs[-1]), float(betas[-1]), unbiased, center)
    points: _Points
    if isinstance(model, Features):
        r = model.n_features(data.d)
        numbers.within(r, "features")
        points = _FeaturePoints(data, model, numbers, budget, engine, backend, n_points=regs.size * betas.size)
    else:
        numbers.within(data.n_views, "views")
        points = _ExactPoints(
            data, as_kernel(model), numbers, budget, engine, not single, n_points=regs.size * betas.size
        )
    return _walk(points, numbers, regs, betas, progress)


def _grid(values: Any, name: str, *, strict: bool) -> np.ndarray:
    """Sorted numbers, each once."""
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


@dataclass(frozen=True, eq=False)
class _Frame:
    """Functions f_1..f_k' at the training views: ``left``^T ``right`` of two frames are their inner products."""

    left: Array
    right: Array


class _Points:
    """Solves one point after the other."""

    engine: Backend

    def solve(self, numbers: Objective) -> tuple[Representation, _Frame]:
        raise NotImplementedError

    def overlap(self, first: _Frame, second: _Frame) -> np.ndarray:
        """Squared inner products, (k', k'')."""
        return self.engine.to_host(self.engine.matmul(first.left.T, second.right)).astype(float) ** 2


class _ExactPoints(_Points):
    def __init__(
        self,
        data: Data,
        kernel: Kernel,
        numbers: Objective,
        budget: int,
        engine: Backend,
        contrasts: bool,
        n_points: int,
    ) -> None:
        self.engine, self.home = engine, device_of(data.source)
        self.problem = ExactProblem.prepare(
            data, kernel, numbers, budget, engine, contrasts=contrasts, n_points=n_points + 1
        )
        self.last: Array | None = None

    def solve(self, numbers: Objective) -> tuple[Representation, _Frame]:
        solution = self.problem.solve(numbers, near=self.last)
        rank = solution.spectrum.certificate.rank
        self.last = v = self.engine.xp.asfortranarray(solution.vectors[:, :rank])
        return self.problem.represent(numbers, solution).to(self.home), _Frame(v, v)


class _FeaturePoints(_Points):
    def __init__(
        self,
        data: Data,
        model: Features,
        numbers: Objective,
        budget: int,
        engine: Backend,
        backend: str | None,
        n_points: int,
    ) -> None:
        self.engine, self.data, self.home = engine, data, device_of(data.source)
        r, itemsize = model.n_features(data.d), data.dtype.itemsize
        features_plan(
            r, data.d, numbers.k, itemsize, data.n_views, n_points=n_points + 1, model=model, made=data.made
        ).require(budget)
        moments = Moments(model.fit(data.views), backend=backend)
        moments.add(data, engine, budget)
        self.features = moments.features
        self.pencil = moments.pencil(engine, unbiased=numbers.unbiased, center=numbers.center).diagonalize()
        self.last: Array | None = None

    def solve(self, numbers: Objective) -> tuple[Representation, _Frame]:
        spectrum = self.pencil.solve(numbers, near=self.last)
        rep = Representation.from_spectrum(spectrum, self.features, numbers, n_coordinates=self.data.d)
        self.last = c = self.engine.xp.asfortranarray(spectrum.coefficients[:, : spectrum.certificate.rank])
        frame = _Frame(c, self.pencil.times_sigma(c))
        return replace(rep.to(self.home), training=self.data.views), frame


def _walk(
    points: _Points,
    numbers: Objective,
    regs: np.ndarray,
    betas: np.ndarray,
    progress: Callable[[int, int], None] | None,
) -> Path:
    """From the largest reg down, for one beta after the other: there the problem is best conditioned."""
    size, k = (len(regs), len(betas)), numbers.k
    representations: list[list[Any]] = [[None] * size[1] for _ in regs]
    position = np.zeros(size)
    reg_overlaps, beta_overlaps = np.zeros((size[0] - 1, size[1], k, k)), np.zeros((size[0], size[1] - 1, k, k))
    _, architecture = points.solve(replace(numbers, beta=0.0))
    before: list[_Frame] = []
    done = 0
    for j, beta in enumerate(betas):
        frames: list[Any] = [None] * len(regs)
        for i in reversed(range(len(regs))):
            try:
                representations[i][j], frames[i] = points.solve(replace(numbers, reg=float(regs[i]), beta=float(beta)))
            except (CertificateError, NotPositiveSemidefiniteError) as error:
                raise _located(error, regs, i, float(beta)) from error
            done += 1
            if progress is not None:
                progress(done, len(regs) * len(betas))
        for i, frame in enumerate(frames):
            start, end = _distance(points, frame, frames[0]), _distance(points, frame, architecture)
            position[i, j] = start / (start + end) if start + end > 0 else 1.0
            if i:
                _put(reg_overlaps[i - 1, j], points.overlap(frames[i - 1], frame))
            if j:
                _put(beta_overlaps[i, j - 1], points.overlap(before[i], frame))
        if _distance(points, frames[0], architecture) < _SAME * k:
            position[:, j] = 1.0
        before = frames
    rows = tuple(map(tuple, representations))
    return Path(regs, betas, position, rows, reg_overlaps, beta_overlaps)


def _located(error: Any, regs: np.ndarray, i: int, beta: float) -> Exception:
    """The same error, with its place on the path and what to do."""
    good = f"the path is good down to reg = {regs[i + 1]:.6g}; " if i + 1 < len(regs) else ""
    message = f"at reg = {regs[i]:.6g}, beta = {beta:.6g}: {good}{error}"
    if isinstance(error, CertificateError):
        return CertificateError(message, error.certificate)
    return NotPositiveSemidefiniteError(message, error.eigenvalue)


def _distance(points: _Points, first: _Frame, second: _Frame) -> float:
    """In how many dimensions the spans differ; 0 up to rounding."""
    larger = max(first.left.shape[1], second.left.shape[1])
    distance = larger - float(points.overlap(first, second).sum())
    return distance if distance > 1e-6 * max(larger, 1) else 0.0


def _put(where: np.ndarray, values: np.ndarray) -> None:
    where[: values.shape[0], : values.shape[1]] = values


def _crossings(
    x: np.ndarray, gamma: np.ndarray, slopes: np.ndarray, overlaps: np.ndarray
) -> Iterator[tuple[int, float, float, float]]:
    """(component, place, gap, exchange) along x, for gamma (n, k) and its derivatives."""
    last = len(x) - 1
    for i in range(gamma.shape[1] - 1):
        with np.errstate(invalid="ignore"):  # infinite beyond the rank
            gaps, rates = gamma[:, i + 1] - gamma[:, i], slopes[:, i + 1] - slopes[:, i]
        # copies of one eigenvalue part by rounding only
        apart = (gaps > 1e-8 * np.abs(gamma[:, i])) | (np.abs(rates) > 1e-6 * np.abs(slopes[:, i]))
        apart &= np.isfinite(gaps)
        closing, opening = apart & (rates < 0), apart & (rates > 0)
        stay = overlaps[:, i, i] + overlaps[:, i + 1, i + 1]
        turns = np.arctan2(np.sqrt(overlaps[:, i, i + 1] + overlaps[:, i + 1, i]), np.sqrt(stay))
        for a in np.flatnonzero(closing[:-1] & opening[1:]):
            start, stop = a, a + 1
            while start > 0 and closing[start - 1]:
                start -= 1
            while stop < last and opening[stop + 1]:
                stop += 1
            exchange = np.sin(min(float(turns[start:stop].sum()), np.pi / 2)) ** 2
            if exchange >= _EXCHANGED:
                step = x[a + 1] - x[a]
                t, square = _least(gaps[a : a + 2] ** 2, 2 * (gaps * rates)[a : a + 2] * step)
                yield i, float(x[a] + t * step), float(np.sqrt(max(square, 0.0))), float(exchange)


def _least(values: np.ndarray, slopes: np.ndarray) -> tuple[float, float]:
    """Place in [0, 1] and value of the minimum of the cubic with these values and slopes (<= 0, >= 0) at 0 and 1."""
    (p, q), (u, v) = values, slopes
    cubic, square = 2 * (p - q) + u + v, 3 * (q - p) - 2 * u - v
    roots = np.roots([3 * cubic, 2 * square, u]) if cubic != 0 else np.array([-u / (2 * square)] if square else [0.0])
    inside = [0.0, 1.0, *(float(t.real) for t in roots if abs(t.imag) < 1e-9 and 0 <= t.real <= 1)]
    heights = [p + t * (u + t * (square + t * cubic)) for t in inside]
    best = int(np.argmin(heights))
    return inside[best], float(heights[best])
