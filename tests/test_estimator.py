"""SSLEmbedding: scikit-learn's own checks, and what it computes against `pretrain`."""

import pickle
import warnings
from pathlib import Path

import numpy as np
import pytest

import sslcore
from sslcore import SSLEmbedding, pretrain
from sslcore.augmentations import GaussianNoise, Views
from sslcore.features import Identity, Nystrom, RandomFourier
from sslcore.kernels import Exponential, Gaussian
from sslcore.risk import vicreg
from sslcore.selection import AutoReg

from . import naive
from .comparators import assert_close

sklearn = pytest.importorskip("sklearn")
from sklearn.base import clone  # noqa: E402
from sklearn.model_selection import GridSearchCV, cross_val_score  # noqa: E402
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
    return SSLEmbedding(**({"kernel": Exponential(0.5), "n_components": 2, "reg": 1e-2} | changes))


@parametrize_with_checks(
    [
        SSLEmbedding(reg=1e-2),
        SSLEmbedding(reg=1e-2, n_components=1, features=RandomFourier(Gaussian(1.0), 8)),
        SSLEmbedding(reg=AutoReg(regs=(1e-1, 1e-3), n_folds=1)),
    ]
)
def test_scikit_learns_checks(estimator, check):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", sslcore.SelectionWarning)
        check(estimator)


def test_it_is_pretrain():
    noise = GaussianNoise(0.1)
    ours = SSLEmbedding(Exponential(0.5), noise, 3, 4, reg=1e-3, beta=2.0, random_state=7).fit(X)
    rep = pretrain(Views(X, noise, 3, 7), Exponential(0.5), 4, reg=1e-3, beta=2.0, center=True)
    assert_close(ours.representation_.gamma, rep.gamma)
    fresh = sslcore.datasets.half_moons(9, seed=1)
    assert_close(ours.transform(fresh), rep(fresh))
    assert ours.get_feature_names_out().tolist() == [f"sslembedding{i}" for i in range(4)]
    assert (ours.n_features_in_, ours.reg_) == (2, 1e-3)
    uncentred = SSLEmbedding(Exponential(0.5), noise, 3, 4, reg=1e-3, center=False, unbiased=False).fit(X)
    assert (uncentred.representation_.center, uncentred.representation_.unbiased) == (False, False)


def test_defaults_follow_the_scale_of_the_data():
    ours = SSLEmbedding(reg=1e-2).fit(X)
    total = np.sqrt(X.var(axis=0).sum())
    assert_close(ours.kernel_.scale, total)
    assert_close(ours.augmentation_.scale, 0.1 * total / np.sqrt(2))
    scaled = SSLEmbedding(reg=1e-2).fit(1e3 * X + 5)
    assert_close(scaled.transform(1e3 * X + 5), ours.transform(X), tol=1e-8)


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
    with pytest.raises(ValueError, match="reg must be a number, found 'auto'"):
        SSLEmbedding(features=8).partial_fit(X)
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
        ({"input": "graphs"}, X, "input must be one of 'samples', 'views'"),
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


README = Path(__file__).parents[1] / "README.md"


@pytest.mark.skipif(not README.exists(), reason="the README is not part of an installation")
def test_the_ten_lines_of_the_readme(capsys):
    code = (
        README.read_text(encoding="utf-8")
        .split("<!-- ten lines -->", 1)[1]
        .split("```python\n", 1)[1]
        .split("```", 1)[0]
    )
    names: dict = {}
    exec(compile(code, "README.md", "exec"), names)
    search = names["search"]
    assert search.best_params_ == {"kernel": Gaussian(1.0), "reg": 1e-2}
    assert search.cv_results_["mean_test_score"].max() > -2
    assert "components are active" in capsys.readouterr().out
