"""Functions that are good enough to compare values of reg by, against fits; and where only a fit tells."""

from collections import Counter

import numpy as np
import pytest

import sslcore
from sslcore import pretrain
from sslcore.errors import CertificateError
from sslcore.fitting.search import make_folds
from sslcore.kernels import Exponential, Gaussian
from sslcore.selection import AutoReg
from sslcore.solvers import sweep as sweeps
from sslcore.solvers import trial
from sslcore.solvers.certificate import Spectrum
from sslcore.solvers.exact import ConditionedKernel, solve_exact
from sslcore.solvers.known import Known
from sslcore.solvers.krylov import Accuracy
from sslcore.solvers.objective import Objective
from sslcore.solvers.sweep import Sweep

from . import naive
from .comparators import assert_close
from .test_features import noisy
from .test_selection import quietly
from .test_sweep import operator_of

REGS = np.logspace(-6, 0, 7)
K = 3


def trials_of(operator, regs=REGS, center=False):
    """Objectives, and what trials of a sweep give for each."""
    objectives = [Objective(K, float(reg), 1.0, True, center) for reg in regs]
    give = Sweep(operator, objectives, tolerance=1e-6, planned_bytes=0).trials()
    return objectives, [give(o) for o in objectives]


def psi(functions, kernel, views, points):
    """The representation at the points, from coefficients, intercept and gamma."""
    values = kernel(points, views.reshape(-1, views.shape[-1])) @ functions.coefficients + functions.intercept
    return values * np.sqrt(np.clip(1.0 - functions.gamma, 0.0, None))


@pytest.mark.parametrize("center", [False, True])
@pytest.mark.parametrize("n", [40, 150])
def test_trials_are_near_fits(n, center):
    """Products <psi(x), psi(y)> at new points, of which all risks are made; components with mu <= 0 need no digits."""
    views, kernel = noisy(n, 2, 3), Exponential(0.5)
    operator, _ = operator_of(views, kernel, center=center)
    points = np.random.default_rng(1).normal(size=(20, 3))
    active = []
    for objective, found in zip(*trials_of(operator, center=center), strict=True):
        assert isinstance(found, trial.Trial)
        fit = solve_exact(operator, objective, tolerance=1e-6, planned_bytes=0).spectrum
        there = fit.gamma < 1
        active.append(int(there.sum()))
        assert np.array_equal(found.gamma < 1, there)
        assert_close(found.gamma[there], fit.gamma[there], tol=1e-7)
        assert_close(found.invariance[there], fit.invariance[there], tol=1e-3)
        z, y = psi(found, kernel, views, points), psi(fit, kernel, views, points)
        assert_close(z @ z.T, y @ y.T, tol=1e-4)
    assert min(active) < max(active) == K


def test_the_constant_is_no_function():
    """Of few views the iteration finds all vectors there are, and among them, centred, the constant."""
    views, kernel = noisy(2, 2, 3), Exponential(0.5)
    operator, _ = operator_of(views, kernel, center=True)
    points, regs = np.random.default_rng(1).normal(size=(20, 3)), np.logspace(-4, 0, 7)
    some = list(zip(*trials_of(operator, regs, center=True), strict=True))
    assert sum(isinstance(found, trial.Trial) for _, found in some) >= 4
    for objective, found in some:
        fit = solve_exact(operator, objective, tolerance=1e-6, planned_bytes=0).spectrum
        z, y = psi(found, kernel, views, points), psi(fit, kernel, views, points)
        assert_close(z @ z.T, y @ y.T, tol=1e-6)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("kernel", "beta"), [(Exponential(0.5), 2.0), (Gaussian(0.3), 1e4)])
def test_risks_of_trials_are_those_of_fits(kernel, beta, weighted):
    """Grids of at least LEAST_SHARED values are searched with trials."""
    rng = np.random.default_rng(3)
    groups = rng.permutation(np.repeat(np.arange(40), rng.integers(1, 5, 40)))
    x = sslcore.datasets.half_moons(40, seed=0)[groups] + 0.1 * rng.normal(size=(len(groups), 2))
    weight = rng.uniform(0.2, 3.0, len(groups)) if weighted else np.ones(len(groups))
    options = {"beta": beta, "center": True}
    search = AutoReg(regs=np.logspace(-6, 0, 9) * beta, n_folds=3)
    found = quietly(x, kernel, 5, reg=search, groups=groups, sample_weight=weight, **options).selection
    part = make_folds(np.bincount(groups), search, False).part[groups]
    for reg, risk in zip(found.regs, found.risks, strict=True):
        held = []
        for f in range(3):
            a, b = part != f, part == f
            rep = pretrain(x[a], kernel, 5, reg=reg, groups=groups[a], sample_weight=weight[a], **options)
            held.append(naive.held_out_risk(rep(x[b]), groups[b], weight[b], beta))
        assert_close(risk, np.mean(held), tol=5e-6, scale=max(5.0, np.mean(held)))


def test_where_rounding_may_tell_a_fit_is_made(monkeypatch):
    operator, _ = operator_of(noisy(40, 2, 3), Exponential(0.5))
    monkeypatch.setattr(trial, "_CLEAR", 0.0)
    for objective, found in zip(*trials_of(operator), strict=True):
        assert isinstance(found, Spectrum)
        assert found.certificate.algorithm.endswith("in band form")
        assert found.certificate.iterations < 8  # they begin where the trial has ended
        fit = solve_exact(operator, objective, tolerance=1e-6, planned_bytes=0).spectrum
        assert_close(found.gamma, fit.gamma, tol=1e-9)


def test_a_reg_below_rounding_is_refused():
    operator, _ = operator_of(noisy(40, 2, 2), Gaussian(2.0))
    with pytest.raises(CertificateError, match="reg is below what the rounding of the kernel matrix allows"):
        trials_of(operator, [1e-17, *REGS])


def test_rounding_of_unequal_weights():
    """Rows of unequal weight round by unequal shares: no trial where a fit would be refused for that."""
    operator, _ = operator_of(noisy(40, 2, 3), Exponential(0.5))
    operator.rounding_scale = np.full((80, 1), 1e5)  # as that of heavy rows among many light ones
    with pytest.raises(CertificateError):
        solve_exact(operator, Objective(K, 1e-6, 1.0, True, False), tolerance=1e-6, planned_bytes=0)
    objectives = [Objective(K, float(reg), 1.0, True, False) for reg in REGS]
    give = Sweep(operator, objectives, tolerance=1e-6, planned_bytes=0).trials()
    with pytest.raises(CertificateError):
        give(objectives[0])


def test_single_precision_has_fits():
    views = noisy(40, 2, 3).astype(np.float32)
    operator, _ = operator_of(views, Exponential(0.5))
    assert operator.dtype == np.float32
    assert all(isinstance(found, Spectrum) for found in trials_of(operator, np.logspace(-4, 0, 7))[1])


def test_eigenvalues_that_need_not_be_accurate():
    """Those that are known to be small, and all after them; of a first block nobody knows."""
    theta, residuals = np.array([1.0, 0.4, 0.1, 0.01]), np.array([0.3, 1e-3, 1e-4, 0.01])
    assert Accuracy(1e-6).wants(theta, residuals).tolist() == [True] * 4
    assert Accuracy(1e-6, least=0.2).wants(theta, residuals).tolist() == [True, True, False, False]
    assert Accuracy(1e-6, least=2.0).wants(theta, residuals).tolist() == [True, False, False, False]
    assert Accuracy(1e-6, least=0.1).wants(theta, residuals).tolist() == [True] * 4  # it may reach 0.1


def images_of(monkeypatch):
    """Let sweeps write down the type and reg of each image of a whole block."""
    seen, images = [], sweeps._images

    def written(operators, vectors, a, *args, **kwargs):
        seen.extend((a.dtype, float(o.noise[0, 0]), v.shape[1]) for o, v in zip(operators, vectors, strict=True))
        return images(operators, vectors, a, *args, **kwargs)

    monkeypatch.setattr(sweeps, "_images", written)
    return seen


def test_errors_in_float32_are_measured_at_some_places(monkeypatch):
    """Those between take them for known: all their images but the last, which tells, are in float32."""
    seen = images_of(monkeypatch)
    operator, _ = operator_of(noisy(150, 2, 3), Exponential(0.5))
    for found in trials_of(operator)[1]:
        assert isinstance(found, trial.Trial)
    exact = Counter(noise for dtype, noise, _ in seen if dtype == np.float64)
    places = sorted(exact)
    assert len(places) == len(REGS)
    first = next(iter(sweeps.rounds(len(REGS))))
    assert {0, len(REGS) - 1} <= set(first) < set(range(len(REGS)))
    for i, place in enumerate(places):
        assert (exact[place] > 1) == (i in first)


def test_a_trial_whose_images_erred_is_refused(monkeypatch):
    """An error that is larger than anywhere it was measured is seen in the last image, and a fit is made."""
    share = ConditionedKernel.share_factors

    def spoilt(self, columns):
        new = self.shifts is None
        done = share(self, columns)
        if new:
            self.short.a[:] *= 1.0 + 0.1 * np.random.default_rng(0).normal(size=self.short.a.shape)
        return done

    monkeypatch.setattr(ConditionedKernel, "share_factors", spoilt)
    monkeypatch.setattr(Known, "expected_error", lambda self, relative: 1e-12)
    operator, _ = operator_of(noisy(150, 2, 3), Exponential(0.5))
    kinds = []
    for objective, found in zip(*trials_of(operator), strict=True):
        kinds.append(type(found))
        fit = solve_exact(operator, objective, tolerance=1e-6, planned_bytes=0).spectrum
        there = fit.gamma < 1
        assert_close(found.gamma[there], fit.gamma[there], tol=1e-7)
    first = next(iter(sweeps.rounds(len(REGS))))  # whose errors are measured
    assert kinds == [trial.Trial if i in first else Spectrum for i in range(len(REGS))]


def test_known_errors():
    known = Known()
    assert known.expected_error(1.0) == 0.0
    known.measured(0.0, 1e-9)
    assert known.expected_error(1.0) == 0.0
    known.measured(1e-6, 0.5)
    known.measured(1e-7, 0.01)
    assert known.expected_error(1e-4) == pytest.approx(4 * 1e-5 * 0.01)
    assert known.expected_error(1e-5) == 0.0  # eigenvalues would be off by more
