"""Eigenfunctions on the cube, and exact risks of representations, against dense matrices from the law."""

import dataclasses
import functools
import itertools
import math
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import sslcore
from sslcore.augmentations import BitFlip, Compose, Crop, Mixture, Resample, Reversal, Shift, SignFlip
from sslcore.features import Identity
from sslcore.kernels import Exponential, Gaussian, Polynomial
from sslcore.population import CutBlockWarning, Hypercube
from sslcore.population.cube_risk import _pair_sums, _table

from . import naive
from .strategies import seeds

LAWS = [
    BitFlip(0.15),
    Compose(Crop(3), Resample(0.3)),
    Mixture([0.4, 0.6], [Compose(Crop(4), BitFlip(0.9)), Crop(2, cyclic=False)]),
    Compose(Shift([0.5, 0.2, 0.3]), Crop(3), SignFlip(0.2)),
    Compose(Crop(3, cyclic=False), Shift([0.6, 0.4]), Reversal(0.3)),
]


def quietly(function, *arguments, **keywords):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CutBlockWarning)
        return function(*arguments, **keywords)


@pytest.mark.parametrize("law", LAWS, ids=repr)
def test_eigenfunctions(law):
    """Orthonormal on the cube, T f = t f for the law's own matrix, K f = kappa f for the Gram matrix."""
    d = 5
    x, a = naive.cube_points(d), naive.cube_law(law, d)
    f = quietly(Hypercube(d).eigenfunctions, law, Gaussian(1.5), reg=1e-3, n_components=25)
    values = f(x)
    np.testing.assert_allclose(values.T @ values / 2**d, np.eye(25), atol=1e-13)
    np.testing.assert_allclose(a.T @ (a @ values), values * f.spectrum.augmentation, atol=1e-13)
    gram = np.asarray(naive.gram(Gaussian(1.5), x), float) / 2**d
    np.testing.assert_allclose(gram @ values, values * f.spectrum.kernel, atol=1e-14)


def test_eigenfunctions_of_classes():
    f = Hypercube(40).eigenfunctions(Compose(Crop(30), BitFlip(0.01)), Gaussian(5.0), reg=1e-3, n_components=81)
    assert [terms[0][0] for terms in f.terms[:3]] == [(), (0,), (1,)]
    assert f.spectrum.block_ends == (1, 41, 81)
    assert {tuple(np.diff(s) % 40 % 38) for ((s, _),) in f.terms[41:]} == {
        (1,)
    }  # neighbours, the last and the first too
    x = np.random.default_rng(0).choice([-1.0, 1.0], (7, 40))
    np.testing.assert_array_equal(f(x)[:, 1:41], x)


def dense_moments(values, law, d):
    smooth = naive.cube_law(law, d) @ values
    return values.T @ values / 2**d, smooth.T @ smooth / 2**d


@given(st.sampled_from(LAWS), st.integers(4, 6), st.integers(1, 4), seeds, st.sampled_from([0.5, 1.0, 2.0]))
def test_risk_of_an_embedding_against_the_law(law, d, k, seed, beta):
    values = np.random.default_rng(seed).standard_normal((2**d, k))
    second, smooth = dense_moments(values, law, d)
    cube = Hypercube(d)
    expected = 2 * beta * np.trace(second - smooth) + np.sum((second - np.eye(k)) ** 2)
    found = cube.moments(values, law)
    np.testing.assert_allclose(found[0], second, atol=1e-12 * second.max())
    np.testing.assert_allclose(found[1], smooth, atol=1e-12 * second.max())
    assert cube.risk(values, law, beta) == pytest.approx(expected, rel=1e-12)
    minimum = cube.minimum_risk(law, Gaussian(1.0), k, beta=beta)
    assert cube.excess_risk(values, law, beta) == pytest.approx(expected - minimum, rel=1e-12)
    assert expected >= minimum - 1e-12
    function = cube.moments(lambda x: values[((1 - x) / 2 @ 2 ** np.arange(d)).astype(int)], law)
    np.testing.assert_array_equal(function[0], found[0])


@pytest.mark.parametrize("law", LAWS, ids=repr)
def test_the_minimiser_has_no_excess(law):
    cube = Hypercube(6)
    f = quietly(cube.eigenfunctions, law, Gaussian(2.0), reg=0.0, n_components=9)
    values = f(naive.cube_points(6)) * np.sqrt(f.spectrum.eigenvalues)
    assert cube.excess_risk(values, law) == pytest.approx(0, abs=1e-12)
    assert cube.excess_risk(1.1 * values, law) > 1e-3


@functools.cache
def fit(kernel, d, n, *, reg=1e-2, center=False, k=3, law=None, seed=0):
    x = sslcore.datasets.hypercube(n, d, seed=seed)
    views = (law or BitFlip(0.1)).views(x, 2, seed=1)
    return sslcore.pretrain(views, kernel, k, reg=reg, center=center)


IDENTITIES = [
    *LAWS[:4],
    Compose(Crop(7), BitFlip(0.1)),
    Compose(Crop(6), Crop(4, cyclic=False)),
    Compose(Reversal(0.3), Crop(4), Shift([0.5, 0.2, 0.3])),
    Compose(Crop(3, cyclic=False), Reversal(0.4), SignFlip(0.1)),
    Compose(Shift([0.1, 0.9]), Reversal(0.7), Shift([0.2, 0.2, 0.6])),
]


@settings(max_examples=20)
@given(
    st.sampled_from(IDENTITIES),
    st.sampled_from([Gaussian(2.0), 0.5 * Exponential(3.0) + Gaussian(1.0), Polynomial(3, 1.0)]),
    st.booleans(),
)
def test_identities_of_kernels_against_enumeration(law, kernel, center):
    d = 7
    rep = fit(kernel, d, 40, center=center)
    if not center:  # whose coefficients have a mean, as those of a centred fit have not
        rep = dataclasses.replace(rep, intercept=np.array([0.3, -0.2, 0.0]))
    values = rep(naive.cube_points(d))
    second, smooth = dense_moments(values, law, d)
    found = Hypercube(d).moments(rep, law)
    np.testing.assert_allclose(found[0], second, atol=1e-10)
    np.testing.assert_allclose(found[1], smooth, atol=1e-10)


@pytest.mark.parametrize("width", [3, 4, 5])
def test_wide_crops_by_pairs_of_windows(width):
    """The same sums by another way, taken for windows wider than 16: forced here, arcs of both kinds."""
    law = Compose(Shift([0.5, 0.5]), Crop(width), BitFlip(0.1))
    rep = fit(Gaussian(2.0), 6, 20)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sslcore.population.cube_risk.WINDOW", 1)
        found = Hypercube(6).moments(rep, law)
    _, smooth = dense_moments(rep(naive.cube_points(6)), law, 6)
    np.testing.assert_allclose(found[1], smooth, atol=1e-11)


def test_representations_without_identities_are_enumerated():
    law = Compose(Shift([0.5, 0.5]), Crop(3, cyclic=False))
    for rep in (fit(Gaussian(2.0), 6, 20), fit(Identity(), 6, 20)):
        second, smooth = dense_moments(rep(naive.cube_points(6)), law, 6)
        np.testing.assert_allclose(Hypercube(6).moments(rep, law)[1], smooth, atol=1e-11)
        assert Hypercube(6).risk(rep, law) == pytest.approx(
            2 * np.trace(second - smooth) + np.sum((second - np.eye(3)) ** 2), rel=1e-10
        )


def test_crops_in_forty_dimensions_against_pairs_of_windows():
    """<k(., x), T k(., y)> = d^-2 sum over windows W, W' of sum_{S in both} nu_|S|^2 chi_S(x y)."""
    d, width, law = 40, 5, Crop(5)
    rep = fit(Gaussian(3.0), d, 3, k=2)
    x, alpha = rep.centres, rep.coefficients * np.sqrt(np.maximum(rep.eigenvalues, 0))
    nu = Hypercube(d).kernel_eigenvalues(Gaussian(3.0))
    windows = [{(s + i) % d for i in range(width)} for s in range(d)]
    expected = np.zeros((2, 2))
    for a, b in itertools.product(range(len(x)), repeat=2):
        z = x[a] * x[b]
        total = 0.0
        for one, other in itertools.product(windows, windows):
            both = sorted(one & other)
            for size in range(len(both) + 1):
                total += nu[size] ** 2 * sum(math.prod(z[list(s)]) for s in itertools.combinations(both, size))
        expected += total / d**2 * np.outer(alpha[a], alpha[b])
    np.testing.assert_allclose(Hypercube(d).moments(rep, law)[1], expected, rtol=1e-10)


def test_tables_and_pair_sums():
    """Krawtchouk sums by integers; tiles of every shape."""
    rng = np.random.default_rng(0)
    for d in (1, 2, 7, 10):
        weights = rng.random(d + 1)
        expected = [
            sum(
                weights[h] * sum((-1) ** i * math.comb(j, i) * math.comb(d - j, h - i) for i in range(min(h, j) + 1))
                for h in range(d + 1)
            )
            for j in range(d + 1)
        ]
        np.testing.assert_allclose(_table(weights, d), expected, atol=1e-13 * max(expected))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sslcore.tunables.CUBE_TILE_PAIRS", (4, 8))
        for n in (1, 4, 5, 9, 17):
            x, alpha, tables = rng.choice([-1.0, 1.0], (n, 6)), rng.standard_normal((n, 2)), rng.random((2, 7))
            distances = ((6 - x @ x.T) / 2).astype(int)
            expected = [alpha.T @ table[distances] @ alpha for table in tables]
            np.testing.assert_allclose(_pair_sums(x, alpha, tables), expected, atol=1e-12)


def test_bad_input():
    cube, law = Hypercube(5), BitFlip(0.1)
    with pytest.raises(ValueError, match=r"values at all 2\^5 = 32 points of the cube, found shape \(31, 2\)"):
        cube.risk(np.zeros((31, 2)), law)
    with pytest.raises(ValueError, match="must be finite"):
        cube.risk(np.full(32, np.nan), law)
    with pytest.raises(ValueError, match="takes points of 6 coordinates"):
        cube.risk(fit(Gaussian(1.0), 6, 5), law)
    off = sslcore.pretrain(np.random.default_rng(0).random((5, 2, 5)), Gaussian(1.0), 2, reg=0.1)
    with pytest.raises(ValueError, match="centres of the representation must be points of the cube"):
        cube.risk(off, law)
    large = fit(Gaussian(3.0), 30, 5)
    for law, message in [
        (Mixture([0.5, 0.5], [Crop(17), BitFlip(0.1)]), "crops wider than 16"),
        (Compose(Shift([0.5, 0.5]), Crop(3, cyclic=False)), "do not commute"),
    ]:
        with pytest.raises(ValueError, match=message):
            Hypercube(30).risk(large, law)
    with pytest.raises(ValueError, match="enumerated up to d = 24"):
        Hypercube(30).risk(lambda x: x, BitFlip(0.1))
    f = cube.eigenfunctions(BitFlip(0.1), Gaussian(1.0), reg=0.0, n_components=6)
    with pytest.raises(ValueError, match="must have 5 coordinates"):
        f(np.ones((2, 4)))
    with pytest.raises(ValueError, match="points of the cube"):
        f(np.zeros((2, 5)))
    with pytest.raises(ValueError, match="beta must be"):
        cube.risk(np.zeros(32), BitFlip(0.1), beta=-1.0)
