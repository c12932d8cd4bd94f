"""Diagnostics: against loops, closed forms, and what they say of representations that have collapsed."""

import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.cluster import vq

import sslcore
from sslcore import pretrain, tunables
from sslcore.augmentations import GaussianNoise, Views
from sslcore.diagnostics import (
    alpha_req,
    clid,
    cluster_learnability,
    collapse_report,
    effective_dimension,
    intrinsic_dimension,
    invariance,
    lidar,
    rankme,
)
from sslcore.features import Identity, Nystrom
from sslcore.kernels import Exponential, Gaussian, Linear

from . import naive
from .comparators import assert_close
from .strategies import arrays

VIEWS = GaussianNoise(0.1).views(sslcore.datasets.half_moons(60, seed=0), 2, seed=0)


def fitted(model=Exponential(0.5), k=6, **numbers):  # noqa: B008
    return pretrain(VIEWS, model, k, **({"reg": 1e-3} | numbers))


@given(
    z=arrays(st.tuples(st.integers(2, 9), st.integers(2, 4), st.integers(1, 5))),
    shift=st.sampled_from([0.0, 50.0]),
    block=st.sampled_from([1, 24, 1000]),
)
def test_against_loops_property(z, shift, block, backend):
    z = (z + shift).astype(z.dtype)
    before, tunables.DIAGNOSTICS_BLOCK_ENTRIES = tunables.DIAGNOSTICS_BLOCK_ENTRIES, block
    try:
        there = backend.asarray(z)
        flat = z.reshape(-1, z.shape[2]).astype(float)
        assert_close(rankme(there), naive.rankme(flat), tol=1e-5)
        assert_close(rankme(there.reshape(flat.shape)), rankme(there))
        assert_close(invariance(there), naive.view_share(z), tol=1e-9)
        assert_close(lidar(there, delta=1e-3), naive.lidar(z.astype(float), 1e-3), tol=1e-5)
        spectrum = np.linalg.eigvalsh(np.cov(flat.T, bias=True).reshape(z.shape[2], z.shape[2]))[::-1]
        report = collapse_report(there)
        assert_close(report.spectrum, spectrum, tol=1e-9)
        if len(spectrum) > 1 and spectrum[-1] > 1e-6 * spectrum[0]:
            assert_close(alpha_req(there), naive.alpha_req(spectrum, 1, 10), tol=1e-6)
        assert_close(effective_dimension(there, 0.3), sum(v / (v + 0.3) for v in spectrum), tol=1e-9)
    finally:
        tunables.DIAGNOSTICS_BLOCK_ENTRIES = before


@given(k=st.integers(2, 30), alpha=st.floats(0.0, 3.0), scale=st.sampled_from([1e-200, 1.0, 1e200]))
def test_a_power_law_is_found(k, alpha, scale):
    values = scale * np.arange(1, k + 1) ** -alpha
    assert_close(alpha_req(values), alpha, tol=1e-9, scale=1.0)
    assert_close(alpha_req([*values[::-1], 0.0, -1.0]), alpha, tol=1e-9, scale=1.0)  # in any order, without the dead
    assert_close(effective_dimension(values, scale), sum(v / (v + 1) for v in values / scale), tol=1e-12)


@given(
    z=arrays(st.tuples(st.integers(3, 9), st.integers(2, 3), st.integers(2, 4)), dtype=np.dtype(np.float64)),
    exponents=st.lists(st.sampled_from([-960, -549, -100, 0, 200, 513, 1000]), min_size=4, max_size=4),
)
def test_the_scale_does_not_matter_property(z, exponents, backend):
    """By a power of two nothing changes; components may differ in theirs."""
    for exponent in exponents[:2]:
        scaled, plain = backend.asarray(np.ldexp(z, exponent)), backend.asarray(z)
        assert rankme(scaled) == rankme(plain)
        assert alpha_req(scaled) == alpha_req(plain)
        assert lidar(scaled) == lidar(plain)
        assert (invariance(scaled) == invariance(plain)).all()
        a, b = collapse_report(scaled), collapse_report(plain)
        assert (a.verdict, a.n_active, a.constant, a.copies, a.sentences) == (
            b.verdict,
            b.n_active,
            b.constant,
            b.copies,
            b.sentences,
        )
        with np.errstate(over="ignore"):
            assert (a.spectrum == np.ldexp(b.spectrum, 2 * exponent)).all()
            assert (a.variances == np.ldexp(b.variances, 2 * exponent)).all()
    several = np.ldexp(z, np.array(exponents[: z.shape[2]]))
    assert (invariance(backend.asarray(several)) == invariance(backend.asarray(z))).all()
    assert collapse_report(backend.asarray(several)).constant == collapse_report(backend.asarray(z)).constant
    assert collapse_report(backend.asarray(several)).copies == collapse_report(backend.asarray(z)).copies


def test_the_effective_dimension_at_any_scale():
    z = np.random.default_rng(0).normal(size=(50, 4))
    for exponent in (-400, -100, 100, 400):
        scaled = np.ldexp(z, exponent)
        assert effective_dimension(scaled, math.ldexp(0.3, 2 * exponent)) == effective_dimension(z, 0.3)
    assert effective_dimension(1e-200 * z, 1.0) == effective_dimension(0 * z, 1e-300) == 0.0
    assert effective_dimension(1e200 * z, 1.0) == 4.0
    assert effective_dimension([1e308, 1e308, 1e-320, 0.0, -1.0], 1e-300) == pytest.approx(2.0)


@pytest.mark.parametrize("function", [rankme, collapse_report, invariance, lidar, clid])
def test_the_largest_numbers(function):
    """Nothing inside is larger than they are."""
    z = np.random.default_rng(0).uniform(-1, 1, size=(30, 2, 3))
    function(z * 1.7e308)
    function((z * 3e38).astype(np.float32))
    function(z * 5e-324)


@pytest.mark.parametrize(
    ("n", "k", "alpha"), [(500, 400, 1.0), (500, 400, 0.5), (1000, 300, 2.0), (200, 400, 1.0), (300, 200, 1.5)]
)
@pytest.mark.parametrize("seed", [0, 1])
def test_the_exponent_is_found_in_samples(n, k, alpha, seed):
    """Where the last eigenvalues are far too small: few samples."""
    x = np.random.default_rng(seed).normal(size=(n, k)) * np.arange(1, k + 1) ** (-alpha / 2)
    assert abs(alpha_req(x) - alpha) < 0.15
    assert alpha_req(np.linalg.eigvalsh(np.cov(x.T))) == pytest.approx(alpha_req(x), abs=1e-9)


@given(seed=st.integers(0, 99), k=st.integers(3, 60), first=st.integers(1, 9), more=st.integers(1, 40))
def test_ranks_property(seed, k, first, more):
    values = np.random.default_rng(seed).exponential(size=k)
    found = alpha_req(values, ranks=(first, first + more))
    if first >= k:
        assert math.isnan(found)
    else:
        assert_close(found, naive.alpha_req(values, first, first + more), tol=1e-9, scale=1.0)


def test_default_ranks():
    for k, first, last in (
        (2, 1, 10),
        (12, 1, 10),
        (50, 2, 12),
        (100, 5, 25),
        (400, 11, 100),
        (2000, 11, 500),
        (3000, 11, 500),
    ):
        values = np.random.default_rng(k).exponential(size=k)
        assert alpha_req(values) == alpha_req(values, ranks=(first, last))


@pytest.mark.parametrize(
    ("ranks", "error"),
    [
        ((0, 5), ValueError),
        ((3, 3), ValueError),
        ((1.5, 3), TypeError),
        (7, TypeError),
        ((1, 2, 3), TypeError),
        ("ab", TypeError),
    ],
)
def test_bad_ranks(ranks, error):
    with pytest.raises(error, match="ranks"):
        alpha_req([2.0, 1.0], ranks=ranks)


def test_closed_forms():
    assert math.isnan(alpha_req([1.0, 0.0]))
    assert rankme(np.ones((5, 3))) == 0.0
    assert lidar(np.ones((5, 2, 3))) == 0.0
    assert effective_dimension([3.0, -1.0, 0.0], 1.0) == 0.75
    equal = np.eye(8) - 1 / 8  # a simplex: all 7 directions alike
    assert_close(rankme(equal), 7.0, tol=1e-6)
    assert_close(rankme(equal + 1e3), 7.0, tol=1e-5)
    one = np.outer(np.arange(5.0), [1.0, 2.0])
    assert_close(rankme(one), 1.0, tol=1e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_constant_counts_for_nothing(dtype, backend):
    z = backend.asarray(np.full((40, 2, 3), 0.1, dtype))
    assert rankme(z) == lidar(z) == 0.0
    assert np.isnan(invariance(z)).all()
    report = collapse_report(z)
    assert (report.verdict, report.n_active) == ("total collapse", 0)
    assert "mapped to one point" in str(report)


@pytest.mark.parametrize("mean", [1e3, 1e5, 1e6])
def test_a_mean_in_the_precision_of_the_values(mean, backend):
    """Many components with a deviation of 1 are alive as long as float32 can tell them from their means."""
    z = (np.random.default_rng(0).normal(size=(500, 2, 40)) + mean).astype(np.float32)
    there = backend.asarray(z)
    report = collapse_report(there)
    assert (report.n_active, len(report.constant)) == (40, 40)
    assert_close(rankme(there), naive.rankme(z.reshape(-1, 40).astype(float)), tol=1e-3)
    assert_close(lidar(there), naive.lidar(z.astype(float), 1e-4), tol=1e-3)
    assert np.isfinite(invariance(there)).all()
    hidden = collapse_report(backend.asarray((z.astype(float) + 5e7 - mean).astype(np.float32)))
    assert (hidden.verdict, hidden.rankme) == ("total collapse", 0.0)
    assert "may be rounding: values are known to 1.2e-07 of their size, and the largest mean is 5e+07" in str(hidden)


def test_moments_know_the_precision_of_their_features(tmp_path):
    z = np.random.default_rng(0).normal(size=(200, 2, 3)) + 1e8
    double = sslcore.Moments(Identity()).update(z)
    assert_close(rankme(double), naive.rankme(z.reshape(-1, 3)), tol=1e-6)
    mixed = sslcore.Moments(Identity()).update(z[:100].astype(np.float32)).merge(sslcore.Moments(Identity()).update(z))
    assert rankme(mixed) == 0.0  # as far as anybody knows
    double.save(tmp_path / "m")
    assert rankme(sslcore.Moments.load(tmp_path / "m")) == rankme(double)
    small = sslcore.Moments(Identity()).update((z - 1e8) * 1e-200)
    with pytest.raises(ValueError, match=r"so small .* that their second moments underflow"):
        rankme(small)
    assert rankme(sslcore.Moments(Identity()).update(np.zeros((5, 2, 3)))) == 0.0


@pytest.mark.parametrize(
    "model", [Exponential(0.5), Nystrom(Exponential(0.5), 30), Identity()], ids=["kernel", "nystrom", "identity"]
)
@pytest.mark.parametrize("center", [True, False])
def test_of_a_representation(model, center, backend):
    k = 2 if isinstance(model, Identity) else 4
    rep = pretrain(backend.asarray(VIEWS), model, k, reg=1e-3, center=center)
    z = backend.asnumpy(rep.embedding)
    assert_close(rankme(rep), rankme(z))
    assert_close(alpha_req(rep), alpha_req(z), tol=1e-9)
    assert_close(effective_dimension(rep, 0.1), effective_dimension(z, 0.1))
    assert_close(lidar(rep), lidar(z))
    assert_close(cluster_learnability(rep, 5), cluster_learnability(z, 5))
    assert_close(invariance(rep), invariance(z), tol=1e-9)  # all are active: the scale of a component does not matter
    if center:  # unit variance, and the unbiased T over distinct views
        assert_close(invariance(rep), rep.invariance, tol=1e-9)
        assert_close(collapse_report(rep).spectrum, np.clip(rep.eigenvalues, 0, None), tol=1e-9)


def test_views_made_when_needed_and_any_library():
    rep = pretrain(Views(sslcore.datasets.half_moons(60, seed=0), GaussianNoise(0.1), 2, 0), Identity(), 2, reg=1e-3)
    assert_close(rankme(rep), rankme(pretrain(VIEWS, Identity(), 2, reg=1e-3)))

    class Foreign:
        def __init__(self, x):
            self.x = x

        def __dlpack__(self, **kwargs):
            return self.x.__dlpack__(**kwargs)

        def __dlpack_device__(self):
            return self.x.__dlpack_device__()

    z = np.random.default_rng(0).normal(size=(9, 2, 3))
    assert rankme(Foreign(z)) == rankme(z)
    assert collapse_report(Foreign(z)).rankme == rankme(z)
    assert alpha_req(Foreign(np.array([3.0, 2.0]))) == alpha_req([3.0, 2.0])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_of_moments(dtype, backend):
    """Sums of features say the same as the features."""
    z = (np.random.default_rng(0).normal(size=(40, 3, 5)) * [5, 1, 1, 0.1, 0.01] + 3).astype(dtype)
    z += np.random.default_rng(1).normal(size=(40, 1, 5)).astype(dtype)
    moments = sslcore.Moments(Identity()).update(backend.asarray(z[:15])).update(backend.asarray(z[15:]))
    tol = 1e-4 if dtype == np.float32 else 1e-9
    for function in (rankme, alpha_req, invariance, lidar, lambda z: effective_dimension(z, 0.1)):
        assert_close(function(moments), function(z), tol=tol)
    a, b = collapse_report(moments), collapse_report(z)
    assert (a.verdict, a.constant, a.copies, a.n_active) == (b.verdict, b.constant, b.copies, b.n_active)
    with pytest.raises(ValueError, match="at least 2 samples, found 0"):
        rankme(sslcore.Moments(Identity()))
    with pytest.raises(ValueError, match="LiDAR needs views"):
        lidar(sslcore.Moments(Identity()).update(z[:, :1]))


# ---------------------------------------------------------------- views and neighbours


def test_lidar_counts_what_tells_samples_apart():
    """Of four components of equal variance two are the samples' and two the views': of rank 2, and 4 for RankMe."""
    rng = np.random.default_rng(0)
    z = np.concatenate(
        [np.repeat(rng.normal(size=(3000, 1, 2)), 4, axis=1), rng.normal(size=(3000, 4, 2))], axis=2
    ) @ np.linalg.qr(rng.normal(size=(4, 4)))[0]  # fmt: skip
    assert_close(rankme(z), 4.0, tol=1e-2)
    assert_close(lidar(z), 2.0, tol=1e-2)
    few = rng.normal(size=(4, 2, 9))
    assert lidar(few) <= 3 + 1e-9  # of n samples at most n - 1


@given(seed=st.integers(0, 99), n=st.integers(4, 25), k=st.integers(1, 4), spread=st.sampled_from([1e-3, 1.0, 1e9]))
def test_neighbours_property(seed, n, k, spread, backend):
    """The dimension against loops; the learnability against the labels of the nearest other."""
    z = np.random.default_rng(seed).normal(size=(n, k)) * spread
    there = backend.asarray(z)
    assert_close(intrinsic_dimension(there), naive.intrinsic_dimension(z), tol=1e-6)
    labels, clusters = [], vq.vq

    def noted(*args, **options):
        labels[:] = [clusters(*args, **options)]
        return labels[0]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vq, "vq", noted)
        found = cluster_learnability(there, 3)
    ((own, _),) = labels
    right = [own[i] == own[nearest] for i, (_, _, nearest) in enumerate(naive.two_nearest(z))]
    assert_close(found, sum(right) / n)
    assert_close(clid(there, 3), found + intrinsic_dimension(there) / k)
    views = np.stack([z, z + 1.0], axis=1)
    assert intrinsic_dimension(backend.asarray(views)) == intrinsic_dimension(there)  # the first view of each


@pytest.mark.parametrize("d", [1, 2, 4])
def test_the_dimension_of_a_torus(d):
    """It does not see how many coordinates there are, nor copies of points."""
    angle = np.random.default_rng(d).uniform(0, 2 * np.pi, size=(2000, d))
    z = np.concatenate([np.cos(angle), np.sin(angle), np.ones((2000, 3))], axis=1)
    assert abs(intrinsic_dimension(z) / d - 1) < 0.1
    assert_close(intrinsic_dimension(np.concatenate([z, z[:500]])), intrinsic_dimension(z))


def test_which_clusters_are_learnt():
    rng = np.random.default_rng(0)
    corners = rng.normal(size=(20, 3))
    apart = np.repeat(corners, 10, axis=0) + 1e-3 * rng.normal(size=(200, 3))
    assert cluster_learnability(apart, 20) > 0.95
    noise = rng.normal(size=(200, 50))
    assert cluster_learnability(noise, 20) < 0.6
    assert cluster_learnability(noise, 20) == cluster_learnability(noise, 20, seed=0)
    assert 0 < cluster_learnability(noise, 20, seed=2**64 - 1) < 0.6
    # two blobs and a lone point between: its nearest is of one of them
    line = np.array([[0.0], [1.0], [2.0], [50.0], [51.0], [52.0]])
    assert cluster_learnability(line, 2) == 1.0
    # copies: the nearest other of each is its copy, whichever of them comes first
    twins = np.repeat(rng.normal(size=(7, 2)), 3, axis=0)
    assert cluster_learnability(twins, 7) == 1.0


def test_degenerate_neighbours():
    assert math.isnan(intrinsic_dimension(np.repeat([[0.0], [1.0]], 5, axis=0)))
    assert intrinsic_dimension(np.stack(np.meshgrid([0.0, 1.0, 2.0], [0.0, 1.0, 2.0]), -1).reshape(9, 2)) == math.inf
    assert cluster_learnability(np.ones((5, 2)), 2) == 1.0


# ---------------------------------------------------------------- words


def test_reg_is_too_large():
    rep = fitted(k=12, reg=4e-2)
    report = collapse_report(rep)
    assert 0 < rep.n_active < 12
    assert report.verdict == "partial collapse"
    text = str(report)
    assert f"{rep.n_active} of 12 components are active" in text
    assert "because reg = 0.04 exceeds" in text
    # what it says is needed is about right: a little below it the next component lives
    bound = float(text.split("needs reg below about ")[1].split()[0])
    assert fitted(k=12, reg=0.9 * bound).n_active > rep.n_active
    assert fitted(k=12, reg=1.1 * bound).n_active <= rep.n_active + 1


def test_the_augmentations_are_too_strong():
    views = np.random.default_rng(0).normal(size=(50, 2, 3)) + 0.3 * np.random.default_rng(1).normal(size=(50, 1, 3))
    rep = pretrain(views, Linear(), 3, reg=1e-8, beta=4.0, center=True)
    assert rep.n_active < 3
    assert "beta times their invariance exceeds 1" in str(collapse_report(rep))
    assert "more noise of the augmentation than signal" in str(collapse_report(rep))


def test_beyond_the_rank():
    rep = pretrain(VIEWS, Linear(), 5, reg=1e-3)
    assert "beyond the numerical rank 2" in str(collapse_report(rep))


def test_total_collapse():
    report = collapse_report(fitted(reg=50.0, center=True))
    assert (report.verdict, report.n_active, report.rankme) == ("total collapse", 0, 0.0)
    assert "0 of 6 components are active" in str(report)


def test_all_is_well():
    report = collapse_report(fitted(center=True))
    assert report.verdict == "no collapse"
    assert report.n_active == 6
    assert report.constant == report.copies == ()
    text = str(report)
    assert "all 6 components are active" in text
    assert text.count("normal:") == 3
    assert json.loads(json.dumps(report.as_dict()))["n_components"] == 6


def test_the_first_component_is_nearly_constant():
    rep = pretrain(VIEWS, Gaussian(2.0), 3, reg=1e-3)
    report = collapse_report(rep)
    assert report.constant == (0,)
    assert report.verdict == "partial collapse"
    assert "component 1 is nearly constant" in str(report)
    assert "center=True" in str(report)
    centred = collapse_report(pretrain(VIEWS, Gaussian(2.0), 3, reg=1e-3, center=True))
    assert centred.constant == ()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_of_an_embedding(dtype, backend):
    z = np.random.default_rng(0).normal(size=(50, 4)).astype(dtype)
    assert collapse_report(backend.asarray(z)).verdict == "no collapse"
    assert collapse_report(backend.asarray(z)).invariance is None
    z[:, 2] = -2 * z[:, 0]
    z[:, 3] = 7.0
    report = collapse_report(backend.asarray(z))
    assert report.copies == ((0, 2),)
    assert report.constant == (3,)
    assert report.n_active == 2
    assert "components 1 and 3 are copies" in str(report)
    assert "component 4 is nearly constant" in str(report)
    assert "2 of 4 directions are alive" in str(report)


def test_a_dominated_spectrum_is_a_partial_collapse():
    z = np.random.default_rng(0).normal(size=(500, 10)) * ([1.0] + 9 * [0.02])
    report = collapse_report(z)
    assert report.n_active == 10
    assert report.verdict == "partial collapse"


# ---------------------------------------------------------------- bad input


@pytest.mark.parametrize("function", [rankme, collapse_report, invariance, lidar])
@pytest.mark.parametrize(
    ("z", "message"),
    [
        (np.ones(3), "z must have 2 or 3 dimensions"),
        (np.ones((1, 2)), "at least 2 samples"),
        (np.array([[0.0], [1.0], [np.nan]]), r"z must be finite, found nan at index \(2, 0\)"),
        (np.ones((3, 0)), "must not be empty"),
    ],
)
def test_bad_embeddings(function, z, message):
    with pytest.raises(ValueError, match=message):
        function(z)


def test_bad_arguments(tmp_path):
    with pytest.raises(ValueError, match="invariance needs views"):
        invariance(np.eye(3))
    with pytest.raises(ValueError, match="LiDAR needs views"):
        lidar(np.eye(3))
    with pytest.raises(ValueError, match="delta must be a finite number >= 2"):
        lidar(VIEWS, delta=0.0)
    for function in (cluster_learnability, intrinsic_dimension, clid):
        with pytest.raises(ValueError, match="at least 3 samples"):
            function(np.eye(2))
        with pytest.raises(ValueError, match="must be finite"):
            function(np.array([[0.0], [1.0], [np.nan]]))
    for n_clusters in (1, 9):
        with pytest.raises(ValueError, match="n_clusters must be"):
            cluster_learnability(np.eye(9), n_clusters)
    with pytest.raises(ValueError, match="g must be a finite number > 0"):
        effective_dimension([1.0], 0.0)
    with pytest.raises(TypeError, match="real numbers"):
        rankme(np.array([["a"], ["b"]]))
    grouped = pretrain(VIEWS.reshape(120, 2), Exponential(0.5), 3, reg=1e-3, groups=np.repeat(np.arange(60), 2))
    assert collapse_report(grouped).invariance is None
    with pytest.raises(ValueError, match="views of this representation are not known"):
        invariance(grouped)
    moments = sslcore.Moments(Identity()).update(VIEWS).solve(2, reg=1e-3)
    with pytest.raises(ValueError, match="training views are not known"):
        collapse_report(moments)


def test_the_page_on_features(capsys):
    page = (Path(__file__).parents[1] / "docs" / "features.md").read_text(encoding="utf-8")
    exec("\n".join(re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)), {})
    assert "more noise of the augmentation than signal" in capsys.readouterr().out
