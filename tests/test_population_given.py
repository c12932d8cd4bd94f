"""Eigenvalues of one's own T on the domains of the population, and functions that are known by name only."""

import itertools
import math
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sslcore.augmentations import BitFlip, GaussianNoise
from sslcore.kernels import NTK, Convolutional, Gaussian, PeriodicGaussian, Polynomial
from sslcore.population import (
    CutBlockWarning,
    Eigenvalues,
    HeatKernel,
    Hypercube,
    Modes,
    Sphere,
    SubsetClass,
    Torus,
)

from . import naive
from .strategies import seeds

KERNEL = Gaussian(1.2)


def quietly(domain, *arguments, **numbers):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CutBlockWarning)
        return domain.spectrum(*arguments, **numbers)


@given(seeds, st.integers(1, 40), st.sampled_from([1e-3, 0.02, 0.3]), st.sampled_from([0.5, 1.0, 1.7]))
def test_the_cube_against_a_dense_eigenproblem(seed, k, reg, beta):
    """T = sum_S t_S chi_S chi_S^T / 2^d as a matrix, signed; the same eigenvalues, decreasing."""
    d = 4
    rng = np.random.default_rng(seed)
    sets = [s for h in range(d + 1) for s in itertools.combinations(range(d), h)]
    chosen = [sets[i] for i in rng.permutation(16)[:5]]
    values = {s: float(v) for s, v in zip(chosen, rng.uniform(-0.5, 1.2, 5), strict=True)} | {1: 0.4}
    rest = float(rng.uniform(-0.3, 0.3))
    t = np.array([values.get(s, 0.4 if len(s) == 1 else rest) for s in sets])
    chi = naive.parities(d, sets) / 4
    x = naive.cube_points(d)
    gram = KERNEL(x, x) / 16
    dense = (1 - beta) * np.eye(16) + beta * (chi * t) @ chi.T - reg * np.linalg.inv(gram)
    found = quietly(Hypercube(d), Eigenvalues(values, rest), KERNEL, reg=reg, beta=beta, n_components=min(k, 16))
    expected = np.linalg.eigvalsh(dense)[::-1]
    np.testing.assert_allclose(found.eigenvalues, expected[: min(k, 16)], rtol=1e-9, atol=1e-9)


DOMAINS = [
    (Hypercube(7), BitFlip(0.13), KERNEL, range(8)),
    (Hypercube(40), BitFlip(0.13), Gaussian(5.0), range(41)),
    (Sphere(4), HeatKernel(0.04), KERNEL, range(30)),
    (Sphere(3), HeatKernel(0.04), NTK(2), range(30)),
    (Torus(1), GaussianNoise(0.07), PeriodicGaussian(0.1), range(30)),
]


@pytest.mark.parametrize(("domain", "law", "kernel", "labels"), DOMAINS)
def test_the_same_as_the_law_that_has_them(domain, law, kernel, labels):
    if isinstance(domain, Torus):
        t = domain.augmentation_eigenvalues(law, np.array(labels))
    elif isinstance(domain, Hypercube):
        t = (1 - 2 * law.p) ** (2.0 * np.array(labels))
    else:
        t = domain.augmentation_eigenvalues(law, len(labels) - 1)
    own = Eigenvalues(t)
    for reg, beta in ((1e-2, 1.0), (1e-3, 0.6)):
        expected = quietly(domain, law, kernel, reg=reg, beta=beta, n_components=9)
        found = quietly(domain, own, kernel, reg=reg, beta=beta, n_components=9)
        np.testing.assert_allclose(found.eigenvalues, expected.eigenvalues, rtol=1e-12)
        assert (found.labels, found.block_ends) == (expected.labels, expected.block_ends)
        assert found.minimum_risk() == pytest.approx(expected.minimum_risk(), abs=1e-12)
    crossings = domain.crossings(law, kernel, 3)
    np.testing.assert_allclose([c.reg for c in domain.crossings(own, kernel, 3)], [c.reg for c in crossings])
    if domain.d < 25:
        label = domain.lines(law, kernel, 3).labels[1]
        one, two = (domain.select(a, kernel, [label]) for a in (law, own))
        np.testing.assert_allclose([one.augmentation, one.kernel], [two.augmentation, two.kernel], rtol=1e-12)


@pytest.mark.parametrize(
    ("domain", "kernel", "far"),
    [(Sphere(3), KERNEL, 11), (Torus(2), PeriodicGaussian(0.2), (3, 1)), (Hypercube(6), KERNEL, (0, 2, 3, 5))],
)
def test_functions_that_are_not_named_follow_the_kernel(domain, kernel, far):
    """One far function has t = 1; the others have t = 0.1, and come in the order of kappa, none left out."""
    own, n = Eigenvalues({far: 1.0}, rest=0.1), 40
    lines = domain.lines(own, kernel, n)
    (kappa,) = domain.select(own, kernel, [far]).kernel
    assert lines.augmentation[list(lines.labels).index(far)] == 1
    reg = 0.05 * kappa
    found = quietly(domain, own, kernel, reg=reg, n_components=n)
    assert found.labels[0] == far
    np.testing.assert_allclose(found.eigenvalues[0], 1 - reg / kappa)
    plain = {Sphere: HeatKernel(0.0), Torus: GaussianNoise(0.0), Hypercube: BitFlip(0.0)}[type(domain)]
    others = quietly(domain, plain, kernel, reg=reg, n_components=64)
    expected = [(mu - 0.9, label) for mu, label in zip(others.eigenvalues, others.labels, strict=True) if label != far]
    size = found.multiplicities[0]
    np.testing.assert_allclose(found.eigenvalues[size:], [mu for mu, _ in expected[: n - size]], atol=1e-12)
    assert found.labels[size:] == tuple(label for _, label in expected[: n - size])


def test_without_a_penalty():
    own = Eigenvalues({0: 1.0, 2: 0.7}, rest=0.1)
    found = Sphere(3).spectrum(own, None, reg=0.0, n_components=6)
    assert found.labels == (0, 2, 2, 2, 2, 2)
    assert Sphere(3).minimum_risk(own, None, 6) == pytest.approx(6 - 1 - 5 * 0.49)
    with pytest.raises(
        ValueError, match=r"all functions that are not named are equal, and 6 of those .* have a larger"
    ):
        quietly(Sphere(3), own, None, reg=0.0, n_components=7)
    assert Hypercube(4).minimum_risk(Eigenvalues([1.0, 0.5], rest=0.1), None, 16) == pytest.approx(16 - 2 - 11 * 0.01)


def test_kernels_that_pool_and_kernels_of_finite_rank():
    kernel = Convolutional(Gaussian(1.0), 3, "global")
    found = Hypercube(6).lines(Eigenvalues([1.0, 0.5]), kernel, 4)
    assert found.augmentation[list(found.labels).index(((0,), 0))] == 0.5
    with pytest.raises(ValueError, match="by the sizes of sets here, found one for \\(0,\\): pooling mixes"):
        Hypercube(6).lines(Eigenvalues({(0,): 0.5}), kernel, 4)
    found = Sphere(3).spectrum(Eigenvalues({1: 0.5, 7: 1.0}), Polynomial(2, 1.0), reg=0.01, n_components=9)
    assert found.labels == (1, 1, 1, 0, 2, 2, 2, 2, 2)


def test_names_alone():
    three = Modes("fgh", multiplicities=[1, 2, 1])
    t, kappa = Eigenvalues({"f": 0.9, "g": 0.75}, rest=0.5), Eigenvalues({"f": 2.5, "g": 4.0, "h": 8.0})
    found = three.spectrum(t, kappa, reg=1.5, n_components=3)
    assert found.labels == ("g", "g", "h")
    np.testing.assert_allclose(found.eigenvalues, [0.375, 0.375, 0.3125])
    assert found.projection_error({"f": 2.0, "h": 1.0}) == pytest.approx(4.0)
    assert [c.reg for c in Modes(3).crossings(Eigenvalues([0.9, 0.75, 0.5]), Eigenvalues([2.5, 4.0, 8.0]))] == [
        pytest.approx(1.0),
        pytest.approx(2.0),
    ]
    assert three.minimum_risk(t, None, 2) == pytest.approx(2 - 0.81 - 0.5625)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: Eigenvalues("ab"), TypeError, "values must be a mapping from labels to eigenvalues.* found str"),
        (lambda: Eigenvalues([1.0, math.nan]), ValueError, "the eigenvalue of 1 must be a finite number"),
        (lambda: Eigenvalues([(0, 1.0), (0, 0.5)]), ValueError, "values names 0 twice"),
        (lambda: Hypercube(4).lines(Eigenvalues({(0, 1): 1, (1, 0): 1}), KERNEL, 1), ValueError, r"\(0, 1\) twice"),
        (
            lambda: Hypercube(4).lines(Eigenvalues({5: 1.0}), KERNEL, 1),
            ValueError,
            "size of sets must be .* 4, found 5",
        ),
        (lambda: Hypercube(4).lines(Eigenvalues({(7,): 1.0}), KERNEL, 1), ValueError, "coordinate"),
        (lambda: Hypercube(30).lines(Eigenvalues({(7,): 1.0}), KERNEL, 1), ValueError, "by the sizes of sets here"),
        (lambda: Sphere(3).lines(Eigenvalues({"a": 1.0}), KERNEL, 1), TypeError, "the degree"),
        (lambda: Torus(1).lines(Eigenvalues({(1, 2): 1.0}), PeriodicGaussian(0.1), 1), ValueError, "1 entries"),
        (lambda: Torus(1).lines(Eigenvalues({1: 1.0, -1: 0.5}), PeriodicGaussian(0.1), 1), ValueError, "twice"),
        (lambda: Modes(0), ValueError, "labels, if it is their number, must be .* found 0"),
        (lambda: Modes("aa"), ValueError, "labels must be different"),
        (lambda: Modes("ab", [1]), ValueError, "multiplicities must be as many as labels, 2, found 1"),
        (
            lambda: Modes(2).spectrum(BitFlip(0.1), KERNEL, reg=1, n_components=1),
            TypeError,
            "Eigenvalues, found BitFlip",
        ),
        (lambda: Modes(2).lines(Eigenvalues({5: 1.0}), Eigenvalues([1]), 1), ValueError, "no function has the label 5"),
        (lambda: Modes(2).lines(Eigenvalues([1]), Eigenvalues([-1]), 1), ValueError, "those of K must be >= 0"),
    ],
)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_classes_of_large_cubes_are_named_by_their_size():
    lines = Hypercube(30).lines(Eigenvalues([1.0, 0.5]), Gaussian(4.0), 3)
    assert lines.labels[1] == SubsetClass(1, None)
    assert lines.multiplicity[2] == 435
    one = Hypercube(30).select(Eigenvalues({(0, 7): 0.3, 2: 0.2}), Gaussian(4.0), [(0, 7), (1, 2)])
    assert one.augmentation.tolist() == [0.3, 0.2]
