"""The eigenproblem of moments against 50-digit arithmetic: any scale, offset and near collinearity."""

import mpmath as mp
import numpy as np
import pytest

import sslcore
from sslcore import Moments, pretrain, pretrain_path
from sslcore.errors import NotPositiveSemidefiniteError
from sslcore.features import Identity


def views(seed=0, n=15):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, 1, 3)) * [3, 2, 1] + 0.3 * rng.standard_normal((n, 2, 3))


def exact_gamma(x, reg, center):
    """Eigenvalues of (Delta + reg I, Sigma) for two views, beta = 1, unbiased, in 50 digits."""
    n, _, r = x.shape
    with mp.workdps(50):
        columns = [[mp.mpf(float(v)) for v in x[:, :, j].ravel()] for j in range(r)]
        mean = [mp.fsum(c) / len(c) if center else mp.mpf(0) for c in columns]
        sigma, penalty = mp.matrix(r, r), mp.matrix(r, r)
        for a in range(r):
            for b in range(r):
                p, q = columns[a], columns[b]
                sigma[a, b] = mp.fsum((u - mean[a]) * (v - mean[b]) for u, v in zip(p, q, strict=True)) / (2 * n)
                pairs = zip(p[::2], p[1::2], q[::2], q[1::2], strict=True)
                penalty[a, b] = mp.fsum((s - t) * (u - v) for s, t, u, v in pairs) / (2 * n)
            penalty[a, a] += mp.mpf(reg)
        inverse = mp.cholesky(penalty) ** -1
        values = mp.eigsy(inverse * sigma * inverse.T, eigvals_only=True)
        return np.array(sorted(float(1 / v) if v > mp.mpf(10) ** -40 else np.inf for v in values))


def with_constant(x, value):
    return np.concatenate([np.full((*x.shape[:2], 1), value), x], axis=2)


CASES = {
    "plain": views(),
    "a constant of 1e5": with_constant(views(), 1e5),
    "a constant of 1e10": with_constant(views(), 1e10),
    "a unix time": np.concatenate(
        [1.7e9 + 1e5 * np.random.default_rng(1).standard_normal((15, 2, 1)), views()], axis=2
    ),
    "scales": views() * [1e-9, 1.0, 1e7],
    "far": views() + 1e8,
    "a tiny column": views() * [1.0, 1.0, 1e-160],
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("center", [False, True])
@pytest.mark.parametrize("reg", [1e-8, 1e-2])
def test_no_scale_and_no_offset_loses_a_component(name, center, reg):
    x = CASES[name]
    expected = exact_gamma(x, reg, center)
    k = len(expected)
    for rep in (
        pretrain(x, Identity(), k, reg=reg, center=center),
        pretrain_path(x, Identity(), k, regs=[reg, 10 * reg], center=center).at(0),
        Moments(Identity()).update(x[:7]).merge(Moments(Identity()).update(x[7:])).solve(k, reg=reg, center=center),
    ):
        active = expected < 1
        assert rep.n_active == active.sum()
        np.testing.assert_allclose(rep.gamma[active], expected[active], rtol=1e-7)
        embedding = rep.transform(x, scale=False).reshape(-1, k)[:, active]
        np.testing.assert_allclose(embedding.T @ embedding / len(embedding), np.eye(active.sum()), atol=2e-5)


def test_far_and_of_different_scales_is_right_or_refused():
    """Then the penalty itself is ill-conditioned in the coordinates that give the mean one of its own."""
    x = (views() + 1e6) * [1e-6, 1.0, 1e6]
    with pytest.raises(NotPositiveSemidefiniteError, match="raise reg"):
        pretrain(x, Identity(), 3, reg=1e-8, beta=0.0)
    np.testing.assert_allclose(pretrain(x, Identity(), 3, reg=1e-8, center=True).gamma, exact_gamma(x, 1e-8, True))


@pytest.mark.parametrize("distance", 10.0 ** -np.arange(1, 9))
@pytest.mark.parametrize("reg", [1e-16, 1e-12, 1e-6])
def test_nearly_collinear_features_are_right_or_refused(distance, reg):
    """Condition numbers of Sigma up to 1e16."""
    x = views()
    x[..., 2] = x[..., 1] + distance * x[..., 2]
    expected = exact_gamma(x, reg, True)
    try:
        rep = pretrain(x, Identity(), 3, reg=reg, center=True)
    except (ArithmeticError, ValueError) as error:
        assert "raise reg" in str(error)  # noqa: PT017
        assert max(distance**2, reg) < 1e-9
        return
    np.testing.assert_allclose(np.minimum(rep.gamma, 1), np.minimum(expected, 1), atol=1e-5)


def test_reg_zero_of_ill_scaled_features():
    x = views() * [1e-6, 1.0, 1e6]
    np.testing.assert_allclose(pretrain(x, Identity(), 3, reg=0.0).gamma, exact_gamma(x, 0.0, False), rtol=1e-9)


def test_moments_that_are_not_finite_are_refused():
    """Where they are made, merged, read and solved; what was there before stays."""
    good = Moments(Identity()).update(views())
    before = good._sums
    with pytest.raises(ValueError, match="overflow, or have become NaN"):
        good.update((1e30 * views()).astype(np.float32))
    assert good._sums is before
    with np.errstate(over="ignore", invalid="ignore"), pytest.raises(ValueError, match="overflow, or have become NaN"):
        Moments(Identity()).update(1e200 * views())
    broken = Moments(Identity()).update(views())
    broken._sums.within[0, 1] = np.nan
    for use in (lambda: good.merge(broken), lambda: broken.solve(1, reg=0.1)):
        with pytest.raises(ValueError, match="overflow, or have become NaN"):
            use()
    assert good._sums is before
    with pytest.raises(ValueError, match="squares of the features underflow"):
        sslcore.pretrain(1e-155 * views(), Identity(), 1, reg=0.1)
