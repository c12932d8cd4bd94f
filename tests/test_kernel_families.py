"""The kernels that are more than one formula, on every backend: the torus, wide networks, convolutions.

Values against the oracle, what theory says of them, and that every entry point takes them: Gram matrices, products,
the rotated basis, exact pretraining, Nystrom features, sums and products, files.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import sslcore
from sslcore import features, pretrain, tunables
from sslcore.backends.pairing import recompute_below
from sslcore.gram import kernel_product
from sslcore.kernels import (
    NNGP,
    NTK,
    ArcCosine,
    Convolutional,
    Exponential,
    Gaussian,
    L1Exponential,
    Linear,
    Matern,
    PeriodicGaussian,
    Polynomial,
    Precomputed,
    VonMises,
    _rows,
)
from sslcore.population import Hypercube, Torus
from sslcore.solvers.rotated_gram import contrast_gram

from . import naive
from .comparators import assert_close
from .examples import value_scale
from .strategies import arrays, sizes

TORUS = [PeriodicGaussian(s) for s in (0.03, 0.11, 0.1101, 0.17, 0.2299, 0.23, 0.6)] + [
    VonMises(s) for s in (0.05, 0.7, 4.0)
]
NETWORKS = [
    *map(ArcCosine, range(3)),
    NNGP(1),
    NNGP(4, weight_variance=1.5, bias_variance=0.3),
    NTK(1),
    NTK(3, fan_in=1.0),
    NTK(3, bias_variance=0.1),
    NTK(12, weight_variance=1.9, bias_variance=0.01),
]
CONVOLUTIONS = [
    Convolutional(NNGP(2), 3),
    Convolutional(NTK(1, bias_variance=0.1), 2, pooling="global"),
    Convolutional(ArcCosine(0), 4, pooling=[0.5, 1.0, -0.25]),
    Convolutional(Gaussian(1.0) + 0.5 * Linear(), 3, pooling=(1.0, 1.0)),
]
ALL = [PeriodicGaussian(0.2), VonMises(0.7), *NETWORKS[:3], NNGP(2), NTK(3, 1.8, 0.1), *CONVOLUTIONS]


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


@pytest.mark.parametrize("k", [*TORUS, *NETWORKS, *CONVOLUTIONS], ids=repr)
def test_positive_semidefinite(k):
    """Nearly singular matrices: points on a segment, nearly equal ones, duplicates, opposites, the origin."""
    for d in (4, 6) if isinstance(k, Convolutional) else (1, 6):
        segment = np.linspace(0, 1, 40)[:, None] * np.random.default_rng(1).uniform(size=(1, d)) + 0.3
        x = np.concatenate([on_torus(40, d), segment])
        x = np.concatenate([x, x[:5], -x[5:10], 3 * x[10:15]])
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


@pytest.mark.parametrize("k", [PeriodicGaussian(0.2), VonMises(0.7), 2.0 * VonMises(0.7) * PeriodicGaussian(0.3)])
def test_the_population_theory_of_the_torus_knows_them(k):
    """Its eigenvalues are the Fourier coefficients of the values on a grid."""
    grid = np.arange(64)[:, None] / 64
    coefficients = np.fft.fft(k(grid, np.zeros((1, 1)))[:, 0]).real[:5] / 64
    assert_close(np.ravel(Torus(1).kernel_eigenvalues(k, [[w] for w in range(5)])), coefficients, tol=1e-14, scale=2.0)


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


# ---------------------------------------------------------------- wide networks


def hard_pairs(d, dtype):
    """Points; neighbours of theirs, of their opposites and multiples, at angles of 0 and 1e-14 .. 1; the origin."""
    rng = np.random.default_rng(d)
    x = rng.standard_normal((30, d))
    factor = np.resize([1.0, -1.0, 3.3, -0.2], 15)[:, None]
    x[15:] = factor * (x[:15] + np.geomspace(1e-14, 1.0, 15)[:, None] * rng.standard_normal((15, d)))
    x[[15, 16, 17, 18]] = factor[:4] * x[:4]
    x[4] = 0
    return x.astype(dtype)


@pytest.mark.parametrize("k", NETWORKS, ids=repr)
def test_networks(backend, k):
    """To rounding also where the inner product knows the angle to its square root only."""
    for d in (1, 2, 16, 50):
        for dtype in (np.float64, np.float32):
            x = hard_pairs(d, dtype)
            tol = 2e-14 if dtype == np.float64 else 1e-6
            check(backend, k, x, tol=tol)
            check(backend, k, x[:7], x, tol=tol, scale=value_scale(k, x, x))


@given(x=arrays(st.tuples(sizes(70, blocks=1), st.integers(1, 19))), k=st.sampled_from(NETWORKS), other=st.booleans())
@settings(max_examples=15)
def test_networks_property(backend, x, k, other):
    y = x[::-2] + x.dtype.type(0.25) if other else None
    check(
        backend, k, x, y, tol=1e-13 if x.dtype == np.float64 else 2e-6, scale=value_scale(k, x, x if y is None else y)
    )


@pytest.mark.parametrize("columns", [511, 512, 513, 1025])
def test_tiles_of_networks(columns):
    x, y = hard_pairs(5, np.float64), np.random.default_rng(0).standard_normal((columns, 5))
    y[[0, 510, -1]] = x[:3]
    for k in NETWORKS:
        found, chosen = k(x, y), [0, 1, 510, columns - 2, columns - 1]
        assert_close(found[:, chosen], naive.gram(k, x, y[chosen]).astype(float), tol=2e-14)
        assert np.isfinite(found).all()
        assert_close(k(y, x), found.T, tol=2e-14)


def test_angles_between_thresholds(backend):
    """Angles on both sides of that below which differences are taken, for the kernel that sees them best."""
    near = recompute_below(1.0, 40, np.dtype(float))
    angle = math.acos(1 - near) * np.linspace(0.7, 1.4, 101)
    rng = np.random.default_rng(0)
    base, side = np.linalg.qr(rng.standard_normal((40, 2)))[0].T
    for sign in (1.0, -1.0):
        y = sign * (np.cos(angle)[:, None] * base + np.sin(angle)[:, None] * side)
        for k in (ArcCosine(0), NTK(2), NTK(30)):
            check(backend, k, base[None], y, tol=3e-14, scale=float(naive.gram(k, base[None])[0, 0]))


@pytest.mark.parametrize("order", [0, 1, 2])
def test_arc_cosines_are_expectations(order):
    """2 E[(<w, x>)_+^n (<w, y>)_+^n], by quadrature over the direction of w in the plane; E |w|^2n = 2^n n!."""
    nodes, weights = np.polynomial.legendre.leggauss(40)
    for theta in (0.0, 0.3, 1.5, 2.5, math.pi):
        low, high = theta - math.pi / 2, math.pi / 2  # where both are positive
        phi = (low + high) / 2 + (high - low) / 2 * nodes
        mean = np.sum(weights * (np.cos(phi) * np.cos(phi - theta)) ** order) * (high - low) / 2 / (2 * math.pi)
        expected = 2 * mean * 2**order * math.factorial(order) * (3.0 * 0.7) ** order
        found = ArcCosine(order)([[3.0, 0.0]], [[0.7 * math.cos(theta), 0.7 * math.sin(theta)]])
        assert_close(found, np.array([[expected]]), tol=1e-13, scale=3.0**order)


def test_networks_against_wide_finite_ones():
    """Two hidden layers of rectifiers with biases: covariance of the next layer given one, and of the gradients.

    Means over 8 x 2000 neurons, hence normal about the limit with a relative error of 2 to 3 over the root of that.
    """
    width, d, weights, biases, repeats = 2000, 6, 1.7, 0.2, 8
    rng = np.random.default_rng(0)
    x = rng.standard_normal((5, d))
    found = np.zeros((3, 5, 5))
    for _ in range(repeats):
        inputs, variance, active = x, weights / (2 * d), []
        covariances = [biases + variance * inputs @ inputs.T]
        matrices = [math.sqrt(variance) * rng.standard_normal((d, width))]
        matrices += [math.sqrt(weights / width) * rng.standard_normal((width, columns)) for columns in (width, 1)]
        for matrix in matrices[:2]:
            z = inputs @ matrix + math.sqrt(biases) * rng.standard_normal(width)
            active.append(z > 0)
            inputs, variance = np.maximum(z, 0), weights / width
            covariances.append(biases + variance * inputs @ inputs.T)
        # the gradient by a layer's weights and biases is its inputs times what follows, the variances inside
        following, tangent = np.ones((5, 1)), covariances[2].copy()
        for matrix, mask, covariance in zip(matrices[:0:-1], active[::-1], covariances[1::-1], strict=True):
            following = following @ matrix.T * mask
            tangent += following @ following.T * covariance
        found += np.array([covariances[1], covariances[2], tangent]) / repeats
    for values, k in zip(
        found, (NNGP(1, weights, biases), NNGP(2, weights, biases), NTK(2, weights, biases)), strict=True
    ):
        assert_close(values, k(x), tol=0.06)


@pytest.mark.parametrize("k", NETWORKS, ids=repr)
@pytest.mark.parametrize("size", [1e150, 1e-150, 5e-310])
def test_networks_at_any_scale(backend, k, size):
    """Without biases k(c x, c y) = c^degree k(x, y); with biases they are nothing, or everything."""
    x = hard_pairs(3, np.float64)
    degree = {"step": 0, "quadratic": 4}.get(k.recursion, 2)
    if degree == 4 and size > 1:
        with pytest.raises(ValueError, match="overflow"):
            k(backend.asarray(x * size))
        return
    found = backend.asnumpy(k(backend.asarray(x * size)))
    assert np.isfinite(found).all()
    if size < 1e-300:  # coordinates themselves are rounded, to some 1e-14
        if degree == 0:
            assert_close(found[:12, :12], k(x)[:12, :12], tol=1e-12)
        else:
            assert_close(found, np.broadcast_to(k(np.zeros((1, 3))), found.shape), tol=1e-14, scale=1.0)
    elif k.bias == 0:
        assert_close(found / size**degree if degree < 4 else found, k(x) if degree < 4 else 0 * found, tol=1e-13)
    else:
        limit = (
            replace(k, bias_variance=0.0)(x) * size**2
            if size > 1
            else np.broadcast_to(k(np.zeros((1, 3))), found.shape)
        )
        assert_close(found, limit, tol=1e-13)


def test_networks_know_each_other():
    x = hard_pairs(4, np.float64)
    assert_close(NNGP(1)(x), ArcCosine(1)(x) / 4, tol=1e-15)
    assert_close(NNGP(1, fan_in=1.0)(x), ArcCosine(1)(x), tol=1e-15)
    assert_close(NTK(1)(x), NNGP(1)(x) + Linear()(x) / 4 * ArcCosine(0)(x), tol=1e-14)
    unit = x[:4] / np.linalg.norm(x[:4], axis=1)[:, None]
    for depth in (1, 2, 7):
        assert_close(np.diag(NTK(depth, fan_in=1.0)(unit)), np.full(4, depth + 1.0), tol=1e-14)
        twice = NNGP(depth + 1, fan_in=1.0)(unit)
        assert_close(twice, ArcCosine(1).profile(NNGP(depth, fan_in=1.0)(unit), width=1), tol=1e-7)
    half = ArcCosine(0)(np.zeros((2, 3)), x[:2, :3])
    assert_close(half, np.full((2, 2), 0.5), tol=4e-16)  # the step is 1/2 at 0


# ---------------------------------------------------------------- convolutions


@pytest.mark.parametrize("k", CONVOLUTIONS, ids=repr)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_convolutions(backend, k, dtype):
    """Patches as wide as the points, filters as long; views that share most patches; strided points."""
    tol = 1e-13 if dtype == np.float64 else 2e-6
    for d in (4, 7):
        x = np.random.default_rng(0).standard_normal((12, d)).astype(dtype)
        x[4:8] = x[:4]
        x[4:8, 2] *= -1
        check(backend, k, x, tol=tol)
        check(backend, k, x[::3, ::-1], x, tol=tol, scale=value_scale(k, x, x))


@pytest.mark.parametrize("tile", [(1, 1), (3, 5)])
def test_tiles_of_convolutions(backend, tile, monkeypatch):
    monkeypatch.setattr(tunables, "CONVOLUTION_TILE_PAIRS", tile)
    monkeypatch.setattr(_rows, "block_rows", lambda columns, itemsize: 4)
    x, y = np.random.default_rng(0).standard_normal((2, 13, 5))
    k = CONVOLUTIONS[2]
    expected = naive.gram(k, x, y).astype(float)
    assert_close(backend.asnumpy(k(backend.asarray(x), backend.asarray(y))), expected, tol=1e-13)
    check(backend, k, x)
    c = np.random.default_rng(1).standard_normal((13, 2))
    found = kernel_product(k, backend.asarray(x), backend.asarray(y), backend.asarray(c))
    assert_close(backend.asnumpy(found), expected @ c, tol=1e-13, scale=float(np.abs(c).sum()))


@pytest.mark.parametrize("q", [1, 3, 7])
def test_convolutions_on_the_hypercube(q):
    """Eigenfunctions and eigenvalues of THEORY 5.1: parities without pooling, orbits' Fourier functions with.

    (1/d) nu_h N_q(S) on chi_S, N_q(S) the number of windows of q coordinates around S; times |fhat(j / r)|^2 for the
    j-th Fourier function of an orbit of r translates.
    """
    d = 7  # a prime: orbits have d translates, but for the empty and the full set
    x = np.array(list(itertools.product([1.0, -1.0], repeat=d)))
    base = NNGP(2, bias_variance=0.1)
    patches = np.array(list(itertools.product([1.0, -1.0], repeat=q)))
    f = np.array([0.5, 1.0, -0.25])
    matrices = {p: Convolutional(base, q, pooling=p)(x) / 2**d for p in (None, "global", tuple(f))}
    for s in [(0,), (2, 4), (0, 1, 2), (1, 2, 5), (3, 6), tuple(range(d))]:
        nu = (
            float(base(np.ones((1, q)), patches)[0] @ np.prod(patches[:, : len(s)], axis=1)) / 2**q
            if len(s) <= q
            else 0
        )
        windows = sum(set(s) <= {(i + t) % d for t in range(q)} for i in range(d))
        translates = [np.prod(x[:, [(i + a) % d for i in s]], axis=1) for a in range(d)]
        value = nu * windows / d if len(s) < d else nu * (q == d)
        assert_close(matrices[None] @ translates[0], value * translates[0], tol=1e-14, scale=1.0)
        if len(s) == d:
            continue
        for j in range(d):
            phase = np.exp(2j * np.pi * j * np.arange(d) / d)
            wave = (phase @ np.array(translates)).real
            for pooling, weights in (("global", np.full(d, 1 / d)), (tuple(f), f)):
                transform = abs(np.sum(weights * phase[: len(weights)])) ** 2
                assert_close(matrices[pooling] @ wave, transform * value * wave, tol=1e-13, scale=1.0)


@pytest.mark.parametrize(
    "k", [Convolutional(NNGP(2), 3), Convolutional(NTK(1, 1.5, 0.2), 2), NTK(3, 1.5, 0.2), NNGP(4)]
)
def test_the_population_theory_of_the_cube_knows_them(k):
    """Its closed forms are the mean of k(x, y) chi_S(x) chi_S(y) over all pairs of corners."""
    x = np.array(list(itertools.product([1.0, -1.0], repeat=6)))
    sets = [(), (0,), (1, 2), (0, 5), (0, 3), (1, 2, 3), (0, 2, 4), tuple(range(6))]
    parities = np.array([np.prod(x[:, list(s)], axis=1) for s in sets])
    mean = np.einsum("sa,ab,sb->s", parities, k(x), parities) / 4**6
    assert_close(Hypercube(6).kernel_eigenvalues(k, sets), mean, tol=1e-13, scale=1.0)


def test_convolutions_know_each_other():
    """A patch of all coordinates is the base, averaged over shifts of both; global pooling does not see shifts."""
    x = np.random.default_rng(0).standard_normal((9, 6))
    assert_close(Convolutional(NTK(2), 6)(x), NTK(2)(x), tol=1e-14)
    assert_close(Convolutional(Linear(), 2)(x), 2 * Linear()(x) / 6, tol=1e-14)
    assert Convolutional(Linear(), 2, pooling=np.array([1.0])) == Convolutional(Linear(), 2, pooling=[1])
    assert_close(Convolutional(NNGP(2), 3, pooling=[1.0])(x), Convolutional(NNGP(2), 3)(x), tol=1e-15)
    k = Convolutional(NNGP(2), 3, pooling="global")
    assert_close(k(np.roll(x, 2, axis=1), np.roll(x, -1, axis=1)), k(x), tol=1e-14)
    assert_close(Convolutional(NNGP(2), 3, pooling=[1 / 6] * 6)(x), k(x), tol=1e-14)
    inner = Convolutional(Gaussian(1.0), 2)  # kernels of patches may be convolutional themselves
    check_pair = Convolutional(inner, 4)
    assert_close(check_pair(x), naive.gram(check_pair, x).astype(float), tol=1e-13)
    assert not Convolutional(lambda a, b: a @ b.T, 2).trusted
    assert_close(Convolutional(lambda a, b: a @ b.T, 2)(x), Linear()(x) / 3, tol=1e-14)


# ---------------------------------------------------------------- profiles


PROFILES = [Gaussian(1.7), Exponential(2.0), Matern(2.5, 1.5), Polynomial(3, 0.5), Linear(), *NETWORKS]


@pytest.mark.parametrize("k", [*PROFILES, 2.0 * Gaussian(1.0) + Linear() * ArcCosine(1)], ids=repr)
@pytest.mark.parametrize("squared_norm", [None, 1.0])
def test_profiles(k, squared_norm):
    """The values on the hypercube, and on a sphere; numbers and arrays, NumPy and mpmath, to the ends."""
    d = 12
    x = np.array([[1.0] * d] + [[-1.0] * j + [1.0] * (d - j) for j in range(d + 1)])
    u = 1 - 2 * np.arange(d + 1) / d
    points_at = x if squared_norm is None else x / math.sqrt(d)
    found = k.profile(u, width=d, squared_norm=squared_norm)
    exact = naive.gram(k, points_at[:1], points_at[1:])[0]
    top = float(np.abs(exact).max())
    assert_close(found, exact.astype(float), tol=2e-14, scale=top)
    assert float(k.profile(0.25, width=d, squared_norm=squared_norm)) == pytest.approx(
        float(k.profile(np.array([0.25]), width=d, squared_norm=squared_norm)[0]), rel=1e-14
    )
    with mpmath.workdps(40):
        for j in (0, 1, d // 2, d):
            value = k.profile(1 - mpmath.mpf(2 * j) / d, width=d, squared_norm=squared_norm)
            assert isinstance(value, mpmath.mpf)
            assert abs(float(value) - float(exact[j])) <= 2e-14 * top


def test_profiles_in_many_digits():
    """With digits enough, acos of the definition and the recursion without cancellation agree to nearly all."""
    for k in (ArcCosine(0), NNGP(3, 1.5, 0.25), NTK(3, 1.5, 0.25)):
        for u in ("0.9999999999999999999", "0.3", "-1", "-0.99999999999999999"):
            with mpmath.workdps(120):
                u120, n = mpmath.mpf(u), mpmath.mpf(9)
                wanted, _ = naive.network(k, n, n * u120, n, 9, mpmath, mpmath.mpf, mpmath.acos, +mpmath.pi)
            with mpmath.workdps(60):
                assert abs(k.profile(mpmath.mpf(u120), width=9) - wanted) < mpmath.mpf(10) ** -48


@pytest.mark.parametrize(
    "k", [L1Exponential(1.0), VonMises(1.0), PeriodicGaussian(0.1), Gaussian(1.0) + VonMises(2.0), CONVOLUTIONS[0]]
)
def test_kernels_without_a_profile(k):
    with pytest.raises(TypeError, match="is not a function of the inner product of points of one length"):
        k.profile(0.5, width=3)


# ---------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: PeriodicGaussian(0), ValueError, "scale must be a finite number >= 1e-12, found 0"),
        (lambda: PeriodicGaussian(math.nan), ValueError, "scale must be a finite number"),
        (lambda: PeriodicGaussian("1"), TypeError, "scale must be a real number, found '1'"),
        (lambda: VonMises(0.0), ValueError, "scale must be a finite number > 0, found 0"),
        (lambda: VonMises(True), TypeError, "scale must be a real number, found True"),
        (lambda: ArcCosine(3), ValueError, "order must be at least 0 and at most 2, found 3"),
        (lambda: ArcCosine(1.0), TypeError, "order must be an integer, found 1.0"),
        (lambda: NNGP(0), ValueError, "depth must be at least 1 and at most 1000, found 0"),
        (lambda: NTK(2.5), TypeError, "depth must be an integer, found 2.5"),
        (lambda: NTK(2, 0.0), ValueError, "weight_variance must be a finite number > 0, found 0"),
        (lambda: NNGP(2, bias_variance=-1), ValueError, "bias_variance must be a finite number >= 0, found -1"),
        (lambda: NNGP(2, fan_in=0), ValueError, "fan_in must be a finite number > 0, found 0"),
        (lambda: NNGP(2, fan_in="d"), TypeError, "fan_in must be a real number, found 'd'"),
        (lambda: NTK(2)([[1e200, 0.0]]), ValueError, r"the values of NTK\(.*overflow"),
        (lambda: ArcCosine(1)([[1e308, 1e308]]), ValueError, "overflow"),
        (lambda: ArcCosine(0)([[np.inf]]), ValueError, "x must be finite"),
        (lambda: Convolutional(3, 2), TypeError, "a kernel of sslcore.kernels or a callable was expected, found int"),
        (lambda: Convolutional(Precomputed(), 2), TypeError, "cannot be a part of another kernel"),
        (lambda: Convolutional(NNGP(1), 0), ValueError, "patch must be at least 1, found 0"),
        (lambda: Convolutional(NNGP(1), 2, "mean"), ValueError, "pooling must be None, 'global' or the values of a"),
        (lambda: Convolutional(NNGP(1), 2, []), ValueError, "pooling must be None, 'global' or the values of a"),
        (lambda: Convolutional(NNGP(1), 2, np.ones((2, 2))), ValueError, "pooling must be None, 'global'"),
        (lambda: Convolutional(NNGP(1), 2, 0.5), ValueError, "pooling must be None, 'global'"),
        (
            lambda: Convolutional(NNGP(1), 2, [1.0, np.nan]),
            ValueError,
            "a value of the pooling filter must be",
        ),
        (lambda: Convolutional(NNGP(1), 2, [0.0, 0.0]), ValueError, "the pooling filter must not be 0 everywhere"),
        (
            lambda: Convolutional(NNGP(1), 4)(np.ones((2, 3))),
            ValueError,
            "3 coordinates have no patches of 4",
        ),
        (lambda: Convolutional(NNGP(1), 1, [1.0] * 4)(np.ones((2, 3))), ValueError, r"filter \(length 4\)"),
        (lambda: Convolutional(Linear(), 2)(np.full((1, 2), 1e160)), ValueError, "overflow"),
        (lambda: PeriodicGaussian(1e9)(np.zeros((2, 40))), ValueError, "overflow"),
        (lambda: PeriodicGaussian(1.0)([[np.inf]]), ValueError, "x must be finite"),
        (lambda: VonMises(1.0)([[0.0, np.nan]]), ValueError, "x must be finite"),
    ],
)
def test_bad_input(make, error, message):
    with pytest.raises(error, match=message):
        make()
