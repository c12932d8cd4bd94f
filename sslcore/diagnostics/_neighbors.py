"""Numbers that nearest neighbours give: how well clusters are learnt, and in how many dimensions points lie."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from scipy.cluster import vq

from ..arrays import (
    Array,
    ArrayLike,
    as_array,
    as_native,
    as_seed,
    check_integer,
    exponent_of,
    gives_memory_back,
    rescaled,
)
from ..backends import get_backend
from ..fitting.representation import Representation
from ..solvers.nearest import nearest

__all__ = ["clid", "cluster_learnability", "intrinsic_dimension"]

RESTARTS = 5
"""Times k-means begins anew; the clusters of least distortion are taken."""


@gives_memory_back
def cluster_learnability(z: ArrayLike | Representation, n_clusters: int | None = None, *, seed: int = 0) -> float:
    """Return how well a nearest neighbour predicts the clusters that k-means finds: the share of samples it has right.

    (1/n) #{i: label of the nearest other sample of i = label of i}, with the labels of k-means of all samples.  Between
    0 and 1: 1 if clusters stand apart.  It falls where clusters cut through a cloud without gaps, the more so in many
    dimensions.  **Normal** depends on n and on the number of clusters: compare embeddings of the same samples.

    Parameters
    ----------
    z : `sslcore.Representation`, or array (n, k) or (n, m, k)
        Of m views of each sample the first is taken: views of one sample would be each other's neighbours.  Distances
        are Euclidean; for cosines, divide each row by its norm before.
    n_clusters : int, optional
        From 2 to n - 1; by default the root of n, rounded.
    seed : int
        Of the samples that k-means begins with.

    Returns
    -------
    float

    Raises
    ------
    ValueError
        z is not finite, has another shape, or fewer than 3 samples.

    Notes
    -----
    The root of n clusters and one neighbour are what other programs for this measure take, too; most of them divide
    rows by their norms, and split the samples into halves for training and validation.  Here each is left out in turn,
    which needs no draw, and k-means (SciPy's) starts five times.  The time is that of n^2 k products: some 10,000
    samples are enough, and take seconds.

    References
    ----------
    Lu, Liu, Baratin, Laroche, Courville, Sordoni, *Using representation expressiveness and learnability to evaluate
    self-supervised learning methods*, TMLR 2023.

    Examples
    --------
    >>> import numpy as np
    >>> from sslcore.diagnostics import cluster_learnability
    >>> corners = np.repeat([[0.0, 0.0], [9.0, 0.0], [0.0, 9.0]], 5, axis=0)
    >>> cluster_learnability(corners + np.random.default_rng(0).normal(size=(15, 2)), 3)
    1.0
    """
    points = _points(z)
    n_clusters, seed = _numbers(len(points), n_clusters, seed)
    return _learnability(points, nearest(points, points, 2)[1], n_clusters, seed)


@gives_memory_back
def intrinsic_dimension(z: ArrayLike | Representation) -> float:
    """Return the dimension of the set that the samples lie on, by their two nearest neighbours (two-NN).

    With r_1 and r_2 the distances of a sample to its nearest and its second nearest neighbour, r_2 / r_1 has the
    distribution function 1 - t^-d, t >= 1, where the density is constant at that scale; the maximum of the likelihood
    is n / sum_i log(r_2 / r_1).  **Normal** is far below the number k of components, and more is more expressive.

    Parameters
    ----------
    z : `sslcore.Representation`, or array (n, k) or (n, m, k)
        Of m views of each sample the first is taken.  Samples that are equal count once.

    Returns
    -------
    float
        NaN if fewer than three samples differ; inf if all neighbours are at equal distances, as on a lattice.  The
        relative standard error is about 1 / sqrt(n), beside a bias downwards in more than some ten dimensions.

    Raises
    ------
    ValueError
        z is not finite, has another shape, or fewer than 3 samples.

    References
    ----------
    Facco, d'Errico, Rodriguez, Laio, *Estimating the intrinsic dimension of datasets by a minimal neighborhood
    information*, Scientific Reports 2017 (who fit a line to the logarithms of the distribution function instead).

    Examples
    --------
    >>> import numpy as np
    >>> from sslcore.diagnostics import intrinsic_dimension
    >>> angle = np.random.default_rng(0).uniform(0, 2 * np.pi, 1000)
    >>> circle = np.stack([np.cos(angle), np.sin(angle), np.zeros(1000)], axis=1)
    >>> round(intrinsic_dimension(circle), 1)
    1.0
    """
    points = _points(z)
    return _dimension(points, None)


@gives_memory_back
def clid(z: ArrayLike | Representation, n_clusters: int | None = None, *, seed: int = 0) -> float:
    """Return CLID, cluster learnability plus intrinsic dimension: how learnable and how expressive an embedding is.

    `cluster_learnability` + `intrinsic_dimension` / k, between 0 and about 2.  A collapsed embedding loses the second
    part, noise the first.  Compare embeddings of the same samples and of equal k.

    Parameters
    ----------
    z : `sslcore.Representation`, or array (n, k) or (n, m, k)
        Of m views of each sample the first is taken.
    n_clusters, seed
        As `cluster_learnability` has them.

    Returns
    -------
    float
        Not finite where `intrinsic_dimension` is not.

    Raises
    ------
    ValueError
        As `cluster_learnability`.

    Notes
    -----
    The division by k is chosen here, so that one embedding alone has a number whose parts weigh alike.  Where several
    models are compared, both parts may be standardised over them instead: take them from the two functions.

    References
    ----------
    Lu, Liu, Baratin, Laroche, Courville, Sordoni, *Using representation expressiveness and learnability to evaluate
    self-supervised learning methods*, TMLR 2023.

    Examples
    --------
    >>> import numpy as np
    >>> from sslcore.diagnostics import clid
    >>> z = np.random.default_rng(0).uniform(size=(400, 2))
    >>> flat = z * [1.0, 0.0]
    >>> clid(z) > clid(flat)
    True
    """
    points = _points(z)
    n_clusters, seed = _numbers(len(points), n_clusters, seed)
    distances, index = nearest(points, points, 3)
    return _learnability(points, index, n_clusters, seed) + _dimension(points, distances) / int(points.shape[1])


def _points(z: Any) -> Array:
    """Return one point a sample, in a unit about the largest coordinate: distances neither overflow nor vanish."""
    if isinstance(z, Representation):
        z = z.embedding
    z = as_array(as_native(z, "z"), "z", ndim=(2, 3), shape_hint="(n, k) or (n, m, k)")
    if len(z) < 3:
        raise ValueError(f"z must hold at least 3 samples, found shape {z.shape}")
    first = z if z.ndim == 2 else z[:, 0]
    return rescaled(first, -exponent_of(first, "z")).astype(float, copy=False)


def _numbers(n: int, n_clusters: int | None, seed: int) -> tuple[int, int]:
    chosen = max(2, round(math.sqrt(n))) if n_clusters is None else n_clusters
    return (
        check_integer(chosen, "n_clusters", minimum=2, maximum=n - 1),
        as_seed(seed),
    )


def _learnability(points: Array, index: np.ndarray, n_clusters: int, seed: int) -> float:
    """Compare labels of k-means with those of the nearest other sample; ``index`` holds the nearest, with itself."""
    host = get_backend(points).to_host(points)
    centred = host - host.mean(axis=0)
    largest = float(np.abs(centred).max())
    centred /= largest or 1.0  # k-means stops by an absolute change
    book, _ = vq.kmeans(centred, n_clusters, iter=RESTARTS, seed=np.random.default_rng(seed))
    labels = vq.vq(centred, book)[0]
    # the second: the first is the sample itself, or one that is equal to it and so has its label
    return float((labels[index[:, 1]] == labels).mean())


def _dimension(points: Array, distances: np.ndarray | None) -> float:
    """Return the maximum of the likelihood; distances to the three nearest, of which the first is 0, may be known."""
    if distances is None or not distances[:, 1].all():
        backend = get_backend(points)
        points = backend.xp.asarray(np.unique(backend.to_host(points), axis=0))
        if len(points) < 3:
            return math.nan
        distances = nearest(points, points, 3)[0]
    first, second = distances[:, 1], distances[:, 2]
    total = float((np.log(second) - np.log(first)).sum())
    return len(first) / total if total > 0 else math.inf
