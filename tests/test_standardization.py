"""Columns on one scale as part of a representation, and what is said of data before any fit."""

import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import sslcore
from sslcore import tunables
from sslcore.augmentations import GaussianNoise, Views
from sslcore.defaults import Standardization, choose, concerns
from sslcore.features import Identity, Nystrom
from sslcore.fitting.spread import spread_of
from sslcore.kernels import Gaussian, Linear, Precomputed

from . import naive
from .comparators import assert_close

RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 3)) * [1.0, 100.0, 1e4] + [0.0, 1e3, -5.0]
NEW = RNG.normal(size=(7, 3)) * [1.0, 100.0, 1e4]
COLUMNS = Standardization.of(X)
VIEWS = Views(COLUMNS(X), GaussianNoise(0.3), 2, 0)[:]
GAUSSIAN = Gaussian(1.0)
MODELS = [GAUSSIAN, Identity(), Nystrom(GAUSSIAN, COLUMNS(X)[:12])]


# ---------------------------------------------------------------- the map


@settings(max_examples=25)
@given(st.integers(1, 25), st.integers(1, 4), st.sampled_from([1e-300, 1e-3, 1.0, 1e150]), st.integers(0, 99))
def test_columns_have_mean_zero_and_deviation_one(n, d, size, seed):
    rng = np.random.default_rng(seed)
    x = (rng.normal(size=(n, d)) + rng.normal(size=d) * 10.0 ** rng.integers(0, 4, d)) * size
    x[:, rng.integers(d)] = x[0, 0]  # a constant
    new = np.concatenate([x, rng.normal(size=(3, d)) * size])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tunables, "STANDARDIZATION_BLOCK_ENTRIES", 3 * d)
        found = Standardization.of(x)
        values = found(new)
    assert (found.deviation > 0).all()
    expected = naive.standardize(x, new)
    size = 1.0 + np.abs(expected)  # a constant's deviation is 1, whatever its size
    assert_close(values / size, expected / size, tol=1e-9, scale=1.0)
    several = Standardization.of(x.reshape(n, 1, d))
    assert_close(several.mean, found.mean, tol=1e-14)
    assert_close(several.deviation, found.deviation, tol=1e-13)


def test_a_large_mean_costs_no_digits_in_float32():
    x = (1e4 + np.arange(8.0)[:, None]).astype(np.float32)
    found = Standardization.of(x)
    assert found(x).dtype == np.float32
    assert_close(found(x), naive.standardize(x, x).astype(np.float32), tol=1e-6)


def test_on_every_backend(backend):
    found = Standardization.of(backend.asarray(X))
    assert_close(found.mean, COLUMNS.mean, tol=1e-12)
    assert_close(backend.asnumpy(found(backend.asarray(NEW))), COLUMNS(NEW), tol=1e-12)


def test_what_is_no_standardisation():
    for mean, deviation, message in (
        ([0.0], [0.0], "deviation must be > 0, found 0.0"),
        ([0.0, 1.0], [1.0], "must be of one length, found 2 and 1"),
        ([np.nan], [1.0], "mean must be finite, found nan"),
        ([[0.0]], [1.0], "mean must have 1 dimensions"),
    ):
        with pytest.raises(ValueError, match=message):
            Standardization(mean, deviation)
    for x, message in ((np.zeros((0, 2)), "not be empty"), (np.zeros(3), "dimensions"), ([[np.inf]], "finite")):
        with pytest.raises(ValueError, match=message):
            Standardization.of(x)
    with pytest.raises(
        ValueError, match=r"x must have 3 coordinates, as many as were standardised, found shape \(2, 4\)"
    ):
        COLUMNS(np.zeros((2, 4)))


# ---------------------------------------------------------------- representations


@pytest.mark.parametrize("model", MODELS, ids=["kernel", "identity", "nystrom"])
def test_a_representation_standardises_first(model, tmp_path):
    fitted = sslcore.pretrain(VIEWS, model, 2, reg=1e-2, center=True)
    rep = fitted.standardized_by(COLUMNS)
    for scale in ("risk", "norm"):
        expected = fitted.transform(COLUMNS(NEW), scale)
        assert_close(rep.transform(NEW, scale), expected, tol=1e-12)
        assert_close(rep.transform(np.stack([NEW, NEW], axis=1), scale)[:, 1], expected, tol=1e-12)
    assert_close(rep.embedding, fitted.embedding, tol=1e-12)
    assert rep.n_active == fitted.n_active
    assert fitted.of_standardized() is fitted
    assert np.array_equal(rep.of_standardized()(VIEWS), fitted(VIEWS))
    assert rep.standardized_by(None).standardization is None
    assert str(sslcore.diagnostics.collapse_report(rep)) == str(sslcore.diagnostics.collapse_report(fitted))
    rep.save(tmp_path / "model")
    assert b'"format": 3,' in (tmp_path / "model").read_bytes()
    loaded = sslcore.load(tmp_path / "model")
    assert np.array_equal(loaded(NEW), rep(NEW))
    if model is not GAUSSIAN:
        w, b = rep.linear_head()
        phi = NEW if isinstance(model, Identity) else model(COLUMNS(NEW))
        assert_close(phi @ w.T + b, rep(NEW), tol=1e-9)
    with pytest.raises(ValueError, match="x must be finite, found nan at index"):
        rep([[0.0, np.nan, 1.0]])


def test_both_modalities_are_saved_with_theirs(tmp_path):
    from dataclasses import replace

    pair = sslcore.pretrain((VIEWS[:, 0], VIEWS[:, 1, :2]), (Linear(), Linear()), 2, reg=1e-2)
    rep = replace(pair, first=pair.first.standardized_by(COLUMNS))
    rep.save(tmp_path / "pair")
    assert b'"format": 3,' in (tmp_path / "pair").read_bytes()  # of which an older reader asks for an upgrade
    loaded = sslcore.load(tmp_path / "pair")
    assert_close(loaded((NEW, None)), pair((COLUMNS(NEW), None)), tol=1e-12)
    assert loaded.second.standardization is None


def test_files_whose_standardisation_is_damaged(tmp_path):
    from dataclasses import replace

    rep = sslcore.pretrain(VIEWS, GAUSSIAN, 2, reg=1e-2)
    for bad, message in ((Standardization([0.0], [1.0]), "does not fit the points"), (rep.certificate, "is of class")):
        replace(rep, standardization=bad).save(tmp_path / "model")
        with pytest.raises(ValueError, match=message):
            sslcore.load(tmp_path / "model")
    rep.save(tmp_path / "plain")
    assert b'"format": 2,' in (tmp_path / "plain").read_bytes()
    assert b"standardization" not in (tmp_path / "plain").read_bytes()  # as older versions wrote


def test_standardisations_that_are_refused():
    rep = sslcore.pretrain(VIEWS, GAUSSIAN, 2, reg=1e-2)
    with pytest.raises(TypeError, match="standardization must be a Standardization, found ndarray"):
        rep.standardized_by(np.ones(3))
    with pytest.raises(ValueError, match="x must have 2 coordinates, as many as were standardised"):
        rep.standardized_by(Standardization([0.0, 0.0], [1.0, 1.0]))
    points = VIEWS.reshape(-1, 3)
    given_gram = sslcore.pretrain(GAUSSIAN(points), Precomputed(), 2, reg=1e-2, groups=np.arange(80) // 2)
    with pytest.raises(TypeError, match="a given Gram matrix has no columns"):
        given_gram.standardized_by(COLUMNS)
    space, standardized = sslcore.population.Gaussian(3, scale=1.0), rep.standardized_by(COLUMNS)
    with pytest.raises(ValueError, match="a population is of points as they are"):
        space.moments(standardized, GaussianNoise(0.5))


def test_on_a_cluster():
    da = pytest.importorskip("dask.array")
    x = da.from_array(X, chunks=(11, 2))
    found = Standardization.of(x)
    assert_close(found.mean, COLUMNS.mean, tol=1e-12)
    assert_close(found.deviation, COLUMNS.deviation, tol=1e-12)
    assert_close(found(x).compute(), COLUMNS(X), tol=1e-12)
    with pytest.raises(ValueError, match="x must be finite"):
        Standardization.of(da.from_array(np.array([[np.nan], [1.0]])))


# ---------------------------------------------------------------- concerns


def test_spread_of_views():
    """Noise of deviation s on points of deviation 1: s^2 d and d."""
    x = np.random.default_rng(1).normal(size=(1500, 4))
    for s in (0.1, 1.0):
        for views in (Views(x, GaussianNoise(s), 3, 0), Views(x, GaussianNoise(s), 3, 0)[:]):
            found = spread_of(views)
            assert abs(found.within / found.between - s**2) < 0.15 * s**2
    assert spread_of(x[:, None]) is None
    few = np.array([[[1.0], [3.0]], [[2.0], [2.0]]])
    assert spread_of(few) == pytest.approx((1.0 / 16, 0.0))  # in units of 4


def test_views_that_hardly_differ_and_views_that_differ_too_much():
    x = np.random.default_rng(1).normal(size=(100, 2))
    weak, fine, strong = (concerns(x, Views(x, GaussianNoise(s), 2, 0)) for s in (1e-3, 0.3, 9.0))
    assert fine == ()
    assert weak[0].startswith("views hardly differ from their samples: their distance is 0.001")
    assert strong[0].startswith("views of one sample differ far more than samples do: their distance is ")


def test_columns_that_tell_nothing():
    x = np.random.default_rng(1).normal(size=(30, 6))
    x[:, 1], x[:, 2], x[:, 4] = 7.0, np.arange(30) + 5, np.cumsum(np.abs(x[:, 4]))
    names = list("abcdef")
    said = concerns(x, standardization=Standardization.of(x), columns=names)
    assert [sentence.split(":")[0] for sentence in said] == [
        "column b is constant",
        "column c counts the rows",
        "column e increases from row to row, as an index or a time does",
    ]
    assert concerns(x[:9, [2]], standardization=Standardization.of(x[:, [2]])) == ()  # so few rise by chance
    scores = np.random.default_rng(2).permutation(30)[:, None].astype(float)  # whole numbers in another order
    assert concerns(scores, standardization=Standardization.of(scores)) == ()
    x[:, 0] = 3.0
    assert concerns(x, standardization=Standardization.of(x))[0] == "columns 0, 1 are constant: they tell nothing"
    wild = np.random.default_rng(1).normal(size=(30, 2)) * [1.0, 1e3]
    assert "column y holds 100 % of the variance" in concerns(wild, columns=["x", "y"])[0]
    assert concerns(wild, standardization=Standardization.of(wild)) == ()
    assert concerns(np.zeros((3, 4, 4))) == ()  # images
    with pytest.raises(ValueError, match="columns must be 2 names, one a column, found 1"):
        concerns(wild, columns=["x"])


def test_concerns_take_the_memory_of_single_columns():
    x = np.random.default_rng(0).normal(size=(20_000, 20)) * [1e3, *[1.0] * 19]
    tracemalloc.start()
    try:
        (found,) = concerns(x)
        assert tracemalloc.get_traced_memory()[1] < x.nbytes / 4
    finally:
        tracemalloc.stop()
    assert "column 0 holds 100 % of the variance" in found


def test_concerns_on_every_backend(backend):
    x = np.random.default_rng(1).normal(size=(30, 3)) * [1.0, 1e3, 1.0]
    x[:, 2] = np.arange(30)
    assert concerns(backend.asarray(x)) == concerns(x) != ()


def test_the_collapse_report_says_it_of_columns_of_unlike_spread():
    """No collapse, but views of noise 0.1 do nothing to a column of 1,000."""
    x = np.random.default_rng(1).normal(size=(60, 2)) * [1.0, 1e3]
    for model in (Gaussian(1e3), Nystrom(Gaussian(1e3), x[:10])):
        rep = sslcore.pretrain(Views(x, GaussianNoise(0.1), 2, 0), model, 2, reg=1e-3, center=True)
        report = sslcore.diagnostics.collapse_report(rep)
        assert report.verdict == "no collapse"
        assert report.sentences[0].startswith("views hardly differ from their samples")
    fine = sslcore.pretrain(VIEWS, GAUSSIAN, 2, reg=1e-3, center=True)
    assert "hardly" not in str(sslcore.diagnostics.collapse_report(fine))


def test_views_are_those_of_a_fit():
    x = np.random.default_rng(0).normal(size=(20, 3))
    near = np.stack([x, x + 1e-6], axis=1)
    assert concerns(x, near.tolist()) == concerns(x, near) != ()
    for views, error in ((x, "3 dimensions"), (near[:, :, None], "dimensions"), (near[:0], "must not be empty")):
        with pytest.raises(ValueError, match=error):
            concerns(x, views)
    assert "columns 7, 8, 9 are constant" in concerns(np.ones((2, 3)), columns=[7, 8, 9])[0]
    for columns in ("abc", 3):
        with pytest.raises(TypeError, match="columns must be a sequence of names"):
            concerns(x, columns=columns)


def test_kernels_of_data_near_the_ends_of_float64():
    x = np.random.default_rng(0).normal(size=(30, 3))
    scale = choose(x, standardize=False).kernel.scale
    for exponent in (-1000, -530, 530, 1000, 1021):
        found = choose(np.ldexp(x, exponent), standardize=False).kernel.scale
        assert math.isclose(found, math.ldexp(scale, exponent), rel_tol=1e-2)
    rare = np.zeros((30, 3))
    rare[0] = 1.0  # most distances are 0: the mean square takes their place
    scales = [choose(size * rare, standardize=False).kernel.scale for size in (1.0, 1e-200)]
    assert math.isclose(scales[1], 1e-200 * scales[0], rel_tol=1e-2)
