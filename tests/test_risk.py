"""Risks: definitions by loops over pairs, gradients by differences, limits, bad input."""

import itertools
import math
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from functools import partial

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sslcore import risk, tunables
from sslcore.risk import equivalent_parameters

from . import naive
from .comparators import TOLERANCE, assert_close
from .strategies import LAYOUTS, arrays, seeds, shapes, with_layout

RISKS = {
    "vicreg": (risk.vicreg, naive.vicreg),
    "vicreg unbiased": (partial(risk.vicreg, unbiased=True), partial(naive.vicreg, unbiased=True)),
    "vicreg beta": (partial(risk.vicreg, beta=2.5), partial(naive.vicreg, beta=2.5)),
    "vicreg beta unbiased": (
        partial(risk.vicreg, beta=0.3, unbiased=True),
        partial(naive.vicreg, beta=0.3, unbiased=True),
    ),
    "vicreg beta 0": (partial(risk.vicreg, beta=0), partial(naive.vicreg, beta=0)),
    "spectral": (risk.spectral_contrastive, naive.spectral_contrastive),
    "spectral unbiased": (
        partial(risk.spectral_contrastive, unbiased=True),
        partial(naive.spectral_contrastive, unbiased=True),
    ),
    "hinge": (risk.vicreg_hinge, naive.vicreg_hinge),
    "hinge options": (
        partial(risk.vicreg_hinge, similarity=2, variance=3, covariance=4, target_std=1.5, eps=0.1),
        partial(naive.vicreg_hinge, similarity=2, variance=3, covariance=4, target_std=1.5, eps=0.1),
    ),
    "barlow": (risk.barlow_twins, naive.barlow_twins),
    "barlow options": (
        partial(risk.barlow_twins, redundancy=0.5, eps=0.1),
        partial(naive.barlow_twins, redundancy=0.5, eps=0.1),
    ),
}
each_risk = pytest.mark.parametrize("name", RISKS)


def difference(f, z, direction, h):
    """Fourth-order derivative of f at z along ``direction``."""
    near = f(z + h * direction) - f(z - h * direction)
    far = f(z + 2 * h * direction) - f(z - 2 * h * direction)
    return (8 * near - far) / (12 * h)


def sample(shape, seed=0, dtype=np.float64):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(tunables, "CPU_RISK_MINI_ROWS", 6)
    monkeypatch.setattr(tunables, "CPU_RISK_BLOCK_ROWS", 10)
    monkeypatch.setattr(tunables, "CPU_RISK_MOST_PARTS", 3)
    monkeypatch.setattr(tunables, "RISK_BLOCK_ENTRIES", 20)


# ------------------------------------------------------------------------------ values and gradients


@each_risk
@pytest.mark.parametrize("shape", [(2, 2, 1), (3, 2, 4), (9, 3, 2), (7, 5, 3)])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_value_is_the_definition(name, shape, dtype, small_blocks):
    function, oracle = RISKS[name]
    z = sample(shape, dtype=dtype)
    value = function(z)
    assert type(value) is float
    expected = oracle(z.astype(np.float64))
    # sums are accumulated in float64 whatever the dtype of z
    assert_close(value, expected, tol=1e-13, scale=max(abs(expected), shape[2]))


@each_risk
@pytest.mark.parametrize("shape", [(2, 2, 1), (3, 2, 4), (9, 3, 2)])
def test_gradient_is_the_derivative_of_the_definition(name, shape, small_blocks):
    function, oracle = RISKS[name]
    z = sample(shape, seed=1)
    value, gradient = function(z, return_grad=True)
    assert value == function(z)
    for seed in range(3):
        direction = sample(shape, seed=10 + seed)
        expected = difference(oracle, z, direction, 1e-4)
        assert_close(np.sum(gradient * direction), expected, tol=1e-6, scale=max(1.0, np.abs(gradient).sum()))


@given(z=arrays(shapes(block=5, minimum=(2, 2, 1))), unbiased=st.booleans(), beta=st.floats(0, 3))
def test_vicreg_property(backend, z, unbiased, beta):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tunables, "CPU_RISK_MINI_ROWS", 5)
        patch.setattr(tunables, "CPU_RISK_BLOCK_ROWS", 8)
        if backend.name == "cupy":
            patch.setattr(tunables, "CUDA_RISK_BLOCK_ENTRIES", 40)
        value, gradient = risk.vicreg(backend.asarray(z), beta, unbiased, return_grad=True)
        gradient = backend.asnumpy(gradient)
    n, m, k = z.shape
    x = z.astype(np.float64)
    expected = naive.vicreg(x, beta, unbiased)
    scale = k + np.sum(x**2) ** 2 / n
    assert_close(value, expected, tol=1e-13, scale=scale)
    # the formula of the page, term by term
    covs = np.einsum("iac,iad->icd", x, x) / m
    contrast = x - x.mean(axis=1, keepdims=True)
    mean = covs.mean(axis=0)
    if unbiased:
        slope = 4 * beta * m / ((m - 1) * n * m) * contrast - 4 / (n * m) * x
        slope += 4 / (n * m * (n - 1)) * np.einsum("icd,iad->iac", n * mean - covs, x)
    else:
        slope = 4 * beta / (n * m) * contrast + 4 / (n * m) * x @ (mean - np.eye(k))
    assert_close(gradient, slope, dtype=z.dtype, scale=scale)


@given(z=arrays(shapes(block=4, minimum=(2, 2, 1))), name=st.sampled_from(["hinge options", "barlow options"]))
def test_centred_risks_property(backend, z, name):
    function, oracle = RISKS[name]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tunables, "RISK_BLOCK_ENTRIES", 16)
        patch.setattr(backend.primitives, "BLOCK_FACTOR", 1)
        value, gradient = function(backend.asarray(z), return_grad=True)
        gradient = backend.asnumpy(gradient)
    x = z.astype(np.float64)
    assert_close(value, oracle(x), tol=1e-12, scale=max(1.0, value))
    assert gradient.dtype == z.dtype
    exact = function(x, return_grad=True)[1]
    assert_close(gradient, exact, dtype=z.dtype)
    # a constant added to a view changes nothing but the invariance term
    moved, slope = function(x + 3.0, return_grad=True)
    assert_close(moved, value, tol=1e-12, scale=max(1.0, value))
    assert_close(slope, exact, scale=max(1.0, np.abs(exact).max()))


@pytest.mark.parametrize(
    ("unbiased", "value", "norm"), [(False, 1.5971028183, 0.644376527462), (True, 1.14538278422, 1.1247271152)]
)
def test_oracle_h(unbiased, value, norm):
    """Values computed elsewhere, to the digits given."""
    i, a, c = np.ogrid[:5, :3, :4]
    z = np.sin(i * (c + 1) + 0.3 * a + 0.5) + 0.1 * np.cos(i + 2 * a + 3 * c)
    found, gradient = risk.vicreg(z, 1.0, unbiased, return_grad=True)
    assert_close(found, value, tol=1e-11)
    assert_close(np.linalg.norm(gradient), norm, tol=1e-11)


@pytest.mark.parametrize("unbiased", [False, True])
def test_spectral_contrastive_is_vicreg_minus_k(unbiased):
    z = sample((6, 3, 4))
    value, gradient = risk.spectral_contrastive(z, unbiased, return_grad=True)
    expected, slope = risk.vicreg(z, 1.0, unbiased, return_grad=True)
    assert value == expected - 4
    assert_close(gradient, slope, tol=0.0)


def test_unbiased_has_the_population_risk_as_its_mean():
    """All draws of 2 samples of 3, and of 2 views of 2 for each, enumerated."""
    population = sample((3, 2, 2), seed=4)
    beta = 0.7
    within = np.mean([np.sum((p[a] - p[b]) ** 2) for p in population for a in range(2) for b in range(2)])
    second = np.einsum("iac,iad->cd", population, population) / 6
    expected = beta * within + np.sum((second - np.eye(2)) ** 2)
    draws = [
        np.stack([population[i, [a, b]], population[j, [c, d]]])
        for i, j in itertools.product(range(3), repeat=2)
        for a, b, c, d in itertools.product(range(2), repeat=4)
    ]
    assert_close(np.mean([risk.vicreg(z, beta, unbiased=True) for z in draws]), expected)
    assert abs(np.mean([risk.vicreg(z, beta) for z in draws]) - expected) > 0.01
    spectral = np.mean([risk.spectral_contrastive(z, unbiased=True) for z in draws])
    assert_close(spectral, within + np.sum((second - np.eye(2)) ** 2) - 2)


def test_unbiased_is_unbounded_below():
    z = np.zeros((2, 2, 1))
    z[0] = 10.0
    assert risk.vicreg(z, unbiased=True) < -90
    assert risk.vicreg(z) >= 0


def test_hinge_at_collapse_and_barlow_of_constant_views():
    z = np.ones((4, 2, 3))
    value, gradient = risk.vicreg_hinge(z, return_grad=True)
    assert_close(value, 25 * 2 * (1 - 1e-2))
    assert_close(gradient, np.zeros_like(z))
    value, gradient = risk.barlow_twins(z, return_grad=True)
    assert_close(value, 3.0)
    assert_close(gradient, np.zeros_like(z))


# ------------------------------------------------------------------------------ layouts, threads, processes


@each_risk
@pytest.mark.parametrize("layout", LAYOUTS)
def test_any_layout(name, layout):
    function, _ = RISKS[name]
    z = sample((70, 2, 5))
    other = with_layout(z, layout)
    kept = other.copy()
    value, gradient = function(other, return_grad=True)
    expected, slope = function(z, return_grad=True)
    assert_close(value, expected)
    assert_close(gradient, slope)
    assert gradient.flags.c_contiguous
    assert (other == kept).all()


@each_risk
def test_integers_and_lists_become_float64(name):
    function, _ = RISKS[name]
    z = np.random.default_rng(0).integers(-3, 3, (5, 2, 3))
    value, gradient = function(z.tolist(), return_grad=True)
    assert gradient.dtype == np.float64
    assert value == function(z.astype(float))


@pytest.mark.parametrize("shape", [(4096, 2, 3), (3000, 3, 2), (5, 300, 2), (3, 2, 200), (100, 3, 129)])
@pytest.mark.parametrize("unbiased", [False, True])
def test_real_block_sizes(shape, unbiased):
    z = sample(shape)
    value, gradient = risk.vicreg(z, 0.5, unbiased, return_grad=True)
    n, m, k = shape
    rows = z.reshape(-1, k)
    second = rows.T @ rows / (n * m)
    contrast = z - z.mean(axis=1, keepdims=True)
    if unbiased:
        # sum_i ||C_i||^2 from the m x m products; C_i z_ia likewise
        products = np.einsum("iac,ibc->iab", z, z)
        expected = (n**2 * np.sum(second**2) - np.sum(products**2) / m**2) / (n * (n - 1)) - 2 * np.trace(second) + k
        expected += 0.5 * 2 * np.sum(contrast**2) / (n * (m - 1))
        slope = 2 / ((m - 1) * n) * contrast - 4 / (n * m) * z + 4 / (m * (n - 1)) * z @ second
        slope -= 4 / (n * m * (n - 1)) * (products @ z) / m
    else:
        expected = np.sum((second - np.eye(k)) ** 2) + 0.5 * 2 * np.sum(contrast**2) / (n * m)
        slope = 2 / (n * m) * contrast + 4 / (n * m) * z @ (second - np.eye(k))
    assert_close(value, expected, scale=max(k, expected))
    assert_close(gradient, slope)


def test_threads_change_nothing(monkeypatch):
    z = sample((9000, 2, 7))
    expected, slope = risk.vicreg(z, unbiased=True, return_grad=True)
    with ThreadPoolExecutor(4) as pool:
        for value, gradient in pool.map(lambda _: risk.vicreg(z, unbiased=True, return_grad=True), range(8)):
            assert value == expected
            assert (gradient == slope).all()
    monkeypatch.setenv("SSLCORE_NUM_THREADS", "1")
    assert risk.vicreg(z, unbiased=True) == expected


def test_a_second_process_compiles_nothing():
    risk.vicreg(sample((4, 2, 3)), unbiased=True, return_grad=True)
    program = """
import numpy as np
from sslcore.backends.numba_cpu import risk as primitives
from sslcore.risk import equivalent_parameters
from sslcore.risk import vicreg
vicreg(np.ones((4, 2, 3)), unbiased=True, return_grad=True)
for kernel in (primitives._sums, primitives._gradient):
    assert kernel.stats.cache_hits and not kernel.stats.cache_misses, kernel.stats
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


# ------------------------------------------------------------------------------ bad input and scales

bad_views = pytest.mark.parametrize(
    ("z", "error", "message"),
    [
        (np.ones((3, 4)), ValueError, r"3 dimensions \(n, m, k\)"),
        (np.ones((3, 1, 4)), ValueError, "at least 2 views"),
        (np.ones((0, 2, 4)), ValueError, "empty"),
        (np.ones((3, 2, 0)), ValueError, "empty"),
        (np.ones((3, 2, 2), complex), TypeError, "real numbers"),
        (np.ones((3, 2, 2), object), TypeError, "real numbers"),
        ([[[1.0], [2.0]], [[1.0]]], ValueError, "rectangular"),
    ],
)


@each_risk
@bad_views
def test_bad_views(name, z, error, message):
    with pytest.raises(error, match=message):
        RISKS[name][0](z)


@each_risk
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_entries_that_are_not_finite_are_found(name, value, dtype):
    z = sample((300, 2, 3), dtype=dtype)
    z[123, 1, 2] = value
    with pytest.raises(ValueError, match=r"z must be finite, found .* at index \(123, 1, 2\)"):
        RISKS[name][0](z, return_grad=True)


@pytest.mark.parametrize("name", ["vicreg unbiased", "spectral unbiased", "hinge", "barlow"])
def test_one_sample_is_too_few(name):
    with pytest.raises(ValueError, match="at least 2 samples"):
        RISKS[name][0](np.ones((1, 2, 2)))


def test_one_sample_is_enough_for_the_biased_risk():
    assert risk.vicreg(np.ones((1, 2, 1))) == 0.0


@pytest.mark.parametrize(
    ("function", "options", "error"),
    [
        (risk.vicreg, {"beta": -1.0}, ValueError),
        (risk.vicreg, {"beta": np.nan}, ValueError),
        (risk.vicreg, {"beta": "1"}, TypeError),
        (risk.vicreg_hinge, {"similarity": -1}, ValueError),
        (risk.vicreg_hinge, {"variance": -1}, ValueError),
        (risk.vicreg_hinge, {"covariance": -1}, ValueError),
        (risk.vicreg_hinge, {"target_std": -1}, ValueError),
        (risk.vicreg_hinge, {"eps": 0.0}, ValueError),
        (risk.barlow_twins, {"redundancy": -1}, ValueError),
        (risk.barlow_twins, {"eps": 0.0}, ValueError),
    ],
)
def test_parameters_out_of_range(function, options, error):
    with pytest.raises(error, match=next(iter(options))):
        function(np.ones((3, 2, 2)), **options)


@each_risk
@pytest.mark.parametrize("scale", [1e300, 1e154, 1e100, 1e77, 1e76])
def test_huge_scales_never_give_infinity(name, scale):
    z = scale * sample((4, 2, 3))
    try:
        value, gradient = RISKS[name][0](z, return_grad=True)
    except OverflowError:
        return
    assert np.isfinite(value)
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize("name", ["vicreg", "vicreg unbiased", "spectral", "hinge"])
def test_a_risk_that_overflows_says_so(name):
    with pytest.raises(OverflowError, match="rescale"):
        RISKS[name][0](1e150 * sample((4, 2, 3)))


@pytest.mark.parametrize("name", ["vicreg", "vicreg unbiased", "hinge"])
def test_a_float32_gradient_that_overflows_says_so(name):
    z = np.float32(1e14) * sample((4, 2, 3), dtype=np.float32)
    assert np.isfinite(RISKS[name][0](z))
    with pytest.raises(OverflowError, match=r"gradient .*float32"):
        RISKS[name][0](z, return_grad=True)


@each_risk
@pytest.mark.parametrize(("scale", "dtype"), [(1e-150, np.float64), (1e-30, np.float32)])
def test_tiny_scales(name, scale, dtype):
    z = np.array(scale * sample((4, 2, 3)), dtype=dtype)
    value, gradient = RISKS[name][0](z, return_grad=True)
    assert_close(value, RISKS[name][0](np.zeros((4, 2, 3))))
    assert gradient.dtype == dtype
    assert np.isfinite(gradient).all()
    if name == "vicreg":
        # -(4/N) z and the invariance term alone are left
        expected = 4 / 8 * (z - z.mean(axis=1, keepdims=True)) - 4 / 8 * z
        assert_close(gradient, expected, tol=TOLERANCE[np.dtype(dtype)])


# ---------------------------------------------------------------- the coefficients of deep learning


@given(
    similarity=st.floats(0, 1e3),
    variance=st.floats(1e-3, 1e3),
    more=st.floats(0, 9),
    decay=st.floats(0, 1),
    k=st.integers(1, 99),
)
def test_equivalent_parameters(similarity, variance, more, decay, k):
    """The loss in those terms is (2 variance / k) times the penalised risk, at any psi with diagonal covariance."""
    beta, reg = equivalent_parameters(similarity, variance, variance + more, decay, n_components=k)
    rng = np.random.default_rng(k)
    inv, diagonal, norm = rng.uniform(0, 2), rng.uniform(0, 2, k), rng.uniform(0, 9)
    loss = similarity * inv + 2 / k * variance * ((1 - diagonal) ** 2).sum() + decay / 2 * norm
    ours = beta * inv + ((diagonal - 1) ** 2).sum() + 2 * reg * norm
    assert loss == pytest.approx(2 * variance / k * ours, rel=1e-12)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"similarity": -1}, ValueError, "similarity must be"),
        ({"variance": 0}, ValueError, "variance must be a finite number > 0"),
        ({"covariance": 0.5}, ValueError, "covariance must be at least variance, found 0.5 < 1: .*not the closed form"),
        ({"covariance": math.nan}, ValueError, "covariance must be"),
        ({"weight_decay": -1e-9}, ValueError, "weight_decay must be"),
        ({"n_components": 0}, ValueError, "n_components must be at least 1"),
        ({"n_components": 2.0}, TypeError, "n_components must be an integer"),
        ({"similarity": "1"}, TypeError, "similarity must be a real number"),
    ],
)
def test_bad_coefficients(change, error, message):
    arguments = {"similarity": 1.0, "variance": 1.0, "covariance": 1.0, "weight_decay": 0.0, "n_components": 3} | change
    with pytest.raises(error, match=message):
        equivalent_parameters(**arguments)


@given(
    exponent=st.integers(-1000, 1000),
    name=st.sampled_from(["vicreg", "spectral_contrastive", "barlow_twins", "vicreg_hinge"]),
    seed=seeds,
)
@example(-530, "barlow_twins", 0)
@example(-530, "vicreg_hinge", 0)
@example(-540, "vicreg", 0)
@example(511, "vicreg", 0)
@example(512, "barlow_twins", 0)
def test_extreme_scales_are_right_or_refused(exponent, name, seed):
    """By the laws of scaling, which powers of two keep to the bit: no infinity, NaN, or lost digits in silence."""
    z = np.random.default_rng(seed).standard_normal((6, 2, 3))
    s = math.ldexp(1.0, exponent)
    function = getattr(risk, name)
    options, scaled = {}, {}
    if name == "barlow_twins":  # invariant
        options, scaled = {"eps": 0.5}, {"eps": math.ldexp(0.5, 2 * exponent) if exponent < 500 else 1e300}
    elif name == "vicreg_hinge":  # the hinge alone is of degree 1
        only = {"similarity": 0.0, "covariance": 0.0}
        options = {"eps": 0.5, "target_std": 2.0, **only}
        scaled = {"eps": math.ldexp(0.5, 2 * exponent) if exponent < 500 else 1e300, "target_std": 2.0 * s, **only}
    if scaled.get("eps") == 0.0:
        return
    try:
        value, gradient = function(s * z, return_grad=True, **scaled)
    except OverflowError:
        assert not -400 < exponent < 200
        return
    assert np.isfinite(value)
    assert np.isfinite(gradient).all()
    if scaled and exponent < 500:
        right, slope = function(z, return_grad=True, **options)
        degree = 0 if name == "barlow_twins" else 1
        assert value == pytest.approx(right * s**degree, rel=1e-10)
        assert_close(gradient * s ** (1 - degree), slope, tol=1e-9)
    elif exponent < -60:  # L(0), and its slope -(4/N) z (I - C) + ...
        assert value == pytest.approx(function(0 * z), rel=1e-12)
    elif not scaled:
        assert value == pytest.approx(
            float(naive_vicreg(z, s)) - (3 if name == "spectral_contrastive" else 0), rel=1e-9
        )


def naive_vicreg(z, s):
    """The biased risk at beta = 1, in integers and fractions of Python."""
    z = [[[Fraction(v) * Fraction(s) for v in view] for view in sample] for sample in z.tolist()]
    n, m, k = len(z), len(z[0]), len(z[0][0])
    views = [view for sample in z for view in sample]
    second = [[sum(v[i] * v[j] for v in views) / (n * m) - (i == j) for j in range(k)] for i in range(k)]
    spread = sum((view[j] - sum(v[j] for v in sample) / m) ** 2 for sample in z for view in sample for j in range(k))
    return 2 * spread / (n * m) + sum(entry**2 for row in second for entry in row)
