"""Hypothesis strategies: shapes around block edges, dtypes, memory layouts, arrays from seeds.

Hypothesis draws a seed and NumPy makes the array: much faster than drawing entries, and it shrinks to
small shapes and seeds all the same.
"""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

LAYOUTS = ("C", "F", "strided", "reversed", "readonly")

dtypes = st.sampled_from([np.dtype(np.float64), np.dtype(np.float32)])
layouts = st.sampled_from(LAYOUTS)
seeds = st.integers(0, 2**32 - 1)


def sizes(block, minimum=1, blocks=2):
    """Sizes around the edges of ``block``: minimum.., B-1, B, B+1, 2B-1, 2B, 2B+1, ..., and a few between."""
    edges = sorted({b * block + e for b in range(blocks + 1) for e in (-1, 0, 1)} | {minimum, minimum + 1})
    edges = [e for e in edges if e >= minimum]
    return st.sampled_from(edges) | st.integers(minimum, max(minimum, blocks * block + 1))


@st.composite
def shapes(draw, block=8, minimum=(1, 1, 1), max_views=4, max_width=9):
    """Shapes (n, m, d) with n around the edges of ``block``."""
    return (
        draw(sizes(block, minimum[0])),
        draw(st.integers(minimum[1], max_views)),
        draw(st.integers(minimum[2], max_width)),
    )


def with_layout(array, layout):
    """The same values, arranged otherwise in memory."""
    if layout == "F":
        return np.asfortranarray(array)
    if layout == "strided":
        wide = np.zeros(tuple(2 * s for s in array.shape), array.dtype)
        view = wide[tuple(slice(None, None, 2) for _ in array.shape)]
        view[...] = array
        return view
    if layout == "reversed":
        backwards = tuple(slice(None, None, -1) for _ in array.shape)
        return np.ascontiguousarray(array[backwards])[backwards]
    array = np.ascontiguousarray(array)
    if layout == "readonly":
        array.setflags(write=False)
    return array


@st.composite
def arrays(draw, shape, dtype=dtypes, layout=layouts):
    """Standard normal entries; ``shape``, ``dtype`` and ``layout`` are values or strategies."""
    shape, dtype, layout = (
        draw(part) if isinstance(part, st.SearchStrategy) else part for part in (shape, dtype, layout)
    )
    values = np.random.default_rng(draw(seeds)).standard_normal(shape)
    return with_layout(np.array(values, dtype=dtype), layout)
