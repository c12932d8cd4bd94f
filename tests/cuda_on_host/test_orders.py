"""The order of results in memory: what CuPy does, and the stand-in must do as well.

The table is of CuPy 14.2. On a machine with a device the same tests ask CuPy itself.
"""

from __future__ import annotations

import numpy as np
import pytest

RESULTS = {
    # arithmetic: in C order whatever the operands' order
    "f + f": "C",
    "f * 2.0": "C",
    "1.0 - f": "C",
    "f - 0.5 * f": "C",
    "f + c": "C",
    "f / f[:, :1]": "C",
    "f ** 2": "C",
    "-f": "C",
    "+f": "C",
    "abs(f)": "C",
    "~(f > 0)": "C",
    "f == f": "C",
    "c.T + c.T": "C",
    "f[::2] + f[::2]": "C",
    "c[:, ::2] * 2.0": "C",
    "t + t": "C",
    "cp.exp(f)": "C",
    "cp.maximum(f, f)": "C",
    "cp.ldexp(f, 1)": "C",
    "cp.add(f, f, dtype=cp.float32)": "C",
    "cp.add(f, f, out=cp.empty((4, 6), order='F'))": "F",
    "cp.clip(f, 0.0, 1.0)": "C",
    "f.clip(0.0, 1.0)": "C",
    "f.round(2)": "C",
    "f.conj()": "F",
    "f.real": "F",
    "cp.where(f > 0, f, 0.0)": "C",
    "cp.triu(f)": "C",
    "cp.tril(f)": "C",
    "cp.outer(f[:, 0], f[0])": "C",
    "cp.diff(f, axis=0)": "C",
    # in place: nothing is new
    "f.__iadd__(1.0)": "F",
    "f.__imul__(c)": "F",
    # copies and conversions that keep the order of strides
    "f.copy()": "C",
    "f.copy('K')": "F",
    "f.copy('A')": "F",
    "f.copy('F')": "F",
    "c.copy('F')": "F",
    "cp.copy(f)": "F",
    "cp.copy(c.T)": "F",
    "cp.copy(f[::2])": "F",
    "cp.copy(c[:, ::2])": "C",
    "cp.copy(t)": "(2, 0, 1)",
    "cp.copy(cp.broadcast_to(c[0], (4, 6)))": "F",
    "cp.copy(cp.broadcast_to(c[:, :1], (4, 6)))": "C",
    "f[::2].copy('A')": "C",
    "f.astype(cp.float32)": "F",
    "f.astype(cp.float32, 'C')": "C",
    "f.astype(f.dtype, copy=False)": "F",
    "f[::2].astype(cp.float32)": "F",
    "t.astype(cp.float32)": "(2, 0, 1)",
    "cp.array(f)": "F",
    "cp.array(f, order='C')": "C",
    "cp.array(f[::2])": "F",
    "cp.asarray(f)": "F",
    "cp.asarray(f, order='C')": "C",
    "cp.asarray(np.ones((4, 6), order='F'))": "F",
    "cp.asarray(np.ones((8, 6), order='F')[::2])": "C",
    "cp.asarray(np.ones((6, 8, 4)).transpose(2, 0, 1))": "C",
    "cp.array([f, f])": "C",
    "cp.ascontiguousarray(f)": "C",
    "cp.asfortranarray(c)": "F",
    "cp.asfortranarray(f[::2])": "F",
    "cp.empty_like(f)": "F",
    "cp.zeros_like(f)": "F",
    "cp.full_like(f, 2.0)": "F",
    "cp.ones_like(f, order='C')": "C",
    "cp.zeros_like(f[::2])": "F",
    "cp.zeros_like(t)": "(2, 0, 1)",
    "cp.empty_like(f, shape=(3, 5))": "F",
    "cp.empty_like(f, shape=(3, 5, 2))": "C",
    # reductions
    "t.sum(axis=0)": "C",
    "t.sum(axis=1)": "C",
    "t.sum(axis=2)": "C",
    "t.sum(axis=0, keepdims=True)": "C",
    "t.max(axis=1, keepdims=True)": "C",
    "t.mean(axis=1)": "C",
    "t.std(axis=1)": "C",
    "t.argmax(axis=1)": "C",
    "(t > 0).any(axis=1)": "C",
    "cp.count_nonzero(t, axis=1)": "C",
    "cp.median(t, axis=1)": "C",
    "cp.average(t, axis=1)": "C",
    "cp.linalg.norm(t, axis=1)": "C",
    # scans and sorting
    "cp.cumsum(f, axis=0)": "C",
    "cp.cumsum(f, axis=1)": "C",
    "f.cumsum(axis=0)": "C",
    "cp.cumsum(c.reshape(2, 3, 4), axis=0)": "C",
    "cp.cumsum(c.reshape(2, 3, 4), axis=1)": "(0, 2, 1)",
    "cp.sort(f, axis=0)": "C",
    "cp.sort(f, axis=1)": "C",
    "cp.argsort(f, axis=1)": "C",
    "cp.argsort(f, axis=0)": "F",
    "f.argsort(axis=0)": "F",
    "cp.partition(f, 1, axis=1)": "C",
    # elements by index
    "f[i]": "C",
    "f[:, i]": "C",
    "f[i, i]": "any",
    "f[i[:, None], i]": "C",
    "t[i]": "C",
    "f[f[:, 0] > -9]": "C",
    "f[:, f[0] > -9]": "C",
    "f.take(i, axis=1)": "C",
    "cp.take(f, i, axis=0)": "C",
    "cp.take_along_axis(f, cp.argsort(f, axis=1), 1)": "C",
    "cp.nonzero(f > -9)[0]": "strided",
    "f.nonzero()[1]": "strided",
    "cp.argwhere(f > -9)": "C",
    "f[1:3]": "strided",
    "f[:, 1:3]": "F",
    "f.diagonal()": "strided",
    # joining and repeating
    "cp.concatenate([f, f])": "C",
    "cp.concatenate([f, f], axis=1)": "C",
    "cp.stack([f, f])": "C",
    "cp.stack([f, f], axis=2)": "C",
    "cp.hstack([f, f])": "C",
    "cp.vstack([f, f])": "C",
    "cp.repeat(f, 2, axis=0)": "C",
    "cp.tile(f, (2, 1))": "C",
    "cp.tile(f, (1, 1))": "F",
    "cp.roll(f, 1, axis=0)": "F",
    "cp.roll(f, 1)": "C",
    "cp.meshgrid(i, i)[0]": "C",
    # shape
    "f.reshape(6, 4)": "C",
    "f.reshape(6, 4, order='F')": "F",
    "f.T": "C",
    "cp.moveaxis(t, 2, 0)": "C",
    "cp.swapaxes(f, 0, 1)": "C",
    # products
    "f @ c.T": "C",
    "f.T @ f": "C",
    "cp.matmul(f, f.T)": "C",
    "cp.matmul(f, f.T, out=cp.empty((4, 4), order='F'))": "F",
    "cp.dot(f, f.T)": "C",
    "f.dot(f.T)": "C",
    "cp.inner(f, f)": "C",
    "cp.tensordot(f, f, axes=([0], [0]))": "C",
    "t @ t.swapaxes(1, 2)": "C",
    "cp.einsum('ij,kj->ik', f, f)": "F",
    "cp.einsum('ij,kj->ki', f, f[:3])": "C",
    "cp.einsum('ij,ij->ij', f, f)": "C",
    "cp.einsum('cai,iak->ick', t, t)": "(0, 2, 1)",
    "cp.einsum('cai,ick->iak', t, t)": "(0, 2, 1)",
    "cp.einsum('ij->ji', f)": "C",
    # factorisations
    "cp.linalg.cholesky(s)": "C",
    "cp.linalg.eigh(s)[1]": "F",
    "cp.linalg.eigh(cp.asfortranarray(s))[1]": "F",
    "cp.linalg.inv(s)": "C",
    "cp.linalg.inv(cp.asfortranarray(s))": "F",
    "cp.linalg.solve(s, cp.ascontiguousarray(f))": "F",
    "cp.linalg.qr(f)[0]": "F",
    "cp.linalg.qr(f.T)[0]": "F",
    "cp.linalg.qr(f)[1]": "F",
    "cp.linalg.qr(f.T)[1]": "strided",
    "cp.linalg.qr(f.T, mode='r')": "strided",
    "cp.linalg.svd(f, full_matrices=False)[0]": "C",
    "cp.linalg.svd(f, full_matrices=False)[2]": "C",
    "cp.linalg.svd(f.T, full_matrices=False)[0]": "F",
    "cp.linalg.svd(f.T, full_matrices=False)[2]": "F",
    "cp.linalg.svd(f)[0]": "strided",
    "cp.linalg.svd(f)[2]": "C",
    "cp.linalg.svd(f.T)[0]": "F",
    "cp.linalg.svd(f.T)[2]": "strided",
    "cp.linalg.svd(s)[0]": "C",
    "solve_triangular(s, cp.ascontiguousarray(f))": "F",
    "cublas.gemm('N', 'N', f, f.T)": "F",
    "cublas.syrk('T', f)": "F",
    # back to the host
    "cp.asnumpy(f)": "C",
    "f.get()": "C",
    "f.get(order='A')": "F",
    "pickle.loads(pickle.dumps(f))": "F",
}


def order_of(array):
    """Whether it is contiguous in C or Fortran order only, in "any", in another order of its axes, or "strided"."""
    flags = array.flags
    if flags.c_contiguous or flags.f_contiguous:
        return "any" if flags.c_contiguous and flags.f_contiguous else "C" if flags.c_contiguous else "F"
    axes = tuple(sorted(range(array.ndim), key=lambda axis: -array.strides[axis]))
    return str(axes) if array.transpose(axes).flags.c_contiguous else "strided"


@pytest.mark.parametrize("expression", RESULTS)
def test_results(cp, expression):
    import pickle

    from cupy import cublas
    from cupyx.scipy.linalg import solve_triangular

    rng = np.random.default_rng(0)
    names = {
        "c": cp.asarray(rng.standard_normal((4, 6))),
        "f": cp.asfortranarray(cp.asarray(rng.standard_normal((4, 6)))),
        "t": cp.asarray(rng.standard_normal((5, 5, 5))).transpose(1, 2, 0),
        "s": cp.eye(4) * 4.0 + 0.5,
        "i": cp.asarray([2, 0, 1]),
    }
    tools = {"cp": cp, "np": np, "pickle": pickle, "cublas": cublas, "solve_triangular": solve_triangular}
    assert order_of(eval(expression, tools, names)) == RESULTS[expression]


@pytest.mark.parametrize("call", ["f.sort()", "f.T.dot(f, out=cp.empty((6, 6), order='F'))"])
def test_orders_that_are_refused(cp, call):
    names = {"cp": cp, "f": cp.asfortranarray(cp.ones((4, 6)))}
    with pytest.raises((NotImplementedError, ValueError), match=r"(?i)contiguous"):
        eval(call, names)


def test_values_are_those_of_numpy(cp):
    """Whatever is laid out anew has the same elements as NumPy's."""
    rng = np.random.default_rng(1)
    host = {"f": np.asfortranarray(rng.standard_normal((4, 6))), "t": rng.standard_normal((5, 4, 3)).transpose(1, 2, 0)}
    device = {name: cp.asarray(value) for name, value in host.items()}
    for expression in (
        "xp.cumsum(f, axis=0)", "xp.cumsum(t, axis=1)", "xp.cumsum(t, axis=0)", "xp.cumsum(t)", "xp.argsort(t, axis=1)",
        "xp.argsort(f, axis=0)", "xp.roll(f, 2, axis=1)", "xp.tile(f, (1, 1))", "xp.nonzero(f > 0)[1]", "xp.copy(t)",
        "xp.einsum('cai,iak->ick', t, t.transpose(2, 1, 0))", "xp.einsum('ij,kj->ki', f, f[:3])", "f[1:3] - f[[0, 1]]",
        "xp.einsum('abc,dbc->da', t, t)", "t.astype(xp.float32)", "abs(xp.linalg.qr(f.T, mode='r'))",
        "abs(xp.linalg.qr(f)[1])", "xp.full_like(t, 3.0)",
    ):  # fmt: skip
        expected = eval(expression, {"xp": np}, host)
        np.testing.assert_allclose(cp.asnumpy(eval(expression, {"xp": cp}, device)), expected, 1e-6, 1e-12)
