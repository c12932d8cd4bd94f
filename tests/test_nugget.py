"""The nugget: K + s I on distinct points, the same noise at equal ones, nothing at new ones; on every backend."""

import dataclasses
import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import sslcore
from sslcore import population, pretrain
from sslcore.augmentations import BitFlip, GaussianNoise, Shift
from sslcore.cli.spec import parse_kernel
from sslcore.features import Nystrom
from sslcore.kernels import (
    ArcCosine,
    Exponential,
    Gaussian,
    Nugget,
    PeriodicGaussian,
    Polynomial,
    _nugget,
    _rows,
)
from sslcore.population import sphere
from sslcore.selection import AutoReg

from . import naive
from .comparators import assert_close

AUTHORS = Polynomial(1, 1.0) * ArcCosine(1) + Nugget(1e-4)
"""(1 + u) kappa1(u) on unit vectors, plus 1e-4 I."""


def points(n, d=3, seed=0):
    return np.random.default_rng(seed).standard_normal((n, d))


def on_sphere(n, d=8, seed=0):
    x = points(n, d, seed)
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def rolled(x):
    """The views of the authors' script: the point, and its shifts by 1 and -1."""
    return np.stack([x, np.roll(x, 1, axis=1), np.roll(x, -1, axis=1)], axis=1)


@given(
    n=st.integers(1, 12),
    n_y=st.integers(1, 12),
    d=st.integers(1, 5),
    dtype=st.sampled_from([np.float64, np.float32]),
    seed=st.integers(0, 5),
)
def test_equal_points_and_only_these(n, n_y, d, dtype, seed):
    """Few values for each coordinate, zeros of both signs and tiny differences among them."""
    rng = np.random.default_rng(seed)
    few = np.array([0.0, -0.0, 1.0, np.nextafter(dtype(1), dtype(2)), -1.0, np.finfo(dtype).tiny], dtype)
    x, y = few[rng.integers(0, 6, (n, d))], few[rng.integers(0, 6, (n_y, d))]
    kernel = Nugget(0.7)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_rows, "block_rows", lambda columns, itemsize: 3)
        found = kernel(x, y)
        square = kernel(x)
        product = sslcore.gram.kernel_product(kernel, x, y, np.ones(n_y, dtype))
    expected = naive.gram(kernel, x, y).astype(dtype)
    assert found.dtype == dtype
    assert np.array_equal(found, expected)
    assert np.array_equal(square, naive.gram(kernel, x).astype(dtype))
    assert np.linalg.eigvalsh(square.astype(float))[0] >= -1e-6
    np.testing.assert_allclose(product, expected.sum(axis=1), rtol=1e-5)


def test_blocks_of_a_symmetric_matrix():
    """Of more than 256 points the rows are filled from the diagonal on."""
    x = np.round(points(600, 1), 1)
    assert np.array_equal(Nugget(2.0)(x), 2.0 * (x == x.T))


def test_on_the_backends(backend):
    x = np.round(points(40, 2), 0)  # some are equal
    there, other = backend.asarray(x), backend.asarray(x[5:20].copy())
    assert np.array_equal(backend.asnumpy(Nugget(0.3)(there, other)), naive.gram(Nugget(0.3), x, x[5:20]).astype(float))
    views = rolled(on_sphere(20))
    flat = views.reshape(60, 8)
    plain = naive.gram(AUTHORS.first, flat).astype(float)
    blocks = sslcore.gram.contrast_gram(AUTHORS, backend.asarray(views))
    given = sslcore.gram.contrast_gram(lambda a, b: AUTHORS.first(a, b) + 1e-4 * (a[:, None] == b).all(axis=2), views)
    for name in ("mean", "cross", "contrast"):
        assert_close(backend.asnumpy(getattr(blocks, name)), getattr(given, name), tol=1e-14, scale=1.0)
    rep = pretrain(backend.asarray(views), AUTHORS, 3, reg=1e-4)
    mu = np.linalg.eigvalsh(naive_operator(plain + 1e-4 * np.eye(60), 20, 3, reg=1e-4))[::-1][:3]
    assert_close(rep.eigenvalues, mu, tol=1e-10)
    new = on_sphere(15, seed=1)
    smooth = AUTHORS.first(new, flat) @ backend.asnumpy(rep.coefficients)
    assert_close(backend.asnumpy(rep.transform(backend.asarray(new), scale="unit")), smooth, tol=1e-9, scale=1.0)


def naive_operator(matrix, n, m, reg):
    """T - reg Khat^-1, T the mean over the other views of a sample, and Khat = matrix / N; dense."""
    t = np.kron(np.eye(n), (np.ones((m, m)) - np.eye(m)) / (m - 1))
    return t - reg * np.linalg.inv(matrix / (n * m))


def test_at_training_views_the_noise_is_part_of_the_function():
    """K alpha = sqrt(N) v with K + s I, which the certificate has checked; a hair away it is gone."""
    views = rolled(on_sphere(30))
    rep = pretrain(views, AUTHORS, 4, reg=1e-4)
    values = rep.transform(views, scale="unit").reshape(90, 4)
    assert_close(values.T @ values / 90, np.eye(4), tol=1e-9)
    flat = views.reshape(90, 8)
    assert_close(values - AUTHORS.first(flat, flat) @ rep.coefficients, 1e-4 * rep.coefficients, tol=1e-7)
    near = np.nextafter(flat, 2.0)
    assert_close(rep.transform(near, scale="unit"), values - 1e-4 * rep.coefficients, tol=1e-7, scale=1.0)


def test_views_that_coincide_share_their_noise():
    """All views the same point: k = 1{x = y} has no contrasts, and every function is invariant."""
    views = np.repeat(points(6)[:, None], 3, axis=1)
    rep = pretrain(views, Nugget(1.0), 2, reg=1e-2)
    # Khat has the eigenvalue m / N = 1 / n on each of the n samples
    assert_close(rep.gamma, np.full(2, 6e-2), tol=1e-12)
    assert_close(rep.invariance, np.zeros(2), tol=1e-12, scale=1.0)


@pytest.mark.filterwarnings("ignore::sslcore.SelectionWarning")
def test_weights_folds_features_and_paths():
    x = points(24)
    views = GaussianNoise(0.1).views(x, 2, seed=0)
    kernel, weight = Exponential(1.0) + Nugget(0.05), np.random.default_rng(0).uniform(0.5, 2.0, 24)
    flat = views.reshape(48, 3)
    share = np.repeat(weight / weight.sum() / 2, 2)
    groups = np.repeat(np.arange(24), 2)
    rep = pretrain(views, kernel, 3, reg=1e-2, sample_weight=weight)
    g = naive.conditioned_kernel(
        naive.gram(kernel, flat).astype(float), groups, share, reg=1e-2, beta=1.0, unbiased=True, center=False
    )
    assert_close(rep.gamma, 1.0 / np.linalg.eigvalsh(np.asarray(g, float))[::-1][:3], tol=1e-9)
    found, given = (
        pretrain(views, model, 3, reg=AutoReg((1e-4, 1e-3, 1e-2, 1e-1, 1.0), n_folds=3)).selection
        for model in (kernel, lambda a, b: kernel.first(a, b) + 0.05 * (a[:, None] == b).all(axis=2))
    )
    assert_close(found.risks, given.risks, tol=1e-9)
    path = sslcore.pretrain_path(views, kernel, 3, regs=[1e-3, 1e-2])
    assert_close(path.at(1).gamma, pretrain(views, kernel, 3, reg=1e-2).gamma, tol=1e-9)
    exact, features = pretrain(views, kernel, 3, reg=1e-2), pretrain(views, Nystrom(kernel, flat), 3, reg=1e-2)
    assert_close(features.gamma, exact.gamma, tol=1e-8)


@pytest.mark.parametrize("n", [300, 600])
def test_plan(n):
    """What a fit takes at most, as `tracemalloc` counts it."""
    views, kernel = GaussianNoise(0.1).views(points(n, 9), 2, seed=0), Exponential(1.0) + Nugget(0.05)
    pretrain(views[:50], kernel, 3, reg=1e-2)
    tracemalloc.start()
    try:
        pretrain(views, kernel, 3, reg=1e-2)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    planned = sslcore.plan(n, 2, 9, kernel, 3).bytes
    assert peak <= planned <= 1.3 * peak + (1 << 20)


def test_in_files_and_words(tmp_path):
    views = GaussianNoise(0.1).views(points(9), 2, seed=0)
    kernel = Exponential(1.0) + Nugget(1e-3)
    rep = pretrain(views, kernel, 2, reg=1e-2)
    rep.save(tmp_path / "a.sslcore")
    loaded = sslcore.load(tmp_path / "a.sslcore")
    assert loaded.model == kernel
    assert np.array_equal(loaded(views), rep(views))
    assert parse_kernel("exponential:1 + nugget:1e-3") == kernel


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: Nugget(0.0), ValueError, "variance must be a finite number > 0"),
        (lambda: Nugget(-1.0), ValueError, "variance must be a finite number > 0"),
        (lambda: Nugget("1"), TypeError, "variance"),
        (lambda: Nugget(1.0)(np.array([[np.nan]])), ValueError, "x must be finite"),
    ],
)
def test_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_fingerprints_that_collide_are_found_out(monkeypatch):
    """With fingerprints of one bit another salt is tried until points that differ do so; x is compared itself."""
    fingerprints, salts = _nugget._fingerprints, []

    def poor(x, salt):
        salts.append(salt)
        return fingerprints(x, salt) & np.uint64(3)

    monkeypatch.setattr(_nugget, "_fingerprints", poor)
    y, x = np.array([[1.0], [2.0], [3.0], [2.0], [4.0]]), np.arange(40.0)[:, None]
    assert np.array_equal(Nugget(1.0)(x, y), (x == y.T).astype(float))
    assert len(salts) > 2  # one for the rows of x


# ---------------------------------------------------------------- the authors' kernel, and populations


def test_the_authors_kernel():
    """(1 + u) (sqrt(1 - u^2) + u (pi - acos u)) / pi + 1e-4 on the diagonal, by its formula."""
    x = on_sphere(50)
    u = np.clip(x @ x.T, -1.0, 1.0)
    np.fill_diagonal(u, 1.0)
    formula = (1 + u) * (np.sqrt(1 - u**2) + u * (math.pi - np.arccos(u))) / math.pi
    assert_close(AUTHORS(x), formula + 1e-4 * np.eye(50), tol=1e-14, scale=1.0)


def test_operators_of_populations():
    cube = population.Hypercube(5)
    gram = naive.gram(Nugget(0.3), naive.cube_points(5)).astype(float) / 32
    assert_close(cube.kernel_eigenvalues(Nugget(0.3)), np.linalg.eigvalsh(gram)[:6], tol=1e-15)
    assert_close(
        cube.kernel_eigenvalues(Gaussian(2.0) + Nugget(0.3)),
        cube.kernel_eigenvalues(Gaussian(2.0)) + 0.3 / 32,
        tol=1e-14,
    )
    assert Nugget(0.3).profile(1.0, width=5) == 0.3
    assert Nugget(0.3).profile(np.array([-1.0, 0.6, 1.0]), width=5).tolist() == [0.0, 0.0, 0.3]
    for domain, law, kernel, k in (
        (population.Sphere(8), Shift([1 / 3, 1 / 3, *[0.0] * 5, 1 / 3]), AUTHORS.first, 2),
        (population.Torus(2), GaussianNoise(0.1), PeriodicGaussian(0.2), 5),
        (population.Gaussian(1, 1.0), GaussianNoise(0.5), Gaussian(1.0), 2),
    ):
        one = domain.spectrum(law, kernel, reg=1e-3, n_components=k)
        two = domain.spectrum(law, kernel + 0.5 * Nugget(0.1), reg=1e-3, n_components=k)
        assert np.array_equal(one.eigenvalues, two.eigenvalues)
    assert sphere._trace(0.5 * Gaussian(1.0) + Nugget(0.3), 3) == 0.5  # the sum of the eigenvalues ends there
    for domain in (population.Torus(2), population.Gaussian(1, 1.0)):
        with pytest.raises(TypeError, match=r"the operator of Nugget\(variance=1.0\) is zero on"):
            domain.spectrum(GaussianNoise(0.1), Nugget(1.0), reg=1e-3, n_components=2)


def test_moments_of_a_fit_on_the_sphere():
    """In L2 of the population a fitted function is its smooth part."""
    x, law = on_sphere(40, 3), Shift([0.5, 0.5, 0.0])
    views = law.views(x, 2, seed=0)
    rep = pretrain(views, Gaussian(1.0) + Nugget(0.1), 2, reg=1e-2)
    plain = pretrain(views, Gaussian(1.0), 2, reg=1e-2)
    found = population.Sphere(3).moments(rep, law)
    expected = population.Sphere(3).moments(
        dataclasses.replace(plain, coefficients=rep.coefficients, gamma=rep.gamma), law
    )
    for one, two in zip(found, expected, strict=True):
        assert_close(one, two, tol=1e-10)


def test_bit_flips_of_the_cube_make_equal_points():
    """Of 4 coordinates there are 16 points: most views have a double, and the population's eigenvalues are reached."""
    cube, law, kernel = population.Hypercube(4), BitFlip(0.2), Gaussian(2.0) + Nugget(0.5)
    views = law.views(sslcore.datasets.hypercube(3000, 4, 0), 2, seed=0)
    rep = pretrain(views, kernel, 5, reg=1e-2)
    assert np.abs(rep.eigenvalues - cube.spectrum(law, kernel, reg=1e-2, n_components=5).eigenvalues).max() < 0.06
