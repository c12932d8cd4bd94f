"""The kernels that are more than one formula beside NumPy's array code: Gram matrices, and errors against the oracles.

NumPy's side is what one would write: matrix products for all inner products, elementwise functions in place, and a loop
over coordinates for the wrapped Gaussian, over patches for convolutions.  Both make the matrix of x with itself, and
are compared by the processor time of their best runs, all threads together: most of NumPy's side runs on one thread,
and the comparison should not hang on how many there are.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from sslcore.kernels import NNGP, NTK, ArcCosine, Convolutional, Kernel, PeriodicGaussian, VonMises

from .report import Row, require
from .timing import Task, measure

PATCH = 4


def periodic_gaussian(x: np.ndarray, scale: float) -> np.ndarray:
    """Five terms of the sum for each coordinate."""
    out = np.ones((len(x), len(x)))
    for column in (x - np.rint(x)).T:
        difference = np.subtract.outer(column, column)
        difference -= np.rint(difference)
        out *= sum(np.exp(-((difference + n) ** 2) / (2 * scale**2)) for n in range(-2, 3))
    return out


def von_mises(x: np.ndarray, scale: float) -> np.ndarray:
    """The sum of cosines of differences as two matrix products."""
    angle = 2 * math.pi * x
    out = np.cos(angle) @ np.cos(angle).T
    out += np.sin(angle) @ np.sin(angle).T
    out -= x.shape[1]
    out /= scale**2
    return np.exp(out, out=out)


def angles(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Inner products and angles; the latter are wrong by 1e-8 where they are small."""
    products = x @ x.T
    norms = np.sqrt(np.diag(products))
    return products, np.arccos(np.clip(products / norms / norms[:, None], -1, 1))


def arc_cosine(x: np.ndarray) -> np.ndarray:
    """Order 0."""
    return 1 - angles(x)[1] / math.pi


def network(x: np.ndarray, depth: int, tangent: bool, bias: float) -> np.ndarray:
    """NNGP or NTK with weights of variance 2."""
    covariance = bias + x @ x.T / x.shape[1]
    variance = np.diag(covariance).copy()
    theta = covariance
    for _ in range(depth):
        q = np.sqrt(np.multiply.outer(variance, variance))
        rho = np.clip(covariance / q, -1, 1)
        angle = np.arccos(rho)
        covariance = bias + q * (np.sqrt(1 - rho * rho) + rho * (math.pi - angle)) / math.pi
        theta = covariance + theta * (1 - angle / math.pi)
        variance = bias + variance
    return theta if tangent else covariance


def convolution(x: np.ndarray) -> np.ndarray:
    """One layer on every patch."""
    around = np.hstack([x, x[:, : PATCH - 1]])
    return sum(network(around[:, i : i + PATCH], 1, False, 0.0) for i in range(x.shape[1])) / x.shape[1]


def cases(quick: bool) -> list[tuple[Kernel, int, Any]]:
    """Kernel, coordinates and NumPy's function."""
    depth = 3
    return [
        (PeriodicGaussian(0.2), 8, lambda x: periodic_gaussian(x, 0.2)),
        (VonMises(1.0), 8, lambda x: von_mises(x, 1.0)),
        (ArcCosine(0), 64, arc_cosine),
        (NNGP(depth), 64, lambda x: network(x, depth, False, 0.0)),
        (NTK(depth, bias_variance=0.1), 64, lambda x: network(x, depth, True, 0.1)),
        (Convolutional(NNGP(1), PATCH), 8 if quick else 16, convolution),
    ]


def oracle_error(k: Kernel, d: int) -> tuple[float, float]:
    """Largest error, relative to the largest value, in both precisions: points, neighbours from 1e-12 on, opposites."""
    from tests import naive

    rng = np.random.default_rng(0)
    x = rng.standard_normal((12, d))
    near = x[:8] + np.geomspace(1e-12, 0.1, 8)[:, None] * rng.standard_normal((8, d))
    x = np.concatenate([x, near, -near[::3]])
    errors = []
    for dtype in (np.float64, np.float32):
        points = x.astype(dtype)
        exact = naive.gram(k, points[:8], points)
        errors.append(float(np.abs(k(points)[:8] - exact).max() / np.abs(exact).max()))
    return errors[0], errors[1]


def run(quick: bool = False) -> dict[str, Any]:
    """All of them."""
    n, repeat = (500, 2) if quick else (2000, 3)
    result: dict[str, Any] = {"n": n, "cases": []}
    rows = []
    for k, d, numpy_gram in cases(quick):
        error64, error32 = oracle_error(k, d)
        require(f"{k}, d = {d}, float64", error64, 1e-13)
        require(f"{k}, d = {d}, float32", error32, 2e-6)
        x = np.random.default_rng(0).standard_normal((n, d))
        size = 8.0 * n * n
        x32 = x.astype(np.float32)
        tasks = {
            "sslcore": Task(lambda k=k, x=x: k(x), bytes=size),
            "float32": Task(lambda k=k, x=x32: k(x), bytes=size / 2),
            "numpy": Task(lambda x=x, function=numpy_gram: function(x), bytes=size),
        }
        times = measure(tasks, repeat)
        ratio = times["numpy"].cpu / times["sslcore"].cpu
        each = times["sslcore"].cpu / n**2 * 1e9
        print(f"  {k}, d = {d}: {each:.1f} ns a value of processor time, ratio {ratio:.1f}", flush=True)
        result["cases"].append(
            {"kernel": repr(k), "d": d, "ratio": ratio, "errors": [error64, error32], "times": times}
        )
        text = f"{ratio:.1f} times less processor time, {each:.1f} ns a value; error {error64:.0e}"
        rows.append(Row(f"Gram {n} x {n}, {k}, d = {d}, beside NumPy", "error at most 1e-13", text, ""))
    return {**result, "rows": rows}
