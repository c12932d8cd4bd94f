"""CrossEmbedding: scikit-learn's own checks, and what it computes against `pretrain` of two modalities."""

import inspect
import pickle
import warnings
from pathlib import Path

import numpy as np
import pytest

import sslcore
from sslcore import CrossEmbedding, pretrain
from sslcore.cross_embedding import EXPECTED_FAILURES
from sslcore.defaults import Standardization
from sslcore.features import Identity, Nystrom
from sslcore.kernels import Gaussian, Linear, Precomputed
from sslcore.risk import vicreg
from sslcore.selection import AutoReg

from .comparators import assert_close

pytest.importorskip("sklearn")
from sklearn.base import clone
from sklearn.cross_decomposition import CCA
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

RNG = np.random.default_rng(0)
SHARED = RNG.normal(size=(80, 2))
X = np.hstack([np.tanh(SHARED), RNG.normal(size=(80, 1))])
Y = SHARED @ RNG.normal(size=(2, 4)) + 0.3 * RNG.normal(size=(80, 4))
TRAIN, TEST = slice(0, 50), slice(50, None)

KNOWN = (
    {"expected_failed_checks": lambda estimator: EXPECTED_FAILURES}
    if "expected_failed_checks" in inspect.signature(parametrize_with_checks).parameters
    else {}
)


def given(**changes):
    usual = {"model_x": Gaussian(1.0), "model_y": Gaussian(3.0), "n_components": 3, "reg": 1e-2}
    return CrossEmbedding(**(usual | changes))


@parametrize_with_checks(
    [
        CrossEmbedding(reg=1e-2),
        CrossEmbedding(Identity(), Identity(), n_components=1, reg=1e-2),
        CrossEmbedding(reg=AutoReg(regs=(1e-1, 1e-3), n_folds=1)),
    ],
    **KNOWN,
)
def test_scikit_learns_checks(estimator, check):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", sslcore.SelectionWarning)
        check(estimator)


@pytest.mark.parametrize("scale", ["norm", "risk", "unit", "probe"])
def test_it_is_pretrain(scale):
    ours = given(beta=0.7, scale=scale).fit(X[TRAIN], Y[TRAIN])
    rep = pretrain((X[TRAIN], Y[TRAIN]), (Gaussian(1.0), Gaussian(3.0)), 3, reg=1e-2, beta=0.7, center=True)
    assert_close(ours.representation_.gamma, rep.gamma)
    z_x, z_y = rep.transform((X[TEST], Y[TEST]), scale)
    both = ours.transform(X[TEST], Y[TEST])
    assert_close(both[0], z_x)
    assert_close(both[1], z_y)
    assert_close(ours.transform(X[TEST]), z_x)
    assert_close(ours.transform(None, Y[TEST]), z_y)
    assert_close(given(beta=0.7, scale=scale).fit_transform(X[TRAIN], Y[TRAIN]), ours.transform(X[TRAIN]))
    assert (ours.n_features_in_, ours.reg_, ours.chosen_) == (3, 1e-2, ())
    assert ours.get_feature_names_out().tolist() == [f"crossembedding{i}" for i in range(3)]


def test_linear_is_scikit_learns_cca():
    ours = CrossEmbedding(Identity(), Identity(), n_components=2, reg=0, scale="unit").fit(X, Y)
    x, y = ours.transform(X, Y)
    found = [abs(np.corrcoef(a, b)[0, 1]) for a, b in zip(x.T, y.T, strict=True)]
    theirs = CCA(2, max_iter=5000, tol=1e-12).fit_transform(X, Y)
    expected = [abs(np.corrcoef(a, b)[0, 1]) for a, b in zip(theirs[0].T, theirs[1].T, strict=True)]
    assert_close(np.array(found), np.array(expected), tol=1e-6)
    assert_close(ours.representation_.canonical_correlations(), np.array(found), tol=1e-9)


@pytest.mark.parametrize("unbiased", [True, False])
def test_the_score_is_minus_the_risk_on_pairs(unbiased):
    ours = given(beta=1.5, unbiased=unbiased, scale="norm").fit(X[TRAIN], Y[TRAIN])
    z = np.stack(ours.representation_.transform((X[TEST], Y[TEST])), axis=1)
    expected = vicreg(z, 1.5 if unbiased else 0.75, unbiased=True)
    assert_close(ours.score(X[TEST], Y[TEST]), -expected)
    weight = np.repeat([1.0, 2.0], 15)
    apart = np.einsum("i,ik->", weight, (z[:, 0] - z[:, 1]) ** 2) / weight.sum()
    products = (np.einsum("iak,jbk->ijab", z, z) ** 2).mean(axis=(2, 3))
    both = np.outer(weight, weight) * (1 - np.eye(30))  # weights of two different pairs
    energy = np.einsum("i,iak->", weight, z**2) / (2 * weight.sum())
    expected = (1.5 if unbiased else 0.75) * apart + (both * products).sum() / both.sum() - 2 * energy + 3
    assert_close(ours.score(X[TEST], Y[TEST], sample_weight=weight), -expected)


def test_weights_of_the_fit():
    weight = RNG.uniform(0.5, 2.0, 50)
    ours = given().fit(X[TRAIN], Y[TRAIN], sample_weight=weight)
    rep = pretrain((X[TRAIN], Y[TRAIN]), (Gaussian(1.0), Gaussian(3.0)), 3, reg=1e-2, center=True, sample_weight=weight)
    assert_close(ours.representation_.gamma, rep.gamma)


def test_what_is_not_given_is_chosen():
    ours = CrossEmbedding(reg=1e-2).fit(1000.0 * X, Y)
    columns = [Standardization.of(part) for part in (1000.0 * X, Y)]
    kernels = [sslcore.defaults.choose(part).kernel for part in (1000.0 * X, Y)]
    rep = pretrain((columns[0](1000.0 * X), columns[1](Y)), tuple(kernels), 32, reg=1e-2, center=True)
    assert_close(ours.representation_.gamma, rep.gamma, tol=1e-9)
    assert_close(ours.transform(1000.0 * X), rep.transform((columns[0](1000.0 * X), None), "probe"), tol=1e-7)
    assert ours.models_ == tuple(kernels)
    assert [reason[:3] for reason in ours.chosen_] == ["X: "] * 3 + ["y: "] * 3
    assert "each column by its mean and deviation" in ours.chosen_[1]
    assert "Gaussian" in ours.chosen_[2]
    one = CrossEmbedding(Gaussian(1.0), n_components=2, reg=1e-2).fit(X, Y)
    assert one.standardizations_[0] is None
    assert one.standardizations_[1] is not None
    assert one.models_ == (Gaussian(1.0), kernels[1])
    assert CrossEmbedding(reg=1e-2).fit(X[:7], Y[:7]).representation_.n_components == 6
    assert CrossEmbedding().fit(X[:35], Y[:35]).representation_.n_components == 14  # the search trains on 28 pairs
    assert CrossEmbedding(Identity(), Identity(), reg=1e-2).fit(X, Y).representation_.n_components == 3


def test_many_pairs_have_features(monkeypatch):
    monkeypatch.setattr("sslcore.defaults._choice.EXACT_UP_TO", 150)
    monkeypatch.setattr("sslcore.defaults._choice.LANDMARKS", 8)
    monkeypatch.setattr("sslcore.cross_embedding.LANDMARKS", 8)
    kinds = {
        (): Nystrom,
        (("solver", "dense"),): Gaussian,
        (("model_x", Gaussian(1.0)),): Gaussian,
        (("model_x", Identity()),): Nystrom,
    }
    for settings, kind in kinds.items():
        ours = CrossEmbedding(n_components=2, reg=1e-2, **dict(settings)).fit(X, Y)
        assert isinstance(ours.models_[1], kind), settings
        assert kind is Gaussian or ours.models_[1].landmarks == 8
    few = CrossEmbedding(Identity(), n_components=2, reg=1e-2).fit(X[:6], Y[:6])
    assert few.models_[1].landmarks == 6


def test_searches_choose_kernels_and_reg_without_labels():
    search = GridSearchCV(given(), {"reg": [1e-3, 1e-1, 10.0], "model_x__scale": [1.0, 1e-3]}, cv=3).fit(X, Y)
    assert search.best_params_ == {"reg": 1e-3, "model_x__scale": 1.0}
    assert search.best_estimator_.model_x == Gaussian(1.0)
    assert np.isfinite(cross_val_score(given(), X, Y, cv=4)).all()
    auto = given(reg="auto").fit(X, Y)
    assert auto.representation_.selection is not None
    assert auto.reg_ == auto.representation_.reg


def test_it_is_a_step_of_a_pipeline():
    steps = make_pipeline(StandardScaler(), given()).fit(X[TRAIN], Y[TRAIN])
    scaler = StandardScaler().fit(X[TRAIN])
    assert_close(steps.transform(X[TEST]), given().fit(scaler.transform(X[TRAIN]), Y[TRAIN]).transform(
        scaler.transform(X[TEST])
    ))  # fmt: skip
    assert make_pipeline(given(), StandardScaler()).fit_transform(X, Y).shape == (80, 3)
    assert clone(given(reg=0.5)).get_params()["model_y__scale"] == 3.0
    assert pickle.loads(pickle.dumps(given().fit(X, Y))).transform(X).shape == (80, 3)


def test_frames_and_columns():
    pandas = pytest.importorskip("pandas")
    frame, other = pandas.DataFrame(X, columns=list("abc")), pandas.DataFrame(Y)
    ours = given().fit(frame, other)
    assert ours.feature_names_in_.tolist() == ["a", "b", "c"]
    table = ours.set_output(transform="pandas").transform(frame)
    assert table.columns.tolist() == [f"crossembedding{i}" for i in range(3)]
    assert_close(table.to_numpy(), given().fit(X, Y).transform(X))
    numbers = given(model_y=Gaussian(1.0)).fit(X, pandas.Series(Y[:, 0]))
    assert_close(numbers.transform(None, Y[:, 0]), numbers.transform(None, Y[:, :1]))


def test_arrays_of_others():
    torch = pytest.importorskip("torch")
    ours = given().fit(torch.from_numpy(X), torch.from_numpy(Y))
    z_x, z_y = ours.transform(torch.from_numpy(X), torch.from_numpy(Y))
    assert isinstance(z_x, torch.Tensor)
    assert isinstance(z_y, torch.Tensor)
    assert_close(z_y.numpy(), given().fit(X, Y).transform(None, Y))


def test_files(tmp_path):
    ours = CrossEmbedding(n_components=2, reg=1e-2).fit(X, Y)
    ours.representation_.save(tmp_path / "pairs.npz")
    loaded = sslcore.load(tmp_path / "pairs.npz")
    assert_close(loaded.transform((X, None), "probe"), ours.transform(X))
    assert loaded.second.standardization is not None


@pytest.mark.parametrize(
    ("fit", "error", "message"),
    [
        (lambda: given().fit(X, Y[:-1]), ValueError, "rows of X and y are pairs, .* found 80 and 79"),
        (lambda: given().fit(X, None), ValueError, "requires y to be passed, but the target y is None"),
        (lambda: given().fit(None, Y), TypeError, "X must hold real numbers"),
        (lambda: given(model_y=Identity()).fit(X, Y), TypeError, "two kernels or two features"),
        (lambda: given(standardize=1).fit(X, Y), TypeError, "standardize must be True or False"),
        (lambda: given(model_x=Precomputed(), standardize=True).fit(X @ X.T, Y), TypeError, "no columns to be"),
        (lambda: given().fit(X, Y[:, None]), ValueError, "dim 3"),
        (lambda: given().fit(X, np.full((80, 2), np.nan)), ValueError, "y contains NaN"),
        (lambda: given(scale="large").fit(X, Y).transform(X), ValueError, "scale must be"),
        (lambda: given().fit(X, Y).transform(X[:, :2]), ValueError, "X has 2 features"),
        (lambda: given().fit(X, Y).transform(X, Y[:, :2]), ValueError, "y has 2 features, .* expecting 4"),
        (lambda: given().fit(X, Y).transform(None), TypeError, "X must hold real numbers"),
        (lambda: given().fit(X, Y).score(X, None), ValueError, "second modality as y, found None"),
        (lambda: given().fit(X, Y).score(X[:1], Y[:1]), ValueError, "at least 2 pairs"),
        (lambda: given().transform(X), ValueError, "not fitted"),
        (lambda: given(n_components=161).fit(X, Y), ValueError, "n_components"),
    ],
)
def test_bad_input(fit, error, message):
    with pytest.raises(error, match=message):
        fit()


def test_matrices_are_kernels():
    grams = X[TRAIN] @ X[TRAIN].T, Y[TRAIN] @ Y[TRAIN].T
    ours = given(model_x=Precomputed(), model_y=Precomputed()).fit(*grams)
    kernels = given(model_x=Linear(), model_y=Linear()).fit(X[TRAIN], Y[TRAIN])
    assert_close(ours.representation_.gamma, kernels.representation_.gamma, tol=1e-9)
    assert_close(ours.transform(X[TEST] @ X[TRAIN].T), kernels.transform(X[TEST]), tol=1e-7)


def test_the_gallery_draws_no_reg_at_which_all_is_zero():
    """Captions and images: rows of zeros have no direction, and nothing is found by them."""
    script = Path(__file__).parents[1] / "examples" / "gallery" / "3_practice" / "captions_and_images.py"
    if not script.exists():
        pytest.skip("the gallery is not part of an installation")
    names = {}
    exec(script.read_text(encoding="utf-8").partition("model = ")[0], names)
    images, captions, train = names["images"], names["captions"], names["train"]
    pairs = CrossEmbedding(Gaussian(2.0), Gaussian(1.5), 12, reg=names["regs"][-1])
    assert pairs.fit(images[train], captions[train]).representation_.n_active > 0
