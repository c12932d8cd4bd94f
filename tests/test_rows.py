"""Kernels make their own rows: composite kernels that the library does not know are served like its own."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass

import numpy as np
import pytest

from sslcore import pretrain
from sslcore.features import Nystrom
from sslcore.gram import contrast_gram, gram, kernel_product
from sslcore.kernels import Convolutional, Exponential, Gaussian, Kernel, Linear, Precomputed, Rows, _rows
from sslcore.selection import AutoReg

from .comparators import assert_close


@dataclass(frozen=True)
class EvenRows(Rows):
    """Of the mean of k(x, y) and k(-x, y)."""

    base: Rows
    xp: object

    def fill(self, x, first, out):
        self.base.fill(x, first, out)
        other = self.xp.empty_like(out)
        self.base.fill(-x, first, other)
        out += other
        out *= 0.5


@dataclass(frozen=True)
class Even(Kernel):
    """The part of a kernel that is even in each argument; positive semi-definite with k(x, y) = k(-x, -y)."""

    base: Kernel

    def rows(self, y, backend):
        return EvenRows(self.base.rows(y, backend), backend.xp)


@dataclass(frozen=True)
class Silent(Kernel):
    """A kernel that makes no rows."""


KERNEL = Even(Exponential(1.5))
SEARCH = AutoReg((1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0), n_folds=2)


def even(x, y):
    return 0.5 * (KERNEL.base(x, y) + KERNEL.base(-x, y))


def points(n, d=3, seed=0):
    return np.random.default_rng(seed).standard_normal((n, d))


def views(n, m=2, d=3):
    return points(n, d)[:, None] + 0.3 * np.random.default_rng(1).standard_normal((n, m, d))


def test_values(backend, monkeypatch):
    monkeypatch.setattr(_rows, "block_rows", lambda columns, itemsize: 7)
    x, y = points(300), points(40, seed=1)
    there, other = backend.asarray(x), backend.asarray(y)
    assert_close(backend.asnumpy(KERNEL(there, other)), even(x, y), tol=1e-14, scale=1.0)
    symmetric = backend.asnumpy(gram(KERNEL, there))
    assert_close(symmetric, even(x, x), tol=1e-14, scale=1.0)
    assert np.array_equal(symmetric, symmetric.T)
    c = points(40, 2, seed=2)
    found = kernel_product(KERNEL, there, other, backend.asarray(c))
    assert_close(backend.asnumpy(found), even(x, y) @ c, tol=1e-14, scale=float(np.abs(c).sum()))


def test_as_part_of_another_kernel(backend):
    x, y = points(9), points(5, seed=1)
    there, other = backend.asarray(x), backend.asarray(y)
    found = (2.0 * KERNEL * Linear() + Gaussian(1.0))(there, other)
    assert_close(backend.asnumpy(found), 2.0 * even(x, y) * (x @ y.T) + Gaussian(1.0)(x, y), tol=1e-13, scale=10.0)
    patches = [(np.roll(x, -i, 1)[:, :2], np.roll(y, -i, 1)[:, :2]) for i in range(3)]
    found = Convolutional(KERNEL, 2)(there, other)
    assert_close(backend.asnumpy(found), sum(even(a, b) for a, b in patches) / 3, tol=1e-14, scale=1.0)


@pytest.mark.parametrize("m", [2, 3])
def test_the_exact_solver(backend, m, monkeypatch):
    """The Gram matrix in the rotated basis, the solution, and its values at new points, as for the matrix itself."""
    monkeypatch.setattr(_rows, "block_rows", lambda columns, itemsize: 7)
    x = views(30, m)
    flat = x.reshape(-1, 3)
    blocks, given = contrast_gram(KERNEL, backend.asarray(x)), contrast_gram(lambda a, b: even(a, b), x)
    for name in ("mean", "cross", "contrast"):
        assert_close(backend.asnumpy(getattr(blocks, name)), getattr(given, name), tol=1e-14, scale=1.0)
    rep = pretrain(backend.asarray(x), KERNEL, 3, reg=1e-2)
    expected = pretrain(even(flat, flat).reshape(30, m, 30 * m), Precomputed(), 3, reg=1e-2)
    assert_close(rep.gamma, expected.gamma, tol=1e-10, scale=1.0)
    new = points(8, seed=3)
    found, wanted = backend.asnumpy(rep.transform(backend.asarray(new))), expected.transform(even(new, flat))
    assert_close(np.abs(found), np.abs(wanted), tol=1e-7, scale=1.0)
    assert_close(found, backend.asnumpy(rep.transform(backend.asarray(-new))), tol=1e-9, scale=1.0)  # it is even


def test_the_search_for_reg():
    x = views(40)
    flat = x.reshape(-1, 3)
    found = pretrain(x, KERNEL, 2, reg=SEARCH)
    expected = pretrain(even(flat, flat).reshape(40, 2, 80), Precomputed(), 2, reg=SEARCH)
    assert found.reg == pytest.approx(expected.reg, rel=1e-9)


@pytest.mark.parametrize("selection", ["uniform", "rpcholesky"])
def test_nystrom(backend, selection):
    x = views(40)
    phi = Nystrom(KERNEL, 20, selection, seed=0).fit(backend.asarray(x))
    landmarks = backend.asnumpy(phi.landmarks)
    values = backend.asnumpy(phi(phi.landmarks))
    assert_close(values @ values.T, even(landmarks, landmarks), tol=1e-10, scale=1.0)
    rep = pretrain(backend.asarray(x), phi, 2, reg=1e-2)
    embedded = backend.asnumpy(rep.transform(backend.asarray(x[:, 0])))
    assert_close(embedded, backend.asnumpy(rep.transform(backend.asarray(-x[:, 0]))), tol=1e-9, scale=1.0)


def test_kernels_without_rows_are_refused():
    for kernel in (Silent(), Precomputed()):
        with pytest.raises(TypeError, match="has no values of its own here"):
            kernel.rows(points(3), None)
    for call in (Silent(), lambda x: gram(Silent(), x), lambda x: kernel_product(Silent(), x, x, x)):
        with pytest.raises(TypeError, match="has no values of its own here"):
            call(points(3))


def test_rows_have_values():
    class Empty(Rows):
        """Rows without `fill`."""

    with pytest.raises(TypeError, match="abstract"):
        Empty()


def test_kernels_import_nothing_above_them():
    """A call of a kernel needs no solver, and not the module of the function `gram`."""
    code = (
        "import sys; from sslcore.kernels import Linear; Linear()([[1.0]])\n"
        "print([m for m in sys.modules if m.startswith(('sslcore.gram', 'sslcore.solvers', 'sslcore.fitting'))])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
