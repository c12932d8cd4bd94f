"""The uniform sphere against quadrature, multi-precision integrals, product rules on S^2 and the table of values."""

import json
import math
import warnings
from pathlib import Path

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import sslcore
from sslcore import kernels
from sslcore.augmentations import Compose, Mixture, RandomRotation, Shift, SignFlip, TangentStep
from sslcore.population import CutBlockWarning, HeatKernel, Sphere, risk_of_moments, zonal

ORACLES = json.loads((Path(__file__).parent / "oracles.json").read_text())["D"]
DIGITS = 6e-13  # the table has 12


def arc0(u):
    return (np.pi - np.arccos(np.clip(u, -1, 1))) / np.pi


def arc1(u):
    u = np.clip(u, -1, 1)
    return (np.sqrt(1 - u * u) + u * (np.pi - np.arccos(u))) / np.pi


PROFILES = {
    "kappa1": lambda x, y: arc1(x @ y.T),
    "(1+u)kappa1": lambda x, y: (1 + x @ y.T) * arc1(x @ y.T),
    "ntk1": lambda x, y: arc1(x @ y.T) + (x @ y.T) * arc0(x @ y.T),
    "gauss_sigma1": kernels.Gaussian(1.0),
}


@pytest.mark.parametrize("d", [3, 8])
@pytest.mark.parametrize("name", PROFILES)
def test_kernels_of_the_table(name, d):
    found = Sphere(d).kernel_eigenvalues(PROFILES[name], 8)
    np.testing.assert_allclose(found, ORACLES[f"{name}_d{d}"], rtol=0, atol=DIGITS)
    zeros = np.array(ORACLES[f"{name}_d{d}"]) == 0
    assert (found[zeros] == 0).all()  # structural zeros are exact: lambda / kappa is infinite


@pytest.mark.parametrize("d", [3, 8])
def test_multiplicities_of_the_table(d):
    assert Sphere(d).multiplicities(8) == ORACLES[f"N_d{d}"]
    counts = zonal.cyclic_multiplicities(d, 6)
    assert counts == ORACLES[f"cyclic_mult_d{d}_[l][omega]"]
    assert [sum(row) for row in counts] == zonal.multiplicities(d, 6)


def test_rotations_of_the_table():
    found = zonal.rotation_eigenvalues(0.7, 3, 5)
    np.testing.assert_allclose(found, ORACLES["plane_rot_multiplier_d3_theta0.7"], rtol=0, atol=DIGITS)


@pytest.mark.parametrize("d", [3, 4, 7])
def test_a_random_rotation_is_a_mixture_of_steps(d):
    # x moves by s with cos s = 1 - (1 - cos t) r^2, r^2 ~ Beta(1, d/2 - 1) the share of x in the plane
    nodes, weights = np.polynomial.legendre.leggauss(200)
    v = 0.5 * (nodes + 1)
    cosine = 1 - (1 - math.cos(0.9)) * (1 - v ** (2 / (d - 2)))
    want = zonal.legendre(d, 6, cosine) @ (0.5 * weights)
    np.testing.assert_allclose(zonal.rotation_eigenvalues(0.9, d, 6), want, atol=2e-6)


@pytest.mark.parametrize(
    ("scale", "d"), [(1.0, 3), (0.02, 3), (0.05, 10), (0.3, 64), (2.0, 1000), (10.0, 2), (0.035, 2)]
)
def test_gaussian_coefficients_keep_all_digits(scale, d):
    found = zonal.gaussian_coefficients(scale, d, 30)
    with mpmath.workdps(40):
        z, order = 1 / mpmath.mpf(scale) ** 2, mpmath.mpf(d) / 2 - 1
        for n in (0, 1, 5, 30):
            want = mpmath.exp(-z) * mpmath.gamma(order + 1) * (2 / z) ** order * mpmath.besseli(n + order, z)
            assert abs(found[n] / want - 1) < 1e-13
    if 0.03 < scale < 1e2 and d < 100:  # and the integral agrees
        integral, error = zonal.funk_hecke(lambda a: np.exp(-2 * (np.sin(a / 2) / scale) ** 2), d, 30)
        assert (np.abs(integral - found) <= 2 * error + 1e-13 * found).all()


@settings(max_examples=12, deadline=None)
@given(
    d=st.integers(2, 12),
    scale=st.floats(0.2, 3),
    kernel=st.sampled_from([kernels.Exponential, lambda s: kernels.Matern(2.5, s), kernels.Gaussian]),
    degree=st.integers(0, 9),
)
def test_coefficients_are_the_integral(d, scale, kernel, degree):
    kernel = kernel(scale)
    found = Sphere(d).kernel_eigenvalues(kernel, degree)[degree]
    with mpmath.workdps(25):

        def integrand(a):
            r = 2 * mpmath.sin(a / 2)
            s = r / scale
            if isinstance(kernel, kernels.Gaussian):
                value = mpmath.exp(-s * s / 2)
            elif isinstance(kernel, kernels.Exponential):
                value = mpmath.exp(-s)
            else:
                s *= mpmath.sqrt(5)
                value = (1 + s + s * s / 3) * mpmath.exp(-s)
            if d == 2:
                return value * mpmath.cos(degree * a)
            alpha = mpmath.mpf(d) / 2 - 1
            gegenbauer = mpmath.gegenbauer(degree, alpha, mpmath.cos(a)) / mpmath.gegenbauer(degree, alpha, 1)
            return value * gegenbauer * mpmath.sin(a) ** (d - 2)

        half = mpmath.mpf(d) / 2
        constant = mpmath.gamma(half) / (mpmath.gamma(half - mpmath.mpf(1) / 2) * mpmath.sqrt(mpmath.pi))
        want = float(constant * mpmath.quad(integrand, [0, mpmath.pi / 3, mpmath.pi]))
    assert abs(found - want) < 1e-12


@given(d=st.integers(2, 20), power=st.integers(1, 9), offset=st.floats(0, 3))
@settings(max_examples=20, deadline=None)
def test_polynomials_agree_with_the_integral(d, power, offset):
    exact = Sphere(d).kernel_eigenvalues(kernels.Polynomial(power, offset), power + 2)
    integral, error = zonal.funk_hecke(lambda a: (np.cos(a) + offset) ** power, d, power + 2)
    assert (np.abs(exact - integral) <= 4 * error).all()
    assert (exact[power + 1 :] == 0).all()


def test_sums_multiples_and_products():
    sphere, g = Sphere(5), kernels.Gaussian(0.8)
    both = sphere.kernel_eigenvalues(2.0 * g + kernels.Linear(), 6)
    np.testing.assert_allclose(
        both, 2 * sphere.kernel_eigenvalues(g, 6) + sphere.kernel_eigenvalues(kernels.Linear(), 6), rtol=1e-15
    )
    square = sphere.kernel_eigenvalues(g * g, 6)  # the Gaussian of scale / sqrt(2), by quadrature
    np.testing.assert_allclose(
        square, sphere.kernel_eigenvalues(kernels.Gaussian(0.8 / math.sqrt(2)), 6), rtol=0, atol=1e-14
    )


def product_rule(degree):
    """Nodes and weights on S^2, exact for polynomials of twice the degree."""
    z, w = np.polynomial.legendre.leggauss(degree + 1)
    phi = 2 * np.pi * np.arange(2 * degree + 1) / (2 * degree + 1)
    z, phi = (a.ravel() for a in np.meshgrid(z, phi, indexing="ij"))
    r = np.sqrt(1 - z * z)
    points = np.stack([r * np.cos(phi), r * np.sin(phi), z], axis=1)
    return points, np.repeat(w, 2 * degree + 1) / w.sum() / (2 * degree + 1)


@pytest.mark.parametrize("kernel", [kernels.Gaussian(0.7), kernels.Polynomial(3, 0.5)])
def test_the_gram_matrix_of_a_product_rule_has_these_eigenvalues(kernel):
    points, weights = product_rule(13)
    root = np.sqrt(weights)
    found = np.linalg.eigvalsh(root[:, None] * kernel(points) * root)[::-1]
    sphere = Sphere(3)
    want = np.repeat(sphere.kernel_eigenvalues(kernel, 5), sphere.multiplicities(5))
    np.testing.assert_allclose(found[:36], want, atol=1e-9)


@pytest.mark.parametrize("d", [2, 3])
def test_harmonics_are_orthonormal_and_zonal_ones_among_them(d):
    sphere = Sphere(d)
    if d == 3:
        points, weights = product_rule(6)
    else:
        angle = 2 * np.pi * np.arange(16) / 16
        points, weights = np.stack([np.cos(angle), np.sin(angle)], axis=1), np.full(16, 1 / 16)
    basis = [sphere.harmonics(n)(points) for n in range(4)]
    together = np.concatenate(basis, axis=1)
    np.testing.assert_allclose(together.T @ (weights[:, None] * together), np.eye(together.shape[1]), atol=1e-13)
    pole = points[3]
    for n, values in enumerate(basis):  # the addition theorem
        assert values.shape[1] == sphere.multiplicities(n)[n]
        addition = values @ sphere.harmonics(n)(pole[None])[0] / math.sqrt(values.shape[1])
        np.testing.assert_allclose(sphere.zonal(n, pole)(points), addition, atol=1e-12)


def test_the_heat_kernel_is_a_semigroup_and_ordered():
    one, two = (Sphere(6).augmentation_eigenvalues(HeatKernel(t), 5) for t in (0.1, 0.2))
    np.testing.assert_allclose(one**2, two, rtol=1e-14)
    np.testing.assert_allclose(one, np.exp(-0.2 * np.arange(6) * (np.arange(6) + 4)), rtol=1e-14)


@settings(max_examples=20, deadline=None)
@given(
    d=st.integers(2, 9),
    kernel=st.sampled_from([kernels.Gaussian(0.6), kernels.Exponential(1.0), kernels.Linear() + kernels.Gaussian(1.0)]),
    time=st.floats(0.003, 0.3),
    reg=st.sampled_from([0.0, 1e-4, 1e-2]),
    n=st.integers(1, 16),
    beta=st.sampled_from([0.5, 1.0, 1.5]),
)
def test_the_first_components_are_those_of_the_whole_sphere(d, kernel, time, reg, n, beta):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CutBlockWarning)
        found = Sphere(d).spectrum(HeatKernel(time), kernel, reg=reg, beta=beta, n_components=n)
        wide = Sphere(d, max_degree=64).spectrum(HeatKernel(time), kernel, reg=reg, beta=beta, n_components=n)
    np.testing.assert_allclose(found.eigenvalues, wide.eigenvalues, rtol=1e-9)
    assert found.labels == wide.labels


@pytest.mark.parametrize("center", [False, True])
@pytest.mark.parametrize("kernel", [kernels.Gaussian(0.8), kernels.Exponential(1.5)])
def test_the_risk_of_a_fit_is_that_of_a_product_rule(kernel, center):
    x = sslcore.datasets.sphere(60, 3, seed=0)
    near = x + 0.2 * np.random.default_rng(1).standard_normal(x.shape)
    views = np.stack([x, near / np.linalg.norm(near, axis=1, keepdims=True)], axis=1)
    rep = sslcore.pretrain(views, kernel, 4, reg=1e-2, center=center)
    sphere, law = Sphere(3), HeatKernel(0.05)
    points, weights = product_rule(40 if kernel == kernels.Gaussian(0.8) else 60)
    psi = rep(points)
    second = psi.T @ (weights[:, None] * psi)
    smooth = np.zeros_like(second)
    for n, t in enumerate(sphere.augmentation_eigenvalues(law, 14)):
        part = sphere.harmonics(n)(points).T @ (weights[:, None] * psi)
        smooth += t * part.T @ part
    found_second, found_smooth = sphere.moments(rep, law)
    tolerance = 1e-9 if kernel == kernels.Gaussian(0.8) else 1e-4  # the rule's error at the kernel's kinks
    np.testing.assert_allclose(found_second, second, atol=tolerance)
    np.testing.assert_allclose(found_smooth, smooth, atol=tolerance)
    assert abs(sphere.risk(rep, law, 0.7) - risk_of_moments(second, smooth, 0.7)) < 10 * tolerance
    assert sphere.excess_risk(rep, law) > 0


def test_bad_input():
    sphere, gaussian, heat = Sphere(3), kernels.Gaussian(1.0), HeatKernel(0.1)
    for bad in (1, 2.5, True):
        with pytest.raises((ValueError, TypeError), match="d must be"):
            Sphere(bad)
    with pytest.raises(ValueError, match="max_degree"):
        Sphere(3, max_degree=-1)
    with pytest.raises(ValueError, match="time must be"):
        HeatKernel(-1.0)
    with pytest.raises(TypeError, match="not a function of <x, y>"):
        sphere.kernel_eigenvalues(kernels.L1Exponential(1.0))
    with pytest.raises(TypeError, match="not a function of <x, y>"):
        sphere.kernel_eigenvalues(lambda x, y: x[:, :1] * y[:, :1].T)
    with pytest.raises(sslcore.NotPositiveSemidefiniteError, match="degree 1"):
        sphere.kernel_eigenvalues(lambda x, y: 1.0 - 0.5 * x @ y.T)
    with pytest.raises(ArithmeticError, match="smooth enough"):
        sphere.kernel_eigenvalues(lambda x, y: (x @ y.T > 0.3).astype(float))
    with pytest.raises(TypeError, match="closed forms"):
        sphere.augmentation_eigenvalues(sslcore.augmentations.GaussianNoise(0.1))
    with pytest.raises(ValueError, match="max_degree"):
        sphere.spectrum(HeatKernel(0.0), gaussian, reg=0.0, n_components=2)
    with pytest.raises(ValueError, match="no line has the label"):
        sphere.select(heat, gaussian, [(1, 0)])
    with pytest.raises(ValueError, match="the degree"):
        sphere.select(heat, gaussian, [-1])
    with pytest.raises(ValueError, match="unit sphere"):
        sphere.harmonics(1)([[1.0, 1.0, 0.0]])
    with pytest.raises(ValueError, match="d = 2 and 3"):
        Sphere(4).harmonics(1)
    with pytest.warns(CutBlockWarning, match="components 2 to 4"):
        sphere.spectrum(heat, gaussian, reg=1e-3, n_components=3)
    x = sslcore.datasets.sphere(20, 3, seed=0)
    rep = sslcore.pretrain(np.stack([2 * x, x], axis=1), gaussian, 2, reg=1e-2)
    with pytest.raises(ValueError, match="training views must be points of the unit sphere"):
        sphere.risk(rep, heat)
    with pytest.raises(ValueError, match="3 coordinates, not 4"):
        Sphere(4).risk(rep, heat)
    with pytest.raises(TypeError, match="fitted representation"):
        sphere.risk(x, heat)
    features = sslcore.pretrain(np.stack([x, x], axis=1), sslcore.features.Identity(), 2, reg=1e-2)
    with pytest.raises(TypeError, match="kernel of points"):
        sphere.risk(features, heat)


# ---------------------------------------------------------------- steps, rotations and shifts


def test_a_law_of_shifts_in_the_table():
    law = Shift([1 / 3, 1 / 3, 0, 0, 0, 0, 0, 1 / 3])
    found = Sphere(8).augmentation_eigenvalues(law, 3)
    assert found.shape == (4, 8)
    np.testing.assert_allclose(found, np.tile(ORACLES["loc1_d8_T_by_omega"], (4, 1)), rtol=0, atol=DIGITS)
    # pairs of different shifts only, as in the paper's script: 9 T = 3 + 6 T', of its 9 pairs 3 are equal
    np.testing.assert_allclose((9 * found[0] - 3) / 6, ORACLES["loc1_d8_Toffdiag_by_omega"], rtol=0, atol=2 * DIGITS)


@pytest.mark.parametrize("reg", [1e-4, 1e-3, 1e-2])
def test_the_interplay_of_shifts_in_the_table(reg):
    law = Shift([1 / 3, 1 / 3, 0, 0, 0, 0, 0, 1 / 3])
    want = ORACLES[f"loc1_d8_(1+u)k1_lam{reg:g}_top"]
    lines = Sphere(8).lines(law, PROFILES["(1+u)kappa1"], sum(entry["mult"] for entry in want), reg=reg)
    order = np.argsort(-lines.values(reg, 1.0), kind="stable")[: len(want)]
    np.testing.assert_allclose(lines.values(reg, 1.0)[order], [entry["l"] for entry in want], rtol=0, atol=3e-12)
    assert sorted(lines.labels[i] for i in order) == sorted((e["deg"], e["abs_omega"]) for e in want)
    sizes = {(e["deg"], e["abs_omega"]): e["mult"] for e in want}
    assert all(lines.multiplicity[i] == sizes[lines.labels[i]] for i in order)


@pytest.mark.parametrize("d", [3, 4, 8])
def test_eigenfunctions_of_laws_of_shifts(d):
    """Orthonormal under a product rule or many points, eigenfunctions of the mean over shifts, and of their degree."""
    sphere, law, kernel = Sphere(d), Shift([0.5, 0.3, *[0.0] * (d - 3), 0.2]), kernels.Gaussian(1.0)
    lines = sphere._up_to(sphere_operator(law, d), kernel, 3)
    k = int(lines.multiplicity.sum())
    assert k == sum(sphere.multiplicities(3))
    x = sslcore.datasets.sphere(20, d, seed=1)
    for label, t, count in zip(lines.labels, lines.augmentation, lines.multiplicity, strict=True):
        f = sphere.harmonics(*label)
        assert f(x).shape == (20, count)
        # A* A f: the mean over two shifts, one there and one back
        shifts = [(p * q, a - b) for a, p in enumerate(law.law) for b, q in enumerate(law.law)]
        smoothed = sum(weight * f(np.roll(x, a, axis=1)) for weight, a in shifts)
        np.testing.assert_allclose(smoothed, t * f(x), atol=1e-10)
    for degree in range(4):  # all characters together are the degree, by the addition theorem
        block = np.concatenate([sphere.harmonics(*label)(x) for label in lines.labels if label[0] == degree], axis=1)
        expected = [[sphere.zonal(degree, pole)(point[None])[0] for pole in x] for point in x]
        np.testing.assert_allclose(block @ block.T, math.sqrt(block.shape[1]) * np.array(expected), atol=1e-9)
    first = np.argsort(-lines.values(1e-2, 1.0), kind="stable")[:3]
    k = int(lines.multiplicity[first].sum())
    f = sphere.eigenfunctions(law, kernel, reg=1e-2, n_components=k)
    expected = np.concatenate([sphere.harmonics(*lines.labels[i])(x) for i in first], axis=1)
    np.testing.assert_allclose(f(x) @ f(x).T, expected @ expected.T, atol=1e-10)
    with pytest.raises(ValueError, match="not in degree 0"):
        sphere.harmonics(0, 1)


@pytest.mark.parametrize("d", [2, 3])
def test_eigenfunctions(d):
    """Blocks of the harmonics in the spectrum's order: the projector of a complete block is the addition theorem's."""
    sphere, law, kernel = Sphere(d), HeatKernel(0.1), kernels.Gaussian(1.0)
    k = sum(sphere.multiplicities(2))
    f = sphere.eigenfunctions(law, kernel, reg=1e-4, n_components=k)
    labels = np.array(sphere.spectrum(law, kernel, reg=1e-4, n_components=k).labels)
    x = np.random.default_rng(0).standard_normal((9, d))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    values = f(x)
    for degree in range(3):
        block = values[:, labels == degree]
        expected = [[sphere.zonal(degree, pole)(point[None])[0] for pole in x] for point in x]
        size = math.sqrt(block.shape[1])
        np.testing.assert_allclose(block @ block.T, size * np.array(expected), atol=1e-12)


@pytest.mark.parametrize("d", [2, 3, 5])
@pytest.mark.parametrize(
    "law",
    [
        TangentStep(0.7),
        RandomRotation(1.1),
        SignFlip(0.3),
        Compose(TangentStep(0.4), RandomRotation(0.5)),
        Mixture([0.3, 0.7], [TangentStep(0.5), SignFlip(1.0)]),
    ],
)
def test_views_average_harmonics_by_these_eigenvalues(law, d):
    sphere, n = Sphere(d), 60_000
    x, pole = sslcore.datasets.sphere(2, d, seed=3)
    views = law.views(x[None], n, seed=0)[0]
    for degree in (1, 2, 3):
        f = sphere.zonal(degree, pole)
        means = sphere._up_to(sphere_operator(law, d), kernels.Linear(), degree).augmentation[degree]
        signed = sphere_operator(law, d).values(degree)[degree, 0]
        assert signed**2 == pytest.approx(means, abs=1e-15)
        spread = f(views).std() / math.sqrt(n)
        assert abs(f(views).mean() - signed * f(x[None])[0]) < 5 * spread + 1e-12


def sphere_operator(law, d):
    from sslcore.population.sphere_operators import Operator

    return Operator.of(law, d)


@given(d=st.integers(2, 12), angle=st.floats(0, math.pi), degree=st.integers(0, 40))
@settings(max_examples=30, deadline=None)
def test_bounds_hold_for_all_further_degrees(d, angle, degree):
    for law in (TangentStep(angle), RandomRotation(angle), HeatKernel(angle / 10)):
        operator = sphere_operator(law, d)
        later = np.abs(operator.values(degree + 60))[degree:, 0].max()
        assert later <= operator.bound(degree) + 1e-12


def test_bounds_are_sharp_enough_to_fall():
    # at pi a rotation moves x by s, cos s = 1 - 2 r^2: for d = 4, r^2 uniform
    share = (np.arange(20_000) + 0.5) / 20_000
    for degree in (3, 10):
        want = np.mean([_moved(s, degree) for s in np.arccos(1 - 2 * share[::400])])
        assert sphere_operator(RandomRotation(math.pi), 4).bound(degree) == pytest.approx(want, rel=0.05)
    assert sphere_operator(TangentStep(1.0), 5).bound(200) < 1e-2


def _moved(angle, degree):
    """E (cos^2 s + u^2 sin^2 s)^(l/2), u a coordinate of S^2: uniform on [-1, 1]."""
    u = np.linspace(-1, 1, 2001)
    return np.mean((np.cos(angle) ** 2 + (u * np.sin(angle)) ** 2) ** (degree / 2))


def test_shifts_commute_with_steps_and_mixtures_interfere():
    sphere, steps, shift = Sphere(4), TangentStep(0.6), Shift([0.5, 0.5])
    one, two = sphere.augmentation_eigenvalues(steps, 3)[:, None], sphere.augmentation_eigenvalues(shift, 3)
    np.testing.assert_allclose(sphere.augmentation_eigenvalues(Compose(steps, shift), 3), one * two, atol=1e-15)
    # A = (shift by 1 + identity) / 2 is the shift with that law
    mixed = sphere.augmentation_eigenvalues(Mixture([0.5, 0.5], [Shift([0, 1]), Shift([1])]), 3)
    np.testing.assert_allclose(mixed, two, atol=1e-15)


def test_the_risk_under_shifts_is_that_of_a_product_rule():
    x = sslcore.datasets.sphere(60, 3, seed=0)
    law = Compose(Shift([0.5, 0.3, 0.2]), TangentStep(0.3))
    rep = sslcore.pretrain(law.views(x, 2, seed=0), kernels.Gaussian(0.8), 4, reg=1e-2)
    points, weights = product_rule(24)
    psi = rep(points)
    second = psi.T @ (weights[:, None] * psi)
    smooth = np.zeros_like(second)
    for n in range(14):  # A psi = E psi(shifted), then steps act on the degrees
        shifted = sum(p * rep(np.roll(points, a, axis=1)) for a, p in enumerate((0.5, 0.3, 0.2)))
        part = Sphere(3).harmonics(n)(points).T @ (weights[:, None] * shifted)
        smooth += zonal.legendre(3, n, np.array([math.cos(0.3)]))[n] ** 2 * part.T @ part
    found = Sphere(3).moments(rep, law)
    np.testing.assert_allclose(found[0], second, atol=1e-9)
    np.testing.assert_allclose(found[1], smooth, atol=1e-9)


def test_labels_with_shifts():
    sphere, law, kernel = Sphere(5), Shift([0.5, 0.5]), kernels.Gaussian(1.0)
    assert sphere.canonical((2, -1)) == sphere.canonical((2, 4)) == (2, 1)
    lines = sphere.select(law, kernel, [(1, 2), (1, -2), (0, 0)])
    assert list(lines.labels) == [(1, 2), (1, 2), (0, 0)]
    with pytest.raises(ValueError, match="no line has the label"):
        sphere.select(law, kernel, [(0, 1)])
    crossing = sphere.crossings(law, kernel, labels=[(2, 0), (1, 1)])
    assert [(c.before, c.after) for c in crossing] == [((2, 0), (1, 1))]
    with pytest.raises(ValueError, match="max_degree"):
        sphere.crossings(law, kernel, 3)
    assert Sphere(5, max_degree=3).crossings(law, kernel, 3)
    with pytest.raises(ValueError, match="shifts"):
        Sphere(3).augmentation_eigenvalues(Shift([0.25] * 4))


def test_a_high_degree_that_beats_the_low_ones_is_found():
    """Nothing below degree 9 tells of it but the rest of the trace."""

    def kernel(x, y):
        t = x @ y.T
        return 0.1 * t + zonal.legendre(3, 12, np.clip(t, -1, 1).ravel())[12].reshape(t.shape)

    found = Sphere(3).spectrum(HeatKernel(0.0), kernel, reg=1e-3, n_components=25)
    assert set(found.labels) == {12}
    np.testing.assert_allclose(found.kernel, 1 / 25, rtol=1e-12)
