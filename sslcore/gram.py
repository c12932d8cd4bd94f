"""Gram matrices, Gram matrices in the rotated basis, and products with kernels that are never stored.

Device-agnostic: each kernel makes its own rows (`sslcore.kernels.Kernel.rows`), from which all is computed block by
block.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .arrays import (
    Array,
    ArrayLike,
    as_array,
    check_same_width,
    require_finite,
    same_kind,
)
from .backends import get_backend
from .kernels import Kernel, Precomputed, as_kernel
from .kernels._rows import block_height
from .solvers.rotated_gram import RotatedGram, contrast_gram

__all__ = ["RotatedGram", "contrast_gram", "gram", "kernel_product", "release_memory"]


@same_kind("x", "y")
def gram(
    kernel: Kernel | Callable[[Array, Array], Array],
    x: ArrayLike,
    y: ArrayLike | None = None,
    *,
    out: Array | None = None,
    backend: str | None = None,
) -> Array:
    """Compute the Gram matrix K[i, j] = k(x_i, y_j).

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
        Fresh memory costs as much time as the values of a cheap kernel: a loop over large matrices takes half the time
        with ``out``.

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
    return as_kernel(kernel)._gram(x, y, out, backend)


def release_memory(*, backend: str | None = None) -> None:
    """Give back the memory that is kept for the next large results.

    CuPy's pools keep that of arrays on a GPU.  On the CPU nothing is kept.

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
def kernel_product(
    kernel: Kernel | Callable[[Array, Array], Array],
    x: ArrayLike,
    y: ArrayLike,
    coefficients: ArrayLike,
    *,
    backend: str | None = None,
) -> Array:
    """Multiply K(x, y) @ coefficients; K is never stored.

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
    chosen = get_backend(x, y, coefficients, backend=backend)
    xp = chosen.xp
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
    out: Array = xp.empty((len(x), *weights.shape[1:]), dtype)
    source = kernel.rows(y, chosen)
    height = block_height(len(y), dtype.itemsize, chosen)
    block = xp.empty((min(height, len(x)), len(y)), dtype)
    for start in range(0, len(x), height):
        rows = require_finite(x[start : start + height], "x", offset=start).astype(dtype, copy=False)
        values = block[: len(rows)]
        source.fill(rows, 0, values)
        xp.matmul(values, weights, out=out[start : start + height])
    return out
