"""Results that go where the caller says: the same values, the same memory, and targets that are refused."""

import numpy as np
import pytest

import sslcore
from sslcore import risk, tunables
from sslcore.augmentations import GaussianNoise
from sslcore.features import Identity, Nystrom
from sslcore.gram import RotatedGram, contrast_gram, gram, kernel_product
from sslcore.kernels import Exponential, Function, Gaussian, Linear, Precomputed


def points(*shape, seed=0, dtype=np.float64):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def gradient(function):
    return lambda where, z, **kw: function(z, return_grad=True, **kw)[1]


def product(kernel, *shape):
    weights = points(*shape, seed=2)
    return lambda where, x, **kw: kernel_product(kernel, x, None, where.asarray(weights, x.dtype), **kw)


def transform(model):
    rep = sslcore.pretrain(points(20, 2, 5), model, 4, reg=1e-2, center=True)
    return lambda where, x, **kw: rep.to(where.name).transform(x, **kw)


CALLS = {
    "gram": (lambda where, x, **kw: gram(Exponential(1.0), x, **kw), (12, 3), (12, 12)),
    "product": (product(Exponential(1.0), 12, 2), (12, 3), (12, 2)),
    "product, one column": (product(Gaussian(1.0) + 0.5 * Linear(), 12), (12, 3), (12,)),
    "product of a function": (product(Function(lambda x, y: x @ y.T), 12, 2), (12, 3), (12, 2)),
    "product of a matrix": (product(Precomputed(), 12, 2), (12, 12), (12, 2)),
    "vicreg": (gradient(risk.vicreg), (12, 2, 3), (12, 2, 3)),
    "spectral": (gradient(risk.spectral_contrastive), (12, 2, 3), (12, 2, 3)),
    "hinge": (gradient(risk.vicreg_hinge), (12, 2, 3), (12, 2, 3)),
    "barlow": (gradient(risk.barlow_twins), (12, 2, 3), (12, 2, 3)),
    "transform, kernel": (transform(Gaussian(1.0)), (12, 2, 5), (12, 2, 4)),
    "transform, features": (transform(Identity()), (12, 5), (12, 4)),
    "transform, landmarks": (transform(Nystrom(Gaussian(1.0), points(6, 5, seed=1))), (12, 5), (12, 4)),
}
"""Function of where the arrays lie, x and out; shape of x; shape of the result."""

each_call = pytest.mark.parametrize("name", CALLS)


@each_call
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_the_same_values_in_the_same_memory(name, dtype, backend):
    call, shape, result = CALLS[name]
    x = backend.asarray(points(*shape, dtype=dtype))
    memory = backend.xp.full((3, *result), np.nan, dtype=dtype)
    out = memory[1]
    assert call(backend, x, out=out) is out
    assert np.array_equal(backend.asnumpy(out), backend.asnumpy(call(backend, x)))
    assert np.isnan(backend.asnumpy(memory[::2])).all()


@each_call
def test_targets_that_do_not_fit(name, backend):
    call, shape, result = CALLS[name]
    x = backend.asarray(points(*shape))
    for out, error, message in (
        (backend.xp.zeros((*result[:-1], result[-1] + 1)), ValueError, "must have shape"),
        (backend.xp.zeros(result, dtype=np.float32), ValueError, "dtype float64, found .* and float32"),
        (backend.xp.zeros((*result, 2))[..., 0], ValueError, "C order"),
        (np.zeros(result).tolist(), TypeError, "must be an array of"),
    ):
        with pytest.raises(error, match=message):
            call(backend, x, out=out)
    if backend.name == "numba":
        with pytest.raises(TypeError, match=r"must be an array of numpy, .* found <class 'numpy\.ma.*MaskedArray'>"):
            call(backend, x, out=np.ma.zeros(result))
        if len(result) == 2:
            with pytest.raises(TypeError, match=r"found <class 'numpy.*matrix'>"):
                call(backend, x, out=np.zeros(result).view(np.matrix))
        frozen = np.zeros(result)
        frozen.flags.writeable = False
        with pytest.raises(ValueError, match="read-only"):
            call(backend, x, out=frozen)


@each_call
def test_a_target_apart_from_what_is_read(name, backend):
    call, shape, result = CALLS[name]
    memory = backend.asarray(points(2 * int(np.prod(np.maximum(shape, result[: len(shape)]))) + 200))
    x = memory[: int(np.prod(shape))].reshape(shape)
    size = int(np.prod(result))
    with pytest.raises(ValueError, match="share memory"):
        call(backend, x, out=memory[x.size - 1 : x.size - 1 + size].reshape(result))
    apart = memory[x.size : x.size + size].reshape(result)
    assert call(backend, x, out=apart) is apart


def test_coefficients_are_read_too(backend):
    weights = backend.asarray(points(12, 2))
    with pytest.raises(ValueError, match="share memory"):
        kernel_product(Gaussian(1.0), backend.asarray(points(12, 3)), None, weights, out=weights)


@pytest.mark.parametrize("function", [risk.vicreg, risk.spectral_contrastive, risk.vicreg_hinge, risk.barlow_twins])
def test_a_place_for_a_gradient_that_nobody_asked_for(function):
    z = points(4, 2, 3)
    with pytest.raises(ValueError, match="return_grad=True"):
        function(z, out=np.empty_like(z))


# ---------------------------------------------------------------- the rotated basis


@pytest.mark.parametrize("kernel", [Exponential(1.0), Linear(), Gaussian(1.0) + Linear()], ids=repr)
@pytest.mark.parametrize("m", [2, 3])
def test_rotated_matrices_are_written_over(kernel, m, backend):
    first, second = (backend.asarray(points(9, m, 3, seed=seed)) for seed in (0, 1))
    kept = contrast_gram(kernel, first)
    blocks = (kept.mean, kept.cross, kept.contrast)
    expected = contrast_gram(kernel, second)
    assert contrast_gram(kernel, second, out=kept) is kept
    assert all(a is b for a, b in zip(blocks, (kept.mean, kept.cross, kept.contrast), strict=True))
    for name in ("mean", "cross", "contrast"):
        found, wanted = (backend.asnumpy(getattr(g, name)) for g in (kept, expected))
        assert np.array_equal(found, wanted)


def test_rotated_matrices_that_do_not_fit():
    views = points(9, 2, 3)
    other = contrast_gram(Linear(), points(8, 2, 3))
    for out, error, message in (
        (other, ValueError, r"must have shape \(9, 9\)"),
        (contrast_gram(Linear(), views.astype(np.float32)), ValueError, "dtype float64"),
        (np.empty((9, 9)), TypeError, "must be a RotatedGram, as contrast_gram returns them, found ndarray"),
        (RotatedGram(np.empty((9, 9)), np.empty((9, 9)), np.empty((9, 18))[:, ::2], None), ValueError, "C order"),
    ):
        with pytest.raises(error, match=message):
            contrast_gram(Linear(), views, out=out)


def test_rotated_matrices_apart_from_one_another_and_from_the_views():
    memory = points(400)
    views, a, b, c = memory[:54].reshape(9, 2, 3), *(memory[s : s + 81].reshape(9, 9) for s in (60, 150, 240))
    assert contrast_gram(Linear(), views, out=RotatedGram(a, b.T, c.T, None)).mean is a
    for shared in ((a, a.T, c.T), (a, b.T, a.T), (a, b.T, b.T), (memory[50:131].reshape(9, 9), b.T, c.T)):
        with pytest.raises(ValueError, match="share memory"):
            contrast_gram(Linear(), views, out=RotatedGram(*shared, None))


# ---------------------------------------------------------------- two modalities


PAIR = points(20, 3), points(20, 2, seed=1)


@pytest.mark.parametrize("models", [(Gaussian(1.0), Exponential(1.0)), (Identity(), Identity())], ids=repr)
def test_values_of_two_modalities(models, backend):
    rep = sslcore.pretrain(PAIR, models, 3, reg=1e-2, center=True).to(backend.name)
    x, y = map(backend.asarray, PAIR)
    expected = [backend.asnumpy(z) for z in rep.transform((x, y), "probe")]
    out = tuple(backend.xp.full((20, 3), np.nan) for _ in range(2))
    for found, target, wanted in zip(rep.transform((x, y), "probe", out=out), out, expected, strict=True):
        assert found is target
        assert np.array_equal(backend.asnumpy(found), wanted)
    for pair, wanted in (((x, None), expected[0]), ((None, y), expected[1])):
        assert rep.transform(pair, "probe", out=out[0]) is out[0]
        assert np.array_equal(backend.asnumpy(out[0]), wanted)


def test_targets_of_two_modalities_that_do_not_fit():
    rep = sslcore.pretrain(PAIR, (Gaussian(1.0), Gaussian(1.0)), 2, reg=1e-2)
    x, y = PAIR[0][:, :3].copy(), PAIR[1].copy()
    good = np.empty((20, 2))
    for out, error, message in (
        (good, TypeError, "out must be a tuple of two arrays, one for each modality, found ndarray"),
        ((good,), TypeError, "found a tuple of 1"),
        ((good, None), TypeError, "found a tuple of 2"),
        ((good, good), ValueError, "must not share memory with each other"),
        ((y, good), ValueError, "nor with either modality"),
        ((good, np.empty((20, 3))), ValueError, r"must have shape \(20, 2\)"),
        ((good, [1.0]), TypeError, "must be an array of numpy"),
    ):
        with pytest.raises(error, match=message):
            rep.transform((x, y), out=out)


# ---------------------------------------------------------------- other kinds of data


def test_views_that_are_made_as_they_are_needed(monkeypatch):
    x = points(70_000, 2)
    rep = sslcore.pretrain(points(20, 2, 2), Identity(), 2, reg=1e-2)
    views = sslcore.Views(x, GaussianNoise(0.1), 2, seed=0)
    out = np.empty((70_000, 2, 2))
    assert rep.transform(views, out=out) is out
    assert np.array_equal(out, rep.transform(views))
    for wrong, error, message in (
        (
            np.empty((70_001, 2, 2)),
            ValueError,
            r"must have shape \(70000, 2, 2\) and dtype float64, found \(70001, 2, 2\)",
        ),
        (5, TypeError, "must be an array of numpy, where the work is done, found <class 'int'>"),
        (np.stack([x, x], axis=1)[:, ::-1], ValueError, "C order"),
    ):
        with pytest.raises(error, match=message):
            rep.transform(views, out=wrong)


def test_a_target_apart_from_the_samples_of_views():
    memory = points(3, 40, 2)
    rep = sslcore.pretrain(points(20, 2, 2), Identity(), 2, reg=1e-2)
    views = sslcore.Views(memory[0], GaussianNoise(0.1), 2, seed=0)
    with pytest.raises(ValueError, match="share memory"):
        rep.transform(views, out=memory[:2].reshape(40, 2, 2))
    assert rep.transform(views, out=memory[1:].reshape(40, 2, 2)).base is memory


def test_frames_give_frames():
    pandas = pytest.importorskip("pandas")
    x = points(20, 3)
    rep = sslcore.pretrain(points(20, 2, 3), Identity(), 2, reg=1e-2)
    with pytest.raises(TypeError, match="out is for arrays and Views; a DataFrame gives one of its own kind"):
        rep.transform(pandas.DataFrame(x), out=np.empty((20, 2)))


def test_the_crossing_to_a_device_comes_back_into_the_target(cp, monkeypatch):
    """NumPy arrays and ``backend="cupy"``: by blocks, into memory of the host."""
    monkeypatch.setattr(tunables, "DEVICE_BLOCK_BYTES", 5 * 3 * 8)
    rep = sslcore.pretrain(points(20, 2, 3), Gaussian(1.0), 4, reg=1e-2)
    x, out = points(12, 3, seed=3), np.empty((12, 4))
    assert rep.transform(x, out=out, backend="cupy") is out
    assert np.array_equal(out, rep.transform(x, backend="cupy"))
    assert np.allclose(out, rep.transform(x))


class Host:
    """Where tensors on the processor are worked on."""

    name = "numba"

    def __init__(self, torch):
        self.torch = torch

    def asarray(self, x, dtype):
        return self.torch.as_tensor(x, dtype=dtype)


@each_call
def test_tensors(name):
    torch = pytest.importorskip("torch")
    call, shape, result = CALLS[name]
    x, out = torch.as_tensor(points(*shape)), torch.full(result, torch.nan, dtype=torch.float64)
    assert call(Host(torch), x, out=out) is out
    assert torch.equal(out, call(Host(torch), x))
    for wrong, message in (
        (torch.zeros(result, dtype=torch.float64, requires_grad=True), "requires a gradient"),
        (torch.zeros(result, dtype=torch.complex128).conj().imag, "lazily negated"),
    ):
        with pytest.raises(TypeError, match=message):
            call(Host(torch), x, out=wrong)


class Unchangeable:
    """An array of a library whose arrays are never changed, as JAX's."""

    def __init__(self, array):
        self.array = array

    def __dlpack__(self, **kwargs):
        return self.array.__dlpack__(**kwargs)

    def __dlpack_device__(self):
        return self.array.__dlpack_device__()


@each_call
def test_arrays_that_cannot_be_changed(name, backend):
    call, shape, result = CALLS[name]
    with pytest.raises(TypeError, match=r"out is a .*Unchangeable, which cannot be written to"):
        call(backend, backend.asarray(points(*shape)), out=Unchangeable(np.zeros(result)))
