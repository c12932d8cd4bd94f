"""Moments of features over views: all that the feature solver needs, in O(r^2) memory.

With phibar_i the (weighted) mean of the features over the views of sample i,

    Sigma = E phi phi^T,    Delta = E (phi - phibar)(phi - phibar)^T,    E phi,

each a sum over samples: it can be accumulated in any order, on any number of workers, merged, saved and resumed.
The views of each sample are rotated to their mean and their contrasts, so that one symmetric product of the rotated
rows gives Delta, and another what Sigma has more than Delta.  Means are accumulated about their running mean (Chan,
Golub and LeVeque 1983): centring later subtracts nothing large.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import ModuleType
from typing import Any, BinaryIO

import numpy as np

from .arrays import Array, brought, check_integer, check_scalar, quiet, require_finite
from .backends import device_of, get_backend
from .budget import block_width, feature_rows, features_plan, fitting_rows, krylov_capacity
from .eigen import Eigenpairs, canonical_basis, top_eigenpairs
from .errors import NotPositiveSemidefiniteError
from .features import Features, Identity
from .inputs import Data, FitNumbers, as_data, check_fit_numbers
from .interchange import gives_memory_back
from .representation import Representation
from .samples import SampleClass, Samples
from .serialization import read_archive, refusal, same_features, write_archive
from .spectrum import TOLERANCE, Spectrum, settle

__all__ = ["Moments", "Pencil", "Sums", "add_block"]


@dataclass
class Sums:
    """Weighted sums over samples; ``between`` and ``within`` hold upper triangles, about the mean."""

    n: int
    n_views: int
    weight: float
    mean: Array  # (r,)
    between: Array  # (r, r): sum of p_i (phibar_i - mean)(...)^T over samples
    within: Array  # (r, r): sum of the products of contrasts, Delta before the unbiased factor
    factor: float | None  # the unbiased factor as long as it is the same for all samples (None: no contrasts yet)
    unbiased: Array | None  # Delta's sum with each sample's own factor, once they differ

    @classmethod
    def zero(cls, r: int, xp: Any) -> Sums:
        """Of no samples."""
        return cls(0, 0, 0.0, xp.zeros(r), xp.zeros((r, r), order="F"), xp.zeros((r, r), order="F"), None, None)

    def on(self, engine: ModuleType) -> Sums:
        """The same sums where the engine works."""
        if get_backend(self.mean) is engine:
            return self
        return dataclasses.replace(
            self,
            mean=brought(self.mean, engine),
            between=brought(self.between, engine),
            within=brought(self.within, engine),
            unbiased=brought(self.unbiased, engine),
        )

    def in_fortran_order(self) -> Sums:
        """The same with matrices as the backends want them."""
        return dataclasses.replace(
            self,
            between=np.asfortranarray(self.between),
            within=np.asfortranarray(self.within),
            unbiased=None if self.unbiased is None else np.asfortranarray(self.unbiased),
        )

    def unbiased_sum(self) -> Array:
        """Delta's sum with unbiased factors."""
        return self.within * (self.factor or 1.0) if self.unbiased is None else self.unbiased

    def merged(self, other: Sums) -> Sums:
        """The sums over both; neither is changed."""
        if not self.n or not other.n:
            return other if not self.n else self
        weight = self.weight + other.weight
        step = other.mean - self.mean
        between = self.between + other.between
        between += (self.weight * other.weight / weight) * (step[:, None] * step)
        factors = {s.factor for s in (self, other)} - {None}
        differ = len(factors) > 1 or self.unbiased is not None or other.unbiased is not None
        return Sums(
            self.n + other.n,
            self.n_views + other.n_views,
            weight,
            self.mean + step * (other.weight / weight),
            between,
            self.within + other.within,
            None if differ or not factors else factors.pop(),
            self.unbiased_sum() + other.unbiased_sum() if differ else None,
        )


class Moments:
    """Moments of features, accumulated over views in any order; see the module's docstring for the formulas.

    Parameters
    ----------
    features : Features
        With nothing left to choose from data (`Nystrom` with its landmarks given, or after ``fit``).

    Attributes
    ----------
    n, n_views : int
        Samples and views seen so far.

    Examples
    --------
    >>> import numpy as np, sslcore
    >>> rng = np.random.default_rng(0)
    >>> views = rng.normal(size=(500, 1, 4)) * [3, 2, 1, 1] + rng.normal(size=(500, 2, 4))
    >>> first, second = sslcore.Moments(sslcore.features.Identity()), sslcore.Moments(sslcore.features.Identity())
    >>> rep = first.update(views[:300]).merge(second.update(views[300:])).solve(2, reg=1e-3)
    >>> rep.n_active, bool(rep.eigenvalues[0] > rep.eigenvalues[1])
    (2, True)
    """

    def __init__(self, features: Features, *, backend: str | None = None) -> None:
        if not isinstance(features, Features):
            raise TypeError(f"features of sslcore.features were expected, found {features!r}")
        self.features = features
        self._backend = backend
        self._d: int | None = None
        self._sums: Sums | None = None
        self._from_host = False

    @property
    def n(self) -> int:
        """Samples seen so far."""
        return self._sums.n if self._sums else 0

    @property
    def n_views(self) -> int:
        """Views seen so far."""
        return self._sums.n_views if self._sums else 0

    @gives_memory_back
    def update(self, views: Any, *, groups: Any = None, sample_weight: Any = None) -> Moments:
        """Add views (n, m, d), `Views`, or points (N, d) with ``groups``; returns self.

        All views of a sample must come in one call; samples of one view inform the covariance only.  An update that
        fails or is interrupted leaves the moments as they were.  float32 views are multiplied in float32 and
        accumulated in float64.

        The sums lie where the views do.  With ``backend="cupy"``, views of NumPy, memory maps and `Views` are brought
        to the GPU by blocks, the next one while the one before is worked on; nothing is there as a whole.
        """
        data = as_data(views, groups, sample_weight, single_views=True, absolute_weights=True)
        self.add(data, get_backend(data.source, backend=self._backend))
        return self

    def add(self, data: Data, engine: ModuleType, budget: int | None = None) -> None:
        """`update` for data that are checked already."""
        if self._d not in (None, data.d):
            raise ValueError(f"views must have {self._d} coordinates like those before, found {data.d}")
        features = self.features.prepare(data.d, data.dtype, engine)
        total: Sums | None = None
        buffer = engine.xp.empty(0, data.dtype)  # one for all blocks: fresh memory would be paged in again and again
        r = self.features.n_features(data.d)
        rows = feature_rows(r, data.d)
        rows = fitting_rows(rows, r, data.d, data.dtype.itemsize, data.n_views, budget, engine)
        for x, samples, weight in data.blocks(rows, engine):
            phi = features(x)
            total = total or Sums.zero(phi.shape[1], engine.xp)
            if buffer.size < phi.size:
                buffer = engine.xp.empty(phi.size, phi.dtype)
            add_block(total, phi, samples, weight, buffer, engine)
        assert total is not None
        self._sums = total if self._sums is None else self._sums.on(engine).merged(total)
        self._d = data.d
        self._from_host = device_of(data.source) != engine.NAME

    def take(self, parts: Iterable[Sums], data: Data, engine: ModuleType) -> None:
        """Make sums over all samples of ``data`` one's own."""
        for sums in parts:
            self._sums = sums if self._sums is None else self._sums.merged(sums)
        self._d = data.d
        self._from_host = device_of(data.source) != engine.NAME

    def merge(self, other: Moments) -> Moments:
        """Add what ``other``, over other samples with equal features, has seen; returns self."""
        if not isinstance(other, Moments):
            raise TypeError(f"Moments were expected, found {type(other).__name__}")
        if not same_features(self.features, other.features):
            raise ValueError("the moments to merge must be of the same features (kernel, landmarks, seed)")
        if other._sums is not None:
            if self._d not in (None, other._d):
                raise ValueError(f"the moments to merge must be of points with {self._d} coordinates, found {other._d}")
            if self._sums is None:
                self._sums, self._from_host = other._sums, other._from_host
            else:
                self._sums = self._sums.merged(other._sums.on(get_backend(self._sums.mean)))
            self._d = other._d
        return self

    @gives_memory_back
    def solve(
        self,
        n_components: int,
        *,
        reg: float,
        beta: float = 1.0,
        unbiased: bool = True,
        center: bool = False,
    ) -> Representation:
        """The minimiser over f = <c, phi(.)>: Sigma c = (1/gamma) (beta Delta + lambda I) c, as in `sslcore.pretrain`.

        Parameters and errors are those of `sslcore.pretrain`; reg = 0 is allowed for `Identity` features whose Sigma is
        positive definite.
        """
        if self._sums is None or self._d is None:
            raise ValueError("the moments are empty; call update(views) first")
        numbers = check_fit_numbers(
            n_components,
            self.features.n_features(self._d),
            "features",
            reg,
            beta,
            unbiased,
            center,
            zero_reg=isinstance(self.features, Identity),
        )
        if numbers.beta > 0 and self._sums.n == self._sums.n_views:
            raise ValueError("no sample has 2 or more views, so there is nothing to be invariant to; use beta=0")
        engine = get_backend(self._sums.mean, backend=self._backend)
        spectrum = self.pencil(engine, unbiased=numbers.unbiased, center=numbers.center).solve(numbers)
        rep = Representation.from_spectrum(spectrum, self.features, numbers, n_coordinates=self._d)
        return rep.to("numba") if self._from_host else rep

    def pencil(self, engine: ModuleType, *, unbiased: bool, center: bool) -> Pencil:
        """The eigenproblem of what was seen so far, for checked arguments."""
        assert self._sums is not None
        assert self._d is not None
        return Pencil(self._sums.on(engine), self._d, engine, unbiased=unbiased, center=center)

    def save(self, path: str | os.PathLike[str] | BinaryIO) -> None:
        """Write the moments and their features to one file, as `Representation.save` does."""
        if self._sums is None:
            raise ValueError("the moments are empty; there is nothing to save")
        content = {"features": self.features, "d": self._d} | vars(self._sums)
        write_archive(path, "moments", content)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Moments:
        """Read what `save` wrote; a file that is damaged or of another kind is refused with the reason."""
        _, content = read_archive(path, "moments")
        return cls.from_content(path, content)

    @classmethod
    def from_content(cls, path: str | os.PathLike[str], content: dict[str, Any]) -> Moments:
        """From what a file holds, checked."""
        try:
            moments = cls(content.pop("features"))
            moments._d = check_integer(content.pop("d"), "d", minimum=1)
            sums = Sums(**content)
            _check_sums(sums)
            if len(sums.mean) != moments.features.n_kept(moments._d):
                raise ValueError(f"moments of {len(sums.mean)} features do not fit {moments.features!r}")
            moments._sums = sums.in_fortran_order()
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise refusal(path, ("moments",), error) from None
        return moments


def _check_sums(sums: Sums) -> None:
    """Types, shapes and ranges of what came from a file."""
    check_integer(sums.n, "n", minimum=1)
    check_integer(sums.n_views, "n_views", minimum=sums.n)
    check_scalar(sums.weight, "weight", minimum=0.0, strict=True)
    if sums.factor is not None:
        check_scalar(sums.factor, "factor", minimum=1.0)
    r = len(sums.mean)
    for name in ("mean", "between", "within", "unbiased"):
        array = getattr(sums, name)
        shape = (r,) if name == "mean" else (r, r)
        if array is None and name == "unbiased":
            continue
        if not isinstance(array, np.ndarray) or array.shape != shape or array.dtype != np.float64:
            raise ValueError(f"array {name} must be float64 of shape {shape}, found {array!r:.60}")
        require_finite(array, name)


def add_block(total: Sums, phi: Array, samples: Samples, weight: float, buffer: Array, engine: ModuleType) -> None:
    """Add one block of features (N, r), rows in the order of ``samples``, of this total weight.

    Rows are taken about the running mean a: with w the block's weight and W that of all, the mean moves by
    b = (w / W) (block mean - a), and sums of squares about a are those about a + b plus W b b^T.
    """
    xp = engine.xp
    if total.n == 0:
        total.mean = (samples.weight.astype(phi.dtype) @ phi).astype(float)
    shift = total.mean.astype(phi.dtype)
    move = xp.zeros(phi.shape[1])
    for part in samples.classes:
        values = phi[part.rows()].reshape(part.count, part.m, -1)
        # times sqrt(p), where p sums to 1 in the block
        means, contrasts = engine.rotate_views(values, samples.unbiased_rotation(part), shift, buffer)
        root = xp.sqrt(samples.weight[part.rows()].reshape(part.count, part.m).sum(axis=1))
        move += root.astype(phi.dtype) @ means
        engine.add_second_moment(total.between, means, weight)
        if part.m > 1:
            _add_contrasts(total, contrasts, part, samples, weight, engine)
    total.weight += weight
    total.n += samples.n
    total.n_views += samples.n_views
    move *= weight / total.weight
    total.mean = shift.astype(float) + move
    engine.add_second_moment(total.between, move[None], -total.weight)


def _add_contrasts(
    total: Sums, contrasts: Array, part: SampleClass, samples: Samples, weight: float, engine: ModuleType
) -> None:
    """Add contrasts of one class, times the roots of the unbiased factors; keep two sums once the factors differ.

    Without these roots float32 would lose the contrasts of a sample in which one view has nearly all of the weight.
    """
    xp = engine.xp
    if total.unbiased is None:
        if part.factor is not None and total.factor in (None, part.factor):
            total.factor = part.factor
            engine.add_second_moment(total.within, contrasts, weight / part.factor)
            return
        total.unbiased, total.factor = total.unbiased_sum().copy(order="F"), None
    engine.add_second_moment(total.unbiased, contrasts, weight)
    factors = xp.repeat(samples.unbiased_factor[part.samples()], part.m - 1)
    contrasts *= (1.0 / xp.sqrt(factors))[:, None].astype(contrasts.dtype)
    engine.add_second_moment(total.within, contrasts, weight)


class Pencil:
    """The problem Sigma c = (1/gamma) (beta Delta + reg I) c of some moments, for one reg and beta after the other.

    Sigma and Delta are kept in units of the trace of Sigma, so that any scale of the features is served.
    """

    def __init__(self, sums: Sums, d: int, engine: ModuleType, *, unbiased: bool, center: bool) -> None:
        xp, self.engine = engine.xp, engine
        self.mean, self.center = sums.mean, center
        within = _symmetric(sums.within, xp) / sums.weight
        delta = _symmetric(sums.unbiased_sum(), xp) / sums.weight if unbiased else within
        sigma = _symmetric(sums.between, xp) / sums.weight + within
        with quiet():
            size = float(xp.sqrt((sums.mean**2).sum()))
            unit = float(xp.trace(sigma))
        if not math.isfinite(unit + size):
            raise ValueError("the second moments of the features overflow; rescale the data")
        if unit <= (4e-16 * size) ** 2:
            raise ValueError(
                "the features are constant: all views are the same point, and there is nothing to represent"
            )
        if not center:
            sigma += sums.mean[:, None] * sums.mean
            unit = float(xp.trace(sigma))
        sigma /= unit
        delta /= unit
        self.sigma, self.delta, self.unit = sigma, delta, unit
        self._bytes = functools.partial(features_plan, len(sums.mean), d, itemsize=8, n_views=sums.n_views)
        self._diagonal: tuple[Array, Array, Array] | None = None

    def diagonalize(self) -> Pencil:
        """For many solutions: in the eigenbasis V of Delta = V diag(delta) V^T every penalty is diagonal.

        Then neither a factorisation nor a triangular solve is left to each of them.  Returns self.
        """
        values, basis = self.engine.eigh(self.delta.copy(order="F"))
        basis = self.engine.xp.asfortranarray(basis)
        turned = self.engine.matmul(basis.T, self.engine.matmul(self.sigma, basis))
        self._diagonal = self.engine.xp.maximum(values, 0.0), basis, 0.5 * (turned + turned.T)
        return self

    def solve(self, numbers: FitNumbers, near: Array | None = None) -> Spectrum:
        """The k components for these numbers; unbiased and center are those of the problem.

        ``near`` (r, at most k), after `diagonalize`, may hold coefficients close to the wanted ones.
        """
        started = time.perf_counter()
        xp, engine, sigma, delta, unit = self.engine.xp, self.engine, self.sigma, self.delta, self.unit
        r = len(sigma)
        k = min(numbers.k, r)  # fewer if landmarks were dropped
        reg = numbers.reg / unit
        if self._diagonal is not None:
            values, basis, turned = self._diagonal
            penalty = numbers.beta * values + reg
            gamma, c, following, steps, condition = _largest_diagonal(turned, penalty, basis, near, k, engine)
        else:
            penalty = numbers.beta * delta
            index = xp.arange(r)
            penalty[index, index] += reg
            solve = _largest if numbers.reg > 0 else _smallest
            gamma, c, following, steps, condition = solve(sigma, penalty, k, engine)
        sigma_c = engine.matmul(sigma, xp.asfortranarray(c))
        delta_c = engine.matmul(delta, xp.asfortranarray(c))
        penalty_c = numbers.beta * delta_c + reg * c
        reached = np.where(np.isfinite(gamma), gamma, 0.0)
        measured = engine.to_host(  # all numbers of the components at once
            xp.concatenate(
                [
                    xp.sqrt((sigma_c**2).sum(axis=0))[None],
                    xp.sqrt(((penalty_c - sigma_c * xp.asarray(reached)) ** 2).sum(axis=0))[None],
                    xp.einsum("ij,ij->j", c, delta_c)[None],
                    (c**2).sum(axis=0)[None],
                    c.T @ sigma_c,
                ]
            )
        )
        coefficients = c / math.sqrt(unit)
        return settle(
            numbers.k,
            xp=xp,
            gamma=gamma,
            invariance=measured[2],
            norms=measured[3] / unit,
            coefficients=coefficients,
            intercept=-(self.mean @ coefficients) if self.center else xp.zeros(c.shape[1]),
            residuals=measured[1] / (measured[0] * (1 + gamma)),
            overlaps=measured[4:],
            coefficient_residuals=np.zeros(c.shape[1]),
            stationarity_residuals=np.zeros(c.shape[1]),
            rounding_errors=np.zeros(c.shape[1]),
            norm_errors=np.zeros(c.shape[1]),
            rounding=16 * float(np.finfo(float).eps) / reg if reg > 0 else 0.0,
            following=following,
            tolerance=TOLERANCE[np.dtype(float)],
            algorithm="features: moments and their generalised eigenproblem",
            jitter=0.0,
            condition=condition,
            iterations=steps,
            seconds=time.perf_counter() - started,
            bytes=self._bytes(k=k).bytes,
        )


def _largest(sigma: Array, penalty: Array, k: int, engine: ModuleType) -> tuple[np.ndarray, Array, float, int, float]:
    """Top pairs of U^-T Sigma U^-1, U the Cholesky factor of the penalty: 1/gamma, from the largest."""
    xp = engine.xp
    factor = penalty.copy(order="F")
    if not engine.cholesky(factor):
        raise NotPositiveSemidefiniteError(
            "beta Delta + reg I is not positive definite to rounding; raise reg (the features' scale is in its units)",
            float(engine.symmetric_eigenvalues(penalty.copy(order="F"))[0]),
        )
    pivots = engine.to_host(factor.diagonal())

    def apply(v: Array) -> Array:
        image = engine.matmul(sigma, engine.triangular_solve(factor, v))
        return engine.triangular_solve(factor, image, transposed=True)

    reference = engine.triangular_solve(factor, engine.matmul(sigma, _reference(sigma, k, engine)), transposed=True)
    gamma, w, theta, following, steps = _top(apply, reference, k, engine)
    c = engine.triangular_solve(factor, xp.asfortranarray(w)) / xp.asarray(np.sqrt(theta))
    return gamma, c, following, steps, float(pivots.max() / pivots.min()) ** 2


def _reference(sigma: Array, k: int, engine: ModuleType) -> Array:
    """Random directions R: components are given the signs of c^T Sigma R, in whatever basis they are found."""
    return engine.xp.asfortranarray(engine.reference_normals(len(sigma), k, 1))


def _top(
    apply: Callable[[Array], Array], reference: Array, k: int, engine: ModuleType, near: Array | None = None
) -> tuple[np.ndarray, Array, np.ndarray, float, int]:
    """gamma, eigenvectors, their eigenvalues 1/gamma (1 where there is none), the next gamma, and steps."""
    r = len(reference)
    width = block_width(k, r)
    start = engine.reference_normals(r, width, 0)
    if near is not None:
        start = engine.xp.concatenate([near, start[:, : width - near.shape[1]]], axis=1)
    pairs = top_eigenpairs(
        apply,
        engine.xp.asfortranarray(start),
        k,
        engine,
        relative_tolerance=1e-11,
        absolute_tolerance=math.inf,
        max_basis=krylov_capacity(width, r),
    )
    w = canonical_basis(pairs, reference, engine)
    present = pairs.values > 4e-16 * max(float(pairs.values[0]), 1.0)
    theta = np.where(present, pairs.values, 1.0)
    gamma = np.where(present, 1.0 / theta, math.inf)
    following = 1.0 / pairs.following if pairs.following > 0 else math.inf
    return gamma, w, theta, following, pairs.steps


def _largest_diagonal(
    sigma: Array, penalty: Array, basis: Array, near: Array | None, k: int, engine: ModuleType
) -> tuple[np.ndarray, Array, float, int, float]:
    """`_largest` in the eigenbasis V of Delta: top pairs of D^-1/2 V^T Sigma V D^-1/2, D the penalty."""
    root = 1.0 / engine.xp.sqrt(penalty)[:, None]
    start = None if near is None else engine.matmul(basis.T, near) / root

    def apply(v: Array) -> Array:
        return root * engine.matmul(sigma, engine.xp.asfortranarray(root * v))

    reference = root * engine.matmul(sigma, engine.matmul(basis.T, _reference(sigma, k, engine)))
    gamma, w, theta, following, steps = _top(apply, reference, k, engine, start)
    c = engine.matmul(basis, engine.xp.asfortranarray(root * w)) / engine.xp.asarray(np.sqrt(theta))
    return gamma, c, following, steps, float(penalty.max() / penalty.min())


def _smallest(sigma: Array, penalty: Array, k: int, engine: ModuleType) -> tuple[np.ndarray, Array, float, int, float]:
    """Without regularisation: lowest pairs of U^-T beta Delta U^-1, U the factor of Sigma; gamma itself."""
    xp, r = engine.xp, len(sigma)
    factor = sigma.copy(order="F")
    definite = engine.cholesky(factor)
    pivots = engine.to_host(factor.diagonal())
    if not definite or float(pivots.min()) ** 2 < 1e-13 * float(pivots.max()) ** 2:
        raise ValueError(
            "reg = 0 needs features whose second moment is positive definite, and theirs is singular to rounding; "
            "use reg > 0, or leave out features that the others determine"
        )
    half = engine.triangular_solve(factor, xp.asfortranarray(penalty), transposed=True)
    whitened = engine.triangular_solve(factor, xp.asfortranarray(half.T), transposed=True)
    values, w = engine.eigh(xp.asfortranarray(0.5 * (whitened + whitened.T)))
    values = np.maximum(engine.to_host(values), 0.0)
    following = float(values[k]) if k < r else math.inf
    top = Eigenpairs(1.0 / (1.0 + values[:k]), xp.asfortranarray(w[:, :k]), 0.0, values[:k], 1)
    w = canonical_basis(top, engine.reference_normals(r, k, 1), engine)
    c = engine.triangular_solve(factor, xp.asfortranarray(w))
    return values[:k], c, following, 1, float(pivots.max() / pivots.min()) ** 2


def _symmetric(upper: Array, xp: Any) -> Array:
    """The symmetric matrix with this upper triangle."""
    top = xp.triu(upper)
    return top + xp.triu(upper, 1).T
