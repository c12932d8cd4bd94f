"""Moments of features over pairs, against loops; trajectories from memory maps; searches for reg on pairs."""

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.linalg import eigh

import sslcore
from sslcore import tunables
from sslcore.errors import SelectionWarning
from sslcore.features import Identity, Nystrom, RandomFourier
from sslcore.fitting.held_out import HeldOutRisk
from sslcore.fitting.paired_folds import LawFolds
from sslcore.fitting.search import AutoReg, law_folds
from sslcore.kernels import Gaussian, Linear
from sslcore.positives import Groups, Labels, Neighbors, Pairs, TimeLag

from . import naive
from .comparators import assert_close
from .test_positives import graphs, points


def walk(n, d=3, seed=0):
    """A trajectory whose coordinates forget at different rates."""
    rng, rates = np.random.default_rng(seed), np.linspace(0.95, 0.3, d)
    x = np.zeros((n, d))
    for t in range(1, n):
        x[t] = rates * x[t - 1] + np.sqrt(1 - rates**2) * rng.standard_normal(d)
    return x


@given(graphs(), st.sampled_from([0.7, 1.5]), st.booleans(), st.sampled_from([1, 3, 100]))
def test_moments_of_pairs_are_sums_over_pairs(graph, beta, center, rows):
    """In blocks of any height, of graphs as they come; from one update, or merged from two."""
    n, i, j, weight = graph
    if len({*i, *j}) == 1:
        return  # constant, and refused
    x, reg = points(n, 3, d=3) + 1.0, 1e-2
    sigma, delta, mean = naive.pair_moments(x, naive.joint_law(i, j, weight, n))
    sigma -= np.outer(mean, mean) if center else 0
    theta = eigh(sigma, beta * delta + reg * np.eye(3), eigvals_only=True)[::-1]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tunables, "MOMENTS_BLOCK_ROWS", (rows, rows))
        rep = sslcore.pretrain(x, Identity(), 2, reg=reg, beta=beta, center=center, positives=Pairs(i, j, weight))
        moments = sslcore.Moments(Identity()).update(x, positives=Pairs(i, j, weight))
    present = theta[:2] > 1e-9
    assert_close(1 / rep.gamma[present], theta[:2][present], tol=1e-8)
    merged = sslcore.Moments(Identity()).update(x, positives=Pairs(i, j, weight)).merge(moments)
    if (i == j).all():
        with pytest.raises(ValueError, match="nothing to be invariant to"):
            merged.solve(2, reg=reg)
        return
    assert_close(merged.solve(2, reg=reg, beta=beta, center=center).gamma[present], rep.gamma[present], tol=1e-9)


@pytest.mark.parametrize("features", [Identity(), Nystrom(Gaussian(1.5), 20), RandomFourier(Gaussian(1.5), 30)])
def test_features_of_pairs_on_every_backend(backend, monkeypatch, features):
    """Those of a Nystrom model are those of its kernel where all points are landmarks; blocks change nothing."""
    x = backend.asarray(walk(60))
    law = 0.6 * TimeLag(4) + 0.4 * Neighbors(3)
    whole = sslcore.pretrain(x, features, 3, reg=1e-3, center=True, positives=law)
    monkeypatch.setattr(tunables, "MOMENTS_BLOCK_ROWS", (7, 7))
    parts = sslcore.pretrain(x, features, 3, reg=1e-3, center=True, positives=law)
    assert_close(whole.gamma, parts.gamma, tol=1e-9)
    assert whole.positives == parts.positives
    assert "edges between 60 points" in whole.summary()
    z = backend.asnumpy(whole.transform(x, scale="unit"))
    found = law.law(backend.asnumpy(x))
    assert_close((found.measure[:, None] * z).T @ z, np.eye(3), tol=1e-9)
    assert_close(backend.asnumpy(whole.embedding), backend.asnumpy(whole(x)), tol=1e-9)


def test_linear_features_are_the_linear_kernel():
    x, law = walk(50), TimeLag(2, boundaries=[20, 30])
    by_kernel = sslcore.pretrain(x, Linear(), 3, reg=1e-2, center=True, positives=law)
    by_features = sslcore.pretrain(x, Identity(), 3, reg=1e-2, center=True, positives=law)
    assert_close(by_kernel.gamma, by_features.gamma, tol=1e-9)


def test_trajectories_from_a_memory_map(tmp_path, monkeypatch):
    """TICA by its textbook formulas; read by blocks, with the lag shorter and longer than one; in parts, and saved."""
    x = walk(400)
    path = tmp_path / "x.npy"
    np.save(path, x)
    mapped = np.load(path, mmap_mode="r")
    monkeypatch.setattr(tunables, "MOMENTS_BLOCK_ROWS", (64, 64))
    for lag in (1, 5, 100):
        rep = sslcore.pretrain(mapped, Identity(), 3, reg=0.0, center=True, positives=TimeLag(lag))
        before, after = x[:-lag], x[lag:]
        mean = np.concatenate([before, after]).mean(axis=0)
        before, after = before - mean, after - mean
        instant = before.T @ before + after.T @ after
        lagged = before.T @ after
        assert_close(rep.eigenvalues, eigh(lagged + lagged.T, instant, eigvals_only=True)[::-1], tol=1e-9)
    moments = sslcore.Moments(Identity())
    for part in (mapped[:150], mapped[150:]):
        moments.update(part, positives=TimeLag(5))
    assert (moments.n, moments.n_views) == (10, 400)
    moments.save(tmp_path / "moments.sslcore")
    loaded = sslcore.Moments.load(tmp_path / "moments.sslcore").solve(3, reg=1e-3)
    whole = sslcore.pretrain(x, Identity(), 3, reg=1e-3, positives=TimeLag(5, boundaries=[150, 250]))
    assert_close(loaded.gamma, whole.gamma, tol=1e-10)


def test_single_precision_and_tiny_features():
    x = walk(200)
    double = sslcore.pretrain(x, Identity(), 2, reg=1e-3, positives=TimeLag(3))
    single = sslcore.pretrain(x.astype(np.float32), Identity(), 2, reg=1e-3, positives=TimeLag(3))
    assert_close(single.gamma, double.gamma, tol=1e-5)
    tiny = sslcore.pretrain((1e-18 * x).astype(np.float32), Identity(), 2, reg=1e-39, positives=TimeLag(3))
    assert_close(tiny.gamma, double.gamma, tol=1e-5)


def test_points_that_are_not_finite_are_named(monkeypatch):
    monkeypatch.setattr(tunables, "MOMENTS_BLOCK_ROWS", (8, 8))
    x = walk(40)
    x[21, 1] = np.nan
    with pytest.raises(ValueError, match=r"found nan at index \(21, 1\)"):
        sslcore.pretrain(x, Identity(), 2, reg=1e-3, positives=TimeLag(3))


# ---------------------------------------------------------------- the search for reg


def test_folds_keep_pairs_together():
    """Parts that do not touch are held out as they are; runs in time cut the lag at each end."""
    n = 60
    i = np.arange(n - 1)
    apart = Pairs(*(side[i % 6 != 5] for side in (i, i + 1))).law(np.zeros((n, 1)))  # 10 paths of 6 points
    for count in (1, 2, 5):
        folds = law_folds(apart, AutoReg(n_folds=count))
        assert folds.n_cut == 0
        assert sorted(np.unique(folds.part)) == list(range(max(count, 2)))
    in_time = TimeLag(2).law(np.zeros((n, 1)))
    folds = law_folds(in_time, AutoReg(n_folds=3))
    assert folds.n_cut == 4
    assert (np.diff(folds.part) >= 0).all()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        path = Pairs(*np.random.default_rng(0).permutation(n)[np.array([i, i + 1])]).law(np.zeros((n, 1)))
        assert law_folds(path, AutoReg(n_folds=3)).n_cut == 2  # however its points are numbered
    with pytest.warns(SelectionWarning, match="leaves out 4 of 18 edges"):
        some = law_folds(in_time, AutoReg(n_folds=1, max_samples=20))
    assert some.used == 20
    assert some.held_out == 5
    assert np.ptp(np.flatnonzero(some.part >= 0)) == 19
    with pytest.warns(SelectionWarning, match=r"leaves out \d+ of 435 edges"):
        law_folds(Labels([0] * 30).law(np.zeros((30, 1))), AutoReg(n_folds=2))


def test_the_risk_of_held_out_pairs(backend):
    rng = np.random.default_rng(0)
    law = (0.5 * TimeLag(1) + 0.5 * Groups(np.arange(14))).law(np.zeros((14, 1)))
    z, groups = rng.standard_normal((14, 3)), np.arange(14) // 3
    risk = HeldOutRisk(3, 0.7, True, backend.primitives)
    risk.add_law(backend.asarray(z), law, groups)
    ends = np.concatenate([law.first, np.arange(14)]), np.concatenate([law.second, np.arange(14)])
    joint = naive.joint_law(*ends, np.concatenate([law.weight, law.itself]), 14)
    assert_close(risk.value()[0], naive.held_out_risk_of_pairs(z, joint, groups, 0.7), tol=1e-12)


def test_no_pair_is_cut_by_the_jackknife():
    """Points of different groups count as independent."""
    n = 60
    law = Pairs(np.arange(n), np.arange(n) + n).law(np.zeros((2 * n, 1)))
    for count in (1, 3):
        folds = law_folds(law, AutoReg(n_folds=count))
        assert (folds.part[law.first] == folds.part[law.second]).all()
        assert (folds.groups[law.first] == folds.groups[law.second]).all()
        for f in range(count):
            assert len(np.unique(folds.groups[folds.part == f])) > 10
    i = np.arange(n - 1)
    paths = Pairs(*(side[i % 6 != 5] for side in (i, i + 1))).law(np.zeros((n, 1)))
    assert (LawFolds.of(paths, 1, 10, None, 0).part == 0).sum() == 10


def test_scores_are_on_average_the_true_risk():
    """Of linear functions of Gaussian points, whose pairs lie far apart in the order of the rows."""
    n, d, correlation, rng = 60, 3, 0.9, np.random.default_rng(0)
    law = Pairs(np.arange(n), np.arange(n) + n)

    def draw():
        x, noise = rng.standard_normal((2, n, d))
        return np.concatenate([x, correlation * x + np.sqrt(1 - correlation**2) * noise])

    embedding = sslcore.SSLEmbedding(features=Identity(), n_components=d, reg=1e-3, positives=law, scale="risk").fit(
        draw()
    )
    shift = embedding.transform(np.zeros((1, d)))
    weights = embedding.transform(np.eye(d)) - shift
    second = weights.T @ weights + shift.T @ shift
    risk = 2 * (1 - correlation) * (weights**2).sum() + ((second - np.eye(d)) ** 2).sum()
    found = -np.array([embedding.score(draw()) for _ in range(400)])
    assert abs(found.mean() - risk) < 4 * found.std() / 20


@pytest.mark.parametrize("model", [Gaussian(2.0), Nystrom(Gaussian(2.0), 60)], ids=["kernel", "features"])
def test_reg_is_found_without_labels(backend, model, tmp_path):
    """Held-out risks of both solvers agree, have a minimum inside the grid, and are saved."""
    x = backend.asarray(walk(240))
    search = AutoReg(regs=(1.0, 1e-1, 1e-2, 1e-4, 1e-8), n_folds=2)
    rep = sslcore.pretrain(x, model, 2, reg=search, center=True, positives=TimeLag(1))
    assert rep.reg in (1e-1, 1e-2, 1e-4)
    assert rep.selection.n_cut == 1
    assert "1 edges between the parts left out" in rep.summary() or "1 edge" in rep.summary()
    rep.to("numba").save(tmp_path / "rep.sslcore")
    loaded = sslcore.load(tmp_path / "rep.sslcore")
    assert loaded.selection.n_cut == 1
    assert loaded.positives == rep.positives
    auto = sslcore.pretrain(x, model, 2, reg="auto", center=True, positives=TimeLag(1))
    assert 1e-6 < auto.reg < 1


def test_the_estimator_takes_laws():
    x = walk(200)
    embedding = sslcore.SSLEmbedding(Gaussian(2.0), n_components=2, reg=1e-3, positives=TimeLag(1))
    same = sslcore.pretrain(x, Gaussian(2.0), 2, reg=1e-3, center=True, positives=TimeLag(1))
    assert (embedding.fit(x).representation_.gamma == same.gamma).all()
    assert embedding.transform(x[:5]).shape == (5, 2)
    assert embedding.score(walk(150, seed=1)) > embedding.score(np.random.default_rng(0).standard_normal((150, 3)))
    parts = sslcore.SSLEmbedding(features=Identity(), n_components=2, reg=1e-3, positives=TimeLag(1))
    parts.partial_fit(x[:120]).partial_fit(x[120:])
    whole = sslcore.pretrain(x, Identity(), 2, reg=1e-3, center=True, positives=TimeLag(1, boundaries=[120, 80]))
    assert_close(parts.representation_.gamma, whole.gamma, tol=1e-10)
    with pytest.raises(ValueError, match="leave out augmentation"):
        sslcore.SSLEmbedding(augmentation=sslcore.augmentations.GaussianNoise(0.1), positives=TimeLag(1)).fit(x)
    groups = sslcore.SSLEmbedding(Gaussian(2.0), n_components=2, reg=1e-3, positives=Groups(np.arange(200) // 2)).fit(x)
    assert groups.score(x) > -2


@pytest.mark.parametrize("y", [np.arange(40) % 2, np.zeros(40, int)], ids=["two classes", "one class"])
def test_scores_of_labels_are_those_of_their_pairs(y):
    """Classes are no independent samples: points of one are, and their pairs count."""
    x = np.random.default_rng(0).standard_normal((40, 3)) + 4.0 * y[:, None]
    listed, ours = (
        sslcore.SSLEmbedding(Gaussian(2.0), n_components=2, reg=1e-2, positives=law).fit(x).score(x)
        for law in (1.0 * Labels(y), Labels(y))
    )
    assert_close(np.array(ours), np.array(listed), tol=1e-8)


@pytest.mark.parametrize("size", [5e-324, 1e-300, 1e300, 1.7e308])
def test_only_ratios_of_weights_matter(size):
    """Of a fit, at the ends of what float64 holds; of moments, which weigh one update against another, words say so."""
    x = points(12)
    i, j = np.arange(11), np.arange(1, 12)
    equal = sslcore.pretrain(x, Identity(), 2, reg=1e-2, positives=Pairs(i, j))
    found = sslcore.pretrain(x, Identity(), 2, reg=1e-2, positives=Pairs(i, j, np.full(11, size)))
    assert_close(found.gamma, equal.gamma, tol=1e-14)
    with pytest.raises(ValueError, match=f"weight of pairs is too {'large' if size > 1 else 'small'}"):
        sslcore.Moments(Identity()).update(x, positives=Pairs(i, j, np.full(11, size)))
