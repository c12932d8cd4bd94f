"""The same data give the same bits wherever they lie: at any of 8 places in a line of the cache, and on any heap.

Machine code may add in another order where an array begins at another address, or where two lie close to each other.
Each computation is repeated with its arrays at 8 places, on heaps with holes of all sizes, so that its own arrays move
too.  Sizes are small: those of long loops' beginnings and ends.
"""

import ctypes
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from sslcore import Moments, diagnostics, pretrain, risk
from sslcore.augmentations import Affine, GaussianNoise, TangentStep
from sslcore.backends import numba_cpu
from sslcore.features import Identity, Nystrom, RandomFourier
from sslcore.fitting.nested import nested_fits
from sslcore.gram import contrast_gram, gram, kernel_product
from sslcore.kernels import Exponential, Gaussian
from sslcore.probing import knn_probe, ridge_probe
from sslcore.solvers.nearest import nearest

from .examples import kernel_examples

PLACES = range(8)
DTYPES = pytest.mark.parametrize("dtype", [np.float64, np.float32])


def normal(*shape: int, dtype: Any = np.float64, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def placed(array: np.ndarray, place: int) -> np.ndarray:
    """The array at so many of its items after a multiple of 64 bytes."""
    raw = np.empty(array.nbytes + 128, np.uint8)
    start = -raw.ctypes.data % 64 + place * array.itemsize
    out = raw[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    out[...] = array
    return out


@pytest.fixture
def shuffle_heap():
    """Make holes on the heap where malloc finds its next blocks; or fill all that there are: it takes neighbours."""
    library, held, random = ctypes.pythonapi, [], np.random.default_rng(0)
    library.PyMem_RawMalloc.restype, library.PyMem_RawMalloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    library.PyMem_RawFree.restype, library.PyMem_RawFree.argtypes = None, [ctypes.c_void_p]

    def shuffle(holes: bool) -> None:
        sizes = random.permutation(np.repeat(np.arange(16, 1024, 16), 20))
        blocks = [library.PyMem_RawMalloc(int(size)) for size in sizes]
        random.shuffle(blocks)
        kept = len(blocks) // 2 if holes else 0
        held.extend(blocks[kept:])
        for block in blocks[:kept]:
            library.PyMem_RawFree(block)

    yield shuffle
    for block in held:
        library.PyMem_RawFree(block)


def bits(result: Any) -> list[bytes]:
    if isinstance(result, list | tuple):
        return [part for item in result for part in bits(item)]
    return [np.asarray(result).tobytes()]


@pytest.fixture
def assert_same_bits(shuffle_heap):
    """Call with the arrays at each place: all at the same one, and each at its own."""

    def assertion(function: Callable[..., Any], *arrays: np.ndarray) -> None:
        wanted = None
        for place in PLACES:
            for spread in (0, 3):
                own = [placed(array, (place + spread * i) % 8) for i, array in enumerate(arrays)]
                shuffle_heap(holes=spread > 0)
                found = bits(function(*own))
                wanted = wanted or found
                assert found == wanted, f"other bits at place {place}"

    return assertion


@DTYPES
@pytest.mark.parametrize("shape", [(3, 2, 1), (5, 3, 5), (9, 2, 17), (70, 2, 64), (4, 2, 131)])
def test_risks(assert_same_bits, shape, dtype):
    def all_risks(z):
        losses = risk.vicreg, risk.spectral_contrastive, risk.vicreg_hinge, risk.barlow_twins
        found = [loss(z, return_grad=True) for loss in losses]
        return [*found, risk.vicreg(z, 0.7, unbiased=True, return_grad=True)]

    assert_same_bits(all_risks, normal(*shape, dtype=dtype))


@DTYPES
@pytest.mark.parametrize("kernel", kernel_examples(), ids=repr)
@pytest.mark.parametrize("d", [3, 61])
def test_gram_matrices(assert_same_bits, kernel, d, dtype):
    x, y = normal(21, d, dtype=dtype), normal(11, d, dtype=dtype, seed=1)
    if type(kernel).__name__ in ("PeriodicGaussian", "VonMises"):
        x, y = x % 1, y % 1

    def matrices(x, y):
        return gram(kernel, x), gram(kernel, x, y), kernel(x[:1], y)

    assert_same_bits(matrices, x, y)


@DTYPES
@pytest.mark.parametrize("m", [2, 3])
def test_rotations(assert_same_bits, m, dtype):
    def blocks(views):
        found = contrast_gram(Gaussian(1.0), views)
        return found.mean, found.cross, found.contrast

    assert_same_bits(blocks, normal(9, m, 3, dtype=dtype))


@DTYPES
def test_kernel_products(assert_same_bits, dtype):
    x, y, weights = normal(21, 3, dtype=dtype), normal(11, 3, dtype=dtype), normal(11, 3, dtype=dtype)
    assert_same_bits(lambda x, y, w: kernel_product(Exponential(1.0), x, y, w), x, y, weights)


@pytest.mark.parametrize(("k", "q", "tests"), [(1, 1, 5), (2, 3, 13), (5, 1, 17), (9, 2, 100), (17, 4, 61)])
def test_prefix_probes(assert_same_bits, k, q, tests):
    def errors(z, y, test, target):
        return numba_cpu.prefix_probes(z, y, np.array([25, 40]), test, target, np.full(k, 1e-3), 1e-6)

    assert_same_bits(errors, normal(9, 40, k), normal(9, 40, q), normal(tests, k), normal(tests, q))


@pytest.mark.parametrize("shape", [(2,), (16,), (256,), (8, 3), (64, 5)])
def test_walsh_hadamard(assert_same_bits, shape):
    assert_same_bits(numba_cpu.walsh_hadamard, normal(*shape))


@DTYPES
def test_probes(assert_same_bits, dtype):
    z, y, x = normal(40, 5, dtype=dtype), normal(40, 2), normal(13, 5, dtype=dtype)
    labels = np.arange(40) % 3

    def predictions(z, y, x):
        ridge, several = ridge_probe(z, y, 1e-2), ridge_probe(z, y, [1e-3, 1e-1])
        knn = knn_probe(z, labels, 3)
        return ridge.decision_function(x), several.decision_function(x), knn.predict(x), nearest(z, x, 3)

    assert_same_bits(predictions, z, y, x)


@DTYPES
@pytest.mark.parametrize("features", [Identity(), Nystrom(Gaussian(1.0), 7), RandomFourier(Gaussian(1.0), 12)])
def test_fits_to_features(assert_same_bits, features, dtype):
    def fit(views, x):
        rep = pretrain(views, features, 3, reg=1e-2, center=True)
        return rep.gamma, rep.coefficients, rep.intercept, rep(x)

    assert_same_bits(fit, normal(15, 2, 5, dtype=dtype), normal(5, 5, dtype=dtype))


def test_moments(assert_same_bits):
    def solved(views):
        rep = Moments(Identity()).update(views[:7]).update(views[7:]).solve(3, reg=1e-2)
        return rep.gamma, rep.coefficients

    assert_same_bits(solved, normal(15, 2, 5))


@DTYPES
@pytest.mark.parametrize("center", [False, True])
def test_fits_of_kernels(assert_same_bits, center, dtype):
    def fit(views, x):
        rep = pretrain(views, Exponential(1.0), 3, reg=1e-2, center=center)
        nested = nested_fits(views, Exponential(1.0), 3, [5, 9, 15], reg_times_n=0.3, center=center)
        return rep.gamma, rep.coefficients, rep(x), [[fit.gamma, fit.coefficients] for fit in nested]

    assert_same_bits(fit, normal(15, 2, 5, dtype=dtype), normal(5, 5, dtype=dtype))


@DTYPES
def test_diagnostics(assert_same_bits, dtype):
    def all_of_them(z, eigenvalues):
        return (
            diagnostics.rankme(z),
            diagnostics.invariance(z),
            diagnostics.lidar(z),
            diagnostics.alpha_req(eigenvalues),
            diagnostics.effective_dimension(eigenvalues, 0.1),
        )

    assert_same_bits(all_of_them, normal(15, 2, 7, dtype=dtype), np.sort(abs(normal(20)))[::-1].copy())


@DTYPES
@pytest.mark.parametrize("augmentation", [GaussianNoise(0.1), TangentStep(0.5), Affine((3, 7))], ids=repr)
def test_views(assert_same_bits, augmentation, dtype):
    x = normal(7, 21, dtype=dtype)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    assert_same_bits(lambda x: augmentation.views(x, 2, seed=0), x)
