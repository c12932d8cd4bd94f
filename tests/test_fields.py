"""The words of neighbouring fields: each by its field's own formulas; and their page, whose examples run."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import sslcore
from sslcore.features import Identity
from sslcore.kernels import Gaussian, Linear
from sslcore.positives import Labels, Neighbors, Pairs, TimeLag

from . import naive
from .comparators import assert_close

PAGE = Path(__file__).parents[1] / "docs" / "fields.md"


def trajectory(n=150, seed=0):
    rng = np.random.default_rng(seed)
    x = np.zeros((n, 3))
    for t in range(1, n):
        x[t] = [0.95, 0.7, -0.3] * x[t - 1] + rng.standard_normal(3)
    return x @ rng.standard_normal((3, 3)) + 2.0


def on_points(n, k, positives, center=False):
    """A fit of all functions on n points, to rounding."""
    return sslcore.pretrain(np.eye(n), Linear(), k, reg=1e-10, center=center, positives=positives)


@pytest.mark.parametrize("lag", [1, 4])
def test_tica(lag):
    x = trajectory()
    rep = sslcore.pretrain(x, Linear(), 3, reg=1e-7, center=True, positives=TimeLag(lag))
    expected, weights = naive.tica(x, lag)
    assert_close(rep.autocorrelations(), expected, tol=1e-8)
    assert_close(rep.eigenvalues, expected, tol=1e-5)
    assert_close(rep.timescales(lag)[:2], -lag / np.log(expected[:2]), tol=1e-7)
    assert_close(rep.timescales(10 * lag)[:2], -10 * lag / np.log(expected[:2]), tol=1e-7)
    theirs = (x - x.mean(axis=0)) @ weights
    for ours, column in zip(rep.transform(x, scale="unit").T, theirs.T, strict=True):
        assert abs(np.corrcoef(ours, column)[0, 1]) > 1 - 1e-6


@pytest.mark.parametrize("lag", [1, 4])
def test_tica_of_features(lag):
    """Without any reg, to rounding."""
    x = trajectory(400)
    rep = sslcore.pretrain(x, Identity(), 3, reg=0, center=True, positives=TimeLag(lag))
    assert_close(rep.autocorrelations(), naive.tica(x, lag)[0], tol=1e-10)
    assert_close(rep.eigenvalues, rep.autocorrelations(), tol=1e-12)


def test_timescales_of_what_does_not_decay():
    """inf for 1, NaN for what is negative and beyond the rank."""
    x = trajectory()
    rep = sslcore.pretrain(x, Linear(), 3, reg=1e-7, center=True, positives=TimeLag(1))
    assert rep.autocorrelations()[2] < 0
    assert np.isnan(rep.timescales(1)[2])
    apart = on_points(6, 2, Labels([0, 0, 0, 1, 1, 1]))
    assert (apart.timescales(1.0) > 1e6).all()
    flat = sslcore.pretrain(x[:, :2], Linear(), 3, reg=1e-3, positives=TimeLag(1))
    assert np.isnan([flat.timescales(1)[2], flat.slowness()[2], flat.laplacian_eigenvalues()[2]]).all()
    assert flat.certificate.rank == 2


def test_slow_functions_keep_their_digits():
    """An invariance far below the rounding of 1."""
    rep = replace(
        on_points(6, 4, Pairs([0, 1, 2, 3, 4], [1, 2, 3, 4, 5])), invariance=np.array([-1e-20, 3e-17, 0.2, 1])
    )
    assert_close(rep.slowness(), 2 * rep.invariance, tol=1e-15)
    assert_close(rep.laplacian_eigenvalues(), rep.invariance, tol=1e-15)
    assert_close(rep.timescales(2.0)[1:3], [2 / 3e-17, -2 / np.log(0.8)], tol=1e-14)
    assert rep.timescales(2.0)[0] == np.inf
    assert np.isnan(rep.timescales(2.0)[3])


@pytest.mark.parametrize("lag", [0.0, -1.0, np.nan, np.inf, "1", None, True])
def test_a_lag_is_a_number(lag):
    rep = on_points(4, 1, Pairs([0, 1], [1, 2]))
    with pytest.raises((ValueError, TypeError), match="lag must be"):
        rep.timescales(lag)


def test_slow_features():
    x = trajectory(400)
    rep = sslcore.pretrain(x, Linear(), 3, reg=1e-7, center=True, positives=TimeLag(1))
    assert_close(rep.slowness(), 2 * (1 - naive.tica(x, 1)[0]), tol=1e-8)
    assert_close(rep.slowness(), naive.slow_features(x), tol=4 / 400)  # whose variances are over all times


@pytest.mark.parametrize("n_neighbors", [3, 6])
def test_laplacian_eigenmaps(n_neighbors):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((40, 2))
    law = Neighbors(n_neighbors).law(x)
    affinity = np.zeros((40, 40))
    affinity[law.first, law.second] = affinity[law.second, law.first] = law.weight
    degree = affinity.sum(axis=1)
    expected = np.linalg.eigvalsh(np.eye(40) - affinity / np.sqrt(np.outer(degree, degree)))
    rep = on_points(40, 5, Pairs(law.first, law.second, law.weight))
    assert_close(rep.laplacian_eigenvalues(), expected[:5], tol=1e-7)
    manifold = pytest.importorskip("sklearn.manifold")
    theirs = manifold.SpectralEmbedding(4, affinity="precomputed", random_state=0).fit_transform(affinity)
    ours = rep.transform(np.eye(40), scale="unit")[:, 1:]
    if (np.diff(expected[:6]) > 1e-3).all():
        for a, b in zip(ours.T, theirs.T, strict=True):
            assert abs(a @ b) / np.sqrt((a @ a) * (b @ b)) > 1 - 1e-7


def test_a_kernel_of_the_points_is_near_them_and_has_new_ones():
    x = sslcore.datasets.half_moons(80, seed=0)
    law = Neighbors(6)
    rep = sslcore.pretrain(x, Gaussian(0.2), 3, reg=1e-7, center=True, positives=law)
    measured = law.law(x)
    root = np.sqrt(measured.measure)
    v = root[:, None] * rep.transform(x, scale="unit")
    quadratic = np.einsum("ij,ik,kj->j", v, np.eye(80) - measured.operator(), v)
    assert_close(rep.laplacian_eigenvalues(), quadratic, tol=1e-7)
    assert rep(x + 0.01).shape == (80, 3)


def blocks():
    return re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)


@pytest.mark.skipif(not PAGE.exists(), reason="the pages are not part of an installation")
def test_the_examples_of_the_page_run():
    found = blocks()
    assert len(found) == 8
    for block in found:
        assert "assert" in block
        exec(compile(block, str(PAGE), "exec"), {})
