"""Exact fits without the kernel matrix against the dense solver, and the parts that they are made of."""

import gc
import json
import math
import subprocess
import sys
import warnings
import weakref

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from sslcore import (
    CertificateError,
    ConvergenceError,
    ConvergenceWarning,
    MemoryBudgetError,
    NotPositiveSemidefiniteError,
    SelectionWarning,
    plan,
    pretrain,
    pretrain_path,
    tunables,
)
from sslcore.backends import get_backend
from sslcore.features import Nystrom
from sslcore.fitting.plan_matrix_free import _matrix_free_bytes
from sslcore.fitting.sizes import Sizes
from sslcore.kernels import Exponential, Function, Gaussian, Linear, Matern, Polynomial, Precomputed
from sslcore.positives import TimeLag
from sslcore.selection import AutoReg
from sslcore.solvers.groups import Samples
from sslcore.solvers.matrix_free import MatrixFreeKernel
from sslcore.solvers.objective import Objective
from sslcore.solvers.preconditioner import PivotedFactor, Preconditioner
from sslcore.solvers.rotated_gram import rotated_gram

from .comparators import assert_close
from .strategies import seeds
from .test_features import noisy

KERNELS = [
    Exponential(0.5),
    Gaussian(1.0),
    Matern(1.5, 1.0),
    0.5 * Exponential(1.0) + Linear(),
    Gaussian(2.0) * Polynomial(1, 0.5),
    Function(lambda x, y: 1.0 / (1.0 + ((x[:, None] - y) ** 2).sum(2))),
]


def grouped(n, d, seed, dtype):
    """Views of n samples, from 1 to 4 of each, in any order, and weights."""
    rng = np.random.default_rng(seed)
    groups = rng.permutation(np.repeat(np.arange(n), np.append(2, rng.integers(1, 5, n - 1))))
    centres = rng.standard_normal((n, d))
    views = centres[groups] + 0.3 * rng.standard_normal((len(groups), d))
    return views.astype(dtype), groups, rng.uniform(0.2, 2.0, len(groups))


def agree(found, dense, new, backend):
    """The same eigenvalues, and the same functions of complete blocks, of two fits."""
    single = found.coefficients.dtype == np.float32
    rank = dense.certificate.rank
    assert found.certificate.rank == rank
    assert found.certificate.jitter == 0
    assert_close(found.gamma[:rank], dense.gamma[:rank], tol=1e-3 if single else 1e-8)
    assert_close(found.invariance[:rank], dense.invariance[:rank], tol=1e-2 if single else 1e-5)
    for rep in (found, dense):
        assert rep.certificate.worst <= rep.certificate.tolerance
    k = len(dense.gamma)
    gap = 1 - dense.gamma[rank - 1] / (dense.gamma[rank - 1] + dense.certificate.eigengap) if rank == k else 1.0
    if gap < (1e-1 if single else 1e-3):
        return
    values, expected = (backend.asnumpy(r.transform(new, scale="unit")).astype(float) for r in (found, dense))
    tol = (1e-2 if single else 1e-5) / gap
    assert_close(values @ values.T, expected @ expected.T, tol=tol)
    at_views, there = (backend.asnumpy(r.embedding).astype(float).reshape(-1, k) for r in (found, dense))
    assert_close(at_views @ at_views.T, there @ there.T, tol=tol)


@pytest.mark.parametrize("beta", [0.0, 1.0])
def test_paths(beta):
    """One factor serves all, and grows where reg falls; each point is that of a fit of its own."""
    views, regs = noisy(80, 2, 3), [1e-1, 1e-2, 1e-4]
    dense = pretrain_path(views, Exponential(1.0), 3, regs=regs, betas=[beta, 2.0], solver="dense")
    found = pretrain_path(views, Exponential(1.0), 3, regs=regs, betas=[beta, 2.0], solver="matrix-free")
    assert_close(found.gamma, dense.gamma, tol=1e-8)
    assert (found.regimes == dense.regimes).all()
    assert_close(found.reg_overlaps, dense.reg_overlaps, tol=1e-4)


@pytest.mark.parametrize("n_folds", [1, 3])
def test_searches(n_folds):
    """The same held-out risks of the same regs, and the same choice."""
    views = noisy(120, 2, 3)
    reg = AutoReg(regs=(1.0, 1e-1, 1e-2, 1e-3), n_folds=n_folds)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SelectionWarning)  # at an end of the grid
        dense, found = (pretrain(views, Exponential(1.0), 3, reg=reg, solver=s) for s in ("dense", "matrix-free"))
    assert_close(found.selection.risks, dense.selection.risks, tol=1e-6)
    assert found.reg == dense.reg
    assert_close(found.gamma, dense.gamma, tol=1e-8)


@given(
    seed=seeds,
    kernel=st.sampled_from(KERNELS),
    dtype=st.sampled_from([np.float64, np.float64, np.float32]),
    reg=st.sampled_from([1e-1, 1e-2, 1e-3, 1e-5]),
    beta=st.sampled_from([0.0, 0.5, 1.0, 3.0]),
    unbiased=st.booleans(),
    center=st.booleans(),
    weighted=st.booleans(),
    n=st.integers(8, 60),
)
def test_it_is_the_dense_fit(seed, kernel, dtype, reg, beta, unbiased, center, weighted, n, backend):
    views, groups, weight = grouped(n, 3, seed, dtype)
    numbers = {"reg": reg if dtype == np.float64 else max(reg, 1e-3), "beta": beta, "unbiased": unbiased}
    numbers |= {"center": center, "groups": groups, "sample_weight": weight if weighted else None}
    x = backend.asarray(views)
    try:
        dense = pretrain(x, kernel, 3, solver="dense", **numbers)
    except (CertificateError, NotPositiveSemidefiniteError):
        assume(False)
    found = pretrain(x, kernel, 3, solver="matrix-free", **numbers)
    assert found.certificate.algorithm.startswith("matrix-free: " + ("kernel PCA" if beta == 0 else "conjugate"))
    agree(found, dense, backend.asarray(views[:5] + 0.1), backend)


@pytest.mark.parametrize("beta", [0.0, 1.0])
@pytest.mark.parametrize("reg", [1e-2, 1e-4, 1e-6])
def test_views_of_equal_number(reg, beta, backend):
    """Enough of them for a fit of some to begin with, and for a factor of lower rank than there are contrasts."""
    views = noisy(400, 2, 2)
    x = backend.asarray(views)
    for kernel in (Exponential(0.5), Gaussian(1.0)):
        dense = pretrain(x, kernel, 5, reg=reg, beta=beta)
        agree(pretrain(x, kernel, 5, reg=reg, beta=beta, solver="matrix-free"), dense, x[:50, 0] + 0.1, backend)


def test_it_does_not_depend_on_where_it_runs_again():
    views = noisy(60, 2, 3)
    first, second = (pretrain(views, Exponential(1.0), 3, reg=1e-4, solver="matrix-free") for _ in range(2))
    assert np.array_equal(first.gamma, second.gamma)
    assert np.array_equal(first.embedding, second.embedding)


# ---------------------------------------------------------------- the parts


@given(seed=seeds, weighted=st.booleans(), n=st.integers(2, 30), dtype=st.sampled_from([np.float64, np.float32]))
def test_the_operator_is_the_rotated_gram(seed, weighted, n, dtype, backend):
    primitives, xp = backend.primitives, backend.primitives.xp
    views, groups, weight = grouped(n, 2, seed, dtype)
    samples = Samples.from_groups(groups, primitives, weight if weighted else None)
    points = backend.asarray(views)[samples.order]
    blocks = rotated_gram(Gaussian(1.0), points, samples, primitives)
    a, b, c = (backend.asnumpy(m) for m in (blocks.mean, blocks.cross, blocks.contrast))
    full = np.block([[a, b], [b.T, c]]).astype(float)
    objective = Objective(1, 1.0, 1.0, True, False)
    operator = MatrixFreeKernel(Gaussian(1.0), points, samples, primitives, objective=objective, rank=4, tolerance=1e-6)
    tol = 1e-12 if dtype == np.float64 else 1e-5
    assert_close(operator.unit, full.trace(), tol=tol)
    v = xp.asfortranarray(xp.asarray(np.random.default_rng(0).standard_normal((len(views), 3)).astype(dtype)))
    product = backend.asnumpy(operator.times_kernel(v)).astype(float)
    assert_close(product, full @ backend.asnumpy(v).astype(float) / full.trace(), tol=tol)
    assert_close(operator.contrast_diagonal, c.diagonal().astype(float) / full.trace(), tol=tol, scale=1.0)
    chosen = np.unique(np.random.default_rng(seed).integers(0, len(c), 5))
    columns = backend.asnumpy(operator._contrast_columns(chosen)).astype(float)
    assert_close(columns, c[:, chosen].astype(float) / full.trace(), tol=tol, scale=1.0)


@given(seed=seeds, n=st.integers(1, 40), rank=st.integers(1, 50), dtype=st.sampled_from([np.float64, np.float32]))
def test_the_factor_leaves_what_it_says(seed, n, rank, dtype, backend):
    """C - F F^T is positive semi-definite, with the diagonal that it says; full rank leaves none."""
    primitives, xp = backend.primitives, backend.primitives.xp
    rng = np.random.default_rng(seed)
    root = rng.standard_normal((n, rng.integers(1, n + 1)))
    matrix = root @ root.T
    out = xp.empty((n, min(rank, n)), dtype, order="F")
    pivoted = PivotedFactor(matrix.diagonal(), out, primitives)
    pivoted.extend(lambda chosen: xp.asarray(np.asfortranarray(matrix[:, chosen])), 0.0)
    factor = backend.asnumpy(pivoted.factor).astype(float)
    left = matrix - factor @ factor.T
    tol = 1e-9 if dtype == np.float64 else 1e-3
    assert np.linalg.eigvalsh(left)[0] > -tol * matrix.trace()
    assert_close(pivoted.left, left.diagonal(), tol=tol, scale=matrix.trace())
    assert pivoted.full or abs(left).max() <= 100 * tol * matrix.trace()
    noise = xp.asarray(rng.uniform(0.5, 1.0, (n, 1)) * matrix.trace())
    block = np.asfortranarray(rng.standard_normal((n, 2)))
    found = Preconditioner(pivoted, noise, primitives)(xp.asarray(block))
    near = factor @ factor.T + np.diag(backend.asnumpy(noise)[:, 0] + pivoted.left.mean())
    assert_close(near @ backend.asnumpy(found), block, tol=1e-10 if dtype == np.float64 else 1e-4, scale=1.0)


@pytest.mark.parametrize("smooth", [True, False])
def test_a_factor_in_float64_has_half_the_columns(smooth):
    """Where these do, at low noise, it stays; else it goes on in float32, in the same memory."""
    views, backend = noisy(60, 2, 3), get_backend()
    kernel = Gaussian(8.0) if smooth else Exponential(0.1)
    samples = Samples.from_views(60, 2, backend)
    operator = MatrixFreeKernel(
        kernel, views.reshape(-1, 3), samples, backend, objective=Objective(2, 1.0, 1.0, True, False), rank=50,
        tolerance=1e-6,
    )  # fmt: skip
    operator.condition(1e-2 * operator.unit, 1.0)
    assert operator.pivoted.out.dtype == np.float32
    memory = operator._memory
    operator.condition(1e-8 * operator.unit, 1.0)
    pivoted = operator.pivoted
    assert pivoted.out.dtype == (np.float64 if smooth else np.float32)
    assert pivoted.rank <= 25 if smooth else pivoted.rank > 40
    assert operator.preconditioner.small.dtype == np.float64
    assert np.shares_memory(pivoted.out, memory)
    assert operator._memory is memory
    assert memory.nbytes == 4 * 60 * 50
    blocks = rotated_gram(kernel, views.reshape(-1, 3), samples, backend)
    left = blocks.contrast.diagonal() / operator.unit - (pivoted.factor.astype(float) ** 2).sum(axis=1)
    assert_close(pivoted.left, left, tol=1e-6, scale=left.max() if not smooth else 1.0)


def test_an_operator_goes_with_its_last_name():
    """Nothing that it holds holds it: its memory comes back before the garbage collector runs."""
    backend, points = get_backend(), noisy(20, 2, 3).reshape(-1, 3)
    numbers = {"objective": Objective(2, 1.0, 1.0, True, False), "rank": 10, "tolerance": 1e-6}
    operator = MatrixFreeKernel(Gaussian(1.0), points, Samples.from_views(20, 2, backend), backend, **numbers)
    operator.condition(1e-2, 1.0)
    assert operator.pivoted.rank > 0
    alive = weakref.ref(operator)
    gc.disable()
    try:
        del operator
        assert alive() is None
    finally:
        gc.enable()


def test_the_plan_counts_columns_in_float32_and_their_matrix_in_float64():
    """A path has both where its factor, of more columns than there is room for in float64, meets a low reg."""
    for itemsize, points, folds, square in ((8, 1, 0, 4), (8, 2, 0, 8), (8, 1, 2, 8), (4, 2, 0, 4)):
        sizes = Sizes(50_000, 100_000, 2, 5, itemsize, points, folds)
        less, more = (_matrix_free_bytes(sizes, Gaussian(1.0), rank, 1) for rank in (12_000, 13_000))
        assert more - less == 4 * 1000 * 50_000 + square * (13_000**2 - 12_000**2)


def test_more_of_the_factor_is_made_when_less_noise_asks_for_it():
    matrix = np.diag(0.5 ** np.arange(40.0))
    out = np.empty((40, 40), order="F")
    pivoted = PivotedFactor(matrix.diagonal(), out, get_backend())

    def columns(chosen):
        return np.asfortranarray(matrix[:, chosen])

    ranks = [pivoted.extend(columns, level).rank for level in (1e-1, 1e-3, 1e-3, 1e-6)]
    assert ranks[0] <= ranks[1] == ranks[2] < ranks[3]
    assert pivoted.extend(columns, 0.0, most=ranks[3]).rank == ranks[3]


def test_columns_are_made_beyond_need_where_they_save_products(monkeypatch):
    """A smooth kernel: some columns more, and the steps that they save."""
    views, products, ranks = noisy(150, 2, 2), [], []
    for columns in (0, 4):
        monkeypatch.setattr(tunables, "MATRIX_FREE_CHEAP_COLUMNS", columns)
        found = pretrain(views, Gaussian(2.0), 3, reg=1e-5, solver="matrix-free").certificate.algorithm
        ranks.append(int(found.split("rank ")[1].split(",")[0]))
        products.append(int(found.split()[-2]))
    assert ranks[0] < ranks[1]
    assert products[1] < products[0]


# ---------------------------------------------------------------- steps in float32


@pytest.fixture
def rounded(monkeypatch):
    """A preconditioner of low rank, so that there are many steps; says of each product whether it was in float32."""
    monkeypatch.setattr(tunables, "MATRIX_FREE_RANK_COLUMNS", 2)
    told, times_kernel = [], MatrixFreeKernel.times_kernel

    def times(self, v, *, rounded=False):
        told.append(rounded)
        return times_kernel(self, v, rounded=rounded)

    monkeypatch.setattr(MatrixFreeKernel, "times_kernel", times)
    return told


def test_steps_are_in_float32_and_results_are_not(rounded, backend):
    x = backend.asarray(noisy(200, 2, 3))
    dense = pretrain(x, Exponential(1.0), 4, reg=1e-3, solver="dense")
    agree(pretrain(x, Exponential(1.0), 4, reg=1e-3, solver="matrix-free"), dense, x[:50, 0] + 0.1, backend)
    assert sum(rounded) > 2 * (len(rounded) - sum(rounded)) > 12


def test_float32_that_is_of_no_use_is_given_up(rounded, backend):
    """Far from the origin it does not tell points from each other."""
    x = backend.asarray(noisy(200, 2, 3) + 1e8)
    dense = pretrain(x, Exponential(1.0), 4, reg=1e-3, solver="dense")
    agree(pretrain(x, Exponential(1.0), 4, reg=1e-3, solver="matrix-free"), dense, x[:50, 0] + 0.1, backend)
    assert 0 < sum(rounded) < len(rounded) / 2


@pytest.mark.parametrize("scale", [1e-60, 1e40])
def test_points_beyond_the_range_of_float32(scale, backend):
    views = noisy(60, 2, 3) * scale
    x = backend.asarray(views)
    dense = pretrain(x, Gaussian(scale), 3, reg=1e-3, solver="dense")
    agree(pretrain(x, Gaussian(scale), 3, reg=1e-3, solver="matrix-free"), dense, x[:20, 0], backend)


def test_values_beyond_the_range_of_float32(rounded, backend):
    """Points are within it."""
    x = backend.asarray(noisy(200, 2, 60) * 1e20)
    dense = pretrain(x, Linear(), 4, reg=1e36, solver="dense")
    agree(pretrain(x, Linear(), 4, reg=1e36, solver="matrix-free"), dense, x[:20, 0], backend)
    assert 0 < sum(rounded) < len(rounded) / 2


@pytest.mark.filterwarnings("ignore::sslcore.ConvergenceWarning")
def test_noise_near_the_rounding_of_float32_has_no_steps_in_it(rounded):
    pretrain(noisy(100, 2, 3), Gaussian(1.0), 4, reg=1e-7, solver="matrix-free")
    assert len(rounded) > 50
    assert not any(rounded)


# ---------------------------------------------------------------- how far it is


def test_progress(tmp_path, monkeypatch):
    """Each product is told: residuals fall to their target, and what is left is known after two steps."""
    told, products = [], []
    times_kernel = MatrixFreeKernel.times_kernel
    monkeypatch.setattr(
        MatrixFreeKernel, "times_kernel", lambda s, v, **how: products.append(0) or times_kernel(s, v, **how)
    )
    monkeypatch.setattr(tunables, "MATRIX_FREE_COARSE_VIEWS", 0)  # more steps
    monkeypatch.setattr(tunables, "MATRIX_FREE_RANK_COLUMNS", 4)
    views = noisy(200, 2, 3)
    alone = pretrain(views, Exponential(1.0), 4, reg=1e-3, solver="matrix-free")
    products.clear()
    for place in (None, tmp_path / "ck"):
        told.clear()
        rep = pretrain(
            views,
            Exponential(1.0),
            4,
            reg=1e-3,
            solver="matrix-free",
            checkpoint=place,
            progress=lambda done, total, left, where: told.append((done, total, left, where)),
        )
        assert np.array_equal(rep.gamma, alone.gamma)
    done, total, left, where = zip(*told, strict=True)
    assert len(products) == 2 * done[-1]
    assert done == (*range(1, done[-1] + 1), done[-1])
    assert total[-1] == done[-1]
    assert left[-1] == 0.0
    assert all((a is None) == (b is None) for a, b in zip(total, left, strict=True))
    assert total[0] is None
    known = [a for a in total if a is not None]
    assert len(known) > len(total) / 3
    assert all(b is None or b > a for a, b in zip(done[:-1], total, strict=False))
    outer = [w["outer"] for w in where]
    assert outer == sorted(outer)
    assert outer[-1] == rep.certificate.iterations
    assert max(w["inner"] for w in where) > 3
    residuals = [w["residual"] for w in where if w["residual"] is not None]
    assert residuals[0] > 10 * residuals[-1]
    assert {w["target"] for w in where} == {1e-7}


def test_progress_of_other_fits_is_not_told():
    views = noisy(30, 2, 3)
    for solver, model in (("dense", Gaussian(1.0)), (None, Nystrom(Gaussian(1.0), 8))):
        pretrain(views, model, 2, reg=1e-2, solver=solver, progress=lambda *_: pytest.fail("told"))
    with pytest.raises(TypeError, match="progress must be a function, found True"):
        pretrain(views, Gaussian(1.0), 2, reg=1e-2, progress=True)


# ---------------------------------------------------------------- what is refused


def test_what_it_is_not_for():
    views = noisy(20, 2, 3)
    with pytest.raises(ValueError, match="solver must be None, 'dense' or 'matrix-free', found 'sparse'"):
        pretrain(views, Gaussian(1.0), 2, reg=1e-2, solver="sparse")
    gram = Gaussian(1.0)(views.reshape(40, 3)).reshape(20, 2, 40)
    with pytest.raises(ValueError, match="found Precomputed, whose"):
        pretrain(gram, Precomputed(), 2, reg=1e-2, solver="matrix-free")
    with pytest.raises(ValueError, match="found features"):
        pretrain(views, Nystrom(Gaussian(1.0), 8), 2, reg=1e-2, solver="dense")
    with pytest.raises(ValueError, match="found a law of positive pairs"):
        pretrain(views.reshape(40, 3), Gaussian(1.0), 2, reg=1e-2, positives=TimeLag(1), solver="matrix-free")
    with pytest.raises(MemoryBudgetError):
        pretrain(views, Gaussian(1.0), 2, reg=1e-2, solver="matrix-free", memory=1000)


def test_no_convergence_within_the_products_allowed(monkeypatch):
    monkeypatch.setattr(tunables, "MATRIX_FREE_MOST_PRODUCTS", 20)
    monkeypatch.setattr(tunables, "MATRIX_FREE_RANK_COLUMNS", 0)
    with pytest.raises(ConvergenceError, match=r"within 20 products with the kernel.*its rank is 0") as caught:
        pretrain(noisy(200, 2, 3), Exponential(1.0), 4, reg=1e-6, solver="matrix-free")
    assert 0 < caught.value.residual < math.inf


def test_a_preconditioner_that_does_not_help_is_told(monkeypatch):
    monkeypatch.setattr(tunables, "MATRIX_FREE_SLOW_STEPS", 15)
    views = noisy(200, 2, 3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pretrain(views, Gaussian(3.0), 4, reg=1e-3, solver="matrix-free")
    monkeypatch.setattr(tunables, "MATRIX_FREE_RANK_COLUMNS", 1)
    with pytest.warns(
        ConvergenceWarning, match="preconditioner of rank 20 leaves .* raise reg, or use features"
    ) as told:
        pretrain(views, Exponential(1.0), 4, reg=1e-4, solver="matrix-free")
    assert len(told) == 1


def test_a_preconditioner_without_room_is_told_what_would_help(monkeypatch):
    monkeypatch.setattr(tunables, "MATRIX_FREE_SLOW_STEPS", 15)
    monkeypatch.setattr(tunables, "PIVOTED_BLOCK_COLUMNS", 16)
    with monkeypatch.context() as patch:
        patch.setattr(tunables, "MATRIX_FREE_RANK_COLUMNS", 1)
        memory = plan(200, 2, 3, Exponential(1.0), 4, solver="matrix-free").bytes
    with pytest.warns(ConvergenceWarning, match=r"rank 2\d leaves .*; give more memory for the precond.*, raise reg"):
        pretrain(noisy(200, 2, 3), Exponential(1.0), 4, reg=1e-4, solver="matrix-free", memory=memory)


def test_a_reg_that_does_not_converge_is_left_out_of_a_search(monkeypatch):
    """It is named, smaller ones are not tried, in no fold, and the search goes on with the larger ones."""
    monkeypatch.setattr(tunables, "MATRIX_FREE_MOST_PRODUCTS", 80)
    monkeypatch.setattr(tunables, "MATRIX_FREE_RANK_COLUMNS", 0)
    tried, condition = [], MatrixFreeKernel.condition
    monkeypatch.setattr(
        MatrixFreeKernel, "condition", lambda s, reg, beta: tried.append(reg) or condition(s, reg, beta)
    )
    search = AutoReg(regs=(1.0, 1e-1, 1e-2, 1e-6, 1e-7), n_folds=2)
    with pytest.warns(SelectionWarning) as told:
        rep = pretrain(noisy(200, 2, 3), Exponential(1.0), 4, reg=search, solver="matrix-free")
    assert "reg = 1e-06 and smaller ones were left out: no convergence within 80" in str(told[0].message)
    assert "still falls at the smallest reg for which all fits converge, 0.01" in str(told[1].message)
    assert np.isfinite(rep.selection.risks).tolist() == [True, True, True, False, False]
    assert (tried.count(1e-6), tried.count(1e-7), tried.count(1e-2)) == (1, 0, 2 + (rep.reg == 1e-2))
    with pytest.raises(ConvergenceError):  # nothing is left to choose from
        pretrain(noisy(200, 2, 3), Exponential(1.0), 4, reg=AutoReg(regs=(1e-6, 1e-7), n_folds=2), solver="matrix-free")


def test_an_indefinite_kernel_is_named():
    views = noisy(60, 2, 2)

    def distance(x, y):
        return np.sqrt(((x[:, None] - y) ** 2).sum(2))

    for kernel in (lambda x, y: 0.1 + distance(x, y), lambda x, y: np.cos(3 * distance(x, y) ** 2)):
        with pytest.raises(NotPositiveSemidefiniteError) as caught:
            pretrain(views, kernel, 3, reg=1e-5, solver="matrix-free")
        assert caught.value.eigenvalue < 0


# ---------------------------------------------------------------- where the matrix has no room

LARGE = """
import json, time
import sslcore

def status(name):
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith(name))

def made(n):
    x = sslcore.datasets.half_moons(n, seed=0)
    return sslcore.augmentations.GaussianNoise(0.1).views(x, 2, seed=0)

kernel, views = sslcore.kernels.Gaussian(0.3), made(6_250)
sslcore.pretrain(made(300), kernel, 5, reg=1e-5, solver="matrix-free")
before = status("VmRSS")
with open("/proc/self/clear_refs", "w") as file:
    file.write("5")  # sets VmHWM back to VmRSS
start = time.perf_counter()
dense = sslcore.plan(6_250, 2, 2, kernel, 5, memory="1TB").bytes
rep = sslcore.pretrain(views, kernel, 5, reg=1e-5, memory=dense // 10)
seconds = time.perf_counter() - start
print(json.dumps([status("VmHWM") - before, dense, seconds, rep.certificate.worst, rep.certificate.bytes]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_12_500_views_in_a_tenth_of_the_dense_memory():
    """It is chosen by itself, and keeps the budget."""
    done = subprocess.run([sys.executable, "-c", LARGE], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    peak, dense, _, worst, planned = json.loads(done.stdout)
    assert planned <= dense // 10
    assert peak <= 1.1 * planned + (4 << 20)
    assert worst <= 1e-6
