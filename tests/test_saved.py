"""Files: what is saved comes back to the bit, and anything else is refused with the reason, whatever the bytes."""

import dataclasses
import hashlib
import io
import itertools
import json
import os
import pickle
import re
import resource
import struct
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import sslcore
from sslcore import Moments, Representation, Views, features, kernels, pretrain
from sslcore.augmentations import Custom, GaussianNoise
from sslcore.features import Features, Identity, Nystrom, RandomFourier
from sslcore.fitting import codec as serialization
from sslcore.fitting.codec import decode, encode
from sslcore.fitting.content import check_content
from sslcore.kernels import Exponential, Function, Gaussian, Kernel, Linear, Matern, Precomputed, Profile

from .comparators import assert_close
from .strategies import seeds
from .test_augmentations import CASES as AUGMENTATIONS
from .test_features import EXAMPLES as FEATURES
from .test_features import noisy, normal, sums
from .test_kernels import EXAMPLES as KERNELS

VIEWS = noisy(15, 2, 3)
MODELS = {
    "exact": Exponential(1.0),
    "sum": 0.5 * Gaussian(1.0) + Linear() * Matern(1.5, 2.0),
    **FEATURES,
    "dropped landmarks": Nystrom(Gaussian(3.0), np.concatenate([VIEWS[:5, 0], VIEWS[:5, 0] + 1e-9])),
}
OPTIONS = [{}, {"center": True, "beta": 0.0}, {"unbiased": False, "sample_weight": np.arange(1.0, 16.0)}]


def same(first, second):
    """Equal to the bit, arrays and all."""
    if isinstance(first, np.ndarray):
        return first.dtype == second.dtype and np.array_equal(first, second, equal_nan=True)
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(first[k], second[k]) for k in first)
    if isinstance(first, Features):
        return serialization.same_features(first, second)
    if dataclasses.is_dataclass(first) and not isinstance(first, Kernel | Features):
        return all(same(getattr(first, f.name), getattr(second, f.name)) for f in dataclasses.fields(first))
    return type(first) is type(second) and first == second


def assert_same_representation(found, expected):
    for field in dataclasses.fields(Representation):
        if field.name != "training":
            assert same(getattr(found, field.name), getattr(expected, field.name)), field.name


# ---------------------------------------------------------------- there and back


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
def test_a_representation_comes_back(model, options, backend, tmp_path):
    rep = pretrain(backend.asarray(VIEWS), model, 3, reg=1e-2, **options)
    rep = dataclasses.replace(rep, notes={"columns": ["a", "b"], "from": {"law": GaussianNoise(0.1), "n": 3}})
    path = tmp_path / "model.sslcore"
    rep.save(path)
    assert [p.name for p in tmp_path.iterdir()] == ["model.sslcore"]
    loaded = sslcore.load(str(path))
    assert_same_representation(loaded, rep.to("numba"))
    x = normal((7, 3), 4)
    there = loaded.to(backend.name)
    assert np.array_equal(backend.asnumpy(there(backend.asarray(x))), backend.asnumpy(rep(backend.asarray(x))))
    assert_close(loaded(x), backend.asnumpy(rep(backend.asarray(x))), tol=1e-9)
    assert (loaded.risk, loaded.n_active) == (rep.risk, rep.n_active)
    assert repr(rep).startswith(repr(loaded)[:-1])  # which may not know how many views there were
    if isinstance(model, Features):
        assert np.array_equal(loaded.linear_head()[0], rep.to("numba").linear_head()[0])
        with pytest.raises(ValueError, match="or loaded"):
            _ = loaded.embedding
    else:
        assert np.array_equal(loaded.embedding, backend.asnumpy(rep.embedding))
    loaded.save(path)  # over the old file, and to the same bytes
    again = tmp_path / "again"
    sslcore.load(path).save(again)
    assert path.read_bytes() == again.read_bytes()


def test_other_kinds_of_fits_come_back(tmp_path):
    path, x = tmp_path / "model", normal((30, 3), 5)
    gram = Gaussian(1.0)(x)
    groups = np.repeat(np.arange(12), [1, 2, 3] * 3 + [4, 4, 4])
    for rep in (
        pretrain(gram, Precomputed(), 3, reg=1e-2, groups=groups),
        pretrain(x.astype(np.float32), Gaussian(1.0), 3, reg=1e-2, groups=groups),
        pretrain(Views(x, GaussianNoise(0.2), 2, seed=0), Nystrom(Matern(0.5, 2.0), 6), 3, reg=1e-2),
        pretrain(VIEWS, Linear(), 12, reg=1e-2),  # of rank 3: gamma and norms are infinite after it
        pretrain(VIEWS, Gaussian(1.0), 2, reg=50.0),  # collapsed
        pretrain(VIEWS.astype(np.float32), Identity(), 2, reg=0.0),
    ):
        rep.save(path)
        assert_same_representation(sslcore.load(path), rep)
        points = gram[:4] if isinstance(rep.model, Precomputed) else x[:4]
        assert np.array_equal(Representation.load(path)(points), rep(points))


@pytest.mark.parametrize("name", FEATURES)
@pytest.mark.parametrize("different", [False, True])
def test_moments_come_back(name, different, tmp_path):
    views = noisy(20, 2, 3)
    moments = Moments(FEATURES[name]).update(views)
    if different:
        moments.update(noisy(5, 3, 3))
    path = tmp_path / "moments"
    moments.save(path)
    loaded = sslcore.load(path)
    assert isinstance(loaded, Moments)
    for found, exact in zip(sums(loaded), sums(moments), strict=True):
        assert np.array_equal(found, exact)
    assert (loaded.n, loaded.n_views) == (moments.n, moments.n_views)
    assert np.array_equal(loaded.solve(3, reg=1e-2).coefficients, moments.solve(3, reg=1e-2).coefficients)
    x = normal((4, 3), 8)
    assert np.array_equal(loaded.solve(3, reg=1e-2)(x), moments.solve(3, reg=1e-2)(x))
    # they go on, and merge with those they came from
    more = noisy(7, 2, 3, seed=5)
    assert_close(sums(loaded.update(more))[0], sums(moments.update(more))[0], tol=1e-15)
    assert loaded.merge(moments).n == 2 * moments.n
    loaded.save(path)  # over the old file
    assert Moments.load(path).n == loaded.n


KERNEL_EXAMPLES = [make(1.5) for makes in KERNELS.values() for make in makes]
leaves = st.sampled_from(KERNEL_EXAMPLES)
trees = st.recursive(
    leaves,
    lambda parts: (
        st.tuples(parts, parts).map(lambda p: p[0] + p[1])
        | st.tuples(parts, parts).map(lambda p: p[0] * p[1])
        | st.tuples(parts, st.floats(1e-300, 1e300)).map(lambda p: p[1] * p[0])
    ),
    max_leaves=8,
)
plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda parts: st.lists(parts, max_size=4) | st.dictionaries(st.text(), parts, max_size=4),
    max_leaves=8,
)


def there_and_back(value):
    arrays = {}
    text = json.dumps(encode(value, "value", arrays), allow_nan=False)
    return decode(json.loads(text), arrays)


@given(trees)
def test_every_kernel_comes_back(kernel):
    assert there_and_back(kernel) == kernel
    assert repr(there_and_back(kernel)) == repr(kernel)


@given(plain)
def test_plain_values_come_back(value):
    assert repr(there_and_back(value)) == repr(value)


@pytest.mark.parametrize(("augmentation", "d"), AUGMENTATIONS)
def test_every_augmentation_comes_back(augmentation, d):
    if isinstance(augmentation, Custom):  # a file holds no code
        with pytest.raises(TypeError, match="cannot be saved"):
            there_and_back(augmentation)
        return
    assert there_and_back(augmentation) == augmentation
    assert repr(there_and_back(augmentation)) == repr(augmentation)


def test_arrays_come_back():
    for dtype in ("<f8", "<f4", "<i8", "|b1", ">f8"):
        for shape in ((), (0,), (3,), (2, 3), (2, 1, 3)):
            array = np.asfortranarray(normal(shape) > 0 if dtype == "|b1" else 9 * normal(shape)).astype(dtype)
            assert np.array_equal(there_and_back([array])[0], array)
    assert there_and_back((np.float64(0.1), np.int32(3), np.bool_(True))) == [0.1, 3, True]


def test_the_order_of_pivots_is_kept(tmp_path, monkeypatch):
    """Equal pivots may be taken in another order elsewhere: neither a file nor another device chooses again."""
    phi = Nystrom(Gaussian(1.0), VIEWS[:8, 0])
    rep = pretrain(VIEWS, phi, 3, reg=1e-2)
    rep.save(tmp_path / "model")
    Moments(phi).update(VIEWS).save(tmp_path / "moments")
    backend = sslcore.features.get_backend()
    monkeypatch.setattr(backend, "pivoted_cholesky", lambda *_: pytest.fail("chosen again"))
    assert np.array_equal(sslcore.load(tmp_path / "model")(VIEWS), rep(VIEWS))
    assert np.array_equal(sslcore.load(tmp_path / "moments").solve(3, reg=1e-2)(VIEWS), rep(VIEWS))
    for kept, factor in (
        (np.ones((0, 3)), np.ones((0, 0))),
        (np.ones((9, 3)), np.eye(9)),
        (np.ones((2, 4)), np.eye(2)),
        (np.ones((2, 3)), np.eye(3)),
        (np.ones((2, 3)), np.ones((2, 2))),
        (np.ones((2, 3)), -np.eye(2)),
    ):
        with pytest.raises(ValueError, match="landmarks"):
            phi.with_factor(kept, factor)


def test_pivots_are_the_same_on_every_device(backend):
    phi = Nystrom(Gaussian(1.0), VIEWS[:8, 0])
    kept, factor = phi.factor()
    there = phi.factor(backend.primitives)
    assert np.array_equal(backend.asnumpy(there[0]), kept)
    assert np.array_equal(backend.asnumpy(there[1]), factor)


def test_other_random_numbers_are_noticed(tmp_path, monkeypatch):
    """NumPy may change what a seed gives."""
    path = tmp_path / "model"
    pretrain(VIEWS, RandomFourier(Exponential(1.0), 8, seed=3), 3, reg=1e-2).save(path)
    draw = RandomFourier.frequencies
    monkeypatch.setattr(RandomFourier, "frequencies", lambda self, d: draw(self, d) * (1 + 1e-9))
    with pytest.raises(ValueError, match="draws other random frequencies from seed 3"):
        sslcore.load(path)


def test_a_kernel_of_ones_own(tmp_path):
    """Its class must be there when the file is read; the file brings no code."""

    def declare():
        @dataclasses.dataclass(frozen=True)
        class Cauchy(Profile):
            scale: float
            pair = "sqdist"
            formula = "real(1) / (real(1) + t)"

        return Cauchy

    try:
        made = pretrain(VIEWS, declare()(2.0), 3, reg=1e-2)
        made.save(tmp_path / "model")
        del kernels.registry["Cauchy"]
        with pytest.raises(
            ValueError, match="it needs the kernel 'Cauchy', which is not known here; import the module"
        ):
            sslcore.load(tmp_path / "model")
        known = declare()
        assert sslcore.load(tmp_path / "model").model == known(2.0)
        with pytest.raises(TypeError, match="cannot be saved"):  # not the class that its name stands for
            made.save(tmp_path / "model")
    finally:
        kernels.registry.pop("Cauchy", None)


class Unknown(Features):
    """Not a dataclass."""

    def n_features(self, d):
        return d

    def prepare(self, d, dtype, backend):
        return lambda x: x.copy()


features.registry.pop("Unknown")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (Function(lambda x, y: x @ y.T), "a plain function cannot be saved: a file holds no code"),
        (Gaussian(1.0) + 2.0 * Function(lambda x, y: x @ y.T), "a plain function cannot be saved"),
        (Nystrom(lambda x, y: x @ y.T, VIEWS[:2, 0]), "a plain function cannot be saved"),
        (Unknown(), "value of class Unknown cannot be saved"),
        ({"a": [object()]}, r"value.a.0 of class object cannot be saved"),
        ({1: 2}, r"the keys of value must be strings to be saved, found \[1\]"),
        (np.array(["a"]), "value is an array of <U1"),
        (np.array([None]), "value is an array of object"),
        (1j, "value of class complex cannot be saved"),
        (Gaussian, "value of class type cannot be saved"),
        (VIEWS[0].view(np.recarray).dtype, "cannot be saved"),
    ],
    ids=lambda v: str(v)[:20],
)
def test_what_cannot_be_saved(value, message, tmp_path):
    with pytest.raises(TypeError, match=message):
        there_and_back(value)
    path = tmp_path / "model"
    rep = pretrain(VIEWS, Gaussian(1.0), 2, reg=1e-2)
    with pytest.raises(TypeError, match=r"cannot be saved|to be saved|is an array of"):
        dataclasses.replace(rep, notes={"x": value}).save(path)
    assert not list(tmp_path.iterdir())


def test_what_is_not_ready_to_be_saved(tmp_path):
    with pytest.raises(ValueError, match="the moments are empty"):
        Moments(Identity()).save(tmp_path / "moments")
    with pytest.raises(ValueError, match="the landmarks are not chosen yet"):
        there_and_back(Nystrom(Gaussian(1.0), 5))
    assert not list(tmp_path.iterdir())


# ---------------------------------------------------------------- files from elsewhere


def dismantled(path):
    """Header and arrays, by the standard library and NumPy alone."""
    with zipfile.ZipFile(path) as archive:
        header = json.loads(archive.read("header.json"))
        arrays = {
            name[:-4]: np.lib.format.read_array(io.BytesIO(archive.read(name)), allow_pickle=False)
            for name in archive.namelist()[1:]
        }
    return header, arrays


def member(array):
    """A .npy as ``docs/format.md`` describes it."""
    text = str({"descr": array.dtype.str, "fortran_order": False, "shape": array.shape})[:-1] + ", }"
    space = -(10 + len(text) + 1) % 64
    return struct.pack("<8sH", b"\x93NUMPY\x01\x00", len(text) + space + 1) + f"{text}{' ' * space}\n".encode()


def assembled(path, header, arrays, seal=True):
    """A file written from the page alone, with the checksums that it needs if ``seal``."""
    if seal:
        header["arrays"] = {
            name: {"dtype": a.dtype.str, "shape": list(a.shape), "sha256": hashlib.sha256(a.tobytes()).hexdigest()}
            for name, a in arrays.items()
        }
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(zipfile.ZipInfo("header.json"), json.dumps(header))
        for name, a in arrays.items():
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), member(a) + a.tobytes())


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved")
    pretrain(VIEWS, Gaussian(0.5), 3, reg=1e-2).save(folder / "kernel")
    pretrain(VIEWS, FEATURES["Nystrom"], 3, reg=1e-2).save(folder / "features")
    Moments(FEATURES["Nystrom"]).update(VIEWS).update(noisy(5, 3, 3)).save(folder / "moments")
    return folder


@pytest.mark.parametrize("name", ["kernel", "features", "moments"])
def test_the_page_describes_the_files(name, files, tmp_path):
    header, arrays = dismantled(files / name)
    assert set(header) == {"library", "format", "version", "kind", "arrays", "content"}
    assert header["format"] == (3 if "epsilon" in header["content"] else 2)
    assert ("epsilon" in header["content"]) == (name == "moments")
    assembled(tmp_path / "made", json.loads(json.dumps(header)), arrays)
    for old, new in zip(dismantled(tmp_path / "made"), (header, arrays), strict=True):
        assert same(old, new)
    found, expected = sslcore.load(tmp_path / "made"), sslcore.load(files / name)
    if name == "moments":
        assert all(map(np.array_equal, sums(found), sums(expected)))
    else:
        assert_same_representation(found, expected)


def test_the_example_of_the_page_runs(tmp_path, monkeypatch):
    page = (Path(__file__).parents[1] / "docs" / "format.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    moons = sslcore.datasets.half_moons(50, seed=0)
    rep = pretrain(GaussianNoise(0.1).views(moons, 2, seed=0), Gaussian(0.5), 3, reg=1e-3, center=True)
    monkeypatch.chdir(tmp_path)
    rep.save("moons.sslcore")
    names = {}
    exec(code, names)
    assert_close(names["psi"], rep(names["x"]), tol=1e-10)


ELSEWHERE = "which no version has"
CHANGES = [
    ({"format": 4}, "it has format 4, written by version 9.9, and this one reads formats 2 and 3; upgrade sslcore"),
    ({"format": 1}, "it has format 1, written by version 9.9, and this one reads formats 2 and 3; make it again"),
    ({"format": "2"}, "it has format '2'"),
    ({"format": True}, "it has format True"),
    ({"format": None}, "it has format None"),
    ({"kind": "estimator"}, "it holds 'estimator'"),
    ({"kind": None}, "it holds None"),
    ({"library": "other"}, "it was not written by sslcore"),
    ({"content": []}, ""),
    ({"content": None}, ""),
    ({"content.reg": -1.0}, "reg is -1.0"),
    ({"content.reg": "1"}, "reg is '1'"),
    ({"content.beta": {"float": "nan"}}, "beta is nan"),
    ({"content.beta": {"float": "Infinity"}}, "'Infinity' is missing"),
    ({"content.center": 1}, "center is 1"),
    ({"content.later": 1}, r"unknown parts \['later'\]"),
    ({"content.gamma": ELSEWHERE}, r"it lacks \['gamma'\]"),
    ({"content.gamma": 1.0}, r"gamma is not \(3,\)"),
    ({"content.gamma": {"array": "nothing"}}, "'nothing' is missing"),
    ({"content.gamma": {"array": "norms", "x": 1}}, "is not of this format"),
    ({"content.notes": []}, "the notes are no dict"),
    ({"content.model": None}, "it has no model"),
    ({"content.model": {}}, "is not of this format"),
    ({"content.model": {"kernel": "Gaussian"}}, "is not of this format"),
    ({"content.model": {"class": "Gaussian", "parameters": {}}}, "is not of this format"),
    ({"content.model": {"kernel": "Gaussian", "parameters": {}}}, "scale"),
    ({"content.model": {"kernel": "Gaussian", "parameters": {"scale": -1}}}, "scale must be a finite number > 0"),
    ({"content.model": {"kernel": "Gaussian", "parameters": {"scale": 1, "x": 1}}}, "'x'"),
    ({"content.model": {"kernel": "Function", "parameters": {"function": 1}}}, "kernel 'Function', which is not known"),
    ({"content.model": {"kernel": "os.system", "parameters": {"scale": 1}}}, "'os.system', which is not known"),
    ({"content.model": {"kernel": "Precomputed", "parameters": {}}}, "a given matrix has no centres"),
    ({"content.model": {"augmentation": "Compose", "parameters": {"parts": []}}}, "at least one"),
    ({"content.model": {"features": "Identity", "parameters": {}}}, "the number of coordinates"),
    ({"content.certificate": None}, "it has no certificate"),
    ({"content.certificate": {"record": "Popen", "parameters": {}}}, "a record 'Popen' is not known"),
    ({"content.certificate.parameters.rank": 4}, "rank 4 of 3 components"),
    ({"content.certificate.parameters.rank": "3"}, "rank of the certificate is '3'"),
    ({"content.certificate.parameters.residuals": {"array": "centres"}}, "array 'centres' is missing, or has"),
    ({"content.certificate.parameters.seconds": ELSEWHERE}, "seconds"),
    ({"content.selection": 1}, "the selection is of class int"),
    ({"content.selection": {"array": "gamma"}}, "array 'gamma' is missing, or has two places"),
    ({"content.centres": None}, "it needs 30 centres"),
    ({"content.n_coordinates": 3}, "a kernel has no number of coordinates"),
    ({"content.values": {"array": "gamma"}}, "array 'gamma' is missing, or has two places"),
    ({"array values": np.ones(3)}, "the values do not fit"),
    ({"array coefficients": np.ones((0, 3))}, "it has no components"),
    ({"array coefficients": np.ones((30, 4))}, r"gamma is not \(4,\)"),
    ({"array coefficients": np.ones((31, 3))}, "it needs 31 centres"),
    ({"array coefficients": np.full((30, 3), np.nan)}, "coefficients must be finite"),
    ({"array coefficients": np.ones((30, 3), np.int64)}, "the coefficients must be a matrix"),
    ({"array gamma": np.full(3, np.nan)}, "gamma is not"),
    ({"array gamma": np.ones(3, np.float32)}, "gamma is not"),
    ({"array intercept": np.full(3, np.inf)}, "intercept must be finite"),
    ({"array centres": np.full((30, 3), np.inf)}, "centres must be finite"),
    ({"array centres": None}, "'centres' is missing"),
    ({"array gamma": np.array([-np.inf, 0.5, 0.6])}, "gamma has the value -inf"),
    ({"array norms": np.array([1.0, -np.inf, 0.6])}, "norms has the value -inf"),
    ({"array gamma": np.array([0.5, 0.4, 0.6])}, "gamma must not decrease"),
    ({"array gamma": np.array([0.5, np.inf, 0.6])}, "gamma must not decrease"),
    ({"array gamma": np.array([-0.5, 0.4, 0.6])}, "gamma must not be negative"),
    ({"content.certificate.parameters.rank": -1}, "rank of the certificate is -1"),
    ({"content.certificate.parameters.seconds": -1.0}, "seconds of the certificate is -1.0"),
    ({"content.certificate.parameters.seconds": 10**400}, "seconds of the certificate is 1000"),
    ({"content.certificate.parameters.tolerance": {"float": "nan"}}, "tolerance of the certificate is nan"),
    ({"content.certificate.parameters.eigengap": {"float": "-inf"}}, "eigengap of the certificate is -inf"),
    ({"content.certificate.parameters.bytes": -(10**400)}, "bytes of the certificate is -1000"),
    ({"array certificate.residuals": np.array([0.0, np.nan, 0.0])}, "residuals of the certificate are NaN"),
    ({"array certificate.residuals": np.array([0.0, -1.0, 0.0])}, "the negative value"),
    ({"content.reg": 10**400}, "reg is 1000"),
]
MOMENTS_CHANGES = [
    ({"content.d": None}, "d must be an integer"),
    ({"content.d": 4}, "x and landmarks must have the same number of coordinates"),
    ({"content.n": "many"}, "n must be an integer"),
    ({"content.n_views": 3}, "n_views must be at least 20"),
    ({"content.weight": -1.0}, "weight must be a finite number > 0"),
    ({"content.weight": {"float": "nan"}}, "weight must be a finite number > 0"),
    ({"content.weight": 10**400}, "weight must be a finite number > 0"),
    ({"content.factor": 10**400}, "factor must be a finite number >= 1"),
    ({"content.n": 10**400}, "n must be at least 1 and at most"),
    ({"content.d": 10**12}, "x and landmarks must have the same number of coordinates"),
    ({"content.factor": 0.5}, "factor must be a finite number >= 1"),
    ({"content.features": {"features": "Unknown", "parameters": {}}}, "the features 'Unknown', which is not known"),
    ({"content.features": {"kernel": "Linear", "parameters": {}}}, "features of sslcore.features were expected"),
    ({"content.features": {"features": "Identity", "parameters": {}}}, "moments of 6 features do not fit Identity"),
    ({"content.features.parameters.kernel.parameters.scale": 0}, "scale must be a finite number > 0"),
    ({"content.features.parameters.landmarks": 6}, "the landmarks must be an array"),
    ({"content.features.parameters.factor": ELSEWHERE}, "'factor' is missing"),
    ({"content.features.parameters.selection": "all"}, "selection must be one of"),
    ({"array features.factor": np.ones((6, 6))}, "upper triangular"),
    ({"array mean": np.ones(3)}, r"array between must be float64 of shape \(3, 3\)"),
    ({"array mean": None}, "'mean' is missing"),
    ({"array between": np.ones((6, 5))}, r"array between must be float64 of shape \(6, 6\)"),
    ({"array within": np.full((6, 6), np.nan)}, "within must be finite"),
    ({"array within": np.ones((6, 6), np.float32)}, "array within must be float64"),
]


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [("kernel", *c) for c in CHANGES] + [("moments", *c) for c in MOMENTS_CHANGES],
    ids=lambda c: str(c)[:50],
)
def test_wrong_content_is_refused_with_the_reason(name, change, message, files, tmp_path):
    """Files that are whole, with right checksums, and say something else."""
    header, arrays = dismantled(files / name)
    header["version"] = "9.9"
    for key, value in change.items():
        if key.startswith("array "):
            if value is None:
                del arrays[key[6:]]
            else:
                arrays[key[6:]] = value
            continue
        *way, last = key.split(".")
        part = header
        for step in way:
            part = part[step]
        if value is ELSEWHERE:
            del part[last]
        else:
            part[last] = value
    path = tmp_path / "wrong.sslcore"
    assembled(path, header, arrays)
    with pytest.raises(ValueError, match=rf"wrong.sslcore holds no .* that sslcore .* can read: .*{message}"):
        sslcore.load(path)


def test_the_other_kind_is_refused(files):
    with pytest.raises(ValueError, match=r"holds no moments that .* can read: it holds 'representation'"):
        Moments.load(files / "kernel")
    with pytest.raises(ValueError, match=r"holds no representation that .* can read: it holds 'moments'"):
        Representation.load(files / "moments")


def refused(path, message=""):
    with pytest.raises(
        ValueError, match=f"holds no (representation or moments or modalities|representation) that .*{message}"
    ):
        sslcore.load(path)


def test_files_of_other_programs_are_refused(tmp_path):
    path = tmp_path / "foreign"
    for text in (b"", b"PK", b"not an archive", b"PK\x03\x04 nor this", b"PK\x05\x06" + 18 * b"\0", pickle.dumps([1])):
        path.write_bytes(text)
        refused(path)
    with open(path, "wb") as file:
        np.save(file, np.ones(3))
    refused(path, "it is no zip archive, or its end is missing or damaged")
    with open(path, "wb") as file:
        np.savez(file, a=np.ones(3))
    refused(path, r"it is a zip archive without header.json")
    with open(path, "wb") as file:
        np.savez(file, header=np.array(["x"], object))  # a pickle
    refused(path, r"it is a zip archive without header.json")
    for text in ("[]", "{}", '"sslcore"', '{"library": "sslcore"}', "{", "\xff", "[" * 10**5, '{"library": NaN}'):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("header.json", text)
        refused(path)
    with pytest.raises(FileNotFoundError):
        sslcore.load(tmp_path / "missing")
    with pytest.raises(IsADirectoryError):
        sslcore.load(tmp_path)


def test_a_pickle_inside_is_never_opened(files, tmp_path):
    """Arrays of objects are refused by their dtype, before their bytes are looked at."""

    class Bomb:
        def __reduce__(self):
            return (pytest.fail, ("code was run",))

    header, arrays = dismantled(files / "kernel")
    for dtype in ("|O", "object", "<U9", "<f8,<f8"):
        path = tmp_path / "bomb"
        assembled(path, header, arrays)
        header["arrays"]["gamma"] |= {"dtype": dtype, "shape": [1]}
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("header.json", json.dumps(header))
            for name, a in arrays.items():
                data = member(a) + a.tobytes()
                if name == "gamma":
                    buffer = io.BytesIO()
                    np.save(buffer, np.array([Bomb()], object), allow_pickle=True)
                    data = buffer.getvalue()
                archive.writestr(f"{name}.npy", data)
        refused(path, "array 'gamma' has the dtype")


def test_each_check_of_the_archive_stands_alone(files, tmp_path):
    """Archives that zip itself finds whole: with right CRCs, and something else wrong."""
    path = tmp_path / "odd"
    header, arrays = dismantled(files / "kernel")
    changed = arrays | {"gamma": arrays["gamma"] + 1e-9}
    assembled(path, header, changed, seal=False)
    refused(path, "array 'gamma' does not have its checksum")
    assembled(path, header, {name: np.asfortranarray(a) for name, a in arrays.items()})
    sslcore.load(path)  # C order is what is written, whatever comes
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("header.json", json.dumps(header))
        for name, a in arrays.items():
            beginning = member(a)
            if name == "centres":  # the same bytes in another order
                beginning = beginning.replace(b"False", b"True ")
            archive.writestr(f"{name}.npy", beginning + a.tobytes())
    refused(path, "array 'centres'")
    assembled(path, header, arrays | {"more": np.ones(3)}, seal=False)
    refused(path, "its members are not the arrays that the header names")
    assembled(path, header, {name: a for name, a in arrays.items() if name != "gamma"}, seal=False)
    refused(path, "its members are not the arrays that the header names")
    for size in range(1, 100):  # compressed, to just the size that it had
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("header.json", b" " * size)
        if archive.infolist()[0].compress_size == size:
            break
    else:
        pytest.fail("no such size")
    refused(path, "compressed or encrypted")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("header.json", json.dumps(header))
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("header.json", json.dumps(header))
    refused(path, "it names a member twice")


def test_the_header_is_json_of_a_limited_size(files, tmp_path):
    path = tmp_path / "odd"
    header, arrays = dismantled(files / "kernel")
    header["content"]["notes"] = {"map": {"x": float("nan")}}
    assembled(path, header, arrays)
    refused(path, "its header holds NaN, which is not JSON")
    header["content"]["notes"] = {"map": {"x": " " * (1 << 24)}}
    assembled(path, header, arrays)
    refused(path, "its header is too large")
    rep = dataclasses.replace(sslcore.load(files / "kernel"), notes={"x": " " * (1 << 24)})
    with pytest.raises(ValueError, match="the description is too large to be saved"):
        rep.save(tmp_path / "never")


def test_nothing_is_allocated_that_is_larger_than_the_file(files, tmp_path):
    path = tmp_path / "large"
    header, arrays = dismantled(files / "kernel")
    assembled(path, header, arrays)
    small = path.read_bytes()
    for shape in ([10**9], [10**6, 10**6, 10**6], [2**63, 2], [-1], [3, 0.5], ["3"], 3, None, [3] * 9, [True]):
        header["arrays"]["gamma"]["shape"] = shape
        assembled(path, header, arrays, seal=False)
        refused(path, "array 'gamma'")
    # sizes in the archive's own records
    for size in (2**31, 2**32 - 2):
        bomb = bytearray(small)
        for at in (m.start() for m in re.finditer(b"PK\x01\x02", small)):
            bomb[at + 20 : at + 28] = struct.pack("<II", size, size)
        path.write_bytes(bytes(bomb))
        refused(path, "its members are larger than the file")
    # members that share their bytes, and compressed ones
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("header.json", b" " * 10**8)
    assert path.stat().st_size < 10**6
    refused(path, "its member 'header.json' is compressed or encrypted")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("header.json", json.dumps(header))
        for i in range(1100):
            archive.writestr(f"{i}.npy", b"")
    refused(path, "too many")
    # numbers of features that would be large once used
    rep = pretrain(VIEWS, FEATURES["RandomFourier"], 3, reg=1e-2)
    rep.save(path)
    header, arrays = dismantled(path)
    header["content"]["model"]["parameters"]["n_features"] = 2 * 10**14
    assembled(path, header, arrays)
    tracemalloc.start()
    try:
        refused(path, "8 coefficients do not fit the features")
        assert tracemalloc.get_traced_memory()[1] < 10**6
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", ["kernel", "features", "moments"])
def test_truncated_files_are_refused(name, files, tmp_path):
    whole, path = (files / name).read_bytes(), tmp_path / "part"
    for size in (*range(0, len(whole), 97), *range(len(whole) - 70, len(whole))):
        path.write_bytes(whole[:size])
        refused(path, "it is no zip archive, or its end is missing or damaged")
    path.write_bytes(whole[:2000] + whole[2100:])  # a piece missing from the middle
    refused(path)
    path.write_bytes(whole[100:])
    refused(path)


def loads_as_before_or_is_refused(path, name, files):
    """Returns whether it was refused."""
    expected = sslcore.load(files / name)  # first: imports take memory too
    tracemalloc.start()
    loaded = message = None
    try:
        loaded = sslcore.load(path)
    except ValueError as error:
        message = str(error)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 50 * path.stat().st_size + 2 * 10**6
    if loaded is None:
        assert re.search(
            "changed holds no (representation|moments|representation or moments or modalities) that sslcore", message
        )
        return True
    if name == "moments":
        assert all(map(np.array_equal, sums(loaded), sums(expected)))
        assert loaded.features.kernel == expected.features.kernel
    else:
        assert_same_representation(loaded, expected)
    return False


@given(name=st.sampled_from(["kernel", "features", "moments"]), seed=seeds, count=st.sampled_from([1, 1, 1, 2, 8, 200]))
def test_fuzz_changed_bytes(name, seed, count, files, tmp_path):
    """Flipped bits, or bytes replaced, anywhere: refused, or (a date, say) without any effect on what is read."""
    data = bytearray((files / name).read_bytes())
    rng = np.random.default_rng(seed)
    path = tmp_path / "changed"
    for _ in range(10):
        changed = bytearray(data)
        for place in rng.integers(0, len(data), count):
            changed[place] ^= int(rng.integers(1, 256)) if rng.random() < 0.5 else 1 << int(rng.integers(8))
        path.write_bytes(bytes(changed))
        loads_as_before_or_is_refused(path, name, files)


@pytest.mark.parametrize("name", ["kernel", "moments"])
def test_fuzz_the_records_of_the_archive(name, files, tmp_path):
    """Every byte of zip's own records, the first of the header and of each array's, one after the other."""
    whole, path = (files / name).read_bytes(), tmp_path / "changed"
    marks = [m.start() for m in re.finditer(rb"PK[\x01-\x08]", whole)]
    places = sorted({p for m in (*marks[:2], *marks[-9:]) for p in range(m, min(m + 80, len(whole)))})
    flips = itertools.cycle([0xFF, 0x01, 0x80, 0x55])
    count = 0
    for place, flip in zip(places, flips, strict=False):
        changed = bytearray(whole)
        changed[place] ^= flip
        path.write_bytes(bytes(changed))
        count += loads_as_before_or_is_refused(path, name, files)
    assert count > len(places) / 4


@given(data=st.binary(max_size=300))
@example(data=b"PK\x05\x06" + b"\xff" * 18)
@example(data=b"PK\x06\x07" + b"\xff" * 16 + b"PK\x05\x06" + b"\xff" * 18)
def test_fuzz_random_bytes(data, files, tmp_path):
    path = tmp_path / "random"
    for whole in (data, b"PK\x03\x04" + data, data + (files / "kernel").read_bytes()[-300:]):
        path.write_bytes(whole)
        refused(path)


@given(
    value=plain,
    place=st.sampled_from(["content", "arrays", "content.model", "content.certificate", "content.gamma", "kind"]),
)
def test_fuzz_the_header(value, place, files, tmp_path):
    """Any JSON in any place."""
    header, arrays = dismantled(files / "kernel")
    part = header
    *way, last = place.split(".")
    for step in way:
        part = part[step]
    part[last] = json.loads(json.dumps(value).replace("NaN", "0").replace("Infinity", "1"))
    assembled(tmp_path / "odd", header, arrays, seal=False)
    refused(tmp_path / "odd")


# ---------------------------------------------------------------- whole or not at all


class Interrupted:
    """Fails at the n-th array."""

    def __init__(self, error, at):
        self.error, self.left = error, at
        self.original = zipfile.ZipFile.open

    def __call__(self, archive, *args, **kwargs):
        self.left -= 1
        if self.left < 0:
            raise self.error
        return self.original(archive, *args, **kwargs)


@pytest.mark.parametrize("error", [OSError("no space left"), KeyboardInterrupt(), MemoryError()], ids=repr)
@pytest.mark.parametrize("at", [0, 1, 7])
def test_an_interrupted_save_leaves_the_old_file(error, at, tmp_path, monkeypatch):
    path = tmp_path / "model"
    rep = pretrain(VIEWS, Gaussian(1.0), 3, reg=1e-2)
    rep.save(path)
    before = path.read_bytes()
    failing = Interrupted(error, at)
    with monkeypatch.context() as patch:
        patch.setattr(zipfile.ZipFile, "open", lambda *args, **kwargs: failing(*args, **kwargs))
        with pytest.raises(type(error)):
            rep.save(path)
        failing.left = at
        with pytest.raises(type(error)):
            rep.save(tmp_path / "another")
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", lambda *_: pytest.fail("replaced"))
        patch.setattr(os, "fsync", lambda *_: (_ for _ in ()).throw(error))
        with pytest.raises(type(error)):
            rep.save(path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["model"]


def test_a_full_disk_leaves_the_old_file(tmp_path):
    """The system itself refuses to let the file grow."""
    path = tmp_path / "model"
    rep = pretrain(noisy(100, 2, 3), Gaussian(1.0), 3, reg=1e-2)
    rep.save(path)
    before = path.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    for limit in (0, 1000, len(before) - 100):
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
        try:
            with pytest.raises(OSError, match="File too large"):
                rep.save(path)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert path.read_bytes() == before
        assert [p.name for p in tmp_path.iterdir()] == ["model"]


def test_places_that_cannot_be_written(tmp_path):
    rep = pretrain(VIEWS, Gaussian(1.0), 3, reg=1e-2)
    with pytest.raises(IsADirectoryError, match="it is a folder"):
        rep.save(tmp_path)
    with pytest.raises(FileNotFoundError):
        rep.save(tmp_path / "no such folder" / "model")
    assert not list(tmp_path.iterdir())


def test_a_record_is_known_by_its_class_and_not_by_its_name():
    rep = pretrain(np.random.default_rng(0).standard_normal((9, 2, 2)), Gaussian(1.0), 2, reg=0.1)
    namesake = type("Selection", (), {"check": lambda self: None})
    with pytest.raises(ValueError, match="the selection is of class Selection"):
        check_content(dataclasses.replace(rep, selection=namesake()))
