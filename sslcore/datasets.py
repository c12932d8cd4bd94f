"""Data whose law is known, and a small set of real images.

Every function is deterministic in ``seed``, and draws with `numpy.random.default_rng`.
"""

from __future__ import annotations

import numpy as np

from .arrays import Array, ArrayLike, as_array, as_seed, check_integer, check_scalar

__all__ = ["digits", "gaussian", "half_moons", "half_moons_probabilities", "hypercube", "sphere", "torus"]


def half_moons(n: int, seed: int, noise: float = 0.1) -> Array:
    """Draw points of two interleaved half circles in the plane: the controlled study of the paper.

    ``x = (cos theta, sin theta) + 1{cos theta > 0} e_2 + noise z``, theta uniform on [0, 2 pi), z ~ N(0, I).

    Parameters
    ----------
    n : int
        Number of points, >= 1.
    seed : int
        Seed, in [0, 2**64).
    noise : float, default 0.1
        Standard deviation along each coordinate, >= 0.

    Returns
    -------
    array of shape (n, 2)
        float64.

    Raises
    ------
    ValueError, TypeError
        If a parameter is out of its range, or not a number.

    References
    ----------
    Cabannes, Kiani, Balestriero, LeCun, Bietti, *The SSL Interplay*, ICML 2023, arXiv:2302.02774.

    Examples
    --------
    >>> import sslcore
    >>> x = sslcore.datasets.half_moons(1000, seed=0)
    >>> x.shape, bool(abs(x[:, 1].mean() - 0.5) < 0.05)
    ((1000, 2), True)
    """
    n = check_integer(n, "n", minimum=1)
    noise = check_scalar(noise, "noise", minimum=0.0)
    rng = np.random.default_rng(as_seed(seed))
    theta = rng.uniform(0.0, 2.0 * np.pi, n)
    x = np.stack([np.cos(theta), np.sin(theta)], axis=1)
    x[:, 1] += x[:, 0] > 0
    return x + noise * rng.standard_normal((n, 2))


def half_moons_probabilities(x: ArrayLike) -> Array:
    """Return the probabilities of the four classes of the half-moons, at any points of the plane.

    ``p_i(x)`` is proportional to ``exp(-8 min_a |x - c_ia|^2)``: class i = 0..3 has the ten anchors
    ``c_ia = (cos t, sin t)`` at the angles t = i pi/2 + a pi/18, a = 0..9, moved by e_2 for the classes 0 and 3.

    Parameters
    ----------
    x : array of shape (n, 2)

    Returns
    -------
    array of shape (n, 4)
        Rows sum to 1; in the dtype of ``x`` (integers: float64).

    Raises
    ------
    ValueError, TypeError
        If ``x`` is not a finite real array of that shape.

    References
    ----------
    Cabannes, Kiani, Balestriero, LeCun, Bietti, *The SSL Interplay*, ICML 2023, arXiv:2302.02774.

    Examples
    --------
    >>> import sslcore
    >>> sslcore.datasets.half_moons_probabilities([[1.0, 1.0], [-1.0, 0.0]]).round(2)
    array([[0.5, 0. , 0. , 0.5],
           [0. , 0.5, 0.5, 0. ]])
    """
    x = as_array(x, "x", ndim=2, shape_hint="(n, 2)")
    if x.shape[1] != 2:
        raise ValueError(f"x must be points of the plane (n, 2), found shape {x.shape}")
    angles = np.linspace(0.0, np.pi / 2, 10) + np.arange(4)[:, None] * np.pi / 2
    anchors = np.stack([np.cos(angles), np.sin(angles)], axis=-1)
    anchors[[0, 3], :, 1] += 1.0
    # |x|^2 is common to all classes, so (|x|^2 - |x - c|^2) / 64 = <x, c> / 32 - |c|^2 / 64 will do: it is exact far
    # from the moons too, and cannot overflow.
    scores = (x.astype(np.float64) / 32) @ anchors.reshape(40, 2).T - (anchors**2).sum(axis=-1).ravel() / 64
    scores = scores.reshape(len(x), 4, 10).max(axis=2)
    with np.errstate(over="ignore"):  # to -inf: a probability of 0
        weights = np.exp(8 * 64 * (scores - scores.max(axis=1, keepdims=True)))
    out: Array = (weights / weights.sum(axis=1, keepdims=True)).astype(x.dtype, copy=False)
    return out


def hypercube(n: int, d: int, seed: int) -> Array:
    """Draw points uniform on {-1, 1}^d, where T and dot-product kernels are diagonal in the parities.

    Parameters
    ----------
    n : int
        Number of points, >= 1.
    d : int
        Number of coordinates, >= 1.
    seed : int
        Seed, in [0, 2**64).

    Returns
    -------
    array of shape (n, d)
        float64, entries -1.0 and 1.0.

    Raises
    ------
    ValueError, TypeError
        If a parameter is out of its range, or not an integer.

    References
    ----------
    Cabannes, Kiani, Balestriero, LeCun, Bietti, *The SSL Interplay*, ICML 2023, arXiv:2302.02774.

    Examples
    --------
    >>> import numpy as np
    >>> import sslcore
    >>> x = sslcore.datasets.hypercube(1000, 8, seed=0)
    >>> x.shape, np.unique(x)
    ((1000, 8), array([-1.,  1.]))
    """
    n = check_integer(n, "n", minimum=1)
    d = check_integer(d, "d", minimum=1)
    return 2.0 * np.random.default_rng(as_seed(seed)).integers(2, size=(n, d)) - 1.0


def sphere(n: int, d: int, seed: int) -> Array:
    """Draw points uniform on the unit sphere S^(d-1) of R^d: normal vectors over their norms.

    Parameters
    ----------
    n : int
        Number of points, >= 1.
    d : int
        Number of coordinates, >= 2.
    seed : int
        Seed, in [0, 2**64).

    Returns
    -------
    array of shape (n, d)
        float64, rows of norm 1.

    Raises
    ------
    ValueError, TypeError
        If a parameter is out of its range, or not an integer.

    References
    ----------
    Cabannes, Kiani, Balestriero, LeCun, Bietti, *The SSL Interplay*, ICML 2023, arXiv:2302.02774.

    Examples
    --------
    >>> import numpy as np
    >>> import sslcore
    >>> x = sslcore.datasets.sphere(1000, 8, seed=0)
    >>> x.shape, bool(np.allclose((x**2).sum(axis=1), 1.0))
    ((1000, 8), True)
    """
    n = check_integer(n, "n", minimum=1)
    d = check_integer(d, "d", minimum=2)
    x = np.random.default_rng(as_seed(seed)).standard_normal((n, d))
    out: Array = x / np.linalg.norm(x, axis=1, keepdims=True)
    return out


def torus(n: int, d: int, seed: int) -> Array:
    """Draw points uniform on the torus, the cube [0, 1)^d whose opposite sides are one; its basis is Fourier's.

    Parameters
    ----------
    n : int
        Number of points, >= 1.
    d : int
        Number of coordinates, >= 1.
    seed : int
        Seed, in [0, 2**64).

    Returns
    -------
    array of shape (n, d)
        float64, entries in [0, 1).

    Raises
    ------
    ValueError, TypeError
        If a parameter is out of its range, or not an integer.

    References
    ----------
    Cabannes, Kiani, Balestriero, LeCun, Bietti, *The SSL Interplay*, ICML 2023, arXiv:2302.02774.

    Examples
    --------
    >>> import sslcore
    >>> x = sslcore.datasets.torus(1000, 2, seed=0)
    >>> x.shape, bool(x.min() >= 0), bool(x.max() < 1)
    ((1000, 2), True, True)
    """
    n = check_integer(n, "n", minimum=1)
    d = check_integer(d, "d", minimum=1)
    return np.random.default_rng(as_seed(seed)).random((n, d))


def gaussian(n: int, d: int, seed: int, scale: float = 1.0) -> Array:
    """Draw points x ~ N(0, scale^2 I): under additive noise T has Hermite functions, and a kernel has others.

    Parameters
    ----------
    n : int
        Number of points, >= 1.
    d : int
        Number of coordinates, >= 1.
    seed : int
        Seed, in [0, 2**64).
    scale : float, default 1.0
        Standard deviation along each coordinate, > 0.

    Returns
    -------
    array of shape (n, d)
        float64.

    Raises
    ------
    ValueError, TypeError
        If a parameter is out of its range, or not a number.

    References
    ----------
    Cabannes, Kiani, Balestriero, LeCun, Bietti, *The SSL Interplay*, ICML 2023, arXiv:2302.02774.

    Examples
    --------
    >>> import sslcore
    >>> x = sslcore.datasets.gaussian(1000, 3, seed=0, scale=2.0)
    >>> x.shape, bool(abs(x.std() - 2) < 0.1)
    ((1000, 3), True)
    """
    n = check_integer(n, "n", minimum=1)
    d = check_integer(d, "d", minimum=1)
    scale = check_scalar(scale, "scale", minimum=0.0, strict=True)
    return scale * np.random.default_rng(as_seed(seed)).standard_normal((n, d))


def digits() -> tuple[Array, Array]:
    """Load 1,797 real handwritten digits of 8 x 8 pixels, as they come with scikit-learn.

    Returns
    -------
    images : array of shape (1797, 64)
        float64, grey values from 0 (paper) to 1 (ink), rows of pixels one after the other.
    labels : array of shape (1797,)
        int64, 0 to 9.

    Raises
    ------
    ImportError
        Without scikit-learn.

    References
    ----------
    Alpaydin and Kaynak, *Optical recognition of handwritten digits*, UCI Machine Learning Repository, 1998
    (`sklearn.datasets.load_digits`: its test part, by 13 writers).

    Examples
    --------
    >>> import sslcore
    >>> images, labels = sslcore.datasets.digits()
    >>> images.shape, labels[:4]
    ((1797, 64), array([0, 1, 2, 3]))
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise ImportError("the digits come with scikit-learn: pip install '.[sklearn]' in sslcore's folder") from error
    images, labels = load_digits(return_X_y=True)
    return images / 16.0, labels.astype(np.int64)
