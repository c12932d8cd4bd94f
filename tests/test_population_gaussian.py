"""Gaussian space, where T and the kernel do not commute, against dense discretisations and the table of values."""

import itertools
import json
import math
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.special import roots_hermitenorm

import sslcore
from sslcore import kernels
from sslcore.augmentations import BitFlip, Compose, GaussianNoise
from sslcore.population import CutBlockWarning, Gaussian, OrnsteinUhlenbeck, mehler, risk_of_moments

ORACLES = json.loads((Path(__file__).parent / "oracles.json").read_text())["EF"]
DIGITS = 6e-13
NOISE, KERNEL = GaussianNoise(0.5), kernels.Gaussian(1.0)


def quiet_spectrum(space, *args, **numbers):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CutBlockWarning)
        return space.spectrum(*args, **numbers)


@pytest.mark.parametrize("reg", [0.0, 1e-4, 1e-3, 1e-2])
def test_spectra_of_the_table(reg):
    found = Gaussian(1, 1.0).spectrum(NOISE, KERNEL, reg=reg, n_components=6)
    want = ORACLES[f"gauss1d_s1_e0.5_ell1_lam{reg:g}"]
    np.testing.assert_allclose(found.eigenvalues, want, rtol=0, atol=2 * DIGITS)
    assert Gaussian(1, 1.0).views(NOISE)[1] == pytest.approx(ORACLES["gauss1d_rho"], abs=1e-15)


def test_eigenvalues_of_t_in_the_table():
    found = Gaussian(1, 1.0).augmentation_eigenvalues(NOISE, 5)
    np.testing.assert_allclose(found, ORACLES["gauss1d_T"], rtol=1e-14)
    assert Gaussian(5, 1.0).multiplicities(6) == ORACLES["gauss_mult_d5"]


def normal_rule(count, sigma=1.0):
    nodes, weights = roots_hermitenorm(count)
    return sigma * nodes, weights / weights.sum()


def dense(t, K, reg, beta):
    """gamma from the conditioned form of the theory's section 2: K conditioned on its contrasts, T diagonal."""
    Q = np.diag(np.sqrt(1 - t))
    inner = Q @ K @ Q + reg / beta * np.eye(len(t))
    G = (K - K @ Q @ np.linalg.solve(inner, Q @ K)) / reg
    return 1 / np.sort(np.linalg.eigvalsh((G + G.T) / 2))[::-1]


def kernel_of_hermite_functions(ratio, count):
    """Integrate the Gaussian kernel of scale 1/ratio against the first Hermite functions, under N(0, 1)."""
    x, w = normal_rule(2 * count + 40)
    H = mehler.hermite(x, count) * w
    return H @ np.exp(-((x[:, None] - x) ** 2) * ratio**2 / 2) @ H.T


@settings(max_examples=6, deadline=None)
@example(scale=1.0, noise=2.0, width=0.875, reg=1e-4, beta=0.5)  # 60 functions are good to 5.6e-7
@example(scale=0.5, noise=2.0, width=0.8, reg=1e-4, beta=0.5)  # and 60 of 160 nodes to 1.4e-5
@given(
    scale=st.floats(0.5, 3),
    noise=st.floats(0.1, 2),
    width=st.floats(0.8, 4),
    reg=st.sampled_from([1e-4, 1e-2, 0.3]),
    beta=st.sampled_from([0.5, 1.0, 2.0]),
)
def test_the_line_against_a_dense_discretisation(scale, noise, width, reg, beta):
    width *= scale
    space = Gaussian(1, scale)
    sigma, rho = space.views(GaussianNoise(noise))
    gamma, before = np.zeros(3), np.ones(3)
    for count in (30, 60, 120, 240):  # until more functions and nodes change nothing
        if np.allclose(gamma, before, rtol=1e-9, atol=0):
            break
        before = gamma
        gamma = dense(rho ** np.arange(float(count)), kernel_of_hermite_functions(sigma / width, count), reg, beta)[:3]
    np.testing.assert_allclose(gamma, before, rtol=1e-7)
    found = space.spectrum(GaussianNoise(noise), kernels.Gaussian(width), reg=reg, beta=beta, n_components=3)
    np.testing.assert_allclose(1 - found.eigenvalues, gamma, rtol=1e-7, atol=1e-10)


def fixed_size(scale, sigma, rho, d, angular, reg, beta, size=mehler.LARGEST):
    """Three gamma of one angular degree from this many radial functions, without a rule when to stop."""
    factor = mehler.kernel_factor(scale, sigma, d, angular, size)
    contrast = np.sqrt(beta * -np.expm1((angular + 2 * np.arange(size)) * math.log(rho)))[:, None] * factor
    # R^T R = C^T C + reg I by QR: a Cholesky factor of the sum would round by eps / reg
    R = np.linalg.qr(np.vstack([contrast, math.sqrt(reg) * np.eye(size)]), mode="r")
    return np.linalg.svd(np.linalg.solve(R.T, factor.T), compute_uv=False)[:3] ** -2.0


@pytest.mark.parametrize(
    ("ratio", "rho", "d", "angular", "beta", "reg"),
    [
        (4.44, 0.585, 1, 0, 1.0, 1e-12),  # a doubling changes gamma by less than rounding might, and not by rounding
        (3.95, 0.492, 1, 1, 0.5, 1e-10),
        (4.40, 0.926, 1, 0, 0.5, 1e-8),
        (2.0, 0.3, 5, 0, 2.0, 1e-11),
    ],
)
def test_functions_are_added_until_nothing_but_rounding_changes(ratio, rho, d, angular, beta, reg):
    found = mehler.sector(mehler.Pair(1.0, ratio, rho, d, reg, beta), angular, 3)
    np.testing.assert_allclose(found.gamma, fixed_size(1.0, ratio, rho, d, angular, reg, beta), rtol=3e-11, atol=1e-15)


def test_the_plane_against_a_tensor_basis():
    beta = 0.7
    space, reg = Gaussian(2, 1.0), 1e-2
    sigma, rho = space.views(NOISE)
    K = kernel_of_hermite_functions(sigma, 20)
    degree = np.add.outer(np.arange(20), np.arange(20)).ravel()
    gamma = dense(rho**degree, np.kron(K, K), reg, beta)
    found = quiet_spectrum(space, NOISE, KERNEL, reg=reg, beta=beta, n_components=9)
    np.testing.assert_allclose(1 - found.eigenvalues, gamma[:9], rtol=1e-5)
    assert found.multiplicities[:3] == (1, 2, 2)  # harmonics of degree 0, 1, 2


def test_any_dimension_by_angular_degrees():
    space = Gaussian(50, 0.3)
    found = space.spectrum(GaussianNoise(0.2), kernels.Gaussian(2.0), reg=1e-4, n_components=1 + 50)
    assert found.block_ends == (1, 51)
    assert set(found.labels[1:]) == {(1, 0)}
    assert np.isfinite(found.eigenvalues).all()
    # t and kappa of the components are those of the functions themselves
    mu = found.augmentation - 1e-4 / found.kernel
    np.testing.assert_allclose(found.eigenvalues, mu, atol=1e-14)


def test_the_kernel_in_the_hermite_basis():
    for m in (0.3, 1.25, 3.0):
        K = kernel_of_hermite_functions(math.sqrt(m), 60)[:12, :12]
        for j in (0, 1):
            factor = mehler.kernel_factor(1.0, math.sqrt(m), 1, j, 6)
            np.testing.assert_allclose(factor @ factor.T, K[j::2, j::2], atol=1e-14)


@pytest.mark.parametrize(("d", "j"), [(1, 0), (1, 1), (2, 0), (5, 2), (30, 3)])
def test_the_factor_has_the_kernels_eigenvalues(d, j):
    factor = mehler.kernel_factor(1.0, 0.9, d, j, 150)
    found = np.linalg.svd(factor, compute_uv=False) ** 2
    want = mehler.gaussian_kernel_eigenvalues(1.0, 0.9, d, j + 8)[j::2]
    np.testing.assert_allclose(found[:5], want, rtol=1e-9)
    # which fill the trace: E k(xi, xi) = 1
    all_degrees = mehler.gaussian_kernel_eigenvalues(1.0, 0.9, d, 400)
    total = sum(math.comb(n + d - 1, d - 1) * value for n, value in enumerate(all_degrees))
    assert total == pytest.approx(1.0, abs=1e-10)


def test_the_discretisation_converges_geometrically():
    rho, reg, sigma = 0.8, 1e-4, math.sqrt(1.25)
    exact = mehler.sector(mehler.Pair(1.0, sigma, rho, 1, reg, 1.0), 0, 1)
    assert exact.change < 1e-12
    errors = []
    for size in (3, 6, 9, 12):
        factor = mehler.kernel_factor(1.0, sigma, 1, 0, size)
        inner = factor.T @ ((1 - rho ** (2.0 * np.arange(size)))[:, None] * factor) + reg * np.eye(size)
        values = np.linalg.eigvals(np.linalg.solve(inner, factor.T @ factor)).real.max()
        errors.append(abs(1 / values / exact.gamma[0] - 1))
    assert all(b < 0.25 * a for a, b in itertools.pairwise(errors)), errors
    assert errors[-1] < 1e-4


def test_eigenfunctions_are_orthonormal_and_solve_the_problem():
    space, reg, beta = Gaussian(1, 1.0), 1e-3, 0.9
    found = space.spectrum(NOISE, KERNEL, reg=reg, beta=beta, n_components=4)
    sigma, rho = space.views(NOISE)
    f = space.eigenfunctions(NOISE, KERNEL, reg=reg, beta=beta, n_components=4)
    x, w = normal_rule(120, sigma)
    F = f(x[:, None])
    np.testing.assert_allclose(F.T @ (w[:, None] * F), np.eye(4), atol=1e-10)
    # gamma K f = beta K (I - T) f + reg f, with T f by Mehler's transition
    z, v = normal_rule(60)
    moved = rho * x[:, None] + sigma * math.sqrt(1 - rho**2) * z
    T = (f(moved.reshape(-1, 1)).reshape(len(x), len(z), 4) * v[:, None]).sum(axis=1)
    K = np.exp(-((x[:, None] - x) ** 2) / 2) * w
    residual = K @ ((1 - found.eigenvalues) * F - beta * (F - T)) - reg * F
    assert np.abs(w @ residual**2).max() < 1e-16
    t = (w[:, None] * F * T).sum(axis=0)
    np.testing.assert_allclose(t, found.augmentation, atol=1e-9)


def test_ornstein_uhlenbeck_keeps_the_law():
    space = Gaussian(3, 2.0)
    sigma, rho = space.views(OrnsteinUhlenbeck(0.4))
    assert (sigma, rho) == (pytest.approx(2.0, rel=1e-15), pytest.approx(math.exp(-0.8), rel=1e-14))
    noisy = space.views(Compose(GaussianNoise(0.3), GaussianNoise(0.4)))
    assert noisy == pytest.approx(space.views(GaussianNoise(0.5)), rel=1e-14)


def test_views_have_this_correlation():
    space, law = Gaussian(2, 1.5), GaussianNoise(0.8)
    x = 1.5 * np.random.default_rng(0).standard_normal((50_000, 2))
    views = law.views(x, 2, seed=0)
    sigma, rho = space.views(law)
    assert views.std() == pytest.approx(sigma, rel=0.01)
    assert (views[:, 0] * views[:, 1]).mean() / sigma**2 == pytest.approx(rho, abs=0.01)


def test_multiples_of_the_kernel_scale_the_penalty():
    space = Gaussian(2, 1.0)
    one = quiet_spectrum(space, NOISE, KERNEL, reg=1e-3, n_components=5)
    two = quiet_spectrum(space, NOISE, 4.0 * KERNEL, reg=4e-3, n_components=5)
    np.testing.assert_allclose(one.eigenvalues, two.eigenvalues, rtol=1e-13)
    np.testing.assert_allclose(4 * one.kernel, two.kernel, rtol=1e-12)


@pytest.mark.parametrize("center", [False, True])
@pytest.mark.parametrize(
    ("d", "kernel"), [(1, KERNEL), (2, 0.5 * KERNEL + kernels.Gaussian(2.0)), (2, kernels.Gaussian(2.0) * KERNEL)]
)
def test_the_risk_of_a_fit_is_that_of_a_product_rule(d, kernel, center):
    space = Gaussian(d, 1.0)
    x = np.random.default_rng(0).standard_normal((40, d))
    rep = sslcore.pretrain(NOISE.views(x, 2, seed=0), kernel, 3, reg=1e-2, center=center)
    sigma, rho = space.views(NOISE)
    size = 80 if d == 1 else 40
    x, w = normal_rule(size, sigma)
    nodes = np.stack(np.meshgrid(*[x] * d, indexing="ij"), axis=-1).reshape(-1, d)
    weights = np.prod(np.meshgrid(*[w] * d, indexing="ij"), axis=0).ravel()
    psi = rep(nodes)
    second = psi.T @ (weights[:, None] * psi)
    H = mehler.hermite(x / sigma, size // 2) * w  # projections on Hermite functions
    if d == 1:
        coefficients = H @ psi
        degree = np.arange(size // 2)
    else:
        coefficients = np.einsum("pa,qb,abk->pqk", H, H, psi.reshape(size, size, 3)).reshape(-1, 3)
        degree = np.add.outer(np.arange(size // 2), np.arange(size // 2)).ravel()
    smooth = (coefficients.T * rho**degree) @ coefficients
    found = space.moments(rep, NOISE)
    np.testing.assert_allclose(found[0], second, atol=2e-6)
    np.testing.assert_allclose(found[1], smooth, atol=2e-6)
    assert abs(space.risk(rep, NOISE, 0.7) - risk_of_moments(second, smooth, 0.7)) < 1e-5
    assert space.excess_risk(rep, NOISE) > 0


def test_without_a_penalty_blocks_are_degrees():
    found = Gaussian(3, 1.0).spectrum(NOISE, KERNEL, reg=0.0, n_components=10)
    assert found.block_ends == (1, 4, 10)
    np.testing.assert_allclose(found.eigenvalues, np.repeat([1, 0.8, 0.64], [1, 3, 6]), rtol=1e-14)


def test_bad_input(monkeypatch):
    space = Gaussian(1, 1.0)
    for d, scale in ((0, 1.0), (1.5, 1.0), (1, 0.0), (1, -1.0), (1, "1")):
        with pytest.raises((ValueError, TypeError), match=r"d must be|scale must be"):
            Gaussian(d, scale)
    with pytest.raises(TypeError, match="closed forms"):
        space.views(BitFlip(0.1))
    with pytest.raises(TypeError, match="closed forms"):
        space.spectrum(NOISE, kernels.Exponential(1.0), reg=1e-3, n_components=1)
    with pytest.raises(TypeError, match="one Gaussian kernel"):
        space.spectrum(NOISE, KERNEL + kernels.Gaussian(2.0), reg=1e-3, n_components=1)
    with pytest.raises(ValueError, match="do not commute"):
        space.crossings(NOISE, KERNEL, 3)
    with pytest.raises(ValueError, match="take reg > 0"):
        space.spectrum(GaussianNoise(0.0), KERNEL, reg=0.0, n_components=1)
    monkeypatch.setattr(mehler, "LARGEST", 64)
    with pytest.raises(ArithmeticError, match="do not resolve"):
        space.spectrum(NOISE, kernels.Gaussian(0.01), reg=1e-2, n_components=1)
    with pytest.raises(ValueError, match="the line"):
        Gaussian(2, 1.0).eigenfunctions(NOISE, KERNEL, reg=1e-3, n_components=1)
    with pytest.raises(ValueError, match="time must be"):
        OrnsteinUhlenbeck(-0.1)
