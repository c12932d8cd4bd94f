"""Feature maps phi: x (n, d) -> (n, r); a model f = <c, phi(.)> is penalised by lambda |c|^2.

Features stand for the kernel k(x, y) = <phi(x), phi(y)>; with them the work grows linearly with the number of views
and the memory not at all (`sslcore.pretrain`).
"""

from __future__ import annotations

import dataclasses
import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from .arrays import (
    Array,
    ArrayLike,
    as_array,
    as_native,
    as_seed,
    check_choice,
    check_integer,
    check_map,
    check_same_width,
    namespace,
    rank_of,
    same_kind,
    to_backend,
)
from .augmentations._views import as_readable
from .backends import Backend, get_backend
from .declarations.parameters import Declared, converted
from .declarations.registries import has_law, register
from .declarations.reprs import brief
from .errors import NotPositiveSemidefiniteError
from .kernels import Exponential, Gaussian, Kernel, L1Exponential, Matern, Precomputed, as_kernel

__all__ = ["Features", "Identity", "Nystrom", "RandomFourier", "registry"]

_EPSILON = float(np.finfo(float).eps)

registry: dict[str, type[Features]] = {}
"""Every feature map by its name; tests iterate over it."""


class Features(ABC):
    """Base class: frozen dataclasses that map checked points to features, on the device where the points are.

    Their own arrays (landmarks, frequencies) are brought there once for each fit or transform.

    Examples
    --------
    >>> import sslcore
    >>> phi = sslcore.features.RandomFourier(sslcore.kernels.Gaussian(1.0), 64)
    >>> phi.n_features(d=3), phi([[0.0, 0.0, 0.0]]).shape
    (64, (1, 64))
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        register(registry, cls, home=__name__)

    @same_kind("x")
    def __call__(self, x: ArrayLike, *, backend: str | None = None) -> Array:
        """Return the features (n, r) of the points x (n, d)."""
        x = as_array(x, "x", ndim=2, shape_hint="(n, d)")
        out: Array = self.prepare(x.shape[1], x.dtype, get_backend(x, backend=backend))(x)
        return out

    def fit(self, views: Any) -> Features:
        """Choose what must be chosen from data, and return the features with it; here nothing is."""
        return self

    @abstractmethod
    def n_features(self, d: int) -> int:
        """Return the number r of features of points with d coordinates."""

    def n_kept(self, d: int) -> int:
        """Return `n_features`, less those that were dropped."""
        return self.n_features(d)

    @property
    def finest(self) -> float:
        """The second moment below which nothing is known of a direction of the features: 0 if they are exact."""
        return 0.0

    @abstractmethod
    def prepare(self, d: int, dtype: np.dtype, backend: Backend) -> Any:
        """Make a function from checked blocks x (n, d) to C-ordered arrays (n, r), each valid until the next call."""

    def prepare_to_read(self, d: int, dtype: np.dtype, backend: Backend) -> Any:
        """Do as `prepare`, for those who write nothing to the arrays: they may be the blocks themselves."""
        return self.prepare(d, dtype, backend)


@dataclass(frozen=True)
class Identity(Features):
    """phi(x) = x: the data are features already, for example a network's activations.

    Examples
    --------
    >>> import sslcore
    >>> sslcore.features.Identity()([[1.0, 2.0]])
    array([[1., 2.]])
    """

    def n_features(self, d: int) -> int:
        """Return the number of coordinates d."""
        return d

    def prepare(self, d: int, dtype: np.dtype, backend: Backend) -> Any:
        """Copy, into C order."""
        return lambda x: backend.xp.array(x, order="C")

    def prepare_to_read(self, d: int, dtype: np.dtype, backend: Backend) -> Any:
        """Take blocks in C order as they are, unless a subclass makes something else of them."""
        if type(self).prepare is not Identity.prepare:
            return self.prepare(d, dtype, backend)
        return backend.xp.ascontiguousarray


Model: TypeAlias = Kernel | Features | Callable[[Array, Array], Array]
"""Whose functions are fitted: a kernel's, combinations of features, or a function's of two arrays, as a kernel."""


def _as_kernel_of_points(value: Any, name: str) -> Kernel:
    kernel = as_kernel(value)
    if isinstance(kernel, Precomputed):
        raise TypeError("Nystrom needs a kernel of points; for a given matrix use the exact solver")
    return kernel


def _as_landmarks(value: Any, name: str) -> Any:
    landmarks = as_native(value, name)
    if rank_of(landmarks) == 0:
        return check_integer(landmarks, name, minimum=1)
    return as_array(landmarks, name, ndim=2, shape_hint="(r, d)").copy()


def _as_seed(value: Any, name: str) -> int:
    return as_seed(value)


def _as_selection(value: Any, name: str) -> str:
    return check_choice(value, name, ("uniform", "rpcholesky"))


@dataclass(frozen=True, eq=False)
class Nystrom(Declared, Features):
    """Whitened Nystrom features of a kernel, phi(x) = U^-T k(Z, x) with k(Z, Z) = U^T U.

    Then <phi(x), phi(y)> = k(x, Z) k(Z, Z)^-1 k(Z, y), the orthogonal projection of the kernel on the span of its
    values at the landmarks Z (Williams and Seeger 2001).  U is a pivoted Cholesky factor, cut at the numerical rank: a
    landmark that the others determine to rounding is dropped, and ``rank`` says how many remain.

    Parameters
    ----------
    kernel : Kernel or callable
        Kernel of points.
    landmarks : array (r, d) or int
        Points Z, or how many to choose from the data.  The choice is made by `fit`, which `sslcore.pretrain` calls.
    selection : {"uniform", "rpcholesky"}
        How to choose: uniformly among all views, or by randomly pivoted Cholesky.  The latter (Chen, Epperly, Tropp and
        Webber 2022) is among a uniform pool of max(4096, 10 r) views: each pivot with probability proportional to what
        the ones before leave of k(x, x).
    seed : int
        Seed of the choice, in [0, 2**64).

    Examples
    --------
    >>> import numpy as np, sslcore
    >>> x = np.linspace(0, 3, 50)[:, None]
    >>> kernel = sslcore.kernels.Gaussian(1.0)
    >>> phi = sslcore.features.Nystrom(kernel, x[::7])
    >>> phi(x).shape, bool(abs(phi(x) @ phi(x).T - kernel(x)).max() < 0.02)
    ((50, 8), True)
    """

    kernel: Any = converted("kernel of points", _as_kernel_of_points)
    landmarks: Any = converted("points Z, or how many to choose from the data", _as_landmarks)
    selection: str = converted(
        "how to choose: uniformly among all views, or by randomly pivoted Cholesky", _as_selection, default="uniform"
    )
    seed: int = converted("seed of the choice, in [0, 2**64)", _as_seed, default=0)

    __repr__ = brief

    def n_features(self, d: int) -> int:
        """Return the number of landmarks (an upper bound of ``rank``)."""
        return self.landmarks if isinstance(self.landmarks, int) else len(self.landmarks)

    def n_kept(self, d: int) -> int:
        """Return `rank`, if d is the landmarks' number of coordinates."""
        check_same_width(np.broadcast_to(0.0, (1, d)), self.landmarks, "x", "landmarks")  # d may come from a file
        return self.rank

    @property
    def rank(self) -> int:
        """Number of features: landmarks that are kept."""
        return len(self.factor()[0])

    def fit(self, views: Any) -> Nystrom:
        """Choose the landmarks from views (n, m, d), or points (N, d)."""
        if not isinstance(self.landmarks, int):
            return self
        views = as_readable(views)
        return self.fit_to(math.prod(views.shape[:-1]), lambda index: _gather(views, index))

    def fit_to(self, total: int, gather: Callable[[np.ndarray], Array]) -> Nystrom:
        """Choose the landmarks from ``total`` views, of which ``gather`` fetches those of sorted positions as points.

        ``landmarks`` is the number still to be chosen.  The choice is that of `fit`, for views that lie elsewhere.
        """
        if self.landmarks > total:
            raise ValueError(f"landmarks must be at most the number of views {total}, found {self.landmarks}")
        rng = np.random.default_rng(self.seed)
        pool = self.landmarks if self.selection == "uniform" else min(total, max(4096, 10 * self.landmarks))
        points = gather(np.sort(rng.choice(total, pool, replace=False)))
        if self.selection == "rpcholesky":
            points = points[namespace(points).asarray(_random_pivots(self.kernel, points, self.landmarks, rng))]
        return dataclasses.replace(self, landmarks=points)

    def with_factor(self, kept: Array, factor: Array) -> Nystrom:
        """Return the features with the landmarks kept and U as `factor` gave them, on this machine or another."""
        r = 0 if kept.ndim != 2 else len(kept)
        expected = f"(rank, {self.landmarks.shape[1]}) and (rank, rank), rank at most {len(self.landmarks)}"
        if not 1 <= r <= len(self.landmarks) or kept.shape[1] != self.landmarks.shape[1] or factor.shape != (r, r):
            raise ValueError(f"landmarks kept and factor must be {expected}, found {kept.shape} and {factor.shape}")
        if not bool((namespace(factor).triu(factor) == factor).all() and (factor.diagonal() > 0).all()):
            raise ValueError("the factor of the landmarks must be upper triangular with a positive diagonal")
        same = dataclasses.replace(self)
        points = as_array(kept, "landmarks kept", ndim=2)
        upper = namespace(factor).asfortranarray(as_array(factor, "factor", ndim=2))
        object.__setattr__(same, f"_factor_{get_backend(points).NAME}", (points, upper))
        return same

    def factor(self, backend: Backend | None = None) -> tuple[Array, Array]:
        """Return the landmarks kept and U, float64, computed once; by default where the landmarks are."""
        if isinstance(self.landmarks, int):
            raise ValueError(
                f"the {self.landmarks} landmarks of Nystrom are not chosen yet; call .fit(views), or give an array"
            )
        backend = get_backend(self.landmarks) if backend is None else backend
        cached = self.__dict__.get(f"_factor_{backend.NAME}")
        elsewhere = [value for name, value in self.__dict__.items() if name.startswith("_factor_")]
        if cached is None and elsewhere:  # not again: of equal pivots another device may choose another one
            kept, upper = elsewhere[0]
            cached = (to_backend(kept, backend), backend.xp.asfortranarray(to_backend(upper, backend)))
            object.__setattr__(self, f"_factor_{backend.NAME}", cached)
        elif cached is None:
            landmarks = to_backend(self.landmarks, backend)
            gram = self.kernel(landmarks.astype(float))
            largest, n = float(gram.diagonal().max()), len(gram)
            lost = max(10.0, math.sqrt(n)) * _EPSILON * largest  # what is left of the others, at most, at these points
            factor, pivots, rank = backend.pivoted_cholesky(gram, lost)
            if rank < n:
                _require_semidefinite(self.kernel, gram, largest, _EPSILON, backend)
            # float32 points have kernel values that are good to float32: what is smaller would be their rounding
            squares = backend.to_host(factor.diagonal()) ** 2
            kept_rank = max(1, int((squares > _coarsest(self.landmarks.dtype, largest)).sum()))
            if kept_rank < rank:
                lost, rank = float(squares[kept_rank]), kept_rank
            cached = (landmarks[pivots[:rank]], backend.xp.asfortranarray(factor[:rank, :rank]))
            object.__setattr__(self, "_lost", lost if rank < n else 0.0)
            object.__setattr__(self, f"_factor_{backend.NAME}", cached)
        return cached

    @property
    def finest(self) -> float:
        """Rounding of the kernel's values at the landmarks, and what is left of landmarks that were dropped."""
        _, factor = self.factor()
        largest = float((factor**2).sum(axis=0).max())
        lost: float = self.__dict__.get("_lost", 0.0)
        return max(float(np.finfo(self.landmarks.dtype).eps) * largest, lost)

    def prepare(self, d: int, dtype: np.dtype, backend: Backend) -> Any:
        """Make blocks of kernel values, whitened in place."""
        landmarks, factor = self.factor(backend)
        check_same_width(np.empty((1, d)), landmarks, "x", "landmarks")
        squares = backend.to_host(factor.diagonal()) ** 2
        # float32 points between landmarks that only float64 tells apart
        fine = np.dtype(float) if float(squares.min()) <= _coarsest(dtype, float(squares.max())) else dtype
        source = self.kernel.rows(landmarks.astype(fine, copy=False), backend)
        whitener = backend.whitener(factor, fine)
        buffer = backend.xp.empty((0, len(landmarks)), fine)

        def features(x: Array) -> Array:
            nonlocal buffer
            if len(buffer) < len(x):
                buffer = backend.xp.empty((len(x), len(landmarks)), fine)
            values = buffer[: len(x)]
            source.fill(x.astype(fine, copy=False), 0, values)
            return backend.whiten(whitener, values).astype(dtype, copy=False)

        return features


def _as_spectral_kernel(value: Any, name: str) -> Kernel:
    if not has_law(value, Gaussian, Exponential, Matern, L1Exponential):
        raise TypeError(
            f"RandomFourier needs a translation-invariant kernel (Gaussian, Exponential, Matern or L1Exponential), "
            f"found {value!r}"
        )
    kernel: Kernel = value
    return kernel


def _as_even(value: Any, name: str) -> int:
    number = check_integer(value, "n_features", minimum=2)
    if number % 2:
        raise ValueError(f"n_features must be even (a cosine and a sine each), found {number}")
    return number


@dataclass(frozen=True, init=False, repr=False, eq=False)
class RandomFourier(Declared, Features):
    r"""Random Fourier features of a translation-invariant kernel (Rahimi and Recht 2007).

    phi(x) = sqrt(2/r) (cos <w_1, x>, ..., cos <w_{r/2}, x>, sin <w_1, x>, ...), so that E <phi(x), phi(y)> = k(x, y)
    with frequencies w from the kernel's spectral measure: normal for `Gaussian`, multivariate t with 2 nu degrees of
    freedom for `Exponential` (nu = 1/2) and `Matern`, independent Cauchy for `L1Exponential`.

    Parameters
    ----------
    kernel : Gaussian, Exponential, Matern or L1Exponential
    n_features : int
        Number of features r, even.
    seed : int
        Seed of the frequencies, in [0, 2**64).

    Examples
    --------
    >>> import numpy as np, sslcore
    >>> x = np.array([[0.0], [1.0]])
    >>> phi = sslcore.features.RandomFourier(sslcore.kernels.Gaussian(1.0), 20_000, seed=0)
    >>> (phi(x) @ phi(x).T).round(2)
    array([[1.  , 0.61],
           [0.61, 1.  ]])
    """

    kernel: Gaussian | Exponential | Matern | L1Exponential = converted(
        "translation-invariant kernel", _as_spectral_kernel
    )
    count: int = converted("number of features r, even", _as_even)
    seed: int = converted("seed of the frequencies, in [0, 2**64)", _as_seed, default=0)

    def __init__(self, kernel: Kernel, n_features: int, seed: int = 0) -> None:  # `n_features` is a method of all maps
        for name, value in (("kernel", kernel), ("count", n_features), ("seed", seed)):
            object.__setattr__(self, name, value)
        self.__post_init__()

    def __repr__(self) -> str:
        return f"RandomFourier(kernel={self.kernel!r}, n_features={self.count}, seed={self.seed})"

    def n_features(self, d: int) -> int:
        """Return the number asked for."""
        return self.count

    def frequencies(self, d: int) -> np.ndarray:
        """Draw the frequencies w, (d, r/2), float64: a function of seed and d alone."""
        rng = np.random.default_rng(self.seed)
        shape = (d, self.count // 2)
        if isinstance(self.kernel, L1Exponential):
            return rng.standard_cauchy(shape) / self.kernel.scale
        w = rng.standard_normal(shape) / self.kernel.scale
        if isinstance(self.kernel, Gaussian):
            return w
        nu = 0.5 if isinstance(self.kernel, Exponential) else self.kernel.nu
        # a normal over sqrt(chi^2 / 2 nu) is the multivariate t; the exponential kernel is Matern's of nu = 1/2
        return w * np.sqrt(2 * nu / rng.chisquare(2 * nu, shape[1]))

    def prepare(self, d: int, dtype: np.dtype, backend: Backend) -> Any:
        """Take a matrix product, then cosines and sines.

        Phases of float32 points are w . (x - c) + w . c, c a point of the block: far from the origin they keep the
        digits of differences, and w . c has those of float64.
        """
        xp = backend.xp
        exact = xp.asarray(self.frequencies(d))
        w = exact.astype(dtype, copy=False)
        half = self.count // 2
        factor = dtype.type(math.sqrt(1.0 / half))

        def features(x: Array) -> Array:
            out: Array = xp.empty((len(x), 2 * half), dtype)
            if dtype.itemsize < 8 and len(x):
                phases = (x - x[0]) @ w
                phases += xp.remainder(x[0].astype(np.float64) @ exact, 2 * math.pi).astype(dtype)
            else:
                phases = x @ w
            xp.cos(phases, out=out[:, :half])
            xp.sin(phases, out=out[:, half:])
            out *= factor
            return out

        return features


def _coarsest(dtype: np.dtype, largest: float) -> float:
    """Return the least square of a pivot above the rounding of kernel values of this size in ``dtype``."""
    return 4 * float(np.finfo(dtype).eps) * largest


def _gather(views: Any, index: np.ndarray) -> Array:
    """Gather the views with these (sorted) positions in sample-major order, as points."""
    check_map(views, "views")
    if views.ndim == 2:
        return as_array(views[namespace(views).asarray(index)], "views", ndim=2)
    m = views.shape[1]
    samples, inverse = np.unique(index // m, return_inverse=True)
    if hasattr(views, "block"):
        blocks = [views.block(int(i), int(i) + 1) for i in samples]
        chosen = namespace(blocks[0]).concatenate(blocks)
    else:
        chosen = views[namespace(views).asarray(samples)]
    xp = namespace(chosen)
    return as_array(chosen[xp.asarray(inverse), xp.asarray(index % m)], "views", ndim=2)


def _random_pivots(kernel: Kernel, points: Array, count: int, rng: np.random.Generator) -> np.ndarray:
    """Draw the positions of ``count`` pivots of randomly pivoted Cholesky, by blocks with rejection.

    Proposals drawn in proportion to the residual diagonal at the block's start are accepted with probability (residual
    now) / (residual then), which gives the law of one pivot at a time (Epperly, Tropp and Webber 2024, algorithm 2.2).
    """
    backend = get_backend(points)
    xp, n = backend.xp, len(points)
    source = kernel.rows(points, backend)
    residual = np.empty(n)
    for start in range(0, n, 64):
        block = points[start : start + 64]
        values = xp.empty((len(block), len(block)), points.dtype)
        source.fill(block, start, values)
        residual[start : start + 64] = backend.to_host(values.diagonal())
    factor = xp.empty((n, count))
    total = float(residual.sum())
    pivots: list[int] = []
    while len(pivots) < count:
        if residual.sum() <= 1e-13 * total:  # the pool is spanned: any further landmark is dropped by the rank anyway
            rest = np.setdiff1d(np.arange(n), pivots)
            pivots.extend(rng.choice(rest, count - len(pivots), replace=False).tolist())
            break
        size = min(max(16, count // 16), count - len(pivots))
        proposed = rng.choice(n, size, p=residual / residual.sum())
        rows = xp.asarray(proposed)
        values = xp.empty((size, n), points.dtype)
        source.fill(points[rows], 0, values)
        done = len(pivots)
        columns = values.T - factor[:, :done] @ factor[rows, :done].T
        drawn = backend.to_host(columns[rows])
        small = drawn.copy()
        accepted = []
        for j in range(size):
            if small[j, j] > 1e-14 * total / n and rng.random() * residual[proposed[j]] < small[j, j]:
                accepted.append(j)
                small -= np.outer(small[:, j], small[j]) / small[j, j]
        if not accepted:
            continue
        chosen = columns[:, xp.asarray(accepted)]
        corner = np.linalg.cholesky(drawn[np.ix_(accepted, accepted)])
        new = xp.linalg.solve(xp.asarray(corner), chosen.T).T
        factor[:, done : done + len(accepted)] = new
        pivots.extend(proposed[accepted].tolist())
        residual = np.maximum(residual - backend.to_host((new**2).sum(axis=1)), 0.0)
        residual[pivots] = 0.0
    return np.array(pivots)


def _require_semidefinite(kernel: Kernel, gram: Array, largest: float, epsilon: float, backend: Backend) -> None:
    """Tell a kernel of low rank (fine) from one that is not positive semi-definite, if it might be one."""
    if kernel.trusted:
        return
    lowest = float(backend.symmetric_eigenvalues(gram)[0])
    if lowest < -1e4 * len(gram) * epsilon * largest:
        raise NotPositiveSemidefiniteError(
            f"the kernel is not positive semi-definite: its Gram matrix at the landmarks has the eigenvalue "
            f"{lowest:.6g}; use a positive semi-definite kernel",
            lowest,
        )
