"""The solver of pairs in both its forms, by edges and by a triangle, and its plan."""

import tracemalloc
import warnings

import numpy as np
import pytest

import sslcore
from sslcore.errors import MemoryBudgetError, NotPositiveSemidefiniteError, SelectionWarning
from sslcore.features import Identity, Nystrom
from sslcore.fitting.data import as_paired_data
from sslcore.fitting.posing import pose
from sslcore.kernels import Exponential, Function, Gaussian, Precomputed
from sslcore.positives import Groups, Labels, Law, Neighbors, Operator, Pairs, TimeLag, _pairs
from sslcore.solvers import edges
from sslcore.solvers.objective import Objective

from . import naive
from .comparators import assert_close, assert_same_subspace
from .test_positives import points, ring
from .traced import traced_peak


@pytest.mark.parametrize("center", [False, True])
@pytest.mark.parametrize("beta", [0.0, 1.3])
def test_both_forms_are_one(backend, monkeypatch, center, beta):
    """A graph with a hub, a pair of a point with itself, two parts and points in no pair."""
    n, k = 30, 4
    x = backend.asarray(points(n))
    i = np.array([0] * 9 + [10, 11, 12, 13, 14, 15, 16, 20])
    law = Pairs(i, np.array([*range(1, 10), 11, 12, 13, 14, 15, 16, 10, 20]), np.linspace(1, 2, 17))
    found = {}
    for most in (edges.MOST_EDGES, 0.0):
        monkeypatch.setattr(edges, "MOST_EDGES", most)
        found[most] = sslcore.pretrain(x, Exponential(1.0), k, reg=1e-3, beta=beta, center=center, positives=law)
    by_edges, by_triangle = found.values()
    if beta:
        assert by_edges.certificate.algorithm == "exact: Cholesky of edges"
        assert by_triangle.certificate.algorithm == "exact: Cholesky of points with T"
    assert_close(by_edges.gamma, by_triangle.gamma, tol=1e-10)
    assert_close(by_edges.invariance, by_triangle.invariance, tol=1e-9)
    new = backend.asarray(points(5, 1))
    one, other = (backend.asnumpy(rep.transform(new)) for rep in found.values())
    assert_close(one @ one.T, other @ other.T, tol=1e-8)
    assert by_edges.certificate.worst < 1e-9


def test_pairs_are_as_good_as_views_where_reg_is_small():
    """The certificate tells how far from each other they are."""
    x = np.cumsum(points(80), axis=0)
    for reg in (1e-7, 1e-9):
        ours = sslcore.pretrain(x, Exponential(2.0), 4, reg=reg, positives=TimeLag(1))
        same = sslcore.pretrain(np.stack([x[:-1], x[1:]], axis=1), Exponential(2.0), 4, reg=reg)
        apart = np.abs(ours.gamma / same.gamma - 1).max()
        assert apart <= 10 * (ours.certificate.worst + same.certificate.worst) < 1e-4


@pytest.mark.parametrize("reg", [1e-5, 1e-8])
@pytest.mark.parametrize("law", [TimeLag(1), Neighbors(6)], ids=["edges", "triangle"])
def test_small_regs_are_right_or_refused(law, reg):
    """The certificate holds where the answer does: gamma to what it tells, against dense algebra."""
    x, kernel, k = points(60), Exponential(0.7), 4
    found = law.law(x)
    mu, _ = naive.pretrain_paired(kernel(x, x), found.operator(), found.measure, reg=reg, beta=1.0, center=False)
    rep = sslcore.pretrain(x, kernel, k, reg=reg, positives=law)
    assert_close(rep.gamma, 1 - mu[:k], tol=max(1e-9, 100 * rep.certificate.worst))
    assert rep.certificate.worst < 1e-6
    with pytest.raises(sslcore.CertificateError):
        sslcore.pretrain(x, Gaussian(3.0), k, reg=1e-18, positives=law)


@pytest.mark.parametrize("center", [False, True])
def test_a_matrix_keeps_the_digits_of_its_coordinates(center):
    """Noisy labels: beyond four components all have T f = 0, and differ by reg ||f||^2 alone, a millionth of T."""
    x, rng = points(40), np.random.default_rng(0)
    y = rng.integers(0, 4, 40)
    t, k, reg = 2.0 * (y[:, None] == y) - 1.0, Exponential(0.2)(x, x), 1e-5
    rep = sslcore.pretrain(x, Exponential(0.2), 5, reg=reg, center=center, positives=Operator(t))
    mu, f = naive.pretrain_paired(k, t, np.full(40, 1 / 40), reg=reg, beta=1.0, center=center)
    assert (mu[4] - mu[5]) / mu[0] < 1e-4
    assert_same_subspace(rep.transform(x, scale="unit"), f[:, :5], tol=1e-8)
    assert rep.certificate.worst < 1e-12


def test_pairs_keep_digits_where_reg_is_small():
    """v - Q y, which is as small as reg, is corrected: ten times the residual without."""
    rep = sslcore.pretrain(points(60), Exponential(0.7), 4, reg=1e-10, positives=TimeLag(1))
    assert rep.certificate.worst < 3e-9


def test_a_path_of_a_law_has_its_fits():
    x, law = points(40), 0.5 * TimeLag(1) + 0.5 * Neighbors(3)
    path = sslcore.pretrain_path(x, Exponential(1.0), 3, regs=[1e-4, 1e-3, 1e-2], betas=[0.5, 1.0], positives=law)
    for i, reg in enumerate(path.regs):
        for j, beta in enumerate(path.betas):
            alone = sslcore.pretrain(x, Exponential(1.0), 3, reg=float(reg), beta=float(beta), positives=law)
            assert_close(path.at(i, j).gamma, alone.gamma, tol=1e-10)


def test_pairs_that_are_groups_are_solved_as_groups_are():
    """To rounding: it is another factorisation."""
    x = points(40)
    pairs = Pairs(np.arange(0, 40, 2), np.arange(1, 40, 2))
    ours = sslcore.pretrain(x, Exponential(1.0), 4, reg=1e-4, positives=pairs, center=True)
    same = sslcore.pretrain(x.reshape(20, 2, 2), Exponential(1.0), 4, reg=1e-4, center=True)
    assert_close(ours.gamma, same.gamma, tol=1e-11)
    assert_close(np.abs(ours.coefficients), np.abs(same.coefficients), tol=1e-9)


@pytest.mark.parametrize("by", ["pair", "class"])
@pytest.mark.parametrize("model", [Exponential(1.0), Identity()], ids=["kernel", "features"])
def test_labels_alone_are_not_listed(monkeypatch, by, model):
    """They are groups with weights, and no memory is asked for pairs; a mixture, which lists them, has the same fit."""
    x, y = points(30), np.arange(30) ** 2 % 7
    k = 2 if isinstance(model, Identity) else 4
    listed = sslcore.pretrain(x, model, k, reg=1e-3, center=True, positives=1.0 * Labels(y, by=by))
    monkeypatch.setattr(_pairs, "free_memory", lambda: 100)
    ours = sslcore.pretrain(x, model, k, reg=1e-3, center=True, positives=Labels(y, by=by))
    assert_close(ours.gamma, listed.gamma, tol=1e-11)
    assert_close(ours.invariance, listed.invariance, tol=1e-11)
    assert_close(np.abs(ours(x)), np.abs(listed(x)), tol=1e-8)
    assert ours.positives.endswith(listed.positives.split(";")[1])
    few = np.where(np.arange(30) == 3, -1, y)  # a point in no pair
    with pytest.raises(MemoryBudgetError):
        sslcore.pretrain(x, model, k, reg=1e-3, positives=Labels(few, by=by))


@pytest.mark.parametrize("sizes", [[20, *[2] * 20], [300, 300]], ids=["unlike", "large"])
def test_labels_of_large_classes_are_listed(monkeypatch, sizes):
    """As groups, each class would take as many rotations as the square of its size, which plans do not see."""
    y = np.repeat(np.arange(len(sizes)), sizes)
    monkeypatch.setattr(_pairs, "free_memory", lambda: 100)
    with pytest.raises(MemoryBudgetError):
        sslcore.pretrain(points(len(y)), Identity(), 2, reg=1e-3, positives=Labels(y))


def test_labels_are_groups_of_weighted_points():
    x, y = points(30), np.arange(30) % 4
    ours = sslcore.pretrain(x, Exponential(1.0), 4, reg=1e-3, positives=Labels(y))
    same = sslcore.pretrain(
        x, Exponential(1.0), 4, reg=1e-3, groups=y, sample_weight=np.bincount(y)[y].astype(float) - 1
    )
    assert_close(ours.gamma, same.gamma, tol=1e-10)


def test_more_pairs_than_memory_holds_are_refused(monkeypatch):
    monkeypatch.setattr(_pairs, "free_memory", lambda: 10**5)
    with pytest.raises(MemoryBudgetError, match="take groups="):
        Labels([0] * 50).law(np.zeros((50, 1)))


def test_a_kernel_that_is_indefinite_is_refused():
    x = points(25)
    with pytest.raises(NotPositiveSemidefiniteError, match="at the 25 points in pairs has the eigenvalue -"):
        sslcore.pretrain(
            x, Function(lambda a, b: -Gaussian(1.0)(a, b) + 2 * (a @ b.T)), 2, reg=1e-2, positives=ring(25)
        )
    with pytest.raises(ValueError, match="zero at all views"):
        sslcore.pretrain(np.zeros((4, 4)), Precomputed(), 2, reg=1e-2, positives=TimeLag(1))
    with pytest.raises(ValueError, match="constant at the views"):
        sslcore.pretrain(np.ones((4, 4)), Precomputed(), 2, reg=1e-2, positives=TimeLag(1), center=True)


@pytest.mark.parametrize("center", [False, True])
def test_a_triangle_takes_operators_at_the_edge(center):
    """T with its largest eigenvalue many times, T = 0, and T much larger than 1."""
    x, kernel = points(8), Exponential(1.0)
    for matrix in (np.eye(8), np.zeros((8, 8)), 1e4 * np.ones((8, 8)), -np.eye(8), np.diag([1.0] * 4 + [-1] * 4)):
        rep = sslcore.pretrain(x, kernel, 3, reg=1e-2, positives=Operator(matrix), center=center)
        mu, _ = naive.pretrain_paired(kernel(x, x), matrix, np.full(8, 1 / 8), reg=1e-2, beta=1.0, center=center)
        assert_close(rep.eigenvalues, mu[:3], tol=1e-8)


@pytest.mark.parametrize(
    ("law", "kernel"),
    [
        (TimeLag(1), Exponential(1.0)),
        (Neighbors(8), Exponential(1.0)),
        (TimeLag(3), Function(Gaussian(1.0))),
        (Neighbors(8), Nystrom(Gaussian(1.0), 100)),
        (TimeLag(7), Identity()),
    ],
    ids=["edges", "triangle", "checked", "gathered features", "features in time"],
)
def test_the_planned_memory_is_kept(law, kernel):
    """Of fits, paths and searches: at most as planned, and not far below."""
    x = points(500, d=3) if not isinstance(kernel, Identity) else points(4000, d=60)

    def planned(**numbers):
        objective = Objective(4, 1e-2, 1.0, True, False)
        data = as_paired_data(x, law, None, None, objective)
        return pose(kernel, data, objective, sslcore.backends.get_backend(x), 10**12, **numbers).plan.bytes

    fit, path = planned(), planned(n_points=4)
    assert 0.3 * fit < traced_peak(lambda: sslcore.pretrain(x, kernel, 4, reg=1e-2, positives=law)) <= 1.05 * fit
    regs = [1e-3, 1e-2, 1e-1]
    peak = traced_peak(lambda: sslcore.pretrain_path(x, kernel, 4, regs=regs, positives=law))
    assert 0.3 * path < peak <= 1.05 * path
    search = sslcore.selection.AutoReg(regs=(1e-2, 1e-1), n_folds=3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SelectionWarning)
        room = planned(n_folds=3)  # with more of it all folds are kept
        peak = traced_peak(lambda: sslcore.pretrain(x, kernel, 4, reg=search, positives=law, memory=room))
    assert peak <= 1.05 * room
    with pytest.raises(MemoryBudgetError, match="use fewer"):
        sslcore.pretrain(x, kernel, 4, reg=1e-2, positives=law, memory=fit - 1)


def test_features_of_large_classes_are_planned():
    """Rotations of many views, m^2 numbers a class, are most of the memory."""
    x, y, objective = points(2048, d=8), np.repeat(np.arange(8), 256), Objective(4, 1e-2, 1.0, True, False)
    data = as_paired_data(x, Labels(y), None, None, objective)
    assert data.law is None  # pairs are not listed
    planned = pose(Identity(), data, objective, sslcore.backends.get_backend(x), 10**12).plan.bytes
    peak = traced_peak(lambda: sslcore.pretrain(x, Identity(), 4, reg=1e-2, positives=Labels(y)))
    assert 0.5 * planned < peak <= 1.05 * planned


@pytest.mark.filterwarnings("ignore::sslcore.errors.SelectionWarning")
def test_functions_of_each_fold_are_planned():
    """With many components and values of reg they are more than matrices."""
    x, law, k = points(250), TimeLag(1), 40
    objective = Objective(k, 1e-2, 1.0, True, False)
    data = as_paired_data(x, law, None, None, objective)
    room = pose(Exponential(1.0), data, objective, sslcore.backends.get_backend(x), 10**12, n_folds=5).plan.bytes
    search = sslcore.selection.AutoReg(regs=tuple(np.logspace(-4, -2, 16)), n_folds=5)
    peak = traced_peak(lambda: sslcore.pretrain(x, Exponential(1.0), k, reg=search, positives=law, memory=room))
    assert 0.3 * room < peak <= room


@pytest.mark.parametrize("law", [1.0 * Labels([0] * 500), Operator(np.eye(500) + 0.1)], ids=["edges", "matrix"])
def test_the_planned_memory_of_large_laws_is_kept(law):
    """With the law itself, and with its graph, of which the parts are told."""
    x, objective = points(500, d=3), Objective(4, 1e-2, 1.0, True, False)
    for _ in range(2):  # the first compiles
        tracemalloc.start()
        try:
            data = as_paired_data(x, law, None, None, objective)
            tracemalloc.reset_peak()
            problem = pose(Exponential(1.0), data, objective, sslcore.backends.get_backend(x), 10**12)
            rep = problem.represent(objective, problem.at(objective))
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert "1 part" in rep.positives
    assert 0.5 * problem.plan.bytes < peak <= 1.02 * problem.plan.bytes


@pytest.mark.parametrize(
    "law", [TimeLag(2), Pairs([0, 1], [2, 3]), Labels(np.arange(60) % 3), Groups(np.arange(60) % 20), Neighbors(3)]
)
@pytest.mark.parametrize("model", [Exponential(1.0), Identity()], ids=["kernel", "features"])
def test_a_plan_is_that_of_the_fit(law, model):
    x = points(60)
    given = law.law(x) if isinstance(law, Neighbors) else law
    planned = sslcore.plan(60, 1, 2, model, 2, positives=given)
    objective = Objective(2, 1e-2, 1.0, True, False)
    data = as_paired_data(x, law, None, None, objective)
    posed = pose(model, data, objective, sslcore.backends.get_backend(x), 10**12).plan
    assert (planned.bytes, planned.algorithm) == (posed.bytes, posed.algorithm)


@pytest.mark.parametrize(
    ("n_views", "law", "error", "message"),
    [
        (1, Neighbors(3), ValueError, "depend on the points"),
        (1, 0.5 * TimeLag(1) + Neighbors(3), ValueError, "depend on the points"),
        (2, TimeLag(1), ValueError, "n_views must be 1"),
        (1, TimeLag(60), ValueError, "lag"),
        (1, "timelag", TypeError, "must be a law"),
        (1, TimeLag(1).law(np.zeros((50, 1))), ValueError, "n = 60 points, found one on 50"),
    ],
)
def test_what_has_no_plan(n_views, law, error, message):
    with pytest.raises(error, match=message):
        sslcore.plan(60, n_views, 2, Exponential(1.0), 2, positives=law)


def test_a_triangle_of_nothing_is_an_error():
    none = np.zeros(0, int)
    law = Law(np.full(3, 1 / 3), none, none, np.zeros(0), np.diag([1.0, 1.0, np.nan]))
    with pytest.raises(ValueError, match="T overflows or has NaN"):
        edges._triangle(law, False, sslcore.backends.get_backend(law.measure))


@pytest.mark.parametrize("center", [False, True])
def test_the_shift_of_a_triangle_is_accounted_for(monkeypatch, center):
    """However large it is: the vectors are the same, and the eigenvalues are brought back."""
    x, found = points(30), []
    for slack in (edges._SLACK, 1e10):
        monkeypatch.setattr(edges, "_SLACK", slack)
        found.append(sslcore.pretrain(x, Exponential(1.0), 3, reg=1e-2, positives=Neighbors(5), center=center))
    assert found[1].tau > 1 + 1e-6
    assert_close(found[0].gamma, found[1].gamma, tol=1e-9)
    assert_close(found[0].invariance, found[1].invariance, tol=1e-8)


def test_laws_within_parts():
    law = (TimeLag(1) + Groups([0, 1, 2, 3, 4, 5])).law(np.zeros((6, 1)))
    some = law.within(np.array([0, 0, 0, 1, 1, -1]))
    assert isinstance(some, Law)
    assert [*zip(some.first, some.second, strict=True)] == [(0, 1), (1, 2), (3, 4)]
    assert some.in_time
    assert_close(some.total / law.total, 0.5 * 3 / 5 + 0.5 * 5 / 6, tol=1e-12)
    assert some.measure[5] == 0
    assert (some.itself > 0).tolist() == [True] * 5 + [False]
    with pytest.raises(ValueError, match="no pair of the law"):
        TimeLag(1).law(np.zeros((4, 1))).within(np.array([0, 1, 0, 1]))
