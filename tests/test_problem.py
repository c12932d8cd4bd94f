"""Each solver against the contract `sslcore.fitting.problem.Problem`: what a fit, a path and a search ask of it."""

import dataclasses
import importlib
import inspect
import math
import pkgutil

import numpy as np
import pytest

from sslcore import MemoryBudgetError, fitting, pretrain
from sslcore.backends import device_of
from sslcore.features import Nystrom
from sslcore.fitting.data import as_data, as_paired_data
from sslcore.fitting.matrix_free import MatrixFreeProblem
from sslcore.fitting.modalities import FeaturePairProblem, KernelPairProblem, MatrixFreePairProblem
from sslcore.fitting.paired import PairedProblem
from sslcore.fitting.pairs import as_training_data
from sslcore.fitting.posing import pose
from sslcore.fitting.problem import FeatureProblem, KernelProblem, Problem
from sslcore.fitting.search import AutoReg, law_folds, make_folds
from sslcore.kernels import Gaussian, Precomputed
from sslcore.positives import TimeLag
from sslcore.solvers.objective import Objective

from .comparators import assert_close, assert_same_subspace
from .test_features import noisy
from .test_selection import quietly

MODELS = {
    KernelProblem: Gaussian(1.0),
    MatrixFreeProblem: Gaussian(1.0),
    FeatureProblem: Nystrom(Gaussian(1.0), 12),
    PairedProblem: Gaussian(1.0),
    KernelPairProblem: (Gaussian(1.0), Gaussian(2.0)),
    MatrixFreePairProblem: (Gaussian(1.0), Gaussian(2.0)),
    FeaturePairProblem: (Nystrom(Gaussian(1.0), 6), Nystrom(Gaussian(2.0), 6)),
}
BIMODAL = (KernelPairProblem, MatrixFreePairProblem, FeaturePairProblem)
OBJECTIVE = Objective(3, 1e-2, 1.0, True, False)
VIEWS = noisy(25, 2, 3)
POINTS, LAW = VIEWS.reshape(50, 3), TimeLag(1)


@pytest.fixture(params=MODELS, ids=lambda solver: solver.__name__)
def solver(request):
    return request.param


@pytest.fixture
def posed(solver, backend):
    """A function that poses the solver's problem on the views."""

    def make(objective=OBJECTIVE, budget=10**9, **numbers):
        if solver in (KernelProblem, KernelPairProblem):
            numbers["solver"] = "dense"
        if solver in (MatrixFreeProblem, MatrixFreePairProblem):
            numbers["solver"] = "matrix-free"
        if solver is PairedProblem:
            data = as_paired_data(backend.asarray(POINTS), LAW, None, None, OBJECTIVE)
        elif solver in BIMODAL:
            members = tuple(backend.asarray(VIEWS[:, i]) for i in range(2))
            data = as_training_data(members, MODELS[solver], None, None, None, objective)
        else:
            data = as_data(backend.asarray(VIEWS), None, None, single_views=objective.beta == 0)
        return pose(MODELS[solver], data, objective, backend.primitives, budget, **numbers)

    return make


def test_every_solver_is_held():
    for module in pkgutil.iter_modules(fitting.__path__, f"{fitting.__name__}."):
        importlib.import_module(module.name)  # a solver that nothing chooses yet is one too

    def leaves(cls):  # of the room: that of a cluster, which other tests may have imported, has tests of its own
        below = [c for c in cls.__subclasses__() if c.__module__.startswith(fitting.__name__)]
        return {cls} if not below else set().union(*map(leaves, below))

    assert leaves(Problem) == set(MODELS)
    assert not any(map(inspect.isabstract, MODELS))


def test_it_is_chosen_and_keeps_the_budget(solver, posed):
    problem = posed()
    assert type(problem) is solver
    assert problem.plan.bytes > 0
    with pytest.raises(MemoryBudgetError):
        posed(budget=problem.plan.bytes - 1)
    for numbers in ({"n_points": 9}, {"n_folds": 5}):
        assert posed(**numbers).plan.bytes >= problem.plan.bytes


def test_what_it_finds_is_represented_where_the_data_lie(solver, posed, backend):
    problem = posed()
    solution = problem.at(OBJECTIVE)
    rep = problem.represent(OBJECTIVE, solution)
    if solver is PairedProblem:
        direct = pretrain(backend.asarray(POINTS), MODELS[solver], 3, reg=1e-2, positives=LAW)
    elif solver in BIMODAL:
        direct = pretrain(problem.data.views, MODELS[solver], 3, reg=1e-2)
    else:
        direct = pretrain(backend.asarray(VIEWS), MODELS[solver], 3, reg=1e-2)
    assert_close(rep.gamma, direct.gamma, tol=1e-12)
    assert rep.certificate.bytes >= problem.plan.bytes > 0
    assert solution.values is None or solution.values.shape == (50, 3)
    sides = (rep.first, rep.second) if solver in BIMODAL else (rep,)
    views = problem.data.views if solver in BIMODAL else (problem.data.views,)
    for side, seen in zip(sides, views, strict=True):
        assert device_of(side.coefficients) == device_of(side.embedding) == backend.primitives.NAME
        assert_close(backend.asnumpy(side.embedding), backend.asnumpy(side(seen)), tol=1e-8)


def test_frames_have_the_inner_products_of_functions(posed):
    """A frame is orthonormal with itself, and its span is near that of a neighbour."""
    problem = posed(n_points=4)
    solutions = [problem.at(dataclasses.replace(OBJECTIVE, reg=reg)) for reg in (1e-2, 1.1e-2, 1.0)]
    frames = [problem.frame(solution) for solution in solutions]
    assert_close(problem.overlap(frames[0], frames[0]), np.eye(3), tol=1e-8)
    assert problem.distance(frames[0], frames[0]) == 0
    assert problem.distance(frames[0], frames[1]) < problem.distance(frames[0], frames[2])
    again = problem.at(OBJECTIVE, near=frames[1].left)
    assert_close(again.spectrum.gamma, solutions[0].spectrum.gamma, tol=1e-8)
    assert again.spectrum.certificate.iterations <= solutions[0].spectrum.certificate.iterations


@pytest.mark.parametrize("model", [Gaussian(1.0), Nystrom(Gaussian(1.0), POINTS[:12])], ids=["kernel", "features"])
def test_training_parts_of_pairs_do_not_see_what_they_hold_out(backend, model):
    """The spectra are those of fits to the pairs within the training parts alone."""
    data = as_paired_data(backend.asarray(POINTS), LAW, None, None, OBJECTIVE)
    problem = pose(model, data, OBJECTIVE, backend.primitives, 10**9, n_folds=2)
    folds = law_folds(data.law, AutoReg(n_folds=2))
    parts = problem.restrict(folds)
    assert 0 < parts.trace < math.inf
    regs = np.array([1e-1, 1e-2])
    found = parts.risks(regs)
    for f in range(2):
        inside = np.flatnonzero(folds.part != f)
        for i, reg in enumerate(regs):
            rep = pretrain(POINTS[inside], model, 3, reg=float(reg), positives=LAW)
            mu = np.clip(rep.eigenvalues, 0.0, None)
            assert_close(found[i, f, 2], 2 * mu @ rep.invariance + ((mu - 1) ** 2).sum(), tol=1e-7)
    assert_close(
        problem.at(OBJECTIVE).spectrum.gamma, pretrain(POINTS, model, 3, reg=1e-2, positives=LAW).gamma, tol=1e-9
    )


@pytest.mark.parametrize("solver", [KernelProblem], indirect=True)
@pytest.mark.parametrize("center", [False, True])
@pytest.mark.parametrize("what", ["views", "groups and weights", "given"])
def test_a_search_knows_functions_near_the_solution(solver, what, center, backend):
    """They are those of the first training part, at all views, in the rotated basis."""
    objective = dataclasses.replace(OBJECTIVE, center=center)
    rng, options = np.random.default_rng(0), {}
    views, kernel = VIEWS.reshape(50, 3), Gaussian(1.0)
    if what == "groups and weights":
        options = {"groups": rng.permutation(np.repeat(np.arange(20), [2, 3] * 10)), "weight": rng.uniform(0.5, 2, 50)}
    groups = options.get("groups", np.repeat(np.arange(25), 2))
    matrix, given = kernel(views, views), what == "given"
    data = as_data(backend.asarray(matrix if given else views), groups, options.get("weight"), single_views=False)
    problem = pose(Precomputed() if given else kernel, data, objective, backend.primitives, 10**9, n_folds=2)
    folds = make_folds(data.sizes, AutoReg(n_folds=2), False)
    parts = problem.restrict(folds)
    assert parts.near(1e-2) is None  # nothing was solved so far
    parts.risks(np.array([1e-1, 1e-2]))
    near = backend.asnumpy(parts.near(1.01e-2))
    n, samples = data.n, data.samples(backend.primitives)
    v = samples.rotate_back(backend.asarray(near[:n]), backend.asarray(near[n:]))
    values = backend.asnumpy(samples.restore_order(v / backend.primitives.xp.sqrt(samples.weight)[:, None]))[:, :3]
    training = folds.part[data.sample_of_each_view] != 0
    weight = None if not options else options["weight"][training]
    alone = pretrain(views[training], kernel, 3, reg=1e-2, center=center, groups=groups[training], sample_weight=weight)
    expected = np.asarray(alone.transform(views, scale="unit"))
    if center:  # up to constants, which the iteration takes away
        values, expected = (np.c_[z, np.ones(50)] for z in (values, expected))
    assert_same_subspace(values, expected, tol=1e-5)
    if given:
        return
    search = AutoReg(regs=(1e-1, 1e-2), n_folds=2)
    options = {"groups": groups, "sample_weight": options.get("weight"), "center": center}
    found = quietly(backend.asarray(views), kernel, 3, reg=search, **options)
    again = pretrain(views, kernel, 3, reg=found.reg, **options)
    assert found.certificate.iterations <= again.certificate.iterations - (not center)
    assert_close(found.gamma, again.gamma, tol=1e-9)


@pytest.mark.parametrize("solver", [KernelProblem, MatrixFreeProblem, FeatureProblem], indirect=True)
@pytest.mark.parametrize("beta", [0.0, 1.0])
def test_training_parts_do_not_see_what_they_hold_out(posed, solver, beta):
    """The spectra are those of fits to the training views alone, and so are the risks that come of them."""
    objective = dataclasses.replace(OBJECTIVE, beta=beta)
    problem = posed(objective, n_folds=2)
    folds = make_folds(problem.data.sizes, AutoReg(n_folds=2), beta == 0)
    parts = problem.restrict(folds)
    assert 0 < parts.trace < math.inf
    regs = np.array([1e-1, 1e-2])
    found = parts.risks(regs)
    assert found.shape == (2, 2, 3)
    for f in range(2):
        model = MODELS[solver] if solver is not FeatureProblem else MODELS[solver].fit(VIEWS)
        for i, reg in enumerate(regs):
            rep = pretrain(VIEWS[folds.part != f], model, 3, reg=float(reg), beta=beta)
            mu = np.clip(rep.eigenvalues, 0.0, None)
            trained = 2 * beta * mu @ rep.invariance + ((mu - 1) ** 2).sum()
            assert_close(found[i, f, 2], trained, tol=1e-7)
    # a problem that has been searched is still that of all views
    assert_close(problem.at(objective).spectrum.gamma, posed(objective).at(objective).spectrum.gamma, tol=1e-10)
