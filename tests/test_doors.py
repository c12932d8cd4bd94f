"""The public doors: what every one of them refuses, or takes, in the same way."""

import importlib
import importlib.util
import inspect
import types
import warnings
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

import sslcore
from sslcore import gram
from sslcore.augmentations import BitFlip, Crop, GaussianNoise
from sslcore.features import Identity, Nystrom, RandomFourier
from sslcore.kernels import Gaussian, Linear, Precomputed

from .comparators import assert_close

RNG = np.random.default_rng(0)
VIEWS = RNG.standard_normal((20, 2, 3))
X, LABELS = VIEWS[:, 0], np.arange(20) % 2
HOME = Path(sslcore.__file__).parent


# ---------------------------------------------------------------- booleans


def with_booleans():
    """(name, parameter) of every public function, method and class of which a parameter is a boolean by default."""
    modules = [getattr(sslcore, name) for name in sslcore.__all__ if name != "arrays"]  # the checks themselves
    modules = [sslcore, *(m for m in modules if isinstance(m, types.ModuleType))]
    for name in ("torch",):
        if importlib.util.find_spec(name):
            modules.append(importlib.import_module(f"sslcore.{name}"))
    found = set()
    for module in modules:
        for name in module.__all__:
            value = getattr(module, name)
            members = [(name, value)]
            if inspect.isclass(value):
                own = [value, *(base for base in value.__mro__[1:] if base.__name__.startswith("_"))]
                keys = {key for cls in own for key in vars(cls) if not key.startswith("_")}
                members += [(f"{name}.{key}", getattr(value, key)) for key in sorted(keys)]
            home = "torch." if module.__name__.endswith("torch") else ""
            for place, member in members:
                if not callable(member):
                    continue
                try:
                    parameters = inspect.signature(member).parameters.values()
                except ValueError:
                    continue
                found |= {(home + place, p.name) for p in parameters if isinstance(p.default, bool)}
    return found


def torch_loss(name, **options):
    torch = pytest.importorskip("torch")
    return getattr(importlib.import_module("sslcore.torch"), name)(torch.from_numpy(VIEWS), **options)


def curves(**options):
    options = {"pretraining_sizes": [6], "downstream_sizes": [5], "repetitions": (1, 1), "n_test": 2} | options
    return sslcore.probing.learning_curves(
        X,
        Gaussian(1.0),
        2,
        target=LABELS,
        kind="classes",
        augmentation=GaussianNoise(0.1),
        reg=0.1,
        workers=0,
        **options,
    )


BOOLEANS = {
    "Encoding": lambda **o: sslcore.tables.Encoding(["x"], **o),
    "Table": lambda **o: sslcore.tables.Table(X, None, None, **o),
    "pretrain": lambda **o: sslcore.pretrain(VIEWS, Gaussian(1.0), 2, reg=0.1, **o),
    "pretrain_path": lambda **o: sslcore.pretrain_path(VIEWS, Gaussian(1.0), 2, regs=[0.1], **o),
    "moments": lambda **o: sslcore.stream.moments(VIEWS, Identity(), **o),
    "Moments.solve": lambda **o: sslcore.Moments(Identity()).update(VIEWS).solve(2, reg=0.1, **o),
    "SSLEmbedding": lambda **o: sslcore.SSLEmbedding(Gaussian(1.0), reg=0.1, **o).fit(X),
    "SSLEmbedding.get_params": lambda **o: sslcore.SSLEmbedding(Gaussian(1.0)).get_params(**o),
    "CrossEmbedding": lambda **o: sslcore.CrossEmbedding(reg=0.1, **o).fit(X, VIEWS[:, 1]),
    "CrossEmbedding.get_params": lambda **o: sslcore.CrossEmbedding(Gaussian(1.0)).get_params(**o),
    "Crop": lambda **o: Crop(2, **o),
    "ridge_probe": lambda **o: sslcore.probing.ridge_probe(X, LABELS, 0.1, **o),
    "plan": lambda **o: sslcore.plan(10, 2, 3, Gaussian(1.0), 2, **o),
    "Representation.summary": lambda **o: REP.summary(**o),
    "BimodalRepresentation.summary": lambda **o: PAIRED.summary(**o),
    "choose": lambda **o: sslcore.defaults.choose(X, **o),
    "vicreg": lambda **o: sslcore.risk.vicreg(VIEWS, **o),
    "spectral_contrastive": lambda **o: sslcore.risk.spectral_contrastive(VIEWS, **o),
    "vicreg_hinge": lambda **o: sslcore.risk.vicreg_hinge(VIEWS, **o),
    "barlow_twins": lambda **o: sslcore.risk.barlow_twins(VIEWS, **o),
    "learning_curves": lambda **o: curves(**o),
    "LearningCurves.quantiles": lambda **o: curves(keep=True).quantiles(0.5, **o),
    "Positives.law": lambda **o: sslcore.positives.Groups(LABELS).law(X, **o),
    "torch.vicreg": lambda **o: torch_loss("vicreg", **o),
    "torch.spectral_contrastive": lambda **o: torch_loss("spectral_contrastive", **o),
}


@pytest.mark.parametrize(("name", "parameter"), sorted(with_booleans()))
def test_booleans_are_booleans(name, parameter):
    """Numbers and words have a truth value, but nobody who writes them means it."""
    call = BOOLEANS[name]
    for value in (5, 0, 1, 1.0, "no", "True", None, [], np.array([True]), np.int64(1)):
        with pytest.raises(TypeError, match=f"{parameter} must be True or False, found"):
            call(**{parameter: value})
    for value in (True, False, np.True_, np.False_):
        call(**{parameter: value})


# ---------------------------------------------------------------- arrays

POINTS = np.clip(X, -1.0, 1.0)
GROUPS = np.repeat(np.arange(10), 2)
REP = sslcore.pretrain(VIEWS, Gaussian(1.0), 2, reg=0.1)
PAIRED = sslcore.pretrain((X, VIEWS[:, 1]), (Gaussian(1.0), Gaussian(1.0)), 2, reg=0.1)
ON_FEATURES = sslcore.pretrain(VIEWS, Identity(), 2, reg=0.1)
SIGNS, UNIT = np.sign(X), X / np.linalg.norm(X, axis=1, keepdims=True)
CUBE = sslcore.population.Hypercube(3)
ESTIMATOR = {"kernel": Gaussian(1.0), "augmentation": GaussianNoise(0.1), "n_components": 2, "reg": 0.1}
RIDGE = sslcore.probing.ridge_probe(X, LABELS, 0.1)
KNN = sslcore.probing.knn_probe(X, LABELS, 3)


def fitted(views, model=None, **options):
    return sslcore.pretrain(views, model or Gaussian(1.0), 2, reg=0.1, **options).gamma


def embedding(**changes):
    pytest.importorskip("sklearn")
    return sslcore.SSLEmbedding(**(ESTIMATOR | changes))


def cross():
    pytest.importorskip("sklearn")
    return sslcore.CrossEmbedding(Gaussian(1.0), Gaussian(1.0), n_components=2, reg=0.1)


DOORS = {
    "gram x": (X, lambda a: gram.gram(Gaussian(1.0), a)),
    "gram y": (X, lambda a: gram.gram(Gaussian(1.0), X, a)),
    "kernel": (X, lambda a: Gaussian(1.0)(a)),
    "kernel y": (X, lambda a: (Gaussian(1.0) + Linear())(X, a)),
    "kernel function": (X, lambda a: sslcore.kernels.as_kernel(lambda x, y: x @ y.T)(a)),
    "kernel_product x": (X, lambda a: gram.kernel_product(Gaussian(1.0), a, X, X)),
    "kernel_product y": (X, lambda a: gram.kernel_product(Gaussian(1.0), X, a, X)),
    "kernel_product coefficients": (X, lambda a: gram.kernel_product(Gaussian(1.0), X, X, a)),
    "contrast_gram": (VIEWS, lambda a: gram.contrast_gram(Gaussian(1.0), a).mean),
    "Identity": (X, lambda a: Identity()(a)),
    "Nystrom landmarks": (X, lambda a: Nystrom(Gaussian(1.0), a)(X)),
    "Nystrom.fit": (VIEWS, lambda a: Nystrom(Gaussian(1.0), 40).fit(a)(X)),
    "RandomFourier": (X, lambda a: RandomFourier(Gaussian(1.0), 4)(a)),
    "Augmentation.views": (X, lambda a: GaussianNoise(0.1).views(a, 2, seed=0)),
    "Views": (X, lambda a: np.asarray(sslcore.Views(a, GaussianNoise(0.1), 2, 0))),
    "pretrain": (VIEWS, fitted),
    "pretrain features": (VIEWS, lambda a: fitted(a, Identity())),
    "pretrain Nystrom": (VIEWS, lambda a: fitted(a, Nystrom(Gaussian(1.0), 5))),
    "pretrain with groups": (X, lambda a: fitted(a, groups=GROUPS)),
    "pretrain Precomputed": (X @ X.T, lambda a: fitted(a, Precomputed(), groups=GROUPS)),
    "sample_weight": (1.0 + LABELS, lambda a: fitted(VIEWS, sample_weight=a)),
    "sample_weight of views": (1.0 + POINTS[:, :2] ** 2, lambda a: fitted(VIEWS, Identity(), sample_weight=a)),
    "pretrain_path": (VIEWS, lambda a: sslcore.pretrain_path(a, Gaussian(1.0), 2, regs=[0.1]).gamma),
    "Moments.update": (VIEWS, lambda a: sslcore.Moments(Identity()).update(a).solve(2, reg=0.1).gamma),
    "transform": (X, REP.transform),
    "transform of views": (VIEWS, REP),
    "transform by features": (X, ON_FEATURES),
    "vicreg": (VIEWS, sslcore.risk.vicreg),
    "spectral_contrastive": (VIEWS, sslcore.risk.spectral_contrastive),
    "vicreg_hinge": (VIEWS, sslcore.risk.vicreg_hinge),
    "barlow_twins": (VIEWS, sslcore.risk.barlow_twins),
    "ridge_probe": (X, lambda a: sslcore.probing.ridge_probe(a, LABELS, 0.1).coef),
    "ridge_probe targets": (X[:, 0], lambda a: sslcore.probing.ridge_probe(X, a, 0.1, task="regression").coef),
    "ridge predict": (X, RIDGE.decision_function),
    "ridge score": (X, lambda a: RIDGE.score(a, LABELS)),
    "knn_probe": (X, lambda a: sslcore.probing.knn_probe(a, LABELS, 3).predict(X)),
    "knn predict": (X, KNN.predict),
    "knn neighbors": (X, lambda a: KNN.neighbors(a)[0]),
    "rankme": (X, sslcore.diagnostics.rankme),
    "rankme of views": (VIEWS, sslcore.diagnostics.rankme),
    "invariance": (VIEWS, sslcore.diagnostics.invariance),
    "lidar": (VIEWS, sslcore.diagnostics.lidar),
    "cluster_learnability": (X, lambda a: sslcore.diagnostics.cluster_learnability(a, 3)),
    "intrinsic_dimension": (X, sslcore.diagnostics.intrinsic_dimension),
    "clid": (X, sslcore.diagnostics.clid),
    "collapse_report": (VIEWS, lambda a: sslcore.diagnostics.collapse_report(a).rankme),
    "alpha_req": (1.0 / np.arange(1.0, 21.0), sslcore.diagnostics.alpha_req),
    "effective_dimension": (1.0 / np.arange(1.0, 21.0), lambda a: sslcore.diagnostics.effective_dimension(a, 0.1)),
    "half_moons_probabilities": (X[:, :2], sslcore.datasets.half_moons_probabilities),
    "cube eigenfunctions": (SIGNS, lambda a: CUBE.eigenfunctions(BitFlip(0.1), Linear(), reg=0.1, n_components=3)(a)),
    "cube moments": (VIEWS.reshape(-1)[:8], lambda a: CUBE.risk(a, BitFlip(0.1))),
    "sphere harmonics": (
        UNIT,
        lambda a: sslcore.population.Sphere(3).harmonics(1)(a),
    ),
    "torus harmonics": (X, lambda a: sslcore.population.Torus(3).harmonics((1, 0, 0))(a)),
    "SSLEmbedding.fit": (X, lambda a: embedding().fit(a).representation_.gamma),
    "SSLEmbedding.fit views": (VIEWS, lambda a: embedding(input="views").fit(a).representation_.gamma),
    "SSLEmbedding.partial_fit": (
        X,
        lambda a: embedding(kernel=None, features=Identity()).partial_fit(a).representation_.gamma,
    ),
    "SSLEmbedding.transform": (X, lambda a: embedding().fit(X).transform(a)),
    "SSLEmbedding.score": (X, lambda a: embedding().fit(X).score(a)),
    "CrossEmbedding.fit": (X, lambda a: cross().fit(a, VIEWS[:, 1]).representation_.gamma),
    "CrossEmbedding.fit y": (X, lambda a: cross().fit(VIEWS[:, 1], a).representation_.gamma),
    "CrossEmbedding.transform": (X, lambda a: cross().fit(X, VIEWS[:, 1]).transform(a)),
    "CrossEmbedding.transform y": (X, lambda a: cross().fit(VIEWS[:, 1], X).transform(None, a)),
    "CrossEmbedding.score": (X, lambda a: cross().fit(X, VIEWS[:, 1]).score(a, VIEWS[:, 1])),
}
each_door = pytest.mark.parametrize("door", DOORS)
OPTIONAL = ("gram y", "kernel y", "kernel_product y", "sample_weight", "sample_weight of views")
LEFT_OUT = ("ridge_probe targets",)  # where points with a missing entry are left out: tests/test_labels.py
SKLEARN = tuple(
    door for door in DOORS if door.startswith(("SSLEmbedding", "CrossEmbedding"))
)  # which converts objects that are numbers


def masked_entry(array, place=3):
    mask = np.zeros(array.shape, bool)
    mask.flat[place] = True
    return np.ma.array(np.where(mask, 1e20, array), mask=mask)


@each_door
def test_masked_entries_have_no_value(door):
    """Refused, whatever lies under the mask, also in lists; an array without masked entries is an array."""
    right, call = DOORS[door]
    masked = masked_entry(right)
    whole = np.ma.array(right, mask=np.ma.nomask)
    forms = (masked, list(masked), np.ma.masked_invalid(np.where(masked.mask, np.nan, right)))
    for bad in () if door in LEFT_OUT else forms:
        with pytest.raises((ValueError, TypeError), match="masked entries"):
            call(bad)
    for good in (whole, np.ma.array(right, mask=np.zeros(right.shape, bool))):
        assert_close(call(good), call(right), tol=1e-12)


@each_door
@pytest.mark.parametrize("form", ["csr_array", "coo_matrix", "dok_array"])
def test_sparse_matrices_are_told_what_to_do(door, form):
    sparse = pytest.importorskip("scipy.sparse")
    right, call = DOORS[door]
    matrix = getattr(sparse, form)(np.atleast_2d(right) if right.ndim < 3 else right[:, 0])
    for bad in (matrix, [matrix, matrix]):
        if bad is matrix or door not in SKLEARN:
            with pytest.raises(TypeError, match="toarray"):
                call(bad)


@each_door
def test_negated_tensors_are_negated(door):
    """PyTorch keeps a bit in place of the product; DLPack does not know of it."""
    torch = pytest.importorskip("torch")
    right, call = DOORS[door]
    b = torch.from_numpy(-right)
    negative = torch.complex(b, b).conj().imag
    assert negative.is_neg()
    assert_close(np.asarray(call(negative)), call(right), tol=1e-12)
    assert_close(np.asarray(call(torch.from_numpy(right))), call(right), tol=1e-12)


def without_values(torch, right):
    """Tensors whose memory does not hold what they stand for."""
    values = torch.from_numpy(right)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        freed = values.clone()
        freed.untyped_storage().resize_(0)
        yield "no memory", values.to("meta")
        yield "no memory", torch._efficientzerotensor(right.shape)
        yield "no memory", freed
        yield "layout", values.to_sparse()
        yield "layout", values.float().to_mkldnn()
        yield "quantized", torch.quantize_per_tensor(values.float(), 0.1, 0, torch.quint8)
        yield "nested", torch.nested.nested_tensor(list(values)) if right.ndim > 1 else values.to_sparse()
        yield "means something else", torch.masked.masked_tensor(values, values > 0)
        with torch._subclasses.FakeTensorMode() as mode:
            yield "means something else", mode.from_tensor(values)
        yield "detach", values.clone().requires_grad_()
        yield "real numbers|real and imag", torch.complex(values, values).conj()


@each_door
def test_tensors_without_values_are_refused(door):
    torch = pytest.importorskip("torch")
    right, call = DOORS[door]
    for message, tensor in without_values(torch, right):
        with pytest.raises((TypeError, ValueError), match=f"{message}|nested|layout"):
            call(tensor)


@each_door
def test_tensors_within_torch_func_are_refused(door):
    torch = pytest.importorskip("torch")
    right, call = DOORS[door]
    with pytest.raises(TypeError, match=r"torch\.func or vmap"):
        torch.func.vmap(lambda t: torch.tensor(float(np.sum(call(t)))))(torch.from_numpy(np.stack([right, right])))


STRANGE = {
    "objects": lambda a: a.astype(object),
    "an object of missing entries": lambda a: np.where(np.arange(a.size).reshape(a.shape) == 3, None, a),
    "complex numbers": lambda a: a + 0j,
    "words": lambda a: a.astype("U8"),
    "bytes": lambda a: a.astype("S8"),
    "times": lambda a: a.astype("M8[s]"),
    "durations": lambda a: a.astype("m8[s]"),
    "records": lambda a: np.zeros(a.shape, [("a", float), ("b", float)]),
    "a long double": lambda a: a.astype(np.longdouble),
    "no dimension": lambda a: a.reshape(-1)[0],
    "five dimensions": lambda a: a.reshape((1,) * (5 - a.ndim) + a.shape),
    "no entries": lambda a: a[:0],
    "none": lambda a: None,
    "a set": lambda a: set(a.reshape(-1)),
    "a dict": lambda a: dict(enumerate(a.reshape(-1))),
    "a generator": lambda a: (row for row in a),
    "a word": lambda a: "views.npy",
    "lists of unequal lengths": lambda a: [[1.0], [2.0, 3.0]],
    "huge integers": lambda a: np.full(a.shape, 10**400, object).tolist(),
    "integers without end": lambda a: np.full(a.shape, 10**5000, object).tolist(),
    "lists in themselves": lambda a: endless(),
    "NaN": lambda a: np.where(np.arange(a.size).reshape(a.shape) == 3, np.nan, a),
    "an infinity": lambda a: np.where(np.arange(a.size).reshape(a.shape) == 3, np.inf, a),
    "an infinity in float16": lambda a: np.where(np.arange(a.size).reshape(a.shape) == 3, np.inf, a).astype("f2"),
}


def endless():
    items = []
    items.append(items)
    return items


@each_door
@pytest.mark.parametrize("strange", STRANGE)
def test_what_is_no_array_of_real_numbers(door, strange):
    """One clear error of our own, or of scikit-learn's checks."""
    right, call = DOORS[door]
    if (strange == "objects" and door in SKLEARN) or (strange == "none" and door in OPTIONAL):
        return
    if door in LEFT_OUT and strange in ("objects", "an object of missing entries", "NaN"):
        return
    with pytest.raises((TypeError, ValueError)) as caught:
        call(STRANGE[strange](right))
    assert 20 < len(str(caught.value)) < 700
    assert caught.traceback[-1].path.is_relative_to(HOME) or "sklearn" in str(caught.traceback[-1].path)


@pytest.mark.filterwarnings("ignore:X has feature names")
@each_door
def test_lists_and_tables_are_arrays(door):
    """pandas (with an index and nullable columns) and polars, lists and tuples: the numbers of the array."""
    right, call = DOORS[door]
    expected = call(right)
    forms = [right.tolist(), tuple(right), [np.asarray(row) for row in right], np.asfortranarray(right)]
    if right.ndim < 3 and importlib.util.find_spec("pandas"):
        import pandas as pd

        frame = pd.DataFrame(right) if right.ndim == 2 else pd.Series(right, name="weight")
        frame.index = pd.date_range("2020-01-01", periods=len(frame))
        missing = frame.astype("Float64")
        missing.iloc[3] = pd.NA
        for bad in (missing, frame.astype(str), frame.astype(str).astype("category"))[door in LEFT_OUT :]:
            with pytest.raises((TypeError, ValueError), match=r"(?i)nan|missing|numbers|convert"):
                call(bad)
        forms += [frame, frame.astype("Float64"), frame.astype("Sparse[float64]")]
    if right.ndim < 3 and importlib.util.find_spec("polars"):
        import polars as pl

        frame = pl.DataFrame(right) if right.ndim == 2 else pl.Series(right)
        with pytest.raises((TypeError, ValueError)):
            call(frame.with_columns(pl.lit(None).alias("column_0")) if right.ndim == 2 else pl.Series([None] * 20))
        forms.append(frame)
    for form in forms:
        assert_close(np.asarray(call(form)), expected, tol=1e-12)


def test_numbers_that_are_none():
    """Masked numbers, and integers beyond all floats, also in messages."""
    for value in (np.ma.masked, np.ma.array(0.5), np.ma.array(5, mask=True), "0.1", None, 1j, [0.1]):
        with pytest.raises(TypeError, match="must be a real number"):
            fitted(VIEWS, beta=value)
        with pytest.raises(TypeError, match="must be an integer"):
            sslcore.datasets.half_moons(value, seed=0)
    for value in (10**400, -(10**400), 10**5000, Fraction(10**400, 3), np.longdouble("1e400"), np.inf, np.nan):
        with pytest.raises(ValueError, match="must be a finite number") as caught:
            fitted(VIEWS, beta=value)
        assert len(str(caught.value)) < 200
    with pytest.raises(ValueError, match="seed must be at least 0 and at most") as caught:
        sslcore.datasets.half_moons(5, seed=10**5000)
    assert len(str(caught.value)) < 200
