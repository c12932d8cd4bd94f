"""Kernels and Gram matrices: values against long double, accuracy near zero distance, blocks, algebra, bad input."""

import math
import tracemalloc
from dataclasses import dataclass
from typing import ClassVar

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sslcore import gram as grams
from sslcore import kernels, pretrain, tunables
from sslcore.backends.numba_cpu import elementary, pairs
from sslcore.backends.numba_cpu import gram as blocks
from sslcore.backends.pairing import TOLERANCE
from sslcore.gram import gram, kernel_product
from sslcore.kernels import (
    Exponential,
    Function,
    Gaussian,
    L1Exponential,
    Linear,
    Matern,
    Polynomial,
    Precomputed,
    Profile,
    _rows,
)

from . import naive
from .comparators import assert_close
from .examples import KERNELS as EXAMPLES
from .examples import kernel_examples, value_scale
from .strategies import LAYOUTS, arrays, dtypes, layouts, sizes, with_layout

DISTANCE = [make for name in ("Exponential", "Gaussian", "L1Exponential", "Matern") for make in EXAMPLES[name]]
SMALL = kernel_examples(1.3)
ONE_FORMULA = {"Exponential", "Gaussian", "L1Exponential", "Linear", "Matern", "Polynomial"}
WIDTHS = (1, 2, 3, 5, 32, 47, 48, 49, 50, 128, 784)


def points(n, d, seed=0, dtype=np.float64):
    return np.random.default_rng(seed).standard_normal((n, d)).astype(dtype)


@pytest.fixture
def small_blocks(monkeypatch):
    """Rows in blocks of 7, tasks of a few rows, more threads than processors."""
    monkeypatch.setattr(_rows, "block_rows", lambda columns, itemsize: 7)
    monkeypatch.setattr(tunables, "CPU_TASK_PAIRS", 40)
    monkeypatch.setenv("SSLCORE_NUM_THREADS", "4")


# ---------------------------------------------------------------- the oracles


@pytest.mark.parametrize("k", [k for k in SMALL if type(k).__name__ in ONE_FORMULA], ids=repr)
def test_oracles_against_mpmath(k):
    """The formulas of the docstrings in 40 digits: the long double oracle is itself right to 1e-17.

    Those of the families are in test_kernel_families.py.
    """
    x, y = points(2, 3), points(2, 3, seed=1)
    with mpmath.workdps(40):
        for i in range(2):
            for j in range(2):
                difference = [mpmath.mpf(float(a)) - mpmath.mpf(float(b)) for a, b in zip(x[i], y[j], strict=True)]
                dot = mpmath.fsum(mpmath.mpf(float(a)) * mpmath.mpf(float(b)) for a, b in zip(x[i], y[j], strict=True))
                r = mpmath.sqrt(mpmath.fsum(t * t for t in difference))
                scale = mpmath.mpf(getattr(k, "scale", 1.0))
                if isinstance(k, Gaussian):
                    exact = mpmath.exp(-(r**2) / (2 * scale**2))
                elif isinstance(k, Exponential):
                    exact = mpmath.exp(-r / scale)
                elif isinstance(k, L1Exponential):
                    exact = mpmath.exp(-mpmath.fsum(abs(t) for t in difference) / scale)
                elif isinstance(k, Matern):  # the general formula, with a Bessel function
                    nu = mpmath.mpf(k.nu)
                    s = mpmath.sqrt(2 * nu) * r / scale
                    exact = 2 ** (1 - nu) / mpmath.gamma(nu) * s**nu * mpmath.besselk(nu, s)
                elif isinstance(k, Polynomial):
                    exact = (dot + k.offset) ** k.degree
                else:
                    exact = dot
                value = naive.gram(k, x[i : i + 1], y[j : j + 1])[0, 0]
                tolerance = 60 * float(np.finfo(np.longdouble).eps)
                assert abs(float(value - np.longdouble(mpmath.nstr(exact, 30)))) <= tolerance * max(1, abs(exact))


# ---------------------------------------------------------------- values


def clouds(d, dtype):
    """Two clouds far apart and far from the origin, then points at distances 1e-12 .. 1 of the norm of a point."""
    rng = np.random.default_rng(d)
    far = 30.0 * math.sqrt(d)
    x = rng.standard_normal((24, d)) / math.sqrt(d)
    x[12:] += far / math.sqrt(d)
    directions = rng.standard_normal((37, d))
    directions /= np.linalg.norm(directions, axis=1)[:, None]
    close = x[20] + np.geomspace(1e-12, 1.0, 37)[:, None] * np.linalg.norm(x[20]) * directions
    return np.concatenate([x, x[:3], close]).astype(dtype) + dtype(1000.0)


@pytest.mark.parametrize("d", WIDTHS)
def test_distance_kernels_in_float64(d):
    """Error at most 1e-13, also for nearly equal points, far from the origin, on both sides of the threshold."""
    x = clouds(d, np.float64)
    for spread in (0.3, 1.0, 30.0 * math.sqrt(d)):
        for make in DISTANCE:
            k = make(spread)
            rows = x[[0, 5, 13, 20, *range(24, 64, 4)]]
            expected = naive.gram(k, rows, x)
            assert_close(k(rows, x), expected.astype(float), tol=1e-13, scale=1.0)
            assert_close(k(x), k(x, x), tol=1e-13, scale=1.0)


@pytest.mark.parametrize("d", [49, 128, 784])
def test_both_sides_of_the_recomputation_threshold(d):
    """Pairs whose distance is within 20 % of the one below which differences are formed again."""
    rng = np.random.default_rng(d)
    n = 40
    base = rng.standard_normal((n, d))
    base -= base.mean(axis=0)
    directions = rng.standard_normal((n, d))
    directions /= np.linalg.norm(directions, axis=1)[:, None]
    for make in DISTANCE:
        k = make(1.0)
        norms = 2 * np.sum(base**2, axis=1)
        threshold = np.finfo(float).eps / TOLERANCE[np.dtype(float)] * norms / k.length
        x = base + (threshold * np.linspace(0.8, 1.2, n))[:, None] * directions
        found = np.diagonal(k(x, base))
        expected = np.array([naive.gram(k, x[i : i + 1], base[i : i + 1])[0, 0] for i in range(n)])
        assert_close(found, expected.astype(float), tol=1e-13, scale=1.0)


@pytest.mark.parametrize("d", [2, 49, 128])
@pytest.mark.parametrize(
    ("dtype", "far"), [(np.float64, 1e12), (np.float64, 1e7), (np.float32, 1e7), (np.float32, 1e4)]
)
def test_clouds_many_lengths_apart(d, dtype, far):
    """Equal and close points whose squared distance by the product formula is rounding noise of any size."""
    x = points(30, d, dtype=dtype)
    x[15:] += dtype(far)
    x[12:15], x[27:30] = x[:3], x[15:18]
    step = np.zeros((6, d), dtype)
    step[:, 0] = dtype(far) * np.finfo(dtype).eps * 4
    x = np.concatenate([x, x[15:21] + step])
    assert (x[30:, 0] > x[15:21, 0]).all()
    for make in DISTANCE:
        for length in (1.0, math.sqrt(d)):
            found = make(length)(x)
            expected = naive.gram(make(length), x[12:], x).astype(float)
            assert_close(found[12:], expected, dtype=dtype, tol=1e-13 if dtype == np.float64 else 1e-5, scale=1.0)
            assert (np.diagonal(found) == 1).all()


@pytest.mark.parametrize("d", WIDTHS)
def test_distance_kernels_in_float32(d):
    """1e-6 up to 8 coordinates; else 4 eps (1 + (|x|^2 + |y|^2) / (r scale)), about the centre of the data."""
    x = points(40, d, dtype=np.float32)
    x[20:30] = x[:10] + points(10, d, 1, np.float32) * np.geomspace(1e-6, 1e-1, 10, dtype=np.float32)[:, None]
    x[30:35] = x[:5]
    for spread in (0.5, 1.0, math.sqrt(d)):
        for make in DISTANCE:
            k = make(spread)
            rows = slice(None, None, 4)
            found = k(x)[rows]
            assert found.dtype == np.float32
            error = np.abs(found - naive.gram(k, x[rows], x)).astype(float)
            if d <= 8:
                allowed = np.full(error.shape, 1e-6)
            else:
                wide = x.astype(float)
                squares = np.sum((wide - wide.mean(axis=0)) ** 2, axis=1)
                r = np.sqrt(((wide[:, None] - wide) ** 2).sum(axis=2))
                with np.errstate(divide="ignore"):
                    allowed = 4 * 2.0**-23 * (1 + (squares[:, None] + squares) / (r * k.length))[rows]
                allowed = np.minimum(allowed, 1e-5)
            assert (error <= allowed).all(), f"{k}: {(error / allowed).max()}"


@pytest.mark.parametrize("d", WIDTHS)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_dot_kernels(d, dtype):
    x, y = points(20, d, 0, dtype), points(13, d, 1, dtype)
    for k in (Linear(), Polynomial(1, 0.0), Polynomial(2), Polynomial(3, 0.25), Polynomial(10, 2.0)):
        expected = naive.gram(k, x, y).astype(float)
        assert_close(k(x, y), expected, dtype=dtype, tol=4 * np.finfo(dtype).eps, scale=value_scale(k, x, y))


@pytest.mark.parametrize("degree", range(1, 20))
def test_polynomial_degrees(degree):
    x = np.array([[2.0]])
    assert Polynomial(degree, 1.0)(x)[0, 0] == 5.0**degree


@given(
    n=sizes(7, minimum=1),
    other=st.none() | sizes(7, minimum=1),
    d=st.sampled_from([1, 2, 3, 4, 5, 6, 7, 8, 13, 49, 51]),
    dtype=dtypes,
    layout=layouts,
    k=st.sampled_from(SMALL),
    data=st.data(),
)
def test_gram_property(n, other, d, dtype, layout, k, data):
    x = data.draw(arrays((n, d), dtype, layout))
    y = None if other is None else data.draw(arrays((other, d), dtype, layouts))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_rows, "block_rows", lambda columns, itemsize: 7)
        patch.setattr(tunables, "CPU_TASK_PAIRS", 40)
        patch.setenv("SSLCORE_NUM_THREADS", "3")
        found = k(x, y)
    expected = naive.gram(k, x, y).astype(float)
    scale = value_scale(k, x, x if y is None else y)
    assert_close(found, expected, dtype=dtype, tol=1e-13 if dtype == np.float64 else 1e-5, scale=scale)
    if y is None:
        assert np.array_equal(found, found.T)


@pytest.mark.parametrize("columns", [511, 512, 513, 1024, 1025, 1537])
@pytest.mark.parametrize("d", [2, 50])
def test_tiles(columns, d):
    """Column tiles end at 512, where every kernel's loop starts again."""
    x, y = points(3, d), points(columns, d, seed=1)
    for k in SMALL:
        found = k(x, y)
        chosen = np.unique(np.concatenate([np.arange(0, columns, 97), [510, columns - 1], [min(512, columns - 1)]]))
        scale = value_scale(k, x, y)
        assert_close(found[:, chosen], naive.gram(k, x, y[chosen]).astype(float), tol=1e-13, scale=scale)
        assert np.isfinite(found).all()
        assert_close(k(y[:, :d], x), found.T, tol=1e-13, scale=scale)


@pytest.mark.parametrize("n", [255, 256, 257, 600])
@pytest.mark.parametrize("d", [2, 9, 50])
def test_symmetric_matrices_of_several_blocks(n, d):
    """The block sizes that are in use: the same as with a second argument."""
    x = points(n, d)
    for k in (Exponential(2.0), L1Exponential(2.0), Polynomial(2), Gaussian(2.0) + 0.5 * Linear()):
        found = k(x)
        assert_close(found, k(x, x.copy()), tol=1e-13)
        assert np.array_equal(found, found.T)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("n", [1, 7, 8, 9, 63, 64, 65, 319, 320, 321, 576, 577])
def test_symmetric_tiles(n, dtype, monkeypatch):
    """Tiles of 64 x 256 values, squares of 8 x 8, vectors of 8 or 16: every remainder of each, on several threads."""
    monkeypatch.setattr(tunables, "CPU_TASK_PAIRS", 40)
    monkeypatch.setenv("SSLCORE_NUM_THREADS", "4")
    for tasks in (40, 1 << 16):  # strips of 8 and of 64 rows
        monkeypatch.setattr(tunables, "CPU_TASK_PAIRS", tasks)
        for d in (1, 2, 11):
            x = points(n, d, dtype=dtype)
            for k in (Exponential(2.0), L1Exponential(2.0)):
                found = k(x)
                assert np.array_equal(found, found.T)
                assert np.array_equal(found, k(x, x.copy()))
                apart = np.zeros(n * n + 1, dtype)[1:].reshape(n, n)  # not at a vector's width: written another way
                assert np.array_equal(found, grams.gram(k, x, out=apart))
                if n < 66 and d != 11:
                    assert_close(found, naive.gram(k, x, x).astype(dtype), tol=1e-13 if dtype == np.float64 else 1e-6)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("n", [1, 63, 64, 65, 320, 321, 600])
def test_symmetric_tiles_from_products(n, dtype, monkeypatch):
    """Strips of products of 256 rows, tiles of 64 x 256 values; what was in the memory before plays no part."""
    monkeypatch.setenv("SSLCORE_NUM_THREADS", "4")
    x = points(n, 50, dtype=dtype)
    x[n // 2] = x[0]  # a distance that is computed again, in another tile
    for k in (Exponential(5.0), Gaussian(5.0)):
        found = k(x)
        assert np.array_equal(found, found.T)
        assert_close(found, k(x, x.copy()), tol=1e-13 if dtype == np.float64 else 4e-6)
        assert found[0, n // 2] == found[n // 2, n // 2] == 1.0
        for start in (0, 1):  # at a vector's width, and not
            memory = np.full(n * n + 16, np.nan, dtype)
            start += -(memory.ctypes.data // memory.itemsize) % (64 // memory.itemsize)
            out = memory[start : start + n * n].reshape(n, n)
            assert np.array_equal(grams.gram(k, x, out=out), found)


@pytest.mark.parametrize("k", [Gaussian(1.0), L1Exponential(1.0), Polynomial(2), Gaussian(1.0) * Linear()], ids=repr)
@pytest.mark.parametrize("d", [3, 60])
def test_gram_into_an_array(k, d, backend):
    x, y = backend.asarray(points(30, d)), backend.asarray(points(20, d, seed=1))
    for other, shape in ((None, (30, 30)), (y, (30, 20))):
        out = backend.xp.full(shape, np.nan)
        assert grams.gram(k, x, other, out=out) is out
        assert np.array_equal(backend.asnumpy(out), backend.asnumpy(grams.gram(k, x, other)))


def test_targets_that_are_refused(backend):
    x = backend.asarray(points(4, 4))
    k = Gaussian(1.0)
    for out, error, message in (
        (backend.xp.zeros((4, 3)), ValueError, r"shape \(4, 4\) and dtype float64, found \(4, 3\)"),
        (backend.xp.zeros((4, 4), dtype=np.float32), ValueError, "found .* and float32"),
        (backend.xp.zeros((4, 4)).T[::-1], ValueError, "C order"),
        (x, ValueError, "share memory"),
        ([[0.0] * 4] * 4, TypeError, "must be an array of"),
    ):
        with pytest.raises(error, match=message):
            grams.gram(k, x, out=out)
    if backend.name == "numba":
        frozen = np.zeros((4, 4))
        frozen.flags.writeable = False
        with pytest.raises(ValueError, match="read-only"):
            grams.gram(k, x, out=frozen)
    with pytest.raises(ValueError, match="no use"):
        grams.gram(Precomputed(), x, out=backend.xp.zeros((4, 4)))


@pytest.mark.parametrize("n", [0, 1, 31, 32, 33, 63, 64, 65, 127, 129, 255, 257])
def test_mirror(n):
    a = points(n, n) if n else np.empty((0, 0))
    expected = np.triu(a) + np.triu(a, 1).T
    blocks.mirror(a)
    assert np.array_equal(a, expected)


@pytest.mark.parametrize("n", [1, 6, 7, 8, 14, 15, 70])
@pytest.mark.parametrize("d", [2, 50])
def test_exactly_symmetric(n, d, small_blocks):
    for k in [*SMALL, Gaussian(1.0) + Linear() * Matern(1.5, 2.0), 3.0 * Polynomial(3)]:
        for dtype in (np.float64, np.float32):
            found = k(points(n, d, 0, dtype))
            assert np.array_equal(found, found.T)
            assert found.dtype == dtype


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts_give_the_same_values(layout, small_blocks):
    x = points(15, 5)
    for k in [*SMALL, Gaussian(1.0) + 2.0 * Linear()]:
        assert_close(k(with_layout(x, layout)), k(x), tol=1e-14)
        assert_close(k(x[:4], with_layout(x, layout)), k(x[:4], x), tol=1e-14)


@pytest.mark.parametrize(
    "k", [make(1.0) for make in DISTANCE] + [Linear(), Polynomial(2), Polynomial(5, 0.0)], ids=repr
)
@pytest.mark.parametrize("d", [2, 60])
def test_positive_semidefinite(k, d):
    """Smallest eigenvalue of matrices that are nearly singular: points on a segment, duplicates, far away."""
    x = np.concatenate([points(40, d), np.linspace(0, 1, 40)[:, None] * points(1, d, seed=1), points(10, d)])
    x = np.concatenate([x, x[:5] + 1e-9 * points(5, d, seed=2), 5.0 + x[:5]])
    matrix = k(x)
    values = np.linalg.eigvalsh(matrix)
    assert values[0] >= -1e-13 * values[-1]


@pytest.mark.parametrize("size", [1e150, 1e-150])
@pytest.mark.parametrize("d", [2, 60])
def test_huge_and_tiny_scales(size, d):
    """Distance kernels depend on x / scale only; Linear overflows later than its square root."""
    x = points(20, d)
    for make in DISTANCE:
        assert_close(make(1.5 * size)(x * size), make(1.5)(x), tol=1e-13, scale=1.0)
    # many scales apart: the identity matrix, not NaN
    if size > 1:
        for make in DISTANCE:
            assert np.array_equal(make(1.0)(x * size), np.eye(20))
        for k in (Polynomial(3), 1e100 * Polynomial(2), Linear() * Linear() * Linear(), Polynomial(2) + Polynomial(3)):
            with pytest.raises(ValueError, match=r"overflow|finite"):
                k(x * size)
    else:
        for make in DISTANCE:
            assert np.array_equal(make(1.0)(x * size), np.ones((20, 20)))
    scaled = Linear()(x * size)
    assert_close(scaled / size / size, Linear()(x), tol=1e-14, scale=10.0 * d)


@pytest.mark.parametrize("d", [2, 60])
@pytest.mark.parametrize(("dtype", "size"), [(np.float64, 1e160), (np.float32, 1e22)])
def test_distances_that_overflow_are_refused(d, dtype, size):
    x = (points(10, d) * size).astype(dtype)
    for make in DISTANCE:
        with pytest.raises(
            ValueError, match=r"squared distances overflow; rescale the data, or raise the kernel's scale"
        ):
            make(1.0)(x)
        with pytest.raises(ValueError, match=r"squared distances overflow"):
            make(1.0)(x[:2] * 0, x)
        with pytest.raises(ValueError, match=r"squared distances overflow"):
            make(1.0)(x, x[:2] * 0)
    with pytest.raises(ValueError, match="rescale the data"):
        Linear()(x)


def test_float16_and_integers_and_mixed():
    x = np.array([[0, 1], [2, 5]])
    assert Gaussian(2.0)(x).dtype == np.float64
    assert np.array_equal(Gaussian(2.0)(x), Gaussian(2.0)(x.astype(float)))
    assert Gaussian(2.0)(x.astype(np.float16)).dtype == np.float32
    assert Gaussian(2.0)(x.astype(np.float32), x.astype(float)).dtype == np.float64
    assert Linear()([[True, False]]).dtype == np.float64


# ---------------------------------------------------------------- exp


def ulps(found, x, dtype):
    """Error of exp(x) in units of the last place of the exact value."""
    with mpmath.workdps(40):
        exact = mpmath.exp(mpmath.mpf(float(x)))
        return abs((mpmath.mpf(float(found)) - exact) / mpmath.mpf(float(np.spacing(dtype(float(exact))))))


@pytest.mark.parametrize(
    ("function", "dtype", "low", "high", "allowed"),
    [(elementary.exp64, np.float64, -708.0, 709.78, 1.5), (elementary.exp32, np.float32, -87.0, 88.72, 1.6)],
)
def test_exp_against_mpmath(function, dtype, low, high, allowed):
    rng = np.random.default_rng(0)
    x = np.concatenate(
        [
            rng.uniform(low, high, 1500),
            rng.uniform(-1, 1, 300),
            np.geomspace(1e-300 if dtype == np.float64 else 1e-37, 1, 100) * rng.choice([-1, 1], 100),
            np.arange(-100, 100) * math.log(2) / 2 + rng.uniform(-1e-3, 1e-3, 200),
            [low, high, 0.0, -0.0],
        ]
    )
    x = x.astype(dtype)[(x > low) & (x < high)]
    worst = max(ulps(function(v), v, dtype) for v in x)
    assert worst <= allowed
    assert function(dtype(0.0)) == 1


@pytest.mark.parametrize(("function", "dtype"), [(elementary.exp64, np.float64), (elementary.exp32, np.float32)])
def test_exp_at_the_ends(function, dtype):
    tiny, huge = float(np.log(np.finfo(dtype).tiny)), float(np.log(np.finfo(dtype).max))
    for x in (-math.inf, -1e300 if dtype == np.float64 else -1e38, tiny - 40, tiny - 5, -1e5):
        assert function(dtype(x)) == 0
    # near the smallest normal number the result may be flushed to zero, but is never wrong
    for x in np.linspace(tiny - 4, tiny + 4, 200):
        found, exact = float(function(dtype(x))), math.exp(float(dtype(x)))
        assert found == 0 or abs(found - exact) <= 8 * np.finfo(dtype).eps * exact + float(
            np.finfo(dtype).smallest_subnormal
        )
        assert x < tiny + 1.5 or found > 0
    for x in (math.inf, huge + 0.01, huge + 1, huge * 10):
        assert function(dtype(x)) == math.inf
    assert math.isnan(function(dtype(math.nan)))
    # non-decreasing to rounding across the whole range, hence without a slip of a power of two
    grid = np.linspace(tiny, huge - 1e-3, 3000).astype(dtype)
    values = np.array([function(v) for v in grid], float)
    assert (np.diff(values) >= 0).all()


@dataclass(frozen=True)
class PlainExp(Profile):
    """exp(<x, y>), as a user would declare it: a vectorised exp over its whole range."""

    pair: ClassVar[str] = "dot"
    formula = "exp(t)"


@pytest.mark.parametrize(("dtype", "low", "high"), [(np.float64, -707.9, 709.7), (np.float32, -85.9, 88.7)])
def test_vectorised_exp(dtype, low, high):
    """The same function inside the compiled loops, where LLVM has turned it into vector instructions."""
    x = np.concatenate([np.linspace(low, high, 4001), np.linspace(-2, 2, 1001)]).astype(dtype)
    found = PlainExp()(np.ones((1, 1), dtype), x[:, None])[0]
    exact = np.exp(x.astype(np.longdouble))
    assert float(np.abs(found / exact - 1).max()) <= 2 * np.finfo(dtype).eps
    far = np.array([-1e4, -800.0, 0.0], dtype)
    assert np.array_equal(PlainExp()(np.ones((1, 1), dtype), far[:, None])[0], [0, 0, 1])
    with pytest.raises(ValueError, match=r"the values of PlainExp\(\).*must be finite, found inf at index \(0, 1\)"):
        PlainExp()(np.ones((1, 1), dtype), np.array([[1.0], [1e3]], dtype))


# ---------------------------------------------------------------- kernels of users


@dataclass(frozen=True)
class RationalQuadratic(Profile):
    """1 / (1 + |x - y|^2 / scale^2)."""

    scale: float
    pair: ClassVar[str] = "sqdist"
    formula = "real(1) / (real(1) + c0 * t)"

    @property
    def length(self):
        return self.scale

    def constants(self, length):
        return (1.0 / length**2,)


@dataclass(frozen=True)
class Multiple(Profile):
    """A formula that depends on a parameter through a literal."""

    factor: int
    pair: ClassVar[str] = "dot"

    @property
    def formula(self):
        return f"t * real({self.factor})"


@pytest.mark.parametrize("d", [3, 60])
def test_a_kernel_of_a_user(d):
    """Declared in this file, it is compiled once, and is as good as the library's own."""
    x = points(30, d)
    exact = 1 / (1 + ((x[:, None] - x) ** 2).sum(axis=2) / 2.5**2)
    assert_close(RationalQuadratic(2.5)(x), exact, tol=1e-13)
    assert_close((2.0 * RationalQuadratic(2.5) + Linear())(x), 2 * exact + x @ x.T, tol=1e-13)
    pairs._compile_profile.cache_clear()
    pairs.profile_address.cache_clear()
    for scale in (1.0, 2.0, 3.0):
        RationalQuadratic(scale)(x)
    assert pairs._compile_profile.cache_info().misses == 1


def test_formulas_that_differ_in_a_literal_do_not_share_compiled_code():
    """Numba's cache on disk does not look at constants: without a name of its own each would get the first's code."""
    for factor in (11, 12, 13, 11):
        assert Multiple(factor)([[2.0]])[0, 0] == 4.0 * factor


def test_functions_as_kernels():
    x, y = points(9, 3), points(4, 3, seed=1)

    def tanimoto(a, b):
        products = a @ b.T
        return products / ((a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - products)

    assert_close(gram(tanimoto, x, y), tanimoto(x, y))
    assert_close(Function(tanimoto)(x, y), tanimoto(x, y))
    assert_close((Function(tanimoto) + 2.0 * Gaussian(1.0))(x, y), tanimoto(x, y) + 2 * Gaussian(1.0)(x, y))
    matrix = gram(tanimoto, x)
    assert np.array_equal(matrix, matrix.T)
    assert not Function(tanimoto).trusted
    assert not (Gaussian(1.0) + Function(tanimoto)).trusted
    assert not (2.0 * (Gaussian(1.0) * Function(tanimoto))).trusted
    assert (2.0 * (Gaussian(1.0) * Linear())).trusted


@pytest.mark.parametrize(
    ("function", "error", "message"),
    [
        (lambda x, y: np.ones((len(x), len(y) + 1)), ValueError, r"must return shape \(5, 4\) for 5 and 4 points"),
        (lambda x, y: np.ones(len(x)), ValueError, "the kernel function's result must have 2 dimensions"),
        (lambda x, y: np.full((len(x), len(y)), np.nan), ValueError, "the kernel function's result must be finite"),
        (lambda x, y: np.full((len(x), len(y)), 1j), TypeError, "complex128"),
        (lambda x, y: "no", TypeError, "the kernel function's result must hold real numbers"),
    ],
)
def test_functions_that_return_nonsense(function, error, message):
    with pytest.raises(error, match=message):
        gram(function, points(5, 2), points(4, 2))


# ---------------------------------------------------------------- algebra


def expressions():
    leaves = st.sampled_from([Gaussian(1.0), Exponential(0.7), Linear(), Polynomial(2), L1Exponential(2.0)])
    return st.recursive(
        leaves,
        lambda parts: (
            st.builds(lambda a, b: a + b, parts, parts)
            | st.builds(lambda a, b: a * b, parts, parts)
            | st.builds(lambda c, a: c * a, st.floats(0.01, 10), parts)
        ),
        max_leaves=5,
    )


@given(k=expressions(), x=arrays(st.tuples(sizes(7), st.integers(1, 4)), dtype=np.float64), y_rows=st.integers(1, 9))
def test_sums_products_and_scalings(k, x, y_rows):
    y = points(y_rows, x.shape[1], seed=3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_rows, "block_rows", lambda columns, itemsize: 7)
        patch.setattr(tunables, "CPU_TASK_PAIRS", 40)
        found, symmetric = k(x, y), k(x)
    expected = naive.gram(k, x, y).astype(float)
    magnitude = float(naive.gram(k, np.abs(x), np.abs(x)).max() + naive.gram(k, np.abs(y), np.abs(y)).max())
    assert_close(found, expected, tol=1e-12, scale=magnitude)
    assert np.array_equal(symmetric, symmetric.T)
    assert_close(symmetric, naive.gram(k, x).astype(float), tol=1e-12, scale=magnitude)


def test_kernels_are_values():
    assert Gaussian(1) == Gaussian(1.0)
    assert hash(2 * Gaussian(1)) == hash(Gaussian(1.0) * 2.0)
    assert Gaussian(1.0) + Linear() != Linear() + Gaussian(1.0)
    assert Gaussian(np.float32(1)) == Gaussian(1.0)
    assert (
        repr(2 * Gaussian(1) + Linear()) == "Sum(first=Scaled(base=Gaussian(scale=1.0), factor=2.0), second=Linear())"
    )
    with pytest.raises(AttributeError):
        Gaussian(1.0).scale = 2.0


# ---------------------------------------------------------------- products without the matrix


@given(
    n=sizes(7),
    n_y=sizes(7),
    k_columns=st.none() | st.integers(1, 5),
    d=st.sampled_from([1, 3, 50]),
    dtype=dtypes,
    k=st.sampled_from([*SMALL, Gaussian(1.0) + 0.5 * Linear()]),
    layout=layouts,
    data=st.data(),
)
def test_kernel_product_property(n, n_y, k_columns, d, dtype, k, layout, data):
    x, y = (data.draw(arrays((rows, d), dtype, layouts)) for rows in (n, n_y))
    c = data.draw(arrays((n_y,) if k_columns is None else (n_y, k_columns), dtype, layout))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_rows, "block_rows", lambda columns, itemsize: 5)
        patch.setattr(tunables, "CPU_TASK_PAIRS", 40)
        found = kernel_product(k, x, y, c)
    wide = naive.gram(k, x, y).astype(float)
    magnitude = (
        value_scale(k, x, y) + (0 if hasattr(k, "pair") else 50)  # a sum of kernels, whose parts may cancel
    )
    assert_close(
        found,
        wide @ c.astype(float),
        dtype=dtype,
        tol=1e-13 if dtype == np.float64 else 1e-5,
        scale=magnitude * float(np.abs(c).sum()),
    )


def test_kernel_product_of_precomputed_and_of_functions():
    c = points(6, 2)
    matrix = points(4, 6, seed=1)
    assert_close(kernel_product(Precomputed(), matrix, points(6, 9), c), matrix @ c)
    x, y = points(4, 3), points(6, 3)
    assert_close(kernel_product(lambda a, b: a @ b.T, x, y, c), x @ y.T @ c)


def test_kernel_product_never_stores_the_matrix():
    """K would take 640 MB; the blocks and their temporaries stay below 80."""
    x, y, c = points(20_000, 2), points(4_000, 2, seed=1), points(4_000, 3, seed=2)
    kernel_product(Exponential(1.0), x[:10], y[:10], c[:10])
    for k in (Exponential(1.0), Gaussian(1.0) + 0.5 * Linear()):
        tracemalloc.start()
        try:
            kernel_product(k, x, y, c)
            assert tracemalloc.get_traced_memory()[1] < 80e6
        finally:
            tracemalloc.stop()


def test_gram_allocates_little_besides_the_result():
    x = points(2000, 60)
    Gaussian(8.0)(x[:10])
    tracemalloc.start()
    try:
        Gaussian(8.0)(x)
        assert tracemalloc.get_traced_memory()[1] < 1.3 * 8 * 2000**2
    finally:
        tracemalloc.stop()


# ---------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Gaussian(0), ValueError, r"scale must be a finite number > 0, found 0"),
        (lambda: Gaussian(-1.0), ValueError, r"scale must be a finite number > 0, found -1.0"),
        (lambda: Gaussian(math.nan), ValueError, "scale must be a finite number > 0, found nan"),
        (lambda: Exponential(math.inf), ValueError, "scale must be a finite number > 0, found inf"),
        (lambda: Exponential("1"), TypeError, "scale must be a real number, found '1'"),
        (lambda: Gaussian(True), TypeError, "scale must be a real number, found True"),
        (lambda: Gaussian(1j), TypeError, "scale must be a real number"),
        (lambda: L1Exponential(0.0), ValueError, "scale must be"),
        (lambda: Matern(1.5, 0.0), ValueError, "scale must be"),
        (lambda: Matern(2.0, 1.0), ValueError, r"nu must be 0.5, 1.5 or 2.5, found 2.0; for large nu use Gaussian"),
        (lambda: Matern(-0.5, 1.0), ValueError, "nu must be a finite number > 0"),
        (lambda: Polynomial(0), ValueError, "degree must be at least 1 and at most 64, found 0"),
        (lambda: Polynomial(65), ValueError, "degree must be at least 1 and at most 64, found 65"),
        (lambda: Polynomial(2.0), TypeError, "degree must be an integer, found 2.0"),
        (lambda: Polynomial(True), TypeError, "degree must be an integer, found True"),
        (lambda: Polynomial(2, -0.1), ValueError, "offset must be a finite number >= 0, found -0.1"),
        (lambda: 0.0 * Linear(), ValueError, "the factor of a kernel must be a finite number > 0, found 0.0"),
        (lambda: Linear() * -2, ValueError, "the factor of a kernel must be a finite number > 0, found -2"),
        (lambda: math.nan * Linear(), ValueError, "the factor of a kernel"),
        (lambda: Linear() * "2", TypeError, "the factor of a kernel must be a real number"),
        (lambda: Linear() + 1.0, TypeError, "unsupported operand"),
        (lambda: Linear() + Precomputed(), TypeError, "combine the matrices themselves"),
        (lambda: 2.0 * Precomputed(), TypeError, "combine the matrices themselves"),
        (lambda: kernels.Sum(Linear(), 1.0), TypeError, "a kernel was expected, found float"),
        (lambda: Function(3), TypeError, "function must be callable, found int"),
        (lambda: kernels.as_kernel(Gaussian), TypeError, r"found the class Gaussian; write Gaussian\(...\)"),
        (lambda: kernels.as_kernel(3), TypeError, "a kernel of sslcore.kernels or a callable was expected, found int"),
    ],
)
def test_bad_parameters(make, error, message):
    with pytest.raises(error, match=message):
        make()


@pytest.mark.parametrize(
    ("x", "y", "error", "message"),
    [
        ([[1.0, np.nan]], None, ValueError, r"x must be finite, found nan at index \(0, 1\)"),
        ([[1.0], [2.0]], [[0.0], [np.inf]], ValueError, r"y must be finite, found inf at index \(1, 0\)"),
        (np.ones((0, 2)), None, ValueError, r"x must not be empty, found shape \(0, 2\)"),
        ([[1.0]], np.ones((0, 1)), ValueError, r"y must not be empty"),
        (np.ones((2, 0)), None, ValueError, "x must not be empty"),
        ([1.0, 2.0], None, ValueError, r"x must have 2 dimensions \(n, d\), found shape \(2,\)"),
        ([[1.0]], [1.0], ValueError, "y must have 2 dimensions"),
        ([[1.0, 2.0]], [[1.0]], ValueError, "x and y must have the same number of coordinates, found 2 .* and 1"),
        ([[1.0], [1.0, 2.0]], None, ValueError, "x must be a rectangular array"),
        ([[1j]], None, TypeError, "x must hold real numbers .*complex128"),
        ([["a"]], None, TypeError, "x must hold real numbers"),
        (np.ones((2, 2), object), None, TypeError, "object"),
    ],
)
def test_bad_points(x, y, error, message):
    for k in (Gaussian(1.0), Linear(), lambda a, b: a @ b.T):
        with pytest.raises(error, match=message):
            gram(k, x, y)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"coefficients": np.ones(4)}, ValueError, r"coefficients must have one row per point of y \(3\)"),
        ({"coefficients": np.ones((3, 1, 1))}, ValueError, "coefficients must have 1 or 2 dimensions"),
        ({"coefficients": [1.0, np.nan, 0.0]}, ValueError, r"coefficients must be finite, found nan at index \(1,\)"),
        ({"x": np.ones((2, 5))}, ValueError, "x and y must have the same number of coordinates, found 5"),
        ({"y": np.full((3, 2), np.inf)}, ValueError, r"y must be finite, found inf at index \(0, 0\)"),
        ({"backend": "abacus"}, ValueError, "backend must be one of"),
    ],
)
def test_bad_products(change, error, message):
    arguments = {"x": np.ones((2, 2)), "y": np.ones((3, 2)), "coefficients": np.ones(3)} | change
    with pytest.raises(error, match=message):
        kernel_product(Gaussian(1.0), **arguments)


def test_kernel_product_says_where_the_first_bad_entry_is(small_blocks):
    """x is checked block by block; the index is that in the whole array."""
    x = np.ones((40, 2))
    x[33, 1] = np.nan
    with pytest.raises(ValueError, match=r"x must be finite, found nan at index \(33, 1\)"):
        kernel_product(Gaussian(1.0), x, np.ones((3, 2)), np.ones(3))


@pytest.mark.parametrize("k", [Gaussian(1.0), Polynomial(2), kernels.NTK(2), 2.0 * Linear() + Gaussian(1.0) * Linear()])
def test_arguments_of_profiles(k):
    for u in (1.5, -2, np.array([0.0, np.nan]), np.inf, mpmath.mpf(2)):
        with pytest.raises(ValueError, match="u must be the cosine of an angle, from -1 to 1"):
            k.profile(u, width=3)
    for u in ("0.5", None, True, 0.5j, [None]):
        with pytest.raises(TypeError, match="u must be the cosine of an angle"):
            k.profile(u, width=3)
    for width in (0, -1, 2.5, "3", True, None):
        with pytest.raises((TypeError, ValueError), match="width must be"):
            k.profile(0.5, width=width)
    for squared_norm in (-1.0, np.nan, np.inf, "1", True, 1j):
        with pytest.raises((TypeError, ValueError), match="squared_norm must be"):
            k.profile(0.5, width=3, squared_norm=squared_norm)
    with mpmath.workdps(30):
        exact = k.profile(mpmath.mpf("0.5"), width=3, squared_norm=mpmath.mpf(2))
    assert float(k.profile(0.5, width=3, squared_norm=2)) == pytest.approx(float(exact), rel=1e-14)
    np.testing.assert_allclose(k.profile(np.array([0.5, 0.5]), width=3, squared_norm=2), float(exact), rtol=1e-14)


@dataclass(frozen=True)
class _Pole(Profile):
    """1 / |x - y|^2."""

    pair = "sqdist"
    formula = "real(1) / t"


@dataclass(frozen=True)
class _Root(Profile):
    """The root of <x, y>, which may be negative."""

    pair = "dot"
    formula = "sqrt(t)"


@pytest.mark.parametrize(("k", "u"), [(_Pole(), 1.0), (_Root(), -0.5)], ids=["pole", "root"])
def test_formulas_without_a_value_are_refused(k, u):
    """Python's division raises, NumPy's is infinite, mpmath's root is complex: it is one error."""
    for there in (u, np.float64(u), np.array([0.5, u]), mpmath.mpf(u)):
        with pytest.raises(ValueError, match=r"must be finite: its formula .* has none at u = "):
            k.profile(there, width=3)
    assert k.profile(0.5, width=3) == pytest.approx({"sqdist": 1 / 3, "dot": 1.5**0.5}[k.pair])


def test_infinite_values_of_a_formula_are_refused(backend):
    """Nobody looks at the values of the library's distance kernels, which are finite; at those of others everybody."""

    class _Gaussian(Gaussian):  # another law than that of its base
        formula = "real(1) / t"

    x = np.random.default_rng(0).normal(size=(9, 2))
    for k in (_Pole(), _Gaussian(1.0)):
        with pytest.raises(ValueError, match="must be finite, found inf"):
            gram(k, backend.asarray(x))
        with pytest.raises(ValueError, match="must be finite, found inf"):
            pretrain(backend.asarray(x.reshape(3, 3, 2)), k, 2, reg=1e-2)
        assert gram(k, backend.asarray(x), backend.asarray(x + 9.0)).shape == (9, 9)
