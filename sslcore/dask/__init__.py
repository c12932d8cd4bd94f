"""Fits on a cluster of Dask: moments, features and embeddings of data that lie on many machines.

Moments are sums over samples, so that each worker sums those that it has, leaf by leaf as `sslcore.stream` does, and
the sums of all are added by the same fixed tree: neither the number of workers nor the chunks nor a worker that dies
changes a bit.  Tasks are pure functions of a partition; Dask runs what is lost again.

``sslcore.pretrain``, ``Representation.transform`` and ``SSLEmbedding`` take Dask's arrays too, and come here.
"""

from __future__ import annotations

try:
    import dask as _dask  # noqa: F401  # is it there?
    import dask.array as _array  # noqa: F401
    import threadpoolctl as _threads  # noqa: F401
except ImportError as error:  # pragma: no cover - depends on the installation
    raise ImportError("clusters need Dask: pip install '.[dask]' in sslcore's folder") from error

from ._fits import pretrain, transform, views
from ._moments import moments

__all__ = ["moments", "pretrain", "transform", "views"]
