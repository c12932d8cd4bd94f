"""Bad input to the solvers: every row of the list, with what the error must say.

Functions of the other modules refuse bad input in their own files: kernels in test_kernels, features and moments in
test_features, augmentations in test_augmentations, risks in test_risk, probes in test_probing.
"""

import contextlib
import datetime
import math
import os
import signal
import subprocess
import time
import tracemalloc

import numpy as np
import pytest

import sslcore
from sslcore import Views, plan, pretrain
from sslcore.arrays import as_array
from sslcore.augmentations import BitFlip, GaussianNoise
from sslcore.errors import BackendError, CertificateError, MemoryBudgetError, NotPositiveSemidefiniteError
from sslcore.features import Identity, Nystrom, RandomFourier
from sslcore.kernels import Exponential, Function, Gaussian, Linear, Polynomial, Precomputed

from .children import started

MODELS = {
    "exact": Gaussian(1.0),
    "linear": Linear(),
    "function": lambda x, y: x @ y.T,
    "identity": Identity(),
    "nystrom": Nystrom(Gaussian(1.0), 4),
    "fourier": RandomFourier(Gaussian(1.0), 8),
}
each_model = pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)


def noisy(n=10, m=2, d=3, seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, 1, d)) + 0.3 * rng.standard_normal((n, m, d))


# ---------------------------------------------------------------- entries


@each_model
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16])
def test_nan_and_infinities(model, value, dtype):
    """The index of the first is that in the array handed over."""
    views = noisy().astype(dtype)
    views[7, 1, 2] = views[8, 0, 0] = value
    with pytest.raises(
        ValueError, match=rf"views must be finite, found {value} at index \(7, 1, 2\) .*remove or impute"
    ):
        pretrain(views, model, 2, reg=0.1)
    x = views.reshape(20, 3)
    with pytest.raises(ValueError, match=rf"views must be finite, found {value}"):
        pretrain(x, model, 2, reg=0.1, groups=np.repeat(np.arange(10), 2))


@each_model
def test_nan_in_memmaps_and_in_made_views(model, tmp_path):
    views = noisy()
    views[7, 1, 2] = np.nan
    views.tofile(tmp_path / "views.bin")
    on_disk = np.memmap(tmp_path / "views.bin", mode="r", dtype=float, shape=views.shape)
    with pytest.raises(ValueError, match=r"views must be finite, found nan at index \(7, 1, 2\)"):
        pretrain(on_disk, model, 2, reg=0.1)
    samples = np.ones((10, 3))
    samples[4, 1] = np.inf
    with pytest.raises(ValueError, match=r"x must be finite, found inf at index \(4, 1\)"):
        pretrain(Views(samples, GaussianNoise(0.1), 2, 0), model, 2, reg=0.1)
    samples.tofile(tmp_path / "x.bin")
    on_disk = np.memmap(tmp_path / "x.bin", mode="r", dtype=float, shape=samples.shape)
    with pytest.raises(ValueError, match=r"x must be finite, found inf at index \(4, 1\)"):
        pretrain(Views(on_disk, GaussianNoise(0.1), 2, 0), model, 2, reg=0.1)


def test_the_first_bad_entry_behind_many_blocks():
    views = noisy(20_000, 2, 2)
    views[19_990, 0, 1] = np.inf
    with pytest.raises(ValueError, match=r"views must be finite, found inf at index \(19990, 0, 1\)"):
        pretrain(views, Identity(), 1, reg=0.1)


@each_model
@pytest.mark.parametrize(
    ("views", "error", "message"),
    [
        (np.ones((0, 2, 3)), ValueError, r"views must not be empty, found shape \(0, 2, 3\)"),
        (np.ones((4, 0, 3)), ValueError, r"views must not be empty, found shape \(4, 0, 3\)"),
        (np.ones((4, 2, 0)), ValueError, r"views must not be empty, found shape \(4, 2, 0\)"),
        ([], ValueError, "views must have 2 or 3 dimensions|views must not be empty"),
        (
            np.ones(4),
            ValueError,
            r"views must have 2 or 3 dimensions \(n, m, d\), or \(N, d\) with groups, found shape \(4,\)",
        ),
        (np.float64(3.0), ValueError, r"views must have 2 or 3 dimensions .*found shape \(\)"),
        (np.ones((2, 2, 2, 2)), ValueError, r"views must have 2 or 3 dimensions .*found shape \(2, 2, 2, 2\)"),
        (
            np.ones((4, 3)),
            ValueError,
            r"must have 3 dimensions \(n, m, d\), found shape \(4, 3\); for \(N, d\) give groups=",
        ),
        (
            np.ones((4, 1, 3)),
            ValueError,
            r"at least one sample must have 2 or more views, found one view of each \(shape",
        ),
        (np.ones((4, 2, 3), complex), TypeError, "views must hold real numbers .*found dtype complex128"),
        (np.ones((4, 2, 3), object), TypeError, "views must hold real numbers .*found dtype object"),
        (np.full((4, 2, 3), "a"), TypeError, "views must hold real numbers .*found dtype <U1"),
        (np.zeros((4, 2, 3), "datetime64[s]"), TypeError, "views must hold real numbers .*datetime64"),
        ([[[1.0], [2.0]], [[3.0]]], ValueError, "views must be a rectangular array"),
        ("views", TypeError, "views must hold real numbers"),
        (None, TypeError, "views must hold real numbers .*found dtype object"),
    ],
    ids=lambda v: str(getattr(v, "shape", v))[:25],
)
def test_shapes_and_dtypes(model, views, error, message):
    with pytest.raises(error, match=message):
        pretrain(views, model, 1, reg=0.1)


def test_empty_memmap_and_single_made_views(tmp_path):
    path = tmp_path / "v.bin"
    np.ones(6).tofile(path)
    with pytest.raises(ValueError, match="at least one sample must have 2 or more views"):
        pretrain(np.memmap(path, mode="r", dtype=float, shape=(2, 1, 3)), Identity(), 1, reg=0.1)
    with pytest.raises(TypeError, match="complex128"):
        pretrain(np.memmap(path, mode="r", dtype=complex, shape=(1, 3, 1)), Identity(), 1, reg=0.1)
    with pytest.raises(ValueError, match="at least one sample must have 2 or more views"):
        pretrain(Views(np.ones((5, 2)), BitFlip(0.1), 1, 0), Gaussian(1.0), 1, reg=0.1)


def test_mismatched_coordinates():
    rep = pretrain(noisy(), Gaussian(1.0), 2, reg=0.1)
    with pytest.raises(ValueError, match="x and the training views must have the same number of coordinates, found 4"):
        rep(np.ones((2, 4)))
    with pytest.raises(ValueError, match="x and landmarks must have the same number of coordinates, found 3"):
        pretrain(noisy(), Nystrom(Gaussian(1.0), np.ones((2, 4)) * [[1], [2]]), 1, reg=0.1)
    features = pretrain(noisy(), Identity(), 2, reg=0.1)
    with pytest.raises(ValueError, match=r"x must have 3 coordinates like the training views, found shape \(2, 4\)"):
        features(np.ones((2, 4)))
    fourier = pretrain(noisy(), RandomFourier(Gaussian(1.0), 8), 2, reg=0.1)
    with pytest.raises(ValueError, match=r"x must have 3 coordinates like the training views, found shape \(2, 4\)"):
        fourier(np.ones((2, 4)))


# ---------------------------------------------------------------- numbers


@each_model
@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"n_components": 0}, ValueError, "n_components must be at least 1, found 0"),
        ({"n_components": -2}, ValueError, "n_components must be at least 1, found -2"),
        ({"n_components": 2.0}, TypeError, "n_components must be an integer, found 2.0"),
        ({"n_components": True}, TypeError, "n_components must be an integer, found True"),
        ({"n_components": "2"}, TypeError, "n_components must be an integer, found '2'"),
        ({"n_components": None}, TypeError, "n_components must be an integer, found None"),
        (
            {"n_components": 21},
            ValueError,
            r"n_components must be at most the number of (views|features), \d+, found 21",
        ),
        ({"reg": 0}, ValueError, "reg must be a finite number > 0, found 0|reg = 0|singular"),
        ({"reg": -1e-3}, ValueError, "reg must be a finite number >=? 0, found -0.001"),
        ({"reg": math.nan}, ValueError, "reg must be a finite number >=? 0, found nan"),
        ({"reg": math.inf}, ValueError, "reg must be a finite number >=? 0, found inf"),
        ({"reg": "best"}, TypeError, "reg must be a number > 0, found 'best'"),
        ({"reg": None}, TypeError, "reg must be a real number, found None"),
        ({"reg": 1j}, TypeError, "reg must be a real number, found 1j"),
        ({"reg": True}, TypeError, "reg must be a real number, found True"),
        ({"reg": np.array([0.1])}, TypeError, "reg must be a real number"),
        ({"beta": -0.1}, ValueError, "beta must be a finite number >= 0, found -0.1"),
        ({"beta": math.nan}, ValueError, "beta must be a finite number >= 0, found nan"),
        ({"beta": math.inf}, ValueError, "beta must be a finite number >= 0, found inf"),
        ({"beta": "1"}, TypeError, "beta must be a real number, found '1'"),
        ({"unbiased": 1}, TypeError, "unbiased must be True or False, found 1"),
        ({"center": None}, TypeError, "center must be True or False, found None"),
        ({"memory": -1}, ValueError, "memory must be at least 1"),
        (
            {"memory": "8 gallons"},
            ValueError,
            "memory must be a number of bytes, at least 1, or a string such as '8GB' or '500MiB'",
        ),
        ({"memory": 2.5}, TypeError, "memory must be an integer"),
        ({"backend": "abacus"}, ValueError, "backend must be one of 'numba', 'cupy' or None, found 'abacus'"),
    ],
    ids=lambda v: str(v)[:30],
)
def test_numbers(model, change, error, message):
    if change.get("reg") == 0 and type(change["reg"]) is int and model is MODELS["identity"]:
        assert np.isfinite(pretrain(noisy(), model, 2, reg=0).gamma).all()  # allowed: its Sigma is positive definite
        return
    arguments = {"n_components": 2, "reg": 0.1} | change
    with pytest.raises(error, match=message):
        pretrain(noisy(), model, **arguments)


def test_zero_and_numpy_numbers_are_numbers():
    rep = pretrain(noisy(), Gaussian(1.0), np.int64(2), reg=np.float32(0.25), beta=np.int32(1), center=np.True_)
    assert (rep.reg, rep.beta, rep.center) == (0.25, 1.0, True)
    assert pretrain(noisy(), Gaussian(1.0), 2, reg=np.array(0.25)).reg == 0.25
    for zero in (
        0,
        0.0,
        np.float32(0),
        np.int64(0),
        np.array(0.0),
    ):  # single views are allowed with beta = 0 of any type
        assert pretrain(noisy(m=1), Gaussian(1.0), 2, reg=0.1, beta=zero).beta == 0


@pytest.mark.parametrize(
    ("model", "error", "message"),
    [
        (None, TypeError, "a kernel of sslcore.kernels or a callable was expected, found NoneType"),
        ("gaussian", TypeError, "a kernel of sslcore.kernels or a callable was expected, found str"),
        (Gaussian, TypeError, r"a kernel was expected, found the class Gaussian; write Gaussian\(...\)"),
        (Identity, TypeError, r"Identity"),
        (3.0, TypeError, "found float"),
    ],
)
def test_models(model, error, message):
    with pytest.raises(error, match=message):
        pretrain(noisy(), model, 2, reg=0.1)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Gaussian(-1.0), "scale must be a finite number > 0, found -1.0"),
        (lambda: Gaussian(math.nan), "scale must be a finite number > 0, found nan"),
        (lambda: Polynomial(0), "degree must be at least 1"),
        (lambda: Polynomial(2, -1.0), "offset must be a finite number >= 0"),
        (lambda: GaussianNoise(-0.1), "scale must be a finite number >= 0"),
        (lambda: BitFlip(1.5), "p must be a finite number >= 0 and <= 1"),
    ],
)
def test_parameters_out_of_range(make, message):
    """All of them are in test_kernels and test_augmentations."""
    with pytest.raises(ValueError, match=message):
        make()


# ---------------------------------------------------------------- groups and weights


@each_model
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"groups": np.arange(5)}, r"groups must name the sample of each of the 6 views, found shape \(5,\)"),
        ({"groups": np.zeros((6, 1))}, r"groups must name the sample of each of the 6 views, found shape \(6, 1\)"),
        ({"groups": [0, 0, 1, 1, np.nan, 2]}, "the group of view 4 is missing"),
        ({"groups": np.arange(6)}, "at least one sample must have 2 or more views"),
        ({"sample_weight": np.ones(5)}, r"sample_weight must have shape \(6,\) .*found \(5,\)"),
        ({"sample_weight": np.ones((6, 1))}, r"sample_weight must have shape \(6,\)"),
        ({"sample_weight": [1, 1, 0, 1, 1, 1]}, "sample_weight must be positive, found 0.0; leave such samples out"),
        ({"sample_weight": [1, 1, -1, 1, 1, 1]}, "sample_weight must be positive, found -1.0"),
        ({"sample_weight": [1, 1, np.nan, 1, 1, 1]}, r"sample_weight must be finite, found nan at index \(2,\)"),
        (
            {"sample_weight": [1e300, 1, 1e-300, 1, 1, 1]},
            "entries that are 0 beside its largest; leave them out",
        ),
        ({"sample_weight": np.ones(())}, "sample_weight must have 1 or 2 dimensions"),
    ],
    ids=lambda v: str(v)[:40],
)
def test_groups_and_weights(model, change, message):
    arguments = {"groups": [0, 0, 1, 1, 2, 2]} | change
    with pytest.raises(ValueError, match=message):
        pretrain(noisy(6, 1)[:, 0], model, 2, reg=0.1, **arguments)


def test_groups_and_weights_of_arrays():
    with pytest.raises(
        ValueError, match=r"with groups, views must have 2 dimensions \(N, d\), found shape \(10, 2, 3\)"
    ):
        pretrain(noisy(), Gaussian(1.0), 2, reg=0.1, groups=np.arange(10))
    with pytest.raises(ValueError, match=r"sample_weight must have shape \(10,\) .* or \(10, 2\), found \(20,\)"):
        pretrain(noisy(), Gaussian(1.0), 2, reg=0.1, sample_weight=np.ones(20))
    with pytest.raises(TypeError, match="sample_weight must hold real numbers"):
        pretrain(noisy(), Gaussian(1.0), 2, reg=0.1, sample_weight=np.ones(10, complex))
    for weight in (1e-300, 5e-324, 1e308):  # only ratios matter
        for model in (Gaussian(1.0), Identity()):
            extreme = pretrain(noisy(), model, 2, reg=1e-2, sample_weight=np.full(10, weight))
            assert np.allclose(extreme.gamma, pretrain(noisy(), model, 2, reg=1e-2).gamma, rtol=1e-10)
    for weight, word in ((1e308, "large"), (1e-300, "small")):  # here their size is that beside other data
        with pytest.raises(ValueError, match=f"sample_weight is too {word} for sums of its products, .* divide all"):
            sslcore.Moments(Identity()).update(noisy(), sample_weight=np.full(10, weight))


# ---------------------------------------------------------------- matrices that are not kernels


def spectrum(views, function):
    x = views.reshape(-1, views.shape[-1])
    return np.linalg.eigvalsh(function(x, x))


@pytest.mark.parametrize("size", [1.0, 1e8, 1e-8])
@pytest.mark.parametrize("beta", [0.0, 1.0])
def test_a_function_that_is_not_positive_semidefinite(size, beta):
    """The error names the eigenvalue of the Gram matrix, and carries it."""
    views = noisy(30)

    def distance(x, y):
        return size * np.sqrt(((x[:, None] - y) ** 2).sum(axis=2))

    lowest = spectrum(views, lambda x, y: distance(x, y) + 5 * size)[0]
    model = Function(lambda x, y: distance(x, y) + 5 * size)
    with pytest.raises(
        NotPositiveSemidefiniteError, match=r"not positive semi-definite: .*has the eigenvalue -"
    ) as caught:
        pretrain(views, model, 2, reg=0.1 * size, beta=beta)
    assert caught.value.eigenvalue == pytest.approx(lowest, rel=1e-6)
    assert f"{lowest:.3g}"[:4] in str(caught.value)
    # a small negative eigenvalue counts too
    mixed = spectrum(views, lambda x, y: Gaussian(2.0)(x, y) - 1e-5 * Exponential(1.0)(x, y))
    assert -1e-4 < mixed[0] < -1e-7
    with pytest.raises(NotPositiveSemidefiniteError) as caught:
        pretrain(views, lambda x, y: Gaussian(2.0)(x, y) - 1e-5 * Exponential(1.0)(x, y), 2, reg=0.1, beta=beta)
    assert caught.value.eigenvalue == pytest.approx(mixed[0], rel=1e-5)


def test_a_negative_diagonal_and_combinations():
    views = noisy(30)
    with pytest.raises(NotPositiveSemidefiniteError) as caught:
        pretrain(views, lambda x, y: -(x @ y.T), 2, reg=0.1)
    assert caught.value.eigenvalue < 0
    with pytest.raises(NotPositiveSemidefiniteError):
        pretrain(views, Function(lambda x, y: -(x @ y.T)) + Gaussian(1.0), 2, reg=0.1)
    with pytest.raises(NotPositiveSemidefiniteError):
        pretrain(
            views, Function(lambda x, y: np.cos(3 * np.abs(x[:, :1] - y[:, :1].T) ** 1.5)) * Gaussian(3.0), 2, reg=0.1
        )
    with pytest.raises(ValueError, match="the kernel is zero at all views; there is nothing to represent"):
        pretrain(views, lambda x, y: np.zeros((len(x), len(y))), 2, reg=0.1)


def test_precomputed_that_is_not_positive_semidefinite():
    rng = np.random.default_rng(0)
    q, _ = np.linalg.qr(rng.standard_normal((20, 20)))
    for lowest in (-0.5, -1e-5):
        values = np.concatenate([[lowest], rng.uniform(0.1, 2, 19)])
        matrix = (q * values) @ q.T
        matrix = (matrix + matrix.T) / 2
        with pytest.raises(NotPositiveSemidefiniteError, match="eigenvalue -") as caught:
            pretrain(matrix.reshape(10, 2, 20), Precomputed(), 2, reg=0.1)
        assert caught.value.eigenvalue == pytest.approx(lowest, rel=1e-4)
    # rounding is forgiven
    values[0] = -1e-15
    matrix = (q * values) @ q.T
    pretrain(((matrix + matrix.T) / 2).reshape(10, 2, 20), Precomputed(), 2, reg=0.1)


def test_matrices_that_are_not_symmetric_or_not_square():
    matrix = Gaussian(1.0)(noisy().reshape(-1, 3))
    broken = matrix.copy()
    broken[3, 17] += 1e-3
    with pytest.raises(ValueError, match=r"the kernel matrix must be symmetric, .*differ from their mirror by 0\.001"):
        pretrain(broken.reshape(10, 2, 20), Precomputed(), 2, reg=0.1)
    with pytest.raises(ValueError, match="must be the Gram matrix of the N = 20 views, with N columns, found 7"):
        pretrain(matrix[:, :7].reshape(10, 2, 7), Precomputed(), 2, reg=0.1)
    with pytest.raises(ValueError, match="the kernel matrix must be symmetric"):
        pretrain(noisy(), lambda x, y: x @ y.T + x[:, :1], 2, reg=0.1)
    with pytest.raises(ValueError, match="the kernel matrix must be symmetric"):
        pretrain(noisy(), Gaussian(1.0) + Function(lambda x, y: x[:, :1] @ y[:, 1:2].T), 2, reg=0.1)
    rounded = matrix * (1 + 1e-15 * np.random.default_rng(0).standard_normal(matrix.shape))
    pretrain(rounded.reshape(10, 2, 20), Precomputed(), 2, reg=0.1)


def test_functions_that_return_nonsense():
    for function, error, message in (
        (lambda x, y: np.ones((3, 3)), ValueError, "the kernel function must return shape"),
        (lambda x, y: np.full((len(x), len(y)), np.nan), ValueError, "the kernel function's result must be finite"),
        (lambda x, y: 1.0, ValueError, "the kernel function's result must have 2 dimensions"),
        (lambda x, y: 1 / 0, ZeroDivisionError, "division"),
    ):
        with pytest.raises(error, match=message):
            pretrain(noisy(), function, 2, reg=0.1)


# ---------------------------------------------------------------- degenerate data


@each_model
@pytest.mark.parametrize("value", [0.0, 1.0, -3.7, 1e100, 1e-100])
@pytest.mark.parametrize("center", [False, True])
def test_constant_data(model, value, center):
    views = np.full((10, 2, 3), value)
    for data, options in ((views, {}), (views.reshape(20, 3), {"groups": np.repeat(np.arange(10), 2)})):
        with pytest.raises(
            ValueError, match="constant: all views are the same point, and there is nothing to represent"
        ):
            pretrain(data, model, 1, reg=0.1, center=center, **options)


def test_constant_data_that_is_made():
    with pytest.raises(ValueError, match="constant: all views are the same point"):
        pretrain(Views(np.ones((8, 2)), BitFlip(0.0), 2, 0), Gaussian(1.0), 1, reg=0.1)
    # one point that differs is enough
    views = np.ones((10, 2, 3))
    views[5, 1, 1] = 2.0
    for model in (Gaussian(1.0), Identity()):
        assert pretrain(views, model, 1, reg=1e-4, center=True).certificate.rank == 1


@each_model
@pytest.mark.parametrize("center", [False, True])
def test_duplicated_samples_work(model, center):
    """Few distinct points, every sample many times: singular to the bit."""
    views = np.repeat(noisy(5), 8, axis=0)
    rep = pretrain(views, model, 3, reg=1e-3, center=center)
    assert rep.certificate.worst < 1e-8
    assert np.isfinite(rep.embedding).all()
    z = rep.embedding.reshape(8 * 5, 2, 3)
    assert np.allclose(z[0::8], z[7::8], atol=1e-8)
    if not isinstance(model, Nystrom | RandomFourier):
        once = pretrain(noisy(5), model, 3, reg=1e-3, center=center)
        assert np.allclose(once.gamma, rep.gamma, rtol=1e-9)


@pytest.mark.parametrize("size", [1e150, 1e-150])
@pytest.mark.parametrize("center", [False, True])
@pytest.mark.parametrize(
    "make",
    [
        lambda s: (Gaussian(1.5 * s), 1e-2),
        lambda s: (Exponential(1.5 * s), 1e-2),
        lambda s: (Linear(), 1e-2 * s * s),
        lambda s: (Identity(), 1e-2 * s * s),
        lambda s: (Nystrom(Gaussian(1.5 * s), 6), 1e-2),
        lambda s: (Nystrom(Linear(), 6), 1e-2 * s * s),
        lambda s: (RandomFourier(Gaussian(1.5 * s), 8), 1e-2),
    ],
    ids=["gaussian", "exponential", "linear", "identity", "nystrom", "nystrom linear", "fourier"],
)
def test_huge_and_tiny_scales(make, size, center):
    """With the parameters in the same unit the problem is the same."""
    views = noisy(12)
    model, reg = make(1.0)
    expected = pretrain(views, model, 3, reg=reg, center=center)
    model, reg = make(size)
    rep = pretrain(views * size, model, 3, reg=reg, center=center)
    assert np.allclose(rep.gamma, expected.gamma, rtol=1e-9)
    assert np.allclose(np.abs(rep.embedding), np.abs(expected.embedding), atol=1e-7)
    assert np.allclose(np.abs(rep(views[:3] * size)), np.abs(expected(views[:3])), atol=1e-7)


@pytest.mark.parametrize("size", [1e160, 1e300])
@pytest.mark.parametrize("model", [Linear(), Polynomial(2), Identity(), Gaussian(1.0), Nystrom(Linear(), 3)], ids=repr)
def test_scales_that_overflow(model, size):
    with pytest.raises(ValueError, match="rescale"):
        pretrain(noisy(12) * size, model, 2, reg=0.1)


def test_one_unit_for_the_data_and_another_for_the_kernel():
    """Points many lengths apart (K = I), or all within a hair (K = 1): answered, without NaN."""
    far = pretrain(noisy(12) * 1e150, Gaussian(1.0), 3, reg=1e-2)
    assert np.isfinite(far.embedding).all()
    near = pretrain(noisy(12) * 1e-150, Gaussian(1.0), 3, reg=1e-2)
    assert near.certificate.rank == 1
    assert np.allclose(near.eigenvalues[0], 0.99)
    tiny = pretrain(noisy(12) * 1e-150, Linear(), 3, reg=1e-2)
    assert tiny.n_active == 0
    assert (tiny.embedding == 0).all()


# ---------------------------------------------------------------- memory


def peak_of(action):
    """Peak of traced memory during an action that raises, and the error."""
    tracemalloc.start()
    try:
        with pytest.raises(MemoryBudgetError) as caught:
            action()
        return tracemalloc.get_traced_memory()[1], caught.value
    finally:
        tracemalloc.stop()


def test_memory_budget_of_the_exact_solver():
    """6,000 views in 20 MB: said before anything is allocated, with the numbers and with an option that fits."""
    x = np.random.default_rng(0).standard_normal((3000, 4))
    views = Views(x, GaussianNoise(0.1), 2, 0)
    pretrain(views[:10], Gaussian(1.0), 3, reg=0.1)
    peak, error = peak_of(lambda: pretrain(views, Gaussian(1.0), 3, reg=0.1, memory="20MB", solver="dense"))
    assert peak < 1e5  # the views alone would be 2e5
    assert str(error).startswith("this exact fit needs ")
    needed = plan(3000, 2, 4, Gaussian(1.0), 3).bytes
    assert f"{needed / 1e6:.3g} MB of memory, the budget is 20 MB" in str(error)
    assert "nothing was allocated" in str(error)
    assert "sslcore.features.Nystrom(kernel, " in str(error)
    assert isinstance(error, MemoryError)
    # the option that is named fits
    option = int(str(error).split("Nystrom(kernel, ")[1].split(")")[0])
    assert plan(3000, 2, 4, Nystrom(Gaussian(1.0), option), 3, memory="20MB").bytes <= 20e6
    assert pretrain(views, Nystrom(Gaussian(1.0), option), 3, reg=1e-3, memory="20MB").n_active == 3
    # where no features fit either, none are named
    _, error = peak_of(lambda: pretrain(views, Gaussian(1.0), 3, reg=0.1, memory="10kB"))
    assert "Nystrom" not in str(error)
    assert "use fewer samples" in str(error)


def test_memory_budget_of_the_feature_solver():
    views = np.zeros((10, 2, 3000))
    peak, error = peak_of(lambda: pretrain(views, Identity(), 3, reg=0.1, memory="50MB"))
    assert peak < 1e6
    assert "this features fit needs " in str(error)
    assert "use fewer features than 3000" in str(error)


def test_memory_budget_of_a_huge_problem_by_default():
    """What no machine has is refused by default; nothing of the 8 TB of views is made."""
    x = np.lib.stride_tricks.as_strided(np.zeros(1), (1_000_000_000, 2), (0, 0))
    peak, error = peak_of(lambda: sslcore.plan(1_000_000_000, 2, 2, Gaussian(1.0), 3))
    assert peak < 1e6
    assert " TB of memory" in str(error)
    del x


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("1000", 1000),
        ("2kB", 2000),
        ("3 MB", 3e6),
        ("1.5GB", 1.5e9),
        ("2GiB", 2 * 2**30),
        ("500MiB", 500 * 2**20),
        ("1T", 1e12),
    ],
)
def test_sizes_in_words(text, size):
    from sslcore.fitting.plan import memory_budget

    assert memory_budget(text) == int(size)
    assert memory_budget(int(size)) == int(size)


def test_the_plan_is_kept():
    """Peak memory of fits as traced: at most what the plan says."""
    for n, m, model in ((400, 2, Exponential(1.0)), (300, 3, Gaussian(1.0)), (400, 2, Function(Gaussian(1.0)))):
        views = noisy(n, m, 3)
        pretrain(views, model, 3, reg=1e-3)  # compiles, which takes memory too
        tracemalloc.start()
        try:
            rep = pretrain(views, model, 3, reg=1e-3)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak <= 1.1 * rep.certificate.bytes, (n, m, model)
        assert rep.certificate.bytes == plan(n, m, 3, model, 3).bytes


# ---------------------------------------------------------------- certificates


def test_a_result_that_misses_its_tolerance():
    """reg far below the rounding of the Gram matrix: refused with the evidence, never returned."""
    views = noisy(200, 2, 2)
    with pytest.raises(
        CertificateError, match=r"residual of .* above the tolerance 1e-06: reg is below .*raise reg"
    ) as caught:
        pretrain(views, Gaussian(1.0), 5, reg=1e-15)
    certificate = caught.value.certificate
    assert isinstance(certificate, sslcore.Certificate)
    assert certificate.worst > certificate.tolerance == 1e-6
    # what the message advises works
    assert pretrain(views, Gaussian(1.0), 5, reg=1e-7).certificate.worst < 1e-6
    assert pretrain(views, Nystrom(Gaussian(1.0), 100), 5, reg=1e-10).certificate.worst < 1e-6
    with pytest.raises((CertificateError, NotPositiveSemidefiniteError), match="raise reg"):
        pretrain(views.astype(np.float32), Gaussian(1.0), 5, reg=1e-9)
    assert pretrain(views.astype(np.float32), Gaussian(1.0), 5, reg=1e-3).certificate.tolerance == 3e-3


@pytest.mark.parametrize("reg", [1e-17, 1e-20, 1e-30, 1e-100, 1e-300])
@pytest.mark.parametrize("model", [Gaussian(1.0), Exponential(1.0), Linear(), Identity()], ids=repr)
def test_absurdly_small_reg_is_answered_well_or_refused(model, reg):
    with contextlib.suppress(CertificateError, NotPositiveSemidefiniteError):
        rep = pretrain(noisy(60, 2, 2), model, 2, reg=reg)
        assert rep.certificate.worst <= 1e-6
        matrix = model(rep.centres) if rep.centres is not None else None
        if matrix is not None:
            assert np.allclose(matrix @ rep.coefficients, rep.transform(rep.centres, scale="unit"), atol=1e-5)
            assert np.allclose(rep.values.reshape(-1, 2).T @ rep.values.reshape(-1, 2) / 120, np.eye(2), atol=1e-5)


def test_absurdly_large_reg():
    for model in (Gaussian(1.0), Identity()):
        rep = pretrain(noisy(), model, 2, reg=1e300)
        assert rep.n_active == 0
        assert rep.risk == 2.0
        assert (rep.embedding == 0).all()


@pytest.mark.parametrize("beta", [1e-300, 1e-12, 1e-6, 1e6])
@pytest.mark.parametrize("model", [Exponential(1.0), Gaussian(1.0), Identity()], ids=repr)
def test_extreme_beta(beta, model):
    """Hardly any invariance, or hardly anything but."""
    rep = pretrain(noisy(20), model, 2, reg=1e-2, beta=beta)
    assert rep.certificate.worst <= 1e-6
    if beta < 1:
        assert rep.certificate.worst <= 1e-12
        expected = pretrain(noisy(20), model, 2, reg=1e-2, beta=0)
        assert np.allclose(rep.gamma, expected.gamma, rtol=1e-4 if beta == 1e-6 else 1e-9)


# ---------------------------------------------------------------- backends


def test_backends_that_are_not_there(without_cupy):
    for call in (
        lambda b: pretrain(noisy(), Gaussian(1.0), 2, reg=0.1, backend=b),
        lambda b: pretrain(noisy(), Identity(), 2, reg=0.1, backend=b),
        lambda b: Gaussian(1.0)(np.ones((2, 2)), backend=b),
        lambda b: Identity()(np.ones((2, 2)), backend=b),
        lambda b: sslcore.gram.contrast_gram(Gaussian(1.0), noisy(), backend=b),
        lambda b: pretrain(noisy(), Gaussian(1.0), 2, reg=0.1).transform(np.ones((2, 3)), backend=b),
        lambda b: sslcore.Moments(Identity(), backend=b).update(noisy()),
    ):
        with pytest.raises(BackendError, match="the 'cupy' backend is not available here"):
            call("cupy")
        with pytest.raises(ValueError, match="backend must be one of"):
            call("cuda")
        call("numba")


@each_model
def test_no_model_falls_back_to_the_cpu(model, without_cupy):
    with pytest.raises(BackendError, match="the 'cupy' backend is not available here"):
        pretrain(noisy(), model, 2, reg=0.1, backend="cupy")


class FakeDeviceArray(np.ndarray):
    """An array that says it lives elsewhere."""


FakeDeviceArray.__module__ = "cupy.fake"


def test_arrays_of_a_backend_that_is_not_there(without_cupy):
    views = noisy().view(FakeDeviceArray)
    with pytest.raises(BackendError, match="the 'cupy' backend is not available here"):
        pretrain(views, Gaussian(1.0), 2, reg=0.1)
    with pytest.raises(BackendError, match="backend='numba' cannot take arrays of backend 'cupy'"):
        pretrain(views, Gaussian(1.0), 2, reg=0.1, backend="numba")
    with pytest.raises(BackendError, match="mixed"):
        Gaussian(1.0)(np.ones((2, 2)), np.ones((2, 2)).view(FakeDeviceArray))


# ---------------------------------------------------------------- Ctrl-C


INTERRUPTED = """
import signal, sys, time
import numpy as np
import sslcore

rng = np.random.default_rng(0)
x = rng.standard_normal(({n}, 3))
views = x[:, None] + 0.1 * rng.standard_normal(({n}, 2, 3))
model = {model}
small = sslcore.pretrain(views[:50], model, 3, reg=1e-3)
print("ready", flush=True)
try:
    while True:
        sslcore.pretrain(views, model, 3, reg=1e-3)
except KeyboardInterrupt:
    stopped = time.perf_counter()
    again = sslcore.pretrain(views[:50], model, 3, reg=1e-3)
    assert np.array_equal(again.gamma, small.gamma)
    print("interrupted", flush=True)
    if {reraise}:
        raise
"""


@pytest.mark.skipif(os.name != "posix", reason="sends SIGINT")
@pytest.mark.parametrize("reraise", [False, True])
@pytest.mark.parametrize(
    ("model", "n"),
    [
        ("sslcore.kernels.Exponential(1.0)", 1500),
        ("sslcore.features.Nystrom(sslcore.kernels.Gaussian(1.0), 64)", 30_000),
    ],
)
def test_ctrl_c_during_a_fit(model, n, reraise):
    """Interrupted at some moment of the work: KeyboardInterrupt, soon; the process can fit again, and ends cleanly."""
    code = INTERRUPTED.format(model=model, n=n, reraise=reraise)
    environment = os.environ | {"SSLCORE_NUM_THREADS": "3"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with started("-c", code, **pipes, text=True, env=environment) as process:
        assert process.stdout.readline() == "ready\n"
        time.sleep(0.35)
        begun_at = time.perf_counter()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
        assert time.perf_counter() - begun_at < 20  # one block of work or one factorisation, on a busy machine
    assert out == "interrupted\n", err
    if reraise:
        assert process.returncode == -signal.SIGINT
        assert err.strip().endswith("KeyboardInterrupt")
    else:
        assert process.returncode == 0, err
        assert err == ""


def frames_that_hold_no_numbers():
    """(library, frame, what is said)."""
    pl, pa, pd = (pytest.importorskip(name) for name in ("polars", "pyarrow", "pandas"))
    days, x = [datetime.date(2020, 1, 1 + i) for i in range(9)], np.arange(9.0)
    words = ["a", "b", "c"] * 3
    return [
        (pl.DataFrame({"when": days, "x": x}), TypeError, "found the column 'when' of dtype Date; select"),
        (pl.DataFrame({"w": words, "x": x}), TypeError, "'w' of dtype String; .*categories='one-hot'"),
        (pa.table({"when": pa.array(days), "x": x}), TypeError, "'when' of dtype date32"),
        (pa.table({"w": pa.array(words).dictionary_encode(), "x": x}), TypeError, "'w' of dtype dictionary"),
        (pd.DataFrame({"w": words, "x": x}), TypeError, "found the column 'w' of dtype"),
        (pl.DataFrame({"x": x}).lazy(), TypeError, r"found a LazyFrame, .*; use its collect\(\)"),
        (pd.DataFrame(np.eye(9)[:, :3], columns=list("aba")), ValueError, "X has two columns named 'a'; rename one"),
        (np.array([[1, "a"]] * 9, object), ValueError, "X must hold real numbers, found words in column 1: .*one-hot"),
        (np.array([["b", 1, "2", "a"]] * 9, object), ValueError, "found words in columns 0, 3: could"),
        (
            pd.DataFrame({"v": words, "w": words, "x": x}),
            TypeError,
            "columns 'v' of dtype .*, 'w' of .* convert them",
        ),
        (
            pl.DataFrame({f"c{i}": words for i in range(11)}),
            TypeError,
            "columns 'c0' of .*, 'c7' of .* and 3 more; ",
        ),
        (pd.DataFrame({"x": [*x[:8], None]}), ValueError, r"X contains NaN, the first at index \(8, 0\); 1 entries"),
        (np.array([[1.0, np.inf]] * 9), ValueError, r"X contains infinity, the first at index \(0, 1\); 9 .*impute"),
    ]


def test_columns_that_are_equal_have_names_of_their_own():
    """The columns of a table of pyarrow are its data, not their names."""
    pytest.importorskip("sklearn")
    pa = pytest.importorskip("pyarrow")
    x = np.random.default_rng(0).normal(size=(30, 2))
    equal = np.column_stack([x, x[:, 0]])
    table = pa.table({name: equal[:, i] for i, name in enumerate("abc")})
    assert sslcore.SSLEmbedding().fit(table).n_features_in_ == 3


def test_frames_that_hold_no_numbers():
    """One sentence says what was found and what to do; dates would be numbers to NumPy."""
    pytest.importorskip("sklearn")
    for frame, error, message in frames_that_hold_no_numbers():
        with pytest.raises(error, match=message):
            sslcore.SSLEmbedding().fit(frame)
    pl, pa = pytest.importorskip("polars"), pytest.importorskip("pyarrow")
    good = {"a": [True, False, True], "b": [1, 2, 3], "c": [0.5, 1.5, 2.5]}
    for frame in (pl.DataFrame(good), pa.table(good)):
        assert as_array(frame, "x", ndim=2).tolist() == [[1, 1, 0.5], [0, 2, 1.5], [1, 3, 2.5]]
    with pytest.raises(TypeError, match=r"found LazyFrame; collect\(\) it first"):
        sslcore.tables.read(pl.DataFrame(good).lazy())
