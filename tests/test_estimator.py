"""SSLEmbedding: scikit-learn's own checks, and what it computes against `pretrain`."""

import inspect
import pickle
import warnings

import numpy as np
import pytest

import sslcore
from sslcore import SSLEmbedding, pretrain
from sslcore.augmentations import Affine, Compose, Cutout, GaussianNoise, HorizontalFlip, Mixture, Views
from sslcore.estimator import EXPECTED_FAILURES, FRESH
from sslcore.features import Identity, Nystrom, RandomFourier
from sslcore.kernels import Exponential, Gaussian, Precomputed
from sslcore.risk import vicreg
from sslcore.selection import AutoReg

from . import examples, naive
from .comparators import assert_close

sklearn = pytest.importorskip("sklearn")
from scipy.spatial.distance import pdist  # noqa: E402
from sklearn.base import clone  # noqa: E402
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_score  # noqa: E402
from sklearn.pipeline import make_pipeline  # noqa: E402
from sklearn.preprocessing import StandardScaler  # noqa: E402
from sklearn.utils.estimator_checks import parametrize_with_checks  # noqa: E402

X = sslcore.datasets.half_moons(40, seed=0)


@pytest.fixture(autouse=True)
def one_thread():
    """Small products: threads only wait for each other on a busy machine."""
    with pytest.importorskip("threadpoolctl").threadpool_limits(1):
        yield


def fast(**changes):
    usual = {"kernel": Exponential(0.5), "n_views": 2, "n_components": 2, "reg": 1e-2, "scale": "risk"}
    return SSLEmbedding(**(usual | changes))


KNOWN = (
    {"expected_failed_checks": lambda estimator: EXPECTED_FAILURES}
    if "expected_failed_checks" in inspect.signature(parametrize_with_checks).parameters
    else {}
)


@parametrize_with_checks(
    [
        SSLEmbedding(reg=1e-2),
        SSLEmbedding(reg=1e-2, n_components=1, features=RandomFourier(Gaussian(1.0), 8)),
        SSLEmbedding(reg=AutoReg(regs=(1e-1, 1e-3), n_folds=1)),
    ],
    **KNOWN,
)
def test_scikit_learns_checks(estimator, check):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", sslcore.SelectionWarning)
        warnings.simplefilter("ignore", sslcore.DataWarning)
        check(estimator)


def test_it_is_pretrain():
    noise = GaussianNoise(0.1)
    ours = SSLEmbedding(Exponential(0.5), noise, 3, 4, reg=1e-3, beta=2.0, random_state=7).fit(X)
    rep = pretrain(Views(X, noise, 3, 7), Exponential(0.5), 4, reg=1e-3, beta=2.0, center=True)
    assert_close(ours.representation_.gamma, rep.gamma)
    fresh = sslcore.datasets.half_moons(9, seed=1)
    assert_close(ours.transform(fresh), rep.transform(fresh, scale="probe"))
    assert_close(ours.set_params(scale="risk").transform(fresh), rep(fresh))
    assert ours.get_feature_names_out().tolist() == [f"sslembedding{i}" for i in range(4)]
    assert (ours.n_features_in_, ours.reg_) == (2, 1e-3)
    uncentred = SSLEmbedding(Exponential(0.5), noise, 3, 4, reg=1e-3, center=False, unbiased=False).fit(X)
    assert (uncentred.representation_.center, uncentred.representation_.unbiased) == (False, False)


def test_defaults_follow_the_scale_of_the_data():
    ours = SSLEmbedding(reg=1e-2).fit(X)
    z = (X - X.mean(axis=0)) / X.std(axis=0)
    assert_close(ours.standardization_(X), z, tol=1e-12)
    assert_close(ours.kernel_.scale, float(np.median(pdist(z))), tol=1e-2)
    assert (ours.augmentation_, ours.n_views) == (GaussianNoise(1.0), 4)
    assert ours.transform(X).shape == (40, 8)
    rep = pretrain(Views(z, GaussianNoise(1.0), 4, 0), ours.kernel_, 8, reg=1e-2, center=True)
    assert_close(ours.transform(X), rep.transform(z, scale="probe"), tol=1e-7)
    assert_close(ours.score(X), fast(**settings_of(ours), n_components=8).fit(z).score(z), tol=1e-8)
    skew = [1e3, 1e-2] * X + 5
    scaled = SSLEmbedding(reg=1e-2).fit(skew)
    assert_close(scaled.transform(skew), ours.transform(X), tol=1e-7)
    assert "standardised: each column by its mean and deviation" in scaled.chosen_


def settings_of(fitted):
    return {"kernel": fitted.kernel_, "augmentation": fitted.augmentation_, "n_views": fitted.n_views}


def test_the_order_of_rows_is_nothing_to_the_scale():
    """More than the 1,000 that are looked at, and fewer than twice as many: the first are of one class."""
    classes = np.random.default_rng(0).normal(size=(1500, 2)) + np.repeat([0.0, 20.0], [1000, 500])[:, None]
    mixed = classes[np.random.default_rng(1).permutation(1500)]
    scales = [sslcore.defaults.choose(x, standardize=False).kernel.scale for x in (classes, mixed)]
    assert_close(scales[0], scales[1], tol=0.1)


def test_a_kernel_is_exact_up_to_so_many_views_of_the_fit(monkeypatch):
    monkeypatch.setattr("sslcore.defaults._choice.EXACT_UP_TO", 150)
    monkeypatch.setattr("sslcore.defaults._choice.LANDMARKS", 8)
    views = GaussianNoise(0.1).views(X, 3, seed=0)
    told = "by 8 Nystrom features: {} views are more than 150"
    for settings, x, said in (
        ({"n_views": 2}, X, None),
        ({}, X, told.format(160)),
        ({"input": "views"}, views, None),
        ({"input": "views"}, np.concatenate([views, views]), told.format(240)),
        ({"positives": sslcore.positives.TimeLag(1)}, X, None),
        ({"solver": "dense"}, X, None),
        ({"features": 9}, X, None),
    ):
        ours = SSLEmbedding(reg=1e-2, n_components=2, **settings).fit(x)
        assert isinstance(ours.representation_.model, Nystrom) is (said is not None or "features" in settings)
        assert ("Nystrom" in str(ours.chosen_)) is (said is not None)
        assert said is None or said in str(ours.chosen_)


def test_only_what_was_chosen_is_told():
    words = ("views with noise", "median distance", "scale 'probe'")
    for settings, x, told in (
        ({"scale": "probe"}, X, (False, False, True)),
        ({}, X, (False, False, False)),
        ({"augmentation": None}, X, (True, False, False)),
        ({"kernel": None}, X, (False, True, False)),
        ({"kernel": None, "features": Identity()}, X, (False, False, False)),
        ({"augmentation": None, "positives": sslcore.positives.TimeLag(1)}, X, (False, False, False)),
        ({"augmentation": None, "input": "views"}, np.stack([X, X], axis=1), (False, False, False)),
    ):
        found = fast(**({"augmentation": GaussianNoise(0.1)} | settings)).fit(x).chosen_
        assert tuple(any(word in reason for reason in found) for word in words) == told, (settings, found)
        assert found[told[0]] == "samples are taken as they are"
        assert (found[0] == "a table of 2 columns") is told[0]


def test_standardisation_by_word():
    """In units of the data where the user gives a kernel or a law; with True always, with False never."""
    x = X * [1.0, 1e3]
    noise = GaussianNoise(0.3)
    with pytest.warns(sslcore.DataWarning, match="column 1 holds 100 % of the variance"):
        raw = fast(kernel=Gaussian(300.0), augmentation=GaussianNoise(100.0)).fit(x)
    assert raw.standardization_ is None
    ours = fast(augmentation=noise, standardize=True).fit(x)
    assert_close(
        ours.transform(x),
        fast(augmentation=noise).fit(ours.standardization_(x)).transform(ours.standardization_(x)),
        tol=1e-8,
    )
    assert_close(ours.representation_(x), ours.transform(x), tol=1e-12)
    with pytest.warns(sslcore.DataWarning):
        plain = SSLEmbedding(standardize=False, reg=1e-2, n_components=2).fit(x)
    assert plain.standardization_ is None
    assert_close(plain.augmentation_.scale, float(np.sqrt(x.var(axis=0).mean())), tol=1e-2)
    for bad in (1, None, "yes"):
        with pytest.raises(TypeError, match=r"standardize must be True or False, found .*; or 'auto'"):
            fast(standardize=bad).fit(X)
    with pytest.raises(ValueError, match="scale must be one of"):
        fast(scale="raw").fit(X).transform(X)


def test_parts_are_standardised_by_the_first():
    x = X * [1.0, 1e3]
    parts = SSLEmbedding(features=20, standardize=True, reg=1e-2, n_components=2)
    parts.partial_fit(x[:20]).partial_fit(x[20:])
    assert_close(parts.standardization_.mean, x[:20].mean(axis=0), tol=1e-12)
    assert_close(parts.transform(x), parts.representation_.transform(x, "probe"), tol=1e-12)


def test_images_and_series_by_their_shape():
    rng = np.random.default_rng(0)
    images = rng.normal(size=(12, 8, 8)) + 3.0 * rng.normal(size=(12, 1, 1))
    series = rng.normal(size=(12, 2, 20)) * [[[1.0], [50.0]]] + 3.0 * rng.normal(size=(12, 1, 1))
    for x, word in ((images, "images of 8 x 8"), (series, "series of 2 channels at 20 times")):
        ours = SSLEmbedding(reg=1e-2, n_components=3).fit(x)
        assert ours.chosen_[0].startswith(word)
        assert_close(ours.transform(x), ours.transform(x.reshape(12, -1)), tol=1e-12)
    z = ours.standardization_(series.reshape(12, -1)).reshape(12, 2, 20)
    assert_close(z.std(axis=(0, 2)), np.ones(2), tol=1e-9)
    assert SSLEmbedding(reg=1e-2, input="series").fit(series[:, 0]).chosen_[0] == "series of one channel, at 20 times"


@pytest.mark.parametrize("unbiased", [True, False])
def test_the_score_is_minus_the_risk_on_fresh_views(unbiased):
    ours = fast(augmentation=GaussianNoise(0.1), n_views=3, unbiased=unbiased).fit(X)
    others = sslcore.datasets.half_moons(4000, seed=5)
    risk = vicreg(
        ours.transform(GaussianNoise(0.1).views(others, 3, seed=99).reshape(-1, 2)).reshape(4000, 3, 2),
        1.0 if unbiased else 2 / 3,
        unbiased=True,
    )
    assert_close(-ours.score(others), risk, tol=0.02)
    assert ours.score(others) == ours.score(others, y=np.zeros(4000))
    # not the views of the fit
    training = ours.transform(Views(X, GaussianNoise(0.1), 3, 0)[:].reshape(-1, 2)).reshape(40, 3, 2)
    assert abs(-ours.score(X) - vicreg(training, 1.0, unbiased=True)) > 1e-6


def test_views_made_elsewhere():
    views = GaussianNoise(0.1).views(X, 3, seed=0)
    ours = fast(input="views").fit(views)
    rep = pretrain(views, Exponential(0.5), 2, reg=1e-2, center=True)
    assert_close(ours.representation_.gamma, rep.gamma)
    assert ours.transform(views).shape == (40, 3, 2)
    assert_close(ours.transform(X), rep(X))
    assert_close(ours.score(views), -vicreg(rep(views), unbiased=True))
    groups = np.repeat(np.arange(40), 3)
    order = np.random.default_rng(0).permutation(120)[:100]
    grouped = fast(input="views").fit(views.reshape(120, 2)[order], groups=groups[order])
    rep = pretrain(views.reshape(120, 2)[order], Exponential(0.5), 2, reg=1e-2, center=True, groups=groups[order])
    assert_close(grouped.representation_.gamma, rep.gamma)
    z = rep(views.reshape(120, 2)[order])
    expected = -naive.held_out_risk(z, groups[order], np.ones(100), 1.0)
    assert_close(grouped.score(views.reshape(120, 2)[order], groups=groups[order]), expected, tol=1e-10)
    with pytest.raises(ValueError, match="expecting 2 features"):
        ours.transform(np.ones((2, 3, 5)))


@pytest.mark.parametrize("features", [Identity(), Nystrom(Gaussian(1.0), X[::4])], ids=["identity", "nystrom"])
def test_samples_in_parts(features):
    whole = SSLEmbedding(features=features, reg=1e-3, augmentation=GaussianNoise(0.1)).fit(X)
    parts = clone(whole)
    for start in (0, 10, 25):
        parts.partial_fit(X[start : {0: 10, 10: 25, 25: 40}[start]])
    assert_close(parts.representation_.gamma, whole.representation_.gamma, tol=1e-9)
    assert_close(parts.transform(X), whole.transform(X), tol=1e-8)
    assert_close(parts.score(X), whole.score(X), tol=1e-8)
    before = parts.representation_
    parts.partial_fit(X[:5])
    assert parts.representation_ is not before
    parts.fit(X)  # forgets
    assert_close(parts.representation_.gamma, whole.representation_.gamma)


def test_partial_fit_is_for_features_and_numbers():
    assert not hasattr(fast(), "partial_fit")
    for reg in ("auto", AutoReg(n_folds=2)):
        assert not hasattr(SSLEmbedding(features=8, reg=reg), "partial_fit")
        with pytest.raises(AttributeError, match="has no attribute 'partial_fit'") as caught:
            _ = SSLEmbedding(features=8, reg=reg).partial_fit
        assert "reg must be a number" in str(caught.value.__cause__)
    views = GaussianNoise(0.1).views(X, 2, seed=0)
    ours = SSLEmbedding(features=Identity(), reg=1e-3, input="views").partial_fit(views[:20]).partial_fit(views[20:])
    assert_close(ours.representation_.gamma, pretrain(views, Identity(), 2, reg=1e-3, center=True).gamma, tol=1e-9)


def test_a_search_without_labels():
    x = sslcore.datasets.half_moons(60, seed=0)
    grid = {"kernel": [Exponential(0.01), Exponential(0.5)], "reg": [1e-1, 1e-3]}
    search = GridSearchCV(fast(augmentation=GaussianNoise(0.1)), grid, cv=3).fit(x)
    assert search.best_params_ == {"kernel": Exponential(0.5), "reg": 1e-3}
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert search.best_estimator_.transform(x).shape == (60, 2)


def test_in_a_pipeline():
    pipe = make_pipeline(StandardScaler(), fast())
    assert pipe.fit_transform(X, y=np.zeros(40)).shape == (40, 2)
    assert pipe.get_feature_names_out().tolist() == ["sslembedding0", "sslembedding1"]
    assert np.isfinite(cross_val_score(pipe, X, cv=3)).all()
    search = GridSearchCV(pipe, {"sslembedding__reg": [1e-1, 1e-3]}, cv=3).fit(X)
    assert set(search.best_params_) == {"sslembedding__reg"}


def test_reg_is_chosen_by_default():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", sslcore.SelectionWarning)
        ours = SSLEmbedding(Exponential(0.5)).fit(X)
    assert ours.representation_.selection.reg == ours.reg_
    for name in ("beta", "n_components"):
        with pytest.raises(ValueError, match=f"{name} cannot be 'auto'"):
            SSLEmbedding(**{name: "auto"}).fit(X)


def test_copies():
    ours = fast(features=12, random_state=3).fit(X)
    assert clone(ours).get_params() == ours.get_params()
    again = pickle.loads(pickle.dumps(ours))
    assert_close(again.transform(X), ours.transform(X))
    assert again.score(X) == ours.score(X)
    assert isinstance(ours.representation_.model, Nystrom)


def test_random_states():
    same = [fast(random_state=3).fit(X).transform(X) for _ in range(2)]
    assert (same[0] == same[1]).all()
    assert (fast(random_state=4).fit(X).transform(X) != same[0]).any()
    states = [fast(random_state=np.random.RandomState(5)).fit(X).transform(X) for _ in range(2)]
    assert (states[0] == states[1]).all()
    drawn = [fast(random_state=None).fit(X).transform(X) for _ in range(2)]
    assert (drawn[0] != drawn[1]).any()


def test_on_the_device(backend):
    ours = fast(augmentation=GaussianNoise(0.1)).fit(backend.asarray(X))
    z = backend.asnumpy(ours.transform(backend.asarray(X)))
    expected = fast(augmentation=GaussianNoise(0.1)).fit(X)
    assert_close(z, expected.transform(X), tol=1e-8)
    assert_close(ours.score(backend.asarray(X)), expected.score(X), tol=1e-8)
    if backend.name == "cupy":
        with pytest.raises(ValueError, match="X has 3 features, but SSLEmbedding is expecting 2"):
            ours.transform(backend.asarray(np.ones((4, 3))))


@pytest.mark.parametrize(
    ("changes", "x", "message"),
    [
        ({"input": "graphs"}, X, "input must be one of 'samples', 'images', 'series', 'views'"),
        ({"features": Identity()}, X, "give kernel or features, not both"),
        ({"features": 0}, X, "features must be at least 1"),
        ({"n_views": 1}, X, "at least"),
        ({"reg": "auto"}, X[:3], "at least 4 samples"),
        ({"n_components": 81}, X, "n_components must be at most the number of views, 80"),
        ({"reg": AutoReg(n_folds=21)}, X, "21 folds needs at least 42 samples"),
        ({}, X[:1], "minimum of 2"),
        ({"input": "views"}, X, "views must have 3 dimensions"),
    ],
)
def test_refusals(changes, x, message):
    with pytest.raises(ValueError, match=message):
        fast(**changes).fit(x)


def test_refusals_of_calls():
    with pytest.raises(ValueError, match="use input='views'"):
        fast().fit(X, groups=np.arange(40))
    with pytest.raises(sklearn.exceptions.NotFittedError):
        fast().score(X)
    with pytest.raises(AttributeError, match="not fitted yet"):
        _ = fast().representation_


# ---------------------------------------------------------------- parameters by name


def test_parameters_of_kernels_laws_and_features_have_names():
    law = Compose(GaussianNoise(0.1), Mixture([0.4, 0.6], [GaussianNoise(0.2), GaussianNoise(0.3)]))
    kernel = 2.0 * Gaussian(1.0) + Exponential(0.5)
    ours = SSLEmbedding(kernel, law, reg=AutoReg(n_folds=2))
    before = ours.get_params()
    assert before["kernel__second__scale"] == 0.5
    assert before["kernel__first__base__scale"] == 1.0
    assert before["augmentation__parts__1__parts__0"] == GaussianNoise(0.2)
    assert before["reg__n_folds"] == 2
    assert not any("__" in name for name in ours.get_params(deep=False))
    ours.set_params(
        kernel__first__base__scale=3.0,
        kernel__second=Gaussian(4.0),
        augmentation__parts__1__weights=(0.5, 0.5),
        augmentation__parts__1__parts__0__scale=0.7,
        reg__n_folds=3,
        n_views=4,
    )
    assert ours.kernel == 2.0 * Gaussian(3.0) + Gaussian(4.0)
    mixture = Mixture([0.5, 0.5], [GaussianNoise(0.7), GaussianNoise(0.3)])
    assert ours.augmentation == Compose(GaussianNoise(0.1), mixture)
    assert (ours.reg.n_folds, ours.n_views) == (3, 4)
    assert kernel == 2.0 * Gaussian(1.0) + Exponential(0.5)  # a value, shared with nobody
    assert clone(ours).get_params() == ours.get_params()
    ours.set_params(kernel=Exponential(1.0), kernel__scale=9.0)
    assert ours.kernel == Exponential(9.0)
    nystrom = SSLEmbedding(features=Nystrom(Gaussian(1.0), X[::4])).set_params(features__kernel__scale=0.3)
    assert_close(nystrom.features(X), Nystrom(Gaussian(0.3), X[::4])(X))
    fourier = SSLEmbedding(features=RandomFourier(Gaussian(1.0), 8, seed=3))
    assert fourier.get_params()["features__n_features"] == 8
    fourier.set_params(features__kernel__scale=0.3, features__n_features=6)
    assert_close(fourier.features(X), RandomFourier(Gaussian(0.3), 6, seed=3)(X))
    ours.set_params(**ours.get_params())  # what was got can be set
    assert ours.kernel == Exponential(9.0)


@pytest.mark.parametrize("kernel", examples.kernel_examples(), ids=repr)
def test_every_parameter_of_every_kernel_can_be_set(kernel):
    """One after the other, to what it is: nothing is lost on the way."""
    ours = SSLEmbedding(kernel)
    for name, value in ours.get_params().items():
        if name.startswith("kernel__"):
            assert ours.set_params(**{name: value}).kernel == kernel


@pytest.mark.parametrize("law", [a for a, _ in examples.augmentation_examples()], ids=repr)
def test_every_parameter_of_every_law_can_be_set(law):
    ours = SSLEmbedding(augmentation=law)
    for name, value in ours.get_params().items():
        if name.startswith("augmentation__"):
            assert ours.set_params(**{name: value}).augmentation == law


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kernel__width": 1.0}, r"invalid parameter kernel__width: .*its parameters are scale"),
        (
            {"kernel__scale__more": 1.0},
            r"invalid parameter kernel__scale__more: kernel__scale is 0\.5, and it has none",
        ),
        ({"kernel__scale": -1.0}, "scale must be a finite number > 0"),
        ({"kernal__scale": 1.0}, "Invalid parameter 'kernal'"),
        ({"augmentation__scale": 1.0}, "augmentation is None, and it has none"),
    ],
)
def test_parameters_that_there_are_not(change, message):
    with pytest.raises(ValueError, match=message):
        fast().set_params(**change)


def test_searches_over_parameters_of_kernels():
    x = sslcore.datasets.half_moons(40, seed=0)
    grid = {"kernel__scale": [0.01, 0.5], "augmentation__scale": [0.1]}
    named = GridSearchCV(fast(augmentation=GaussianNoise(0.3)), grid, cv=3).fit(x)
    whole = GridSearchCV(fast(augmentation=GaussianNoise(0.1)), {"kernel": [Exponential(0.01), Exponential(0.5)]}, cv=3)
    assert_close(named.cv_results_["mean_test_score"], whole.fit(x).cv_results_["mean_test_score"])
    assert named.best_params_ == {"augmentation__scale": 0.1, "kernel__scale": 0.5}
    pipe = make_pipeline(StandardScaler(), fast())
    search = GridSearchCV(pipe, {"sslembedding__kernel__scale": [0.1, 0.5]}, cv=3).fit(X)
    assert set(search.best_params_) == {"sslembedding__kernel__scale"}


# ---------------------------------------------------------------- weights, groups, folds


def test_sample_weights():
    weight = np.random.default_rng(0).uniform(0.5, 2.0, 40)
    noise = GaussianNoise(0.1)
    for features in (None, Nystrom(Exponential(0.5), X[::3])):
        model = {"kernel": Exponential(0.5)} if features is None else {"kernel": None, "features": features}
        ours = fast(augmentation=noise, **model).fit(X, sample_weight=weight)
        rep = pretrain(
            Views(X, noise, 2, 0), features or Exponential(0.5), 2, reg=1e-2, center=True, sample_weight=weight
        )
        assert_close(ours.representation_.gamma, rep.gamma)
        fresh = Views(X, noise, 2, FRESH)[:].reshape(80, 2)
        risk = naive.held_out_risk(rep(fresh), np.repeat(np.arange(40), 2), np.repeat(weight, 2), 1.0)
        assert_close(ours.score(X, sample_weight=weight), -risk, tol=1e-9)
        assert_close(ours.score(X, sample_weight=np.ones(40)), ours.score(X), tol=1e-9)
    parts = fast(augmentation=noise, **model)
    for part in (slice(0, 25), slice(25, 40)):
        parts.partial_fit(X[part], sample_weight=weight[part])
    assert_close(parts.representation_.gamma, ours.representation_.gamma, tol=1e-9)
    views = noise.views(X, 3, seed=0)
    many = np.random.default_rng(1).uniform(0.5, 2.0, (40, 3))
    rep = pretrain(views, Exponential(0.5), 2, reg=1e-2, center=True, sample_weight=many)
    assert_close(fast(input="views").fit(views, sample_weight=many).representation_.gamma, rep.gamma)
    weighted, default = SSLEmbedding(reg=1e-2).fit(X[:3], sample_weight=[1, 2, 3]), SSLEmbedding(reg=1e-2).fit(X[:3])
    assert weighted.kernel_ == default.kernel_  # what is chosen here counts each sample once
    assert np.array_equal(weighted.standardization_.mean, default.standardization_.mean)


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        (np.ones((40, 2)), "sample_weight must have 1 dimensions"),
        (np.ones(39), r"sample_weight must have shape \(40,\), one a sample, found \(39,\)"),
        (np.zeros(40), "sample_weight must be positive"),
        ([10**400] * 40, "sample_weight must hold real numbers"),
        (np.full(40, np.nan), "sample_weight must be finite"),
        (np.ma.array(np.ones(40), mask=np.arange(40) == 3), "sample_weight has masked entries"),
    ],
)
def test_weights_that_are_none(weight, message):
    with pytest.raises((ValueError, TypeError), match=message):
        fast().fit(X, sample_weight=weight)
    with pytest.raises((ValueError, TypeError), match=message):
        fast().fit(X).score(X, sample_weight=weight)


def test_one_sample_has_no_risk():
    views = GaussianNoise(0.1).views(X, 3, seed=0)
    given = fast(input="views").fit(views)
    one = {"sample_weight": np.ones(1)}
    for score in (
        lambda: given.score(X, groups=np.zeros(40, int)),
        lambda: given.score(views[:1]),
        lambda: given.score(views[:1], **one),
        lambda: fast().fit(X).score(X[:1]),
        lambda: fast().fit(X).score(X[:1], **one),
    ):
        with pytest.raises(ValueError, match="at least 2, found 1"):
            score()
    with pytest.raises(ValueError, match="use input='views'"):
        fast().fit(X).score(X, groups=np.arange(40))
    with pytest.raises(ValueError, match="views must have 3 dimensions"):
        given.score(X)


def test_gram_matrices_are_cut_in_rows_and_columns():
    """The tag makes scikit-learn take K[test, train]; folds of whole samples give what the kernel itself gives."""
    ours = SSLEmbedding(Precomputed(), n_components=2, reg=1e-2, input="views")
    tags = ours.__sklearn_tags__() if hasattr(sklearn.utils, "get_tags") else None
    if tags is None:
        assert ours._more_tags()["pairwise"]
        assert not fast()._more_tags()["pairwise"]
        return
    assert tags.input_tags.pairwise
    assert not fast().__sklearn_tags__().input_tags.pairwise
    points = GaussianNoise(0.1).views(X, 2, seed=0).reshape(80, 2)
    groups = np.repeat(np.arange(40), 2)
    with sklearn.config_context(enable_metadata_routing=True):
        scores = []
        for estimator, data in ((ours, Exponential(0.5)(points)), (fast(input="views"), points)):
            estimator.set_fit_request(groups=True).set_score_request(groups=True)
            scores.append(cross_val_score(estimator, data, cv=GroupKFold(4), params={"groups": groups}))
    assert np.isfinite(scores[1]).all()
    assert_close(scores[0], scores[1], tol=1e-8)
    with pytest.raises(ValueError, match="Precomputed takes the Gram matrix of views made elsewhere"):
        fast(kernel=Precomputed()).fit(np.eye(10))


# ---------------------------------------------------------------- names, tables, images


def test_names_are_those_of_the_last_fit():
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(X, columns=["a", "b"])
    views = GaussianNoise(0.1).views(X, 2, seed=0)
    ours = fast(input="views")
    groups = np.repeat(np.arange(20), 2)
    for again in (views, X):
        ours.fit(frame, groups=groups)
        assert ours.feature_names_in_.tolist() == ["a", "b"]
        with pytest.raises(ValueError, match="feature names"):
            ours.transform(frame[["b", "a"]])
        ours.fit(again, groups=groups if again is X else None)
        assert not hasattr(ours, "feature_names_in_")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # scikit-learn's: a frame after a fit without names
            assert ours.transform(frame).shape == (40, 2)


def test_tables_of_views_are_refused():
    pytest.importorskip("pandas")
    views = GaussianNoise(0.1).views(X, 2, seed=0)
    ours = fast(input="views").fit(views).set_output(transform="pandas")
    with pytest.raises(
        ValueError, match=r"make no table of pandas, found X of shape \(40, 2, 2\); transform X.reshape"
    ):
        ours.transform(views)
    assert ours.transform(X).columns.tolist() == ["sslembedding0", "sslembedding1"]
    ours.set_output(transform="default")
    with sklearn.config_context(transform_output="pandas"), pytest.raises(ValueError, match="make no table"):
        fast(input="views").fit(views).transform(views)
    assert ours.transform(views).shape == (40, 2, 2)


IMAGES = np.random.default_rng(0).random((30, 6, 8))


@pytest.mark.parametrize(
    "law",
    [
        Affine((6, 8)),
        Compose(GaussianNoise(0.1), Affine((6, 8))),
        Mixture([0.5, 0.5], [Cutout((6, 8), 2), HorizontalFlip((6, 8))]),
    ],
    ids=repr,
)
def test_images_are_samples_of_a_law_of_images(law):
    flat = IMAGES.reshape(30, 48)
    ours, same = (SSLEmbedding(Gaussian(2.0), law, reg=1e-2).fit(x) for x in (IMAGES, flat))
    assert_close(ours.representation_.gamma, same.representation_.gamma, tol=0)
    assert_close(ours.transform(IMAGES), ours.transform(flat), tol=0)
    assert ours.score(IMAGES) == ours.score(flat)
    assert ours.n_features_in_ == 48
    assert_close(law.views(IMAGES, 2, seed=3), law.views(flat, 2, seed=3), tol=0)
    assert_close(Views(IMAGES, law, 2, 3)[:], law.views(flat, 2, seed=3), tol=0)
    with pytest.raises(ValueError, match=r"images \(n, 6, 8\) of the law, found shape \(30, 8, 6\)"):
        ours.transform(IMAGES.transpose(0, 2, 1))


def test_images_without_a_law_of_images():
    """The error says what else it would be taken for, and a fit of it what it was taken for."""
    with pytest.raises(ValueError, match=r"augmentation=Affine\(\(6, 8\)\).*would take X for 6 views .* of 8 coord"):
        fast(augmentation=GaussianNoise(0.1)).fit(IMAGES)
    with pytest.raises(ValueError, match=r"found shape \(30, 6, 8\)"):
        fast(augmentation=Affine((8, 6))).fit(IMAGES)
    for model in (Gaussian(1.0), Identity()):
        assert "of 30 samples with 6 views of 8 coordinates" in repr(pretrain(IMAGES, model, 2, reg=1e-1))
    coloured = np.random.default_rng(0).random((10, 4, 5, 3))
    assert Affine((4, 5, 3)).views(coloured, 2, seed=0).shape == (10, 2, 60)


def test_torch_in_torch_out():
    torch = pytest.importorskip("torch")
    x = torch.from_numpy(X)
    ours = fast().fit(x)
    assert isinstance(ours.transform(x), torch.Tensor)
    assert_close(ours.transform(x).numpy(), fast().fit(X).transform(X))
