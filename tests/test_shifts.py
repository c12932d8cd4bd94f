"""Solves with a + s I for many s, by a band that all s share, against dense solves."""

from unittest import mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sslcore import tunables
from sslcore.backends import get_backend

from .comparators import TOLERANCE, assert_close
from .strategies import dtypes, seeds, sizes


def semidefinite(n, rank, seed, dtype):
    """A matrix of norm 1 and this rank."""
    root = np.random.default_rng(seed).normal(size=(n, rank))
    matrix = root @ root.T
    return np.asfortranarray(matrix / np.linalg.norm(matrix, 2), dtype=dtype)


@pytest.fixture(autouse=True)
def narrow(monkeypatch):
    """Several blocks of columns of small matrices."""
    monkeypatch.setattr(tunables, "CPU_BAND_COLUMNS", 4)


@given(n=sizes(4, blocks=4), rank=st.integers(1, 12), seed=seeds, dtype=dtypes, columns=st.integers(1, 5))
def test_solves_of_several_shifts_at_once(n, rank, seed, dtype, columns):
    matrix = semidefinite(n, rank, seed, dtype)
    upper = np.random.default_rng(seed).normal(size=(n, n)).astype(dtype)
    shifts = get_backend().shifted(np.asfortranarray(np.tril(matrix) + np.triu(upper, 1)))  # the lower triangle is read
    numbers = [3.0, 1e-2, 0.3]
    factors = [shifts.factor(s) for s in numbers]
    b = np.asfortranarray(np.random.default_rng(seed).normal(size=(n, columns * len(numbers))), dtype=dtype)
    given = b.copy()
    parts = [slice(i * columns, (i + 1) * columns) for i in range(len(numbers))]
    found = shifts.solve(b, list(zip(factors, parts, strict=True)))
    assert found is b  # in place
    for s, factor, part in zip(numbers, factors, parts, strict=True):
        expected = np.linalg.solve(matrix.astype(float) + s * np.eye(n), given[:, part].astype(float))
        assert_close(found[:, part], expected, dtype=dtype, tol=100 * TOLERANCE[dtype])
        assert np.log(shifts.pivots(factor).astype(float)).sum() == pytest.approx(
            0.5 * np.linalg.slogdet(matrix.astype(float) + s * np.eye(n))[1], abs=1e-3 if dtype == np.float32 else 1e-9
        )


@given(
    n=sizes(4, blocks=4),
    rank=st.integers(0, 12),
    width=st.integers(1, 20),
    seed=seeds,
    dtype=dtypes,
    power=st.sampled_from([0, -1, 1]),
)
def test_reflectors_turn_the_band_into_the_matrix(n, rank, width, seed, dtype, power):
    """P L P^T, of reflectors I - V T V^T written out one after the other, is the matrix."""
    given = semidefinite(n, rank, seed, dtype) if rank else np.zeros((n, n), dtype, order="F")
    scale = 10.0 ** (power * (25 if dtype == np.float32 else 200))  # squares are beyond the range
    given *= dtype.type(scale)
    check_band(given, width, scale)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize(("n", "width"), [(145, 3), (260, 17), (260, 48), (400, 48)])
def test_bands_of_more_rows_than_a_task(n, width, dtype, monkeypatch):
    monkeypatch.setenv("SSLCORE_NUM_THREADS", "3")
    check_band(semidefinite(n, n, n, np.dtype(dtype)), width)


@pytest.mark.parametrize("strange", [np.nan, np.inf])
def test_numbers_that_are_none_are_seen_in_the_band(strange):
    """A column of zeros and NaN is none of zeros: no factor looks good."""
    matrix = np.zeros((40, 40), order="F") + np.eye(40)
    matrix[30, 2] = matrix[2, 30] = strange
    with np.errstate(invalid="ignore"):
        shifts = get_backend().shifted(np.asfortranarray(matrix))
    assert not np.isfinite(shifts.band).all()


def check_band(given, width, scale=1.0):
    """Write the reflectors out, and put the matrix together of them and the band."""
    n, dtype = len(given), given.dtype
    with mock.patch.object(tunables, "CPU_BAND_COLUMNS", width):
        shifts = get_backend().shifted(given.copy(order="F"))
    width, basis, band = shifts.width, np.eye(n), np.zeros((n, n))
    for i in range(n):
        reach = min(width + 1, n - i)
        band[i : i + reach, i] = band[i, i : i + reach] = shifts.band[:reach, i]
    for i, transposed in enumerate(shifts.triangles.astype(float)):
        below = (i + 1) * width
        v = np.tril(shifts.matrix[below:, i * width : below].astype(float), -1)
        np.fill_diagonal(v, 1.0)
        basis[:, below:] -= basis[:, below:] @ v @ transposed.T @ v.T
    tol = 20 * TOLERANCE[dtype]
    assert_close(basis @ band @ basis.T / scale, given.astype(float) / scale, tol=tol, scale=1.0)
    assert_close(basis.T @ basis, np.eye(n), tol=tol)


def test_a_band_has_the_same_bits_for_any_number_of_threads(monkeypatch):
    monkeypatch.setattr(tunables, "CPU_BAND_COLUMNS", 48)
    matrix, found = semidefinite(700, 500, 0, float), []  # parts of 288, 192 and 96 rows
    b = np.asfortranarray(np.random.default_rng(1).normal(size=(700, 50)))
    for threads in "123":
        monkeypatch.setenv("SSLCORE_NUM_THREADS", threads)
        shifts, turned, rows = get_backend().shifted(matrix.copy(order="F")), b.copy(order="F"), b.T.copy(order="F")
        shifts.turn(turned)
        shifts.turn_rows(rows)
        found.append([shifts.band, shifts.triangles, turned, rows])
    for other in found[1:]:
        assert [np.array_equal(a, b) for a, b in zip(found[0], other, strict=True)] == [True] * 4


@given(n=sizes(4, blocks=4), columns=st.integers(1, 60), seed=seeds, shift=st.sampled_from([1e-7, 1e-2]))
def test_right_sides_in_float32(n, columns, seed, shift):
    """Rounding them counts as much as a solve magnifies it; factors, of near singular matrices, keep their digits."""
    shifts = get_backend().shifted(semidefinite(n, 2, seed, float))
    factor = shifts.factor(shift)
    b = np.asfortranarray(np.random.default_rng(seed).normal(size=(n, columns)))
    there, bound = b.astype(np.float32), 3e-6 * np.abs(b).max() / shift
    expected = shifts.solve(b, [(factor, slice(None))])
    found = shifts.rounded().solve(there, [(factor, slice(None))])
    assert found.dtype == np.float32
    assert np.abs(found - expected).max() <= bound


@pytest.mark.parametrize("n", [1, 3, 30])
def test_a_shift_that_leaves_it_indefinite_has_no_factor(n):
    matrix = np.asfortranarray(np.diag(np.linspace(-1.0, 2.0, n)))
    shifts = get_backend().shifted(matrix)
    assert shifts.factor(0.9) is None
    assert shifts.factor(1.1) is not None  # and each shift begins from the matrix itself
    assert shifts.factor(0.9) is None


@given(n=sizes(4, blocks=4), rows=st.integers(1, 9), seed=seeds, dtype=dtypes)
def test_the_basis_of_the_band(n, rows, seed, dtype):
    """P is orthogonal, P^T a P is the band, and solves in this basis are those in the other."""
    matrix = semidefinite(n, 3, seed, dtype)
    shifts = get_backend().shifted(matrix.copy(order="F"))
    basis = np.eye(n, dtype=dtype, order="F")
    shifts.turn(basis, back=True)
    tol = 20 * TOLERANCE[dtype]
    assert_close(basis.T @ basis, np.eye(n, dtype=dtype), tol=tol)
    turned = basis.T @ matrix @ basis
    assert np.abs(np.tril(turned, -5)).max(initial=0.0) <= tol
    b = np.asfortranarray(np.random.default_rng(seed).normal(size=(n, 2)), dtype=dtype)
    there = b.copy(order="F")
    shifts.turn(there)
    assert_close(there, basis.T @ b, tol=tol)
    factor = shifts.factor(0.1)
    solved = shifts.solve(there, [(factor, slice(None))], turned=True)
    assert_close(basis @ solved, shifts.solve(b, [(factor, slice(None))]), tol=50 * tol)
    wide = np.asfortranarray(np.random.default_rng(seed).normal(size=(rows, n)), dtype=dtype)
    expected = wide @ basis
    shifts.turn_rows(wide)
    assert_close(wide, expected, tol=tol)
