"""The kernels that are more than one formula, on every backend: the torus.

Values against the oracle, what theory says of them, and that every entry point takes them: Gram matrices, products,
the rotated basis, exact pretraining, Nystrom features, sums and products, files.
"""

from __future__ import annotations

import math

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import sslcore
from sslcore import features, pretrain
from sslcore.gram import contrast_gram, kernel_product
from sslcore.kernels import Gaussian, Linear, PeriodicGaussian, VonMises

from . import naive
from .comparators import assert_close
from .strategies import arrays, sizes

TORUS = [PeriodicGaussian(s) for s in (0.03, 0.11, 0.1101, 0.17, 0.2299, 0.23, 0.6)] + [
    VonMises(s) for s in (0.05, 0.7, 4.0)
]
ALL = [PeriodicGaussian(0.2), VonMises(0.7)]


def on_torus(n, d, seed=0, dtype=np.float64):
    """Points of which some are a lap or two away, some equal, some 1e-12 .. 0.1 apart, some at 0, 1/2 and 1."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(-2, 3, (n, d))
    third = n // 3
    step = np.geomspace(1e-12, 0.1, third)[:, None] * rng.standard_normal((third, d))
    x[-third:] = x[:third] + step + rng.integers(-1, 2, (third, d))
    for i, place in enumerate((0.0, 0.5, 1.0, -0.5)[: n - third]):
        x[i] = place
    return x.astype(dtype)


def check(backend, k, x, y=None, *, tol=None, scale=None):
    """Values of k(x, y), or of k(x), against the oracle, relative to the largest."""
    dtype = np.asarray(x).dtype
    expected = naive.gram(k, x, y)
    found = backend.asnumpy(k(backend.asarray(x), None if y is None else backend.asarray(y)))
    tol = tol or (1e-13 if dtype == np.float64 else 1e-6)
    assert_close(found, expected.astype(float), dtype=dtype, tol=tol, scale=scale)
    if y is None:
        assert np.array_equal(found, found.T)


# ---------------------------------------------------------------- every entry point


@pytest.mark.parametrize("k", ALL, ids=repr)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_every_entry_point(backend, k, dtype):
    """The rotated basis, products, sums and products of kernels, exact solver and Nystrom: from the oracle's matrix."""
    rng = np.random.default_rng(0)
    views = (rng.uniform(-1, 1, (12, 1, 6)) + 0.05 * rng.standard_normal((12, 3, 6))).astype(dtype)
    x, there = views.reshape(-1, 6), backend.asarray(views)
    matrix = naive.gram(k, x).astype(float)
    top = float(np.abs(matrix).max())
    tol = 1e-13 if dtype == np.float64 else 2e-6

    c = rng.standard_normal((36, 2)).astype(dtype)
    product = kernel_product(k, there[:, 0], there.reshape(-1, 6), backend.asarray(c))
    expected = matrix[::3] @ c
    assert_close(backend.asnumpy(product), expected, dtype=dtype, tol=tol, scale=top * float(np.abs(c).sum()))

    rotation = np.kron(np.eye(12), naive.helmert(3))
    rotated = rotation @ matrix @ rotation.T / 36
    order = [*range(0, 36, 3), *(i for i in range(36) if i % 3)]
    g = contrast_gram(k, there)
    mean, cross, contrast = map(backend.asnumpy, (g.mean, g.cross, g.contrast))
    found = np.block([[mean, cross], [cross.T, contrast]])
    assert_close(found, rotated[np.ix_(order, order)], dtype=dtype, tol=tol, scale=top)

    mixed = Gaussian(1.0) * k + 0.5 * k
    values = (naive.gram(Gaussian(1.0), x).astype(float) + 0.5) * matrix
    assert_close(backend.asnumpy(mixed(there.reshape(-1, 6))), values, dtype=dtype, tol=tol)

    groups, weight = np.repeat(np.arange(12), 3), np.ones(36)
    inverse_gamma, _ = naive.pretrain(matrix, groups, weight, reg=1e-2 * top, beta=1.0, unbiased=True, center=True)
    fitted = pretrain(there, k, 4, reg=1e-2 * top, center=True)
    assert_close(np.asarray(fitted.gamma, float), 1 / inverse_gamma[:4], tol=1e-9 if dtype == np.float64 else 1e-3)
    embedded = backend.asnumpy(fitted.transform(there[:, 0]))
    assert_close(embedded, backend.asnumpy(fitted.embedding)[:, 0], tol=1e-8 if dtype == np.float64 else 1e-3)

    phi = features.Nystrom(k, there.reshape(-1, 6))
    r = backend.asnumpy(phi(there.reshape(-1, 6))).astype(float)
    assert_close(r @ r.T, matrix, tol=1e-9 if dtype == np.float64 else 1e-3)


@pytest.mark.parametrize("k", ALL, ids=repr)
def test_saved_and_loaded(k, tmp_path):
    """Inside of other kernels too; equal kernels have equal hashes."""
    views = np.random.default_rng(0).uniform(0, 1, (9, 2, 4))
    mixed = 2.0 * k + k * Linear()
    fitted = pretrain(views, mixed, 3, reg=1e-2)
    fitted.save(tmp_path / "fitted")
    again = sslcore.load(tmp_path / "fitted")
    assert again.model == mixed
    assert hash(again.model) == hash(mixed)
    assert np.array_equal(again.transform(views[:, 0]), fitted.transform(views[:, 0]))


@pytest.mark.parametrize("k", [*ALL, *TORUS], ids=repr)
def test_positive_semidefinite(k):
    """Nearly singular matrices: points on a segment, nearly equal ones, duplicates."""
    for d in (1, 6):
        x = np.concatenate(
            [on_torus(40, d), np.linspace(0, 1, 40)[:, None] * np.random.default_rng(1).uniform(size=(1, d)) + 0.3]
        )
        x = np.concatenate([x, x[:5]])
        values = np.linalg.eigvalsh(k(x))
        assert values[0] >= -1e-13 * values[-1]


# ---------------------------------------------------------------- torus


@pytest.mark.parametrize("k", TORUS, ids=repr)
def test_torus_kernels(backend, k):
    """Both sides of each regime; few coordinates and many; near zero distance and across the seam."""
    for d in (1, 2, 17, 30):
        for dtype in (np.float64, np.float32):
            x, y = on_torus(24, d, dtype=dtype), on_torus(7, d, 1, dtype)
            relative = 1e-13 if dtype == np.float64 else max(1e-6, 2e-7 * d, 6e-8 / k.scale)
            check(backend, k, x, tol=relative)
            check(backend, k, y, x, tol=relative, scale=float(np.abs(naive.gram(k, y[:1], y[:1])).max()))


@given(x=arrays(st.tuples(sizes(70, blocks=1), st.integers(1, 19))), k=st.sampled_from(TORUS), other=st.booleans())
@settings(max_examples=15)
def test_torus_property(backend, x, k, other):
    tol = 1e-13 if x.dtype == np.float64 else 5e-6
    top = float(naive.gram(k, x[:1], x[:1])[0, 0])
    check(backend, k, x, x[::-2] + x.dtype.type(0.25) if other else None, tol=tol, scale=top)


@pytest.mark.parametrize("k", TORUS, ids=repr)
def test_laps_do_not_matter(backend, k):
    """Adding integers changes no bit where it rounds nothing; numbers too large to have a fraction are all 0."""
    x = np.random.default_rng(0).integers(0, 64, (20, 3)) / 64
    laps = np.random.default_rng(1).integers(-1000, 1000, x.shape)
    found = backend.asnumpy(k(backend.asarray(x + laps)))
    assert np.array_equal(found, backend.asnumpy(k(backend.asarray(x))))
    huge = np.array([[1e300], [0.0], [-7.0], [2.0**60]])
    equal = backend.asnumpy(k(backend.asarray(huge)))
    assert (equal == equal[0, 0]).all()


@pytest.mark.parametrize("k", TORUS, ids=repr)
def test_fourier_coefficients(k):
    """What the docstrings promise: the mean over a grid is the integral to rounding where coefficients decay."""
    grid = np.arange(512)[:, None] / 512
    found = np.fft.fft(k(grid, np.zeros((1, 1)))[:, 0]).real / 512
    w = np.minimum(np.arange(512), 512 - np.arange(512))
    with mpmath.workdps(30):
        s = mpmath.mpf(k.scale)
        if isinstance(k, PeriodicGaussian):
            exact = [mpmath.sqrt(2 * mpmath.pi) * s * mpmath.exp(-2 * (mpmath.pi * s * int(v)) ** 2) for v in w]
        else:
            exact = [mpmath.exp(-1 / s**2) * mpmath.besseli(int(v), 1 / s**2) for v in w]
    assert_close(found, np.array([float(e) for e in exact]), tol=1e-14, scale=float(k(grid[:1])[0, 0]))


def test_the_oracles_of_the_torus_against_mpmath():
    """Jacobi's theta function and the cosine in 30 digits."""
    x, y = on_torus(5, 2), on_torus(5, 2, 1)
    for k in TORUS:
        with mpmath.workdps(30):
            for a, b in zip(x, y, strict=True):
                t = [mpmath.mpf(float(u)) - mpmath.mpf(float(v)) for u, v in zip(a, b, strict=True)]
                s = mpmath.mpf(k.scale)
                if isinstance(k, PeriodicGaussian):
                    q = mpmath.exp(-2 * (mpmath.pi * s) ** 2)
                    factors = [mpmath.sqrt(2 * mpmath.pi) * s * mpmath.jtheta(3, mpmath.pi * v, q) for v in t]
                else:
                    factors = [mpmath.exp((mpmath.cos(2 * mpmath.pi * v) - 1) / s**2) for v in t]
                found = naive.gram(k, a[None], b[None])[0, 0]
                exact = np.longdouble(mpmath.nstr(mpmath.fprod(factors), 25))
                assert abs(found - exact) <= 1e-17 * max(1, exact)


def test_small_scales_are_gaussians():
    """Von Mises with angles of small kernels, wrapped Gaussians whose other terms are nothing."""
    x = 0.01 * np.random.default_rng(0).uniform(-1, 1, (10, 3))
    assert_close(PeriodicGaussian(0.01)(x), Gaussian(0.01)(x), tol=1e-14)
    assert_close(VonMises(0.01)(x / 10), Gaussian(0.01 / (2 * math.pi))(x / 10), tol=1e-4)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: PeriodicGaussian(0), ValueError, "scale must be a finite number >= 1e-12, found 0"),
        (lambda: PeriodicGaussian(math.nan), ValueError, "scale must be a finite number"),
        (lambda: PeriodicGaussian("1"), TypeError, "scale must be a real number, found '1'"),
        (lambda: VonMises(0.0), ValueError, "scale must be a finite number > 0, found 0"),
        (lambda: VonMises(True), TypeError, "scale must be a real number, found True"),
        (lambda: PeriodicGaussian(1e9)(np.zeros((2, 40))), ValueError, "overflow"),
        (lambda: PeriodicGaussian(1.0)([[np.inf]]), ValueError, "x must be finite"),
        (lambda: VonMises(1.0)([[0.0, np.nan]]), ValueError, "x must be finite"),
    ],
)
def test_bad_input(make, error, message):
    with pytest.raises(error, match=message):
        make()
