"""A function of Python as a law: what it draws from, where it may be used, and what is said when it fails."""

import importlib
import json
import pickle
import sys

import numpy as np
import pytest

import sslcore
from sslcore import load, pretrain
from sslcore.augmentations import BitFlip, Compose, Custom, GaussianNoise, Mixture, Views
from sslcore.cli import main as cli
from sslcore.cli.spec import parse_augmentation
from sslcore.features import Identity
from sslcore.fitting.codec import encode
from sslcore.kernels import Gaussian

from . import naive
from .examples import turned

X = np.random.default_rng(0).standard_normal((40, 6))


@pytest.mark.parametrize(
    "a",
    [
        Compose(BitFlip(0.3), Custom(turned), Custom(turned)),
        Mixture([0.4, 0.6], [Compose(BitFlip(0.5), Custom(turned)), Custom(turned, (2, 3))]),
        Compose(Custom(turned), Mixture([0.5, 0.5], [BitFlip(1), BitFlip(0)])),
    ],
    ids=repr,
)
def test_parts_of_others(backend, a):
    """The place in a composition is part of the counter: two equal parts draw differently."""
    found = backend.asnumpy(a.views(backend.asarray(X), 3, seed=2**63 + 1, first=7))
    assert np.array_equal(found, naive.views(a, X, 3, 2**63 + 1, 7))
    assert np.array_equal(found[9:20], a.views(X[9:20], 3, seed=2**63 + 1, first=16))


def test_the_function_gets_samples_in_their_shape():
    """As a copy, which it may change; images and series as they are, or flat."""
    seen = []

    def look(x, rng):
        seen.append((x.shape, x.dtype, x.copy()))
        x[...] = 0
        return x + 1

    x = np.arange(24.0).reshape(4, 2, 3)
    for data in (x, x.reshape(4, 6)):
        found = Custom(look, (2, 3)).views(data, 1, seed=0)
        assert np.array_equal(found, np.ones((4, 1, 6)))
        assert np.array_equal(data, np.arange(24.0).reshape(data.shape))
    assert all(shape == (2, 3) for shape, _, _ in seen)
    assert np.array_equal([value for _, _, value in seen[:4]], x)
    Custom(look).views(x.reshape(4, 6).astype(np.float32), 1, seed=0)
    assert seen[-1][:2] == ((6,), np.float32)


def test_draws_are_uniform_over_views_and_samples():
    """Normals of the generators of different samples and views are independent."""
    z = Custom(lambda x, rng: rng.standard_normal(x.shape)).views(np.zeros((400, 10)), 2, seed=3).reshape(400, 20)
    covariance = z.T @ z / 400
    assert np.abs(covariance - np.eye(20)).max() < 5 * np.sqrt(2 / 400)
    assert abs(np.corrcoef(z[:-1].ravel(), z[1:].ravel())[0, 1]) < 5 / np.sqrt(z.size)


def test_in_fits_streams_and_saved_models(tmp_path):
    law = Custom(turned)
    views = Views(X, law, 2, seed=5)
    stored = law.views(X, 2, seed=5)
    assert np.array_equal(np.asarray(views), stored)
    rep = pretrain(views, Gaussian(3.0), 2, reg=1e-2)
    assert np.array_equal(rep.eigenvalues, pretrain(stored, Gaussian(3.0), 2, reg=1e-2).eigenvalues)
    moments = sslcore.stream.moments([(0, views[:13]), (13, views[13:])], Identity(), deterministic=True)
    whole = sslcore.stream.moments(stored, Identity(), deterministic=True)
    assert np.array_equal(moments.solve(2, reg=1e-2).eigenvalues, whole.solve(2, reg=1e-2).eigenvalues)
    pytest.importorskip("sklearn")
    embedding = sslcore.SSLEmbedding(Gaussian(3.0), Custom(lambda x, r: turned(x, r)), n_components=2, random_state=5)
    z = embedding.fit(X).transform(X)
    embedding.representation_.save(tmp_path / "model.npz")
    assert np.array_equal(load(tmp_path / "model.npz").transform(X, "probe"), z)


def test_values():
    assert Custom(turned) == Custom(turned) != Custom(turned, (2, 3))
    assert repr(Custom(turned)) == f"Custom({turned.__module__}.turned)"
    assert repr(Custom(turned, [2, 3])) == f"Custom({turned.__module__}.turned, sample_shape=(2, 3))"
    assert pickle.loads(pickle.dumps(Custom(turned))) == Custom(turned)
    with pytest.raises(TypeError, match=r"Custom\(.*turned\), a law that is a function of Python, cannot be saved"):
        encode(Compose(Custom(turned)), "law", {})
    curves = importlib.import_module("sslcore.probing._learning_curves")  # which tell laws apart by names
    law = Mixture([0.5, 0.5], [Compose(BitFlip(0.1), Custom(turned)), BitFlip(0.1)])
    told = curves._parameters(law)
    assert f"{turned.__module__}.turned" in json.dumps(told)
    assert told == curves._parameters(law) != curves._parameters(Mixture([0.5, 0.5], law.parts[::-1]))


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda x, rng: 1 / 0, "failed at sample 4, view 0: ZeroDivisionError: division by zero"),
        (lambda x, rng: x[:-1], r"must return a view of the shape \(3,\), found \(2,\) at sample 4, view 0"),
        (lambda x, rng: x * np.nan, "must return finite numbers, found nan at coordinate 0 of sample 4, view 0"),
        (
            lambda x, rng: np.array([0.0, 1.0, 1e300]),
            "found inf at coordinate 2 of sample 4, view 0",
        ),
        (lambda x, rng: x + 1j, "must return real numbers, found complex64 at sample 4, view 0"),
        (lambda x, rng: None, "must return real numbers, found object at sample 4, view 0"),
        (lambda x: x, "failed at sample 4, view 0: TypeError: .*takes 1 positional argument but 2 were given"),
        (lambda x, rng: [[1.0], [1.0, 2.0]], "failed at sample 4, view 0: ValueError"),
    ],
)
def test_failures(backend, function, message):
    """At the second sample: its number, that of the view, and what is wrong."""
    law = Custom(lambda x, rng: function(x, rng) if x.any() else x)
    x = np.array([[0.0, 0.0, 0.0], [1.0, 0.0, 1e30]], np.float32)
    with pytest.raises(ValueError, match=message):
        law.views(backend.asarray(x), 2, seed=0, first=3)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (
            lambda: Custom(None),
            TypeError,
            r"function must be a function of \(x, rng\) that .*, found None",
        ),
        (lambda: Custom(int), TypeError, "function must be a function"),
        (lambda: Custom(turned, 3), TypeError, r"sample_shape must be integers such as \(3, 100\), found 3"),
        (lambda: Custom(turned, ()), ValueError, "sample_shape must be positive integers"),
        (lambda: Custom(turned, (2, 0)), ValueError, "sample_shape must be positive integers"),
        (lambda: Custom(turned, (2, 3)).views(X[:, :5], 2, seed=0), ValueError, "the product of sample_shape.*found 5"),
        (lambda: Custom(turned, (2, 3)).views(np.ones((4, 3, 2)), 2, seed=0), ValueError, "x must have 2 dimensions"),
    ],
)
def test_bad_arguments(make, error, message):
    with pytest.raises(error, match=message):
        make()


# ---------------------------------------------------------------- the command line

MODULE = """
import numpy as np
from sslcore.augmentations import Compose, GaussianNoise, HorizontalFlip
def jitter(x, rng):
    return x + 0.1 * rng.standard_normal(x.shape)
class Laws:
    flipped = Compose(HorizontalFlip((2, 3)), GaussianNoise(0.1))
number = 3
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p != str(tmp_path)])
    (tmp_path / "laws_of_mine.py").write_text(MODULE)
    (tmp_path / "broken_laws.py").write_text("import no_such_module_anywhere\n")
    yield tmp_path
    for name in ("laws_of_mine", "broken_laws"):
        sys.modules.pop(name, None)


def test_a_module_of_the_current_folder(folder, capsys):
    both = parse_augmentation("laws_of_mine:jitter + gaussian-noise:0.2")
    assert repr(both) == "Compose(Custom(laws_of_mine.jitter), GaussianNoise(scale=0.2))"
    assert parse_augmentation("(bit-flip:0.5)+laws_of_mine:Laws.flipped").parts[1].parts[1] == GaussianNoise(0.1)
    assert parse_augmentation("mixture:[0.5,0.5],[(laws_of_mine:jitter),(bit-flip:1)]").parts[1] == BitFlip(1)
    np.save("x.npy", X)
    assert cli.main(["fit", "x.npy", "--augment", "laws_of_mine:jitter", "--reg", "1e-2", "--components", "2"]) == 0
    assert cli.main(["transform", "x-model.npz", "x.npy", "--out", "z.npy"]) == 0
    capsys.readouterr()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "gausian:noise",
            "no augmentation 'gausian' and no module 'gausian' in .*; there are: gaussian-noise,",
        ),
        (
            "laws_of_mine:jiter",
            "laws_of_mine:jiter fails: AttributeError: .*no attribute 'jiter'",
        ),
        ("laws_of_mine:number", "function must be a function of .*found 3"),
        ("broken_laws:jitter", "fails: ModuleNotFoundError: No module named 'no_such_module_anywhere'"),
        ("laws_of_mine:jitter:3", "expected the end, found ':3'"),
        ("laws_of_mine:jitter=3", "there is no augmentation 'laws_of_mine'; there are"),
        ("laws_of_mine.none:jitter", "fails: ModuleNotFoundError|no module 'laws_of_mine.none'"),
    ],
)
def test_what_cannot_be_imported(folder, text, message):
    with pytest.raises(ValueError, match=message):
        parse_augmentation(text)
