"""The GPU backend against the CPU's: the same bits, the same numbers to rounding, nothing that crosses over unseen."""

import gc
import os
import sys
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import sslcore
import sslcore.backends.numba_cpu as cpu
from sslcore import Moments, Views, features, pretrain, probing, risk, tunables
from sslcore.augmentations import (
    Affine,
    BitFlip,
    Compose,
    Crop,
    Cutout,
    GaussianNoise,
    HorizontalFlip,
    Mixture,
    Resample,
    Reversal,
    Shift,
    SignFlip,
)
from sslcore.backends import get_backend
from sslcore.backends.stages import PRIMITIVES
from sslcore.errors import CertificateError, NotPositiveSemidefiniteError
from sslcore.fitting.plan import features_plan, fitting_rows
from sslcore.fitting.sizes import Sizes
from sslcore.gram import gram, kernel_product
from sslcore.kernels import (
    Exponential,
    Gaussian,
    Kernel,
    L1Exponential,
    Linear,
    Matern,
    Nugget,
    Polynomial,
    Precomputed,
    Profile,
    _rows,
    registry,
)
from sslcore.probing._leave_one_out import _decompose
from sslcore.solvers.groups import Samples
from sslcore.solvers.rotated_gram import contrast_gram, rotated_gram

from .comparators import assert_close, assert_same_eigenspaces
from .cuda_on_host import standin
from .cuda_on_host.settings import ORDERS, running
from .cuda_on_host.standin import cuda, libraries
from .examples import augmentation_examples, kernel_examples
from .strategies import dtypes, layouts, seeds, sizes, with_layout

KERNELS = [*kernel_examples(), Gaussian(1.0) + 0.5 * Linear(), Exponential(1.0) * Polynomial(2)]
MIXED = [  # for any number of coordinates, beside the table of examples
    lambda d: Mixture(
        [0.3, 0.3, 0.4],
        [
            GaussianNoise(0.1),
            Mixture([0.5, 0.5], [Shift([0.5, 0.5][:d]) if d > 1 else BitFlip(1), Crop(1)]),
            Compose(
                Reversal(0.5),
                Affine((d, 1)),
                HorizontalFlip((1, d)),
                Cutout((d, 1), 1),
                Resample(0.5),
                BitFlip(0.5),
                SignFlip(0.5),
            ),
        ],
    ),
    lambda d: Compose(Mixture([0.5, 0.5], [BitFlip(0.5), Crop(1)]), Affine((d, 1), rotation=90)),
    lambda d: Affine((d, 1, 1), rotation=180, zoom=1.5, shift=2),
    lambda d: Cutout((d, 1), 1),
    lambda d: Compose(GaussianNoise(0.1), BitFlip(0.5), HorizontalFlip((d, 1), 0.3), GaussianNoise(1.0)),
]
AUGMENTATIONS = augmentation_examples(99) + [(make(d), d) for make in MIXED for d in (1, 4, 13)]
TOLERANCE = {np.dtype(np.float64): 1e-13, np.dtype(np.float32): 1e-6}


@pytest.fixture
def hosted():
    """CuPy on the host, whose memory and transfers can be watched."""
    with standin.installed() as cupy:
        standin.counters.reset()
        yield cupy


@pytest.fixture(params=ORDERS)
def order(request):
    """Threads of a block one after the other, the other way round, and in a random order."""
    with running(order=request.param, seed=7):
        yield request.param


def noisy(n=20, m=2, d=3, seed=0, dtype=np.float64):
    rng = np.random.default_rng(seed)
    return (rng.standard_normal((n, 1, d)) + 0.3 * rng.standard_normal((n, m, d))).astype(dtype)


def on_both(cp, function, *arrays):
    """A function of arrays on the GPU's backend and on the CPU's, both as NumPy arrays."""
    return cp.asnumpy(function(*map(cp.asarray, arrays))), function(*arrays)


# ---------------------------------------------------------------- views


@given(
    example=st.sampled_from(AUGMENTATIONS),
    n=st.integers(1, 5),
    m=st.integers(1, 4),
    seed=st.integers(0, 2**64 - 1),
    first=st.sampled_from([0, 1, 2**32 - 2, 2**56 - 5]),
    dtype=dtypes,
    layout=layouts,
)
def test_views_have_the_same_bits(cp, example, n, m, seed, first, dtype, layout):
    augmentation, d = example
    x = with_layout(np.random.default_rng(seed % 1000).standard_normal((n, d)).astype(dtype), layout)
    found, expected = on_both(cp, lambda x: augmentation.views(x, m, seed=seed, first=first), x)
    assert found.dtype == dtype
    assert np.array_equal(found, expected)


@pytest.mark.parametrize("shape", [(1, 1), (5, 3), (40, 7), (300, 24)])
def test_reference_normals_have_the_same_bits(cp, shape):
    found = get_backend(backend="cupy").reference_normals(*shape, 1)
    assert np.array_equal(cp.asnumpy(found), cpu.reference_normals(*shape, 1))


def test_blocks_of_views_do_not_matter(cp, monkeypatch):
    x = np.random.default_rng(0).standard_normal((17, 6))
    whole = Compose(Affine((2, 3)), GaussianNoise(0.1))
    expected = whole.views(x, 3, seed=5)
    monkeypatch.setattr(tunables, "CUDA_VIEW_COORDINATES", 40)
    assert np.array_equal(cp.asnumpy(whole.views(cp.asarray(x), 3, seed=5)), expected)
    lazy = Views(cp.asarray(x), whole, 3, seed=5)
    assert np.array_equal(cp.asnumpy(lazy[4:9]), expected[4:9])
    assert np.array_equal(whole.views(x, 3, seed=5, backend="cupy"), expected)


# ---------------------------------------------------------------- Gram matrices


@given(
    k=st.sampled_from(KERNELS),
    n=sizes(64, blocks=1),
    n_y=sizes(64, blocks=1),
    d=st.sampled_from([1, 2, 3, 16, 17, 48, 49, 70]),
    dtype=dtypes,
    symmetric=st.booleans(),
    seed=seeds,
)
@settings(max_examples=25)
def test_gram(cp, k, n, n_y, d, dtype, symmetric, seed):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, d)).astype(dtype) / dtype.type(np.sqrt(d)) + 3
    y = x if symmetric else np.concatenate([x[:3], rng.standard_normal((n_y, d)).astype(dtype)])
    found, expected = on_both(cp, lambda x, y: gram(k, x, None if symmetric else y), x, y)
    # products of coordinates cancel, and their errors are raised to a power
    tol = TOLERANCE[dtype] * (1 if isinstance(k, Gaussian | Exponential | L1Exponential | Matern) else 50)
    assert_close(found, expected, tol=tol, scale=max(1.0, float(np.abs(expected).max())))
    if symmetric:
        assert np.array_equal(found, found.T)


def test_gram_in_blocks_of_rows(cp, order):
    """Blocks that end anywhere, strided outputs, columns that begin anywhere."""
    backend = get_backend(backend="cupy")
    rng = np.random.default_rng(0)
    for d in (3, 60):
        x, y = rng.standard_normal((70, d)), rng.standard_normal((90, d))
        for k in (Gaussian(1.0), L1Exponential(3.0), Polynomial(2)):
            out = cp.zeros((70, 100))
            backend.gram_rows(backend.points(k, cp.asarray(y)), cp.asarray(x), 7, out[:, 5:75])
            assert_close(cp.asnumpy(out)[:, 5:75], k(x, y)[:, 7:77], tol=1e-13, scale=100.0)
            assert not cp.asnumpy(out)[:, 75:].any()


@pytest.mark.parametrize("d", [49, 128])
@pytest.mark.parametrize(("dtype", "far"), [(np.float64, 1e9), (np.float32, 1e5)])
def test_clouds_many_lengths_apart(cp, d, dtype, far):
    """Distances that the product formula cannot know are computed again, as on the CPU."""
    x = np.random.default_rng(d).standard_normal((30, d)).astype(dtype)
    x[15:] += dtype(far)
    x[12:15], x[27:30] = x[:3], x[15:18]
    for k in (Gaussian(1.0), Exponential(np.sqrt(d))):
        assert_close(cp.asnumpy(k(cp.asarray(x))), k(x), tol=1e-13 if dtype == np.float64 else 1e-5, scale=1.0)


def test_values_that_overflow(cp):
    for k, x in ((Polynomial(9), [[1e200]]), (Gaussian(1e-3), [[1e160], [0.0]])):
        with pytest.raises(ValueError, match="overflow"):
            k(cp.asarray(np.array(x)))


@given(n_x=st.integers(1, 20), n_y=st.integers(1, 20), k=st.integers(1, 3), dtype=dtypes, seed=seeds)
@settings(max_examples=10)
def test_kernel_product(cp, n_x, n_y, k, dtype, seed):
    rng = np.random.default_rng(seed)
    x, y, c = (rng.standard_normal(s).astype(dtype) for s in ((n_x, 3), (n_y, 3), (n_y, k)))
    found, expected = on_both(cp, lambda x, y, c: kernel_product(Gaussian(1.0), x, y, c), x, y, c)
    assert_close(found, expected, tol=TOLERANCE[dtype], scale=float(np.abs(c).sum()) + 1e-30)


def full(g):
    return np.block([[g.mean, g.cross], [g.cross.T, g.contrast]])


def full_on_host(g, xp):
    a, b, c = (xp.asnumpy(part) for part in (g.mean, g.cross, g.contrast))
    assert np.array_equal(a, a.T)
    assert np.array_equal(c, c.T)
    return np.block([[a, b], [b.T, c]])


@given(
    counts=st.lists(st.integers(1, 4), min_size=2, max_size=40),
    weighted=st.booleans(),
    dtype=dtypes,
    height=st.sampled_from([1, 5, 64]),
    seed=seeds,
)
@settings(max_examples=20)
def test_rotated_gram(cp, counts, weighted, dtype, height, seed):
    """Samples with any numbers of views, any weights, any blocks; both triangles are the same to the bit."""
    rng = np.random.default_rng(seed)
    groups = rng.permutation(np.repeat(np.arange(len(counts)), counts))
    weight = rng.uniform(0.5, 2, len(groups)) if weighted else None
    x = rng.standard_normal((len(groups), 3)).astype(dtype)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_rows, "block_rows", lambda columns, itemsize: height)
        samples = Samples.from_groups(groups, cpu, weight)
        expected = rotated_gram(Gaussian(1.0), x[samples.order], samples, cpu)
        backend = get_backend(backend="cupy")
        patch.setattr(backend, "BLOCK_FACTOR", 1)
        there = Samples.from_groups(groups, backend, weight)
        found = full_on_host(rotated_gram(Gaussian(1.0), cp.asarray(x)[there.order], there, backend), cp)
        matrix = Gaussian(1.0)(cp.asarray(x))
        given_matrix = full_on_host(rotated_gram(Precomputed(), matrix, there, backend), cp)
    assert_close(found, full(expected), tol=TOLERANCE[dtype], scale=1.0)
    assert_close(given_matrix, full(expected), tol=TOLERANCE[dtype], scale=1.0)


@pytest.mark.parametrize("m", [2, 3])
def test_contrast_gram_over_several_tiles(cp, order, m):
    views = noisy(70, m, 2)
    found = full_on_host(contrast_gram(Exponential(1.0), cp.asarray(views)), cp)
    assert_close(found, full(contrast_gram(Exponential(1.0), views)), tol=1e-14, scale=1.0)


# ---------------------------------------------------------------- dense primitives


@pytest.fixture
def dense(cp, monkeypatch):
    """The backend with panels of five columns, and calls of at most 60 entries."""
    backend = get_backend(backend="cupy")
    module = sys.modules[f"{backend.__name__}.dense"]
    monkeypatch.setattr(tunables, "CUDA_PANEL_COLUMNS", 5)
    monkeypatch.setattr(module, "LARGEST", 60)
    monkeypatch.setattr(tunables, "CUDA_PIVOT_STEPS", 4)
    return backend


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("n", [1, 4, 5, 6, 20, 21, 47])
def test_cholesky_in_panels(cp, dense, n, dtype):
    rng = np.random.default_rng(n)
    root = rng.standard_normal((n + 3, n)).astype(dtype)
    matrix = np.asfortranarray(root.T @ root + np.eye(n, dtype=dtype))
    a = cp.asarray(matrix)
    assert dense.cholesky(a)
    tol = 1e-13 if dtype == np.float64 else 1e-5
    found = cp.asnumpy(a)
    assert_close(np.triu(found), np.linalg.cholesky(matrix.astype(float)).T, dtype=dtype, tol=tol)
    assert np.array_equal(np.tril(found, -1), np.tril(matrix, -1))
    b = rng.standard_normal((n, 3)).astype(dtype)
    x = np.linalg.solve(matrix.astype(float), b)
    there = cp.asarray(np.asfortranarray(b))
    for transposed in (False, True):
        upper = np.triu(found).astype(float)
        expected = np.linalg.solve(upper.T if transposed else upper, b)
        assert_close(
            cp.asnumpy(dense.triangular_solve(a, there, transposed=transposed)), expected, dtype=dtype, tol=20 * tol
        )
    assert_close(cp.asnumpy(there), b)
    assert_close(cp.asnumpy(dense.cholesky_solve(a, there)), x, dtype=dtype, tol=100 * tol)
    diagonal = rng.standard_normal(n).astype(dtype)
    symmetric = np.tril(matrix, -1) + np.tril(matrix, -1).T + np.diag(diagonal)
    product = dense.symmetric_product(a, cp.asarray(diagonal), cp.asarray(np.asfortranarray(b)))
    assert_close(cp.asnumpy(product), symmetric @ b, tol=tol)
    assert np.array_equal(cp.asnumpy(a), found)


def test_no_call_extends_over_more_memory_than_it_may(hosted, dense, monkeypatch):
    """Columns of a part of a large matrix lie far apart, and cuBLAS may count what is between in 32 bits."""
    n = 90
    monkeypatch.setattr(sys.modules[f"{dense.__name__}.dense"], "LARGEST", 20 * n)
    monkeypatch.setattr(libraries, "longest", 20 * n)
    rng = np.random.default_rng(0)
    root = rng.standard_normal((n, n))
    matrix, b = np.asfortranarray(root.T @ root + np.eye(n)), rng.standard_normal((n, 3))
    with pytest.raises(ValueError, match="at most 1800 in all"):
        dense.matmul(hosted.asarray(matrix).T, hosted.asarray(matrix)[:, :1])
    a, there = hosted.asarray(matrix), hosted.asarray(np.asfortranarray(b))
    assert dense.cholesky(a)
    product = dense.symmetric_product(a, hosted.asarray(matrix.diagonal()), there)
    assert_close(hosted.asnumpy(product), matrix @ b, tol=1e-13)
    assert_close(hosted.asnumpy(dense.cholesky_solve(a, there)), np.linalg.solve(matrix, b), tol=1e-11)


@pytest.mark.parametrize("at", [0, 4, 5, 12])
@pytest.mark.parametrize("value", [-1.0, 0.0, np.nan, np.inf])
def test_cholesky_says_when_there_is_none(cp, dense, at, value):
    matrix = np.asfortranarray(np.eye(13))
    matrix[at, at] = value
    assert not dense.cholesky(cp.asarray(matrix))


@given(
    shape=st.tuples(st.integers(0, 9), st.integers(0, 9), st.integers(0, 9)),
    dtype=dtypes,
    turned=st.tuples(st.booleans(), st.booleans()),
    offset=st.integers(0, 2),
    seed=seeds,
)
@settings(max_examples=40)
def test_products_of_parts_of_matrices(cp, shape, dtype, turned, offset, seed):
    """Any order, any leading dimension, any part of a larger matrix, empty ones too."""
    n, k, m = shape
    rng = np.random.default_rng(seed)

    def part(rows, columns, flip):
        wide = rng.standard_normal((columns + 3, rows + 4) if flip else (rows + 3, columns + 4)).astype(dtype)
        return wide, lambda w: (w.T if flip else w)[offset : offset + rows, 1 : 1 + columns]

    (a, cut_a), (b, cut_b) = part(n, k, turned[0]), part(k, m, turned[1])
    c = np.asfortranarray(rng.standard_normal((n, m)).astype(dtype))
    backend = get_backend(backend="cupy")
    first, second = cut_a(cp.asarray(a)), cut_b(cp.asarray(b))
    found = cp.asnumpy(backend.matmul(first, second))
    added = cp.asnumpy(backend.matmul(first, second, out=cp.asarray(c), alpha=-1.0, beta=1.0))
    tol = 1e-13 if dtype == np.float64 else 1e-5
    assert_close(found, cut_a(a) @ cut_b(b), tol=tol, scale=10.0)
    assert_close(added, c - cut_a(a) @ cut_b(b), tol=tol, scale=10.0)


def test_decompositions_that_do_not_converge_are_errors(hosted):
    """CuPy returns whatever there is, without a word, unless it is asked to look at cuSOLVER's information."""
    backend, bad = get_backend(backend="cupy"), hosted.asarray(np.full((3, 3), np.nan))
    for name in ("eigh", "eigvalsh", "svd"):
        assert getattr(hosted.linalg, name)(bad) is not None
    for function in (backend.eigh, backend.symmetric_eigenvalues, lambda a: _decompose(a, True)):
        with pytest.raises(np.linalg.LinAlgError, match="converge"):
            function(bad)
    with pytest.raises(np.linalg.LinAlgError, match="converge"):
        _decompose(hosted.asarray(np.full((9, 2), np.nan)), True)
    assert getattr(hosted.linalg, name)(bad) is not None  # what was asked for is over


@pytest.mark.parametrize("n", [30, 1500])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_orthonormalize(cp, n, dtype):
    """As on the CPU: dependent and tiny columns are dropped."""
    backend = get_backend(backend="cupy")
    rng = np.random.default_rng(n)
    a = rng.standard_normal((n, 6)).astype(dtype)
    a[:, 3] = a[:, 0] + a[:, 1]
    a[:, 5] *= dtype(1e-3)
    a = np.asfortranarray(a)
    q, r = backend.orthonormalize(cp.asarray(a), 1e-4)
    q, r = cp.asnumpy(q), cp.asnumpy(r)
    assert q.shape == (n, 5)
    tol = 1e-13 if dtype == np.float64 else 1e-5
    assert_close(q.T @ q, np.eye(5, dtype=dtype), tol=10 * tol)
    assert_close(q @ r, a, tol=10 * tol)


@pytest.mark.parametrize(("n", "rank"), [(1, 1), (4, 4), (9, 9), (40, 40), (40, 7)])
def test_pivoted_cholesky(cp, dense, n, rank):
    rng = np.random.default_rng(n)
    root = rng.standard_normal((n, rank)) * rng.uniform(0.5, 2, (n, 1))
    matrix = root @ root.T
    given = cp.asarray(matrix)
    factor, pivots, found = dense.pivoted_cholesky(given, 1e-10)
    factor, pivots = cp.asnumpy(factor), cp.asnumpy(pivots)
    expected, expected_pivots, _ = cpu.pivoted_cholesky(matrix, 1e-10)
    assert found == rank == len(pivots)
    assert np.array_equal(pivots, expected_pivots[:rank])
    assert_close(factor, expected, tol=1e-10)
    assert np.array_equal(factor, np.triu(factor))
    assert np.array_equal(cp.asnumpy(given), matrix)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_moments_of_rows_whitening_and_mirror(cp, dense, order, dtype):
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((37, 9)).astype(dtype)
    total = cp.asarray(np.asfortranarray(np.ones((9, 9))))
    dense.add_second_moment(total, cp.asarray(rows), 0.5)
    tol = 1e-13 if dtype == np.float64 else 1e-5
    assert_close(np.triu(cp.asnumpy(total)), np.triu(1 + 0.5 * rows.astype(float).T @ rows), tol=tol)
    factor = np.triu(rng.uniform(1, 2, (9, 9))) + 3 * np.eye(9)
    values = cp.asarray(rows)
    white = dense.whiten(dense.whitener(cp.asarray(np.asfortranarray(factor)), np.dtype(dtype)), values)
    assert_close(cp.asnumpy(white), np.linalg.solve(factor.T, rows.T.astype(float)).T, dtype=dtype, tol=tol)
    for n in (1, 31, 32, 33, 70):
        square = rng.standard_normal((n, n)).astype(dtype)
        there = cp.asarray(square)
        dense.mirror(there)
        assert np.array_equal(cp.asnumpy(there), np.triu(square) + np.triu(square, 1).T)


@pytest.mark.parametrize("r", [1, 5, 41])
@pytest.mark.parametrize("n", [1, 6])
def test_second_moments_in_float32(cp, dense, r, n):
    """Every entry once, above the diagonal; the lower triangle of the sum is left alone."""
    rows = np.random.default_rng(r).standard_normal((n, r)).astype(np.float32)
    total = cp.asarray(np.asfortranarray(np.full((r, r), 0.25)))
    for _ in range(2):
        dense.add_second_moment(total, cp.asarray(rows), 3.0)
    expected = np.triu(6 * rows.astype(float).T @ rows) + 0.25
    assert_close(cp.asnumpy(total), expected, tol=1e-5)
    assert (np.tril(cp.asnumpy(total), -1) == np.tril(np.full((r, r), 0.25), -1)).all()


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("side", [1, 7, 16, 100])
@pytest.mark.parametrize("distance", [1.0, 1e-3, 1e-6])
def test_whitening_with_landmarks_close_to_each_other(cp, dense, monkeypatch, dtype, side, distance):
    """No further from the exact features than triangular solves, however small the pivots."""
    monkeypatch.setattr(tunables, "CUDA_INVERTED_ROWS", side)
    rng = np.random.default_rng(0)
    landmarks = rng.standard_normal((30, 3))
    landmarks = np.concatenate([landmarks, landmarks + distance * rng.standard_normal((30, 3))])
    kernel = Gaussian(1.0)
    factor, pivots, rank = cpu.pivoted_cholesky(kernel(landmarks), 1e-13)
    values = kernel(rng.standard_normal((50, 3)), landmarks[pivots[:rank]]).astype(dtype)
    exact, upper = np.zeros(values.shape, np.longdouble), factor.astype(np.longdouble)
    for j in range(rank):
        exact[:, j] = (values[:, j] - exact[:, :j] @ upper[:j, j]) / upper[j, j]
    solved = cpu.whiten(cpu.whitener(factor, np.dtype(dtype)), values.copy())
    white = dense.whiten(dense.whitener(cp.asarray(factor), np.dtype(dtype)), cp.asarray(values))
    white, epsilon = cp.asnumpy(white), np.finfo(dtype).eps
    error, allowed = (np.linalg.norm(found - exact) for found in (white, solved))
    assert error <= 2 * allowed + 10 * epsilon
    assert np.abs(white.astype(float) @ factor - values).max() <= 50 * epsilon


# ---------------------------------------------------------------- risks and probes


@given(
    n=st.integers(2, 12),
    m=st.integers(2, 4),
    k=st.sampled_from([1, 2, 31, 33, 70]),
    dtype=dtypes,
    layout=layouts,
    seed=seeds,
)
@settings(max_examples=20)
def test_risks_and_gradients(cp, n, m, k, dtype, layout, seed):
    rng = np.random.default_rng(seed)
    z = rng.standard_normal((n, m, k)).astype(dtype)
    tol = 1e-12 if dtype == np.float64 else 2e-5
    for function in (
        risk.vicreg,
        lambda z, **o: risk.vicreg(z, beta=0.3, unbiased=True, **o),
        risk.spectral_contrastive,
        risk.vicreg_hinge,
        risk.barlow_twins,
    ):
        value, gradient = function(z, return_grad=True)
        there = cp.asarray(np.asfortranarray(z) if layout == "F" else z)
        found, slope = function(there, return_grad=True)
        assert isinstance(slope, cp.ndarray)
        assert function(there) == found
        slope = cp.asnumpy(slope)
        assert isinstance(found, float)
        assert abs(found - value) <= 1e-12 * max(1.0, abs(value)) * k
        assert_close(slope, gradient, tol=tol)


RISK_SHAPES = [(1, 2, 1), (41, 3, 4), (9, 9, 3), (2, 2, 257), (37, 8, 33), (20, 4, 140), (23, 3, 66), (40, 2, 256)]


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("shape", RISK_SHAPES)
@pytest.mark.parametrize("layout", ["C", "F", "shifted"])
def test_sums_of_the_risk_in_blocks(cp, monkeypatch, shape, dtype, layout):
    """By few blocks of threads, so that each takes several turns; several chunks and blocks of columns for moments."""
    backend = get_backend(backend="cupy")
    module = sys.modules[f"{backend.__name__}.risk"]
    for place, name in ((tunables, "CUDA_RISK_BLOCK_ENTRIES"), (module, "LARGEST")):
        monkeypatch.setattr(place, name, 60 if shape[2] < 50 else 15 * shape[1] * shape[2])
    monkeypatch.setattr(tunables, "CUDA_RISK_MOST_BLOCKS", 2)
    monkeypatch.setattr(tunables, "CUDA_RISK_CHUNK_ROWS", 7)
    monkeypatch.setattr(tunables, "CUDA_RISK_TILE_COLUMNS", 16)
    z = np.random.default_rng(0).standard_normal(shape).astype(dtype)
    if layout == "shifted":  # rows that begin at no multiple of 16 bytes
        there = cp.empty(z.size + 1, dtype)[1:].reshape(shape)
        there[...] = cp.asarray(z)
    else:
        there = cp.asarray(np.asarray(z, order=layout))
    tol = 1e-13 * shape[2]
    for products in (False, True):
        second, within, fourth = backend.view_sums(there, products)
        expected = cpu.view_sums(z, products)
        assert_close(cp.asnumpy(second), expected[0], tol=tol)
        assert_close(np.array([within, fourth]), np.array(expected[1:]), tol=1e-13, scale=max(1.0, *expected[1:]))
    weight = np.random.default_rng(1).standard_normal((shape[2], shape[2]))
    for outer in (0.0, 0.7):
        found, expected = cp.empty(there.shape, there.dtype), np.empty(z.shape, z.dtype)
        backend.view_gradient(there, cp.asarray(weight), 0.3, outer, found)
        cpu.view_gradient(z, weight, 0.3, outer, expected)
        found = cp.asnumpy(found)
        assert found.dtype == dtype
        assert_close(found, expected, tol=tol if dtype == np.float64 else 1e-6, scale=float(np.abs(expected).max()))


@pytest.mark.parametrize(("dtype", "order"), [(np.float64, "C"), (np.float64, "F"), (np.float32, "C")])
def test_risks_take_no_more_memory_than_results_and_blocks(hosted, monkeypatch, dtype, order):
    """Float64 in C order is read in place; otherwise blocks are as large as the memory that is left allows."""
    module = sys.modules[f"{get_backend(backend='cupy').__name__}.risk"]
    monkeypatch.setattr(tunables, "CUDA_RISK_LEAST_ENTRIES", 1000)
    monkeypatch.setattr(module, "free_memory", lambda: 64 * 4096)
    z = hosted.asarray(np.asarray(np.random.default_rng(0).standard_normal((2000, 2, 16)), dtype, order=order))
    memory = standin.the_memory
    before = memory.peak = memory.used
    value, gradient = risk.vicreg(z, unbiased=True, return_grad=True)
    blocks = 0 if (dtype, order) == (np.float64, "C") else 16 * 4096
    small = 8 * 16**2 * (2000 * 2 // 512) + 16 * (2000 // 4) + (64 << 10)
    assert gradient.nbytes <= memory.peak - before <= gradient.nbytes + blocks + small
    assert np.isfinite(value)


def test_non_finite_representations(cp):
    z = np.zeros((3, 2, 2))
    z[1, 1, 0] = np.nan
    with pytest.raises(ValueError, match=r"z must be finite, found nan at index \(1, 1, 0\) \(1 such entries"):
        risk.vicreg(cp.asarray(z))


@given(n=st.integers(4, 30), k=st.integers(1, 8), intercept=st.booleans(), seed=seeds)
@settings(max_examples=10)
def test_ridge_probe(cp, n, k, intercept, seed):
    rng = np.random.default_rng(seed)
    z, y, labels = rng.standard_normal((n, k)), rng.standard_normal((n, 2)), rng.integers(0, 2, n)
    labels[:2] = 0, 1
    for target in (y, labels):
        expected = probing.ridge_probe(z, target, [1e-2, 1.0], fit_intercept=intercept)
        there = cp.asarray(z)
        found = probing.ridge_probe(there, cp.asarray(target), [1e-2, 1.0], fit_intercept=intercept)
        assert found.reg == expected.reg
        assert_close(cp.asnumpy(found.coef), expected.coef, tol=1e-9)
        assert_close(found.loo_errors, expected.loo_errors, tol=1e-9)
        predicted = found.predict(there)
        assert isinstance(predicted, cp.ndarray)
        assert_close(cp.asnumpy(predicted), expected.predict(z), tol=1e-9)
        assert abs(found.score(there, cp.asarray(target)) - expected.score(z, target)) < 1e-9
        if target is labels:
            names = np.array(["a", "b"])[labels]
            named = probing.ridge_probe(there, names, 1.0, fit_intercept=intercept)
            assert named.predict(there).dtype.kind == "U"
            assert named.score(there, names) == probing.ridge_probe(z, names, 1.0, fit_intercept=intercept).score(
                z, names
            )


# ---------------------------------------------------------------- fits

MODELS = [
    Gaussian(1.0),
    Exponential(0.5) + 0.1 * Linear(),
    lambda x, y: (x @ y.T + 1) ** 2,
    features.Identity(),
    features.Nystrom(Gaussian(1.0), 9),
    features.Nystrom(Gaussian(1.0), 6, selection="rpcholesky"),
    features.RandomFourier(Gaussian(1.0), 8),
]


@pytest.mark.parametrize("model", MODELS, ids=lambda m: getattr(m, "__name__", None) or type(m).__name__)
@pytest.mark.parametrize("center", [False, True])
@pytest.mark.parametrize("m", [2, 3])
def test_pretrain(cp, model, center, m):
    """mu to 1e-10 + 100 eps ||Khat|| / reg, functions to rounding; on the device from end to end, or there and back."""
    views = noisy(24, m, 3)
    rng = np.random.default_rng(m)
    new = rng.standard_normal((5, 3))
    for options in ({}, {"beta": 0.5, "unbiased": False, "sample_weight": rng.uniform(0.5, 2, (24, m))}):
        reg = 1e-2
        expected = pretrain(views, model, 3, reg=reg, center=center, **options)
        bound = 1e-10 + 100 * np.finfo(float).eps * 10 / reg
        found = pretrain(cp.asarray(views), model, 3, reg=reg, center=center, **options)
        assert isinstance(found.coefficients, cp.ndarray)
        assert isinstance(found.eigenvalues, np.ndarray)
        values = cp.asnumpy(found(cp.asarray(new)))
        embedding = cp.asnumpy(found.embedding)
        if isinstance(model, features.Features):
            for part, right in zip(found.linear_head(), expected.linear_head(), strict=True):
                assert_close(cp.asnumpy(part), right, tol=1e-8, scale=1.0)
        home = pretrain(views, model, 3, reg=reg, center=center, backend="cupy", **options)
        assert isinstance(home.coefficients, np.ndarray)
        brought = home.transform(new, backend="cupy")
        for rep in (found, home):
            assert_close(rep.gamma, expected.gamma, tol=bound, scale=1.0)
            assert_close(rep.invariance, expected.invariance, tol=1e-8, scale=1.0)
            assert_close(rep.norms, expected.norms, tol=1e-8)
            assert abs(rep.risk - expected.risk) < 1e-9
            assert rep.certificate.worst < 1e-8
        assert_close(values, expected(new), tol=1e-8)
        assert_close(embedding, expected.embedding, tol=1e-8)
        assert_close(brought, expected(new), tol=1e-8)
        assert_close(home(new), expected(new), tol=1e-8)


@given(
    model=st.sampled_from([*KERNELS, features.Identity(), features.RandomFourier(Gaussian(1.0), 8, seed=1)]),
    n=st.integers(3, 14),
    m=st.integers(2, 4),
    k=st.integers(1, 4),
    reg=st.sampled_from([1e-1, 1e-3, 1e-5]),
    beta=st.sampled_from([0.0, 0.5, 1.0]),
    center=st.booleans(),
    unbiased=st.booleans(),
    seed=seeds,
)
@settings(max_examples=40)
def test_fits(cp, model, n, m, k, reg, beta, center, unbiased, seed):
    """mu to 1e-10 + 100 eps ||Khat|| / reg where it is active; projectors onto complete blocks; the penalised risk."""
    views = noisy(n, m, 3, seed=seed)
    numbers = {"reg": reg, "beta": beta, "center": center, "unbiased": unbiased}
    k = min(k, 3 if isinstance(model, features.Identity) else n)
    more = n * m if isinstance(model, Nugget) else k + 3  # all eigenvalues of white noise are equal
    try:
        expected = pretrain(views, model, min(3 if isinstance(model, features.Identity) else n * m, more), **numbers)
    except CertificateError:
        return  # reg is below the rounding of the matrix, by far or almost
    if expected.certificate.worst > 0.1 * expected.certificate.tolerance:
        return
    found = pretrain(cp.asarray(views), model, k, **numbers)
    x = views.reshape(-1, 3)
    phi = None if isinstance(model, Kernel) else model.prepare(3, x.dtype, cpu)(x)
    matrix = model(x) if phi is None else phi @ phi.T
    norm = float(np.linalg.eigvalsh(matrix)[-1]) / len(x)
    bound = 1e-10 + 100 * np.finfo(float).eps * norm / reg
    rank = min(found.certificate.rank, expected.certificate.rank)
    large = int((expected.gamma[: min(rank, k)] < 1e3 * expected.gamma[0]).sum())  # 1 / gamma is known to rounding
    active = min(found.n_active, large)
    assert found.n_active == expected.gamma[:k].searchsorted(1.0) or abs(expected.gamma[:k] - 1).min() < bound
    assert_close(found.gamma[:active], expected.gamma[:active], tol=bound, scale=1.0)
    assert abs(found.risk - (k - (np.clip(expected.eigenvalues[:k], 0, None) ** 2).sum())) <= 2 * k * bound
    if large:
        u = cp.asnumpy(found.transform(cp.asarray(x), scale="unit"))[:, :large]
        v = expected.transform(x, scale="unit")[:, : expected.certificate.rank]
        values = 1 / expected.gamma[: v.shape[1]]
        assert_same_eigenspaces(1 / found.gamma[:large], u, values, v, tol=max(1e-7, 1e3 * bound), gap=1e-3)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_degenerate_spectra(cp, dtype):
    """The cube's parities: eigenspaces by complete blocks, the same basis inside them on both backends."""
    cube = np.array(np.meshgrid(*[[-1.0, 1.0]] * 3)).reshape(3, -1).T.astype(dtype)
    views = cube[:, None] * np.concatenate([np.ones((1, 3)), 1 - 2 * np.eye(3)]).astype(dtype)
    expected = pretrain(views, Gaussian(1.5), 8, reg=1e-2)
    found = pretrain(cp.asarray(views), Gaussian(1.5), 8, reg=1e-2)
    tol = 1e-8 if dtype == np.float64 else 1e-2
    flat = (32, 8)
    values = cp.asnumpy(found.values)
    assert_same_eigenspaces(
        1 / found.gamma,
        values.reshape(flat),
        1 / expected.gamma,
        expected.values.reshape(flat),
        tol=tol,
        gap=1e-6 if dtype == np.float64 else 1e-3,
    )
    assert_close(values, expected.values, tol=tol)
    assert found.certificate.cuts_block == expected.certificate.cuts_block


@pytest.mark.parametrize("model", [Gaussian(1.0), features.Identity()], ids=["kernel", "features"])
def test_groups_and_kernel_pca(cp, model):
    rng = np.random.default_rng(0)
    groups = rng.permutation(np.repeat(np.arange(12), rng.integers(1, 5, 12)))
    x = noisy(len(groups), 1, 3)[:, 0]
    weight = rng.uniform(0.5, 2, len(groups))
    for options in ({"beta": 1.0}, {"beta": 0.0}):
        expected = pretrain(x, model, 3, reg=1e-2, groups=groups, sample_weight=weight, **options)
        found = pretrain(
            cp.asarray(x), model, 3, reg=1e-2, groups=cp.asarray(groups), sample_weight=cp.asarray(weight), **options
        )
        assert_close(found.gamma, expected.gamma, tol=1e-11, scale=1.0)
        assert_close(found.invariance, expected.invariance, tol=1e-9, scale=1.0)
        assert_close(cp.asnumpy(found.embedding), expected.embedding, tol=1e-8)


def test_precomputed(cp):
    views = noisy(10, 2, 3)
    matrix = Gaussian(1.0)(views.reshape(20, 3)).reshape(10, 2, 20)
    expected = pretrain(matrix, Precomputed(), 3, reg=1e-2)
    found = pretrain(cp.asarray(matrix), Precomputed(), 3, reg=1e-2)
    assert_close(found.gamma, expected.gamma, tol=1e-12, scale=1.0)
    rows = matrix[:3, 0]
    assert_close(cp.asnumpy(found(cp.asarray(rows))), expected(rows), tol=1e-9)


def test_kernels_that_are_not_semidefinite(cp):
    views = cp.asarray(noisy())
    with pytest.raises(NotPositiveSemidefiniteError, match="not positive semi-definite") as caught:
        pretrain(views, lambda x, y: -(x @ y.T), 2, reg=1e-3)
    assert caught.value.eigenvalue < 0
    with pytest.raises(NotPositiveSemidefiniteError):
        pretrain(views, features.Nystrom(lambda x, y: x @ y.T - 5.0, views[:8, 0]), 2, reg=1e-3)


def test_identity_without_regularisation(cp):
    views = noisy(30, 2, 3)
    expected = pretrain(views, features.Identity(), 2, reg=0.0)
    found = pretrain(cp.asarray(views), features.Identity(), 2, reg=0.0)
    assert_close(found.gamma, expected.gamma, tol=1e-12, scale=1.0)
    assert_close(cp.asnumpy(found.coefficients), expected.coefficients, tol=1e-9)


def test_moments_merge_save_and_load(cp, tmp_path):
    """Moments lie where their views do; files hold them for any machine."""
    views = noisy(30, 2, 3)
    whole = Moments(features.Identity()).update(views).solve(2, reg=1e-2)
    first = Moments(features.Identity()).update(cp.asarray(views[:12]))
    second = Moments(features.Identity()).update(views[12:])
    for order in ((first, second), (second, first)):
        merged = Moments(features.Identity()).merge(order[0]).merge(order[1])
        assert_close(merged.solve(2, reg=1e-2).gamma, whole.gamma, tol=1e-12, scale=1.0)
    first.merge(second).save(tmp_path / "moments.npz")
    loaded = Moments.load(tmp_path / "moments.npz")
    assert_close(loaded.solve(2, reg=1e-2).coefficients, whole.coefficients, tol=1e-11)


def test_a_representation_moves(cp):
    views = noisy()
    x = views[:, 0]
    for model in (Gaussian(1.0), features.Nystrom(Gaussian(1.0), 8)):
        rep = pretrain(views, model, 2, reg=1e-2)
        there = rep.to("cupy")
        assert isinstance(there(cp.asarray(x)), cp.ndarray)
        assert_close(cp.asnumpy(there(cp.asarray(x))), rep(x), tol=1e-9)
        assert_close(there.to("numba")(x), rep(x), tol=1e-9)
        assert there.to("cupy") is there
        embedding = there.embedding
        assert_close(cp.asnumpy(embedding) if isinstance(embedding, cp.ndarray) else embedding, rep.embedding, tol=1e-9)


# ---------------------------------------------------------------- what crosses over, and what is waited for


def crossings(function):
    standin.counters.reset()
    function()
    return standin.counters


def test_an_exact_fit_waits_a_few_times_a_step(hosted):
    """Numbers of the components and small matrices cross over; nothing that grows with the data but the diagonals."""
    for n in (40, 160):
        views = hosted.asarray(noisy(n))
        reps = []
        seen = crossings(lambda views=views, reps=reps: reps.append(pretrain(views, Gaussian(1.0), 3, reg=1e-3)))
        steps = reps[0].certificate.iterations
        assert seen.synchronizations <= 14 + 8 * steps
        # a Krylov basis of at most 128 columns and blocks of 7, of which short ones are orthonormalised here; the
        # pivots of the factor; on the other way also the views' own numbers
        small = steps * (4 * 128 + 4 * n) * 7
        assert seen.to_host_bytes <= 8 * (small + n + 200)
        assert seen.to_device_bytes <= 8 * (small + 12 * 2 * n + 600)


def test_features_wait_for_no_block(hosted):
    """Moments of random Fourier features: blocks are only checked for being finite."""
    model = features.RandomFourier(Gaussian(1.0), 8)
    views = noisy(64)
    with pytest.MonkeyPatch.context() as patch:
        counts = []
        for rows in (128, 8):
            patch.setattr(sslcore.fitting.accumulator, "feature_rows", lambda r, d, rows=rows: rows)
            patch.setattr(get_backend(backend="cupy"), "BLOCK_FACTOR", 1)
            there = hosted.asarray(views)
            counts.append(crossings(lambda there=there: Moments(model).update(there)).synchronizations)
    assert counts[0] <= 2
    assert counts[1] - counts[0] <= 16  # one for each of 16 blocks
    assert crossings(lambda: Moments(model).update(there)).to_host_bytes <= 16


def test_risks_wait_a_few_times(hosted):
    z = hosted.asarray(noisy(200, 2, 8))
    seen = crossings(lambda: risk.vicreg(z, unbiased=True, return_grad=True))
    assert seen.synchronizations <= 6
    assert seen.to_host_bytes <= 64
    assert seen.to_device == 0


def test_a_probe_waits_a_few_times(hosted):
    z, y = hosted.asarray(noisy(200, 2, 8)[:, 0]), hosted.asarray(noisy(200, 2, 3)[:, 1])
    seen = crossings(lambda: probing.ridge_probe(z, y, [1e-3, 1e-2, 1e-1, 1.0]))
    assert seen.synchronizations <= 12
    assert seen.to_host_bytes <= 8 * 40


def test_views_gram_and_products_do_not_cross(hosted):
    x, c = hosted.asarray(noisy(50)[:, 0]), hosted.asarray(np.ones((50, 2)))
    for function in (
        lambda: GaussianNoise(0.1).views(x, 2, seed=0),
        lambda: Gaussian(1.0)(x),
        lambda: kernel_product(Gaussian(1.0), x, x, c),
        lambda: contrast_gram(Gaussian(1.0), hosted.stack([x, x], axis=1)),
    ):
        function()  # the shapes of tiles are asked for once a process
        seen = crossings(function)
        assert seen.synchronizations <= 5
        assert seen.to_host_bytes <= 40


# ---------------------------------------------------------------- data larger than the device


@pytest.mark.parametrize("kind", ["array", "memmap", "views", "groups", "float32"])
@pytest.mark.parametrize("model", [features.Identity(), features.Nystrom(Gaussian(2.0), np.eye(6))], ids=repr)
def test_streaming_of_data_larger_than_the_device(hosted, tmp_path, monkeypatch, kind, model):
    """Blocks come through two pinned buffers; copies that the stand-in makes late show what is read too early."""
    monkeypatch.setattr(sslcore.fitting.accumulator, "feature_rows", lambda r, d: 64)
    monkeypatch.setattr(get_backend(backend="cupy"), "BLOCK_FACTOR", 1)
    views = noisy(1500, 2, 6, dtype=np.float32 if kind == "float32" else np.float64)
    options = {}
    if kind == "memmap":
        views.tofile(tmp_path / "views.bin")
        views = np.memmap(tmp_path / "views.bin", mode="r", shape=views.shape, dtype=views.dtype)
    elif kind == "views":
        views = Views(views[:, 0], GaussianNoise(0.2), 2, seed=3)
    elif kind == "groups":
        options = {"groups": np.random.default_rng(0).permutation(np.repeat(np.arange(1500), 2))}
        views = views.reshape(3000, 6)
    expected = Moments(model).update(views, **options).solve(3, reg=1e-2)
    with standin.device_memory(60_000 if kind == "float32" else 100_000):
        moments = Moments(model, backend="cupy").update(views, **options)
        rep = moments.solve(3, reg=1e-2)
    assert isinstance(rep.coefficients, np.ndarray)
    tol = 1e-10 if kind != "float32" else 1e-4
    assert_close(rep.gamma, expected.gamma, tol=tol, scale=1.0)
    assert_close(rep.coefficients, expected.coefficients, tol=100 * tol)


def test_transform_streams_too(cp, monkeypatch):
    views = noisy(30)
    x = np.random.default_rng(0).standard_normal((4000, 3))
    for model in (Gaussian(1.0), features.Nystrom(Gaussian(1.0), 8)):
        rep = pretrain(views, model, 2, reg=1e-2)
        assert_close(rep.transform(x, backend="cupy"), rep(x), tol=1e-9)
        lazy = Views(x[:50], GaussianNoise(0.1), 2, seed=0)
        assert_close(rep.transform(lazy, backend="cupy"), rep(lazy), tol=1e-9)


def test_blocks_that_are_already_there_are_not_copied(cp):
    backend = get_backend(backend="cupy")
    block = cp.asarray(np.ones(3))
    assert [b for (b,) in backend.stream(iter([(block,)]))] == [block]


def test_pinned_memory_outlives_its_copies(hosted):
    """The caller's stream waits for a copy, the host does not: what CuPy's pool gets back too early is spoilt."""
    backend = get_backend(backend="cupy")
    values = [np.full(size, float(size)) for size in (100, 100, 300, 100, 7)]  # the third takes a larger buffer
    late = hosted.cuda.Stream(non_blocking=True)
    with late:
        found = [block for (block,) in backend.stream((v,) for v in values)]
        others = list(backend.stream((np.zeros(size),) for size in (300, 100)))  # buffers of the same sizes
        gc.collect()
        late.synchronize()
        for block, expected in zip(found, values, strict=True):
            assert np.array_equal(hosted.asnumpy(block), expected)
    assert len(others) == 2


def test_a_stream_that_is_given_up_leaves_no_copy_under_way(hosted):
    """Of which memory could be handed to somebody else."""
    backend = get_backend(backend="cupy")
    with hosted.cuda.Stream(non_blocking=True):
        blocks = backend.stream((np.full(9, float(i)),) for i in range(5))
        next(blocks)
        assert any(not stream.done for stream in cuda._streams)
        blocks.close()
        assert all(stream.done for stream in cuda._streams if stream is not cuda.get_current_stream())


# ---------------------------------------------------------------- memory


def test_the_budget_is_the_devices(hosted):
    views = hosted.asarray(noisy(400))
    with (
        standin.device_memory(100_000),
        pytest.raises(sslcore.MemoryBudgetError, match=r"fit needs .* of memory, the budget is 90 kB"),
    ):
        pretrain(views, Gaussian(1.0), 2, reg=1e-2)
    with (
        standin.device_memory(100_000),
        pytest.raises(sslcore.MemoryBudgetError, match="the budget is 90 kB"),
    ):
        pretrain(noisy(400), Gaussian(1.0), 2, reg=1e-2, backend="cupy")


@pytest.mark.parametrize(
    "model", [Gaussian(1.0), features.RandomFourier(Gaussian(1.0), 256)], ids=["exact", "features"]
)
def test_a_session_survives_when_memory_runs_out(hosted, model):
    """What the failed call held is given back, to the device and not to the pool only; the next fit succeeds."""
    views = hosted.asarray(noisy(100))
    gc.collect()
    held = standin.the_memory.used
    with standin.device_memory(200_000):
        with pytest.raises(MemoryError, match=r"the GPU ran out of memory .* has been given back") as caught:
            pretrain(views, model, 2, reg=1e-2, memory="1TB")
        assert not isinstance(caught.value, sslcore.MemoryBudgetError)
        assert standin.the_memory.used <= held
        assert standin.the_memory.free == 0
        small = pretrain(views[:5], features.Identity(), 2, reg=1e-2)
    assert_close(small.gamma, pretrain(hosted.asnumpy(views)[:5], features.Identity(), 2, reg=1e-2).gamma, tol=1e-12)
    assert pretrain(views, model, 2, reg=1e-2).n_active >= 1


def test_a_limit_of_the_pool_is_kept(hosted):
    """Whoever sets CUPY_GPU_MEMORY_LIMIT has less than the device has."""
    backend, pool = get_backend(backend="cupy"), hosted.get_default_memory_pool()
    free, used = backend.free_memory(), pool.used_bytes()
    pool.set_limit(size=used + 5000)
    try:
        assert backend.free_memory() == 5000
        held = hosted.zeros(512)
        assert backend.free_memory() == 5000 - held.nbytes
        with pytest.raises(sslcore.MemoryBudgetError):
            pretrain(hosted.asarray(noisy(10)), Gaussian(1.0), 2, reg=1e-2)
    finally:
        pool.set_limit(size=0)
    assert free >= backend.free_memory() > 5000


def test_blocks_of_features_keep_the_budget(cp):
    """Four times the rows of a CPU where the budget has room for them, fewer where it has not."""
    backend = get_backend(backend="cupy")
    sizes = Sizes(500_000, 10**6, 16, 1)
    plan = {f: features_plan(sizes, 512, rows=f * 1000).bytes for f in (1, 2, 4)}
    for factor in (1, 2, 4):
        assert fitting_rows(1000, sizes, 512, plan[factor], backend) == factor * 1000
    assert fitting_rows(1000, sizes, 512, None, cpu) == 1000


# ---------------------------------------------------------------- other libraries' arrays


class Tensor:
    """An array of a library that NumPy does not know, with DLPack; on the CPU or on the device."""

    def __init__(self, array):
        self.array = array

    def __dlpack__(self, **options):
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self):
        return self.array.__dlpack_device__()

    def __array_namespace__(self):
        return TensorLibrary


class TensorLibrary:
    @staticmethod
    def from_dlpack(array):
        return Tensor(array)


@pytest.mark.parametrize("where", ["cpu", "device"])
def test_arrays_of_other_libraries_come_back_as_they_came(cp, where):
    views = noisy(30)
    x, z = views[:, 0], views

    def tensor(array):
        return Tensor(cp.asarray(array) if where == "device" else array)

    def host(result):
        assert isinstance(result, Tensor)
        assert isinstance(result.array, cp.ndarray if where == "device" else np.ndarray)
        return cp.asnumpy(result.array) if where == "device" else result.array

    assert_close(host(Gaussian(1.0)(tensor(x))), Gaussian(1.0)(x), tol=1e-14)
    assert_close(host(gram(Gaussian(1.0), tensor(x), tensor(x[:3]))), Gaussian(1.0)(x, x[:3]), tol=1e-14)
    assert_close(host(gram(Gaussian(1.0), x=tensor(x), y=tensor(x))), Gaussian(1.0)(x), tol=1e-14)
    assert_close(host(GaussianNoise(0.1).views(tensor(x), 2, seed=0)), GaussianNoise(0.1).views(x, 2, seed=0), tol=0)
    value, gradient = risk.vicreg(tensor(z), return_grad=True)
    assert value == pytest.approx(risk.vicreg(z))
    assert_close(host(gradient), risk.vicreg(z, return_grad=True)[1], tol=1e-13)
    assert_close(host(features.Identity()(tensor(x))), x)
    lazy = Views(tensor(x), GaussianNoise(0.1), 2, seed=0)
    assert_close(host(lazy[2:5]), GaussianNoise(0.1).views(x, 2, seed=0)[2:5], tol=0)
    for model in (Gaussian(1.0), features.Nystrom(Gaussian(1.0), 6)):
        expected = pretrain(views, model, 2, reg=1e-2)
        for given_views in (tensor(views), lazy):
            rep = pretrain(given_views, model, 2, reg=1e-2)
            assert isinstance(rep.coefficients, cp.ndarray if where == "device" else np.ndarray)
        rep = pretrain(tensor(views), model, 2, reg=1e-2, sample_weight=tensor(np.ones(30)))
        assert_close(host(rep(tensor(x))), expected(x), tol=1e-9)
        assert host(rep(lazy)).shape == (30, 2, 2)
    probe = probing.ridge_probe(tensor(x), tensor(x[:, :1]), 1e-2)
    assert_close(host(probe.predict(tensor(x))), probing.ridge_probe(x, x[:, :1], 1e-2).predict(x), tol=1e-12)
    assert Moments(features.Identity()).update(tensor(views)).n == 30
    assert features.Nystrom(Gaussian(1.0), tensor(x[:4])).rank == 4


def test_torch():
    """PyTorch on the CPU, where it is installed: the same kind comes out; tensors in a graph are refused."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    views = torch.tensor(noisy(20))
    rep = pretrain(views, Gaussian(1.0), 2, reg=1e-2)
    out = rep(views[:, 0])
    assert isinstance(out, torch.Tensor)
    assert_close(out.numpy(), pretrain(views.numpy(), Gaussian(1.0), 2, reg=1e-2)(views.numpy()[:, 0]), tol=1e-12)
    value, gradient = risk.vicreg(views, return_grad=True)
    assert isinstance(value, float)
    assert isinstance(gradient, torch.Tensor)
    with pytest.raises(TypeError, match=r"z is a torch.Tensor whose memory cannot be shared: .*detach"):
        risk.vicreg(views.clone().requires_grad_())


def test_tensors_that_cannot_be_shared():
    class Closed(Tensor):
        def __dlpack__(self, **options):
            raise BufferError("it lies on the moon.")

    with pytest.raises(
        TypeError, match=r"x is a tests?\S*Closed whose memory cannot be shared: it lies on the moon; ha"
    ):
        Gaussian(1.0)(Closed(np.ones((2, 2))))


# ---------------------------------------------------------------- indices beyond 2^31

LARGE = 46_400  # its square is beyond 2^31


@settings(max_examples=15)
@given(
    kernel=st.sampled_from([k for k in KERNELS if isinstance(k, Profile)]),
    n=st.integers(1, 150),
    d=st.integers(1, 20),
    few=st.sampled_from([0, 8, 100]),
    many=st.sampled_from([1, 16, 100]),
    block=st.sampled_from([(64, 1), (128, 100_000), (2048, 1 << 20)]),
    dtype=dtypes,
    seed=seeds,
)
@example(Gaussian(3.0), 150, 20, 0, 1, (64, 1), np.dtype(np.float64), 0)  # several blocks of products, both ways
@example(Polynomial(2), 150, 20, 0, 1, (64, 1), np.dtype(np.float32), 0)
def test_every_way_to_a_gram_matrix(cp, kernel, n, d, few, many, block, dtype, seed):
    """Differences, products and products by blocks: of points, of views in their basis, exactly symmetric."""
    if kernel.pair == "torus" and d > 12:
        d = 12  # a product of many factors underflows
    x = np.random.default_rng(seed).standard_normal((n, d)).astype(dtype)
    x[n // 2 :] = np.where(np.arange(n - n // 2)[:, None] % 3 == 0, x[0], x[n // 2 :])  # some pairs are equal
    sizes = {
        "DIFFERENCES_COORDINATES": few,
        "CUBLAS_COORDINATES": many,
        "PRODUCT_ROWS": block[0],
        "PRODUCT_BYTES": block[1],
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, size in sizes.items():
            patch.setattr(tunables, f"CUDA_{name}", size)
        found, part = (
            cp.asnumpy(gram(kernel, cp.asarray(x))),
            cp.asnumpy(gram(kernel, cp.asarray(x), cp.asarray(x[:7]))),
        )
        pairs = x[: n // 2 * 2].reshape(n // 2, 2, d)
        turned = contrast_gram(kernel, cp.asarray(pairs)) if n > 1 else None
    expected = kernel(x.astype(np.float64))
    scale = max(1.0, float(np.abs(expected).max()))
    tol = 1e-12 if dtype == np.float64 else 3e-5
    assert_close(found, expected, tol=tol, scale=scale, dtype=dtype)
    assert np.array_equal(found, found.T)
    assert_close(part, expected[:, :7], tol=tol, scale=scale, dtype=dtype)
    if turned is not None:
        whole = contrast_gram(kernel, pairs.astype(np.float64))
        for name in ("mean", "cross", "contrast"):
            block = cp.asnumpy(getattr(turned, name))
            assert_close(block, getattr(whole, name), tol=tol, scale=scale / (n // 2), dtype=dtype)


@pytest.mark.parametrize("kernel", [Gaussian(1.0), L1Exponential(1.0), Polynomial(2)])
@pytest.mark.parametrize(("rows", "columns"), [(70, 1100), (1100, 70), (1030, 1030)])
def test_more_than_one_square_of_tiles(cp, kernel, rows, columns):
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((rows, 3)), rng.standard_normal((columns, 3))
    assert_close(*on_both(cp, lambda x, y: gram(kernel, x, y), x, y), tol=1e-13)
    if rows == columns:
        assert_close(*on_both(cp, lambda x: gram(kernel, x), x), tol=1e-13)
        for name in ("mean", "cross", "contrast"):
            views = x.reshape(-1, 2, 3)
            assert_close(*on_both(cp, lambda v, name=name: getattr(contrast_gram(kernel, v), name), views), tol=1e-12)


@pytest.fixture
def large(hosted, tmp_path):
    """A float32 matrix of more than 2^31 entries over a sparse file: zeros that take no space until written."""
    path = tmp_path / "sparse"
    path.touch()
    os.truncate(path, 4 * LARGE**2)
    array = np.memmap(path, np.float32, "r+", shape=(LARGE, LARGE))
    yield standin.array.wrap(array)
    path.unlink()


CLUSTER = 256  # tiles of the last square of tiles, whose first ones hold the end of the matrix


@pytest.mark.parametrize("kernel", [Exponential(1.0), L1Exponential(1.0), Polynomial(2)])
@pytest.mark.parametrize("symmetric", [False, True])
def test_gram_beyond_32_bits(hosted, large, kernel, symmetric):
    """The last tiles of a Gram matrix; those before them are written in the same way, at smaller indices."""
    x = np.linspace(0, 3, LARGE, dtype=np.float32)[:, None]
    backend = get_backend(backend="cupy")
    points, given = backend.points(kernel, hosted.asarray(x)), hosted.asarray(x)
    with running(last_blocks=CLUSTER):
        if symmetric:
            backend.gram_symmetric(points, given, large)
        else:
            backend.gram_rows(points, given, 0, large)
    found = hosted.asnumpy(large[-40:, -150:])
    assert_close(found, kernel(x[-40:], x[-150:]), tol=1e-6)
    assert not hosted.asnumpy(large[:40, :150]).any()


def test_contrasts_beyond_32_bits(hosted, large):
    x = np.sin(np.arange(2 * LARGE, dtype=np.float32))[:, None]
    backend = get_backend(backend="cupy")
    samples = Samples.from_views(LARGE, 2, backend)
    with running(last_blocks=CLUSTER):
        # the three blocks in one place: what is stored last stays
        backend.gram_contrasts(backend.points(Gaussian(1.0), hosted.asarray(x)), samples, large, large, large)
    expected = contrast_gram(Gaussian(1.0), x[-80:].reshape(40, 2, 1)).contrast * (40 / LARGE)
    assert_close(hosted.asnumpy(large[-40:, -40:]), expected, tol=1e-5)


@pytest.mark.parametrize("what", ["rows", "both"])
def test_products_beyond_32_bits(hosted, large, what):
    """The last block of a product, as the kernels that finish it are given it."""
    load = sys.modules[f"{get_backend(backend='cupy').__name__}.loader"].kernel
    product = np.random.default_rng(0).standard_normal((64, 64)).astype(np.float32)
    product += product.T
    n, last, zero = np.int64(LARGE), np.int64(LARGE - 64), hosted.zeros((1, 1), np.float32)
    points = (zero, n, np.int64(1), zero, zero, *(np.float32(c) for c in (0, 0, 0, 2, 0, 0, 0)))
    others = (zero, n, zero, zero) if what == "rows" else ()
    load("gram", f"finish_{what}", "float32", "t + c0", "products")(
        (1, 1), (256,), (hosted.asarray(product), np.int64(64), last, last, *points, *others, large, n, np.int32(1))
    )
    assert np.array_equal(hosted.asnumpy(large[-64:, -64:]), product + np.float32(2))
    assert not hosted.asnumpy(large[-100:-64, -64:]).any()


def test_mirror_beyond_32_bits(hosted, large):
    large[-30:, -30:] = hosted.asarray(np.arange(900, dtype=np.float32).reshape(30, 30))
    upper = np.triu(hosted.asnumpy(large[-30:, -30:]))
    with running(last_blocks=1):
        get_backend(backend="cupy").mirror(large)
    assert np.array_equal(hosted.asnumpy(large[-30:, -30:]), upper + np.triu(upper, 1).T)


def test_rotation_beyond_32_bits(hosted, large):
    """The last strip of a contrast Gram matrix, of two views and of three."""
    for m in (2, 3):
        n = LARGE if m == 2 else LARGE // 2
        backend = get_backend(backend="cupy")
        samples = Samples.from_views(n, m, backend)
        *_, strip = samples.strips(20 * m)
        rows = strip.row_stop - strip.row_start
        block = np.random.default_rng(0).standard_normal((rows, rows)).astype(np.float32)
        block += block.T
        shapes = (n, n), (samples.n_contrasts, n), (samples.n_contrasts, samples.n_contrasts)
        found = [hosted.empty(s, "float32") for s in shapes]
        backend.rotate_rows(hosted.asarray(block), strip, samples, *found)
        small = Samples.from_views(rows // m, m, cpu, np.full(rows, 1.0))
        *_, whole = small.strips(rows)
        expected = [
            np.empty((k * rows // m, h * rows // m), np.float32) for k, h in ((1, 1), (m - 1, 1), (m - 1, m - 1))
        ]
        cpu.rotate_rows(block, whole, small, *expected)
        for f, e in zip(found, expected, strict=True):
            corner = hosted.asnumpy(f[-e.shape[0] :, -e.shape[1] :])
            assert_close(corner * (n * m / rows), e, tol=1e-5)


def test_normals_beyond_32_bits(hosted, large):
    """One stage over a block of more coordinates than 32 bits count."""
    augment = sys.modules[f"{get_backend(backend='cupy').__name__}.augment"]
    with running(last_blocks=1):
        augment._apply("add_normals", large.reshape(LARGE, 1, LARGE), augment._Draw(0, 0, 11), (1.0,))
    expected = GaussianNoise(1.0).views(np.zeros((1, LARGE), np.float32), 1, seed=11, first=LARGE - 1)[0, 0]
    found = hosted.asnumpy(large[-1])
    written = found != 0
    assert written.any()
    assert np.array_equal(found[written], expected[written])


# ---------------------------------------------------------------- errors


def test_mixed_devices(cp):
    x = noisy()[:, 0]
    there = cp.asarray(x)
    rep = pretrain(noisy(), Gaussian(1.0), 2, reg=1e-2)
    for call in (
        lambda: gram(Gaussian(1.0), x, there),
        lambda: kernel_product(Gaussian(1.0), there, there, np.ones(20)),
        lambda: rep(there),
        lambda: rep.to("cupy")(x),
        lambda: probing.ridge_probe(there, x, 1.0),
    ):
        with pytest.raises(sslcore.BackendError, match=r"mixed; move them .*cupy.asarray\(array\).*to\(backend\)"):
            call()
    with pytest.raises(sslcore.BackendError, match=r"backend='numba' cannot take .*cupy.asnumpy\(array\)"):
        Gaussian(1.0)(there, backend="numba")
    with pytest.raises(sslcore.BackendError, match="given arrays of the backend 'cupy' and returned one of 'numba'"):
        gram(lambda x, y: np.ones((20, 20)), there)


def fresh_backend():
    """Import the GPU backend anew."""
    for name in [n for n in sys.modules if n.startswith("sslcore.backends.cupy_gpu")]:
        del sys.modules[name]
    return get_backend(backend="cupy")


def test_a_device_that_cannot_be_used(hosted, monkeypatch):
    try:
        with monkeypatch.context() as patch:
            patch.setattr(cuda.Device, "capability", "61")
            with pytest.raises(sslcore.BackendError, match=r"not available here \(the GPU has compute capability 6.1"):
                fresh_backend()
        with monkeypatch.context() as patch:
            patch.setattr(hosted.cuda.runtime, "getDeviceCount", lambda: 0)
            with pytest.raises(sslcore.BackendError, match=r"no CUDA device is visible\).*CUDA_VISIBLE_DEVICES"):
                fresh_backend()

        def fail():
            raise hosted.cuda.runtime.CUDARuntimeError(35, "driver too old")

        with monkeypatch.context() as patch:
            patch.setattr(hosted.cuda.runtime, "getDeviceCount", fail)
            with pytest.raises(sslcore.BackendError, match=r"no usable CUDA driver: driver too old.*nvidia-smi"):
                fresh_backend()
    finally:
        fresh_backend()


def test_without_cupy(without_cupy):
    with pytest.raises(sslcore.BackendError, match=r"'cupy' backend is not available here .*\.\[cuda12\]"):
        get_backend(backend="cupy")
    with pytest.raises(sslcore.BackendError, match="'cupy' backend is not available here"):
        Gaussian(1.0)(np.ones((2, 2)), backend="cupy")


def test_sources_that_do_not_compile(cp, monkeypatch):
    @dataclass(frozen=True)
    class Broken(Profile):
        pair = "sqdist"
        formula = "exp(c0 * t) / real(1.03125)"

    registry.pop("Broken")
    loader = sys.modules[f"{get_backend(backend='cupy').__name__}.loader"]
    options = loader.sources.options
    monkeypatch.setattr(loader.sources, "options", lambda *a: (*options(*a), "-DSSL_REAL=quadruple"))
    with pytest.raises(sslcore.BackendError, match=r"(?s)gram.cu could not be compiled .*valid C\+\+: 'exp\(c0 \* t\)"):
        Broken()(cp.asarray(np.ones((2, 2))))


# ---------------------------------------------------------------- the surface


def test_both_backends_know_the_same_stages(cp):
    """What else they offer is compared with the contract (test_contract.py)."""
    backend = get_backend(backend="cupy")
    augment = sys.modules[f"{backend.__name__}.augment"]
    assert (
        set(augment._STAGES) | set(augment._ON_HOST)
        == set(sys.modules["sslcore.backends.numba_cpu.views"]._STAGES)
        == set(PRIMITIVES)
    )


def test_kernels_of_ones_own_run_on_the_device(cp):
    """One declaration serves both backends."""

    @dataclass(frozen=True)
    class Cauchy(Profile):
        scale: float
        pair = "sqdist"
        formula = "real(1) / (real(1) + c0 * t)"

        def constants(self, length):
            return (1.0 / self.scale**2,)

    registry.pop("Cauchy")
    x = noisy(10, 1, 3)[:, 0]
    for k in (Cauchy(1.0), Cauchy(0.5)):
        for dtype in (np.float64, np.float32):
            found = cp.asnumpy(k(cp.asarray(x.astype(dtype))))
            assert_close(found, k(x.astype(dtype)), tol=TOLERANCE[np.dtype(dtype)])


# ---------------------------------------------------------------- benchmarks and builds


@pytest.mark.parametrize("name", ["run_gram", "run_exact", "run_features", "run_risk"])
def test_benchmarks_of_the_gpu_run_at_tiny_sizes(hosted, name):
    """They check their results; what they time on the host means nothing."""
    import bench.gpu

    result = getattr(bench.gpu, name)(quick=True)
    assert result["rows"]
    assert result["device"]["device"] == "the stand-in"
