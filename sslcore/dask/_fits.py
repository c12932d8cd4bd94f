"""Fits to Dask's arrays, their embeddings, and views of samples that lie on a cluster."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import dask.array as da
import numpy as np
from dask.delayed import delayed

from ..arrays import Array, as_array, as_float_dtype, as_seed, gives_memory_back, on_host, shown
from ..augmentations import Augmentation, Views
from ..features import Features, Model, Nystrom
from ..fitting.collections import require_known_sizes
from ..fitting.representation import Representation
from ..fitting.search import AutoReg, as_search
from ..fitting.spectral import check_scale
from ..kernels import Precomputed
from ..positives import TimeLag
from ..solvers.objective import Objective
from . import _work
from ._cluster import Cluster, sent
from ._kernels import fit_kernel, require_room
from ._moments import as_views, moments_on, pairs_of

__all__ = ["pretrain", "transform", "views"]


@gives_memory_back
def pretrain(
    views: Any,
    model: Model,
    n_components: int,
    *,
    reg: float | str | AutoReg,
    beta: float = 1.0,
    unbiased: bool = True,
    center: bool = False,
    positives: TimeLag | None = None,
    client: Any = None,
    retries: int = 2,
    backend: str | None = None,
) -> Representation:
    """Fit features, or a kernel, to views on a cluster, as `sslcore.pretrain` does to views in memory.

    ``sslcore.pretrain`` with a Dask array comes here, to the default client.

    * **Features** are solved by their `moments`: Sigma c = (1/gamma) (beta Delta + reg I) c on the client.
    * **A kernel** is solved without its matrix, K v by tasks of rows.  The views are fetched: the client holds the N
      points and a few blocks of vectors, as on one machine.  Each value of K is computed twice, once for each of its
      rows, so that a cluster is of use from some five threads on.

    Parameters
    ----------
    views
        As for `moments`; names of files for features with nothing left to choose only.
    model : Features or Kernel
        Landmarks that are still to be chosen are those of `sslcore.pretrain`, chosen among all views of an array.
    n_components, reg, beta, unbiased, center
        As for `sslcore.pretrain`; ``reg="auto"`` holds out a quarter of the leaves, as `sslcore.stream.moments` does.
    positives, client, retries, backend
        As for `moments`; ``positives`` for features only.

    Returns
    -------
    Representation
        On the client, without training views: `transform` gives its values at any.

    Raises
    ------
    ValueError, TypeError, MemoryBudgetError, ConnectionError, RuntimeError
        As `moments`, and as `sslcore.pretrain`.

    Examples
    --------
    >>> import dask.array as da, sslcore, sslcore.dask
    >>> x = da.from_array(sslcore.datasets.half_moons(300, seed=0), chunks=(100, 2))
    >>> views = sslcore.dask.views(x, sslcore.augmentations.GaussianNoise(0.1), 2, seed=0)
    >>> features = sslcore.features.Nystrom(sslcore.kernels.Gaussian(0.5), 50)
    >>> rep = sslcore.dask.pretrain(views, features, n_components=3, reg=1e-3)
    >>> rep.n_active, sslcore.dask.transform(rep, x).shape
    (3, (300, 3))
    """
    cluster, search = Cluster(client, retries), as_search(reg)
    points = None
    if positives is not None:
        if not isinstance(model, Features):
            raise ValueError(
                "positives= with a kernel is for points in memory: on a cluster take features, such as "
                "sslcore.features.Nystrom(kernel, 1024)"
            )
        views, points = pairs_of(views, positives), views[:, None]
    if not isinstance(model, Features):
        if isinstance(model, Precomputed) or backend == "cupy":
            raise ValueError(
                "on a cluster a kernel is multiplied by NumPy's workers, and not given as a matrix: leave backend "
                "alone, or fit on one machine"
            )
        objective = Objective.of(n_components, 1.0 if search else reg, beta, unbiased, center, zero_reg=False)
        views = as_views(views, cluster)
        require_room(cluster, views, model, objective, search)
        return fit_kernel(cluster, _fetched(views, cluster), model, objective, search)
    if isinstance(model, Nystrom) and isinstance(model.landmarks, int):
        chosen = as_views(views if points is None else points, cluster)
        model = model.fit_to(chosen.shape[0] * chosen.shape[1], lambda index: _gathered(chosen, index, cluster))
    found = moments_on(cluster, views, model, backend, positives)
    return found.solve(n_components, reg=reg, beta=beta, unbiased=unbiased, center=center)


def _fetched(views: Any, cluster: Cluster) -> np.ndarray:
    """Fetch all views by their chunks: no worker has more of them than its own."""
    blocks = [on_host(block) for block in cluster.compute(list(views.to_delayed().ravel()))]
    first = 0
    for rows, block in zip(views.chunks[0], blocks, strict=True):
        _work.check_chunk(block, first, (rows, *views.shape[1:]), views.dtype)
        first += rows
    return np.concatenate(blocks)


def _gathered(views: Any, index: np.ndarray, cluster: Cluster) -> Array:
    """Fetch the views of these positions in sample-major order, as points."""
    m = views.shape[1]
    samples, inverse = np.unique(index // m, return_inverse=True)
    (chosen,) = cluster.compute([views[samples]])
    return as_array(chosen[inverse, index % m], "views", ndim=2)


def transform(representation: Representation, x: Any, scale: str = "risk", *, backend: str | None = None) -> Any:
    """Evaluate psi(x) lazily, chunk by chunk: a Dask array, which computes nothing yet.

    Parameters
    ----------
    representation : Representation
    x : dask array (n, d), or views (n, m, d)
    scale, backend
        As for `sslcore.Representation.transform`, which comes here with a Dask array.

    Returns
    -------
    dask array (n, k) or (n, m, k)
        In the chunks of ``x``.

    Raises
    ------
    TypeError, ValueError
        ``x`` is no such array; when it is computed also what is not finite, with its place.

    Examples
    --------
    >>> import dask.array as da, numpy as np, sslcore, sslcore.dask
    >>> x = sslcore.datasets.half_moons(100, seed=0)
    >>> views = sslcore.augmentations.GaussianNoise(0.1).views(x, 2, seed=0)
    >>> rep = sslcore.pretrain(views, sslcore.kernels.Gaussian(0.5), n_components=3, reg=1e-3)
    >>> z = sslcore.dask.transform(rep, da.from_array(x, chunks=(30, 2)))
    >>> z, np.allclose(z.compute(), rep.transform(x))
    (dask.array<values_of, shape=(100, 3), dtype=float64, chunksize=(30, 3), chunktype=numpy.ndarray>, True)
    """
    scale = check_scale(scale)
    if not isinstance(representation, Representation):
        raise TypeError(f"representation must be what pretrain returns, found {type(representation).__name__}")
    x = _checked(x, "x", (2, 3), "(n, d) or (n, m, d)")
    small = replace(representation, training=None, values=None, notes={}, selection=None)
    sent(small)
    x = x.rechunk({x.ndim - 1: -1})
    dtype, k = as_float_dtype(x.dtype, "x"), representation.n_components
    return x.map_blocks(
        _work.values_of,
        delayed(small, pure=False, traverse=False),
        scale,
        backend,
        dtype=dtype,
        chunks=(*x.chunks[:-1], (k,)),
        meta=np.empty((0,) * x.ndim, dtype),
    )


def views(x: Any, augmentation: Augmentation, n_views: int, *, seed: int) -> Any:
    """Make views of samples on a cluster, lazily: the numbers of ``augmentation.views(x, n_views, seed=seed)``.

    Parameters
    ----------
    x : dask array (n, d), or images (n, *image_shape) of a law of images
    augmentation : Augmentation
    n_views : int
        m, views of each sample.
    seed : int
        In [0, 2**64).  A view depends on the seed and the number of its sample alone, whatever the chunks.

    Returns
    -------
    dask array (n, m, d)
        In the chunks of ``x``; it is made when it is needed, each time anew.

    Raises
    ------
    TypeError, ValueError
        As `sslcore.Views`; when it is computed also what is not finite.

    Examples
    --------
    >>> import dask.array as da, numpy as np, sslcore, sslcore.dask
    >>> x, law = sslcore.datasets.half_moons(100, seed=0), sslcore.augmentations.GaussianNoise(0.1)
    >>> views = sslcore.dask.views(da.from_array(x, chunks=(30, 2)), law, 4, seed=7)
    >>> views.shape, bool((views.compute() == law.views(x, 4, seed=7)).all())
    ((100, 4, 2), True)
    """
    x = _checked(x, "x", None, "(n, d), or images")
    x = x.rechunk({axis: -1 for axis in range(1, x.ndim)})
    if isinstance(augmentation, Augmentation):  # fitted, if it takes something from data: to no chunk
        augmentation._check_coordinates(math.prod(x.shape[1:]))
    like = Views(np.zeros((1, *x.shape[1:]), x.dtype), augmentation, n_views, as_seed(seed))
    _, m, d = like.shape
    return x.map_blocks(
        _work.views_of,
        augmentation,
        m,
        like.seed,
        dtype=like.dtype,
        chunks=(x.chunks[0], (m,), (d,)),
        drop_axis=list(range(1, x.ndim)),
        new_axis=[1, 2],
        meta=np.empty((0, 0, 0), like.dtype),
    )


def _checked(x: Any, name: str, ranks: tuple[int, ...] | None, shapes: str) -> Any:
    if not isinstance(x, da.Array):
        raise TypeError(f"{name} must be a Dask array, found {shown(x)} of {type(x).__name__}")
    if x.ndim < 2 or (ranks and x.ndim not in ranks):
        raise ValueError(f"{name} must have the shape {shapes}, found {x.shape}")
    require_known_sizes(x, name)
    if any(size == 0 for size in x.shape[1:]):
        raise ValueError(f"{name} must not be empty, found shape {x.shape}")
    as_float_dtype(x.dtype, name)
    return x
