"""The Walsh-Hadamard transform, on every backend."""

import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sslcore import tunables
from sslcore.backends import get_backend

from . import naive
from .comparators import assert_close
from .strategies import dtypes, seeds

primitives = get_backend(backend="numba")


BLOCKS = {  # the sizes of each backend, and smaller ones with which small transforms take every path
    "numba": {"BLOCK_NUMBERS": 32, "INNER_NUMBERS": 16, "BUFFER_ROWS": 4, "TASK_STRIPS": 2},
    "cupy": {"LEVELS": 2},
}


def example(d, columns, dtype, seed):
    shape = (2**d,) if columns is None else (2**d, columns)
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


@given(st.integers(0, 9), st.sampled_from([None, 1, 2, 3, 5, 8, 17]), dtypes, seeds, st.booleans())
def test_against_the_matrix_of_signs(backend, d, columns, dtype, seed, small):
    """With small blocks: eights, packed strips of uneven width, several rounds of them; on the GPU, many launches."""
    x = example(d, columns, dtype, seed)
    there = backend.asarray(x.copy())
    with pytest.MonkeyPatch.context() as patch:
        for name, value in BLOCKS[backend.name].items() if small else ():
            patch.setattr(tunables, f"{'CPU' if backend.name == 'numba' else 'CUDA'}_WALSH_{name}", value)
        if small and backend.name == "cupy":  # its tiles are as large as the source has room for
            patch.setattr(sys.modules[f"{backend.primitives.__name__}.walsh"], "tile_size", lambda: 16)
        y = backend.primitives.walsh_hadamard(there)
    assert y is there
    assert_close(backend.asnumpy(y), naive.walsh_hadamard(x), dtype=dtype)


@pytest.mark.parametrize(("d", "columns"), [(17, None), (13, 40), (1, 70_000), (16, 3), (5, 300), (2, 4097)])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_twice_is_the_identity(backend, d, columns, dtype):
    """Beyond one block, with the sizes that are used; and a unit vector has the signs of its parity."""
    walsh_hadamard = backend.primitives.walsh_hadamard
    x = example(d, columns, dtype, 0)
    y = backend.asnumpy(walsh_hadamard(walsh_hadamard(backend.asarray(x.copy()))))
    assert_close(y / dtype(2**d), x)  # of its own type: NumPy 1 takes a float32 array and an int to float64
    x[:] = 0
    x[-1] = 1
    found = backend.asnumpy(walsh_hadamard(backend.asarray(x)))
    signs = np.array([(-1.0) ** n.bit_count() for n in range(2**d)])
    assert (found.reshape(2**d, -1) == signs[:, None]).all()


def test_the_number_of_threads_does_not_matter(monkeypatch):
    x = example(18, None, np.float64, 0)
    found = []
    for threads in ("1", "3"):
        monkeypatch.setenv("SSLCORE_NUM_THREADS", threads)
        found.append(primitives.walsh_hadamard(x.copy()))
    assert (found[0] == found[1]).all()
