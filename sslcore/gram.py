"""Gram matrices, Gram matrices in the rotated basis, and products with kernels that are never stored.

Device-agnostic: each kernel makes its own rows (`sslcore.kernels.Kernel.rows`), from which all is computed block by
block.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from . import tunables
from .arrays import (
    Array,
    ArrayLike,
    as_array,
    check_same_width,
    check_target,
    require_finite,
    same_kind,
)
from .backends import get_backend
from .kernels import Kernel, Precomputed, as_kernel
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
        x and y; a tensor of PyTorch too.  Fastest if it begins at a multiple of 64 bytes and so does each of its rows.
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
    y: ArrayLike | None,
    coefficients: ArrayLike,
    *,
    out: Array | None = None,
    backend: str | None = None,
) -> Array:
    """Multiply K(x, y) @ coefficients; K is never stored.

    Parameters
    ----------
    kernel : Kernel or callable
    x : array (n_x, d)
    y : array (n_y, d) or None
        None for x itself: each pair of points is then computed once, which takes half the time.
    coefficients : array (n_y,) or (n_y, k)
    out : array (n_x,) or (n_x, k), optional
        As in `gram`, and apart from the coefficients.  After an error its content is undefined.
    backend : {"numba", "cupy"}, optional

    Returns
    -------
    array (n_x,) or (n_x, k)
        Computed in blocks of values: memory O(block + (n_x + n_y) k).  The error is that of the values, relative to the
        sum of their absolute values times those of the coefficients.

    Raises
    ------
    ValueError, TypeError
        As `gram`; also coefficients whose length is not n_y.

    Examples
    --------
    >>> import sslcore
    >>> sslcore.gram.kernel_product(sslcore.kernels.Linear(), [[1.0], [2.0]], [[3.0]], [10.0])
    array([30., 60.])
    >>> sslcore.gram.kernel_product(sslcore.kernels.Linear(), [[1.0], [2.0]], None, [10.0, 1.0])
    array([12., 24.])
    """
    kernel = as_kernel(kernel)
    chosen = get_backend(x, y, coefficients, backend=backend)
    x = as_array(x, "x", ndim=2, shape_hint="(n, d)", finite=y is None)
    other = x if y is None else as_array(y, "y", ndim=2, shape_hint="(n, d)")
    weights = as_array(coefficients, "coefficients", ndim=(1, 2), shape_hint="(n_y,) or (n_y, k)")
    name, given = ("x", isinstance(kernel, Precomputed)) if y is None else ("y", False)
    n_y = x.shape[1] if given else len(other)
    if len(weights) != n_y:
        what = "column of x" if given else f"point of {name}"
        raise ValueError(f"coefficients must have one row per {what} ({n_y}), found shape {weights.shape}")
    dtype = np.result_type(x.dtype, other.dtype, weights.dtype)
    weights = weights.astype(dtype, copy=False)
    shape = (len(x), *weights.shape[1:])
    if out is None:
        out = chosen.xp.empty(shape, dtype)
    else:
        check_target(out, shape, dtype, chosen, x, other, weights)
    if isinstance(kernel, Precomputed):
        chosen.xp.matmul(require_finite(x, "x").astype(dtype, copy=False), weights, out=out)
        return out
    check_same_width(x, other, "x", "y")
    other = other.astype(dtype, copy=False)
    columns, result = weights.reshape(len(weights), -1), out.reshape(len(out), -1)
    source = kernel.rows(other, chosen)
    if y is None:
        source.symmetric_product(other, columns, result, chosen)
        return out
    height = chosen.BLOCK_FACTOR * tunables.KERNEL_PRODUCT_ROWS
    for start in range(0, len(x), height):
        rows = require_finite(x[start : start + height], "x", offset=start).astype(dtype, copy=False)
        source.product(rows, columns, result[start : start + height], chosen)
    return out
