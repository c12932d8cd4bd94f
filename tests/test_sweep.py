"""Many values of reg and beta with one operator: every point against a fit of its own, and what may be missed."""

import numpy as np
import pytest
import scipy.linalg as sl
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sslcore import pretrain, pretrain_path, tunables
from sslcore.backends import get_backend
from sslcore.errors import CertificateError
from sslcore.kernels import Exponential, Gaussian, Linear, Polynomial
from sslcore.selection import AutoReg
from sslcore.solvers import sweep as sweeps
from sslcore.solvers.exact import ConditionedKernel, solve_exact
from sslcore.solvers.groups import Samples
from sslcore.solvers.objective import Objective
from sslcore.solvers.reduced_basis import ReducedBasis
from sslcore.solvers.rotated_gram import rotated_gram

from .comparators import assert_close, assert_same_subspace
from .strategies import seeds
from .test_features import noisy
from .test_selection import moons, quietly

MANY = np.logspace(-6, 2, 9)


def check_points(path, views, model, k, options, *, single=False):
    """Compare all points with fits of their own: gamma, its parts, and spans where there is a gap after them."""
    for i, reg in enumerate(path.regs):
        for j, beta in enumerate(path.betas):
            point, alone = path.at(i, j), pretrain(views, model, k, reg=reg, beta=beta, **options)
            rank = alone.certificate.rank
            active = alone.n_active
            assert point.n_active == active
            # whether an inactive component is there at all may be a matter of rounding
            assert min(point.certificate.rank, rank) >= active
            assert abs(point.certificate.rank - rank) <= 1
            assert point.certificate.worst <= point.certificate.tolerance
            assert_close(point.gamma[:active], alone.gamma[:active], tol=1e-3 if single else 1e-9)
            both = min(point.certificate.rank, rank)
            assert_close(point.gamma[active:both], alone.gamma[active:both], tol=1e-3 if single else 1e-7)
            gap = alone.certificate.eigengap / float(alone.gamma[rank - 1] + alone.certificate.eigengap)
            if rank == k and gap > 0.05:
                z, y = (np.asarray(r.transform(views, scale="unit"), float).reshape(-1, k) for r in (point, alone))
                assert_same_subspace(z, y, tol=2e-2 if single else 1e-5)


@settings(max_examples=25)
@example(seed=19716, k=1, kernel=Exponential(0.2) + Linear(), center=True, weighted=True, grouped=False, unbiased=True)
@example(seed=457, k=10, kernel=Exponential(0.2) + Linear(), center=True, weighted=True, grouped=True, unbiased=False)
@given(
    seed=seeds,
    k=st.integers(1, 12),
    kernel=st.sampled_from([Exponential(1.0), Exponential(0.2) + Linear(), Polynomial(2), Linear()]),
    center=st.booleans(),
    weighted=st.booleans(),
    grouped=st.booleans(),
    unbiased=st.booleans(),
)
def test_every_point_is_a_fit_of_its_own(seed, k, kernel, center, weighted, grouped, unbiased):
    rng = np.random.default_rng(seed)
    options = {"center": center, "unbiased": unbiased}
    if grouped:
        options["groups"] = groups = rng.permutation(np.repeat(np.arange(8), [1, 2, 3, 2, 4, 2, 2, 1]))
        views = rng.normal(size=(8, 2))[groups] + 0.3 * rng.normal(size=(len(groups), 2))
    else:
        views = noisy(8, 2, 2, seed)
    if weighted:
        options["sample_weight"] = rng.uniform(0.5, 2.0, 17 if grouped else (8, 2))
    try:
        path = pretrain_path(views, kernel, k, regs=MANY, betas=(0.5, 1.0), **options)
    except CertificateError:  # then a fit is refused, too
        with pytest.raises(CertificateError):
            _ = [pretrain(views, kernel, k, reg=r, beta=b, **options) for r in MANY for b in (0.5, 1.0)]
        return
    check_points(path, views, kernel, k, options)


@pytest.mark.parametrize(("columns", "tasks"), [(1, 2), (20, 1), (64, 1), (64, 2)])
@pytest.mark.parametrize("single", [False, True])
def test_any_number_of_places_side_by_side(columns, tasks, single, monkeypatch, backend):
    monkeypatch.setattr(tunables, "SWEEP_COLUMNS", columns)
    monkeypatch.setattr(tunables, "SWEEP_TASK_COLUMNS", columns)
    monkeypatch.setattr(tunables, "SWEEP_MOST_VIEWS", 1000 if tasks == 2 else 0)
    views = noisy(40, 3, 3).astype(np.float32 if single else float)
    regs = np.logspace(-4 if single else -6, 1, 11)
    path = pretrain_path(backend.asarray(views), Exponential(1.0), 4, regs=regs, betas=(0.0, 1.0), center=True)
    if backend.name == "numba":  # none was refused and solved alone
        assert all(rep.certificate.algorithm.endswith("in band form") for rep in path if rep.beta)
        assert max(rep.certificate.iterations for rep in path) < 20
    for i in range(0, 11, 5):
        alone = pretrain(views, Exponential(1.0), 4, reg=regs[i], center=True)
        assert_close(path.gamma[i, 1], alone.gamma, tol=1e-4 if single else 1e-9)


def test_the_bits_of_a_path_do_not_depend_on_threads(monkeypatch):
    views, regs, found = noisy(60, 2, 3), np.logspace(-5, 0, 13), []
    for threads in "12":
        monkeypatch.setenv("SSLCORE_NUM_THREADS", threads)
        found.append(pretrain_path(views, Exponential(0.5), 4, regs=regs))
    assert np.array_equal(found[0].gamma, found[1].gamma)
    assert all(np.array_equal(a.coefficients, b.coefficients) for a, b in zip(*found, strict=True))


def test_no_threads_of_blas_beside_other_places(monkeypatch):
    primitives = get_backend()
    alone, at_work = primitives.side_by_side, []

    def marked(task, count):
        at_work.append(count)
        alone(task, count)
        at_work.clear()

    monkeypatch.setattr(primitives, "side_by_side", marked)
    for name in ("matmul", "symmetric_product", "orthonormalize"):
        original = getattr(primitives, name)

        def refused(*args, original=original, **options):
            assert not at_work
            return original(*args, **options)

        monkeypatch.setattr(primitives, name, refused)
    path = pretrain_path(noisy(60, 2, 2), Exponential(1.0), 3, regs=MANY)
    assert path.at(0).certificate.algorithm.endswith("in band form")
    assert not at_work


def test_values_beyond_the_range_of_float32():
    views, regs = noisy(20, 2, 3), np.logspace(-3, 2, 6)
    expected = pretrain_path(views, Linear(), 2, regs=regs)
    found = pretrain_path(views * 1e20, Linear(), 2, regs=regs * 1e40)
    assert found.at(0).certificate.algorithm.endswith("in band form")
    assert_close(found.gamma, expected.gamma, tol=1e-8)


def test_progress_of_every_point():
    calls = []
    pretrain_path(noisy(20, 2, 3), Exponential(1.0), 2, regs=MANY, progress=lambda *done: calls.append(done))
    assert calls == [(i + 1, 9) for i in range(9)]


@given(count=st.integers(0, 60))
def test_rounds_visit_each_place_once(count):
    found = list(sweeps.rounds(count))
    assert sorted(i for chosen in found for i in chosen) == list(range(count))
    if count:
        assert {0, count - 1} <= set(found[0])
    assert len(found) <= 4


# ---------------------------------------------------------------- what may be missed


def commuting(scales, noise):
    """Two views of 16 samples whose coordinates are columns of Hadamard matrices: moments of them are diagonal."""
    signs = sl.hadamard(16)[:, 1 : len(scales) + 1].astype(float)
    turned = sl.hadamard(16)[:, : len(scales)].astype(float)
    return np.stack([signs * scales + turned * noise, signs * scales - turned * noise], axis=1)


def test_a_function_that_leads_between_two_places_is_found():
    """Six functions lead at small reg, six at large reg, and one, far behind at both ends, in the middle."""
    sigma = np.r_[0.01 * np.linspace(1, 1.3, 6), 1.0, 100 * np.linspace(1, 1.3, 6)]
    share = np.r_[np.full(6, 1e-3), 0.05, np.full(6, 0.9)]  # of Delta
    views = commuting(np.sqrt(sigma * (1 - share)), np.sqrt(sigma * share))
    regs = np.logspace(-6, 1, 15)
    path = pretrain_path(views, Linear(), 2, regs=regs, unbiased=False)
    lines = np.sort(share + regs[:, None] / sigma, axis=1)
    assert_close(path.gamma[:, 0], lines[:, :2], tol=1e-9)
    first = np.argmin(share + regs[:, None] / sigma, axis=1)
    assert {0 if i < 6 else 1 if i == 6 else 2 for i in first} == {0, 1, 2}


def test_blocks_of_equal_eigenvalues():
    """Blocks wider than the block of the iteration, in an order that changes with reg; k cuts them."""
    sigma = np.r_[np.full(7, 4.0), np.full(6, 0.5)]
    share = np.r_[np.full(7, 0.4), np.full(6, 0.05)]
    views = commuting(np.sqrt(sigma * (1 - share)), np.sqrt(sigma * share))
    regs = np.logspace(-4, 1, 12)
    for k in (2, 7, 9, 13):
        path = pretrain_path(views, Linear(), k, regs=regs, unbiased=False)
        assert_close(path.gamma[:, 0], np.sort(share + regs[:, None] / sigma, axis=1)[:, :k], tol=1e-9)


# ---------------------------------------------------------------- where shared factors do not do


def test_places_without_a_shared_factor_are_solved_alone(monkeypatch):
    views = noisy(20, 2, 3)
    expected = pretrain_path(views, Exponential(1.0), 3, regs=MANY)
    assert all(rep.certificate.algorithm == "exact: contrast Cholesky, in band form" for rep in expected)
    shifted = ConditionedKernel.shifted
    monkeypatch.setattr(
        ConditionedKernel, "shifted", lambda self, reg, beta: None if reg < 1e-3 else shifted(self, reg, beta)
    )
    path = pretrain_path(views, Exponential(1.0), 3, regs=MANY)
    assert [rep.certificate.algorithm.endswith("in band form") for rep in path] == [reg >= 1e-3 for reg in MANY]
    assert_close(path.gamma, expected.gamma, tol=1e-12)


def test_what_shared_factors_round_too_much_is_solved_alone(monkeypatch):
    views = noisy(20, 2, 3)
    expected = pretrain_path(views, Exponential(1.0), 3, regs=MANY)
    judged, refused = sweeps.judged, []

    def doubtful(operator, objective, applied, **options):
        solution = judged(operator, objective, applied, **options)
        refused.append(objective.reg)
        raise CertificateError("rounded", solution.spectrum.certificate)

    monkeypatch.setattr(sweeps, "judged", doubtful)
    path = pretrain_path(views, Exponential(1.0), 3, regs=MANY)
    assert sorted(refused) == MANY.tolist()
    assert all(rep.certificate.algorithm == "exact: contrast Cholesky" for rep in path)
    assert_close(path.gamma, expected.gamma, tol=1e-12)


def test_a_reg_below_rounding_among_many():
    views = noisy(40, 2, 2)
    with pytest.raises(CertificateError, match=r"at reg = 1e-16, beta = 1: the path is good down to reg = 1e-06; "):
        pretrain_path(views, Gaussian(2.0), 5, regs=[1e-17, 1e-16, *MANY])


@pytest.mark.parametrize("center", [False, True])
def test_searches_of_many_regs(center):
    """The risks are those of each reg alone."""
    regs = tuple(np.logspace(-6, -1, 8))
    together = quietly(moons(50, 3), Exponential(0.5), 3, reg=AutoReg(regs=regs), center=center).selection
    for i in (0, 3, 7):
        alone = quietly(moons(50, 3), Exponential(0.5), 3, reg=AutoReg(regs=(50.0, regs[7 - i])), center=center)
        assert_close(together.risks[i], alone.selection.risks[1], tol=1e-6, scale=3.0)
        assert_close(together.training_risks[i], alone.selection.training_risks[1], tol=1e-7, scale=3.0)


def test_a_search_of_more_regs_than_are_solved_together(monkeypatch):
    regs = tuple(np.logspace(-5, -1, 9))
    expected = quietly(moons(40), Exponential(0.5), 3, reg=AutoReg(regs=regs)).selection
    monkeypatch.setattr("sslcore.fitting.folds.SEARCHED_TOGETHER", 4)
    found = quietly(moons(40), Exponential(0.5), 3, reg=AutoReg(regs=regs)).selection
    assert_close(found.risks, expected.risks, tol=1e-6, scale=3.0)


# ---------------------------------------------------------------- the reduced basis


def operator_of(views, kernel, *, center=False):
    """The operator of all views, and Khat over its trace."""
    backend, (n, m, d) = get_backend(), views.shape
    blocks = rotated_gram(kernel, views.reshape(n * m, d), Samples.from_views(n, m, backend), backend)
    operator = ConditionedKernel(blocks, kernel, backend, unbiased=True, center=center)
    return operator, np.block([[blocks.mean, blocks.cross], [blocks.cross.T, blocks.contrast]]) / operator.unit


@given(seed=seeds, reg=st.sampled_from([1e-4, 1e-2, 1.0]), center=st.booleans())
def test_the_best_combinations(seed, reg, center):
    """Of least beta w^T (I - T) w + lambda a^T w beside |H w|^2, by a dense eigenproblem on the span."""
    operator, full = operator_of(noisy(9, 2, 3, seed), 30.0 * Exponential(1.0), center=center)
    basis, weights = ReducedBasis(), []
    assert basis.near(operator, 1.0, 3) is None
    for place in (1e-3, 1e-1, np.inf):
        weights.append(np.random.default_rng((seed, len(weights))).normal(size=(18, 3)))
        basis.add(place, full @ weights[-1], weights[-1])
    a = np.concatenate(weights, axis=1)
    w = full @ a
    complement = np.diag(np.r_[np.zeros(9), np.full(9, 2.0)])  # unbiased, of two views
    constant = operator.constant_column() if center else np.zeros((18, 1))
    centred = w - constant @ (constant.T @ w)
    for ratio in (reg, np.inf):
        energies = a.T @ w if ratio == np.inf else w.T @ complement @ w + ratio / operator.unit * (a.T @ w)
        _, x = sl.eigh(centred.T @ centred, 0.5 * (energies + energies.T))
        found = basis.near(operator, ratio, 4)
        assert_same_subspace(found, (w @ x)[:, :-5:-1], tol=1e-5)


def test_the_nearest_functions():
    basis = ReducedBasis()
    assert basis.nearest(1.0) is None
    for place in (1e-3, 1e-1, 1e-1 * (1 + 1e-9), 1e1, np.inf):
        basis.add(place, np.full((2, 1), place), np.full((2, 1), -place))
    for place, found in ((1e-9, 1e-3), (2e-2, 1e-1), (1e-1, 1e-1), (1e12, 1e1), (np.inf, np.inf)):
        w, a = basis.nearest(place)
        assert w[0, 0] == -a[0, 0] == found


def sweep_of(operator, regs, known=None):
    """The solutions of a sweep, and gamma of each place by a fit of its own."""
    objectives = [Objective(3, float(reg), 1.0, True, False) for reg in regs]
    sweep = sweeps.Sweep(operator, objectives, tolerance=1e-6, planned_bytes=0, known=known)
    found = [sweep(o) for o in objectives]
    alone = [solve_exact(operator, o, tolerance=1e-6, planned_bytes=0).spectrum.gamma for o in objectives]
    return [f.spectrum for f in found], alone


def test_a_sweep_goes_on_with_what_another_has_found():
    """Fewer places than shared factors are made for have them all the same, and begin near their neighbours."""
    operator, _ = operator_of(noisy(150, 2, 3), Exponential(0.5))
    known = sweeps.Known()
    sweep_of(operator, np.logspace(-5, 0, 8), known)
    places = len(known.basis.places)
    found, alone = sweep_of(operator, [2e-3, 3e-4], known)
    assert len(known.basis.places) == places + 2 == 10
    cold, _ = sweep_of(operator, [2e-3, 3e-4])
    for spectrum, gamma, other in zip(found, alone, cold, strict=True):
        assert_close(spectrum.gamma, gamma, tol=1e-10)
        assert spectrum.certificate.algorithm.endswith("in band form")
        assert other.certificate.algorithm == "exact: contrast Cholesky"
        assert spectrum.certificate.iterations < other.certificate.iterations
    again, _ = operator_of(noisy(150, 2, 3), Exponential(0.5))  # what is known outlives its operator
    assert again.shifts is None
    later, alone = sweep_of(again, [7e-4], known)
    assert_close(later[0].gamma, alone[0], tol=1e-10)
    assert later[0].certificate.algorithm.endswith("in band form")


# ---------------------------------------------------------------- steps in float32


@example(seed=39579, reg=1e-8, kernel=Polynomial(2), columns=1, center=False)
@given(
    seed=seeds,
    reg=st.sampled_from([1e-8, 1e-5, 1e-2, 1.0]),
    kernel=st.sampled_from([Exponential(1.0), Gaussian(2.0), Exponential(0.2) + Linear(), Polynomial(2)]),
    columns=st.sampled_from([1, 10_000]),
    center=st.booleans(),
)
def test_errors_of_images_in_float32_are_known(seed, reg, kernel, columns, center):
    """Of random blocks and of those near leading eigenvectors, with B in the basis of the factors or not."""
    operator, _ = operator_of(noisy(60, 3, 2, seed), kernel, center=center)
    assert operator.share_factors(columns)
    assert (operator.turned_b is None) == (columns == 1)
    shifted = operator.shifted(reg, 1.0)
    if shifted is None:  # below rounding
        return
    apply = sweeps._Application([shifted], turned=columns > 1, near=[False], error=0.0)
    block = np.linalg.qr(np.random.default_rng(seed).normal(size=(180, 9)))[0]
    for step in range(5):
        block, known = np.asfortranarray(block), apply.errors[0]
        if step == 2:
            apply.followed()[0].relax(operator.short.error)
        image = apply({0: block})[0]
        assert (apply.errors[0] > 0) == (step >= 2)  # now it is measured
        apply.followed()[0].relax(0.0)
        error = np.linalg.norm(apply._images({0: block}, operator.short)[0] - image, 2)
        assert 0 < error <= (2 * known if step > 2 else np.inf)
        block = np.asfortranarray(np.linalg.qr(image)[0])
    apply.followed()[0].relax(apply.errors[0])
    assert np.array_equal(apply({0: block})[0], apply._images({0: block}, operator.short)[0])
    apply.followed()[0].relax(0.9 * apply.errors[0])
    assert not np.array_equal(apply({0: block})[0], apply._images({0: block}, operator.short)[0])


@pytest.mark.parametrize("center", [False, True])
def test_most_steps_are_in_float32(center, monkeypatch):
    """All but the first of each place, and those of the first round until residuals are small; with the same result."""
    steps = []
    images = sweeps._Application._images

    def spy(self, blocks, short):
        if next(iter(blocks.values())).shape[1] > 2:  # else an error is measured
            steps.append((len(blocks), short is not None))
        return images(self, blocks, short)

    monkeypatch.setattr(sweeps._Application, "_images", spy)
    views, regs = noisy(150, 2, 3), np.logspace(-5, 0, 17)
    path = pretrain_path(views, Exponential(0.5), 5, regs=regs, center=center)
    exact, short = (sum(count for count, kind in steps if kind == is_short) for is_short in (False, True))
    assert exact >= 17
    assert short > exact
    assert all(rep.certificate.algorithm.endswith("in band form") for rep in path)  # none was refused
    steps.clear()
    monkeypatch.setattr(sweeps, "_SAFETY", np.inf)
    slow = pretrain_path(views, Exponential(0.5), 5, regs=regs, center=center)
    assert not any(kind for _, kind in steps)
    assert_close(path.gamma, slow.gamma, tol=1e-11)
    assert max(rep.certificate.worst for rep in path) < 5e-7
    iterations = [[rep.certificate.iterations for rep in p] for p in (path, slow)]
    assert max(np.subtract(*iterations)) <= 1


def test_starts_are_of_use():
    """Combinations of functions on both sides begin close to those between: fewer steps than from random vectors."""
    views = noisy(150, 2, 3)
    path = pretrain_path(views, Exponential(0.5), 5, regs=np.logspace(-5, 0, 17))
    steps = [rep.certificate.iterations for rep in path]
    first = next(iter(sweeps.rounds(17)))
    others = [steps[i] for i in range(17) if i not in first]
    assert max(others) < min(steps[i] for i in first)


def test_the_order_of_the_grid_does_not_matter():
    views, regs = noisy(30, 2, 3), np.logspace(-4, 1, 8)
    one = pretrain_path(views, Exponential(1.0), 3, regs=regs)
    two = pretrain_path(views, Exponential(1.0), 3, regs=regs[::-1])
    assert np.array_equal(one.gamma, two.gamma)
    assert np.array_equal(one.at(3).coefficients, two.at(3).coefficients)
