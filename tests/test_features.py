"""Feature maps, and their moments: accumulated in any way, saved, merged, damaged, interrupted."""

import itertools
import math
import subprocess
import sys
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sslcore import Moments, Views, features, pretrain
from sslcore.augmentations import GaussianNoise
from sslcore.backends import get_backend
from sslcore.errors import CertificateError, NotPositiveSemidefiniteError
from sslcore.features import Features, Identity, Nystrom, RandomFourier
from sslcore.fitting import accumulator as accumulator_module
from sslcore.fitting import data as data_inputs
from sslcore.kernels import Exponential, Gaussian, L1Exponential, Linear, Matern, Polynomial, Precomputed
from sslcore.positives import TimeLag
from sslcore.probing import ridge_probe
from sslcore.selection import AutoReg

from . import naive
from .comparators import assert_close, assert_same_subspace
from .strategies import LAYOUTS, seeds, with_layout
from .test_samples import groupings


def normal(shape, seed=0, dtype=np.float64):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def noisy(n, m, d, seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, 1, d)) + 0.3 * rng.standard_normal((n, m, d))


LANDMARKS = normal((6, 3), 9)
EXAMPLES = {
    "Identity": Identity(),
    "Nystrom": Nystrom(Gaussian(1.5), LANDMARKS),
    "RandomFourier": RandomFourier(Gaussian(1.5), 8, seed=3),
}


def test_every_class_of_features_has_an_example():
    names = {name for name, cls in features.registry.items() if cls.__module__.startswith("sslcore.")}
    assert names == set(EXAMPLES)


# ---------------------------------------------------------------- maps


@pytest.mark.parametrize("name", EXAMPLES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_maps_are_functions_of_the_point(name, layout):
    phi, x = EXAMPLES[name], normal((20, 3))
    whole = phi(x)
    assert whole.shape == (20, phi.n_features(3))
    assert whole.flags.c_contiguous
    assert_close(phi(with_layout(x, layout)), whole, tol=1e-14)
    assert_close(np.concatenate([phi(x[i : i + 1]) for i in range(20)]), whole, tol=1e-14)
    assert not np.shares_memory(whole, x)
    single = phi(x.astype(np.float32))
    assert_close(single, whole, dtype=np.float32, tol=1e-4)
    assert phi.fit(x) is phi


def test_identity():
    x = normal((5, 4))
    assert np.array_equal(Identity()(x), x)
    assert not np.shares_memory(Identity()(x), x)
    assert np.shares_memory(Identity().prepare_to_read(x.shape[1], x.dtype, get_backend(x))(x), x)
    assert Identity() == Identity()


@dataclass(frozen=True)
class Squared(Identity):
    """The squares of coordinates, made in place of copies."""

    def prepare(self, d, dtype, backend):
        return lambda x: backend.xp.array(x * x, order="C")


@pytest.mark.parametrize("law", [None, TimeLag(1)])
def test_what_a_subclass_of_identity_prepares_is_what_is_fitted(law):
    views = noisy(40, 2, 3) if law is None else normal((40, 3))
    found, expected = (
        pretrain(v, phi, 2, reg=1e-2, positives=law) for v, phi in ((views, Squared()), (views * views, Identity()))
    )
    assert_close(found.gamma, expected.gamma, tol=1e-12)
    assert_close(found.transform(views), expected.transform(views * views), tol=1e-9)


def projected(kernel, x, landmarks):
    """k(x, Z) k(Z, Z)^+ k(Z, x): the kernel's projection on the span of its values at the landmarks."""
    values, vectors = np.linalg.eigh(naive.gram(kernel, landmarks).astype(float))
    keep = values > 1e-9 * values[-1]
    cross = naive.gram(kernel, x, landmarks).astype(float) @ vectors[:, keep]
    return (cross / values[keep]) @ cross.T


@pytest.mark.parametrize("kernel", [Exponential(1.0), Matern(1.5, 1.0), Gaussian(0.5), Polynomial(2)], ids=repr)
def test_nystrom_is_the_projection_of_the_kernel(kernel):
    x = normal((30, 3))
    phi = Nystrom(kernel, LANDMARKS)
    assert phi.rank == 6
    values = phi(x)
    assert_close(values @ values.T, projected(kernel, x, LANDMARKS), tol=1e-10)
    at = phi(LANDMARKS)
    assert_close(at @ at.T, kernel(LANDMARKS), tol=1e-12)  # exact at the landmarks


def test_nystrom_of_a_low_rank_kernel():
    """Landmarks that the others determine are dropped, and the rank is told."""
    x = normal((30, 3))
    for kernel, rank in ((Linear(), 3), (Polynomial(2, 0.0), 6), (Polynomial(2), 10)):
        phi = Nystrom(kernel, normal((25, 3), 1))
        assert phi.rank == rank
        assert phi.n_features(3) == 25
        values = phi(x)
        assert values.shape == (30, rank)
        assert_close(values @ values.T, kernel(x), tol=1e-10)
    smooth = Nystrom(Gaussian(20.0), normal((200, 3), 1))
    assert 10 < smooth.rank < 150
    values = smooth(x)
    assert_close(values @ values.T, Gaussian(20.0)(x), tol=1e-9)


def test_nystrom_with_duplicated_landmarks():
    x = normal((10, 3))
    twice = Nystrom(Exponential(1.0), np.concatenate([LANDMARKS, LANDMARKS[:4]]))
    assert twice.rank == 6
    values = twice(x)
    assert_close(values @ values.T, projected(Exponential(1.0), x, LANDMARKS), tol=1e-11)
    rep = pretrain(noisy(20, 2, 3), twice, 8, reg=1e-2)
    assert rep.certificate.rank == 6
    assert (rep(x)[:, 6:] == 0).all()
    assert rep.coefficients.shape == (6, 8)
    assert np.isinf(rep.gamma[6:]).all()


@pytest.mark.parametrize("selection", ["uniform", "rpcholesky"])
def test_nystrom_chooses_landmarks_among_the_views(selection):
    views = noisy(50, 2, 3)
    x = views.reshape(-1, 3)
    phi = Nystrom(Gaussian(1.0), 20, selection, seed=4)
    chosen = phi.fit(views)
    assert isinstance(phi.landmarks, int)
    assert chosen.landmarks.shape == (20, 3)
    positions = [int(np.flatnonzero((x == row).all(axis=1))[0]) for row in chosen.landmarks]
    assert len(set(positions)) == 20
    # the same for the same seed, whatever holds the points; another for another
    for same in (views.reshape(-1, 3), views.copy(order="F")):
        assert np.array_equal(phi.fit(same).landmarks, chosen.landmarks)
    assert not np.array_equal(Nystrom(Gaussian(1.0), 20, selection, seed=5).fit(views).landmarks, chosen.landmarks)
    lazy = Views(normal((30, 3)), GaussianNoise(0.1), 2, 0)
    assert np.array_equal(phi.fit(lazy).landmarks, phi.fit(np.asarray(lazy)).landmarks)
    every = Nystrom(Gaussian(1.0), 100, selection).fit(views)
    assert np.array_equal(np.unique(every.landmarks, axis=0), np.unique(x, axis=0))
    assert pretrain(views, phi, 3, reg=1e-2).model.landmarks.shape == (20, 3)


def test_rpcholesky_is_better_than_uniform_on_clusters():
    """100 points in one cluster, one each in 9 others: pivots find all of them, and never take copies."""
    rng = np.random.default_rng(0)
    x = np.concatenate([0.01 * rng.standard_normal((400, 2)), 10 * np.eye(2), -10 * np.eye(2), 10 + 10 * np.eye(2)])
    kernel = Gaussian(1.0)
    errors = {}
    for selection in ("uniform", "rpcholesky"):
        values = Nystrom(kernel, 10, selection, seed=1).fit(x)(x)
        errors[selection] = float(np.trace(kernel(x) - values @ values.T))
    assert errors["rpcholesky"] < 0.01
    assert errors["uniform"] > 1.0
    copies = np.repeat(normal((8, 2)), 50, axis=0)
    chosen = Nystrom(kernel, 8, "rpcholesky").fit(copies)
    assert chosen.rank == 8
    # more landmarks than distinct points
    assert Nystrom(kernel, 20, "rpcholesky").fit(copies).rank == 8
    assert Nystrom(Linear(), 12, "rpcholesky").fit(normal((50, 3))).rank == 3


def test_rpcholesky_has_the_law_of_one_pivot_at_a_time():
    """Two pivots of a kernel with k(x, x) = 1, 4, 9 and no correlation: probabilities in proportion, without return."""
    x = np.diag([1.0, 2.0, 3.0])
    counts = np.zeros((3, 3))
    trials = 3000
    for seed in range(trials):
        first, second = np.argmax(Nystrom(Linear(), 2, "rpcholesky", seed=seed).fit(x).landmarks, axis=1)
        counts[first, second] += 1
    p = np.array([1.0, 4.0, 9.0]) / 14
    expected = p[:, None] * p / (1 - p[:, None])
    np.fill_diagonal(expected, 0)
    sigma = np.sqrt(expected * (1 - expected) / trials)
    assert (np.abs(counts / trials - expected) <= 4.5 * sigma).all()


@pytest.mark.parametrize("offset", [2e4, -3e6])
def test_random_fourier_far_from_the_origin(backend, offset):
    """float32 points are rounded to a grid there; their features are those of the points on it."""
    x = (np.random.default_rng(0).standard_normal((300, 2)) + offset).astype(np.float32)
    phi = RandomFourier(Gaussian(1.5), 64, seed=3)
    phases = x.astype(np.longdouble) @ phi.frequencies(2).astype(np.longdouble)
    expected = np.concatenate([np.cos(phases), np.sin(phases)], axis=1).astype(np.float64) / np.sqrt(32)
    assert_close(backend.asnumpy(phi(backend.asarray(x))), expected, dtype=np.float32, tol=1e-5)


@pytest.mark.parametrize(
    "kernel",
    [Gaussian(1.3), Exponential(1.3), L1Exponential(1.3), Matern(0.5, 1.3), Matern(1.5, 1.3), Matern(2.5, 1.3)],
    ids=repr,
)
@pytest.mark.parametrize("d", [1, 3])
def test_random_fourier_features_converge_to_the_kernel(kernel, d):
    """Mean over r/2 frequencies of cos <w, x - y>, of variance at most 1: five standard deviations at r/2 = 20,000."""
    x = normal((6, d)) * 1.5
    half = 20_000
    phi = RandomFourier(kernel, 2 * half, seed=2)
    values = phi(x)
    assert values.shape == (6, 2 * half)
    expected = naive.gram(kernel, x).astype(float)
    assert np.abs(values @ values.T - expected).max() <= 5 / math.sqrt(half)
    assert_close(np.sum(values**2, axis=1), np.ones(6), tol=1e-12)  # cos^2 + sin^2
    # two seeds are independent: errors do not repeat
    other = RandomFourier(kernel, 2 * half, seed=3)(x)
    assert np.abs(other @ other.T - values @ values.T).max() > 1e-4
    assert np.array_equal(RandomFourier(kernel, 2 * half, seed=2)(x), values)
    w = phi.frequencies(d)
    assert w.shape == (d, half)
    phases = x @ w
    assert_close(values, np.concatenate([np.cos(phases), np.sin(phases)], axis=1) / math.sqrt(half), tol=1e-12)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Nystrom(Gaussian(1.0), 0), ValueError, "landmarks must be at least 1, found 0"),
        (lambda: Nystrom(Gaussian(1.0), 2.5), TypeError, "landmarks must be an integer, found 2.5"),
        (lambda: Nystrom(Gaussian(1.0), True), TypeError, "landmarks must be an integer, found True"),
        (lambda: Nystrom(Gaussian(1.0), [1.0, 2.0]), ValueError, r"landmarks must have 2 dimensions \(r, d\)"),
        (
            lambda: Nystrom(Gaussian(1.0), [[np.nan]]),
            ValueError,
            r"landmarks must be finite, found nan at index \(0, 0\)",
        ),
        (lambda: Nystrom(Gaussian(1.0), 5, "best"), ValueError, "selection must be one of 'uniform', 'rpcholesky'"),
        (lambda: Nystrom(Gaussian(1.0), 5, seed=-1), ValueError, "seed must be at least 0"),
        (lambda: Nystrom(Gaussian, 5), TypeError, "found the class Gaussian"),
        (lambda: Nystrom(Precomputed(), 5), TypeError, "for a given matrix use the exact solver"),
        (lambda: Nystrom(Gaussian(1.0), 5)(np.ones((2, 2))), ValueError, r"not chosen yet; call .fit\(views\)"),
        (lambda: Nystrom(Gaussian(1.0), 5).rank, ValueError, "not chosen yet"),
        (
            lambda: Nystrom(Gaussian(1.0), 5).fit(np.ones((2, 2, 1))),
            ValueError,
            "at most the number of views 4, found 5",
        ),
        (
            lambda: Nystrom(Gaussian(1.0), LANDMARKS)(np.ones((2, 2))),
            ValueError,
            "x and landmarks must have the same number",
        ),
        (lambda: RandomFourier(Linear(), 10), TypeError, "needs a translation-invariant kernel"),
        (lambda: RandomFourier(Gaussian(1.0), 9), ValueError, "n_features must be even"),
        (lambda: RandomFourier(Gaussian(1.0), 0), ValueError, "n_features must be at least 2"),
        (lambda: RandomFourier(Gaussian(1.0), 4.0), TypeError, "n_features must be an integer"),
        (lambda: RandomFourier(Gaussian(1.0), 4, seed=1.5), TypeError, "seed must be an integer"),
        (lambda: Identity()(np.ones(3)), ValueError, r"x must have 2 dimensions \(n, d\)"),
        (lambda: Identity()([[np.inf]]), ValueError, "x must be finite, found inf"),
        (lambda: Moments("identity"), TypeError, "features of sslcore.features were expected, found 'identity'"),
        (lambda: Moments(Identity), TypeError, "features of sslcore.features were expected"),
    ],
)
def test_bad_parameters(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_nystrom_refuses_what_is_not_positive_semidefinite():
    def distance(x, y):
        return np.abs(x - y.T)

    x = normal((30, 1))
    lowest = np.linalg.eigvalsh(distance(x, x))[0]
    with pytest.raises(NotPositiveSemidefiniteError, match="at the landmarks has the eigenvalue -") as caught:
        Nystrom(distance, x)(x)
    assert caught.value.eigenvalue == pytest.approx(lowest, rel=1e-6)

    def gaussian(a, b):
        return np.exp(-((a - b.T) ** 2) / 200)

    assert 3 <= Nystrom(gaussian, x).rank < 15  # of low rank, but positive: fine


def test_landmarks_are_copied():
    points = LANDMARKS.copy()
    phi = Nystrom(Gaussian(1.0), points)
    expected = phi(LANDMARKS)
    points[:] = 0
    assert np.array_equal(Nystrom(Gaussian(1.0), LANDMARKS)(LANDMARKS), expected)
    assert np.array_equal(phi(LANDMARKS), expected)


# ---------------------------------------------------------------- moments


def sums(moments, asnumpy=np.asarray):
    """Second moment, Delta and mean as full matrices, from the upper triangles."""
    s = moments._sums

    def full(upper):
        upper = asnumpy(upper)
        return (np.triu(upper) + np.triu(upper, 1).T) / s.weight

    mean = asnumpy(s.mean)
    return full(s.between) + full(s.within) + np.outer(mean, mean), full(s.within), full(s.unbiased_sum()), mean


def dense_sums(phi, groups, weight):
    p = weight / weight.sum()
    root = np.sqrt(p)[:, None]
    values = root * phi
    delta = values.T @ naive.invariance(groups, p, False) @ values
    unbiased = values.T @ naive.invariance(groups, p, True) @ values
    return values.T @ values, delta, unbiased, p @ phi


@given(
    grouping=groupings(max_samples=9),
    name=st.sampled_from(sorted(EXAMPLES)),
    rows=st.integers(1, 12),
    far=st.sampled_from([0.0, 100.0]),
    dtype=st.sampled_from([np.float64, np.float32]),
    seed=seeds,
)
def test_moments_property(backend, grouping, name, rows, far, dtype, seed):
    """Any grouping, any weights, in blocks of any size, against dense formulas."""
    groups, weight = grouping
    x = (normal((len(groups), 3), seed) + (far if name == "Identity" else 0.0)).astype(dtype)
    phi = EXAMPLES[name]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(accumulator_module, "feature_rows", lambda r, d: rows)
        patch.setattr(backend.primitives, "BLOCK_FACTOR", 1)
        there = None if weight is None else backend.asarray(weight)
        moments = Moments(phi).update(backend.asarray(x), groups=groups, sample_weight=there)
    w = np.ones(len(groups)) if weight is None else weight
    assert (moments.n, moments.n_views) == (len(set(groups)), len(groups))
    expected = dense_sums(phi(x).astype(float), groups, w)
    tol = 1e-12 if dtype == np.float64 else 1e-5
    found_sums = sums(moments, backend.asnumpy)
    for found, exact in zip(found_sums, expected, strict=True):
        assert found.dtype == np.float64
        assert_close(found, exact, tol=tol, scale=max(1.0, far, float(np.abs(exact).max())))
    # the covariance loses nothing to the mean
    mean = found_sums[-1]
    centred = phi(x).astype(float)
    centred = centred - (w / w.sum()) @ centred
    covariance = (centred * (w / w.sum())[:, None]).T @ centred
    found = found_sums[0] - np.outer(mean, mean)
    assert_close(found, covariance, tol=1e-11 if dtype == np.float64 else 1e-4, scale=1 + far**2 * (far > 0) * 1e-2)


@given(
    pieces=st.lists(st.integers(1, 7), min_size=1, max_size=6),
    order=st.randoms(use_true_random=False),
    m=st.sampled_from([2, 3]),
    weighted=st.booleans(),
    merged=st.booleans(),
    name=st.sampled_from(sorted(EXAMPLES)),
)
def test_any_split_order_and_merge_is_the_same(pieces, order, m, weighted, merged, name):
    n = sum(pieces)
    views = noisy(n, m, 3) + 2.0
    weight = np.random.default_rng(1).uniform(0.5, 2, (n, m)) if weighted else None
    edges = np.cumsum([0, *pieces])
    parts = [slice(a, b) for a, b in itertools.pairwise(edges)]
    order.shuffle(parts)
    moments = Moments(EXAMPLES[name])
    for part in parts:
        one = {"sample_weight": None if weight is None else weight[part]}
        if merged:
            assert moments.merge(Moments(EXAMPLES[name]).update(views[part], **one)) is moments
        else:
            assert moments.update(views[part], **one) is moments
    whole = Moments(EXAMPLES[name]).update(views, sample_weight=weight)
    for found, exact in zip(sums(moments), sums(whole), strict=True):
        assert_close(found, exact, tol=1e-12, scale=float(np.abs(sums(whole)[0]).max()))
    if n * m > 4:
        first, second = (mom.solve(2, reg=1e-2, center=True) for mom in (moments, whole))
        assert_close(first.gamma, second.gamma, tol=1e-9)


def test_updates_of_different_shapes():
    """Two views here, three there, single ones elsewhere: the unbiased factors differ and are kept apart."""
    x = normal((31, 3))
    groups = np.repeat(np.arange(14), [2] * 5 + [3] * 5 + [1] * 2 + [2] * 2)
    whole = Moments(Identity()).update(x, groups=groups)
    moments = Moments(Identity()).update(x[:10].reshape(5, 2, 3)).update(x[10:25].reshape(5, 3, 3))
    moments.update(x[25:27].reshape(2, 1, 3)).update(x[27:].reshape(2, 2, 3))
    for found, exact in zip(sums(moments), sums(whole), strict=True):
        assert_close(found, exact, tol=1e-13, scale=5.0)
    assert_close(sums(moments)[2], dense_sums(x, groups, np.ones(31))[2], tol=1e-13, scale=5.0)
    for unbiased in (False, True):
        rep = moments.solve(3, reg=0.1, unbiased=unbiased)
        assert_close(rep.gamma, pretrain(x, Linear(), 3, reg=0.1, unbiased=unbiased, groups=groups).gamma, tol=1e-10)


def test_moments_of_many_blocks():
    """The block sizes in use: more views than fit into one block."""
    views = normal((6000, 3, 8)) + 5.0
    moments = Moments(Identity()).update(views)
    x = views.reshape(-1, 8)
    contrast = (views - views.mean(axis=1, keepdims=True)).reshape(-1, 8)
    sigma, delta, unbiased, mean = sums(moments)
    assert_close(sigma, x.T @ x / len(x), tol=1e-12)
    assert_close(delta, contrast.T @ contrast / len(x), tol=1e-12)
    assert_close(unbiased, 1.5 * delta, tol=1e-14)
    assert_close(mean, x.mean(axis=0), tol=1e-13)


def test_float32_views_are_accumulated_in_float64():
    """A mean of 1000 with unit noise: naive float32 sums would lose the variance."""
    views = (1000 + normal((20_000, 2, 3))).astype(np.float32)
    x = views.reshape(-1, 3).astype(float)
    sigma, delta, _, mean = sums(Moments(Identity()).update(views))
    assert_close(mean, x.mean(axis=0), tol=1e-6)
    assert_close(sigma - np.outer(mean, mean), np.cov(x.T, bias=True), tol=1e-4)
    contrast = (views.astype(float) - views.astype(float).mean(axis=1, keepdims=True)).reshape(-1, 3)
    assert_close(delta, contrast.T @ contrast / len(x), tol=1e-4)
    rep = pretrain(views, Identity(), 2, reg=1e-2, center=True)
    exact = pretrain(views.astype(float), Identity(), 2, reg=1e-2, center=True)
    assert_close(rep.gamma, exact.gamma, tol=1e-4)
    assert rep(views[:5]).dtype == np.float32


@pytest.mark.parametrize("center", [False, True])
def test_without_regularisation(center):
    """reg = 0, for features whose second moment is regular: canonical analysis of Delta and Sigma."""
    views = noisy(60, 2, 4)
    rep = Moments(Identity()).update(views).solve(4, reg=0, center=center)
    phi = views.reshape(-1, 4)
    if center:
        phi = phi - phi.mean(axis=0)
    sigma, delta = phi.T @ phi / 120, dense_sums(phi, np.repeat(np.arange(60), 2), np.ones(120))[2]
    values = np.sort(np.linalg.eigvals(np.linalg.solve(sigma, delta)).real)
    assert_close(rep.gamma, values, tol=1e-10)
    assert_close(rep.invariance, values, tol=1e-10)
    z = rep.transform(views, scale="unit").reshape(-1, 4)
    assert_close(z.T @ z / 120, np.eye(4), tol=1e-10, scale=1.0)
    assert_close(rep.gamma, pretrain(views, Identity(), 4, reg=1e-12, center=center).gamma, tol=1e-9)
    two = pretrain(views, Identity(), 2, reg=0.0, center=center)
    assert_close(two.gamma, rep.gamma[:2], tol=1e-12)
    assert two.certificate.eigengap == pytest.approx(values[2] - values[1], rel=1e-6)


def test_reg_zero_needs_regular_features():
    views = noisy(20, 2, 3)
    singular = np.concatenate([views, views[..., :1]], axis=-1)
    with pytest.raises(
        ValueError, match="second moment is positive definite, and theirs is singular to rounding; use reg"
    ):
        pretrain(singular, Identity(), 2, reg=0)
    assert pretrain(singular, Identity(), 4, reg=1e-3).certificate.rank == 3
    for phi in (EXAMPLES["Nystrom"], EXAMPLES["RandomFourier"]):
        with pytest.raises(ValueError, match="reg must be a finite number > 0, found 0"):
            Moments(phi).update(views).solve(2, reg=0)


def test_more_features_than_views():
    """r > n: the rank is that of the data, the solution the exact one."""
    views = noisy(6, 2, 40)
    rep = pretrain(views, Identity(), 15, reg=1e-2)
    exact = pretrain(views, Linear(), 12, reg=1e-2)
    assert rep.certificate.rank == 12
    assert_close(rep.gamma[:12], exact.gamma, tol=1e-9)
    phi = RandomFourier(Gaussian(3.0), 60, seed=1)
    few = pretrain(views, phi, 5, reg=1e-2)
    assert_close(
        few.gamma, pretrain(phi(views.reshape(-1, 40)).reshape(6, 2, 60), Linear(), 5, reg=1e-2).gamma, tol=1e-9
    )


@pytest.mark.parametrize("scale", [1e150, 1e-150])
def test_huge_and_tiny_features(scale):
    views = noisy(30, 2, 3)
    expected = pretrain(views, Identity(), 3, reg=1e-2)
    rep = pretrain(views * scale, Identity(), 3, reg=1e-2 * scale**2)
    assert_close(rep.gamma, expected.gamma, tol=1e-10)
    assert_close(rep(views * scale), expected(views), tol=1e-8)


class Failing(Features):
    """Features that fail at the n-th block."""

    def __init__(self, error, at):
        self.error, self.at, self.calls = error, at, 0

    def n_features(self, d):
        return d

    def prepare(self, d, dtype, backend):
        def features(x):
            self.calls += 1
            if self.calls == self.at:
                raise self.error
            return x.copy()

        return features


@pytest.mark.parametrize("error", [RuntimeError("broken"), KeyboardInterrupt(), MemoryError()], ids=repr)
@pytest.mark.parametrize("at", [4, 5, 7])
def test_a_failed_update_leaves_the_moments_unchanged(error, at, monkeypatch):
    monkeypatch.setattr(accumulator_module, "feature_rows", lambda r, d: 4)
    views = noisy(6, 2, 3)
    phi = Failing(error, at)
    moments = Moments(phi).update(views)  # three blocks
    before = [a.copy() for a in sums(moments)]
    for _ in range(2):  # the second time it goes through
        try:
            moments.update(noisy(10, 2, 3, seed=1))
        except type(error):
            assert (moments.n, moments.n_views) == (6, 12)
            for found, exact in zip(sums(moments), before, strict=True):
                assert np.array_equal(found, exact)
    assert moments.n == 16
    whole = Moments(Identity()).update(np.concatenate([views, noisy(10, 2, 3, seed=1)]))
    for found, exact in zip(sums(moments), sums(whole), strict=True):
        assert_close(found, exact, tol=1e-13, scale=5.0)


def test_bad_views_leave_the_moments_unchanged(monkeypatch):
    monkeypatch.setattr(accumulator_module, "feature_rows", lambda r, d: 4)
    moments = Moments(Identity()).update(noisy(6, 2, 3))
    before = [a.copy() for a in sums(moments)]
    broken = noisy(20, 2, 3)
    broken[17, 1, 2] = np.nan
    with pytest.raises(ValueError, match=r"views must be finite, found nan at index \(17, 1, 2\)"):
        moments.update(broken)
    with pytest.raises(ValueError, match="views must have 3 coordinates like those before, found 4"):
        moments.update(noisy(3, 2, 4))
    with pytest.raises(ValueError, match="sample_weight must have shape"):
        moments.update(noisy(3, 2, 3), sample_weight=np.ones(5))
    assert moments.n == 6
    for found, exact in zip(sums(moments), before, strict=True):
        assert np.array_equal(found, exact)
    with pytest.raises(ValueError, match="views must be finite"):  # and an empty one stays empty
        Moments(Identity()).update(np.full((2, 2, 1), np.inf))


def test_merging():
    first, second = Moments(Identity()).update(noisy(5, 2, 3)), Moments(Identity()).update(noisy(4, 3, 3))
    kept = [a.copy() for a in sums(second)]
    first.merge(second)
    for found, exact in zip(sums(second), kept, strict=True):
        assert np.array_equal(found, exact)
    first.merge(Moments(Identity()))
    assert first.n == 9
    assert Moments(Identity()).merge(second).n == 4
    # an update of the copy does not reach the original
    copy = Moments(Identity()).merge(second)
    copy.update(noisy(2, 2, 3))
    assert second.n == 4
    for found, exact in zip(sums(second), kept, strict=True):
        assert np.array_equal(found, exact)
    with pytest.raises(ValueError, match="of points with 3 coordinates, found 2"):
        first.merge(Moments(Identity()).update(noisy(3, 2, 2)))
    with pytest.raises(ValueError, match="must be of the same features"):
        first.merge(Moments(EXAMPLES["Nystrom"]))
    with pytest.raises(ValueError, match="must be of the same features"):
        Moments(EXAMPLES["Nystrom"]).merge(Moments(Nystrom(Gaussian(1.5), LANDMARKS[:5])))
    with pytest.raises(ValueError, match="must be of the same features"):
        Moments(EXAMPLES["RandomFourier"]).merge(Moments(RandomFourier(Gaussian(1.5), 8, seed=4)))
    with pytest.raises(TypeError, match="Moments were expected, found int"):
        first.merge(3)
    equal = Moments(Nystrom(Gaussian(1.5), LANDMARKS.copy()))
    assert Moments(EXAMPLES["Nystrom"]).update(noisy(5, 2, 3)).merge(equal).n == 5


def test_merging_with_itself_doubles_the_weight():
    moments = Moments(Identity()).update(noisy(5, 2, 3))
    before = sums(moments)
    moments.merge(moments)
    assert moments.n == 10
    for found, exact in zip(sums(moments), before, strict=True):
        assert_close(found, exact, tol=1e-14)


@pytest.mark.parametrize(
    ("use", "error", "message"),
    [
        (lambda m: m.solve(0, reg=0.1), ValueError, "n_components must be at least 1, found 0"),
        (lambda m: m.solve(4, reg=0.1), ValueError, "n_components must be at most the number of features, 3, found 4"),
        (lambda m: m.solve(2.0, reg=0.1), TypeError, "n_components must be an integer"),
        (lambda m: m.solve(2, reg=-0.1), ValueError, "reg must be a finite number >= 0"),
        (lambda m: m.solve(2, reg=math.nan), ValueError, "reg must be a finite number"),
        (lambda m: m.solve(2, reg="auto"), TypeError, "reg must be a number > 0, found 'auto'"),
        (lambda m: m.solve(2, reg=0.1, beta=-1), ValueError, "beta must be a finite number >= 0, found -1"),
        (lambda m: m.solve(2, reg=0.1, unbiased=1), TypeError, "unbiased must be True or False, found 1"),
        (lambda m: m.solve(2, reg=0.1, center="no"), TypeError, "center must be True or False, found 'no'"),
    ],
)
def test_bad_solves(use, error, message):
    with pytest.raises(error, match=message):
        use(Moments(Identity()).update(noisy(5, 2, 3)))


def test_empty_single_and_constant_moments():
    with pytest.raises(ValueError, match=r"the moments are empty; call update\(views\) first"):
        Moments(Identity()).solve(1, reg=0.1)
    single = Moments(Identity()).update(normal((9, 1, 3)))
    with pytest.raises(ValueError, match="nothing to be invariant to; use beta=0"):
        single.solve(2, reg=0.1)
    assert single.solve(2, reg=0.1, beta=0).certificate.rank == 2
    for value in (0.0, 3.7, 1e-150, 1e150):
        for center in (False, True):
            with pytest.raises(ValueError, match="the features are constant"):
                Moments(Identity()).update(np.full((9, 2, 3), value)).solve(2, reg=0.1, center=center)
    # one point moves: not constant
    views = np.full((9, 2, 3), 3.7)
    views[4, 1, 0] += 1e-3
    assert Moments(Identity()).update(views).solve(1, reg=1e-9, center=True).certificate.rank == 1


def test_made_from_moments_has_no_training_views():
    rep = Moments(Identity()).update(noisy(9, 2, 3)).solve(2, reg=0.1)
    with pytest.raises(ValueError, match=r"the training views are not known here .*call transform\(x\)"):
        _ = rep.embedding


def test_lazy_views_and_memmaps_are_read_by_blocks(tmp_path, monkeypatch):
    monkeypatch.setattr(accumulator_module, "feature_rows", lambda r, d: 8)
    lazy = Views(normal((20, 3)), GaussianNoise(0.3), 2, seed=0)
    asked = []
    block = Views.block
    monkeypatch.setattr(Views, "block", lambda self, a, b: asked.append((a, b)) or block(self, a, b))
    moments = Moments(Identity()).update(lazy)
    assert asked == [(i, i + 4) for i in range(0, 20, 4)]
    assert_close(sums(moments)[0], sums(Moments(Identity()).update(np.asarray(lazy)))[0], tol=1e-14)
    noisy(20, 2, 3).tofile(tmp_path / "v.bin")
    on_disk = np.memmap(tmp_path / "v.bin", mode="r", shape=(20, 2, 3), dtype=float)
    assert_close(
        sums(Moments(Identity()).update(on_disk))[0], sums(Moments(Identity()).update(noisy(20, 2, 3)))[0], tol=0
    )


def test_groups_in_any_order_by_blocks(monkeypatch):
    """A sample's views may be anywhere in the array; blocks hold whole samples."""
    monkeypatch.setattr(accumulator_module, "feature_rows", lambda r, d: 5)
    rng = np.random.default_rng(0)
    groups = rng.permutation(np.repeat(np.arange(12), rng.integers(1, 5, 12)))
    weight = rng.uniform(0.5, 2, len(groups))
    x = normal((len(groups), 3))
    moments = Moments(Identity()).update(x, groups=groups, sample_weight=weight)
    for found, exact in zip(sums(moments), dense_sums(x, groups, weight), strict=True):
        assert_close(found, exact, tol=1e-13, scale=5.0)
    x[17, 1] = np.nan
    with pytest.raises(ValueError, match="views must be finite, found nan"):
        Moments(Identity()).update(x, groups=groups)
    assert data_inputs.as_data(normal((4, 2)), [3, 3, 7, 7], None).n == 2


MEMORY = """
import resource, sys
import numpy as np
import sslcore

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

x = np.random.default_rng(0).standard_normal((150_000, 8)).astype(np.float32)
noise = sslcore.augmentations.GaussianNoise(0.1)
model = sslcore.features.Nystrom(sslcore.kernels.Gaussian(3.0), 128)
small = sslcore.pretrain(sslcore.Views(x[:2000], noise, 2, 0), model, 4, reg=1e-3)
before = peak()
rep = sslcore.pretrain(sslcore.Views(x, noise, 2, 0), model, 4, reg=1e-3)
print(peak() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory as Linux counts it")
def test_memory_does_not_grow_with_the_views():
    """300,000 views with 128 features would be 150 MB in float32; a block is 4 MB."""
    result = subprocess.run([sys.executable, "-c", MEMORY], capture_output=True, text=True, check=True)
    assert float(result.stdout) < 40


def test_nystrom_of_float32_landmarks():
    """Dropped where float32 cannot tell them apart; the projection on the rest is good to float32."""
    z = normal((40, 3), 1, np.float32)
    phi = Nystrom(Gaussian(6.0), z)
    x = normal((10, 3), 2, np.float32)
    values = phi(x)
    assert values.dtype == np.float32
    assert np.isfinite(values).all()
    assert 15 < phi.rank < 40
    kept, _ = phi.factor()
    exact = Nystrom(Gaussian(6.0), kept.astype(float))(x.astype(float))
    assert exact.shape[1] == phi.rank
    assert_close((values @ values.T).astype(float), exact @ exact.T, tol=1e-3)


def test_same_spaces_for_equal_features():
    """Nystrom depends on the landmarks as a set."""
    views = noisy(40, 2, 3)
    first = pretrain(views, Nystrom(Exponential(1.0), LANDMARKS), 3, reg=1e-2)
    second = pretrain(views, Nystrom(Exponential(1.0), LANDMARKS[::-1]), 3, reg=1e-2)
    assert_close(first.gamma, second.gamma, tol=1e-10)
    x = normal((20, 3), 4)
    assert_same_subspace(first.transform(x, scale="unit"), second.transform(x, scale="unit"), tol=1e-7)


@pytest.mark.parametrize(
    "points", [[[0.0], [1.0], [2.0]], [[[0.0], [1.0]], [[2.0], [3.0]]]], ids=["(N, d)", "(n, m, d)"]
)
@pytest.mark.parametrize("selection", ["uniform", "rpcholesky"])
def test_lists_are_arrays(points, selection):
    phi = Nystrom(Gaussian(1.0), 2, selection)
    assert np.array_equal(phi.fit(points).landmarks, phi.fit(np.array(points)).landmarks)
    flat = np.array(points).reshape(-1, 1)
    for fitted in (phi.fit(points), RandomFourier(Gaussian(1.0), 4).fit(points), Identity().fit(points)):
        assert np.array_equal(fitted(flat.tolist()), fitted(flat))
    if np.ndim(points) == 3:
        assert pretrain(points, phi, 1, reg=0.1).gamma == pretrain(np.array(points), phi, 1, reg=0.1).gamma


@pytest.mark.parametrize("junk", [[1.0, 2.0], 3.0, [[]], "views", [["a"]]], ids=repr)
def test_what_is_no_array_of_points_is_refused_by_fit(junk):
    with pytest.raises((ValueError, TypeError), match="views must"):
        Nystrom(Gaussian(1.0), 1).fit(junk)


@pytest.mark.parametrize("offset", [1e3, 1e6, 3e7])
@pytest.mark.parametrize("beta", [0.5, 2.0])
def test_float32_features_far_from_the_origin(backend, offset, beta):
    """Contrasts, means and the values of functions lose nothing to a common offset, which float32 cannot square."""
    rng = np.random.default_rng(0)
    views = rng.standard_normal((500, 1, 4)) * [30, 20, 10, 10] + 3 * rng.standard_normal((500, 2, 4))
    far = (views + offset).astype(np.float32)
    exact = pretrain(far.astype(float), Identity(), 3, reg=1e-1, beta=beta, center=True)
    rep = pretrain(backend.asarray(far), Identity(), 3, reg=1e-1, beta=beta, center=True)
    assert_close(rep.gamma, exact.gamma, tol=2e-5)
    embedding = backend.asnumpy(rep.embedding)
    assert embedding.dtype == np.float32
    assert_close(embedding, exact.embedding, dtype=np.float32, tol=2e-5, scale=3.0)
    some = backend.asnumpy(rep.transform(backend.asarray(far[0])))
    assert_close(some, exact.embedding[0], dtype=np.float32, tol=2e-5, scale=3.0)
    w, b = map(backend.asnumpy, rep.linear_head())
    assert_close(far.astype(float) @ w.T + b, exact.embedding, tol=2e-5, scale=3.0)


@given(logs=st.lists(st.floats(-60, 0), min_size=6, max_size=6), seed=seeds)
@example(logs=[-39, -40, -42, -41, -41, 0], seed=0)  # products of contrasts are subnormal in float32
@example(logs=[-60, -60, -60, -59, -59, 0], seed=1)
@example(logs=[0, -41, -42, 0, -41, 0], seed=2)  # those without the unbiased factors are
@example(logs=[0, -60, -60, -50, -50, 0], seed=3)
def test_moments_of_very_unequal_weights(backend, logs, seed):
    """Delta is that of the pairs, whatever the ratio of weights of samples and within them, in both precisions."""
    groups = np.array([0, 0, 0, 1, 1, 2])
    weight = 10.0 ** np.array(logs)
    x = normal((6, 3), seed)
    expected, biased = naive.pair_moment(x, groups, weight), naive.within_moment(x, groups, weight)
    for dtype in (np.float64, np.float32):
        there = backend.asarray(x.astype(dtype))
        moments = Moments(Identity()).update(there, groups=groups, sample_weight=weight)
        tol = 1e-12 if dtype == np.float64 else 1e-5
        _, within, unbiased, _ = sums(moments, backend.asnumpy)
        assert_close(unbiased, expected, tol=tol, scale=np.abs(expected).max())
        assert_close(within, biased, tol=tol, scale=np.abs(biased).max())


@pytest.mark.parametrize("scale", [1e-18, 1e-20, 1e-22, 1e-30])
@pytest.mark.parametrize("searched", [False, True])
def test_small_float32_features_lose_nothing(backend, scale, searched):
    """Their squares are no numbers of float32, or subnormal ones of few digits."""
    views = noisy(100, 2, 3)

    def fitted(views, unit):
        reg = AutoReg(regs=(5.0 * unit, 0.1 * unit, 1e-3 * unit), n_folds=2) if searched else 1e-2 * unit
        return pretrain(views, Identity(), 3, reg=reg)

    small = backend.asarray((views * scale).astype(np.float32))
    found, expected = fitted(small, scale**2), fitted(views, 1.0)
    assert_close(found.gamma / expected.gamma, np.ones(3), tol=2e-5)
    assert_close(found.reg / scale**2, expected.reg, tol=1e-12)


def test_float32_views_between_landmarks_in_float64():
    """What only float64 tells apart is evaluated in it: float32 values, whitened, would be noise of any size."""
    z, x = normal((60, 3), 1), normal((10, 3), 2, np.float32)
    phi = Nystrom(Gaussian(6.0), z)
    assert phi(x).dtype == np.float32
    assert_close(phi(x).astype(float), phi(x.astype(float)), tol=1e-6, scale=1.0)


def test_nystrom_of_all_points_is_the_exact_fit():
    """The rank is cut at rounding, not at n times rounding: functions are those of the kernel to eight digits."""
    views = noisy(100, 2, 2)
    for reg in (1e-3, 1e-5):
        exact = pretrain(views, Gaussian(0.7), 4, reg=reg)
        rep = pretrain(views, Nystrom(Gaussian(0.7), views.reshape(-1, 2)), 4, reg=reg)
        assert_close(rep.gamma / exact.gamma, np.ones(4), tol=1e-8)


@pytest.mark.parametrize("kernel", [Gaussian(0.7), Gaussian(2.0), Exponential(1.0)], ids=repr)
def test_all_points_as_landmarks_for_any_penalty(kernel):
    """Fits, and ridge regression at the points themselves, are as good as rounding of the kernel beside reg allows."""
    views = noisy(60, 2, 2)
    x = views.reshape(-1, 2)
    phi, gram, y = Nystrom(kernel, x), kernel(x), np.sin(3 * x[:, 0])
    for reg in 10.0 ** -np.arange(3, 9):
        exact = pretrain(views, kernel, 4, reg=reg)
        rep = pretrain(views, phi, 4, reg=reg)
        assert_close(rep.gamma / exact.gamma, np.ones(4), tol=1e-13 + 2e-16 / reg)
        probe = ridge_probe(phi(x), y, reg=reg, fit_intercept=False)
        expected = gram @ np.linalg.solve(gram + len(x) * reg * np.eye(len(x)), y)
        assert_close(probe.predict(phi(x)), expected, tol=1e-13 + 2e-16 / reg, scale=1.0)


@pytest.mark.parametrize(
    ("offset", "dtype"), [(1e8, np.float64), (1e7, np.float64), (3000.0, np.float32), (300.0, np.float32)]
)
@pytest.mark.parametrize("count", [3, 20])
def test_nystrom_refuses_what_its_kernel_values_have_lost(offset, dtype, count):
    """Values of the size offset^2 are rounded to more than reg: refused, however many landmarks are kept."""
    far = (noisy(60, 2, 3) + offset).astype(dtype)
    with pytest.raises(CertificateError, match="rounding of the moments of the features allows"):
        pretrain(far, Nystrom(Linear(), count), 3, reg=1e-2 * min(1.0, (offset / 3000) ** 2), center=True)
    near = noisy(60, 2, 3).astype(dtype)
    found = pretrain(near, Nystrom(Linear(), count), 3, reg=1e-2, center=True)
    exact = pretrain(near.astype(float), Identity(), 3, reg=1e-2, center=True)
    assert_close(found.gamma, exact.gamma, tol=1e-9 if dtype == np.float64 else 1e-4)
