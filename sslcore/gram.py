"""Gram matrices, Gram matrices in the rotated basis, and products with kernels that are never stored.

Device-agnostic: blocks of rows are asked from the backend, sums and products of kernels are formed on
the blocks.  `RowSource` is the one place that knows what a kernel is made of.
"""

from __future__ import annotations

import math
from types import ModuleType
from typing import Any

import numpy as np

from .arrays import Array, as_array, as_views, check_same_width, quiet, require_finite
from .backends import device_of, get_backend
from .errors import BackendError
from .interchange import as_native, gives_memory_back, same_kind
from .kernels import Convolutional, Function, Kernel, Precomputed, Product, Profile, Scaled, Sum, as_kernel
from .samples import Samples

__all__ = ["RotatedGram", "contrast_gram", "gram", "kernel_product", "release_memory"]

_BLOCK_BYTES = 16 << 20
"""Size of a block of kernel values on its way to somewhere else: it stays in the last-level cache."""


_PATCH_TILE = 128, 1024
"""Rows and columns that are summed over patches while they stay in the cache of a processor."""


class RowSource:
    """Blocks of rows k(x_i, y_j) for a fixed second argument, prepared once."""

    def __init__(self, kernel: Kernel, y: Array, backend: ModuleType) -> None:
        self.kernel, self.y, self.backend = kernel, y, backend
        if isinstance(kernel, Profile):
            self._points = backend.points(kernel, y)
        elif isinstance(kernel, Sum | Product):
            self._parts = [RowSource(kernel.first, y, backend), RowSource(kernel.second, y, backend)]
        elif isinstance(kernel, Scaled):
            self._parts = [RowSource(kernel.base, y, backend)]
        elif isinstance(kernel, Convolutional):
            self._shifts = kernel.shifts(y.shape[1])

    @property
    def mirrored(self) -> bool:
        """Whether a symmetric matrix is computed by half, then mirrored; else `fill_symmetric` has a better way."""
        return not isinstance(self.kernel, Profile) or self._points.mirrored

    def fill_symmetric(self, x: Array, out: Array) -> None:
        """out[i, j] = k(x_i, x_j), exactly symmetric, where this was prepared for the second argument ``x``."""
        if not self.mirrored:
            self.backend.gram_symmetric(self._points, x, out)
            self._check(out)
            return
        height = max(256, len(x) // 12 // 64 * 64)  # high enough for matrix products, and not much beyond the diagonal
        for start in range(0, len(x), height):
            rows = slice(start, start + height)
            self.fill(x[rows], start, out[rows, start:])
        self.backend.mirror(out)

    def fill(self, x: Array, first: int, out: Array) -> None:
        """out[i, j] = k(x_i, y_{first + j}).  Values that are not finite are refused."""
        kernel = self.kernel
        if isinstance(kernel, Profile):
            self.backend.gram_rows(self._points, x, first, out)
            self._check(out)
        elif isinstance(kernel, Scaled):
            self._parts[0].fill(x, first, out)
            with quiet():
                out *= kernel.factor
            require_finite(out, f"the values of {kernel}")
        elif isinstance(kernel, Sum | Product):
            self._parts[0].fill(x, first, out)
            other = self.backend.xp.empty_like(out)
            self._parts[1].fill(x, first, other)
            with quiet():
                if isinstance(kernel, Sum):
                    out += other
                else:
                    out *= other
            require_finite(out, f"the values of {kernel}")
        elif isinstance(kernel, Convolutional):
            height, width = (math.isqrt(self.backend.BLOCK_FACTOR) * side for side in _PATCH_TILE)
            for i in range(0, len(x), height):
                for j in range(0, out.shape[1], width):
                    tile = out[i : i + height, j : j + width]
                    y = self.y[first + j : first + j + tile.shape[1]]
                    self._fill_patches(kernel, x[i : i + height], y, tile)
            require_finite(out, f"the values of {kernel}")
        elif isinstance(kernel, Function):
            y = self.y[first : first + out.shape[1]]
            values = as_array(as_native(kernel.function(x, y)), "the kernel function's result", ndim=2)
            if device_of(values) != self.backend.NAME:
                raise BackendError(
                    f"the kernel function was given arrays of the backend {self.backend.NAME!r} and returned one of "
                    f"{device_of(values)!r}; compute with the array module of its arguments"
                )
            if values.shape != out.shape:
                raise ValueError(
                    f"the kernel function must return shape {out.shape} for {len(x)} and {len(y)} points, "
                    f"found {values.shape}"
                )
            out[...] = values
        else:
            raise TypeError(f"{kernel} has no values of its own here")

    def fill_contrasts(self, samples: Samples, mean: Array, cross_t: Array, contrast: Array) -> bool:
        """The Gram matrix in the rotated basis, where the backend has a kernel that makes it at once; else False."""
        if not isinstance(self.kernel, Profile):
            return False
        done: bool = self.backend.gram_contrasts(self._points, samples, mean, cross_t, contrast)
        if done:
            for block in (mean, cross_t, contrast):
                self._check(block)
        return done

    def _check(self, values: Array) -> None:
        bounded = isinstance(self.kernel, Profile) and self.kernel.pair in ("sqdist", "l1")
        if not bounded:  # products may overflow
            require_finite(values, f"the values of {self.kernel} (do they overflow? rescale the data)")

    def _fill_patches(self, kernel: Convolutional, x: Array, y: Array, out: Array) -> None:
        """The sum of the base's values over the pairs of patches that are a shift apart, each with its weight."""
        xp, d = self.backend.xp, x.shape[1]
        around = [xp.concatenate([points, points[:, : kernel.patch - 1]], axis=1) for points in (x, y)]
        block = xp.empty(out.shape, out.dtype)
        total = xp.zeros(out.shape)  # of many terms, in float64
        common = max(self._shifts.values(), key=abs)
        for j in range(d):
            source = RowSource(kernel.base, around[1][:, j : j + kernel.patch], self.backend)
            for shift, weight in self._shifts.items():
                i = (j - shift) % d
                source.fill(around[0][:, i : i + kernel.patch], 0, block)
                if weight != common:
                    block *= weight / common
                total += block
        with quiet():
            xp.multiply(total, common, out=total)
            out[...] = total


@same_kind("x", "y")
def gram(
    kernel: Any, x: Array, y: Array | None = None, *, out: Array | None = None, backend: str | None = None
) -> Array:
    """Gram matrix K[i, j] = k(x_i, y_j).

    Parameters
    ----------
    kernel : Kernel or callable
        See `sslcore.kernels`.
    x : array (n_x, d)
    y : array (n_y, d), optional
        Default: x, and then the result is exactly symmetric and half the work is done.
    out : array (n_x, n_y), optional
        Where the result goes, and what is returned: C order, of the result's type, on the backend's device, apart from
        x and y.  Fastest if it begins at a multiple of 64 bytes and so does each of its rows.
    backend : {"numba", "cupy"}, optional
        Override of the arrays' own; ``"cupy"`` takes NumPy arrays to the GPU and the result back.

    Returns
    -------
    array (n_x, n_y)
        float32 if all inputs are float32 (or float16), else float64.  For distance kernels the absolute
        error is below 1e-13 in float64, also for pairs of nearly equal points far from the origin.
        Fresh memory costs as much time as the values of a cheap kernel, so that of a large result which is no longer
        referred to is kept for the next one (`release_memory`).

    Raises
    ------
    ValueError, TypeError
        NaN or infinite entries, wrong ranks, different numbers of coordinates, values that overflow; an ``out`` that
        is not as described.

    Examples
    --------
    >>> import sslcore
    >>> sslcore.gram.gram(sslcore.kernels.Gaussian(1.0), [[0.0], [1.0]]).round(4)
    array([[1.    , 0.6065],
           [0.6065, 1.    ]])
    """
    kernel = as_kernel(kernel)
    engine = get_backend(x, y, backend=backend)
    x = as_array(x, "x", ndim=2, shape_hint="(n, d)")
    if isinstance(kernel, Precomputed):
        if out is not None:
            raise ValueError("Precomputed gives back the matrix it was given; out has no use here")
        return x
    if y is not None:
        y = as_array(y, "y", ndim=2, shape_hint="(n, d)")
        check_same_width(x, y, "x", "y")
        dtype = np.result_type(x.dtype, y.dtype)
        x, y = x.astype(dtype, copy=False), y.astype(dtype, copy=False)
    other = x if y is None else y
    if out is None:
        out = engine.empty_matrix(len(x), len(other), x.dtype)
    else:
        _require_target(out, (len(x), len(other)), x.dtype, engine, x, other)
    source = RowSource(kernel, other, engine)
    if y is None:
        source.fill_symmetric(x, out)
    else:
        source.fill(x, 0, out)
    return out


def _require_target(out: Any, shape: tuple[int, int], dtype: np.dtype, engine: ModuleType, x: Array, y: Array) -> None:
    if not isinstance(out, engine.xp.ndarray):
        raise TypeError(f"out must be an array of {engine.xp.__name__}, where the work is done, found {type(out)}")
    if out.shape != shape or out.dtype != dtype:
        raise ValueError(f"out must have shape {shape} and dtype {dtype}, found {out.shape} and {out.dtype}")
    if not out.flags.c_contiguous or not getattr(out.flags, "writeable", True):
        raise ValueError("out must be in C order, without gaps, and not read-only")
    if any(engine.xp.may_share_memory(out, array) for array in (x, y)):
        raise ValueError("out must not share memory with the points")


def release_memory(*, backend: str | None = None) -> None:
    """Give back the memory that is kept for the next large results.

    On the CPU that of Gram matrices from 4 MiB on that are no longer referred to is kept, an eighth of the machine's
    memory and 4 GiB at most, where the system (Linux, macOS) can take it back by itself whenever it needs it: until
    then it counts as resident in this process, and as available.  On a GPU it is CuPy's pools that keep memory.

    Parameters
    ----------
    backend : {"numba", "cupy"}, optional
        Default: the CPU's.

    Examples
    --------
    >>> import sslcore
    >>> sslcore.gram.release_memory()
    """
    get_backend(backend=backend).release()


@same_kind("x", "y", "coefficients")
def kernel_product(kernel: Any, x: Array, y: Array, coefficients: Array, *, backend: str | None = None) -> Array:
    """The product K(x, y) @ coefficients; K is never stored.

    Parameters
    ----------
    kernel : Kernel or callable
    x : array (n_x, d)
    y : array (n_y, d)
    coefficients : array (n_y,) or (n_y, k)
    backend : {"numba", "cupy"}, optional

    Returns
    -------
    array (n_x,) or (n_x, k)
        Computed in blocks of rows: memory O(block + n_x k).

    Raises
    ------
    ValueError, TypeError
        As `gram`; also coefficients whose length is not n_y.

    Examples
    --------
    >>> import sslcore
    >>> sslcore.gram.kernel_product(sslcore.kernels.Linear(), [[1.0], [2.0]], [[3.0]], [10.0])
    array([30., 60.])
    """
    kernel = as_kernel(kernel)
    engine = get_backend(x, y, coefficients, backend=backend)
    xp = engine.xp
    x = as_array(x, "x", ndim=2, shape_hint="(n, d)", finite=False)
    y = as_array(y, "y", ndim=2, shape_hint="(n, d)")
    weights = as_array(coefficients, "coefficients", ndim=(1, 2), shape_hint="(n_y,) or (n_y, k)")
    if len(weights) != len(y):
        raise ValueError(f"coefficients must have one row per point of y ({len(y)}), found shape {weights.shape}")
    if not isinstance(kernel, Precomputed):
        check_same_width(x, y, "x", "y")
    dtype = np.result_type(x.dtype, y.dtype, weights.dtype)
    y, weights = y.astype(dtype, copy=False), weights.astype(dtype, copy=False)
    if isinstance(kernel, Precomputed):
        return require_finite(x, "x").astype(dtype, copy=False) @ weights
    out = xp.empty((len(x), *weights.shape[1:]), dtype)
    source = RowSource(kernel, y, engine)
    height = engine.BLOCK_FACTOR * block_rows(len(y), dtype.itemsize)
    block = xp.empty((min(height, len(x)), len(y)), dtype)
    for start in range(0, len(x), height):
        rows = require_finite(x[start : start + height], "x", offset=start).astype(dtype, copy=False)
        values = block[: len(rows)]
        source.fill(rows, 0, values)
        xp.matmul(values, weights, out=out[start : start + height])
    return out


class RotatedGram:
    """The empirical kernel operator Khat in the rotated basis, [[A, B], [B^T, C]] (THEORY of `contrast_gram`).

    Attributes
    ----------
    mean : array (n, n)
        A: between the means of samples.
    cross : array (n, n_contrasts)
        B: between means and contrasts; stored in Fortran order.
    contrast : array (n_contrasts, n_contrasts)
        C: between contrasts; Fortran order.
    samples : Samples
        What the basis is: order, weights, rotations.

    Examples
    --------
    >>> import numpy as np, sslcore
    >>> g = sslcore.gram.contrast_gram(sslcore.kernels.Gaussian(1.0), np.zeros((4, 3, 2)))
    >>> g.mean.shape, g.cross.shape, g.contrast.shape
    ((4, 4), (4, 8), (8, 8))
    """

    def __init__(self, mean: Array, cross: Array, contrast: Array, samples: Samples) -> None:
        self.mean, self.cross, self.contrast, self.samples = mean, cross, contrast, samples

    def diagonal(self) -> Array:
        """The diagonal of A, then that of C."""
        return self.samples.xp.concatenate([self.mean.diagonal(), self.contrast.diagonal()])


@gives_memory_back
def contrast_gram(kernel: Any, views: Array, *, backend: str | None = None) -> RotatedGram:
    r"""Gram matrix of the views in the rotated basis (means of samples, contrasts within samples).

    The views of each sample are rotated by the orthonormal Helmert matrix h of m rows: the first is
    1/sqrt(m), the c-th, c = 1..m-1, has c entries 1/sqrt(c (c+1)), one entry -c/sqrt(c (c+1)), and zeros.
    With all samples' rotations on both sides, Khat = K / N becomes [[A, B], [B^T, C]],
    A[i, i'] = h_0 Khat_{ii'} h_0^T, B[i, (i', c)] = h_0 Khat_{ii'} h_c^T, C[(i, c), (i', c')] = h_c Khat_{ii'} h_c'^T,
    contrasts ordered sample by sample.  (I - T is the projector on the contrasts: Cabannes et al. 2023, section 2,
    in the empirical form derived in `sslcore.pretrain`.)

    Parameters
    ----------
    kernel : Kernel or callable
    views : array (n, m, d), m >= 2
    backend : {"numba", "cupy"}, optional

    Returns
    -------
    RotatedGram
        ``.mean`` (n, n), ``.cross`` (n, n (m-1)), ``.contrast`` (n (m-1), n (m-1)).  K itself is never stored:
        each block is rotated while it is in the cache, and only pairs i <= i' are computed.

    Raises
    ------
    ValueError, TypeError
        As `gram`.

    Examples
    --------
    >>> import numpy as np, sslcore
    >>> views = np.array([[[0.0], [1.0]], [[3.0], [5.0]]])
    >>> g = sslcore.gram.contrast_gram(sslcore.kernels.Linear(), views)
    >>> g.mean.round(4), g.contrast.round(4)
    (array([[0.125, 1.   ],
           [1.   , 8.   ]]), array([[0.125, 0.25 ],
           [0.25 , 0.5  ]]))
    """
    kernel = as_kernel(kernel)
    views = as_native(views, "views", backend)
    engine = get_backend(views, backend=backend)
    views = as_views(views)
    samples = Samples.from_views(views.shape[0], views.shape[1], engine)
    return rotated_gram(kernel, views.reshape(-1, views.shape[2]), samples, engine)


def rotated_gram(kernel: Kernel, x: Array, samples: Samples, engine: ModuleType) -> RotatedGram:
    """`contrast_gram` for checked views x (N, d), one after the other in the order of ``samples``."""
    dtype = x.dtype
    n, n_contrasts = samples.n, samples.n_contrasts
    mean = engine.empty_matrix(n, n, dtype)
    cross_t = engine.empty_matrix(n_contrasts, n, dtype)  # B^T in C order is B in Fortran order, as BLAS wants it
    contrast = engine.empty_matrix(n_contrasts, n_contrasts, dtype)
    n_views = len(x)
    source = None if isinstance(kernel, Precomputed) else RowSource(kernel, x, engine)
    if source is not None and source.fill_contrasts(samples, mean, cross_t, contrast):
        return RotatedGram(mean, cross_t.T, contrast.T, samples)
    height = engine.BLOCK_FACTOR * block_rows(n_views, dtype.itemsize)
    strips = list(samples.strips(height))
    # one buffer for all blocks: fresh memory would be paged in again and again
    # (and not kept afterwards, when it would count as resident beside what the solver allocates)
    buffer = engine.xp.empty(max((s.row_stop - s.row_start) * (n_views - s.row_start) for s in strips), dtype)
    for part in strips:
        rows = slice(part.row_start, part.row_stop)
        shape = (part.row_stop - part.row_start, n_views - part.row_start)
        block = buffer[: shape[0] * shape[1]].reshape(shape)
        if source is None:
            block[...] = x[samples.order[rows]][:, samples.order[part.row_start :]]
        else:
            source.fill(x[rows], part.row_start, block)
        engine.rotate_rows(block, part, samples, mean, cross_t, contrast)
    return RotatedGram(mean, cross_t.T, contrast.T, samples)


def block_rows(columns: int, itemsize: int) -> int:
    """Rows of a block of ``columns`` values that stays in the last-level cache of a CPU."""
    return max(64, _BLOCK_BYTES // (columns * itemsize) // 64 * 64)  # aligned to the vectors' width
