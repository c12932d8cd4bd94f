"""The eigenproblem of moments against 50-digit arithmetic: any scale, offset and near collinearity."""

from dataclasses import replace

import mpmath as mp
import numpy as np
import pytest

import sslcore
from sslcore import Moments, pretrain, pretrain_path, tunables
from sslcore.augmentations import GaussianNoise, Views
from sslcore.backends import get_backend
from sslcore.errors import CertificateError, NotPositiveSemidefiniteError
from sslcore.features import Identity
from sslcore.fitting.data import as_data
from sslcore.positives import TimeLag
from sslcore.selection import AutoReg


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


def near_singular(kind, distance, n=15):
    """Two columns nearly alike; or the difference of two nearly invariant."""
    x = views(n=n)
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


@pytest.mark.parametrize("kind", ["collinear", "nearly invariant"])
@pytest.mark.parametrize("n", [200, 3000])
def test_estimates_of_norms_grow_with_the_samples(kind, n):
    """Rounding of more products adds up: the true error is some three times the estimate at most."""
    for distance in (1e-3, 1e-5, 1e-6):
        x = near_singular(kind, distance, n)
        rep = pretrain(x, Identity(), 3, reg=1e-8, center=True)
        active = np.isfinite(rep.gamma) & (rep.gamma < 1)
        error = np.abs(rep.norms / exact_components(x, 1e-8, True)[1] - 1)[active]
        assert (error <= 3 * rep.certificate.norm_errors[active] + 1e-9).all(), (distance, error)


# ---------------------------------------------------------------- float32

SINGLE = [
    (n, distance, reg)
    for n in (15, 200, 2000)
    for distance in (0.1, 1e-2, 3e-3, 1e-3, 1e-4)
    for reg in (1e-8, 1e-6, 1e-4)
]


def single_views(n, distance):
    """Two columns nearly alike, of float32, to be compared with the same values in float64."""
    x = near_singular("collinear", distance, n).astype(np.float32)
    return x, x.astype(float)


def assert_as_good_as_told(found, expected):
    """Active components, and what else is finite, have errors of a few times the estimates, of 5 % at most."""
    certificate, told = found.certificate, np.isfinite(found.gamma)
    assert (expected.gamma[~told] > 1).all()
    active = expected.gamma < 1
    assert (np.isfinite(found.gamma) & (found.gamma < 1) == active).all()
    gamma, of_gamma = expected.gamma[told], certificate.rounding_errors[told] + certificate.residuals[told]
    assert (np.abs(found.gamma[told] - gamma) <= (5 * of_gamma + 1e-7) * (1 + gamma)).all()
    norms, of_norms = expected.norms[active], certificate.norm_errors[active]
    assert (np.abs(found.norms[active] / norms - 1) <= 5 * of_norms + 1e-6).all()
    assert max(of_norms.max(initial=0.0), certificate.rounding_errors.max()) < 0.06


def solved_or_refused(moments, reg):
    """Return the fit, or the refusal."""
    try:
        return moments.solve(3, reg=reg)
    except CertificateError as error:
        return error


@pytest.mark.parametrize(("n", "distance", "reg"), SINGLE)
def test_features_in_float32_are_as_good_as_they_are_told_to_be(n, distance, reg):
    """Where products in float32 do not do, they are made in float64; moments, which have none, are refused then."""
    x, same = single_views(n, distance)
    expected = pretrain(same, Identity(), 3, reg=reg)
    path = pretrain_path(x, Identity(), 3, regs=[reg, 1.0]).at(0)
    for found in (pretrain(x, Identity(), 3, reg=reg), path):
        assert_as_good_as_told(found, expected)
    found = solved_or_refused(
        Moments(Identity()).update(x[: n // 2]).merge(Moments(Identity()).update(x[n // 2 :])), reg
    )
    if isinstance(found, CertificateError):
        assert "raise reg, or use float64" in str(found)
        certificate = found.certificate
        assert max(certificate.norm_errors.max(), 10 * certificate.rounding_errors.max()) > 0.03
    else:
        assert_as_good_as_told(found, expected)


@pytest.mark.parametrize(("n", "distance", "reg"), [(200, 1e-2, 1e-4), (2000, 1e-3, 1e-4)])
def test_inactive_components_that_float32_does_not_tell_are_left_out(n, distance, reg):
    """They are in directions of next to no variance; no fit need be read again, or refused, for them."""
    x, same = single_views(n, distance)
    expected = pretrain(same, Identity(), 3, reg=reg)
    assert expected.n_active == 2
    assert np.isfinite(expected.gamma).all()
    for found in (pretrain(x, Identity(), 3, reg=reg), Moments(Identity()).update(x).solve(3, reg=reg)):
        assert_as_good_as_told(found, expected)
        assert found.certificate.tolerance == 3e-3
        assert found.certificate.rank == 2
        assert (found.gamma[2], found.norms[2]) == (np.inf, np.inf)


def test_blocks_of_views_have_the_type_of_their_data():
    data = replace(as_data(Views(SIMILAR[:, 0], GaussianNoise(1.0), 2, seed=0), None, None), dtype=np.dtype(float))
    assert {x.dtype for x, _, _ in data.blocks(100, get_backend(backend="numba"))} == {np.dtype(float)}


SIMILAR = near_singular("collinear", 1e-3, 400).astype(np.float32)
TRAJECTORY = (0.1 * np.cumsum(SIMILAR[:, 0], axis=0)).astype(np.float32)


@pytest.mark.filterwarnings("ignore::sslcore.SelectionWarning")
@pytest.mark.parametrize("reg", ["auto", AutoReg(regs=(1e-2, 1e-4, 1e-6, 1e-8, 1e-10))])
@pytest.mark.parametrize(
    ("data", "options"),
    [
        (SIMILAR, {}),
        (near_singular("collinear", 1e-2, 400).astype(np.float32), {}),  # of float32 good in part of the grid
        (SIMILAR.reshape(-1, 3), {"groups": np.arange(800) // 2}),
        (TRAJECTORY, {"positives": TimeLag(2)}),
    ],
    ids=["views", "nearly", "groups", "pairs"],
)
def test_searches_in_float32_choose_as_in_float64(reg, data, options):
    """What products in float32 refuse is solved in float64: no risk is left out, of which float64 has one."""
    found = pretrain(data, Identity(), 3, reg=reg, **options)
    expected = pretrain(data.astype(float), Identity(), 3, reg=reg, **options)
    assert found.reg == expected.reg
    np.testing.assert_allclose(found.selection.risks, expected.selection.risks, atol=1e-4)
    assert_as_good_as_told(found, expected)


@pytest.mark.parametrize("reg", [1e-8, 1e-6])
def test_float32_of_views_pairs_and_modalities_is_as_good_as_told(reg):
    """Each has a pass over the data of its own, in float64 where it must be."""
    made = Views(SIMILAR[:, 0], GaussianNoise(1e-3), 2, seed=0)
    drawn = pretrain(made, Identity(), 3, reg=reg)
    assert_as_good_as_told(drawn, pretrain(np.asarray(made.block(0, 400), float), Identity(), 3, reg=reg))
    drawn = pretrain(TRAJECTORY, Identity(), 3, reg=reg, positives=TimeLag(2))
    assert_as_good_as_told(drawn, pretrain(TRAJECTORY.astype(float), Identity(), 3, reg=reg, positives=TimeLag(2)))
    both = SIMILAR[:, 0], SIMILAR[:, 1]
    found = pretrain(both, (Identity(), Identity()), 3, reg=reg)
    expected = pretrain(tuple(part.astype(float) for part in both), (Identity(), Identity()), 3, reg=reg)
    assert_as_good_as_told(found, expected)


def test_float32_is_not_read_again_without_the_memory(monkeypatch):
    """The refusal says what would help; with the memory there is an answer."""
    monkeypatch.setattr(tunables, "MOMENTS_BLOCK_ROWS", (256, 256))
    needed = sslcore.plan(400, 2, 3, Identity(), 3, dtype="float32").bytes
    with pytest.raises(CertificateError, match="use float64"):
        pretrain(SIMILAR, Identity(), 3, reg=1e-8, memory=needed)
    assert pretrain(SIMILAR, Identity(), 3, reg=1e-8, memory=2 * needed).n_active == 3


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
