"""The study of the sphere: T and K against loops, eigenvalues against 40 digits, the published method, the picture."""

import math

import numpy as np
import pytest

import sslcore
from sslcore.positives import Operator
from sslcore.studies import sphere

from .comparators import assert_close


def test_grid_and_matrix_are_the_published_ones():
    x = sphere.grid(4)
    u, v = 2 * math.pi / 3, 2 * math.pi / 3
    assert_close(x[1 * 4 + 2], [math.cos(u) * math.sin(v), math.sin(u) * math.sin(v), math.cos(v)], tol=1e-14)
    found = sphere.shifts(x)
    for i, j in ((0, 5), (6, 6), (15, 2)):
        total = 0.0
        for a in range(3):
            for b in range(3):
                total += math.exp(-5 * sum((x[i][(c - a) % 3] - x[j][(c - b) % 3]) ** 2 for c in range(3)))
        assert found[i, j] == pytest.approx(total / 9, rel=1e-12)
        assert sphere.KERNEL(x, x)[i, j] == pytest.approx(math.exp(-((x[i] - x[j]) ** 2).sum() / 5), rel=1e-12)


@pytest.mark.parametrize("lambda_ref", [0.1, 100.0])
def test_eigenvalues_against_40_digits(lambda_ref):
    """Points repeat at the poles and along a meridian, so that K is singular: G = (reg I + K M)^-1 K all the same."""
    import mpmath

    x = sphere.grid(5)
    n, k = len(x), 5
    with mpmath.workdps(40):
        points = [[mpmath.mpf(float(c)) for c in row] for row in x]
        gram = mpmath.matrix(n, n)
        for i in range(n):
            for j in range(n):
                gram[i, j] = mpmath.exp(-sum((s - t) ** 2 for s, t in zip(points[i], points[j], strict=True)) / 5)
        operator = mpmath.matrix(sphere.shifts(x).tolist())
        tau = 30
        g = mpmath.inverse(lambda_ref * mpmath.eye(n) + gram * (tau * mpmath.eye(n) - operator)) * gram
        values = mpmath.eigsy((g + g.T) / 2, eigvals_only=True)
        expected = [float(tau - 1 / value) for value in sorted(values, reverse=True)[:k]]
    rep = sslcore.pretrain(x, sphere.KERNEL, k, reg=lambda_ref / n, positives=Operator(sphere.shifts(x)))
    assert_close(rep.eigenvalues, expected, tol=1e-9)


@pytest.fixture(scope="module")
def found():
    return sphere.study(12)


def test_functions_and_their_published_versions(found):
    operator, n = sphere.shifts(sphere.grid(12)), 144
    assert_close(found.eigenvalues[0], np.linalg.eigvalsh(operator)[::-1][:8], tol=1e-10)
    assert found.apart.max() < 1e-3 * found.eigenvalues[0, 0]
    assert found.worst.max() < 1e-7
    for values, functions in zip(found.eigenvalues, found.functions, strict=True):
        assert_close(functions.T @ functions / n, np.eye(8), tol=1e-6)
        assert (np.diff(values) <= 0).all()
    rayleigh = np.einsum("ni,nm,mi->i", found.functions[0], operator, found.functions[0]) / n
    assert_close(rayleigh, found.eigenvalues[0], tol=1e-9)
    # the pseudo-inverse has no penalty outside of the range, so that none of its functions there collapses
    assert (found.published > found.eigenvalues - 1e-3).all()
    assert found.published[-1].min() > 0
    assert found.n_active[-1] + found.misled[-1] == 8
    assert found.augmentation[0] == pytest.approx(1)
    assert found.augmentation[-1] < 0.7
    assert found.architecture[-1] > 0.9
    assert (np.diff(found.architecture) > 0).all()


def test_words_and_picture(found):
    panels = pytest.importorskip("sslcore.plotting.panels")
    from sslcore.studies.figures import sphere as figures

    assert "\n" not in found.verdict()
    assert f"{found.n_active[-1]} are active" in found.verdict()
    assert f"{found.eigenvalues[2, 0]:.4f}" in found.table()
    assert found.document()["printed"] is None
    assert found.arrays()["functions"].shape == (5, 144, 8)
    drawn = figures.figure(found)
    assert len(drawn.axes) == 8 * 6
    assert panels.png(drawn)[:4] == b"\x89PNG"
