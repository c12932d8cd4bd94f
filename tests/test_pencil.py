"""The eigenproblem of moments against 50-digit arithmetic: any scale, offset and near collinearity."""

import mpmath as mp
import numpy as np
import pytest

import sslcore
from sslcore import Moments, pretrain, pretrain_path
from sslcore.errors import CertificateError, NotPositiveSemidefiniteError
from sslcore.features import Identity


def views(seed=0, n=15):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, 1, 3)) * [3, 2, 1] + 0.3 * rng.standard_normal((n, 2, 3))


def exact_components(x, reg, center, beta=1.0):
    """Eigenvalues of (beta Delta + reg I, Sigma) for two views, unbiased, and squared norms, in 50 digits."""
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
                penalty[a, b] = mp.mpf(beta) * mp.fsum((s - t) * (u - v) for s, t, u, v in pairs) / (2 * n)
            penalty[a, a] += mp.mpf(reg)
        inverse = mp.cholesky(penalty) ** -1
        values, vectors = mp.eigsy(inverse * sigma * inverse.T)
        found = []
        for i, value in enumerate(values):
            if value > mp.mpf(10) ** -40:
                whole = inverse.T * vectors[:, i]
                found.append((float(1 / value), float(mp.fdot(whole, whole) / value)))
            else:
                found.append((np.inf, np.inf))
        return np.array(sorted(found)).T


def exact_gamma(x, reg, center):
    return exact_components(x, reg, center)[0]


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
        embedding = rep.transform(x, scale="unit").reshape(-1, k)[:, active]
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


@pytest.mark.parametrize("distance", 10.0 ** -np.arange(1, 11))
@pytest.mark.parametrize("center", [False, True])
def test_reg_zero_near_singular_is_right_or_refused(distance, center):
    """Orthonormality too is held: of the published embedding, whatever the certificate says."""
    x = views()
    x[..., 2] = x[..., 1] + distance * x[..., 2]
    try:
        rep = pretrain(x, Identity(), 3, reg=0.0, center=center)
    except (ArithmeticError, ValueError) as error:
        assert "raise reg" in str(error) or "use reg > 0" in str(error)  # noqa: PT017
        assert distance < 1e-4
        return
    assert distance > 1e-7
    gamma, norms = exact_components(x, 0.0, center)
    embedding = rep.transform(x, scale="unit").reshape(-1, 3)
    np.testing.assert_allclose(embedding.T @ embedding / len(embedding), np.eye(3), atol=1e-6)
    assert rep.certificate.orthonormality < 1e-6
    np.testing.assert_allclose(rep.gamma, gamma, atol=1e-6)
    np.testing.assert_allclose(rep.norms, norms, rtol=1e-5)


@pytest.mark.parametrize(("closeness", "beta"), [(1e-3, 1.0), (1e-5, 1.0), (1e-9, 1.0), (1.0, 1e-9), (1.0, 1e-20)])
def test_reg_zero_tells_components_of_small_gamma_apart(closeness, beta):
    """All gamma are then nearly equal beside 1, and their ratios are as they were."""
    x = views()
    middle = x.mean(axis=1, keepdims=True)
    x = middle + closeness * (x - middle)
    rep = pretrain(x, Identity(), 3, reg=0.0, beta=beta, center=True)
    gamma, norms = exact_components(x, 0.0, True, beta)
    assert gamma[-1] < 1e-5
    np.testing.assert_allclose(rep.gamma, gamma, rtol=1e-6)
    np.testing.assert_allclose(rep.norms, norms, rtol=1e-6)
    np.testing.assert_allclose(beta * rep.invariance, gamma, rtol=1e-6)


def near_singular(kind, distance):
    """Two columns nearly alike; or the difference of two nearly invariant."""
    x = views()
    if kind == "collinear":
        x[..., 2] = x[..., 1] + distance * x[..., 2]
    else:
        middle = x[..., 2].mean(axis=1, keepdims=True)
        x[..., 2] = x[..., 1] + middle + distance * (x[..., 2] - middle)
    return x


@pytest.mark.parametrize("kind", ["collinear", "nearly invariant"])
@pytest.mark.parametrize("reg", [1e-20, 1e-16, 1e-12, 1e-8])
@pytest.mark.parametrize("center", [False, True])
def test_norms_are_right_or_refused(kind, reg, center):
    """The true error is at most a few times the estimate where that is large; it refuses no norm that is good."""
    for distance in 10.0 ** -np.arange(1, 11):
        x = near_singular(kind, distance)
        try:
            rep = pretrain(x, Identity(), 3, reg=reg, center=center)
            certificate = rep.certificate
        except CertificateError as error:
            rep, certificate = None, error.certificate
        except NotPositiveSemidefiniteError:
            continue
        if rep is None:
            worst = (certificate.residuals + certificate.rounding_errors).max()
            assert worst > 1e-6 or certificate.norm_errors.max() > 1e-3 or not certificate.orthonormality < 1e-6
            continue
        active = np.isfinite(rep.gamma) & (rep.gamma < 1)
        _, norms = exact_components(x, reg, center)
        error = np.abs(rep.norms / norms - 1)[active]
        assert (error <= 5 * certificate.norm_errors[active] + 1e-6).all(), (distance, error, certificate.norm_errors)
        assert error.max() < 1e-2


@pytest.mark.parametrize("distance", [1e-9, 1e-11])
def test_a_norm_that_is_off_by_a_tenth_is_refused(distance):
    """Its eigenvalue is good to 1e-11, and so are the residuals."""
    with pytest.raises(CertificateError, match=r"has a norm that is good to .* raise reg") as caught:
        pretrain(near_singular("collinear", distance), Identity(), 3, reg=1e-12, center=True)
    assert caught.value.certificate.residuals.max() < 1e-6
    assert pretrain(near_singular("collinear", distance), Identity(), 3, reg=1e-6, center=True).n_active > 0


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


@pytest.mark.filterwarnings("error")
def test_scales_beyond_the_square_root_of_float64_are_refused_in_words():
    """The condition of the penalty overflows, and the certificate says what to do."""
    moments = Moments(Identity())
    moments.update(views() * [1.0, 1e-150, 1e-160])
    with pytest.raises(CertificateError, match="raise reg"):
        moments.solve(3, reg=1e-320, center=True)
