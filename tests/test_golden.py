"""Golden files: what the code of commit 71a559b (format 2) saved loads for ever, and gives the same numbers.

(`modalities`, `standardized` and `table` are of later commits.)

`python -m tests.test_golden FOLDER` writes the objects of `objects` with the code at hand; the files in
``tests/golden`` are never made again. A later format gets a folder of its own beside them.
"""

import dataclasses
import functools
import json
import sys
from pathlib import Path

import numpy as np
import pytest

import sslcore
from sslcore import Moments, augmentations, features, kernels, pretrain
from sslcore.tables import Encoding

from .comparators import assert_close
from .examples import augmentation_examples, kernel_examples

FOLDER = Path(__file__).with_name("golden")
GAUSSIAN = kernels.Gaussian(1.5)
_RNG = np.random.default_rng(7)
VIEWS = _RNG.normal(size=(12, 1, 3)) + 0.3 * _RNG.normal(size=(12, 2, 3))
MORE = _RNG.normal(size=(5, 3, 3))
POINTS = _RNG.normal(size=(4, 3))


def objects():
    """Yield the name of each file and the object in it."""
    landmarks = VIEWS[:5, 0]
    yield "exact", pretrain(VIEWS, GAUSSIAN, 3, reg=1e-2)
    composed = 0.5 * GAUSSIAN + kernels.Linear() * kernels.Matern(1.5, 2.0)
    yield "exact-centred", pretrain(VIEWS, composed, 3, reg=1e-2, center=True, sample_weight=np.arange(1.0, 13.0))
    yield "exact-biased-float32", pretrain(VIEWS.astype(np.float32), GAUSSIAN, 2, reg=1e-2, unbiased=False, beta=0.5)
    points, groups = VIEWS.reshape(-1, 3), np.repeat(np.arange(12), 2)
    yield "exact-precomputed", pretrain(GAUSSIAN(points), kernels.Precomputed(), 2, reg=1e-2, groups=groups)
    yield "exact-collapsed", pretrain(VIEWS, GAUSSIAN, 2, reg=50.0)
    yield "exact-selection", pretrain(VIEWS, kernels.Exponential(1.0), 2, reg="auto")
    yield "features-identity", pretrain(VIEWS, features.Identity(), 2, reg=1e-2)
    yield "features-beyond-the-rank", pretrain(VIEWS[..., :1] * [1.0, 2.0, 3.0], features.Identity(), 2, reg=1e-2)
    yield "features-nystrom", pretrain(VIEWS, features.Nystrom(GAUSSIAN, landmarks), 2, reg=1e-2)
    yield "features-fourier", pretrain(VIEWS, features.RandomFourier(GAUSSIAN, 8, seed=3), 2, reg=1e-2)
    yield "features-selection", pretrain(VIEWS, features.Nystrom(kernels.Matern(0.5, 2.0), landmarks), 2, reg="auto")
    notes = {
        "kernels": kernel_examples(1.3),
        "augmentations": [law for law, _ in augmentation_examples() if not isinstance(law, augmentations.Custom)],
        "numbers": [0, -(2**70), 1e-300, float("inf"), float("-inf"), float("nan"), True, None, "é\n"],
        "nested": {"a": {"b": [np.arange(3), np.float32([0.5]), np.array([True, False])]}},
    }
    yield "notes", dataclasses.replace(pretrain(VIEWS, features.Identity(), 1, reg=1e-2), notes=notes)
    gaussian_and_linear = (GAUSSIAN, kernels.Linear())
    yield "modalities", pretrain((VIEWS[:, 0], VIEWS[:, 1]), gaussian_and_linear, 2, reg=1e-2, center=True)
    columns = sslcore.defaults.Standardization([0.5, -1.0, 0.0], [2.0, 1.0, 0.25])
    yield "standardized", pretrain(columns(VIEWS), GAUSSIAN, 2, reg=1e-2).standardized_by(columns)
    table = Encoding(["size", "colour"], {"colour": ["blue", "rød"]}, np.array([0.5, 0.25, 0.75]), "mean", "id", True)
    fitted = pretrain(columns(VIEWS), GAUSSIAN, 2, reg=1e-2).standardized_by(columns)
    yield "table", dataclasses.replace(fitted, table=table)
    yield "moments-identity", Moments(features.Identity()).update(VIEWS)
    yield "moments-nystrom", Moments(features.Nystrom(GAUSSIAN, landmarks)).update(VIEWS).update(MORE)
    yield "moments-fourier", Moments(features.RandomFourier(GAUSSIAN, 8, seed=3)).update(VIEWS)


def plain(value):
    """Return an array as a list."""
    return value.tolist() if isinstance(value, np.ndarray) else value


def answers(thing):
    """Return what an object says of itself, as JSON."""
    rep = thing.solve(2, reg=1e-2) if isinstance(thing, Moments) else thing
    points = POINTS
    if isinstance(rep, sslcore.BimodalRepresentation):
        values = [side(points).tolist() for side in (rep.first, rep.second)]
        return {"model": repr(rep.model), "gamma": rep.gamma.tolist(), "risk": rep.risk, "values": values}
    if isinstance(rep.model, kernels.Precomputed):
        points = GAUSSIAN(POINTS, VIEWS.reshape(-1, 3))
    found = {
        "model": repr(rep.model) if isinstance(rep.model, kernels.Kernel) else type(rep.model).__name__,
        "gamma": rep.gamma.tolist(),
        "risk": rep.risk,
        "n_active": rep.n_active,
        "values": rep(points.astype(rep.coefficients.dtype)).tolist(),
    }
    if isinstance(thing, Moments):
        found |= {"n": thing.n, "n_views": thing.n_views}
    if rep.notes:
        found["kernels"] = [repr(kernel) for kernel in rep.notes["kernels"]]
        found["augmentations"] = [repr(augmentation) for augmentation in rep.notes["augmentations"]]
    if rep.table is not None:
        found["table"] = {key: plain(value) for key, value in vars(rep.table).items()}
    if rep.selection is not None:
        found["selection"] = rep.selection.as_dict()
    return found


LATER = {"Nugget", "Blur", "Brightness", "ColorJitter", "Contrast", "Corrupt", "Custom", "Jitter", "MagnitudeWarp"}
LATER |= {"ResizedCrop", "Scaling", "TimeWarp", "Window"}
"""Kernels and laws that were declared after the files were made."""
NAMES = sorted(path.stem for path in FOLDER.glob("*.sslcore"))


@functools.cache
def expected_answers():
    return json.loads((FOLDER / "answers.json").read_text(encoding="utf-8"))["answers"]


@pytest.mark.parametrize("name", NAMES)
def test_golden_files_load_and_answer_as_when_they_were_made(name):
    thing, expected = sslcore.load(FOLDER / f"{name}.sslcore"), expected_answers()[name]
    found = answers(thing)
    assert found.keys() >= expected.keys()
    for key, value in expected.items():
        if key in ("kernels", "augmentations"):  # whose words may change; test_golden_notes compares them
            assert len(found[key]) == len(value)
        elif key == "values":  # which another library of linear algebra may round otherwise
            single = isinstance(thing, sslcore.Representation) and thing.coefficients.dtype == np.float32
            assert_close(np.array(found[key]), np.array(value), tol=1e-4 if single else 1e-9)
        elif key in ("gamma", "risk") and isinstance(thing, Moments):
            assert_close(np.array(found[key]), np.array(value), tol=1e-9)
        elif key == "selection":
            assert json.dumps({k: found[key][k] for k in value}) == json.dumps(value)  # NaN included
        else:
            assert found[key] == value, key


def test_golden_notes():
    notes = sslcore.load(FOLDER / "notes.sslcore").notes
    assert notes["kernels"] == [kernel for kernel in kernel_examples(1.3) if type(kernel).__name__ not in LATER]
    laws = [law for law, _ in augmentation_examples() if not any(f"{name}(" in repr(law) for name in LATER)]
    assert notes["augmentations"] == laws
    assert len(laws) > 40
    assert repr(notes["numbers"]) == repr([0, -(2**70), 1e-300, np.inf, -np.inf, np.nan, True, None, "é\n"])
    found = notes["nested"]["a"]["b"]
    for array, expected in zip(found, [np.arange(3), np.float32([0.5]), np.array([True, False])], strict=True):
        assert array.dtype == expected.dtype
        assert np.array_equal(array, expected)


def test_each_file_has_its_answers():
    assert sorted(expected_answers()) == NAMES
    assert len(NAMES) == 18


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    made = dict(objects())
    for name, thing in made.items():
        thing.save(folder / f"{name}.sslcore")
    document = {"version": sslcore.__version__, "answers": {name: answers(thing) for name, thing in made.items()}}
    (folder / "answers.json").write_text(json.dumps(document, indent=1) + "\n")
