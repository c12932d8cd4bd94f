"""Gram matrices in the basis of means and contrasts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..arrays import (
    Array,
    ArrayLike,
    as_native,
    as_views,
    check_target,
    gives_memory_back,
)
from ..backends import Backend, get_backend
from ..kernels import Kernel, Precomputed, as_kernel
from ..kernels._rows import block_height
from .groups import Samples

__all__ = ["RotatedGram", "contrast_gram"]


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
        What the basis is: order, weights, rotations; of a law of positive pairs a `SpectralBasis`.

    Examples
    --------
    >>> import numpy as np, sslcore
    >>> g = sslcore.gram.contrast_gram(sslcore.kernels.Gaussian(1.0), np.zeros((4, 3, 2)))
    >>> g.mean.shape, g.cross.shape, g.contrast.shape
    ((4, 4), (4, 8), (8, 8))
    """

    def __init__(self, mean: Array, cross: Array, contrast: Array, samples: Any) -> None:
        self.mean, self.cross, self.contrast, self.samples = mean, cross, contrast, samples

    def diagonal(self) -> Array:
        """Return the diagonal of A, then that of C."""
        out: Array = self.samples.xp.concatenate([self.mean.diagonal(), self.contrast.diagonal()])
        return out


@gives_memory_back
def contrast_gram(
    kernel: Kernel | Callable[[Array, Array], Array],
    views: ArrayLike,
    *,
    out: RotatedGram | None = None,
    backend: str | None = None,
) -> RotatedGram:
    r"""Compute the Gram matrix of the views in the rotated basis (means of samples, contrasts within samples).

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
    out : RotatedGram, optional
        Of as many samples and views, of the result's type and on the backend's device, such as the result of another
        call: its matrices are written over, and it is returned.  After an error their content is undefined.
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
    chosen = get_backend(views, backend=backend)
    views = as_views(views)
    samples = Samples.from_views(views.shape[0], views.shape[1], chosen)
    result = rotated_gram(kernel, views.reshape(-1, views.shape[2]), samples, chosen, out)
    if out is None:
        return result
    out.samples = samples
    return out


def rotated_gram(
    kernel: Kernel, x: Array, samples: Samples, backend: Backend, out: RotatedGram | None = None
) -> RotatedGram:
    """Compute `contrast_gram` for checked views x (N, d), one after the other in the order of ``samples``."""
    dtype = x.dtype
    n, n_contrasts = samples.n, samples.n_contrasts
    shapes = ((n, n), (n_contrasts, n), (n_contrasts, n_contrasts))  # B^T in C order: B in Fortran order, for BLAS
    if out is None:
        mean, cross_t, contrast = (backend.empty_matrix(*shape, dtype) for shape in shapes)
    elif isinstance(out, RotatedGram):
        given = (out.mean, out.cross.T, out.contrast.T)
        mean, cross_t, contrast = (
            check_target(block, shape, dtype, backend, x, *given[:i])
            for i, (block, shape) in enumerate(zip(given, shapes, strict=True))
        )
    else:
        raise TypeError(f"out must be a RotatedGram, as contrast_gram returns them, found {type(out).__name__}")
    n_views = len(x)
    source = None if isinstance(kernel, Precomputed) else kernel.rows(x, backend)
    if source is not None and source.fill_contrasts(samples, mean, cross_t, contrast):
        return RotatedGram(mean, cross_t.T, contrast.T, samples)
    height = block_height(n_views, dtype.itemsize, backend)
    strips = list(samples.strips(height))
    # one buffer for all blocks: fresh memory would be paged in again and again
    # (and not kept afterwards, when it would count as resident beside what the solver allocates)
    buffer = backend.xp.empty(max((s.row_stop - s.row_start) * (n_views - s.row_start) for s in strips), dtype)
    for part in strips:
        rows = slice(part.row_start, part.row_stop)
        shape = (part.row_stop - part.row_start, n_views - part.row_start)
        block = buffer[: shape[0] * shape[1]].reshape(shape)
        if source is None:
            block[...] = x[samples.order[rows]][:, samples.order[part.row_start :]]
        else:
            source.fill(x[rows], part.row_start, block)
        backend.rotate_rows(block, part, samples, mean, cross_t, contrast)
    return RotatedGram(mean, cross_t.T, contrast.T, samples)
