"""Ridge probe: against its normal equations, refits without each sample, and scikit-learn."""

import dataclasses
import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sslcore.probing import ridge_probe

from . import naive
from .comparators import assert_close
from .strategies import LAYOUTS, arrays, with_layout


def problem(n, k, t=2, seed=0, dtype=np.float64):
    rng = np.random.default_rng(seed)
    z = rng.standard_normal((n, k)) * np.linspace(0.1, 2.0, k) + 0.5
    y = z @ rng.standard_normal((k, t)) + 0.3 * rng.standard_normal((n, t)) + [1.0, -2.0][:t]
    return z.astype(dtype), y


# more samples than components (through QR), about as many, fewer
SHAPES = [(30, 4), (2, 1), (9, 8), (8, 8), (6, 15), (12, 1)]


@pytest.mark.parametrize(("n", "k"), SHAPES)
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("reg", [1e-3, 1.0, 50.0])
def test_regression(backend, n, k, fit_intercept, reg):
    z, y = problem(n, k)
    probe = ridge_probe(backend.asarray(z), backend.asarray(y), reg, fit_intercept)
    weights, intercept = naive.ridge(z, y, n * reg, fit_intercept)
    assert_close(backend.asnumpy(probe.coef), weights, tol=1e-10)
    assert_close(backend.asnumpy(probe.intercept), intercept, tol=1e-10, scale=np.abs(y).max())
    left_out = naive.leave_one_out(z, y, n * reg, fit_intercept)
    assert_close(backend.asnumpy(probe.loo_decisions), left_out, tol=1e-9)
    assert_close(probe.loo_errors, [np.mean((left_out - y) ** 2)], tol=1e-9)
    assert probe.reg == reg
    fresh = problem(5, k, seed=9)[0]
    predicted = backend.asnumpy(probe.predict(backend.asarray(fresh)))
    assert_close(predicted, fresh @ weights + intercept, tol=1e-9)


@given(
    z=arrays(st.tuples(st.integers(2, 12), st.integers(1, 12)), dtype=np.dtype(np.float64)),
    seed=st.integers(0, 99),
    fit_intercept=st.booleans(),
    log_reg=st.floats(-3, 3),
)
def test_leave_one_out_property(backend, z, seed, fit_intercept, log_reg):
    y = np.random.default_rng(seed).standard_normal((len(z), 1))
    probe = ridge_probe(backend.asarray(z), backend.asarray(y), 10**log_reg, fit_intercept)
    left_out = naive.leave_one_out(z, y, len(z) * 10**log_reg, fit_intercept)
    assert_close(backend.asnumpy(probe.loo_decisions), left_out, tol=1e-8, scale=max(1.0, np.abs(left_out).max()))


@pytest.mark.parametrize("fit_intercept", [True, False])
def test_against_scikit_learn(fit_intercept):
    linear_model = pytest.importorskip("sklearn.linear_model")
    z, y = problem(40, 6)
    ours = ridge_probe(z, y[:, 0], 0.1, fit_intercept)
    theirs = linear_model.Ridge(alpha=40 * 0.1, fit_intercept=fit_intercept, solver="svd").fit(z, y[:, 0])
    assert_close(ours.predict(z), theirs.predict(z))
    assert_close(ours.score(z, y[:, 0]), theirs.score(z, y[:, 0]))
    regs = np.logspace(-4, 1, 9)
    both = ridge_probe(z, y, regs, fit_intercept)
    assert_close(
        both.score(z, y), linear_model.Ridge(alpha=40 * both.reg, fit_intercept=fit_intercept).fit(z, y).score(z, y)
    )
    chosen = linear_model.RidgeCV(alphas=40 * regs, fit_intercept=fit_intercept).fit(z, y[:, 0])
    assert_close(ridge_probe(z, y[:, 0], regs, fit_intercept).reg * 40, float(chosen.alpha_))


def test_a_path_is_its_points():
    z, y = problem(20, 5)
    regs = [1.0, 1e-4, 1e-2, 1e3]
    path = ridge_probe(z, y, regs)
    points = [ridge_probe(z, y, reg) for reg in regs]
    assert_close(path.regs, np.array(regs))
    assert_close(path.loo_errors, np.concatenate([p.loo_errors for p in points]))
    best = points[int(np.argmin(path.loo_errors))]
    assert path.reg == best.reg
    assert_close(path.coef, best.coef)
    assert_close(path.loo_decisions, best.loo_decisions)


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize(("n", "k"), [(4, 3), (12, 30), (45, 5), (400, 5)])
def test_default_penalties(backend, n, k, fit_intercept):
    """In units of the points' spread, and small ones only where labels are many beside the degrees of freedom."""
    z, y = problem(n, k)
    z = z * 10.0 ** -np.arange(k) + 3.0 * (not fit_intercept)
    expected = naive.probe_penalties(z, fit_intercept)
    probe = ridge_probe(backend.asarray(z), backend.asarray(y), fit_intercept=fit_intercept)
    assert_close(probe.regs, expected, tol=5e-3)
    assert probe.regs.tolist() == [float(f"{reg:.3g}") for reg in probe.regs]
    given = ridge_probe(z, y, probe.regs, fit_intercept)
    assert probe.reg == given.reg
    assert_close(backend.asnumpy(probe.coef), given.coef, tol=1e-9)
    moved = ridge_probe(1e-3 * z, y, fit_intercept=fit_intercept)
    assert_close(moved.regs, 1e-6 * probe.regs, tol=5e-3)
    assert len(probe.regs) in {4: (9,), 12: (9, 10), 45: range(10, 19), 400: (19,)}[n]


def test_default_penalties_of_points_that_are_equal():
    for points in (np.ones((5, 2)), np.zeros((5, 2))):
        probe = ridge_probe(points, [0, 1, 1, 0, 1])
        assert (probe.regs > 0).all()
        assert (probe.coef == 0).all()
        assert_close(probe.intercept, [0.4, 0.6])


def test_default_penalties_do_not_interpolate_few_labels():
    """Where 10^-6 has the least leave-one-out error by chance, and predicts worse."""
    rng, y = np.random.default_rng(0), np.arange(510) % 2
    default, small = [], []
    for _ in range(30):
        z = rng.normal(size=(510, 8)) / np.arange(1.0, 9.0)
        z[:, 0] += 2 * (y - 0.5)
        default.append(ridge_probe(z[:10], y[:10]).score(z[10:], y[10:]))
        small.append(ridge_probe(z[:10], y[:10], np.logspace(-8, 2, 21)).score(z[10:], y[10:]))
    assert np.mean(default) > np.mean(small) + 0.02


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize(("each", "classes", "k"), [(1, 5, 20), (2, 3, 4), (2, 4, 30), (5, 2, 3), (20, 3, 6)])
def test_default_penalty_of_classes(backend, each, classes, k, fit_intercept):
    """What errs least, or with one label a class leaves the probe half of its degrees of freedom."""
    chosen = []
    for seed in range(5):
        rng = np.random.default_rng((seed, k))
        y = np.arange(each * classes) % classes
        z = (rng.normal(size=(len(y), k)) + 1.5 * np.eye(classes, k)[y]) / np.arange(1.0, k + 1)
        probe = ridge_probe(backend.asarray(z), y, fit_intercept=fit_intercept)
        assert probe.reg == naive.probe_choice(z, y, probe.regs, fit_intercept)
        assert ridge_probe(1e3 * z, y, fit_intercept=fit_intercept).reg == pytest.approx(1e6 * probe.reg, rel=6e-3)
        chosen.append(probe.reg)
    assert each == 1 or len(set(chosen)) > 1


def test_default_penalty_of_one_label_a_class():
    """On axes a_c all squares are a^2: half of the degrees of freedom are left at n reg = a^2, labels say nothing."""
    a, classes = 3.0, 6
    probe = ridge_probe(a * np.eye(classes), np.arange(classes))
    half = a**2 / classes
    assert (probe.loo_errors == 1).all()
    assert abs(np.log(probe.reg / half)) == min(abs(np.log(probe.regs / half)))


def test_default_penalty_does_not_give_up_a_rare_class():
    """Three of a hundred, far from the others: the errors that they cost decide, however few they can be."""
    found = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        y, far = np.r_[np.zeros(97, int), np.ones(3, int)], np.repeat([[6.0, 0.0]], 200, axis=0)
        z = rng.normal(size=(100, 2)) + 6.0 * y[:, None] * [1.0, 0.0]
        probe = ridge_probe(z, y)
        assert probe.reg == ridge_probe(z, y, probe.regs).reg
        found.append(probe.score(far + rng.normal(size=(200, 2)), np.ones(200, int)))
    assert np.mean(found) > 0.5


def test_default_penalty_of_one_label_a_class_is_not_led_by_lengths():
    """The least squared error takes the largest penalty, under which the class in between wins nowhere."""
    means, y = np.array([[0.0, 0.0], [1.0, 0.5], [4.0, 0.0]]), np.repeat(np.arange(3), 50)
    z = means[y] + 0.15 * np.random.default_rng(0).normal(size=(150, 2))
    probe = ridge_probe(means, np.arange(3))
    largest = ridge_probe(means, np.arange(3), probe.regs)
    assert largest.reg == probe.regs.max()
    assert largest.score(z, y) < 0.7
    assert probe.score(z, y) > 0.9


@pytest.mark.parametrize("labels", [[3, 1, 7], [True, False], ["ant", "bee", "cow"], np.array([2, 0], np.uint8)])
def test_classification(labels):
    rng = np.random.default_rng(0)
    y = np.asarray(labels)[rng.integers(len(labels), size=25)]
    z = rng.standard_normal((25, 4)) + (y == labels[0])[:, None]
    regs = [1e-2, 1.0, 30.0]
    probe = ridge_probe(z, y, regs)
    assert (probe.classes == np.unique(y)).all()
    target = (y[:, None] == probe.classes).astype(float)
    errors, squares = [], []
    for reg in regs:
        left_out = naive.leave_one_out(z, target, 25 * reg, True)
        errors.append(np.mean(probe.classes[left_out.argmax(axis=1)] != y))
        squares.append(np.mean((left_out - target) ** 2))
    assert_close(probe.loo_errors, errors)
    assert_close(probe.loo_squared_errors, squares, tol=1e-10)
    assert probe.reg == min(zip(errors, squares, regs, strict=True))[2]
    assert probe.predict(z).dtype == y.dtype
    assert (probe.predict(z) == probe.classes[probe.decision_function(z).argmax(axis=1)]).all()
    assert probe.score(z, y) == np.mean(probe.predict(z) == y)
    assert probe.score(z, y) > 0.5


def test_classes_are_chosen_by_error_rate_before_squared_error():
    rng = np.random.default_rng(0)
    z, y = rng.standard_normal((8, 2)), rng.integers(2, size=8)
    probe = ridge_probe(z, y, [0.01, 1.0, 10.0])
    assert np.argmin(probe.loo_squared_errors) == 1
    assert probe.loo_errors[0] < probe.loo_errors[1]
    assert probe.reg == 0.01


def test_ties_go_to_the_least_squared_error_then_to_the_first():
    z = np.array([[-2.0], [-1.0], [1.0], [2.0]])
    probe = ridge_probe(z, [0, 0, 1, 1], [0.2, 0.1, 0.1])
    assert (probe.loo_errors == 0).all()
    assert probe.reg == probe.regs[np.argmin(probe.loo_squared_errors)]
    constant = ridge_probe(np.ones((4, 1)), [0.0, 1.0, 2.0, 3.0], [2.0, 1.0])
    assert constant.reg == 2.0


def test_task_decides():
    z = np.arange(6.0)[:, None]
    assert ridge_probe(z, [0, 1, 2, 3, 4, 5], 1e-9, task="regression").predict([[7.0]]) == pytest.approx(7.0)
    labels = np.array([0.0, 0.0, 0.0, 1.0, 1.0, 1.0])
    assert ridge_probe(z, labels, 1e-3).classes is None
    assert (ridge_probe(z, labels, 1e-3, task="classification").predict(z) == labels).all()


# ------------------------------------------------------------------------------ hard spectra and scales


def exact_leave_one_out(z, y, penalty):
    """Refits with intercept at 60 digits, where float64 normal equations have none left."""
    mpmath = pytest.importorskip("mpmath")
    n, k = z.shape
    out = np.empty(n)
    with mpmath.workdps(60):
        for i in range(n):
            keep = [j for j in range(n) if j != i]
            extended = mpmath.matrix([[*map(float, z[j]), 1.0] for j in keep])
            system = extended.T * extended
            for c in range(k):
                system[c, c] += mpmath.mpf(penalty)
            solution = mpmath.lu_solve(system, extended.T * mpmath.matrix([float(y[j]) for j in keep]))
            out[i] = float(sum(solution[c] * float(z[i, c]) for c in range(k)) + solution[k])
    return out


@pytest.mark.parametrize(("n", "k"), [(6, 9), (6, 5), (9, 3)])
@pytest.mark.parametrize("reg", [1e-6, 1e-12, 1e-18])
def test_leave_one_out_where_the_probe_interpolates(n, k, reg):
    """1 - H_ii is far below rounding there: subtracting H from 1 would leave noise."""
    z, y = problem(n, k, t=1)
    probe = ridge_probe(z, y, reg)
    assert_close(probe.loo_decisions[:, 0], exact_leave_one_out(z, y[:, 0], n * reg), tol=1e-9)


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize(("n", "k"), [(20, 5), (7, 9)])
def test_dependent_and_constant_components(n, k, fit_intercept):
    z, y = problem(n, k)
    z[:, 1] = z[:, 0]
    z[:, 2] = 0.1
    probe = ridge_probe(z, y, 1e-3, fit_intercept)
    assert_close(probe.coef, naive.ridge(z, y, n * 1e-3, fit_intercept)[0], tol=1e-9)
    assert_close(probe.loo_decisions, naive.leave_one_out(z, y, n * 1e-3, fit_intercept), tol=1e-9)
    if fit_intercept:
        assert_close(probe.coef[2], np.zeros(2), scale=1.0)


def test_nothing_but_constants():
    for n, value in itertools.product((2, 3, 7, 11, 49), (0.0, 0.1, 1 / 3, 1e10 / 7)):
        y = np.random.default_rng(n).standard_normal(n)
        z = np.full((n, 2), value)
        probe = ridge_probe(z, y, 1e-300)
        assert_close(probe.coef, np.zeros((2, 1)))
        assert_close(probe.predict(z), np.full(n, y.mean()))
        assert_close(probe.loo_decisions[:, 0], (y.sum() - y) / (n - 1))
    assert_close(ridge_probe(np.zeros((3, 2)), y[:3], 1.0, fit_intercept=False).predict(np.ones((2, 2))), np.zeros(2))


def test_a_far_origin_costs_no_digits():
    z, y = problem(30, 4)
    offset = 2.0**30
    z = (z + offset) - offset  # exact after the shift
    probe, moved = ridge_probe(z, y, 1e-2), ridge_probe(z + offset, y, 1e-2)
    assert_close(moved.coef, probe.coef)
    assert_close(moved.loo_decisions, probe.loo_decisions)


@pytest.mark.parametrize("shape", [(20, 4), (5, 9)])
@pytest.mark.parametrize("scale", [1e150, 1e-150])
def test_scales(shape, scale):
    """Scaling z by s and reg by s^2 changes nothing; the penalty can be far out of step with z too."""
    z, y = problem(*shape)
    probe = ridge_probe(z, y, 0.1)
    scaled = ridge_probe(scale * z, y, 0.1 * scale**2)
    assert_close(scaled.loo_decisions, probe.loo_decisions, tol=1e-11)
    assert_close(scaled.coef * scale, probe.coef, tol=1e-11)
    assert np.isfinite(ridge_probe(scale * z, y, 1.0).loo_decisions).all()
    big = ridge_probe(z, scale * y, 0.1)
    assert_close(big.coef / scale, probe.coef, tol=1e-11)
    assert_close(big.score(z, scale * y), probe.score(z, y), tol=1e-11)


def test_a_scale_whose_square_overflows():
    z, y = problem(20, 4)
    probe, limit = ridge_probe(1e160 * z, y, 1.0), ridge_probe(z, y, 1e-300)
    assert_close(probe.coef * 1e160, limit.coef)
    assert_close(probe.loo_decisions, limit.loo_decisions)


def test_overflow_is_an_error():
    z, y = problem(10, 3)
    with pytest.raises(OverflowError, match="rescale"):
        ridge_probe(z, 1e200 * y, 1.0)
    probe = ridge_probe(z, 1e100 * y, 1.0)
    with pytest.raises(OverflowError, match="rescale"):
        probe.predict(1e300 * z)


def test_float32():
    z, y = problem(30, 4, dtype=np.float32)
    probe = ridge_probe(z, y, 1e-2)
    exact = ridge_probe(z.astype(np.float64), y, 1e-2)
    assert_close(probe.predict(z), exact.predict(z.astype(np.float64)), dtype=np.float32)
    assert_close(probe.loo_decisions, exact.loo_decisions, dtype=np.float32)
    assert_close(probe.coef, exact.coef)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", [(20, 4), (5, 9)])
def test_layouts_and_inputs_left_alone(layout, shape):
    z, y = problem(*shape)
    other, target = with_layout(z, layout), with_layout(y, layout)
    probe = ridge_probe(other, target, 0.1)
    assert_close(probe.coef, ridge_probe(z, y, 0.1).coef)
    assert (other == z).all()
    assert (target == y).all()


def test_result_is_frozen_and_keeps_the_shape_of_the_target():
    z, y = problem(10, 3)
    probe = ridge_probe(z, y[:, 0], 1.0)
    assert probe.predict(z).shape == (10,)
    assert ridge_probe(z, y[:, :1], 1.0).predict(z).shape == (10, 1)
    assert probe.coef.shape == (3, 1)
    with pytest.raises(dataclasses.FrozenInstanceError):
        probe.reg = 2.0


def test_score_of_constant_targets():
    z, y = problem(10, 3)
    y[:, 1] = 2.0
    probe = ridge_probe(z, y, 1e-3)
    assert probe.score(z, y) == pytest.approx((ridge_probe(z, y[:, 0], 1e-3).score(z, y[:, 0]) + 1.0) / 2)


# ------------------------------------------------------------------------------ bad input

Z, Y = problem(6, 2)
LABELS = np.array([0, 1, 0, 1, 0, 1])


@pytest.mark.parametrize(
    ("z", "y", "options", "error", "message"),
    [
        (Z, Y[:5], {}, ValueError, "same length, found 6 and 5"),
        (Z, LABELS[:5], {}, ValueError, "same length, found 6 and 5"),
        (Z[:, :, None], Y, {}, ValueError, r"2 dimensions \(n, k\)"),
        (Z[:0], Y[:0], {}, ValueError, "empty"),
        (Z[:1], Y[:1], {}, ValueError, "at least 2 samples"),
        (Z + 1j, Y, {}, TypeError, "real numbers"),
        (Z.astype(object), Y, {}, TypeError, "real numbers"),
        (np.where(Z[3, 1] == Z, np.nan, Z), Y, {}, ValueError, r"z must be finite, found nan at index \(3, 1\)"),
        (Z, np.where(Y[2, 0] == Y, np.inf, Y), {}, ValueError, r"y must be finite, found inf at index \(2, 0\)"),
        (Z, [0.0, 1.0, np.inf, 0.0, 1.0, 1.0], {"task": "classification"}, ValueError, "y must be finite"),
        (Z, [0.0] + 5 * [np.nan], {}, ValueError, "at least 2 points must have a label"),
        (Z, Y[:, :, None], {}, ValueError, r"\(n,\) or \(n, t\)"),
        (Z, Y + 1j, {}, TypeError, "real numbers"),
        (Z, np.stack([LABELS, LABELS], 1), {}, ValueError, "one dimension"),
        (Z, [1j] * 6, {"task": "classification"}, TypeError, "integers, booleans or words"),
        (Z, np.zeros(6, int), {}, ValueError, "at least 2 classes, found only"),
        (Z, Y, {"task": "ranking"}, ValueError, "task must be one of"),
        (Z, Y, {"reg": -1e-300}, ValueError, "reg must be a finite number >= 0"),
        (Z, Y, {"reg": [1.0, -1.0]}, ValueError, "reg must be a finite number >= 0"),
        (Z, Y, {"reg": np.nan}, ValueError, "reg must be a finite number >= 0"),
        (Z, Y, {"reg": True}, TypeError, "reg must be a real number"),
        (Z, Y, {"fit_intercept": 5}, TypeError, "fit_intercept must be True or False, found 5"),
        (Z, Y, {"fit_intercept": "no"}, TypeError, "fit_intercept must be True or False"),
        (Z, Y, {"reg": []}, ValueError, "empty"),
        (Z, Y, {"reg": "1"}, TypeError, "reg must be a real number, a sequence of them or 'auto', found '1'"),
        (1e160 * Z, Y, {"reg": "auto"}, OverflowError, "z is too large or too small for its squares to be numbers"),
        (1e-170 * Z, Y, {"reg": "auto"}, OverflowError, "rescale z, or give reg"),
        (Z, Y, {"reg": [[1.0]]}, TypeError, "reg must be a real number"),
    ],
)
def test_bad_input(z, y, options, error, message):
    with pytest.raises(error, match=message):
        ridge_probe(z, y, **{"reg": 1.0, **options})


def test_bad_input_after_the_fit():
    probe = ridge_probe(Z, Y, 1.0)
    with pytest.raises(ValueError, match="2 components as in the fit"):
        probe.predict(np.ones((3, 3)))
    with pytest.raises(ValueError, match="same length"):
        probe.score(Z, Y[:4])
    with pytest.raises(ValueError, match="2 targets as in the fit"):
        probe.score(Z, Y[:, 0])
    with pytest.raises(ValueError, match="same length"):
        ridge_probe(Z, LABELS, 1.0).score(Z, LABELS[:4])
