"""Products, solves and factors on our own threads: against long double, whatever the shapes, orders and threads."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sslcore import tunables
from sslcore.backends.numba_cpu import dense, dense_thin
from sslcore.backends.numba_cpu.factor import factorize
from sslcore.fitting.plan import _lanes_bytes
from sslcore.fitting.sizes import Sizes

from .comparators import assert_close
from .strategies import dtypes, seeds

TOLERANCE = {np.dtype(np.float64): 2e-15, np.dtype(np.float32): 1e-6}
"""Of a product, beside the sums of absolute values."""

EDGES = [1, 2, 7, 8, 9, 11, 12, 13, 16, 17, 23, 24, 25, 59, 60, 61, 95, 96, 97, 193, 239, 240, 241, 255, 257, 300, 481]


@pytest.fixture
def always(monkeypatch):
    """Thin products for any size, cut into small tasks."""
    monkeypatch.setattr(tunables, "CPU_THIN_LEAST_PRODUCTS", 1)
    monkeypatch.setattr(tunables, "CPU_THIN_TASK_PRODUCTS", 3000)


def draw(shape, dtype, seed):
    return np.asfortranarray(np.random.default_rng(seed).standard_normal(shape).astype(dtype))


def assert_product(found, values, b, *, plus=0.0, alpha=1.0):
    """The product of these values and b, times alpha, plus something; errors beside what nothing cancels in."""
    wide = values.astype(np.longdouble)
    expected = alpha * (wide @ b.astype(np.longdouble)) + plus
    scale = float((np.abs(wide) @ np.abs(b) + np.abs(plus)).max())
    assert_close(found, expected.astype(float), dtype=b.dtype, tol=TOLERANCE[b.dtype], scale=scale)


@given(
    n=st.sampled_from([*EDGES, 1500]),
    m=st.sampled_from([*EDGES, 1100]),
    columns=st.integers(1, 24),
    dtype=dtypes,
    order=st.sampled_from("CF"),
    scales=st.sampled_from([(1.0, 0.0), (-1.0, 1.0), (0.5, -2.0), (1, 1)]),
    threads=st.sampled_from(["1", "2", "5"]),
    seed=seeds,
)
def test_products(always, n, m, columns, dtype, order, scales, threads, seed):
    """Both orders, sums into what is there, and into memory of which nothing is looked at; bits do not vary."""
    a, b = np.asarray(draw((n, m), dtype, seed), order=order), draw((m, columns), dtype, 1)
    c = draw((n, columns), dtype, 2)
    alpha, beta = scales
    out = c.copy(order="F") if beta else np.full((n, columns), np.nan, dtype, order="F")
    assert dense_thin.is_thin(a, b, out)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSLCORE_NUM_THREADS", threads)
        found = dense.matmul(a, b, out=out, alpha=alpha, beta=beta)
        assert found is out
        patch.setenv("SSLCORE_NUM_THREADS", "1")
        assert np.array_equal(found, dense.matmul(a, b, out=c.copy(order="F"), alpha=alpha, beta=beta))
    assert_product(found, a, b, plus=beta * c.astype(float) if beta else 0.0, alpha=alpha)
    assert_product(dense.matmul(a, b), a, b)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("m", "n"), [(1, 1), (7, 1), (1, 9), (300, 17)])
def test_one_row(dtype, m, n):
    """Times a matrix in either order; and its square, added to the upper triangle alone."""
    a, b, total = draw((1, m), dtype, 0), draw((m, n), dtype, 1), draw((n, n), np.float64, 2)
    for order in "CF":
        found = dense.matmul(a, np.asarray(b, order=order), alpha=-2.0)
        assert found.shape == (1, n)
        assert_product(found, a, b, alpha=-2.0)
    expected = total + 0.5 * np.triu(b[:1].astype(float).T @ b[:1])
    dense.add_second_moment(total, np.ascontiguousarray(b[:1]), 0.5)
    assert_close(total, expected, tol=TOLERANCE[np.dtype(dtype)], scale=10.0)


@given(
    n=st.sampled_from(EDGES),
    columns=st.integers(1, 24),
    dtype=dtypes,
    threads=st.sampled_from(["1", "3"]),
    seed=seeds,
)
def test_symmetric_products_and_solves(always, n, columns, dtype, threads, seed):
    """The factor above the diagonal, the matrix below it, and a diagonal of its own: what a fit keeps."""
    root, b, diagonal = draw((n, n + 20), float, seed), draw((n, columns), dtype, 1), draw(n, dtype, 2)
    matrix = np.asfortranarray((root @ root.T / n + np.eye(n)).astype(dtype))
    kept = matrix.copy(order="F")
    assert dense.cholesky(kept)
    lower = np.tril(matrix, -1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSLCORE_NUM_THREADS", threads)
        product = dense.symmetric_product(kept, diagonal, b)
        solved = dense.cholesky_solve(kept, b.copy(order="F"))
        patch.setenv("SSLCORE_NUM_THREADS", "1")
        assert np.array_equal(product, dense.symmetric_product(kept, diagonal, b))
        assert np.array_equal(solved, dense.cholesky_solve(kept, b.copy(order="F")))
    assert product.flags.f_contiguous
    assert_product(product, lower + lower.T + np.diag(diagonal), b)
    upper = np.triu(kept).astype(float)
    expected = np.linalg.solve(upper, np.linalg.solve(upper.T, b.astype(float)))  # of this factor, rounded as it is
    assert_close(solved, expected, dtype=dtype, tol=20 * TOLERANCE[dtype])


def test_matrices_in_c_order(always):
    """Which fits do not have: BLAS takes them as they are."""
    root, b = draw((40, 60), float, 0), draw((40, 3), float, 1)
    matrix, diagonal = np.ascontiguousarray(root @ root.T), draw(40, float, 2)
    lower, upper = np.tril(matrix, -1), np.ascontiguousarray(np.linalg.cholesky(matrix).T)
    upper += np.tril(draw((40, 40), float, 3), -1)  # not to be looked at
    matrix += np.triu(draw((40, 40), float, 3), 1)
    assert_product(dense.symmetric_product(matrix, diagonal, b), lower + lower.T + np.diag(diagonal), b)
    solved = dense.cholesky_solve(upper, b.copy(order="F"))
    assert_close(solved, np.linalg.solve(root @ root.T, b), tol=1e-12)


@given(n=st.sampled_from([200, 1000, 1500]), columns=st.integers(1, 24))
@settings(max_examples=5)
def test_memory_of_symmetric_products(n, columns):
    """What plans count beside the result."""
    a, b = np.zeros((n, n), order="F"), draw((n, columns), float, 1)
    dense_thin.multiply_symmetric(a, a[0], b)
    tracemalloc.start()
    try:
        dense_thin.multiply_symmetric(a, a[0], b)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak <= _lanes_bytes(Sizes(n, 2 * n, 2, columns), columns) + 4 * b.nbytes + 50_000


def test_solves_of_graded_factors_have_small_residuals(always):
    """The condition of S is up to 10^16 in fits that the certificate still holds: backward errors stay rounding."""
    rng = np.random.default_rng(0)
    upper = np.triu(rng.standard_normal((500, 500))) / 30 + np.diag(np.geomspace(1, 1e-8, 500))
    b = draw((500, 9), float, 1)
    x = dense.cholesky_solve(np.asfortranarray(upper), b.copy(order="F"))
    wide = upper.astype(np.longdouble)
    reached = wide.T @ (wide @ x)
    scale = np.abs(wide).T @ (np.abs(wide) @ np.abs(x)) + np.abs(b)
    assert float((np.abs(reached - b) / scale).max()) < 1e-13


def test_what_is_no_thin_product_is_left_to_blas(monkeypatch):
    a, b = draw((600, 600), float, 0), draw((600, 9), float, 1)
    assert dense_thin.is_thin(a, b)
    wide = draw((600, tunables.CPU_THIN_MOST_COLUMNS + 1), float, 1)
    locked = a.copy()
    locked.setflags(write=False)
    others = [
        (a[:90], b[:, :0]), (a[:9, :9], b[:9]), (a[::2], b), (a, b[::2]), (a, np.ascontiguousarray(b)), (locked, b),
        (a, wide), (a, b.astype(np.float32)), (a, b, np.ascontiguousarray(b)), (a, b, b.astype(np.float32)),
    ]  # fmt: skip
    assert not any(dense_thin.is_thin(*arrays) for arrays in others)
    for first, second, *_ in others[2:7]:
        second = second[: first.shape[1]] if first.shape[1] <= len(second) else np.concatenate([second, second])
        assert_close(dense.matmul(first, second), first @ second, tol=1e-13)


def test_rows_that_are_not_finite_stay_where_they_are(always):
    """What lies beside a row, or after its end, has no part in its sums."""
    a, b = draw((97, 203), float, 0), draw((203, 9), float, 1)
    for order in "CF":
        there = np.asarray(a, order=order)
        there[50] = np.nan
        found = dense.matmul(there, b)
        assert np.isnan(found[50]).all()
        assert np.isfinite(np.delete(found, 50, axis=0)).all()
        rest = np.delete(there, 50, axis=0).T.copy(order=order)
        assert np.isfinite(dense.matmul(rest, draw((96, 9), float, 2))).all()


@given(
    n=st.sampled_from([1, 2, 7, 8, 9, 16, 17, 63, 65, 127, 128, 129, 137, 145, 193, 255, 256, 257, 300, 513]),
    dtype=dtypes,
    threads=st.sampled_from(["1", "2", "5"]),
    seed=seeds,
)
def test_cholesky_factors(n, dtype, threads, seed):
    """U^T U is the matrix, to the rounding of sums of n products; the other triangle stays, and bits do not vary."""
    root = draw((n, n + 5), float, seed)
    matrix = np.asfortranarray((root @ root.T / n + 0.1 * np.eye(n)).astype(dtype))
    found, again = matrix.copy(order="F"), matrix.copy(order="F")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSLCORE_NUM_THREADS", threads)
        assert factorize(found)
        patch.setenv("SSLCORE_NUM_THREADS", "1")
        assert factorize(again)
    assert np.array_equal(found, again)
    assert np.array_equal(np.tril(found, -1), np.tril(matrix, -1))
    upper = np.triu(found).astype(np.longdouble)
    scale = float((np.abs(upper).T @ np.abs(upper)).max())
    tol = 10 * float(np.finfo(dtype).eps)
    assert_close((upper.T @ upper).astype(float), matrix.astype(float), tol=tol, scale=scale)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_large_matrices_are_not_given_to_lapack(monkeypatch, dtype):
    """OpenBLAS ends the process there."""
    monkeypatch.setattr(tunables, "CPU_FACTOR_LEAST_ROWS", 10**9)
    monkeypatch.setattr(tunables, "CPU_LAPACK_MOST_ROWS", 150)
    root = draw((151, 160), float, 0)
    matrix = np.asfortranarray((root @ root.T / 151 + np.eye(151)).astype(dtype))
    with monkeypatch.context() as patch:
        for name in ("dpotrf", "spotrf"):
            patch.setattr(dense.lapack, name, None)
        found = matrix.copy(order="F")
        assert dense.cholesky(found)
    upper = np.triu(found).astype(float)
    assert_close(upper.T @ upper, matrix.astype(float), tol=10 * float(np.finfo(dtype).eps))
    assert dense.cholesky(matrix[:150, :150].copy(order="F"))  # by LAPACK


@pytest.mark.parametrize("bad", [0.0, -1.0, np.nan])
@pytest.mark.parametrize("place", [0, 5, 127, 128, 300, 519])
def test_what_is_not_positive_definite_has_no_factor(bad, place):
    """Wherever it shows first, by LAPACK's answer too; the triangle that is kept is what it was."""
    root = draw((520, 525), float, 0)
    matrix = np.asfortranarray(root @ root.T / 520 + np.eye(520))
    matrix[place, place] = bad
    found = matrix.copy(order="F")
    assert not dense.cholesky(found)
    assert np.array_equal(np.tril(found, -1), np.tril(matrix, -1))


def test_graded_matrices_have_factors_of_small_residuals():
    """Entries of many orders of magnitude: errors are relative to each entry's row and column."""
    scale = np.geomspace(1, 1e-7, 400)
    root = draw((400, 450), float, 0)
    matrix = np.asfortranarray((root @ root.T / 400 + np.eye(400)) * scale * scale[:, None])
    found = matrix.copy(order="F")
    assert factorize(found)
    upper = np.triu(found).astype(np.longdouble)
    assert float((np.abs(upper.T @ upper - matrix) / (scale * scale[:, None])).max()) < 1e-13
