"""Augmentations and views: known answers, oracles, laws, purity, bad input."""

import itertools
import math
import os
import pickle
import subprocess
import sys
from dataclasses import dataclass

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sslcore import pretrain, tunables
from sslcore.augmentations import (
    Affine,
    Augmentation,
    BitFlip,
    Blur,
    Choice,
    Compose,
    Contrast,
    Crop,
    Cutout,
    GaussianNoise,
    HorizontalFlip,
    Jitter,
    Mixture,
    RandomRotation,
    Resample,
    Reversal,
    Shift,
    SignFlip,
    Stage,
    TangentStep,
    TimeWarp,
    Views,
    Window,
)
from sslcore.backends.numba_cpu import philox, reference_normals
from sslcore.backends.numba_cpu.parallel import n_threads
from sslcore.datasets import gaussian, sphere, torus
from sslcore.errors import BackendError
from sslcore.features import Identity
from sslcore.kernels import Gaussian
from sslcore.population import Sphere

from . import naive
from .examples import EXACT, augmentation_examples

CONSTANT = [  # almost surely
    (BitFlip(0), 7),
    (BitFlip(1), 7),
    (Crop(1), 1),
    (Crop(4, cyclic=False), 4),
    (Shift([1]), 1),
    (Shift([0, 0, 1]), 3),
    (Reversal(0.5), 1),
    (Reversal(1), 7),
    (SignFlip(1), 2),
    (Affine((1, 1), rotation=90, zoom=1024, shift=1e9), 1),
    (Cutout((4, 4, 3), 4), 48),
    (Window(1.0), 9),
    (Window(0.5), 1),
    (Jitter(1.0), 1),
    (TimeWarp(1.0, knots=0), 7),
    (TimeWarp(channels=2), 2),
    (Blur((2, 2), scale=0), 4),
    (Contrast((1, 1, 2), strength=1), 2),
]
CASES = [pytest.param(a, d, id=f"{a!r}-{d}") for a, d in augmentation_examples()]
ANY = st.sampled_from(augmentation_examples(99))
SEEDS = st.integers(0, 2**64 - 1)


def samples(n, d, seed=0, dtype=float):
    return np.random.default_rng(seed).standard_normal((n, d)).astype(dtype)


# ---------------------------------------------------------------- random numbers


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [
        ([0] * 4, [0] * 2, "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ([0xFFFFFFFF] * 4, [0xFFFFFFFF] * 2, "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        (
            [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
            [0xA4093822, 0x299F31D0],
            "d16cfe09 94fdcceb 5001e420 24126ea1",
        ),
    ],
)
def test_philox_known_answers(counter, key, expected):
    """The vectors of Random123's kat_vectors."""
    words = philox.philox(*(np.uint64(i) for i in counter + key))
    assert " ".join(f"{int(w):08x}" for w in words) == expected
    assert words == naive.philox(counter, key)


EDGE_WORDS = [0, 1, 2**29 - 1, 2**29, 2**30 - 1, 2**30, 2**31 - 1, 2**31, 3 * 2**30, 2**32 - 2, 2**32 - 1]


def exact_box_muller(u, v):
    with mpmath.workdps(40):
        r = mpmath.sqrt(-2 * mpmath.log((mpmath.mpf(u) + 0.5) / 2**32))
        angle = (mpmath.mpf(v % 2**30) - 2**29 + 0.5) / 2**32 * 2 * mpmath.pi
        pair = [r * mpmath.cos(angle), r * mpmath.sin(angle)]
    if v >> 30 & 1:
        pair.reverse()
    return [-z if v >> 31 else z for z in pair]


def test_normals_are_within_four_ulp_of_box_muller():
    edges = np.array(list(itertools.product(EDGE_WORDS, EDGE_WORDS)), np.uint32)
    random = np.random.default_rng(0).integers(0, 2**32, (2000, 2), dtype=np.uint32)
    u, v = np.ascontiguousarray(np.concatenate([edges, random]).T)
    z = np.empty((2, len(u)))
    philox._box_muller(u, v, z[0], z[1])
    for i in range(len(u)):
        for found, exact in zip(z[:, i], exact_box_muller(int(u[i]), int(v[i])), strict=True):
            assert abs(found - exact) <= 4 * np.spacing(abs(float(exact)))


def test_cos_sin_and_exp2_against_mpmath():
    for t in np.concatenate([np.linspace(-1, 1, 641), np.random.default_rng(0).uniform(-1, 1, 200)]):
        with mpmath.workdps(40):
            angle = 2 * mpmath.pi * mpmath.mpf(t)
            exact = mpmath.cos(angle), mpmath.sin(angle), mpmath.mpf(2) ** (10 * t)
        cos, sin = philox.cos_sin(t)
        assert abs(cos - exact[0]) < 2e-16
        assert abs(sin - exact[1]) < 2e-16
        assert abs(philox.exp2(10 * t) - exact[2]) <= 2 * np.spacing(float(exact[2]))
    assert [philox.cos_sin(q / 4) for q in range(-4, 5)] == [
        (round(math.cos(q * math.pi / 2)), round(math.sin(q * math.pi / 2))) for q in range(-4, 5)
    ]
    assert philox.exp2(0.0) == 1.0


def test_uniform_stays_inside_the_unit_interval():
    assert philox.uniform(np.uint64(0)) == 2.0**-33
    assert philox.uniform(np.uint64(2**32 - 1)) == 1 - 2.0**-33


def test_reference_normals():
    z = reference_normals(1000, 7, stream=3)
    assert z.shape == (1000, 7)
    assert z.dtype == np.float64
    assert z.flags.c_contiguous
    assert np.array_equal(z[:10], reference_normals(10, 7, stream=3))
    assert not np.any(z == reference_normals(1000, 7, stream=4))
    # 7000 draws: standard errors 0.012 and 0.017
    assert abs(z.mean()) < 0.06
    assert abs(z.var() - 1) < 0.08
    oracle = [
        naive.gaussian_noise(GaussianNoise(1), [0.0] * 7, (0x53534C434F524531, i + (3 << 32), 0, 0)) for i in range(5)
    ]
    np.testing.assert_allclose(z[:5], oracle, rtol=1e-14)


def test_normal_distribution_function():
    z = np.sort(GaussianNoise(1.0).views(np.zeros((1000, 100)), 2, seed=5).ravel())
    exact = np.array([0.5 * math.erfc(-t / math.sqrt(2)) for t in z[::20]])
    distance = np.abs(exact - np.arange(0, len(z), 20) / len(z)).max()
    assert distance < 2.3 / math.sqrt(len(z))  # Kolmogorov: exceeded with probability 5e-5


# ---------------------------------------------------------------- oracles


@pytest.mark.parametrize(("a", "d"), CASES)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_views_match_the_oracle(a, d, dtype):
    n, m, seed, first = (5, 3, 2**63 + 12345, 2**32 - 2) if d < 100 else (2, 2, 7, 2**56 - 2)
    x = samples(n, d, dtype=dtype)
    found = a.views(x, m, seed=seed, first=first)
    assert found.dtype == dtype
    expected = naive.views(a, x.astype(float), m, seed, first)
    if type(a).__name__ in EXACT:
        np.testing.assert_array_equal(found, expected)
    else:
        eps = np.finfo(dtype).eps
        scale = 1 + (a.shift if isinstance(a, Affine) else 0)  # far shifts amplify the rounding of positions
        np.testing.assert_allclose(found, expected, rtol=8 * eps, atol=300 * np.finfo(float).eps * scale + 8 * eps)


def test_float32_noise_is_the_float64_noise_rounded_once():
    x = samples(50, 13, dtype=np.float32)
    wide = GaussianNoise(0.7).views(x.astype(np.float64), 2, seed=1)
    np.testing.assert_array_equal(GaussianNoise(0.7).views(x, 2, seed=1), wide.astype(np.float32))


# ---------------------------------------------------------------- laws
# Tolerances are five standard errors: a false alarm has probability 6e-7 a number.


def test_noise_moments():
    n, d, s = 40_000, 6, 0.5
    z = GaussianNoise(s).views(np.ones((n, d)), 2, seed=11) - 1.0
    flat = z.reshape(n, 2 * d)
    assert np.abs(flat.mean(0)).max() < 5 * s / math.sqrt(n)
    covariance = flat.T @ flat / n  # coordinates and views are independent
    assert np.abs(covariance - s**2 * np.eye(2 * d)).max() < 5 * s**2 * math.sqrt(2 / n)
    assert abs((z**4).mean() / s**4 - 3) < 5 * math.sqrt(96 / z.size)
    assert abs(np.corrcoef(flat[:-1, 0], flat[1:, 0])[0, 1]) < 5 / math.sqrt(n)  # neighbouring samples


@pytest.mark.parametrize(
    ("a", "eigenvalue"), [(BitFlip(0.1), 0.8), (BitFlip(0.9), -0.8), (Resample(0.3), 0.7), (Resample(1), 0.0)]
)
def test_parities_are_eigenfunctions(a, eigenvalue):
    """E[chi_S(xi) | x] = eigenvalue^|S| chi_S(x), and two views are conditionally independent."""
    n, d = 20_000, 5
    x = np.random.default_rng(1).choice([-1.0, 1.0], size=(n, d))
    xi = a.views(x, 2, seed=2)
    assert set(np.unique(xi)) == {-1.0, 1.0}
    for size in range(1, d + 1):
        for subset in itertools.combinations(range(d), size):
            chi = x[:, subset].prod(-1)
            chi_xi = xi[:, :, subset].prod(-1)
            assert np.abs((chi_xi * chi[:, None]).mean(0) - eigenvalue**size).max() < 5 / math.sqrt(n)
            assert abs((chi_xi[:, 0] * chi_xi[:, 1]).mean() - eigenvalue ** (2 * size)) < 5 / math.sqrt(n)


@pytest.mark.parametrize(
    "a",
    [
        BitFlip(0.2),
        Crop(1),
        Crop(3),
        Crop(4),
        Crop(5),
        Crop(2, cyclic=False),
        Crop(4, cyclic=False),
        Shift([0.1, 0.2, 0, 0.3, 0.4]),
        Shift([0.25, 0.75]),
        Reversal(0.3),
        SignFlip(0.7),
        Compose(Shift([0.5, 0.2, 0.3]), Crop(3, cyclic=False)),  # these do not commute
        Compose(Crop(3, cyclic=False), Shift([0.5, 0.2, 0.3])),
        Compose(Reversal(0.8), Shift([0.1, 0.9]), BitFlip(0.1)),
        Mixture([0.3, 0.7], [Crop(2), BitFlip(0.9)]),
        Mixture([0.6, 0, 0.4], [Compose(Resample(0.3), Shift([0, 1])), SignFlip(1), Reversal(0.5)]),
        Compose(
            Mixture([0.2, 0.8], [SignFlip(0.9), Mixture([0.5, 0.5], [Crop(3), Reversal(1)])]), Crop(4, cyclic=False)
        ),
    ],
    ids=repr,
)
def test_operators_on_the_hypercube(a):
    """The whole matrices of A and of T = A* A on the parities, from views of every vertex, against the closed forms."""
    d, n = 5, 3000
    vertices = np.array(list(itertools.product([1.0, -1.0], repeat=d)))[:, ::-1]
    xi = a.views(np.repeat(vertices, n, axis=0), 2, seed=2)
    assert np.abs(xi).max() == np.abs(xi).min() == 1
    codes = ((xi < 0) @ (1 << np.arange(d))).reshape(2**d, n, 2)
    parities = (-1.0) ** (((np.arange(2**d)[:, None] & np.arange(2**d))[..., None] >> np.arange(d) & 1).sum(-1))
    assert np.array_equal(parities[:, 1 << np.arange(d)], vertices)
    transition = np.zeros((2, 2**d, 2**d))  # of either view
    pairs = np.zeros((2**d, 2**d))
    for v in range(2):
        np.add.at(transition[v], (np.arange(2**d)[:, None], codes[..., v]), 1 / n)
    np.add.at(pairs, (codes[..., 0], codes[..., 1]), 1 / (n * 2**d))
    exact = naive.parity_operator(a, d)
    assert np.abs(parities @ naive.cube_law(a, d) @ parities / 2**d - exact).max() < 1e-14
    tolerance = 5 / math.sqrt(n * 2**d)
    for v in range(2):
        assert np.abs(parities @ transition[v] @ parities / 2**d - exact).max() < tolerance
    assert np.abs(parities @ pairs @ parities - exact.T @ exact).max() < tolerance


@pytest.mark.parametrize("cyclic", [True, False])
@pytest.mark.parametrize(("d", "width"), [(7, 1), (7, 4), (7, 7), (1, 1), (2050, 1300)])
def test_crop_law(cyclic, d, width):
    """A window of the wanted width is kept, its start is uniform, and the rest are fair signs."""
    n = 6000 if d < 10 else 300
    xi = Crop(width, cyclic=cyclic).views(np.full((n, d), 7.0), 2, seed=4).reshape(2 * n, d)
    kept = xi == 7
    assert np.all(np.abs(xi[~kept]) == 1)
    assert np.all(kept.sum(1) == width)
    edges = kept & ~np.roll(kept, 1, axis=1)
    assert np.all(edges.sum(1) == (width < d))
    start = edges.argmax(1)
    if not cyclic:
        assert start.max() <= d - width
    starts = d if cyclic else d - width + 1
    if width < d:
        assert abs(start.mean() - (starts - 1) / 2) < 5 * math.sqrt((starts**2 - 1) / 12 / (2 * n))
        signs = xi[~kept]
        assert abs(signs.mean()) < 5 / math.sqrt(signs.size)
        # of the first coordinate, whose word also chooses the start
        first = xi[~kept[:, 0], 0]
        assert abs(first.mean()) < 5 / math.sqrt(first.size)
    if d == 7 and width < d:
        counts = np.bincount(start, minlength=starts)
        assert np.abs(counts / (2 * n) - 1 / starts).max() < 5 * math.sqrt(1 / starts / (2 * n))


def test_crop_eigenvalues_count_windows():
    """The closed forms against the windows themselves; the diameter formula fails from 2 width > d + 1 on."""
    for d, cyclic in itertools.product(range(1, 9), (True, False)):
        for width in range(1, d + 1):
            starts = range(d) if cyclic else range(d - width + 1)
            windows = [{(s + i) % d for i in range(width)} for s in starts]
            for s in range(2**d):
                subset = [j for j in range(d) if s >> j & 1]
                share = sum(window.issuperset(subset) for window in windows) / len(windows)
                assert naive.crop_eigenvalue(subset, width, d, cyclic) == pytest.approx(share, abs=1e-15)
    assert naive.crop_eigenvalue([0, 5], 8, 12, True) ** 2 == pytest.approx(1 / 9)


def test_shift_moves_and_wraps():
    x = samples(50, 9)
    for by in range(9):
        law = np.zeros(9)
        law[by] = 1
        assert np.array_equal(Shift(law).views(x, 2, seed=0)[:, 1], np.roll(x, by, axis=1))


def test_shift_law_of_many_shifts():
    n, d = 20_000, 300
    law = np.random.default_rng(0).dirichlet(np.full(d, 0.3))
    law[:5] = law[-4:] = 0
    a = Shift(law / law.sum())
    x = np.tile(np.arange(float(d)), (n, 1))
    by = a.views(x, 1, seed=1)[:, 0].argmin(1)
    share = np.bincount(by, minlength=d) / n
    assert not share[law == 0].any()
    assert np.abs(share - a.law).max() < 5 * math.sqrt(max(a.law) / n)
    assert np.abs(np.cumsum(share) - np.cumsum(a.law)).max() < 2.3 / math.sqrt(n)  # Kolmogorov


def test_reversal_and_sign_flip_laws():
    n = 20_000
    x = np.tile([1.0, 2.0, 3.0], (n, 1))
    for a, other in ((Reversal(0.3), x[:, ::-1]), (SignFlip(0.3), -x)):
        xi = a.views(x, 2, seed=0)
        moved = (xi == other[:, None]).all(-1)
        assert np.array_equal(moved, ~(xi == x[:, None]).all(-1))
        assert np.abs(moved.mean(0) - 0.3).max() < 5 * math.sqrt(0.21 / n)
        assert abs((moved[:, 0] & moved[:, 1]).mean() - 0.09) < 5 * math.sqrt(0.21 / n)


def test_mixture_chooses_whole_parts():
    n = 20_000
    x = np.tile([1.0, 2.0], (n, 1))
    a = Mixture([0.2, 0.5, 0.3], [SignFlip(1), Shift([0, 1]), GaussianNoise(0)])
    xi = a.views(x, 2, seed=3)
    chosen = np.stack([(xi == t).all(-1) for t in ([-1.0, -2.0], [2.0, 1.0], [1.0, 2.0])])
    assert np.all(chosen.sum(0) == 1)
    assert np.abs(chosen.mean(1) - [[0.2], [0.5], [0.3]]).max() < 5 * math.sqrt(0.25 / n)
    joint = (chosen[:, None, :, 0] & chosen[None, :, :, 1]).mean(-1)
    assert np.abs(joint - np.outer(a.weights, a.weights)).max() < 5 * math.sqrt(0.25 / n)


def test_parts_of_a_mixture_draw_what_they_draw_alone():
    """A part's views do not depend on its weight, but on its place: the choice's is 0, those of the parts follow."""
    x = samples(400, 6)
    parts = [Compose(GaussianNoise(1), BitFlip(0.3)), Crop(2)]
    first, second = (Mixture(w, parts).views(x, 2, seed=5) for w in ([1, 0], [0, 1]))
    nothing = BitFlip(0)
    assert np.array_equal(first, Compose(nothing, *parts[:1]).views(x, 2, seed=5))
    assert np.array_equal(second, Compose(nothing, nothing, nothing, parts[1]).views(x, 2, seed=5))
    mixed = Mixture([0.4, 0.6], parts).views(x, 2, seed=5)
    is_first, is_second = ((mixed == y).all(-1) for y in (first, second))
    assert np.all(is_first ^ is_second)
    assert 0.3 < is_first.mean() < 0.5


@pytest.mark.parametrize("d", [2, 3, 4, 9, 40])
@pytest.mark.parametrize(
    "a",
    [
        TangentStep(0.6),
        TangentStep(2.5),
        RandomRotation(0.6),
        RandomRotation(2.5),
        Compose(TangentStep(0.4), RandomRotation(1.0)),
        Mixture([0.3, 0.7], [TangentStep(1.2), Compose(SignFlip(0.8), RandomRotation(1.0))]),
    ],
    ids=repr,
)
def test_operators_on_the_sphere(a, d):
    """E[P_l(<xi, y>) | x] = eigenvalue_l P_l(<x, y>) for fixed x and y, and views are conditionally independent.

    P_l(<., y>) is a spherical harmonic of degree l, and rotating it about x leaves P_l(<., x>) P_l(<x, y>).
    """
    n = 40_000
    squares = [naive.sphere_eigenvalue(a, degree, d) ** 2 for degree in range(7)]
    np.testing.assert_allclose(Sphere(d).augmentation_eigenvalues(a, 6), squares, atol=1e-14)
    for seed in range(2):
        x, y = sphere(2, d, seed)
        y = 0.6 * x + 0.8 * (y - (y @ x) * x) / np.linalg.norm(y - (y @ x) * x)  # at an angle that high degrees see
        xi = a.views(np.tile(x, (n, 1)), 2, seed=seed)
        assert np.abs((xi**2).sum(-1) - 1).max() < 1e-14
        for degree in range(1, 7):
            p = naive.gegenbauer(degree, xi @ y, d)
            exact = naive.sphere_eigenvalue(a, degree, d) * naive.gegenbauer(degree, np.array(x @ y), d)
            assert abs(p.mean() - exact) < 5 * p.std() / math.sqrt(2 * n) + 1e-14
            p -= exact
            assert abs((p[:, 0] * p[:, 1]).mean()) < 5 * p.var() / math.sqrt(n) + 1e-14
            p = naive.gegenbauer(degree, xi @ x, d)
            assert abs(p.mean() - naive.sphere_eigenvalue(a, degree, d)) < 5 * p.std() / math.sqrt(2 * n) + 1e-13


def test_operators_on_the_torus():
    """Noise on the Fourier functions, of x and of pairs of views: A is exp(-2 pi^2 scale^2 |w|^2), and T its square."""
    n = 40_000
    x = torus(n, 2, seed=1)
    a = Compose(GaussianNoise(0.08), GaussianNoise(0.06))
    xi = a.views(x, 2, seed=0)
    for w in itertools.product(range(-2, 3), range(3)):
        exact = math.exp(-2 * math.pi**2 * 0.1**2 * (w[0] ** 2 + w[1] ** 2))
        waves = np.exp(2j * math.pi * (xi @ w))
        assert abs((waves * np.exp(-2j * math.pi * (x @ w))[:, None]).mean() - exact) < 5 / math.sqrt(n)
        assert abs((waves[:, 0].conj() * waves[:, 1]).mean() - exact**2) < 5 / math.sqrt(n)
        if any(w):
            assert abs((waves[:, 0] * waves[:, 1]).mean()) < 5 / math.sqrt(n)  # other frequencies do not mix


def test_operators_on_gaussian_space():
    """Noise on pairs of views: T is (s^2 / (s^2 + e^2))^l on the Hermite functions of degree l under the views' law."""
    n, s, e = 200_000, 1.5, 0.8
    xi = GaussianNoise(e).views(gaussian(n, 1, seed=2, scale=s), 2, seed=3)[..., 0] / math.hypot(s, e)
    hermite = [np.polynomial.hermite_e.hermeval(xi, [0] * k + [1]) / math.sqrt(math.factorial(k)) for k in range(5)]
    for k, j in itertools.product(range(5), range(5)):
        products = hermite[k][:, 0] * hermite[j][:, 1]
        exact = (s**2 / (s**2 + e**2)) ** k * (k == j)
        assert abs(products.mean() - exact) < 5 * products.std() / math.sqrt(n) + 1e-15


@pytest.mark.parametrize("d", [2, 3, 8, 100])
def test_steps_on_the_sphere(d):
    """Angles are exact, directions uniform on the tangent sphere, norms kept whatever they are."""
    n, angle = 20_000, 0.9
    x = np.array(sphere(1, d, 3)[0])
    x[d // 2] *= -1
    xi = TangentStep(angle).views(np.tile(x, (n, 1)), 1, seed=1)[:, 0]
    assert np.abs(xi @ x - math.cos(angle)).max() < 1e-14
    v = (xi - math.cos(angle) * x) / math.sin(angle)
    assert np.abs(v.mean(0)).max() < 5 / math.sqrt(n * (d - 1))
    covariance = (np.eye(d) - np.outer(x, x)) / (d - 1)
    assert np.abs(v.T @ v / n - covariance).max() < 5 * math.sqrt(2 / n) / (d - 1)
    y = np.ones(d) - x.sum() * x
    fourth = ((v @ y / np.linalg.norm(y)) ** 4).mean()
    exact = 3 / ((d - 1) * (d + 1))
    assert abs(fourth - exact) < 5 * math.sqrt(105 / n) / (d - 1) ** 2
    # of rotations: |x|^2 - <xi, x> = (1 - cos) times a variable with the law Beta(1, (d - 2)/2)
    share = (1 - RandomRotation(angle).views(np.tile(x, (n, 1)), 1, seed=1)[:, 0] @ x) / (1 - math.cos(angle))
    assert abs(share.mean() - 2 / d) < 5 * 2 / d / math.sqrt(n) + 1e-13
    assert abs((share**2).mean() - 8 / (d * (d + 2))) < 5 * 20 / d**2 / math.sqrt(n) + 1e-13
    for a in (TangentStep(angle), RandomRotation(angle)):
        for far in (1e-100, 1e100):
            np.testing.assert_allclose(a.views(far * x[None], 2, seed=0), far * a.views(x[None], 2, seed=0), rtol=1e-12)
        assert not a.views(np.zeros((3, d)), 2, seed=0).any()
        axes = np.concatenate([np.eye(d)[:2], -np.eye(d)[:2]])
        assert np.abs(np.linalg.norm(a.views(axes, 50, seed=0), axis=-1) - 1).max() < 1e-14
        assert np.abs(np.linalg.norm(a.views(x[None].astype(np.float32), 9, seed=0), axis=-1) - 1).max() < 1e-6


def test_ends_of_steps_on_the_sphere():
    x = sphere(50, 6, 0)
    assert np.array_equal(TangentStep(0).views(x, 1, seed=0)[:, 0], x)
    assert np.array_equal(RandomRotation(0).views(x, 1, seed=0)[:, 0], x)
    np.testing.assert_allclose(TangentStep(math.pi).views(x, 1, seed=0)[:, 0], -x, atol=1e-15)
    np.testing.assert_allclose(RandomRotation(math.pi).views(x[:, :2], 1, seed=0)[:, 0], -x[:, :2], atol=1e-15)


def test_probabilities_at_the_ends():
    x = samples(50, 8)
    assert np.array_equal(BitFlip(0).views(x, 1, seed=0)[:, 0], x)
    assert np.array_equal(BitFlip(1).views(x, 1, seed=0)[:, 0], -x)
    assert np.array_equal(Resample(0).views(x, 1, seed=0)[:, 0], x)
    assert np.array_equal(HorizontalFlip((2, 4), p=0).views(x, 1, seed=0)[:, 0], x)
    assert np.array_equal(Reversal(0).views(x, 1, seed=0)[:, 0], x)
    assert np.array_equal(SignFlip(0).views(x, 1, seed=0)[:, 0], x)
    assert np.array_equal(Crop(8).views(x, 1, seed=0)[:, 0], x)
    assert np.array_equal(GaussianNoise(0).views(x, 1, seed=0)[:, 0], x)


def test_horizontal_flip_law():
    n = 10_000
    x = np.tile([1.0, 2.0, 3.0, 4.0], (n, 1))
    xi = HorizontalFlip((2, 2), p=0.3).views(x, 2, seed=0)
    flipped = (xi == [2.0, 1.0, 4.0, 3.0]).all(-1)
    assert np.array_equal(flipped, ~(xi == x[:, None]).all(-1))
    se = math.sqrt(0.3 * 0.7 / n)
    assert np.abs(flipped.mean(0) - 0.3).max() < 5 * se
    assert abs((flipped[:, 0] & flipped[:, 1]).mean() - 0.09) < 5 * se


def test_cutout_law():
    n, (h, w), size = 12_000, (4, 5), 2
    holes = Cutout((h, w), size).views(np.ones((n, h * w)), 1, seed=3).reshape(n, h, w) == 0
    assert np.all(holes.sum((1, 2)) == size**2)
    top, left = holes.any(2).argmax(1), holes.any(1).argmax(1)
    counts = np.zeros((h - size + 1, w - size + 1))
    np.add.at(counts, (top, left), 1)
    p = 1 / counts.size
    assert np.abs(counts / n - p).max() < 5 * math.sqrt(p * (1 - p) / n)


def positions(a, images):
    """Places of a single bright pixel's mass, relative to the centre."""
    h, w = a.image_shape
    mass = images.sum((-2, -1))
    y = (images * (np.arange(h) - (h - 1) / 2)[:, None]).sum((-2, -1)) / mass
    return np.stack([y, (images * (np.arange(w) - (w - 1) / 2)).sum((-2, -1)) / mass], -1)


def test_affine_shift_law():
    n, a = 4000, Affine((15, 15), rotation=0, zoom=1, shift=3.0)
    x = np.zeros((n, 15, 15))
    x[:, 7, 7] = 1.0
    at = positions(a, a.views(x.reshape(n, -1), 1, seed=0).reshape(n, 15, 15))
    assert np.abs(at).max() < 3.0
    assert np.abs(at.mean(0)).max() < 5 * 3 / math.sqrt(3 * n)
    covariance = at.T @ at / n  # uniform on [-3, 3]: variance 3, fourth moment 81/5
    assert np.abs(covariance - 3 * np.eye(2)).max() < 5 * math.sqrt((81 / 5 - 9) / n)


def test_affine_rotation_law():
    """A linear image rotates exactly: its gradient turns by theta, counter-clockwise as displayed."""
    n, a = 3000, Affine((9, 9), rotation=60, zoom=1, shift=0)
    column = np.mgrid[:9, :9][1] - 4.0
    image = (10 + column).reshape(1, -1)
    xi = a.views(np.tile(image, (n, 1)), 1, seed=0).reshape(n, 9, 9)
    gx, gy = xi[:, 4, 5] - xi[:, 4, 4], xi[:, 5, 4] - xi[:, 4, 4]
    theta = np.degrees(np.arctan2(-gy, gx))
    np.testing.assert_allclose(np.hypot(gx, gy), 1.0, rtol=1e-12)
    assert 59 < np.abs(theta).max() <= 60
    assert abs(theta.mean()) < 5 * 60 / math.sqrt(3 * n)
    assert abs((theta**2).mean() - 1200) < 5 * math.sqrt((60**4 / 5 - 1200**2) / n)


def test_affine_zoom_law():
    n, a = 3000, Affine((9, 9), rotation=0, zoom=2, shift=0)
    image = np.tile(10.0 + np.arange(9.0), (9, 1)).reshape(1, -1)
    xi = a.views(np.tile(image, (n, 1)), 1, seed=0).reshape(n, 9, 9)
    log_zoom = -np.log2(xi[:, 4, 5] - xi[:, 4, 4])
    assert 0.99 < np.abs(log_zoom).max() <= 1
    assert abs(log_zoom.mean()) < 5 / math.sqrt(3 * n)
    assert abs((log_zoom**2).mean() - 1 / 3) < 5 * math.sqrt((1 / 5 - 1 / 9) / n)


def test_affine_at_rest_is_the_identity():
    x = samples(7, 60)
    for shape in [(12, 5), (4, 5, 3)]:
        still = Affine(shape, rotation=0, zoom=1, shift=0)
        assert np.array_equal(still.views(x, 1, seed=0)[:, 0], x)


def test_affine_far_away_is_zero():
    x = np.ones((20, 16))
    xi = Affine((4, 4), rotation=0, zoom=1, shift=1e12).views(x, 1, seed=0)
    assert np.abs(xi).max() == 0


# ---------------------------------------------------------------- purity


@given(ANY, SEEDS, st.integers(0, 2**55), st.integers(0, 9), st.integers(1, 3))
@settings(max_examples=60, deadline=None)
def test_any_division_of_the_data_makes_the_same_views(example, seed, first, cut, m):
    a, d = example
    x = samples(9, d)
    whole = a.views(x, m, seed=seed, first=first)
    parts = [a.views(x[i:j], m, seed=seed, first=first + i) for i, j in ((0, cut), (cut, 9)) if i < j]
    assert np.array_equal(whole, np.concatenate(parts))
    assert np.array_equal(whole, a.views(x, m + 2, seed=seed, first=first)[:, :m])


@pytest.mark.parametrize(("a", "d"), CASES)
def test_blocks_and_threads_do_not_matter(a, d, monkeypatch):
    n = 150 if d < 100 else 20
    x = samples(n, d)
    whole = a.views(x, 2, seed=9)
    for block, threads in ((1, 1), (5 * d, 3), (64 * d, 2)):
        monkeypatch.setattr(tunables, "CPU_VIEW_COORDINATES", block)
        monkeypatch.setenv("SSLCORE_NUM_THREADS", str(threads))
        assert n_threads() == threads
        assert np.array_equal(a.views(x, 2, seed=9), whole)


@given(ANY, st.sampled_from(["f4", "f8", "f2", "i4", "u1", "?"]), st.sampled_from("CFSRB"))
@settings(max_examples=60, deadline=None)
def test_layout_and_dtype(example, dtype, layout):
    a, d = example
    x = np.random.default_rng(3).integers(0, 2, (6, d)).astype(dtype)
    other = {
        "C": lambda: x,
        "F": lambda: np.asfortranarray(x),
        "S": lambda: np.repeat(np.repeat(x, 2, 0), 3, 1)[::2, ::3],
        "R": lambda: x[::-1, ::-1].copy()[::-1, ::-1],
        "B": lambda: np.frombuffer(x.tobytes(), x.dtype).reshape(x.shape),  # read-only
    }[layout]()
    found = a.views(other, 2, seed=1)
    assert found.dtype == (np.float32 if dtype in ("f4", "f2") else np.float64)
    assert found.flags.c_contiguous
    assert np.array_equal(found, a.views(x.astype(found.dtype), 2, seed=1))
    assert np.array_equal(other, x)  # the samples stay as they are


@given(ANY, SEEDS, st.integers(0, 63))
@settings(max_examples=40, deadline=None)
def test_every_bit_of_the_seed_counts(example, seed, bit):
    a, d = example
    if example in CONSTANT:
        return
    x = np.tile(np.arange(1.0, d + 1), (64, 1))
    one, two = (a.views(x, 2, seed=s, first=5) for s in (seed, seed ^ (1 << bit)))
    assert not np.array_equal(one, two)
    assert not np.array_equal(one[:, 0], one[:, 1])
    assert not np.array_equal(one, a.views(x, 2, seed=seed, first=5 + 2**40))


def test_compose_is_its_stages_in_order():
    x = samples(30, 12)
    parts = [BitFlip(0.3), HorizontalFlip((3, 4)), Cutout((3, 4), 2)]
    flat = Compose(*parts).views(x, 2, seed=4)
    assert np.array_equal(flat, Compose(Compose(parts[0], parts[1]), parts[2]).views(x, 2, seed=4))
    assert np.array_equal(BitFlip(0.3).views(x, 2, seed=4), Compose(BitFlip(0.3)).views(x, 2, seed=4))
    # the first stage shows its own law's views; erasing last leaves zeros, erasing first does not
    assert np.array_equal(np.abs(flat[flat != 0]) > 0, np.ones(np.count_nonzero(flat), bool))
    last = Compose(GaussianNoise(1.0), Cutout((3, 4), 2)).views(x, 2, seed=4)
    assert np.all((last == 0).sum(-1) == 4)
    assert np.all(Compose(Cutout((3, 4), 2), GaussianNoise(1.0)).views(x, 2, seed=4) != 0)


def test_compose_draws_afresh_at_each_place():
    x = np.zeros((5000, 4))
    one, two = (a.views(x, 1, seed=0)[:, 0] for a in (GaussianNoise(1), Compose(GaussianNoise(1), GaussianNoise(1))))
    second = two - one
    assert abs(np.corrcoef(one.ravel(), second.ravel())[0, 1]) < 5 / math.sqrt(one.size)
    assert abs(two.var() - 2) < 5 * 2 * math.sqrt(2 / two.size)


def test_threads_of_the_caller(monkeypatch):
    from concurrent.futures import ThreadPoolExecutor

    monkeypatch.setenv("SSLCORE_NUM_THREADS", "2")
    x = samples(3000, 16)
    expected = GaussianNoise(1.0).views(x, 2, seed=0)
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(lambda _: GaussianNoise(1.0).views(x, 2, seed=0), range(8)):
            assert np.array_equal(found, expected)


def test_a_second_process_compiles_nothing():
    script = """
import numpy as np
from sslcore.augmentations import *
from sslcore.backends.numba_cpu import philox, reference_normals
import sslcore.backends.numba_cpu.views, sys
module = sys.modules["sslcore.backends.numba_cpu.views"]
for dtype in ("f4", "f8"):
    for a in (GaussianNoise(.1), BitFlip(.1), Resample(.1), Affine((2, 2)), HorizontalFlip((2, 2)), Cutout((2, 2), 1),
              Crop(2), Shift([.5, .5]), Reversal(.5), Mixture([.5, .5], [SignFlip(.5), SignFlip(.5)]), TangentStep(1.),
              Jitter(), Scaling(), MagnitudeWarp(), TimeWarp(), Window(), Corrupt(.5, np.ones((3, 4))),
              Brightness((2, 2)), Blur((2, 2)), ResizedCrop((2, 2))):
        a.views(np.ones((2, 4), dtype), 2, seed=2**63)
        a.views(np.ones((2, 4), dtype), 2, seed=0)
reference_normals(3, 2, 1)
stats = [f.stats for f in {*module._STAGES.values(), module._choose, philox.rows_of_views} if hasattr(f, "stats")]
print(sum(sum(s.cache_hits.values()) for s in stats), sum(sum(s.cache_misses.values()) for s in stats))
"""
    for _ in range(2):
        run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=os.environ)
    assert run.stdout.split() == ["31", "0"]


def test_import_is_light():
    script = "import sslcore.augmentations, sys; print('numba' in sys.modules, 'scipy' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["False", "False"]


# ---------------------------------------------------------------- Views


def test_views_object():
    x = samples(11, 4, dtype=np.float32)
    a = Compose(GaussianNoise(0.1), BitFlip(0.1))
    views = Views(x, a, 3, 5)
    expected = a.views(x, 3, seed=5)
    assert (views.shape, views.ndim, views.dtype, len(views)) == ((11, 3, 4), 3, np.float32, 11)
    assert np.array_equal(np.asarray(views), expected)
    assert np.asarray(views, dtype=np.float64).dtype == np.float64
    assert np.array_equal(views.block(2, 7), expected[2:7])
    assert views.block(4, 4).shape == (0, 3, 4)
    for s in (slice(None), slice(3, 9), slice(-2, None), slice(8, 2), slice(5, 100)):
        assert np.array_equal(views[s], expected[s])
    assert np.array_equal(views[-1], expected[-1])
    assert np.array_equal(np.stack(list(views)), expected)
    assert repr(views) == f"Views(x: (11, 4) float32, {a!r}, n_views=3, seed=5)"
    assert np.array_equal(np.asarray(pickle.loads(pickle.dumps(views))), expected)


def test_views_read_a_memmap_block_by_block(tmp_path):
    x = samples(40, 6)
    x[33, 2] = np.nan
    x.tofile(tmp_path / "x.bin")
    on_disk = np.memmap(tmp_path / "x.bin", mode="r", dtype=np.float64, shape=(40, 6))
    views = Views(on_disk, GaussianNoise(0.1), 2, 0)  # not scanned here
    assert isinstance(views.x, np.memmap)
    assert np.array_equal(views[5:20], GaussianNoise(0.1).views(x[5:20], 2, seed=0, first=5))
    with pytest.raises(ValueError, match=r"nan at index \(33, 2\)"):
        views.block(20, 40)
    whole_numbers = np.memmap(tmp_path / "x.bin", mode="r", dtype=np.int16, shape=(40, 24))
    views = Views(whole_numbers, BitFlip(0.5), 2, 0)
    assert views.dtype == np.float64
    assert isinstance(views.x, np.memmap)
    assert np.array_equal(views[3:5], BitFlip(0.5).views(whole_numbers, 2, seed=0)[3:5])


def test_augmentations_are_values():
    assert GaussianNoise(1) == GaussianNoise(1.0)
    assert hash(Compose(BitFlip(0.5))) == hash(Compose(BitFlip(np.float64(0.5))))
    assert Affine([4, 4]) == Affine((4, 4), 10, 1.1, 1)
    assert (
        repr(Compose(BitFlip(0.5), Cutout((2, 2), 1))) == "Compose(BitFlip(p=0.5), Cutout(image_shape=(2, 2), size=1))"
    )
    assert Shift([0.25] * 4) == Shift(np.full(4, 0.25, np.float32)) == Shift(iter([0.25] * 4))
    assert sum(Shift(np.full(3, 1 / 3, np.float32)).law) == 1
    assert repr(Mixture([1], [Crop(2)])) == "Mixture(weights=(1.0,), parts=(Crop(width=2, cyclic=True),))"
    assert Compose(BitFlip(0.5)).stages() == (Stage("flip_signs", (2**31,)),)
    for a, _ in augmentation_examples():
        assert pickle.loads(pickle.dumps(a)) == a
    with pytest.raises(AttributeError):
        BitFlip(0.5).p = 0.1


# ---------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: GaussianNoise(-1), ValueError, "scale must be a finite number >= 0, found -1"),
        (lambda: GaussianNoise(math.nan), ValueError, "scale"),
        (lambda: GaussianNoise("1"), TypeError, "scale must be a real number"),
        (lambda: BitFlip(1.01), ValueError, "p must be a finite number >= 0 and <= 1"),
        (lambda: Resample(-0.01), ValueError, "p must be"),
        (lambda: HorizontalFlip((2, 2), p=2), ValueError, "p must be"),
        (lambda: HorizontalFlip((2,)), ValueError, "image_shape must be positive integers"),
        (lambda: HorizontalFlip((2, 0)), ValueError, "image_shape must be positive integers"),
        (lambda: HorizontalFlip((2, 2.5)), TypeError, "image_shape must be integers"),
        (lambda: HorizontalFlip(4), TypeError, "image_shape must be integers"),
        (lambda: Affine((2, 2), rotation=181), ValueError, "rotation must be"),
        (lambda: Affine((2, 2), zoom=0.9), ValueError, "zoom must be a finite number >= 1"),
        (lambda: Affine((2, 2), shift=-1), ValueError, "shift must be"),
        (lambda: Affine((2, 2), shift=math.inf), ValueError, "shift must be"),
        (lambda: Cutout((4, 3, 9), 4), ValueError, "size must be at least 1 and at most 3, found 4"),
        (lambda: Cutout((4, 3), 0), ValueError, "size must be"),
        (lambda: Cutout((4, 3), 1.0), TypeError, "size must be an integer"),
        (lambda: Compose(), ValueError, "at least one augmentation"),
        (lambda: Compose([BitFlip(0.1)]), TypeError, "takes augmentations, one argument each"),
        (lambda: Compose(BitFlip), TypeError, "takes augmentations"),
        (lambda: Compose(*[BitFlip(0.1)] * 257), ValueError, "at most 256 parts in all, found 257"),
        (lambda: Compose(Cutout((2, 2), 1), Cutout((2, 3), 1)), ValueError, "different numbers of coordinates"),
        (lambda: Crop(0), ValueError, "width must be at least 1, found 0"),
        (lambda: Crop(2.0), TypeError, "width must be an integer"),
        (lambda: Crop(2, cyclic="no"), TypeError, "cyclic must be True or False, found 'no'"),
        (lambda: Shift([]), ValueError, "law must sum to 1, found 0 probabilities that sum to 0"),
        (lambda: Shift([0.5, 0.4]), ValueError, "found 2 probabilities that sum to 0.9"),
        (lambda: Shift([1.5, -0.5]), ValueError, r"law\[0\] must be a finite number >= 0 and <= 1"),
        (lambda: Shift([0.5, math.nan]), ValueError, r"law\[1\] must be"),
        (lambda: Shift(0.5), TypeError, "law must be a sequence of probabilities, found 0.5"),
        (lambda: Shift("10"), TypeError, "law must be a sequence"),
        (lambda: Shift(np.eye(2)), TypeError, "law must be a sequence"),
        (lambda: Reversal(1.1), ValueError, "p must be"),
        (lambda: SignFlip(-0.1), ValueError, "p must be"),
        (lambda: SignFlip(None), TypeError, "p must be"),
        (lambda: TangentStep(-0.1), ValueError, "angle must be a finite number >= 0 and <= 3.14159, found -0.1"),
        (lambda: RandomRotation(90), ValueError, "angle must be a finite number >= 0 and <= 3.14159, found 90"),
        (lambda: RandomRotation("1"), TypeError, "angle must be a real number"),
        (lambda: Mixture([], []), ValueError, "weights must sum to 1"),
        (lambda: Mixture([1], []), ValueError, "Mixture needs at least one augmentation"),
        (lambda: Mixture([1], [BitFlip]), TypeError, "takes augmentations, in one sequence, found <class"),
        (lambda: Mixture([1], BitFlip(0.1)), TypeError, "parts of Mixture must be a sequence of augmentations"),
        (lambda: Mixture([0.5, 0.5], [BitFlip(0.1)]), ValueError, "one weight for each part, found 2 weights and 1"),
        (lambda: Mixture([0.5, 0.6], [BitFlip(0.1)] * 2), ValueError, "weights must sum to 1"),
        (lambda: Mixture([1], [Compose(*[BitFlip(0.1)] * 256)]), ValueError, "at most 256 parts in all, found 257"),
        (lambda: Mixture([0.5] * 2, [Cutout((2, 2), 1), Cutout((2, 3), 1)]), ValueError, "the parts of Mixture take"),
    ],
)
def test_bad_parameters(make, error, message):
    with pytest.raises(error, match=message):
        make()


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"x": [[1.0, math.nan]]}, ValueError, r"x must be finite, found nan at index \(0, 1\)"),
        ({"x": [[1.0, 2.0], [-math.inf, 0.0]]}, ValueError, r"found -inf at index \(1, 0\)"),
        ({"x": np.ones((0, 3))}, ValueError, r"x must not be empty, found shape \(0, 3\)"),
        ({"x": np.ones((3, 0))}, ValueError, "x must not be empty"),
        ({"x": np.ones(3)}, ValueError, r"x must have 2 dimensions \(n, d\), found shape \(3,\)"),
        ({"x": np.ones((3, 2, 2))}, ValueError, "x must have 2 dimensions"),
        ({"x": [[1.0], [1.0, 2.0]]}, ValueError, "rectangular"),
        ({"x": np.ones((3, 2), complex)}, TypeError, "complex128"),
        ({"x": np.ones((3, 2), object)}, TypeError, "object"),
        ({"n_views": 0}, ValueError, "n_views must be at least 1"),
        ({"n_views": 2.0}, TypeError, "n_views must be an integer"),
        ({"n_views": 2**32 + 1}, ValueError, "n_views must be"),
        ({"seed": -1}, ValueError, "seed must be at least 0"),
        ({"seed": 2**64}, ValueError, "seed must be"),
        ({"seed": None}, TypeError, "seed must be an integer"),
        ({"first": -1}, ValueError, "first must be at least 0"),
        ({"first": 1.5}, TypeError, "first must be an integer"),
        ({"first": 2**56 - 2}, ValueError, r"below 2\*\*56, found first=\d+ with 3 samples"),
        ({"backend": "abacus"}, ValueError, "backend must be one of"),
    ],
)
def test_bad_calls(change, error, message):
    arguments = {"x": np.ones((3, 2)), "n_views": 2, "seed": 0} | change
    x, n_views = arguments.pop("x"), arguments.pop("n_views")
    with pytest.raises(error, match=message):
        GaussianNoise(0.1).views(x, n_views, **arguments)


def test_a_backend_that_is_not_there(without_cupy):
    with pytest.raises(BackendError, match="the 'cupy' backend is not available here"):
        GaussianNoise(0.1).views(np.ones((3, 2)), 2, seed=0, backend="cupy")


def test_images_of_another_shape():
    message = r"takes samples of 6 coordinates .*found 5; flatten the images"
    for a in (HorizontalFlip((2, 3)), Compose(BitFlip(0.1), Cutout((2, 3), 1))):
        with pytest.raises(ValueError, match=message):
            a.views(np.ones((2, 5)), 1, seed=0)
        with pytest.raises(ValueError, match=message):
            Views(np.ones((2, 5)), a, 1, 0)


@pytest.mark.parametrize(
    ("a", "message"),
    [
        (Crop(6), r"Crop\(width=6, cyclic=True\) keeps 6 coordinates, found samples of 5; take a width <= 5"),
        (Shift([0.5] + [0.1] * 5), "law of Shift has 6 shifts, 0 to 5, found samples of 5 coordinates"),
    ],
)
def test_samples_that_are_too_short(a, message):
    for whole in (a, Compose(BitFlip(0.1), a), Mixture([0.5, 0.5], [BitFlip(0.1), Compose(a)])):
        with pytest.raises(ValueError, match=message):
            whole.views(np.ones((2, 5)), 1, seed=0)
        with pytest.raises(ValueError, match=message):
            Views(np.ones((2, 5)), whole, 1, 0)
        whole.views(np.ones((2, 6)), 1, seed=0)


def test_a_sphere_has_two_dimensions():
    for a in (TangentStep(1.0), Compose(BitFlip(0.1), RandomRotation(1.0))):
        with pytest.raises(ValueError, match="sphere in two dimensions or more, found samples of 1"):
            a.views(np.ones((3, 1)), 2, seed=0)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((np.ones((3, 2)), "noise", 2, 0), TypeError, "augmentation must be"),
        ((np.ones((3, 2)), BitFlip, 2, 0), TypeError, "augmentation must be"),
        ((np.ones((3, 2)), BitFlip(0.1), 0, 0), ValueError, "n_views must be"),
        ((np.ones((3, 2)), BitFlip(0.1), 2, -1), ValueError, "seed must be"),
        ((np.ones(3), BitFlip(0.1), 2, 0), ValueError, "x must have 2 dimensions"),
        ((np.full((3, 2), np.inf), BitFlip(0.1), 2, 0), ValueError, r"inf at index \(0, 0\)"),
    ],
)
def test_bad_views(arguments, error, message):
    with pytest.raises(error, match=message):
        Views(*arguments)


def test_bad_memmaps(tmp_path):
    flat = np.memmap(tmp_path / "x.bin", mode="w+", dtype=np.float64, shape=(6,))
    with pytest.raises(ValueError, match="x must have 2 dimensions"):
        Views(flat, BitFlip(0.1), 2, 0)
    numbers = np.memmap(tmp_path / "z.bin", mode="w+", dtype=np.complex128, shape=(2, 3))
    with pytest.raises(TypeError, match="complex128"):
        Views(numbers, BitFlip(0.1), 2, 0)


@pytest.mark.parametrize(
    ("use", "error", "message"),
    [
        (lambda v: v.block(-1, 2), ValueError, "start must be at least 0"),
        (lambda v: v.block(2, 1), ValueError, "stop must be at least 2"),
        (lambda v: v.block(0, 4), ValueError, "at most 3"),
        (lambda v: v[::2], ValueError, "must have step 1, found 2"),
        (lambda v: v[3], IndexError, "sample 3 is out of range for 3 samples"),
        (lambda v: v[0, 1], TypeError, "an integer or a slice over samples"),
        (lambda v: v.__array__(copy=False), ValueError, "copy=False"),
    ],
)
def test_bad_use_of_views(use, error, message):
    with pytest.raises(error, match=message):
        use(Views(np.ones((3, 2)), BitFlip(0.1), 2, 0))


# ---------------------------------------------------------------- augmentations of one's own


@dataclass(frozen=True)
class _Doubled(Augmentation):
    """It makes its views by itself."""

    factor: float = 2.0

    def stages(self):
        return ()

    def views(self, x, n_views, *, seed, first=0, backend=None):
        factors = np.random.default_rng(seed).uniform(1, self.factor, (first + len(x), n_views, 1))[first:]
        return np.asarray(x)[:, None] * factors


def test_an_augmentation_that_makes_its_views():
    """It works for arrays, for views that are not stored, and in fits; not as a part of another one."""
    x = np.random.default_rng(0).standard_normal((30, 3))
    expected = _Doubled().views(x, 2, seed=3)
    views = Views(x, _Doubled(), 2, seed=3)
    assert np.array_equal(np.asarray(views), expected)
    assert np.array_equal(views[7:9], expected[7:9])
    assert Views(x.astype(np.float32), _Doubled(), 2, seed=3)[0].dtype == np.float32
    for model in (Gaussian(1.0), Identity()):
        stored, made = pretrain(expected, model, 2, reg=1e-2), pretrain(views, model, 2, reg=1e-2)
        np.testing.assert_allclose(made.eigenvalues, stored.eigenvalues, rtol=1e-9)
    for combine in (lambda: Compose(_Doubled(), BitFlip(0.1)), lambda: Mixture([1.0], [_Doubled()])):
        with pytest.raises(TypeError, match="makes its views by a method of its own"):
            combine()

    @dataclass(frozen=True)
    class _Short(_Doubled):
        def views(self, x, n_views, *, seed, first=0, backend=None):
            return super().views(x, 1, seed=seed, first=first)

    with pytest.raises(ValueError, match=r"must make views of shape \(1, 2, 3\), found \(1, 1, 3\)"):
        Views(x, _Short(), 2, seed=3)[0]


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ((Stage("shear", (1.0,)),), "a stage that no backend has: .*'shear'.*; there are add_normals, affine"),
        ((("flip_signs", (5,)),), "a stage that no backend has"),
        ((Choice((2**32,), ((Stage("shear", ()),),)),), "a stage that no backend has"),
        ([Stage("flip_signs", (5,))], "must return a tuple of Stage and Choice"),
        (None, "must return a tuple of Stage and Choice"),
        ((Stage("flip_signs", (0.5,)),), r"the numbers of the stage 'flip_signs' are \(integral\)"),
        ((Stage("flip_signs", ()),), "the numbers of the stage"),
        ((Stage("affine", (1, 2, 3)),), "the numbers of the stage"),
    ],
)
def test_stages_that_no_backend_has(stages, message):
    """Whoever is asked first says so."""

    @dataclass(frozen=True)
    class _Own(Augmentation):
        def stages(self):
            return stages

    for use in (
        lambda: _Own().views([[1.0, 2.0]], 2, seed=0),
        lambda: Views([[1.0, 2.0]], _Own(), 2, seed=0),
        lambda: Compose(BitFlip(0.5), _Own()),
        lambda: Mixture([0.5, 0.5], [_Own(), BitFlip(0.5)]),
    ):
        with pytest.raises(TypeError, match=message):
            use()


def test_an_augmentation_of_known_stages(backend):
    @dataclass(frozen=True)
    class _Noisy(Augmentation):
        scale: float

        def stages(self):
            return Compose(GaussianNoise(self.scale), SignFlip(0.5)).stages()

    x = np.random.default_rng(0).standard_normal((5, 3))
    expected = Compose(GaussianNoise(0.5), SignFlip(0.5)).views(x, 3, seed=1)
    assert np.array_equal(backend.asnumpy(_Noisy(0.5).views(backend.asarray(x), 3, seed=1)), expected)
    both = Compose(_Noisy(0.5), BitFlip(0.0)).views(x, 3, seed=1)
    assert np.array_equal(both, expected)
