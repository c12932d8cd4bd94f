"""The Walsh-Hadamard transform of the CPU's backend."""

import importlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sslcore.backends import get_backend

from . import naive
from .comparators import assert_close
from .strategies import dtypes, seeds

engine = get_backend(backend="numba")
walsh = importlib.import_module(f"{engine.__name__}.walsh")


def example(d, columns, dtype, seed):
    shape = (2**d,) if columns is None else (2**d, columns)
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


@given(st.integers(0, 9), st.sampled_from([None, 1, 2, 3, 5, 8, 17]), dtypes, seeds, st.booleans())
def test_against_the_matrix_of_signs(d, columns, dtype, seed, small):
    """With small blocks every path is taken: eights, blocks, packed strips of uneven width, several rounds of them."""
    x = example(d, columns, dtype, seed)
    expected = naive.walsh_hadamard(x)
    with pytest.MonkeyPatch.context() as patch:
        if small:
            for name, value in (("BLOCK", 32), ("INNER", 16), ("ROWS", 4), ("TASK", 2)):
                patch.setattr(walsh, name, value)
        y = engine.walsh_hadamard(x)
    assert y is x
    assert_close(y, expected, dtype=dtype)


@pytest.mark.parametrize(("d", "columns"), [(17, None), (13, 40), (1, 70_000), (16, 3)])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_twice_is_the_identity(d, columns, dtype):
    """Beyond one block, with the sizes that are used; and a unit vector has the signs of its parity."""
    x = example(d, columns, dtype, 0)
    y = engine.walsh_hadamard(engine.walsh_hadamard(x.copy()))
    assert_close(y / 2**d, x)
    x[:] = 0
    x[-1] = 1
    engine.walsh_hadamard(x)
    signs = np.array([(-1.0) ** n.bit_count() for n in range(2**d)])
    assert (x.reshape(2**d, -1) == signs[:, None]).all()


def test_the_number_of_threads_does_not_matter(monkeypatch):
    x = example(18, None, np.float64, 0)
    found = []
    for threads in ("1", "3"):
        monkeypatch.setenv("SSLCORE_NUM_THREADS", threads)
        found.append(engine.walsh_hadamard(x.copy()))
    assert (found[0] == found[1]).all()
