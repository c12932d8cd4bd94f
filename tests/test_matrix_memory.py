"""The memory of large results: aligned for the tile loops, of nobody else, and gone with its array."""

import gc
import sys

import numpy as np
import pytest

from sslcore.arrays import gives_memory_back
from sslcore.backends import get_backend
from sslcore.backends.numba_cpu.gram import empty_matrix
from sslcore.gram import gram, release_memory
from sslcore.kernels import Exponential


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(100, 70), (1, 4097), (0, 5), (5, 0), (3000, 300)])
def test_a_matrix_begins_at_the_width_of_a_vector(shape, dtype):
    array = empty_matrix(*shape, dtype)
    assert type(array) is np.ndarray
    assert array.shape == shape
    assert array.dtype == dtype
    assert array.flags.c_contiguous
    assert array.flags.writeable
    assert array.size == 0 or array.ctypes.data % 64 == 0
    array[...] = 1
    assert (array == 1).all()


def test_too_large_is_a_memory_error():
    for side in (2**26, 2**31):
        with pytest.raises((MemoryError, ValueError)):
            empty_matrix(side, side, np.float64)


def test_results_are_apart():
    x = np.random.default_rng(0).standard_normal((800, 2))
    first = gram(Exponential(1.0), x)
    expected = first.copy()
    for _ in range(3):
        assert not np.shares_memory(first, gram(Exponential(2.0), x))
    assert np.array_equal(first, expected)


def test_nothing_is_kept_of_an_array_that_died():
    if not sys.platform.startswith("linux"):
        pytest.skip("reads /proc")

    def resident():
        with open("/proc/self/status") as file:
            return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmRSS"))

    x = np.random.default_rng(0).standard_normal((4000, 2))
    gram(Exponential(1.0), x[:10])
    gc.collect()
    before = resident()
    array = gram(Exponential(1.0), x)
    assert resident() - before > array.nbytes // 2
    del array
    assert resident() - before < 8 * 4000**2 // 2


def test_release(backend):
    x = backend.asarray(np.ones((30, 2)))
    gram(Exponential(1.0), x)
    release_memory(backend=backend.name)
    release_memory()
    assert get_backend(x).free_memory() > 0


def test_an_error_of_memory_on_the_cpu_passes_through():
    @gives_memory_back
    def fails():
        raise MemoryError("no more")

    with pytest.raises(MemoryError, match=r"^no more$"):
        fails()
