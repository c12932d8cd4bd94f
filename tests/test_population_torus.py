"""The uniform torus against enumeration of frequencies, FFTs, grids and the table of values."""

import itertools
import json
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import sslcore
from sslcore import kernels
from sslcore.augmentations import BitFlip, Compose, GaussianNoise, Mixture
from sslcore.population import CutBlockWarning, Torus, fourier, risk_of_moments

ORACLES = json.loads((Path(__file__).parent / "oracles.json").read_text())["EF"]
DIGITS = 6e-13

KERNELS = [
    kernels.PeriodicGaussian(0.1),
    kernels.PeriodicGaussian(0.4),
    kernels.VonMises(0.7),
    kernels.VonMises(0.2) + 0.1 * kernels.PeriodicGaussian(0.3),
    kernels.VonMises(1.0) * kernels.PeriodicGaussian(0.3),
]
LAWS = [
    GaussianNoise(0.05),
    Compose(GaussianNoise(0.03), GaussianNoise(0.04)),
    Mixture([0.4, 0.6], [GaussianNoise(0.0), GaussianNoise(0.1)]),
]


@pytest.mark.parametrize("noise", [0.05, 0.1])
def test_spectra_of_the_table(noise):
    want = ORACLES[f"torus_d1_e{noise:g}_s0.1_lam0.001"]
    found = Torus(1).spectrum(GaussianNoise(noise), KERNELS[0], reg=1e-3, n_components=9)
    np.testing.assert_allclose(found.eigenvalues, [entry["l"] for entry in want], rtol=0, atol=DIGITS)
    assert [sum(w * w for w in label) for label in found.labels] == [entry["omega_sq"] for entry in want]


def test_coefficients_of_the_table():
    wrapped = Torus(1).kernel_eigenvalues(KERNELS[0], range(6))
    np.testing.assert_allclose(wrapped, ORACLES["wrapped_gauss_hat_s0.1"], rtol=0, atol=DIGITS)
    exponential = fourier.ExponentialSeries(0.1).first(6)
    np.testing.assert_allclose(exponential, ORACLES["lap_hat_s0.1"], rtol=0, atol=DIGITS)


def test_a_gaussian_of_the_periodic_distance_is_refused_for_good_reason():
    distance = np.minimum(np.arange(4096), 4096 - np.arange(4096)) / 4096
    found = np.fft.fft(np.exp(-((distance / 0.3) ** 2))).real[:6] / 4096
    np.testing.assert_allclose(found, ORACLES["rbf_periodic_hat_sigma0.3"], rtol=0, atol=1e-7)
    assert found.min() < 0


@pytest.mark.parametrize("kernel", KERNELS)
def test_coefficients_are_the_fft_of_the_kernel(kernel):
    grid = np.arange(64)[:, None] / 64
    one = np.fft.fft(kernel(grid, grid[:1])[:, 0]).real / 64
    np.testing.assert_allclose(Torus(1).kernel_eigenvalues(kernel, range(20)), one[:20], rtol=0, atol=1e-14)
    plane = np.stack(np.meshgrid(grid, grid, indexing="ij"), axis=-1).reshape(-1, 2)
    two = np.fft.fft2(kernel(plane, plane[:1]).reshape(64, 64)).real / 64**2
    frequencies = [[0, 0], [3, 1], [-1, 3], [7, 0], [5, -5]]
    found = Torus(2).kernel_eigenvalues(kernel, frequencies)
    np.testing.assert_allclose(found, [two[a, b] for a, b in frequencies], rtol=0, atol=1e-14)


def test_von_mises_does_not_overflow_and_keeps_its_digits():
    import mpmath

    with mpmath.workdps(30):
        for scale, w in itertools.product((1e-3, 0.03, 0.2, 1.0, 5.0), (0, 1, 7, 40)):
            z = 1 / mpmath.mpf(scale) ** 2
            want = mpmath.exp(-z) * mpmath.besseli(w, z)
            assert abs(fourier.VonMisesSeries(scale)[w] / want - 1) < 1e-12


def enumerated(d, law, kernel, reg, beta, reach):
    """mu of all frequencies with entries up to ``reach``, one by one."""
    torus = Torus(d)
    frequencies = np.array(list(itertools.product(range(-reach, reach + 1), repeat=d)))
    t, kappa = torus.augmentation_eigenvalues(law, frequencies), torus.kernel_eigenvalues(kernel, frequencies)
    with np.errstate(divide="ignore"):
        return np.sort(1 - beta + beta * t - (reg / kappa if reg else 0.0))[::-1]


@settings(max_examples=30, deadline=None)
@given(
    d=st.integers(1, 3),
    kernel=st.sampled_from(KERNELS),
    law=st.sampled_from(LAWS),
    reg=st.sampled_from([0.0, 1e-5, 1e-3, 0.1]),
    beta=st.sampled_from([0.6, 1.0]),
    k=st.integers(1, 25),
)
def test_the_first_components_against_enumeration(d, kernel, law, reg, beta, k):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CutBlockWarning)
        if reg == 0 and law == LAWS[2]:  # T does not fall to 0: blocks at infinity
            k = 1
        found = Torus(d).spectrum(law, kernel, reg=reg, beta=beta, n_components=k)
    want = enumerated(d, law, kernel, reg, beta, {1: 14, 2: 8, 3: 4}[d])
    np.testing.assert_allclose(found.eigenvalues, want[:k], rtol=1e-12, atol=1e-15)
    lines = Torus(d).lines(law, kernel, k, reg=reg, beta=beta)
    assert len(set(lines.labels)) == len(lines.labels)


@pytest.mark.parametrize("d", [2, 3])
def test_all_regimes_are_found(d):
    torus, law, kernel = Torus(d), GaussianNoise(0.08), kernels.VonMises(1.5)
    lines = torus.lines(law, kernel, 30)
    crossings = torus.crossings(law, kernel, 30)
    assert crossings  # |w|^2 and the product of Bessel functions order the frequencies differently
    for reg in [0.0, *np.geomspace(1e-9, 1.0, 40), *(c.reg * 1.01 for c in crossings[:20])]:
        mu = np.repeat(lines.values(reg, 1.0), [int(m) for m in lines.multiplicity])
        want = enumerated(d, law, kernel, reg, 1.0, 5)[:30]
        np.testing.assert_allclose(np.sort(mu)[::-1][:30], want, rtol=1e-11, atol=1e-13)
    one = crossings[0]
    pair = torus.select(law, kernel, [one.before, one.after]).values(one.reg, 1.0)
    assert abs(pair[0] - pair[1]) < 1e-13


def test_a_high_dimension_costs_nothing():
    found = Torus(500).spectrum(GaussianNoise(0.01), kernels.PeriodicGaussian(0.4), reg=1e-9, n_components=1001)
    assert found.block_ends == (1, 1001)
    assert set(found.labels[1:]) == {(1,)}


@settings(max_examples=15, deadline=None)
@given(d=st.integers(1, 4), label=st.lists(st.integers(0, 3), max_size=4))
def test_classes_hold_all_permutations_and_signs(d, label):
    label = label[:d]
    name = Torus(d).canonical([-w for w in label])
    members = {
        tuple(s * w for s, w in zip(signs, order, strict=True))
        for order in itertools.permutations([*name, *[0] * (d - len(name))])
        for signs in itertools.product((-1, 1), repeat=d)
    }
    assert fourier.class_size(d, name) == len(members)
    if len(members) <= 100:
        x = np.random.default_rng(0).uniform(size=(3, d))
        values = Torus(d).harmonics(label)(x)
        assert values.shape == (3, len(members))
        # the addition theorem: the kernel of the class's projector
        differences = x[:, None] - x
        want = sum(np.cos(2 * np.pi * differences @ np.array(w)) for w in members)
        np.testing.assert_allclose(values @ values.T, want, atol=1e-10)


def test_noises_in_turn_add_their_variances_and_classes_count_repeated_entries():
    frequencies = [[0], [1], [3]]
    one, two = (Torus(1).augmentation_eigenvalues(law, frequencies) for law in (GaussianNoise(0.05), LAWS[1]))
    np.testing.assert_allclose(one, two, rtol=1e-14)
    assert fourier.class_size(5, (2, 2, 1)) == 8 * 30


def test_the_law_of_views_has_these_eigenvalues():
    torus, law = Torus(2), GaussianNoise(0.12)
    views = law.views(np.tile([[0.3, 0.8]], (40_000, 1)), 2, seed=0)
    for label in (1, (1, 1), (2, 1)):
        f = torus.harmonics(label)
        size = torus.canonical(label)
        want = np.sqrt(torus.augmentation_eigenvalues(law, [[*size, 0][:2]])) * f([[0.3, 0.8]])[0]
        np.testing.assert_allclose(f(views.reshape(-1, 2)).mean(axis=0), want, atol=6 * np.sqrt(2 / 80_000))


@pytest.mark.parametrize("center", [False, True])
@pytest.mark.parametrize(
    ("d", "kernel", "law"),
    [
        (1, KERNELS[0], LAWS[0]),
        (1, KERNELS[3], LAWS[2]),
        (2, kernels.PeriodicGaussian(0.2), LAWS[1]),
        (2, KERNELS[2], LAWS[2]),
    ],
)
def test_the_risk_of_a_fit_is_that_of_a_grid(d, kernel, law, center):
    x = np.random.default_rng(0).uniform(size=(40, d))
    rep = sslcore.pretrain(GaussianNoise(0.05).views(x, 2, seed=0), kernel, 4, reg=1e-3, center=center)
    side = 256 if d == 1 else 64
    axes = np.meshgrid(*[np.arange(side) / side] * d, indexing="ij")
    psi = rep(np.stack(axes, axis=-1).reshape(-1, d))
    second = psi.T @ psi / len(psi)
    hats = np.fft.fftn(psi.reshape(*[side] * d, 4), axes=range(d)).reshape(-1, 4) / len(psi)
    wave = np.fft.fftfreq(side, 1 / side).astype(int)
    frequencies = np.stack(np.meshgrid(*[wave] * d, indexing="ij"), axis=-1).reshape(-1, d)
    smooth = (hats.conj().T * Torus(d).augmentation_eigenvalues(law, frequencies)) @ hats
    found = Torus(d).moments(rep, law)
    np.testing.assert_allclose(found[0], second, atol=1e-9)
    np.testing.assert_allclose(found[1], smooth.real, atol=1e-9)
    assert abs(Torus(d).risk(rep, law, 0.7) - risk_of_moments(second, smooth.real, 0.7)) < 1e-8
    if law is not LAWS[2]:  # of which 1 - T is bounded: infinitely many functions are as good without a penalty
        assert Torus(d).excess_risk(rep, law) > 0


def test_eigenfunctions():
    """Orthonormal, and averaging over views multiplies each by sqrt(t), the eigenvalue of A, on the plane torus."""
    torus, law, kernel = Torus(2), GaussianNoise(0.1), kernels.PeriodicGaussian(0.2)
    f = torus.eigenfunctions(law, kernel, reg=1e-3, n_components=9)
    spectrum = torus.spectrum(law, kernel, reg=1e-3, n_components=9)
    side = np.arange(24) / 24
    grid = np.stack(np.meshgrid(side, side, indexing="ij"), axis=-1).reshape(-1, 2)
    values = f(grid)
    np.testing.assert_allclose(values.T @ values / len(grid), np.eye(9), atol=1e-13)
    nodes, weights = np.polynomial.hermite_e.hermegauss(30)
    steps = 0.1 * np.stack(np.meshgrid(nodes, nodes), axis=-1).reshape(-1, 2)
    mass = np.outer(weights, weights).ravel() / (2 * np.pi)
    x = grid[:7]
    smooth = np.einsum("s,snk->nk", mass, f((x[None] + steps[:, None]).reshape(-1, 2)).reshape(len(steps), 7, 9))
    t = torus.augmentation_eigenvalues(law, [(*label, *[0] * (2 - len(label))) for label in spectrum.labels])
    np.testing.assert_allclose(smooth, f(x) * np.sqrt(t), atol=1e-12)


def test_bad_input():
    torus, noise, kernel = Torus(2), GaussianNoise(0.1), KERNELS[0]
    for bad in (0, 1.5, True):
        with pytest.raises((ValueError, TypeError), match="d must be"):
            Torus(bad)
    with pytest.raises(TypeError, match="periodic distance is not positive semi-definite"):
        torus.kernel_eigenvalues(kernels.Gaussian(0.3), [[0, 0]])
    with pytest.raises(TypeError, match="closed forms"):
        torus.spectrum(BitFlip(0.1), kernel, reg=1e-3, n_components=1)
    with pytest.raises(ValueError, match="integers of shape"):
        torus.kernel_eigenvalues(kernel, [0, 1])
    with pytest.raises(ValueError, match="integers of shape"):
        torus.augmentation_eigenvalues(noise, [[0.5, 1.0]])
    with pytest.raises(ValueError, match="2 entries"):
        torus.select(noise, kernel, [(1, 1, 1)])
    with pytest.raises(TypeError, match="a frequency"):
        torus.select(noise, kernel, [(0.5,)])
    with pytest.raises(ValueError, match="take reg > 0"):
        torus.spectrum(GaussianNoise(0.0), kernel, reg=0.0, n_components=2)
    with pytest.raises(ValueError, match="take reg > 0"):
        torus.crossings(GaussianNoise(0.0), kernel, 3)
    with pytest.raises(ValueError, match="more than 4096"):
        Torus(20).harmonics((3, 2, 1, 1))
    with pytest.warns(CutBlockWarning, match="components 2 to 5"):
        torus.spectrum(noise, kernel, reg=1e-3, n_components=2)
