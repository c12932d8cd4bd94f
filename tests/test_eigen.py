"""Block Krylov iteration on operators with known spectra, and bases that depend on eigenspaces alone."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.linalg import lapack

import sslcore.backends.numba_cpu as primitives
from sslcore.backends import host_linalg
from sslcore.solvers.krylov import Accuracy, Eigenpairs, canonical_basis, clusters, top_eigenpairs

from .comparators import assert_close, assert_same_eigenspaces
from .strategies import seeds


def operator(values, seed=0):
    """A symmetric matrix with these eigenvalues and random eigenvectors, both returned decreasing."""
    values = np.sort(np.asarray(values, float))[::-1]
    q, _ = np.linalg.qr(np.random.default_rng(seed).standard_normal((len(values), len(values))))
    matrix = (q * values) @ q.T
    return (matrix + matrix.T) / 2, values, q


def top(matrix, k, *, width=None, max_basis=128, seed=1, dtype=np.float64, **accuracy):
    width = min(len(matrix), k + 4) if width is None else width
    start = np.asfortranarray(np.random.default_rng(seed).standard_normal((len(matrix), width)).astype(dtype))
    matrix = np.asfortranarray(matrix.astype(dtype))
    accuracy = Accuracy(**{"relative": 1e-11, "absolute": 1e-18} | accuracy)
    return top_eigenpairs(
        lambda v: primitives.matmul(matrix, v), start, k, primitives, accuracy=accuracy, max_basis=max_basis
    )


SPECTRA = {
    "decay": 0.8 ** np.arange(120),
    "slow": 1.0 / np.arange(1, 201),
    "clustered": np.concatenate([1 + 1e-9 * np.arange(6), 0.5 + 1e-7 * np.arange(5), np.linspace(0, 0.3, 100)]),
    "degenerate": np.concatenate([np.ones(3), np.full(5, 0.7), np.linspace(0, 0.5, 90)]),
    "one block wider than the iteration": np.concatenate([np.ones(40), np.linspace(0, 0.5, 60)]),
    "two values": np.concatenate([np.full(50, 2.0), np.full(50, 1.0)]),
    "identity": np.ones(60),
    "rank 3": np.concatenate([[3.0, 2.0, 1.0], np.zeros(80)]),
    "rank 1": np.concatenate([[1.0], np.zeros(30)]),
    "huge ratio": np.concatenate([10.0 ** -np.arange(12.0), np.zeros(50)]),
    "tiny values": 1e-12 * 0.7 ** np.arange(60),
    "one": np.array([2.0]),
    "two": np.array([2.0, 1.0]),
}


@pytest.mark.parametrize(
    ("name", "k"), [(name, k) for name in SPECTRA for k in (1, 2, 5, 8) if k <= len(SPECTRA[name])]
)
@pytest.mark.parametrize("max_basis", [128, 1])
def test_known_spectra(name, k, max_basis):
    """``max_basis`` = 1 is raised to three blocks: restarts."""
    matrix, values, vectors = operator(SPECTRA[name])
    pairs = top(matrix, k, max_basis=max_basis, absolute=1e-15 * values[0])
    found = len(pairs.values)
    if pairs.steps == 500:  # a basis of 15 cannot take six values apart that differ by 1e-9: the residuals say so
        assert (name, k, max_basis) == ("clustered", 1, 1)
        assert pairs.residuals[0] > 1e-11
        return
    rank = int((values > 1e-14 * values[0]).sum())
    assert found >= min(k, rank)
    assert_close(pairs.vectors.T @ pairs.vectors, np.eye(found), tol=1e-13)
    assert_close(pairs.values, values[:found], tol=1e-13)
    kept = min(found, rank)
    errors = np.linalg.norm(matrix @ pairs.vectors - pairs.vectors * pairs.values, axis=0)
    assert (errors[:kept] <= np.maximum(1e-10 * pairs.values[:kept], 1e-14 * values[0])).all()
    positive = int((values[:kept] > 1e-7 * values[0]).sum())
    assert_same_eigenspaces(
        pairs.values[:positive],
        pairs.vectors[:, :positive],
        values,
        vectors,
        tol=1e-6,
        gap=2e-6 if name == "clustered" else 1e-8,
    )
    if k < len(values) and found == k and values[k] > 1e-7 * values[0] and name != "clustered":
        # with a degenerate block wider than the iteration a copy too few may be in the space
        assert pairs.following <= values[k] * (1 + 1e-9)
        if np.sum(values == values[k]) <= 4:
            assert pairs.following >= values[k] * (1 - 1e-3)
    assert pairs.steps >= 1


@given(
    n=st.integers(1, 40),
    k=st.integers(1, 8),
    copies=st.lists(st.integers(1, 6), min_size=1, max_size=8),
    seed=seeds,
    max_basis=st.sampled_from([1, 128]),
)
def test_random_degenerate_spectra(n, k, copies, seed, max_basis):
    k = min(k, n)
    blocks = np.repeat(0.6 ** np.arange(len(copies)), copies)
    values = np.sort(np.concatenate([blocks, np.zeros(n)])[:n])[::-1]
    matrix, values, vectors = operator(values, seed)
    pairs = top(matrix, k, max_basis=max_basis, seed=seed, absolute=1e-15)
    kept = min(len(pairs.values), int((values > 0).sum()))
    assert kept == min(k, int((values > 0).sum()))
    assert_same_eigenspaces(pairs.values[:kept], pairs.vectors[:, :kept], values, vectors, tol=1e-8)


def test_zero_operator():
    pairs = top(np.zeros((20, 20)), 3)
    assert (pairs.values == 0).all()
    assert pairs.following == 0
    assert (pairs.residuals == 0).all()


def test_start_in_an_invariant_space():
    """Nothing beyond it can be found; what is in it is exact, and the iteration stops by itself."""
    matrix, values, vectors = operator(0.9 ** np.arange(50))
    start = np.asfortranarray(vectors[:, 10:16] @ np.random.default_rng(0).standard_normal((6, 6)))
    pairs = top_eigenpairs(
        lambda v: primitives.matmul(np.asfortranarray(matrix), v),
        start,
        4,
        primitives,
        accuracy=Accuracy(1e-12, absolute=0.0),
        max_basis=128,
    )
    assert_close(pairs.values, values[10:14], tol=1e-13)


def test_dependent_start_columns():
    matrix, values, _ = operator(0.7 ** np.arange(40))
    start = np.random.default_rng(0).standard_normal((40, 3))
    start = np.asfortranarray(np.concatenate([start, start, np.zeros((40, 1))], axis=1))
    pairs = top_eigenpairs(
        lambda v: primitives.matmul(np.asfortranarray(matrix), v),
        start,
        5,
        primitives,
        accuracy=Accuracy(1e-11, absolute=0.0),
        max_basis=128,
    )
    assert_close(pairs.values, values[:5], tol=1e-12)


def test_float32():
    matrix, values, vectors = operator(0.7 ** np.arange(80))
    pairs = top(matrix, 4, dtype=np.float32, relative=1e-5, absolute=1e-9)
    assert pairs.vectors.dtype == np.float32
    assert pairs.values.dtype == np.float64  # the projected problem is always in double precision
    assert_same_eigenspaces(pairs.values, pairs.vectors, values, vectors, tol=1e-4)


def test_max_steps_is_kept_and_residuals_tell():
    matrix, _, _ = operator(1 - 1e-4 * np.arange(300))
    pairs = top(matrix, 3, width=3, steps=4)
    assert pairs.steps == 4
    assert (pairs.residuals > 1e-6).all()


def test_estimated_residuals_are_true():
    matrix, _, _ = operator(1.0 / np.arange(1, 101))
    for tolerance in (1e-2, 1e-5, 1e-9):
        pairs = top(matrix, 3, relative=tolerance)
        true = np.linalg.norm(matrix @ pairs.vectors - pairs.vectors * pairs.values, axis=0)
        assert (true <= tolerance * pairs.values + 1e-14).all()
        assert_close(pairs.residuals, true, tol=1e-13, scale=1.0)


# ---------------------------------------------------------------- projected problems


@given(
    n=st.integers(1, 60),
    count=st.integers(1, 20),
    kind=st.sampled_from(["decay", "copies", "two values", "close", "any", "zero"]),
    seed=seeds,
)
def test_top_of_small_matrices(n, count, kind, seed):
    rng = np.random.default_rng(seed)
    values = {
        "decay": 0.5 ** np.arange(n),
        "copies": np.repeat(0.6 ** np.arange(n), 4)[:n],
        "two values": np.where(np.arange(n) < n // 2, 2.0, 1.0),
        "close": 1 + 1e-12 * rng.standard_normal(n),
        "any": rng.standard_normal(n) * 10.0 ** rng.integers(-100, 100),
        "zero": np.zeros(n),
    }[kind]
    matrix, values, _ = operator(values, seed)
    count = min(count, n)
    found, vectors = host_linalg.top_eigh(matrix, count)
    scale = max(float(np.abs(values).max()), 1e-300)
    assert_close(found, values[:count], tol=1e-13, scale=scale)
    assert_close(vectors.T @ vectors, np.eye(count), tol=1e-13)
    assert_close(matrix @ vectors / scale, vectors * found / scale, tol=1e-13, scale=1.0)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda w, z, m, s, info: (w, z, m, s, 1),
        lambda w, z, m, s, info: (w, z, m - 1, s, 0),
        lambda w, z, m, s, info: (w * (1 + 1e-12), z, m, s, 0),
        lambda w, z, m, s, info: (w, z * (1 + 1e-12), m, s, 0),
        lambda w, z, m, s, info: (w, np.full_like(z, np.nan), m, s, 0),
    ],
    ids=["says so", "too few", "values", "lengths", "nan"],
)
def test_a_driver_that_fails_is_noticed(spoil, monkeypatch):
    matrix, values, _ = operator(0.8 ** np.arange(30))
    real = lapack.dsyevr
    monkeypatch.setattr(lapack, "dsyevr", lambda *a, **o: spoil(*real(*a, **o)))
    found, vectors = host_linalg.top_eigh(matrix, 4)
    assert_close(found, values[:4], tol=1e-14)
    assert_close(vectors.T @ vectors, np.eye(4), tol=1e-13)
    assert_close(matrix @ vectors, vectors * found, tol=1e-14, scale=1.0)


# ---------------------------------------------------------------- bases


def test_clusters():
    assert clusters(np.array([3.0, 3.0, 2.0, 1.0 + 1e-12, 1.0]), 1e-8) == [(0, 2), (2, 3), (3, 5)]
    assert clusters(np.array([1.0]), 1e-8) == [(0, 1)]
    assert clusters(np.array([2.0, 1.0, 0.0, 0.0]), 1e-8) == [(0, 1), (1, 2), (2, 4)]


@given(seed=seeds, sizes_of_blocks=st.lists(st.integers(1, 4), min_size=1, max_size=4))
def test_canonical_basis_depends_on_the_spaces_alone(seed, sizes_of_blocks):
    rng = np.random.default_rng(seed)
    k = sum(sizes_of_blocks)
    n = k + 3
    values = np.repeat(0.5 ** np.arange(len(sizes_of_blocks)), sizes_of_blocks)
    vectors, _ = np.linalg.qr(rng.standard_normal((n, k)))
    reference = rng.standard_normal((n, k))

    def canonical(v):
        return canonical_basis(Eigenpairs(values, np.asfortranarray(v), 0.0, values, 1), reference, primitives)

    found = canonical(vectors)
    # any other basis of each space gives the same
    turned = vectors.copy()
    start = 0
    for size in sizes_of_blocks:
        q, _ = np.linalg.qr(rng.standard_normal((size, size)))
        turned[:, start : start + size] = vectors[:, start : start + size] @ q
        start += size
    assert_close(canonical(turned), found, tol=1e-8, scale=1.0)
    # the spaces are kept, and so is orthonormality
    assert_close(found.T @ found, np.eye(k), tol=1e-13)
    start = 0
    for size in sizes_of_blocks:
        block, old = found[:, start : start + size], vectors[:, start : start + size]
        assert_close(old @ (old.T @ block), block, tol=1e-13, scale=1.0)
        # the j-th vector has no part along the first j - 1 reference columns, and a positive one along its own
        products = block.T @ reference[:, :size]
        assert_close(np.tril(products, -1), np.zeros((size, size)), tol=1e-12, scale=1.0)
        assert (np.diagonal(products) > 0).all()
        start += size
    # unchanged input, and the same again
    assert np.array_equal(canonical(found.copy()), canonical(found.copy()))


def test_canonical_basis_separates_values_that_differ():
    """Values further apart than the relative gap are never mixed."""
    values = np.array([1.0, 1.0 - 1e-6])
    vectors = np.eye(4)[:, :2]
    reference = np.random.default_rng(0).standard_normal((4, 2))
    found = canonical_basis(Eigenpairs(values, np.asfortranarray(vectors), 0.0, values, 1), reference, primitives)
    assert np.array_equal(np.abs(found), vectors)


def test_a_chain_of_close_values_is_no_cluster():
    """Each is close to the next, and the ends are far apart: cut at the largest gaps, pieces are as close as asked."""
    values = 1.0 - np.concatenate([0.9e-8 * np.arange(5), 1e-6 + 0.5e-8 * np.arange(9)])
    runs = clusters(values, 1e-8)
    assert [a for a, _ in runs] == [0, *(b for _, b in runs[:-1])]
    assert runs[-1][1] == len(values)
    assert all(values[a] - values[b - 1] <= 1e-8 for a, b in runs)
    assert (0, 5) not in runs
    assert any(b == 5 for _, b in runs)
    assert clusters(np.array([]), 1e-8) == []
    assert clusters(np.array([np.nan, np.nan]), 1e-8) == [(0, 2)]


@given(seed=seeds, k=st.integers(2, 12), spread=st.sampled_from([1e-9, 1e-8, 1e-7]))
def test_canonical_bases_stay_eigenvectors(seed, k, spread):
    """Whatever the values, no vector leaves its eigenspace by more than the gap that counts as none."""
    values = 1.0 - spread * np.random.default_rng(seed).uniform(0, 1, k).cumsum()
    reference = np.random.default_rng(seed + 1).standard_normal((k, k))
    found = canonical_basis(Eigenpairs(values, np.eye(k, order="F"), 0.0, values, 1), reference, primitives, 3e-8)
    assert np.linalg.norm(values[:, None] * found - found * values, axis=0).max() <= 3e-8


@pytest.mark.parametrize("width", [1e-1, 1e-2, 1e-4])
def test_the_following_eigenvalue_is_good(width):
    """The gap at k, and whether k cuts a block, come from it: also where it converges long after the wanted ones."""
    matrix, values, _ = operator(np.concatenate([[100.0, 50.0, 20.0], 1.0 - np.linspace(0, width, 150)]))
    pairs = top(matrix, 3)
    assert abs(pairs.following - values[3]) <= 1e-9
