"""reg="auto": held-out risks against oracles and against fits made by hand; folds; the grid; warnings and refusals."""

import dataclasses
import json
import pickle
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import sslcore
from sslcore import SelectionWarning, pretrain, tunables
from sslcore.augmentations import GaussianNoise, Views
from sslcore.features import Identity, Nystrom
from sslcore.fitting import problem
from sslcore.fitting.held_out import HeldOutRisk
from sslcore.fitting.plan import exact_plan, features_plan
from sslcore.fitting.search import _generalises, _least, _search, _warn, _within, as_search, make_folds
from sslcore.fitting.sizes import Sizes
from sslcore.kernels import Exponential, Gaussian, Linear, Precomputed
from sslcore.risk import vicreg
from sslcore.selection import AutoReg
from sslcore.solvers.groups import Samples

from . import naive
from .comparators import assert_close
from .strategies import seeds
from .traced import traced_peak

REGS = (1e-1, 1e-2, 1e-3)


@pytest.fixture(autouse=True)
def one_thread():
    """Small products: threads only wait for each other on a busy machine."""
    with pytest.importorskip("threadpoolctl").threadpool_limits(1):
        yield


def moons(n=60, m=2, seed=0, dtype=np.float64, noise=0.1):
    return GaussianNoise(noise).views(sslcore.datasets.half_moons(n, seed=seed).astype(dtype), m, seed=seed)


def quietly(views, model, k=3, **kwargs):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SelectionWarning)
        return pretrain(views, model, k, **kwargs)


# ---------------------------------------------------------------- the risk on held-out samples


@given(
    sizes=st.lists(st.integers(1, 4), min_size=2, max_size=9),
    k=st.integers(1, 4),
    beta=st.sampled_from([0.0, 0.7, 2.0]),
    unbiased=st.booleans(),
    weighted=st.booleans(),
    seed=seeds,
)
def test_held_out_risk_property(sizes, k, beta, unbiased, weighted, seed, backend):
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(len(sizes)), sizes)
    z = rng.normal(size=(len(groups), k))
    weight = rng.uniform(0.5, 2.0, len(groups)) if weighted else np.ones(len(groups))
    risk = HeldOutRisk(k, beta, unbiased, backend.primitives)
    cut = int(rng.integers(1, len(sizes)))
    for part in (groups < cut, groups >= cut):  # in two blocks
        names = np.unique(groups[part], return_inverse=True)[1]
        samples = Samples.from_groups(names, backend.primitives, weight[part])
        values = backend.asarray(z[part])[samples.order]
        members = backend.primitives.to_host(samples.labels) + (0 if part[0] else cut)
        risk.add(values, samples, float(weight[part].sum()), members % 20)
    value, error = risk.value()
    expected = naive.held_out_risk(z, groups, weight, beta, unbiased)
    assert_close(value, expected, tol=1e-10, scale=1 + abs(expected) + (z**2).sum())
    if len(sizes) < 3:
        assert np.isnan(error)
        return
    without = [
        naive.held_out_risk(z[groups != g], groups[groups != g], weight[groups != g], beta, unbiased)
        for g in range(len(sizes))
    ]
    jackknife = np.sqrt((len(sizes) - 1) * np.var(without))
    assert_close(error, jackknife, tol=1e-7, scale=1 + np.abs(without).max())


@given(logs=st.lists(st.integers(-30, 0), min_size=6, max_size=16), k=st.integers(1, 3), seed=seeds)
def test_held_out_risk_of_very_unequal_weights(logs, k, seed, backend):
    """One view, or one sample, may have nearly all of the weight: pairs are summed, never obtained as a difference."""
    rng = np.random.default_rng(seed)
    groups = np.sort(rng.integers(0, 4, len(logs)))
    groups = np.unique(groups, return_inverse=True)[1]
    if groups[-1] == 0:
        groups[-1] = 1
    weight = 10.0 ** np.array(logs) * rng.uniform(1, 9, len(groups))
    z = rng.normal(size=(len(groups), k))
    samples = Samples.from_groups(groups, backend.primitives, weight)
    risk = HeldOutRisk(k, 1.0, True, backend.primitives)
    members = backend.primitives.to_host(samples.labels) % 2
    risk.add(backend.asarray(z)[samples.order], samples, float(weight.sum()), members)
    expected = naive.held_out_risk(z, groups, weight, 1.0)
    assert_close(risk.value()[0], expected, tol=1e-12, scale=1 + (z**2).sum() ** 2)


def test_held_out_risk_in_several_products(backend, monkeypatch):
    monkeypatch.setattr(tunables, "HELD_OUT_PRODUCT_VIEWS", 7)
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(40), rng.integers(1, 5, 40))
    z, weight = rng.normal(size=(len(groups), 3)), rng.uniform(0.5, 2, len(groups))
    samples = Samples.from_groups(groups, backend.primitives, weight)
    risk = HeldOutRisk(3, 0.7, True, backend.primitives)
    members = backend.primitives.to_host(samples.labels) % 3
    risk.add(backend.asarray(z)[samples.order], samples, float(weight.sum()), members)
    assert_close(risk.value()[0], naive.held_out_risk(z, groups, weight, 0.7), tol=1e-12, scale=10.0)


def test_held_out_risk_needs_two_samples(backend):
    samples = Samples.from_views(1, 3, backend.primitives)
    risk = HeldOutRisk(2, 1.0, True, backend.primitives)
    risk.add(backend.asarray(np.ones((3, 2))), samples, 3.0, np.zeros(1, int))
    with pytest.raises(ValueError, match="needs pairs of different samples: hold out at least two"):
        risk.value()


def test_equal_views_are_the_unbiased_vicreg_risk(backend):
    z = np.random.default_rng(0).normal(size=(50, 3, 4))
    samples = Samples.from_views(50, 3, backend.primitives)
    for beta, unbiased, factor in ((1.3, True, 1.0), (1.3, False, 2 / 3)):  # a biased fit's problem: beta (m-1)/m
        risk = HeldOutRisk(4, beta, unbiased, backend.primitives)
        risk.add(backend.asarray(z.reshape(150, 4)), samples, 150.0, np.arange(50) % 20)
        assert_close(risk.value()[0], vicreg(z, beta * factor, unbiased=True))


def test_the_standard_error_is_that_of_fresh_samples():
    rng = np.random.default_rng(0)
    found = []
    for _ in range(200):
        z = rng.normal(size=(100, 1, 2)) + 0.5 * rng.normal(size=(100, 2, 2))
        risk = HeldOutRisk(2, 1.0, True, sslcore.backends.get_backend())
        samples = Samples.from_views(100, 2, sslcore.backends.get_backend())
        risk.add(z.reshape(200, 2), samples, 200.0, np.arange(100) % 20)
        found.append(risk.value())
    values, errors = np.array(found).T
    assert 0.85 < errors.mean() / values.std() < 1.15


# ---------------------------------------------------------------- the search


@pytest.mark.parametrize(
    "model", [Exponential(0.5), Nystrom(Exponential(0.5), 25), Identity()], ids=lambda m: m.__class__.__name__
)
@pytest.mark.parametrize(("center", "unbiased", "beta"), [(False, True, 1.0), (True, False, 2.0)])
@pytest.mark.parametrize("n_folds", [1, 3])
def test_risks_are_those_of_fits_by_hand(model, center, unbiased, beta, n_folds):
    check_by_hand(model, n_folds, lambda x: x, beta=beta, center=center, unbiased=unbiased)


@pytest.mark.parametrize("model", [Exponential(0.5), Nystrom(Exponential(0.5), 25)], ids=["kernel", "features"])
def test_risks_on_both_backends(model, backend):
    check_by_hand(model, 2, backend.asarray, beta=2.0, center=True, unbiased=True)


def check_by_hand(model, n_folds, asarray, *, beta, center, unbiased):
    views, k = moons(40, 3), 2
    search = AutoReg(regs=REGS, n_folds=n_folds, seed=3)
    numbers = {"beta": beta, "center": center, "unbiased": unbiased}
    rep = quietly(asarray(views), model, k, reg=search, **numbers)
    found = rep.selection
    folds = make_folds(np.full(40, 3), search, False)
    fitted = model.fit(views) if isinstance(model, Nystrom) else model  # the same landmarks for all
    for i, reg in enumerate(REGS):
        held, trained = [], []
        for f in range(n_folds):
            part = pretrain(views[folds.part != f], fitted, k, reg=reg, **numbers)
            z = part.embedding
            effective = beta if unbiased else beta * 2 / 3
            held.append(vicreg(part(views[folds.part == f]), effective, unbiased=True))
            trained.append(vicreg(z, beta * 3 / 2 if unbiased else beta))
        assert_close(found.risks[i], np.mean(held), tol=1e-8, scale=k)
        assert_close(found.training_risks[i], np.mean(trained), tol=1e-8, scale=k)
    assert found.reg == REGS[int(np.argmin(found.risks))] == rep.reg  # not flat here
    assert found.gap == found.risk - found.training_risks[found.chosen]
    direct = pretrain(views, model, k, reg=found.reg, **numbers)
    assert_close(rep.gamma, direct.gamma, tol=1e-9)
    assert (found.n_samples, found.n_folds, found.n_held_out) == (40, n_folds, {1: 10, 2: 20, 3: 14}[n_folds])


@pytest.mark.parametrize("model", [Linear(), Identity()], ids=["kernel", "features"])
@pytest.mark.parametrize("beta", [0.0, 1.5])
def test_groups_and_weights(model, beta, monkeypatch):
    """Unequal numbers of views, in any order, of any weight; features in small blocks."""
    monkeypatch.setattr(sslcore.fitting.accumulator, "feature_rows", lambda r, d: 7)
    rng = np.random.default_rng(1)
    groups = rng.permutation(np.repeat(np.arange(30), rng.integers(1, 5, 30)))
    x = rng.normal(size=(30, 3))[groups] + 0.3 * rng.normal(size=(len(groups), 3))
    weight = rng.uniform(0.5, 2, len(groups))
    search = AutoReg(regs=REGS, n_folds=4)
    found = quietly(x, model, 2, reg=search, beta=beta, groups=groups, sample_weight=weight).selection
    part = make_folds(np.bincount(groups), search, beta == 0).part[groups]
    for i, reg in enumerate(REGS):
        held = []
        for f in range(4):
            a, b = part != f, part == f
            rep = pretrain(x[a], model, 2, reg=reg, beta=beta, groups=groups[a], sample_weight=weight[a])
            held.append(naive.held_out_risk(rep(x[b]), groups[b], weight[b], beta))
        assert_close(found.risks[i], np.mean(held), tol=1e-8, scale=2.0)


def test_a_given_matrix():
    views = moons(30)
    kernel = Exponential(0.5)
    matrix = kernel(views.reshape(60, 2))
    ours = quietly(matrix.reshape(30, 2, 60), Precomputed(), reg=AutoReg(regs=REGS, n_folds=3)).selection
    direct = quietly(views, kernel, reg=AutoReg(regs=REGS, n_folds=3)).selection
    assert_close(ours.risks, direct.risks, tol=1e-9)
    assert ours.reg == direct.reg


@pytest.mark.parametrize("model", [Exponential(0.5), Nystrom(Exponential(0.5), 20)], ids=["kernel", "features"])
def test_views_made_when_needed_and_float32(model, tmp_path):
    x = sslcore.datasets.half_moons(50, seed=0).astype(np.float32)
    lazy = Views(x, GaussianNoise(0.1), 2, 5)
    search = AutoReg(regs=REGS, n_folds=2)
    first = quietly(lazy, model, reg=search)
    stored = np.memmap(tmp_path / "views", np.float32, "w+", shape=(50, 2, 2))
    stored[...] = np.asarray(lazy)
    second = quietly(stored, model, reg=search)
    assert_close(first.selection.risks, second.selection.risks)
    double = quietly(np.asarray(lazy, float), model, reg=search)
    assert_close(first.selection.risks, double.selection.risks, tol=1e-3)
    assert first.embedding.dtype == np.float32


@pytest.mark.parametrize("model", [Gaussian(1.0), Nystrom(Gaussian(1.0), 20)], ids=["kernel", "features"])
def test_the_grid_goes_with_the_scale_of_the_kernel(model):
    small = quietly(moons(), model, reg="auto").selection
    if isinstance(model, Nystrom):
        large = quietly(moons(), Nystrom(1e3 * Gaussian(1.0), 20), reg="auto").selection
    else:
        large = quietly(moons(), 1e3 * Gaussian(1.0), reg="auto").selection
    assert_close(large.regs, 1e3 * small.regs)
    assert_close(large.reg, 1e3 * small.reg)
    good = np.isfinite(small.risks)
    assert good.sum() >= 9
    assert_close(large.risks[good], small.risks[good], tol=1e-5)


def test_folds_that_do_not_fit_side_by_side_are_made_again(monkeypatch):
    made = []
    original = problem.rotated_gram
    monkeypatch.setattr(problem, "rotated_gram", lambda *a: made.append(1) or original(*a))
    kept = quietly(moons(), Exponential(0.5), reg="auto").selection
    assert len(made) == 5 + 1  # and that of all views
    needed = exact_plan(Sizes(60, 120, 2, 3, n_folds=5), Exponential(0.5)).bytes
    again = quietly(moons(), Exponential(0.5), reg="auto", memory=needed).selection
    assert len(made) == 6 + 1 + 2 * 5 + 1
    assert_close(again.risks, kept.risks)


def test_the_default_grid_has_decades_and_two_half_decades():
    found = quietly(moons(), Exponential(0.3), reg="auto").selection
    assert len(found.regs) == 11
    assert (np.diff(found.regs) < 0).all()
    exponents = np.log10(found.regs)
    halves = np.flatnonzero(np.abs(exponents - np.round(exponents)) > 0.1)
    assert len(halves) == 2
    assert halves[1] - halves[0] == 2
    assert found.regs[0] == 1.0
    assert found.regs[-1] == 1e-8
    decades = np.delete(np.arange(11), halves)
    assert halves[0] + 1 == decades[np.argmin(found.risks[decades])]  # beside the best decade
    single = quietly(moons(dtype=np.float32), Exponential(0.5), reg="auto").selection
    assert single.regs[-1] == 1e-6


@pytest.mark.parametrize(("count", "halves", "taken"), [(0.0, [-3.5, -4.5], -4.0), (1.0, [-2.5, -3.5], -2.5)])
def test_half_decades_are_beside_the_reg_that_is_taken(count, halves, taken):
    """Within a standard error, 0.25, of the least risk, at reg 1e-4, are regs up to 10^-2.42."""

    class Parts:
        trace, objective, searching = 1.0, SimpleNamespace(k=2), None
        folds = SimpleNamespace(count=1, used=100, held_out=25, n_cut=0)

        def risks(self, regs):
            risk = 1.0 + 0.1 * (np.log10(regs) + 4.0) ** 2
            return np.stack([risk, np.full(len(regs), 0.25), risk], axis=1)[:, None]

    found = _search(AutoReg(standard_errors=count), Parts(), np.dtype(float))
    exponents = np.log10(found.regs)
    assert_close(exponents[np.abs(exponents - np.round(exponents)) > 0.1], np.array(halves), tol=1e-3)
    assert_close(np.log10(found.reg), taken, tol=1e-3)


def test_more_noise_wants_more_regularisation():
    x = sslcore.datasets.half_moons(80, seed=0)
    chosen = [
        quietly(GaussianNoise(scale).views(x, 2, seed=0), Exponential(0.5), reg="auto").reg for scale in (0.02, 0.3)
    ]
    assert chosen[0] < chosen[1]


def test_it_finds_what_is_best_for_fresh_data():
    """The chosen reg is (nearly) the one that is best on many fresh samples."""
    rep = quietly(moons(100), Exponential(0.5), reg="auto")
    fresh = moons(2000, seed=99)
    risks = [
        vicreg(pretrain(moons(100), Exponential(0.5), 3, reg=reg)(fresh), unbiased=True) for reg in rep.selection.regs
    ]
    assert vicreg(rep(fresh), unbiased=True) < min(risks) + 0.02 * (max(risks) - min(risks))


# ---------------------------------------------------------------- folds


@given(
    sizes=st.lists(st.integers(1, 3), min_size=12, max_size=40),
    n_folds=st.sampled_from([None, 1, 2, 3]),
    max_samples=st.sampled_from([None, 12, 100]),
    seed=st.integers(0, 9),
)
def test_folds_property(sizes, n_folds, max_samples, seed):
    sizes = np.array(sizes)
    sizes[:12] = 2
    search = AutoReg(n_folds=n_folds, max_samples=max_samples, seed=seed)
    try:
        folds = make_folds(sizes, search, False)
    except ValueError as error:  # max_samples may have left few with two views
        assert max_samples == 12 and "2 or more views" in str(error)  # noqa: PT017, PT018
        return
    assert folds.used == min(len(sizes), max_samples or 99)
    assert set(folds.part) <= {-1, *range(folds.count + (folds.count == 1))}
    for f in range(folds.count):
        assert (sizes[folds.part == f] > 1).sum() >= 2
        assert (sizes[(folds.part >= 0) & (folds.part != f)] > 1).sum() >= 2
    counts = np.bincount(folds.part[folds.part >= 0])
    if folds.count > 1:
        assert counts.max() - counts.min() <= 1
    assert (make_folds(sizes, search, False).part == folds.part).all()


def test_one_split_of_many_samples_and_five_folds_of_few():
    assert make_folds(np.full(500, 2), AutoReg(), False).count == 5
    many = make_folds(np.full(501, 2), AutoReg(), False)
    assert (many.count, many.held_out) == (1, 125)
    assert make_folds(np.full(100_000, 2), AutoReg(), False).held_out == 10_000


def test_max_samples_searches_on_some():
    views = moons(100)
    found = quietly(views, Exponential(0.5), reg=AutoReg(regs=REGS, max_samples=40, n_folds=2)).selection
    assert (found.n_samples, found.n_held_out) == (40, 20)
    folds = make_folds(np.full(100, 2), AutoReg(max_samples=40, n_folds=2), False)
    some = pretrain(views[folds.part == 1], Exponential(0.5), 3, reg=REGS[1])
    other = pretrain(views[folds.part == 0], Exponential(0.5), 3, reg=REGS[1])
    risks = [vicreg(some(views[folds.part == 0]), unbiased=True), vicreg(other(views[folds.part == 1]), unbiased=True)]
    assert_close(found.risks[1], np.mean(risks), tol=1e-9)
    features = quietly(views, Identity(), k=2, reg=AutoReg(regs=REGS, max_samples=40))
    assert_close(features.gamma, pretrain(views, Identity(), 2, reg=features.reg).gamma)  # fitted to all


# ---------------------------------------------------------------- warnings and refusals


@pytest.mark.parametrize(
    ("regs", "message"),
    [((1e-1, 1e-2), "falls at the smallest reg of the grid, 0.01; give"), ((1e-2, 1e-5), "falls at the largest")],
)
@pytest.mark.parametrize("model", [Gaussian(0.3), Nystrom(Exponential(0.3), 40)], ids=["kernel", "features"])
def test_a_minimum_at_the_end_of_the_grid_warns(regs, message, model):
    with pytest.warns(SelectionWarning, match=message):
        pretrain(moons(noise=0.3), model, 3, reg=AutoReg(regs=regs))


@pytest.mark.parametrize(
    ("regs", "risks", "errors", "reason"),
    [
        ((1e-1, 1e-2, 1e-3), (1.5, 1.2, 1.0), 0.1, "smallest"),
        ((1e-1, 1e-2, 1e-3), (1.5, 1.2, 1.0), 0.3, None),  # over the last decade, by less than its error
        ((1e-1, 1e-2, 1e-3), (1.5, 1.2, 1.0), np.nan, "smallest"),  # for all that is known
        ((1e-1, 3.16e-2, 1e-2), (1.5, 1.2, 1.0), 0.3, "smallest"),  # by half a decade that would be silent
        ((3e-2, 2e-2, 1e-2), (1.5, 1.2, 1.0), 0.3, "smallest"),  # there is no decade
        ((1e-1, 1e-2, 1e-3), (1.0, 1.2, 1.5), 0.1, "largest"),
        ((1e-1, 1e-2, 1e-3), (1.0, 1.2, 1.5), 0.3, None),
        ((1e-1, 1e-2, 1e-3), (1.5, 1.0, 1.2), 0.1, None),
        ((1e-1, 1e-2, 1e-3), (1.5, 1.0, np.nan), 0.1, "rounding"),
        ((1e-1, 1e-2, 1e-3), (1.5, 1.2, np.nan), 0.4, None),
        ((1e-1, 1e-2, 1e-3), (np.nan, 1.2, np.nan), 0.4, "largest"),  # a single one
        ((1e-1, 1e-2, 1e-3), (2.0, 2.0, 2.1), 0.4, "collapsed"),
        ((1e-1, 1e-2, 1e-3), (2.0, 1.9, 2.1), 0.4, "overfitted"),
        ((1e-1, 1e-2, 1e-3), (1.9, 2.1, 3.1), 0.1, "largest"),  # which explains it
    ],
)
def test_what_a_search_warns_of(regs, risks, errors, reason):
    values = [np.array(each) for each in (regs, risks, np.full(3, errors), (0.5, 0.1, 0.01))]
    reg = values[0][_least(values[1], 2)]
    found = sslcore.selection.Selection(reg, *values, n_samples=100, n_held_out=20, n_folds=5, seconds=0.0)
    parts = SimpleNamespace(objective=SimpleNamespace(k=2), unsolved=None)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        _warn(found, parts)
    assert [told.message.reason for told in caught] == ([] if reason is None else [reason])
    if reason:
        told = pickle.loads(pickle.dumps(caught[0].message))
        assert (told.reason, told.reg) == (reason, reg)
        assert str(told).startswith(told.found)
        assert str(told) == str(caught[0].message)


@pytest.mark.parametrize(
    ("trained", "risk", "share"), [(0.99, 1.999, 0.001 / 1.01), (1.0, 1.999, 1.0), (0.5, 1.7, 0.2)]
)
def test_little_that_is_learnt_need_not_generalise(trained, risk, share):
    """Of k = 2 more than half has to be learnt."""
    values = [np.array(each) for each in ((1e-1, 1e-2, 1e-3), (2.0, risk, 2.1), np.full(3, 0.4), (1.5, trained, 0.4))]
    found = sslcore.selection.Selection(1e-2, *values, n_samples=100, n_held_out=20, n_folds=5, seconds=0.0)
    assert_close(_generalises(found, 2), share)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        _warn(found, SimpleNamespace(objective=SimpleNamespace(k=2), unsolved=None))
    assert [told.message.reason for told in caught] == ["overfitted"] * (share < 0.1)


def test_views_that_are_learnt_by_heart_warn():
    """A narrow kernel and a small reg tell all samples apart, and new ones are like none of them."""
    views = np.random.default_rng(0).normal(size=(60, 2, 3))
    views[:, 1] = 0.8 * views[:, 0] + 0.6 * views[:, 1]
    said = "hardly anything generalises: at reg 1e-05 the risk is 2.9 on held-out samples, where that of zero is 3"
    with pytest.warns(SelectionWarning, match=said) as caught:
        rep = pretrain(views, Gaussian(0.25), 3, reg=AutoReg(regs=(1e-3, 1e-5)), center=True)
    assert [told.message.reason for told in caught] == ["overfitted"]
    assert rep.selection.gap > 2.5


def test_a_minimum_within_the_grid_does_not_warn():
    found = pretrain(
        moons(), Exponential(0.3), 3, reg=AutoReg(regs=(1e-1, 1e-3, 1e-8))
    ).selection  # warnings are errors
    assert found.chosen == 1


def test_where_the_risk_is_flat_the_largest_reg_is_taken():
    found = pretrain(moons(), Exponential(0.5), 3, reg=AutoReg(regs=(1e-2, 1e-6, 1e-7, 1e-8))).selection
    assert found.reg == 1e-6
    assert found.risks[3] < found.risks[2] < found.risks[1] < found.risks[3] + 1e-4
    assert_close(found.risk, found.risks[1])


def test_nothing_in_common_warns():
    with pytest.warns(SelectionWarning, match="nothing in common that generalises"):
        rep = pretrain(np.random.default_rng(0).normal(size=(40, 2, 3)), Gaussian(0.5), 3, reg="auto", center=True)
    assert rep.n_active == 0


def test_regs_below_rounding_are_left_out():
    found = quietly(moons(), Gaussian(1.0), 5, reg=AutoReg(regs=(1e-3, 1e-5, 1e-17))).selection
    assert np.isnan(found.risks[2])
    assert np.isfinite(found.risks[:2]).all()
    assert found.reg in (1e-3, 1e-5)
    with pytest.raises(sslcore.CertificateError):
        pretrain(moons(), Gaussian(1.0), 5, reg=AutoReg(regs=(1e-16, 1e-17)))
    with pytest.warns(SelectionWarning, match="smallest reg that rounding allows"):
        pretrain(moons(), Gaussian(1.0), 5, reg=AutoReg(regs=(1e-1, 1e-2, 1e-17)))


def test_what_has_collapsed_is_not_solved(monkeypatch, backend):
    """No component is active at reg >= the trace, about 3 here: the risk is k without a factorisation."""
    factorised = []
    cholesky = backend.primitives.cholesky
    monkeypatch.setattr(backend.primitives, "cholesky", lambda a: factorised.append(1) or cholesky(a))
    search = AutoReg(regs=(30.0, 3.1, 0.1, 1e-2), n_folds=2)
    found = quietly(backend.asarray(moons()), 3 * Exponential(0.5), 2, reg=search).selection
    assert len(factorised) == 2 * 2 + 1  # two folds, and the fit
    assert found.risks[:2].tolist() == found.training_risks[:2].tolist() == [2.0, 2.0]
    assert found.standard_errors[:2].tolist() == [0.0, 0.0]
    assert found.risks[3] < found.risks[2] < 2.0


@pytest.mark.parametrize(("beta", "center"), [(1.0, False), (0.0, True)])
def test_each_reg_begins_near_the_one_before(beta, center, backend):
    """And ends where an iteration from random vectors does."""
    views = backend.asarray(moons(50, 3))
    options = {"beta": beta, "center": center}
    together = quietly(views, Exponential(0.5), 3, reg=AutoReg(regs=REGS), **options).selection
    for i, reg in enumerate(REGS):
        alone = quietly(views, Exponential(0.5), 3, reg=AutoReg(regs=(50.0, reg)), **options).selection
        assert_close(together.risks[i], alone.risks[1], tol=1e-7, scale=3.0)
        assert_close(together.training_risks[i], alone.training_risks[1], tol=1e-7, scale=3.0)


@pytest.mark.parametrize("name", ["beta", "n_components"])
def test_neither_beta_nor_the_number_of_components_can_be_chosen(name):
    numbers = {"n_components": 2, "reg": 1e-3, "beta": 1.0} | {name: "auto"}
    with pytest.raises(ValueError, match=f"{name} cannot be 'auto': the unbiased risk grows with beta and"):
        pretrain(moons(), Gaussian(1.0), **numbers)
    moments = sslcore.Moments(Identity()).update(moons())
    with pytest.raises(ValueError, match=f"{name} cannot be 'auto'"):
        moments.solve(**numbers)
    with pytest.raises(TypeError, match=r"sslcore\.pretrain takes 'auto' too"):
        moments.solve(2, reg="auto")


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"reg": "best"}, TypeError, "reg must be a number > 0, found 'best'"),
        ({"views": moons(9), "reg": AutoReg(n_folds=5)}, ValueError, "5 folds needs at least 10 samples .* found 9"),
        ({"views": moons(3)}, ValueError, "1 fold needs at least 4 samples with 2 or more views, found 3"),
        ({"views": moons(6), "n_components": 10}, ValueError, "n_components must be at most 8, .* views of 12 that"),
    ],
)
def test_refusals(change, error, message):
    arguments = {"views": moons(), "model": Exponential(0.5), "n_components": 2, "reg": "auto"} | change
    with pytest.raises(error, match=message):
        pretrain(**arguments)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"regs": (1e-3,)}, ValueError, "at least two different numbers"),
        ({"regs": 1e-3}, ValueError, "at least two different numbers"),
        ({"regs": (1e-3, 0.0)}, ValueError, "regs must be a finite number > 0"),
        ({"n_folds": 0}, ValueError, "n_folds must be at least 1"),
        ({"n_folds": 2.0}, TypeError, "n_folds must be an integer"),
        ({"max_samples": 3}, ValueError, "max_samples must be at least 4"),
        ({"seed": -1}, ValueError, "seed"),
    ],
)
def test_bad_searches(arguments, error, message):
    with pytest.raises(error, match=message):
        AutoReg(**arguments)


def test_a_search_is_a_value():
    assert AutoReg(regs=[1e-3, 1e-1]) == AutoReg(regs=np.array([1e-1, 1e-3, 1e-1]))
    assert as_search("auto") == AutoReg()
    assert as_search(1e-3) is None
    assert dataclasses.replace(AutoReg(), seed=4).seed == 4


def test_memory_is_asked_for_before_the_search():
    with pytest.raises(sslcore.MemoryBudgetError):
        pretrain(moons(), Nystrom(Exponential(0.5), 60), 2, reg="auto", memory=600_000)
    pretrain(moons(), Nystrom(Exponential(0.5), 60), 2, reg=1e-3, memory=600_000)


@pytest.mark.parametrize("n_folds", [1, 3])
@pytest.mark.parametrize("model", [Exponential(0.5), Nystrom(Exponential(0.5), 100)], ids=["kernel", "features"])
def test_the_budget_is_kept(model, n_folds):
    views = moons(600)
    sizes = Sizes(600, 1200, 2, 3, n_folds=n_folds)
    exact = isinstance(model, Exponential)
    budget = (exact_plan(sizes, model) if exact else features_plan(sizes, 100, model)).bytes
    search = AutoReg(regs=REGS, n_folds=n_folds)
    assert traced_peak(lambda: quietly(views, model, reg=search, memory=budget)) <= budget


def test_what_it_says():
    rep = quietly(moons(), Exponential(0.5), 3, reg=AutoReg(regs=REGS))
    text = str(rep.selection)
    assert "60 samples, 5 folds" in text
    assert text.count("\n") == 4
    assert text.splitlines()[2 + rep.selection.chosen].endswith("<-")
    document = json.loads(json.dumps(rep.selection.as_dict()))
    assert document["reg"] == rep.reg
    assert document["gap"] == rep.selection.gap
    assert pretrain(moons(), Exponential(0.5), 3, reg=1e-3).selection is None


def test_errors_that_are_not_known_are_not_said():
    """Two samples are held out at a time: the jackknife over them says nothing."""
    rep = quietly(moons(8), Exponential(0.5), 1, reg=AutoReg(regs=REGS))
    assert np.isnan(rep.selection.standard_errors).all()
    lines = str(rep.selection).splitlines()
    assert lines[1:3] == [
        "too few samples are held out at a time for standard errors: another reg may be as good",
        "      reg   held out   training",
    ]
    assert all(len(line.removesuffix("  <-")) == len(lines[2]) for line in lines[3:])
    assert "nan" not in str(rep.selection)
    wide = str(quietly(moons(40), Exponential(0.5), 1, reg=AutoReg(regs=REGS)).selection).splitlines()
    assert all(len(line.removesuffix("  <-")) == len(wide[1]) for line in wide[2:])


def test_it_is_saved_with_the_representation(tmp_path):
    rep = quietly(moons(), Gaussian(1.0), 5, reg=AutoReg(regs=(1e-3, 1e-5, 1e-17)))
    rep.save(tmp_path / "model")
    loaded = sslcore.load(tmp_path / "model").selection
    assert str(loaded) == str(rep.selection)
    assert loaded.reg == rep.reg
    for change in ({"reg": 1.0}, {"n_folds": 2.5}, {"risks": np.zeros(2)}, {"regs": "many"}):
        dataclasses.replace(rep, selection=dataclasses.replace(rep.selection, **change)).save(tmp_path / "model")
        with pytest.raises(ValueError, match="it is damaged"):
            sslcore.load(tmp_path / "model")


@settings(max_examples=8)
@given(seed=seeds)
def test_held_out_samples_are_not_seen(seed):
    """Changing the views of the held-out samples changes no training risk."""
    views = np.random.default_rng(seed).normal(size=(20, 2, 2)) + moons(20)
    search = AutoReg(regs=REGS, n_folds=1)
    held = make_folds(np.full(20, 2), search, False).part == 0
    other = np.where(held[:, None, None], views + 1.0, views)
    for model in (Gaussian(1.0), Identity()):
        one, two = (quietly(v, model, 2, reg=search).selection for v in (views, other))
        assert_close(one.training_risks, two.training_risks, tol=1e-10)
        assert (one.risks != two.risks).any()


# ---------------------------------------------------------------- standard errors


@pytest.mark.parametrize(
    ("risks", "count", "expected"),
    [
        ([1.9, 1.2, 1.0, 1.1], 0.0, 2),
        ([1.9, 1.2, 1.0, 1.1], 1.0, 1),  # 0.2 more, and the least has an error of 0.25
        ([1.9, 1.2, 1.0, 1.1], 0.5, 2),
        ([2.0, 1.9, 1.8, 1.7], 2.0, 1),  # none that has collapsed, of k = 2
        ([np.nan, 1.2, 1.0, np.nan], 1.0, 1),
        ([2.0, 2.0, 2.0, 2.1], 1.0, 0),  # as without the rule
        ([1.0001, 1.0, 1.3, 1.4], 1e-9, 0),  # flat
    ],
)
def test_the_largest_reg_within_standard_errors(risks, count, expected):
    errors = np.array([9.0, 9.0, 0.25, 0.25]) if np.nanargmin(risks) > 1 else np.full(4, 1e-3)
    assert _within(np.array(risks), errors, 2, count) == expected


def test_a_search_within_standard_errors(tmp_path):
    plain, wide = (
        quietly(moons(), Gaussian(1.0), reg=AutoReg(regs=np.logspace(-1, -2, 9), standard_errors=count))
        for count in (0.0, 1.0)
    )
    found, least = wide.selection, plain.selection.chosen
    assert np.array_equal(found.risks, plain.selection.risks)
    close = found.risks <= found.risks[least] + found.standard_errors[least]
    assert found.chosen == np.flatnonzero(close)[0] < least
    assert wide.reg == found.reg
    assert "is the largest within one standard error of the least risk" in found.how
    wide.save(tmp_path / "model")
    assert sslcore.load(tmp_path / "model").selection.how == found.how


# ---------------------------------------------------------------- words


@given(st.lists(st.sampled_from([1.0, 1.0 + 1e-9, 1.00005, 1.0001, 2.0, np.nan]), min_size=2, max_size=6))
def test_the_words_of_the_choice_are_true(risks):
    """Only the reg of least risk is said to have it; of others, by how much they miss it."""
    risks = np.array(risks)
    if np.isnan(risks).all():
        return
    regs = np.logspace(0, -3, len(risks))
    found = sslcore.selection.Selection(
        float(regs[_least(risks, 1)]),
        regs,
        risks,
        risks,
        risks,
        n_samples=8,
        n_held_out=2,
        n_folds=1,
        seconds=0.1,
    )
    least = np.nanmin(risks)
    assert ("has the least risk" in str(found)) == (found.risk == least)
    if found.risk > least:
        assert f"{found.risk - least:.1g} more" in str(found)
        assert not (risks[regs > found.reg] <= least + 1e-4).any()
    assert "\n" not in repr(found)
    assert len(repr(found)) < 200
