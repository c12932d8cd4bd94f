"""How the tests compare: one table of tolerances by dtype, nothing forgiven that is not in it.

A comparison fails on NaN anywhere, on another shape and on another dtype.  Errors are relative to the
largest entry of what is expected, unless ``scale`` gives another yardstick (that of the operands,
where the result cancels).
"""

from __future__ import annotations

import numpy as np

TOLERANCE = {np.dtype(np.float64): 1e-12, np.dtype(np.float32): 2e-5}
"""Largest error in units of the scale, for results of some thousand operations."""


def assert_close(actual, expected, *, dtype=None, tol=None, scale=None):
    """Refuse unless ``actual`` has the shape of ``expected``, the dtype wanted, and its values to ``tol``.

    ``dtype`` is that of ``expected`` unless given: an oracle in float64 may check a float32 result.
    ``tol`` is that of the table for ``dtype`` unless given.
    """
    expected = np.asarray(expected)
    actual = np.asarray(actual)
    dtype = np.dtype(expected.dtype if dtype is None else dtype)
    assert actual.dtype == dtype, f"dtype {actual.dtype}, expected {dtype}"
    assert actual.shape == expected.shape, f"shape {actual.shape}, expected {expected.shape}"
    for name, value in (("result", actual), ("expected value", expected)):
        assert np.isfinite(value).all(), f"{name} holds {np.sum(~np.isfinite(value))} entries that are not finite"
    if dtype.kind != "f":
        assert (actual == expected).all(), f"{np.sum(actual != expected)} entries differ"
        return
    if actual.size == 0:
        return
    tol = TOLERANCE[dtype] if tol is None else tol
    scale = float(np.abs(expected).max()) if scale is None else scale
    error = np.abs(actual.astype(np.float64) - expected.astype(np.float64))
    worst = np.unravel_index(np.argmax(error), error.shape)
    assert error[worst] <= tol * scale, (
        f"error {error[worst]:.3e} at index {tuple(map(int, worst))} (found {actual[worst]!r}, "
        f"expected {expected[worst]!r}), allowed {tol:.1e} x {scale:.3e}"
    )


def _orthonormal(vectors, name):
    vectors = np.asarray(vectors, dtype=np.float64)
    assert vectors.ndim == 2, f"{name} must have columns, found shape {vectors.shape}"
    assert np.isfinite(vectors).all(), f"{name} holds entries that are not finite"
    q, r = np.linalg.qr(vectors)
    pivots = np.abs(np.diag(r))
    assert vectors.shape[1] <= vectors.shape[0], f"{name} has more columns than rows"
    assert (pivots > 1e-8 * np.linalg.norm(vectors, axis=0)).all(), f"{name} has dependent columns"
    return q


def assert_same_subspace(u, v, tol=1e-8):
    """Refuse unless the columns of ``u`` and ``v`` span the same space: sine of the largest angle <= ``tol``."""
    q, p = _orthonormal(u, "u"), _orthonormal(v, "v")
    assert q.shape == p.shape, f"dimensions {q.shape} and {p.shape} of the subspaces"
    sine = np.linalg.norm(p - q @ (q.T @ p), 2) if q.size else 0.0
    assert sine <= tol, f"sine of the largest angle between the subspaces {sine:.3e}, allowed {tol:.1e}"


def assert_same_eigenspaces(values, vectors, ref_values, ref_vectors, *, tol=1e-8, gap=1e-6):
    """Compare eigenpairs: values one by one, spaces by complete blocks of reference values closer than ``gap``.

    Values are decreasing and vectors are columns; the reference may have more pairs than are compared.
    Where the last block is cut, its vectors need only lie in the reference's space of the whole block.
    Values are compared to ``tol`` and blocks are cut at ``gap``, both relative to the largest value.
    """
    values, ref_values = np.asarray(values, np.float64), np.asarray(ref_values, np.float64)
    vectors, ref_vectors = np.asarray(vectors, np.float64), np.asarray(ref_vectors, np.float64)
    k = len(values)
    assert vectors.ndim == ref_vectors.ndim == 2
    assert vectors.shape == (ref_vectors.shape[0], k), f"vectors of shape {vectors.shape} for {k} values"
    assert ref_vectors.shape[1] == len(ref_values) >= k, f"{len(ref_values)} reference pairs for {k}"
    assert (np.diff(ref_values) <= 0).all(), "reference values must decrease"
    scale = float(np.abs(ref_values).max())
    assert_close(values, ref_values[:k], tol=tol, scale=scale)
    _orthonormal(vectors, "vectors")  # no direction is counted twice, inside a block or across
    ends = [*(np.flatnonzero(-np.diff(ref_values) > gap * scale) + 1), len(ref_values)]
    start = 0
    for end in ends:
        if start >= k:
            break
        if end <= k:
            assert_same_subspace(vectors[:, start:end], ref_vectors[:, start:end], tol)
        else:
            q, p = _orthonormal(ref_vectors[:, start:end], "ref_vectors"), _orthonormal(vectors[:, start:k], "vectors")
            sine = np.linalg.norm(p - q @ (q.T @ p), 2)
            assert sine <= tol, f"the cut block leaves its eigenspace: sine {sine:.3e}, allowed {tol:.1e}"
        start = end
