"""Leave-one-out residuals where points matter very unequally: against refits at 60 digits."""

from decimal import Decimal, localcontext
from operator import mul

import numpy as np
import pytest
import scipy.linalg
from hypothesis import given
from hypothesis import strategies as st

from sslcore.probing import ridge_probe
from sslcore.probing._leave_one_out import TRUSTED, GradedRidge, RidgePath

from . import naive
from .comparators import assert_close

mpmath = pytest.importorskip("mpmath")


def solved(system):
    """The solutions of a positive definite system, whose rows end with the right hand sides, by elimination."""
    size = len(system)
    for c in range(size):
        pivot = [value / system[c][c] for value in system[c]]
        system = [
            pivot if r == c else [value - row[c] * by for value, by in zip(row, pivot, strict=True)]
            for r, row in enumerate(system)
        ]
    return [row[size:] for row in system]


def refits(z, y, penalty, fit_intercept):
    """The prediction at each point of the ridge fitted on the others, by normal equations at 60 digits."""
    n, k = z.shape
    out = np.empty_like(y)
    with localcontext(prec=int(60 + 2 * round(np.log10(np.abs(z).max() + 1)))):
        rows = [[*map(Decimal, row), *([Decimal(1)] * fit_intercept)] for row in z.tolist()]
        full = [[*row, *map(Decimal, of_row)] for row, of_row in zip(rows, y.tolist(), strict=True)]
        for i in range(n):
            others = list(zip(*(row for j, row in enumerate(full) if j != i), strict=True))
            system = [[sum(map(mul, a, b)) for b in others] for a in others[: len(rows[i])]]
            for c in range(k):
                system[c][c] += Decimal(float(penalty))
            weights = zip(*solved(system), strict=True)
            out[i] = [float(sum(map(mul, rows[i], w))) for w in weights]
    return out


def error(z, y, reg, fit_intercept):
    """The largest relative error of the residuals."""
    exact = refits(z, y, len(z) * reg, fit_intercept)
    found = ridge_probe(z, y, reg, fit_intercept).loo_decisions
    return np.max(np.abs(found - exact) / np.maximum(np.abs(exact - y), 1e-3 * np.abs(y)))


def outlier(z, scale, rng):
    z[0] *= scale


def three_outliers(z, scale, rng):
    z[:3] *= scale


def two_sizes_of_outliers(z, scale, rng):
    z[0] *= scale
    z[3] *= scale**0.5


def rows_of_all_sizes(z, scale, rng):
    z *= scale ** np.linspace(0, 0.5, len(z))[:, None]


def rare_category(z, scale, rng):
    z[:, 0] = 0
    z[2, 0] = scale


def two_rare_categories(z, scale, rng):
    z[:, :2] = 0
    z[2, 0], z[5, 1] = scale, 1.0


def column(z, scale, rng):
    z[:, 0] *= scale


def column_and_outlier(z, scale, rng):
    z[:, 0] *= scale
    z[0] *= scale


CASES = [
    outlier,
    three_outliers,
    two_sizes_of_outliers,
    rows_of_all_sizes,
    rare_category,
    two_rare_categories,
    column,
    column_and_outlier,
]


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize(("n", "k"), [(9, 3), (6, 9), (8, 7)])
@pytest.mark.parametrize("case", CASES)
def test_very_unequal_points(case, n, k, fit_intercept):
    for scale in (1e2, 1e7, 1e12):
        rng = np.random.default_rng([n, k, int(np.log10(scale))])
        z, y = rng.normal(size=(n, k)), rng.normal(size=(n, 1))
        case(z, scale, rng)
        for reg in (1e-8, 1e-2):
            assert error(z, y, reg, fit_intercept) < 1e-8


@pytest.mark.parametrize("scale", [1e4, 1e8])
def test_where_the_entries_do_not_say_more(scale):
    """Parallel outliers, clusters, rotated rare categories: rounding z alone changes the residuals by as much."""
    rng = np.random.default_rng(0)
    for case in ("pair", "clusters", "rotated"):
        z, y = rng.normal(size=(9, 4)), rng.normal(size=(9, 1))
        if case == "pair":
            z[0] *= scale
            z[1] = 1.001 * z[0]
        elif case == "clusters":
            z[5:] += scale
        else:
            z[:, 0] = 0
            z[2, 0] = scale
            z = z @ np.linalg.qr(rng.normal(size=(4, 4)))[0]
        for reg in (1e-6, 1.0):
            exact = refits(z, y, 9 * reg, True)
            moved = [refits(z * (1 + 1.1e-16 * rng.choice([-1, 1], z.shape)), y, 9 * reg, True) for _ in range(3)]
            unavoidable = max(np.abs(m - exact).max() for m in moved)
            assert (
                np.abs(ridge_probe(z, y, reg).loo_decisions - exact).max()
                < 100 * unavoidable + 1e-9 * np.abs(exact).max()
            )


@given(
    seed=st.integers(0, 10**6),
    shape=st.sampled_from([(5, 2), (7, 3), (4, 6), (6, 5)]),
    rows=st.lists(st.integers(0, 6), min_size=7, max_size=7),
    log_reg=st.integers(-8, 1),
    fit_intercept=st.booleans(),
)
def test_rows_of_any_size_property(seed, shape, rows, log_reg, fit_intercept):
    n, k = shape
    rng = np.random.default_rng(seed)
    z, y = rng.normal(size=(n, k)) * 10.0 ** np.array(rows[:n])[:, None], rng.normal(size=(n, 1))
    exact = refits(z, y, n * 10.0**log_reg, fit_intercept)
    moved = [
        refits(z * (1 + 1.1e-16 * rng.choice([-1, 1], z.shape)), y, n * 10.0**log_reg, fit_intercept) for _ in range(3)
    ]
    unavoidable = max(np.max(np.abs(m - exact) / np.maximum(np.abs(exact - y), 1e-3)) for m in moved)
    found = ridge_probe(z, y, 10.0**log_reg, fit_intercept).loo_decisions
    assert np.max(np.abs(found - exact) / np.maximum(np.abs(exact - y), 1e-3)) < 1e3 * unavoidable + 1e-8


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_both_backends_paths_and_classes(dtype, backend):
    """A path in which some penalties are solved by themselves is its points; both backends find the same."""
    rng = np.random.default_rng(0)
    z = rng.normal(size=(30, 4)).astype(dtype)
    z[0] *= 1e5
    z[:, 3] = 0
    z[7, 3] = 1
    regs = np.logspace(-9, 3, 7)
    for y in (rng.normal(size=(30, 2)), rng.integers(3, size=30)):
        probe = ridge_probe(backend.asarray(z), backend.asarray(y), regs)
        target = y if y.ndim == 2 else np.eye(3)[y]
        exact = refits(z.astype(float), target, 30 * probe.reg, True)
        assert_close(
            backend.asnumpy(probe.loo_decisions), exact, tol=1e-9 if dtype == np.float64 else 1e-6, dtype=dtype
        )
        squares = [np.mean((refits(z.astype(float), target, 30 * reg, True) - target) ** 2) for reg in regs]
        np.testing.assert_allclose(probe.loo_squared_errors, squares, rtol=1e-8)


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize(("n", "k"), [(40, 5), (9, 9), (7, 20), (12, 11)])
def test_the_two_ways_agree(n, k, fit_intercept):
    """Where points are alike one decomposition serves, and each penalty by itself gives the same."""
    rng = np.random.default_rng(0)
    z, y = rng.normal(size=(n, k)), rng.normal(size=(n, 3))
    path, graded = RidgePath(z, y, fit_intercept), GradedRidge(z, y, fit_intercept)
    for root in (0.5, 3.0, 100.0):
        fit = graded.fit(root)
        assert path._condition(path._root(root)) < TRUSTED
        assert_close(path.leave_one_out(root) * 2.0**path.y_exponents, fit.residuals, tol=1e-10)
        coef, intercept = path.solution(root)
        assert_close(fit.coef, coef, tol=1e-11, scale=1.0)
        assert_close(fit.intercept, intercept, tol=1e-11, scale=1.0)
        expected = naive.ridge(z, y, root**2, fit_intercept)
        assert_close(fit.coef, expected[0], tol=1e-10, scale=1.0)


def test_the_coefficients_are_those_of_the_penalty_that_is_solved_by_itself():
    rng = np.random.default_rng(1)
    z, y = rng.normal(size=(12, 3)), rng.normal(size=(12, 1))
    z[0] *= 1e9
    probe = ridge_probe(z, y, 1e-6)
    with mpmath.workdps(60):
        x = mpmath.matrix([[*row, 1.0] for row in z.tolist()])
        system = x.T * x
        for c in range(3):
            system[c, c] += mpmath.mpf(12e-6)
        w = mpmath.lu_solve(system, x.T * mpmath.matrix(y[:, 0].tolist()))
    np.testing.assert_allclose(probe.coef[:, 0], [float(v) for v in w][:3], rtol=1e-9)
    np.testing.assert_allclose(probe.intercept, [float(w[3])], rtol=1e-9)


# ---------------------------------------------------------------- no penalty


def least_norm(z, y, fit_intercept):
    """Weights and intercept of least squares, and of all solutions those of least norm."""
    mean, y_mean = (z.mean(axis=0), y.mean(axis=0)) if fit_intercept else (np.zeros(z.shape[1]), np.zeros(y.shape[1]))
    coef = np.linalg.pinv(z - mean, rcond=1e-12) @ (y - y_mean)
    return coef, y_mean - mean @ coef


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("kind", ["tall", "square", "wide", "dependent", "rare", "constant"])
def test_no_penalty_is_least_squares_of_least_norm(kind, fit_intercept, backend):
    rng = np.random.default_rng(0)
    z = rng.normal(size={"square": (7, 7), "wide": (6, 10)}.get(kind, (12, 4)))
    y = rng.normal(size=(len(z), 2))
    if kind == "dependent":
        z[:, 3] = z[:, 0] - z[:, 1]
    if kind == "rare":
        z[:, 0] = 0
        z[5, 0] = 3.0
    if kind == "constant":
        z[:, 0] = 0.1
    probe = ridge_probe(backend.asarray(z), backend.asarray(y), 0.0, fit_intercept)
    coef, intercept = least_norm(z, y, fit_intercept)
    assert_close(backend.asnumpy(probe.coef), coef, tol=1e-10, scale=1.0)
    assert_close(backend.asnumpy(probe.intercept), intercept, tol=1e-10, scale=1.0)
    left_out = np.empty_like(y)
    for i in range(len(z)):
        w, b = least_norm(np.delete(z, i, 0), np.delete(y, i, 0), fit_intercept)
        left_out[i] = z[i] @ w + b
    assert_close(backend.asnumpy(probe.loo_decisions), left_out, tol=1e-8, scale=np.abs(left_out).max())


def test_no_penalty_among_others():
    rng = np.random.default_rng(0)
    z = rng.normal(size=(30, 3))
    y = z @ [1.0, -2.0, 0.5] + 1e-6 * rng.normal(size=30)
    assert ridge_probe(z, y, [1.0, 0.0, 1e-2]).reg == 0.0


def test_wide_points_take_two_decompositions_a_penalty(monkeypatch):
    """One for the weights, one for the points without themselves: each costs a second at 1,000 points."""
    rng = np.random.default_rng(5)
    graded = GradedRidge(rng.standard_normal((20, 30)), rng.standard_normal((20, 2)), True)
    count, original = [], scipy.linalg.qr
    monkeypatch.setattr(scipy.linalg, "qr", lambda *args, **kwargs: count.append(1) or original(*args, **kwargs))
    assert np.isfinite(graded.fit(1e-8).residuals).all()
    assert len(count) == 2


@pytest.mark.parametrize("n", [40, 6])
def test_penalties_together_and_one_by_one(n, monkeypatch):
    """More penalties than columns: complements are made of several at a time, once for each."""
    rng = np.random.default_rng(6)
    z, y = rng.standard_normal((n, 5)), rng.standard_normal((n, 2))
    roots = np.logspace(-3, 2, 13)
    together, shrunk = RidgePath(z, y, True), []
    original = RidgePath._shrinkage
    monkeypatch.setattr(RidgePath, "_shrinkage", lambda path, root: shrunk.append(root) or original(path, root))
    together.prepare(roots)
    assert len(shrunk) == len(roots)
    monkeypatch.undo()
    for root in roots:
        alone = RidgePath(z, y, True)
        assert_close(together.leave_one_out(root), alone.leave_one_out(root), tol=1e-13, scale=10.0)
