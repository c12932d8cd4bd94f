"""Learning curves: every number against plain loops with the same seeds; files, pictures, bad input."""

import dataclasses
import functools
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import sslcore
from sslcore.augmentations import Compose, Custom, GaussianNoise
from sslcore.datasets import half_moons, half_moons_probabilities
from sslcore.features import Identity, Nystrom, RandomFourier
from sslcore.kernels import Exponential, Gaussian
from sslcore.probing import LearningCurves, learning_curves
from sslcore.probing import _cell as cells

from . import naive


def inverse(n_views):
    return 5e-3 / n_views


def slower(n_views):
    return 1e-3 / n_views**0.5


def values_of(x):
    return np.stack([x[:, 0] * x[:, 1], np.sin(x[:, 0]), x[:, 1] ** 2], axis=1)


def flat(x):
    return x[:, 0] + x[:, 1]


def words(x):
    return np.array(["low", "middle", "up"])[np.digitize(x[:, 1], [0.0, 1.0])]


def nearest(z, y):
    """Predict what the nearest labelled point has."""
    return lambda test: y[[int(((z - point) ** 2).sum(axis=1).argmin()) for point in test]]


def no_function(z, y):
    return y


def flat_predictions(z, y):
    return lambda test: test[:, 0]


def lost(z, y):
    return lambda test: np.full((len(test), y.shape[1]), np.nan)


def centred_in_place(z, y):
    z -= z.mean(axis=0)
    return lambda test: np.zeros((len(test), y.shape[1]))


def scaled_labels(z, y):
    y *= 2.0
    return lambda test: np.zeros((len(test), y.shape[1]))


def scaled_tests(z, y):
    def predict(test):
        test *= 2.0
        return np.zeros((len(test), y.shape[1]))

    return predict


MOONS = {
    "data": half_moons,
    "model": Exponential(0.2),
    "n_components": 3,
    "target": half_moons_probabilities,
    "kind": "probabilities",
    "augmentation": GaussianNoise(0.1),
    "pretraining_sizes": [6, 11, 16],
    "downstream_sizes": [2, 8, 20],
    "repetitions": (2, 3),
    "n_test": 15,
    "reg": inverse,
    "workers": 0,
    "keep": True,
}


def points(n=70):
    return half_moons(n, seed=5)


CASES = {
    "probabilities": {},
    "one draw for each size": {"shared_draws": False},
    "draws from a pool": {"downstream_pool": 25},
    "pool, draws for each size": {"downstream_pool": 30, "shared_draws": False, "kind": "values", "target": flat},
    "a fit for each size": {"reg": slower, "n_views": 3, "beta": 0.7},
    "a number": {"reg": 1e-2, "pretraining_sizes": [9], "probe_reg": 1e-2},
    "centred, scaled, ridge, intercept": {
        "center": True, "scale": "risk", "probe_reg": 1e-3, "fit_intercept": True, "unbiased": False,
    },
    "centred": {"center": True, "n_components": 2},
    "values": {"kind": "values", "target": values_of, "seed": 7},
    "flat values": {"kind": "values", "target": flat},
    "classes": {"kind": "classes", "target": words},
    "a probe of one's own": {"probe": nearest, "scale": "risk"},
    "a probe of one's own, for values": {"probe": nearest, "kind": "values", "target": values_of},
    "table of values": {"kind": "values", "data": points(), "target": values_of(points())},
    "table of classes": {"kind": "classes", "data": points(), "target": words(points()), "shared_draws": False},
    "table of probabilities": {"data": points(), "target": half_moons_probabilities(points())},
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_every_number_is_that_of_plain_loops(case):
    given = {**MOONS, **CASES[case]}
    curves = learning_curves(**given)
    target = given["target"]
    if given["kind"] == "classes":
        names = np.array(["low", "middle", "up"])
        one_hot = lambda y: (y[:, None] == names).astype(float)  # noqa: E731
        target = (lambda x: one_hot(words(x))) if callable(target) else one_hot(target)
    elif target is flat:
        target = lambda x: flat(x)[:, None]  # noqa: E731
    reg = given["reg"]
    squared, relative, zero_one = naive.learning_curves(
        given["data"], target, given["model"], given["n_components"], given["augmentation"], given.get("n_views", 2),
        given["pretraining_sizes"], given["downstream_sizes"], given["repetitions"], given["n_test"],
        reg if callable(reg) else lambda n: reg, given.get("beta", 1.0), given.get("unbiased", True),
        given.get("center", False), given.get("scale") == "risk", given.get("probe_reg", 0.0),
        given.get("fit_intercept", False), given.get("shared_draws", True), given.get("seed", 0),
        given["kind"] == "probabilities", given.get("downstream_pool"), given.get("probe"),
    )  # fmt: skip
    expected = {"squared": squared, "relative": relative, "zero_one": zero_one}
    if given["kind"] == "values":
        del expected["zero_one"]
    assert curves.errors.keys() == curves.single.keys() == expected.keys()
    for name, single in expected.items():
        np.testing.assert_allclose(curves.single[name], single, rtol=1e-6, atol=1e-9)
        averages = single.mean(axis=3)
        np.testing.assert_allclose(curves.errors[name], averages, rtol=1e-6, atol=1e-9)
        np.testing.assert_allclose(curves.mean[name], averages.mean(axis=0), rtol=1e-6, atol=1e-9)
        half = abs(averages[0] - averages[1]) / 2  # of two repetitions
        np.testing.assert_allclose(curves.standard_error[name], half, rtol=1e-5, atol=1e-8)
        every = [np.median(single[:, p, d]) for p in range(single.shape[1]) for d in range(single.shape[2])]
        np.testing.assert_allclose(curves.quantiles(0.5, single=True)[name].ravel(), every, rtol=1e-6, atol=1e-9)
        assert curves.quantiles([0.1, 0.9])[name].shape == (2, *averages.shape[1:])


@pytest.mark.parametrize("risk_scale", [False, True])
@pytest.mark.parametrize(
    "model",
    [
        Exponential(0.3),
        lambda x, y: np.exp(-abs(x[:, None] - y).sum(axis=2)),
        Identity(),
        RandomFourier(Gaussian(0.5), 64),
        Nystrom(Gaussian(0.5), points(20)),
        Nystrom(Gaussian(0.5), 20),
    ],
)
@pytest.mark.parametrize("center", [False, True])
def test_functions_of_all_sizes_at_once(model, risk_scale, center, monkeypatch):
    monkeypatch.setattr("sslcore.tunables.CURVES_PARTS", 3)
    monkeypatch.setattr("sslcore.tunables.KERNEL_BLOCK_BYTES", 1 << 12)
    sizes, x = [20, 25, 31, 40, 50], half_moons(90, 9)
    views = GaussianNoise(0.1).views(half_moons(50, seed=0), 2, seed=0)
    reps = [sslcore.pretrain(views[:n], model, 2, reg=1e-2, center=center) for n in sizes]
    values = cells._functions(reps, risk_scale)
    for group in ([0, 1, 2, 3, 4], [2]):
        expected = [reps[p].transform(x, scale="risk" if risk_scale else "unit") for p in group]
        np.testing.assert_allclose(values(x, group), expected, rtol=1e-9, atol=1e-10)


def test_features_have_curves_too():
    for model in (Identity(), RandomFourier(Gaussian(0.5), 32), Nystrom(Gaussian(0.5), 12)):
        given = {**MOONS, "model": model, "n_components": 2, "reg": 1e-2}
        curves = learning_curves(**given)
        assert all(np.isfinite(values).all() for values in curves.errors.values())
        assert (curves.mean["squared"][:, 0] > curves.mean["squared"][:, 2]).all()


def test_constant_products():
    assert cells.constant((0.1, 0.05), (10, 20))
    assert cells.constant((1 / 3, 1 / 9), (3, 9))
    assert not cells.constant((0.1, 0.06), (10, 20))
    assert not cells.constant((0.1,), (10,))
    assert not cells.constant((0.0, 0.0), (10, 20))


# ---------------------------------------------------------------- workers, files

WORKED = {**MOONS, "target": half_moons_probabilities, "reg": 1e-2, "pretraining_sizes": [8, 16], "repetitions": (3, 4)}


def test_the_same_bytes_for_any_workers_and_after_an_interruption(tmp_path):
    def stop(done, total, left):
        if done == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        learning_curves(**{**WORKED, "workers": 1, "folder": tmp_path / "cells", "progress": stop})
    assert len(list((tmp_path / "cells").glob("cell-*"))) == 1
    saved = []
    for name, more in (
        ("one", {"workers": 1}),
        ("two", {"workers": 2}),
        ("again", {"workers": 2, "folder": tmp_path / "cells"}),
    ):
        learning_curves(**{**WORKED, **more}).save(tmp_path / name)
        saved.append((tmp_path / name).read_bytes())
    assert saved[0] == saved[1] == saved[2]
    with pytest.raises(ValueError, match="other settings: n_components 3 there, 2 here"):
        learning_curves(**{**WORKED, "workers": 1, "folder": tmp_path / "cells", "n_components": 2})


def test_files(tmp_path):
    curves = learning_curves(**MOONS)
    curves.save(tmp_path / "curves")
    loaded = LearningCurves.load(tmp_path / "curves")
    assert loaded.settings == curves.settings
    assert loaded.versions == curves.versions
    for name, values in curves.errors.items():
        assert (loaded.errors[name] == values).all()
        assert (loaded.single[name] == curves.single[name]).all()
    assert loaded.settings["data"] == "sslcore.datasets.half_moons"
    assert loaded.settings["model_parameters"] == {"kernel": "Exponential", "parameters": {"scale": 0.2}}
    assert loaded.settings["reg"] == [inverse(2 * n) for n in MOONS["pretraining_sizes"]]
    with np.load(tmp_path / "curves") as file:  # without sslcore
        assert (file["errors.squared"] == curves.errors["squared"]).all()
    data = (tmp_path / "curves").read_bytes()
    (tmp_path / "cut").write_bytes(data[:-50])
    with pytest.raises(ValueError, match="holds no learning-curves that sslcore"):
        LearningCurves.load(tmp_path / "cut")
    sslcore.pretrain(points(20)[:, None] + [[0.0], [0.1]], Identity(), 1, reg=1e-2).save(tmp_path / "rep")
    with pytest.raises(ValueError, match="it holds 'representation'"):
        LearningCurves.load(tmp_path / "rep")
    wrong = LearningCurves({"squared": np.zeros((2, 3, 4))}, np.arange(3), np.arange(3), {}, {})
    wrong.save(tmp_path / "wrong")
    with pytest.raises(ValueError, match="the errors 'squared' do not fit its sizes"):
        LearningCurves.load(tmp_path / "wrong")


@dataclasses.dataclass
class Power:
    """A function with a state, which its name does not tell."""

    exponent: float

    def __call__(self, x, rng=None):
        return x**self.exponent

    def of(self, x):
        return self(x)


def weighted(x, weights):
    return x @ np.reshape(weights, -1)


def test_arguments_of_partial_functions_are_told_to_the_last_digit(tmp_path):
    given = {**MOONS, "kind": "values", "folder": tmp_path / "cells"}
    weights = np.array([1.0, 2.0])
    for _ in range(2):
        learning_curves(**{**given, "target": functools.partial(weighted, weights=weights)})
    for changed in (weights + 1e-15, [weights + 1e-15]):
        with pytest.raises(ValueError, match="other settings: target"):
            learning_curves(**{**given, "target": functools.partial(weighted, weights=changed)})


def test_tables_are_known_by_their_checksums(tmp_path):
    given = {**MOONS, "kind": "values", "data": points(), "target": values_of(points()), "folder": tmp_path / "cells"}
    learning_curves(**given)
    changed = points()
    changed[0, 0] += 1e-9
    with pytest.raises(ValueError, match=r"other settings: data .*sha256"):
        learning_curves(**{**given, "data": changed})


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"target": lambda x: x, "kind": "values"}, "target: with folder=, functions must be of a module"),
        ({"target": functools.partial(lambda x: x), "kind": "values"}, "target: with folder="),
        ({"model": lambda x, y: np.exp(-abs(x[:, None] - y).sum(axis=2))}, "model: with folder="),
        ({"augmentation": Custom(lambda x, rng: x)}, "augmentation: with folder="),
        ({"target": Power(2), "kind": "values"}, "target: with folder=.*found <tests.test_curves.Power object>"),
        ({"target": Power(2).of, "kind": "values"}, "target: with folder=.*found <tests.test_curves.Power object>.of"),
        ({"augmentation": Custom(Power(2))}, "augmentation: with folder="),
        ({"augmentation": Compose(GaussianNoise(0.1), Custom(lambda x, rng: x))}, "augmentation: with folder="),
        ({"probe": lambda z, y: nearest(z, y)}, "probe: with folder="),
    ],
)
def test_a_folder_needs_functions_that_names_tell_apart(changed, words, tmp_path):
    with pytest.raises(TypeError, match=words):
        learning_curves(**{**MOONS, **changed, "folder": tmp_path / "cells"})
    assert not (tmp_path / "cells").exists()


def test_words_and_numbers():
    curves = learning_curves(**MOONS)
    assert "11" not in repr(curves)
    assert "3 pretraining sizes 6..16, 3 downstream sizes 2..20, 2 repetitions" in repr(curves)
    lines = curves.summary().splitlines()
    assert "Exponential(scale=0.2)" in curves.summary()
    assert f"squared      {curves.mean['squared'][2, 2]:.4g} +- " in curves.summary()
    assert len(lines) == 1 + 4 + 3 * 4
    document = json.loads(json.dumps(curves.as_dict(), allow_nan=False))
    assert document["mean"]["zero_one"] == curves.mean["zero_one"].tolist()
    once = learning_curves(**{**MOONS, "repetitions": (1, 2), "keep": False})
    assert np.isnan(once.standard_error["squared"]).all()
    assert json.loads(json.dumps(once.as_dict(), allow_nan=False))["standard_error"]["squared"] is None
    assert "+-" not in once.summary()
    with pytest.raises(ValueError, match="single errors were not kept"):
        once.quantiles(0.5, single=True)
    with pytest.raises(ValueError, match="q must be"):
        once.quantiles(1.5)


def test_probes_are_known_by_their_names(tmp_path):
    given = {**WORKED, "workers": 2, "folder": tmp_path / "cells", "probe": nearest}
    curves = learning_curves(**given)
    assert curves.settings["probe"] == "tests.test_curves.nearest"
    np.testing.assert_allclose(curves.errors["squared"], learning_curves(**{**given, "workers": 0}).errors["squared"])
    for other in (no_function, None):
        with pytest.raises(ValueError, match=r"other settings: .*probe"):
            learning_curves(**{**given, "probe": other})


@pytest.mark.parametrize("sizes", [([6, 11, 16], [2, 8, 20]), ([6, 16], [20]), ([16], [2, 8, 20]), ([16], [20])])
def test_pictures(tmp_path, sizes):
    pytest.importorskip("matplotlib")
    curves = learning_curves(**{**MOONS, "pretraining_sizes": sizes[0], "downstream_sizes": sizes[1], "reg": 1e-2})
    axes = curves.plot()
    if min(map(len, sizes)) > 1:
        assert "log" in axes.get_title()
    else:
        x, y = axes.lines[0].get_data()
        np.testing.assert_allclose(y, curves.mean["squared"].ravel())
        assert x.tolist() == (sizes[0] if len(sizes[0]) > 1 else sizes[1])
    curves.plot(tmp_path / "curves.png")
    assert (tmp_path / "curves.png").read_bytes()[:4] == b"\x89PNG"
    with pytest.raises(ValueError, match="error must be one of 'squared', 'relative', 'zero_one'"):
        curves.plot(error="other")


def test_the_lines_of_the_guide(tmp_path):
    pytest.importorskip("matplotlib")
    guide = (Path(sslcore.__file__).parents[1] / "docs" / "guide.md").read_text(encoding="utf-8")
    lines = re.search(r"## Learning curves.*?```python\n(.*?)```", guide, re.S)[1]
    lines = lines.replace("(10, 20)", "(2, 3)").replace("[30, 100, 300]", "[30, 60]")
    (tmp_path / "script.py").write_text(lines, encoding="utf-8")
    done = subprocess.run([sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "pretrained on 60, probed with 30" in done.stdout
    assert LearningCurves.load(tmp_path / "moons.curves").n_repetitions == 2
    assert (tmp_path / "curves.png").exists()
    assert sorted(path.name for path in (tmp_path / "cells").iterdir())[-1] == "settings.json"


# ---------------------------------------------------------------- bad input


def fewer(n, seed):
    return half_moons(n, seed)[1:]


def rare(x):
    return np.where(np.arange(len(x)) == 3, "rare", "common") if len(x) == 15 else words(x)


@pytest.mark.parametrize(
    ("changed", "error", "words"),
    [
        (
            {"pretraining_sizes": [11, 6]},
            ValueError,
            "pretraining_sizes must be increasing, .* found 11 before 6",
        ),
        ({"downstream_sizes": [6, 6]}, ValueError, "downstream_sizes must be increasing, each once, found 6 before 6"),
        ({"downstream_sizes": []}, ValueError, "downstream_sizes must not be empty"),
        ({"downstream_sizes": 5}, TypeError, "downstream_sizes must be a sequence of integers, found 5"),
        ({"pretraining_sizes": [0, 5]}, ValueError, "each of pretraining_sizes must be at least 1, found 0"),
        ({"pretraining_sizes": [5.5]}, TypeError, "each of pretraining_sizes must be an integer"),
        ({"data": points(), "target": values_of(points())[:9]}, ValueError, "target must .* 70 points, found shape"),
        (
            {"data": points(30), "target": values_of(points(30)), "kind": "values"},
            ValueError,
            "pretraining_sizes must be at most 15, the 30 points of data less 15 for the test, found 16",
        ),
        (
            {"data": points(33), "target": values_of(points(33)), "kind": "values"},
            ValueError,
            "downstream_sizes must be at most 18, .* found 20; use smaller sizes or a smaller n_test",
        ),
        ({"target": values_of(points())}, TypeError, "target must be a function of points, .* found ndarray"),
        ({"target": values_of}, ValueError, "must be probabilities of two classes or more"),
        ({"data": fewer}, ValueError, r"data\(n, seed\) must return n points"),
        ({"kind": "labels"}, ValueError, "kind must be one of"),
        ({"scale": "risky"}, ValueError, "scale must be one of"),
        ({"repetitions": 3}, TypeError, "repetitions must be two integers"),
        ({"repetitions": (3, 0)}, ValueError, "each of repetitions must be at least 1"),
        ({"n_components": 13}, ValueError, "n_components must be at most the number of views of the smallest .* 12"),
        ({"n_views": 1}, ValueError, "n_views must be at least 2, found 1; only beta=0"),
        ({"reg": "auto"}, TypeError, "reg must be a number or a function of the number of views, found 'auto'"),
        ({"reg": lambda n: -1.0}, ValueError, r"reg\(12\) must be a finite number > 0"),
        ({"reg": 0.0}, ValueError, "reg must be a finite number > 0"),
        ({"probe_reg": -1.0}, ValueError, "probe_reg must be"),
        ({"model": sslcore.kernels.Precomputed()}, TypeError, "found Precomputed: new points have no rows"),
        ({"augmentation": 0.1}, TypeError, "augmentation must be an augmentation"),
        ({"repetitions": (1000, 10000)}, ValueError, "keep=True would keep 2060 MiB of single errors, more than 256"),
        ({"data": lambda n, seed: half_moons(n, seed), "workers": 1}, TypeError, "data must be a function of a module"),
        ({"probe": lambda z, y: nearest(z, y), "workers": 1}, TypeError, "probe must be a function of a module"),
        ({"probe": "knn"}, TypeError, "probe must be a function of .*found 'knn'"),
        ({"probe": nearest, "fit_intercept": True}, ValueError, "probe_reg and fit_intercept are of the linear probe"),
        ({"probe": nearest, "probe_reg": 0.1}, ValueError, "leave them out where probe is given"),
        ({"probe": no_function}, sslcore.runs.CellError, "must return a function of values z .*found ndarray"),
        (
            {"probe": flat_predictions},
            sslcore.runs.CellError,
            r"shape \(15, 4\) for 15 test points, found shape \(15,\)",
        ),
        *(
            ({"probe": probe}, sslcore.runs.CellError, "probe must not change the arrays .* copies, z = z.copy")
            for probe in (centred_in_place, scaled_labels, scaled_tests)
        ),
        ({"probe": lost}, sslcore.runs.CellError, "with numbers that are not finite"),
        ({"shared_draws": 1}, TypeError, "shared_draws must be True or False"),
        ({"downstream_pool": 19}, ValueError, "downstream_pool must be at least .* downstream_sizes, 20, found 19"),
        ({"downstream_pool": 2.5}, TypeError, "downstream_pool must be an integer"),
        (
            {"data": points(), "target": half_moons_probabilities(points()), "downstream_pool": 30},
            ValueError,
            "downstream_pool is for data that are a function",
        ),
    ],
)
def test_bad_arguments(changed, error, words):
    with pytest.raises(error, match=words):
        learning_curves(**{**MOONS, **changed})


def test_classes_that_nobody_knew():
    with pytest.raises(sslcore.runs.CellError, match=r"the class 'common', the classes of the first draw are"):
        learning_curves(**{**MOONS, "kind": "classes", "target": rare})


def test_a_failing_fit_says_which_repetition():
    with pytest.raises(sslcore.runs.CellError, match=r"cell \d \(\d\) failed: CertificateError: "):
        learning_curves(**{**MOONS, "model": Gaussian(2.0), "reg": 1e-18})
