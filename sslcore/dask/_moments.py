"""`sslcore.dask.moments`: sums over views that lie on a cluster."""

from __future__ import annotations

import os
from typing import Any

import dask.array as da
import numpy as np
from dask.delayed import Delayed, delayed

from .. import tunables
from ..arrays import as_float_dtype, gives_memory_back, shown
from ..backends import get_backend
from ..features import Features
from ..fitting.collections import require_known_sizes
from ..fitting.moments import Moments
from ..fitting.plan import features_plan
from ..fitting.sizes import Sizes
from ..io.records import versions
from ..positives import TimeLag
from ..stream._lagged import as_time_lag, longest_lag, of_pairs, runs_of
from ..stream._leaves import leaf_samples
from . import _work
from ._cluster import Cluster, sent
from ._graph import Chunks, Data, Files, totals
from ._work import Job

__all__ = ["as_views", "moments", "moments_on", "pairs_of"]


@gives_memory_back
def moments(
    views: Any,
    features: Features,
    *,
    client: Any = None,
    retries: int = 2,
    positives: TimeLag | None = None,
    backend: str | None = None,
) -> Moments:
    """Sum the moments of features over views that lie on a cluster; only sums of r x r entries travel.

    Parameters
    ----------
    views : dask array, list of delayed arrays, or names of files
        Views (n, m, d), in one of these forms.

        * A Dask array of known chunks.  A leaf of the sums is a run of 16,384 views; chunks of whole leaves are summed
          where they are, others are cut anew first, which moves rows between workers.
        * A list of ``dask.delayed`` arrays (n_i, m, d).  Their shapes are asked for first, so that each is made twice;
          ``dask.array.from_delayed`` and ``concatenate`` spare that where shapes are known.
        * Names of ``.npy`` or Parquet files, or patterns, as for `sslcore.stream.moments`, which workers find under the
          same names as the client.  Each task reads its rows, a leaf at a time.
    features : Features
        With nothing left to choose from data, as for `sslcore.Moments`.
    client : distributed.Client, optional
        By default the default client; without any, the scheduler that Dask is configured with (threads).
    retries : int
        How often a task that fails is tried again.  What is lost with a worker is computed again in any case.
    positives : TimeLag, optional
        The samples are the pairs (x_t, x_{t+lag}) of a Dask array of points (n, d) in the order of time, as for
        `sslcore.stream.moments`: of one trajectory, or of those that ``boundaries`` of the law say.
    backend : {"numba", "cupy"}, optional
        Where workers multiply; by default where their chunks are, so that arrays of CuPy, as of ``dask-cuda``, stay on
        their GPUs.

    Returns
    -------
    Moments
        Of the same bits as ``sslcore.stream.moments(..., deterministic=True)`` with one thread of BLAS, on processors
        of one kind: for any number of workers, any chunks, and after the death of any worker.  With
        ``solve(k, reg="auto")``.

    Raises
    ------
    ValueError
        Views that are not as described, with file or sample and row; workers with other versions.
    TypeError
        Features that cannot be sent to workers.
    MemoryBudgetError
        A task would not fit the memory of a worker, as many as it has threads; nothing was submitted.
    ConnectionError, RuntimeError
        The cluster was lost; a task was given up, because each worker that had it died.

    Notes
    -----
    A task takes its chunk (of files, one leaf), one leaf of features, and the sums of its leaves that wait for those of
    other tasks.  The bits are promised for workers whose BLAS has one thread, as those that Dask's nannies begin
    (``LocalCluster`` and ``dask worker`` set OPENBLAS_NUM_THREADS); others are asked to limit it while a task runs.

    Examples
    --------
    >>> import dask.array as da, numpy as np, sslcore, sslcore.dask
    >>> rng = np.random.default_rng(0)
    >>> views = rng.normal(size=(500, 1, 4)) * [3, 2, 1, 1] + rng.normal(size=(500, 2, 4))
    >>> found = sslcore.dask.moments(da.from_array(views, chunks=(100, 2, 4)), sslcore.features.Identity())
    >>> found.n, found.solve(2, reg=1e-3).n_active
    (500, 2)
    """
    if positives is not None:
        views = pairs_of(views, positives)
    return moments_on(Cluster(client, retries), views, features, backend, positives)


def moments_on(
    cluster: Cluster, views: Any, features: Features, backend: str | None, positives: TimeLag | None = None
) -> Moments:
    """Do as `moments` says; with a law, of the views that `pairs_of` has made."""
    if not isinstance(features, Features):
        raise TypeError(f"features of sslcore.features were expected, found {features!r:.80}")
    if backend is not None:
        get_backend(backend=backend)
    n_bytes = sent(features)
    data: Data
    if _are_files(views):
        data = Files(views, cluster.n_threads(), features, ordered=cluster.client is not None)
    else:
        views = as_views(views, cluster)
        data = Chunks(_of_whole_leaves(views, leaf_samples(views.shape[1])))
    _, m, d = data.shape
    r, leaf, dtype = features.n_features(d), leaf_samples(m), as_float_dtype(data.dtype, "views")
    job = Job(
        features,
        leaf,
        tunables.STREAM_NODE_PARTS,
        backend,
        versions(),
        positives is None or positives.lag <= longest_lag(),
    )
    sums, most = totals(job, data)
    plan = features_plan(Sizes(leaf, leaf * m, d, 1, dtype.itemsize), r, features)
    cluster.require(
        plan.bytes + data.task_bytes(leaf) + (most + tunables.DASK_SPARE_PARTS) * 16 * r * r,
        n_bytes,
        f"{data.unit} of views, features of one leaf, {most} sums of {r} x {r}",
        f"take {data.remedy}, workers with fewer threads, or with more memory",
        len(data.runs()),
    )
    try:
        computed = cluster.compute(sums)
    finally:
        job.kept.close()  # what tasks in this process have left
    training, *held = (part.copied() for part in computed)  # what came over a wire is for reading only
    for part in (training, *held):
        part.require_finite()
    if positives is not None:
        training, *held = (of_pairs(part) for part in (training, *held))
    epsilon = float(np.finfo(dtype).eps)
    return Moments.of_sums(features, d, training, tuple(held), epsilon=epsilon, backend=None, from_host=False)


def _are_files(views: Any) -> bool:
    one = isinstance(views, str | os.PathLike)
    several = isinstance(views, list | tuple) and len(views) > 0
    return one or (several and all(isinstance(view, str | os.PathLike) for view in views))


def as_views(views: Any, cluster: Cluster) -> Any:
    """Return a Dask array (n, m, d) of known chunks, each with all views and coordinates of its samples."""
    if isinstance(views, list | tuple) and views and all(isinstance(view, Delayed) for view in views):
        views = _joined(list(views), cluster)
    if _are_files(views):
        raise TypeError(
            "names of files are for features that have nothing left to choose from data, found them with a kernel or "
            "with landmarks to be chosen; give features.fit(some_views), or a Dask array"
        )
    if not isinstance(views, da.Array):
        raise TypeError(
            f"views must be a Dask array (n, m, d), a list of delayed arrays, or names of files, found {shown(views)} "
            f"of {type(views).__name__}; for arrays in memory, dask.array.from_array(views)"
        )
    if views.ndim != 3:
        raise ValueError(f"views must have 3 dimensions (n, m, d), found shape {views.shape}")
    require_known_sizes(views, "views")
    if 0 in views.shape:
        raise ValueError(f"views must not be empty, found shape {views.shape}")
    as_float_dtype(views.dtype, "views")
    return views.rechunk({1: -1, 2: -1})


def pairs_of(points: Any, positives: Any) -> Any:
    """Return the pairs of a Dask array of points (n, d) as views (n, 2, d)."""
    law = as_time_lag(positives)
    if _are_files(points):
        raise TypeError(
            "files of trajectories are summed by sslcore.stream.moments(names, features, positives=...); for a cluster "
            "hand over a Dask array of their points"
        )
    if not isinstance(points, da.Array) or points.ndim != 2:
        raise TypeError(
            f"with positives, a Dask array of points (n, d) in the order of time was expected, found {shown(points)} "
            f"of {type(points).__name__}"
        )
    require_known_sizes(points, "points")
    lag = law.lag
    pairs = [da.stack([points[a:b], points[a + lag : b + lag]], axis=1) for a, b in runs_of(law, len(points))]
    return da.concatenate(pairs)


def _joined(blocks: list[Delayed], cluster: Cluster) -> Any:
    """Ask delayed blocks for their shapes, and join them."""
    shape_of = delayed(_work.shape_of, pure=False)
    shapes = cluster.compute([shape_of(block) for block in blocks])
    first = shapes[0]
    for number, (shape, dtype) in enumerate(shapes):
        if len(shape) != 3:
            raise ValueError(f"delayed blocks must be views (n, m, d), block {number} has shape {shape}")
        if (shape[1:], dtype) != (first[0][1:], first[1]):
            raise ValueError(
                f"block {number} has views of shape {shape[1:]} and dtype {dtype}, block 0 of {first[0][1:]} and "
                f"{first[1]}: all blocks must be alike"
            )
    arrays = [
        da.from_delayed(block, shape, np.dtype(dtype))
        for block, (shape, dtype) in zip(blocks, shapes, strict=True)
        if shape[0]
    ]
    if not arrays:
        raise ValueError("the blocks are empty: none has a sample")
    return da.concatenate(arrays)


def _of_whole_leaves(views: Any, leaf: int) -> Any:
    """Cut anew what is not cut at the ends of leaves, into chunks of about the same size."""
    rows = views.chunks[0]
    if all(size % leaf == 0 for size in rows[:-1]):
        return views
    return views.rechunk({0: max(1, round(max(rows) / leaf)) * leaf})
