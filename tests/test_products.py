"""Products of kernels with thin blocks, whose values are never stored: against sums in long double, term by term."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sslcore import tunables
from sslcore.gram import gram, kernel_product
from sslcore.kernels import (
    Exponential,
    Function,
    Gaussian,
    L1Exponential,
    Linear,
    Nugget,
    Polynomial,
    Precomputed,
    VonMises,
    _rows,
)

from . import naive
from .comparators import assert_close
from .examples import kernel_examples, value_scale
from .strategies import arrays, dtypes, layouts, sizes

COMPOSED = [
    Gaussian(1.0) + 0.5 * Linear(),
    Exponential(1.0) * Polynomial(2),
    2.0 * Gaussian(0.7),
    Gaussian(1.0) + Nugget(0.3),
]
TOLERANCE = {np.dtype(np.float64): 1e-13, np.dtype(np.float32): 1e-5}


def points(n, d, seed=0, dtype=np.float64):
    return np.random.default_rng(seed).standard_normal((n, d)).astype(dtype)


@pytest.fixture
def small_blocks(monkeypatch):
    """Blocks of 4 rows and 3 columns, and more threads than processors."""
    monkeypatch.setattr(_rows, "block_rows", lambda columns, itemsize: 4)
    monkeypatch.setattr(tunables, "KERNEL_PRODUCT_COLUMNS", 3)
    monkeypatch.setattr(tunables, "KERNEL_PRODUCT_ROWS", 5)
    monkeypatch.setenv("SSLCORE_NUM_THREADS", "4")


def magnitude(k, x, y, c):
    """What errors are relative to: values, of which a sum's parts may cancel, times the sums of all |c_j|."""
    return (value_scale(k, x, y) if hasattr(k, "pair") else 50.0) * float(np.abs(c).sum(axis=0).max())


@given(
    n=sizes(4),
    n_y=st.none() | sizes(4),
    columns=st.none() | st.integers(1, 19),
    d=st.sampled_from([1, 3, 50]),
    dtype=dtypes,
    k=st.sampled_from([*kernel_examples(1.3), *COMPOSED]),
    layout=layouts,
    data=st.data(),
)
def test_property(small_blocks, n, n_y, columns, d, dtype, k, layout, data):
    x = data.draw(arrays((n, d), dtype, layouts))
    y = None if n_y is None else data.draw(arrays((n_y, d), dtype, layouts))
    c = data.draw(arrays((n_y or n,) if columns is None else (n_y or n, columns), dtype, layout))
    found = kernel_product(k, x, y, c)
    wide = c.reshape(len(c), -1)
    expected = naive.kernel_product(k, x, y, wide).astype(float).reshape(found.shape)
    scale = magnitude(k, x, x if y is None else y, wide)
    assert_close(found, expected, dtype=dtype, tol=TOLERANCE[dtype], scale=scale)


@pytest.mark.parametrize("k", [*kernel_examples(1.3), *COMPOSED], ids=repr)
@pytest.mark.parametrize("d", [2, 50])
def test_backends_and_types(backend, k, d):
    """More points than a block has, in both ways of making pair values; coefficients and results in either order."""
    for dtype in (np.dtype(np.float64), np.dtype(np.float32)):
        x, y = points(150, d, 0, dtype) / dtype.type(np.sqrt(d)), points(90, d, 1, dtype) / dtype.type(np.sqrt(d))
        x[7] = y[3] = x[2]
        there, other = backend.asarray(x), backend.asarray(y)
        for columns in (1, 10):
            c = points(150, columns, 2, dtype)
            of = backend.asarray(c)
            for first, second, weights, given_y in ((there, other, of[:90], y), (there, None, of, x)):
                found = backend.asnumpy(kernel_product(k, first, second, weights))
                values = gram(k, x.astype(float), given_y.astype(float))
                expected = values @ backend.asnumpy(weights).astype(float)
                scale = magnitude(k, x, given_y, c)
                assert_close(found, expected, dtype=dtype, tol=TOLERANCE[dtype], scale=scale)
                if columns > 1:
                    again = kernel_product(k, first, second, backend.xp.asfortranarray(weights))
                    assert np.array_equal(found, backend.asnumpy(again))


EDGES = sorted({b * size + e for size in (64, 256) for b in (1, 2) for e in (-1, 0, 1)} | {1, 7, 17, 300})


@given(
    n=st.sampled_from(EDGES),
    n_y=st.none() | st.sampled_from(EDGES),
    columns=st.integers(1, 26),
    d=st.sampled_from([1, 2, 3, 9, 50]),
    dtype=dtypes,
    k=st.sampled_from([Exponential(1.3), Gaussian(1.3), L1Exponential(1.3), VonMises(1.3), Polynomial(2), COMPOSED[0]]),
    threads=st.sampled_from([1, 2, 5]),
    offset=st.sampled_from([0.0, 100.0]),
    least=st.sampled_from([1, tunables.CPU_PRODUCT_LEAST_ROWS]),
    data=st.data(),
)
def test_edges_of_tiles(n, n_y, columns, d, dtype, k, threads, offset, least, data):
    """Sizes about those of tiles, strips and blocks, beside the product with the whole matrix; bits do not vary."""
    x = data.draw(arrays((n, d), dtype, layouts)) + dtype.type(offset)
    y = None if n_y is None else data.draw(arrays((n_y, d), dtype, layouts)) + dtype.type(offset)
    c = data.draw(arrays((n_y or n, columns), dtype, layouts))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tunables, "CPU_PRODUCT_BLOCK_POINTS", 1)
        patch.setattr(tunables, "CPU_PRODUCT_LEAST_ROWS", least)
        patch.setattr(tunables, "CPU_TASK_PAIRS", 40)
        patch.setattr(tunables, "KERNEL_PRODUCT_COLUMNS", 130)
        patch.setattr(_rows, "block_rows", lambda columns, itemsize: 70)
        patch.setenv("SSLCORE_NUM_THREADS", str(threads))
        found = kernel_product(k, x, y, c)
        patch.setenv("SSLCORE_NUM_THREADS", "1")
        assert np.array_equal(found, kernel_product(k, x, y, c)) or d == 50 or k in (COMPOSED[0], Polynomial(2))
    values = gram(k, x, y).astype(float)
    scale = float((np.abs(values) @ np.abs(c).astype(float)).max())
    assert_close(found, values @ c.astype(float), dtype=dtype, tol=1e-13 if dtype == np.float64 else 2e-6, scale=scale)


def test_the_number_of_threads_changes_no_bit(monkeypatch):
    x, c = points(1500, 3), points(1500, 11, 1)
    for k in (Gaussian(1.0), VonMises(0.5)):
        found = []
        for threads in ("1", "2", "3", "8"):
            monkeypatch.setenv("SSLCORE_NUM_THREADS", threads)
            found.append((kernel_product(k, x, None, c), kernel_product(k, x[:1000], x, c)))
        assert all(np.array_equal(a, b) for other in found[1:] for a, b in zip(found[0], other, strict=True))


def test_rows_write_into_what_they_are_given(backend):
    """`Rows.product` and `Rows.symmetric_product`: results of either order, with gaps, of another type; no column."""
    x, y, c = points(40, 2), points(30, 2, 1), points(40, 3, 2)
    there = backend.asarray(x)
    for k in (Gaussian(1.0), Gaussian(1.0) + 0.5 * Linear()):
        rows, of_y = k.rows(there, backend.primitives), k.rows(backend.asarray(y), backend.primitives)
        square, against = k(x), k(x, y)
        for out in (
            backend.xp.empty((40, 3)),
            backend.xp.empty((40, 3), order="F"),
            backend.xp.empty((80, 6))[::2, ::2],
            backend.xp.empty((40, 3), np.float32),
        ):
            tol = 1e-13 if out.dtype == np.float64 else 1e-6
            rows.symmetric_product(there, backend.asarray(c), out, backend.primitives)
            assert_close(backend.asnumpy(out), square @ c, dtype=out.dtype, tol=tol, scale=100.0)
            of_y.product(there, backend.asarray(c[:30]), out, backend.primitives)
            assert_close(backend.asnumpy(out), against @ c[:30], dtype=out.dtype, tol=tol, scale=100.0)
        empty = backend.xp.empty((40, 0))
        rows.symmetric_product(there, empty, empty, backend.primitives)


def test_each_pair_once():
    """The symmetric product asks for half of the values, and little beyond the diagonal."""
    asked = []

    def count(x, y):
        asked.append(len(x) * len(y))
        return Gaussian(1.0)(x, y)

    x, c = points(2000, 2), points(2000, 3, 1)
    found = kernel_product(count, x, None, c)
    assert_close(found, Gaussian(1.0)(x) @ c, tol=1e-13, scale=float(np.abs(c).sum(axis=0).max()))
    assert sum(asked) < 0.6 * 2000**2


def test_symmetric_as_an_operator(small_blocks):
    """<a, K b> = <K a, b> to rounding, also for a function that is no symmetric one: its upper triangle is used."""
    skew = Function(lambda x, y: np.exp(-np.abs(x - y.T - 0.1)))
    x, a, b = points(30, 1), points(30, 1, 1), points(30, 1, 2)
    left, right = a.T @ kernel_product(skew, x, None, b), kernel_product(skew, x, None, a).T @ b
    assert_close(left, right, tol=1e-13, scale=float(np.abs(a).sum() * np.abs(b).sum()))


def test_precomputed():
    matrix, c = points(6, 6), points(6, 2, 1)
    assert_close(kernel_product(Precomputed(), matrix, None, c), matrix @ c)
    wide = points(4, 6)
    assert_close(kernel_product(Precomputed(), wide, None, c), wide @ c)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((Gaussian(1.0), np.ones((3, 2)), None, np.ones(4)), r"one row per point of x \(3\), found shape \(4,\)"),
        ((Precomputed(), np.ones((3, 2)), None, np.ones(3)), r"one row per column of x \(2\), found shape \(3,\)"),
        ((Gaussian(1.0), [[0.0], [np.nan]], None, np.ones(2)), r"x must be finite, found nan at index \(1, 0\)"),
        ((Gaussian(1.0), np.ones((0, 2)), None, np.ones(0)), r"x must not be empty, found shape \(0, 2\)"),
        ((Polynomial(4), np.full((3, 2), 1e100), None, np.ones(3)), "overflow"),
        ((Polynomial(4), np.full((3, 2), 1e100), np.ones((2, 2)) * 1e100, np.ones(2)), "overflow"),
    ],
)
def test_bad_input(arguments, message):
    with pytest.raises(ValueError, match=message):
        kernel_product(*arguments)


def test_sums_and_multiples_are_multiplied_part_by_part(backend, monkeypatch):
    """No block of values of both is made, and no value of one is lost beside the other's."""
    x, y, c = points(150, 3), points(90, 3, 1), points(150, 4, 2)
    k = 2.0 * (Gaussian(1.0) + 0.5 * Exponential(2.0))
    values, against = k(x), k(x, y)
    monkeypatch.setattr(_rows.CombinedRows, "fill", None)
    monkeypatch.setattr(_rows.ScaledRows, "fill", None)
    there, other, of = backend.asarray(x), backend.asarray(y), backend.asarray(c)
    assert_close(backend.asnumpy(kernel_product(k, there, None, of)), values @ c, tol=1e-13, scale=100.0)
    assert_close(backend.asnumpy(kernel_product(k, there, other, of[:90])), against @ c[:90], tol=1e-13, scale=100.0)


@pytest.mark.parametrize(
    "k", [Polynomial(4) + Gaussian(1.0), 1e300 * Linear(), Polynomial(2) * Polynomial(2)], ids=repr
)
@pytest.mark.parametrize("y", [None, np.full((2, 2), 1e60)])
def test_values_that_overflow_are_refused_in_sums_products_and_multiples(k, y):
    with pytest.raises(ValueError, match="the values of"):
        kernel_product(k, np.full((3, 2), 1e60), y, np.ones(3 if y is None else 2))


@pytest.mark.parametrize("y", [None, np.full((3, 2), 1e60)])
def test_two_values_whose_sum_overflows_are_refused(y):
    k = 7e187 * Linear()
    x, c = np.full((3, 2), 1e60), np.array([1.0, 0.0, 0.0])
    assert np.isfinite(kernel_product(k, x, y, c)).all()
    with pytest.raises(ValueError, match=r"the values of Sum.*must be finite"):
        kernel_product(k + k, x, y, c)
