"""Exact pretraining: beside the dense method of the paper's scripts, and beside its own bare cost.

The bare cost is what no exact method of this kind can avoid: all N^2 kernel values once (sslcore's own Gram matrix,
into fresh memory, as the solver does), and one Cholesky factorisation of the contrast matrix's size (LAPACK, in place).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.spatial.distance import cdist

import sslcore

from . import rates
from .memory import peak_rise
from .problems import LAMBDA_REF, SCALE, authors_dense_method, half_moon_views, matched_basis_error
from .report import Row, require
from .timing import Task, Timing, measure

K = 5
KERNEL = sslcore.kernels.Exponential(SCALE)


def fit(views: np.ndarray) -> Any:
    """Solve the paper's controlled study: biased T, lambda = lambda_ref / (m N)."""
    n, m, _ = views.shape
    return sslcore.pretrain(views, KERNEL, K, reg=LAMBDA_REF / (m * n * m), unbiased=False)


def bare_tasks(views: np.ndarray) -> dict[str, Task]:
    """Return the fit, one Gram matrix, and one Cholesky factorisation, as tasks."""
    n, m, d = views.shape
    points = views.reshape(n * m, d)
    size = n * (m - 1)
    matrix = np.asfortranarray(KERNEL(points[:size]))
    matrix[np.arange(size), np.arange(size)] += 1e-3
    return {
        "fit": Task(lambda: fit(views)),
        "gram": Task(lambda: KERNEL(points), bytes=8.0 * len(points) ** 2),
        "cholesky": rates.potrf(matrix),
    }


def show(times: dict[str, Timing], product: Timing, copy: Timing) -> None:
    """Each part with its rate, and its share of what the machine gives."""
    cholesky, gram = times["cholesky"], times["gram"]
    print(f"  fit       {times['fit'].ms:9.1f} ms (median {times['fit'].median * 1e3:.1f})")
    print(f"  Gram      {gram.ms:9.1f} ms  {gram.gb_per_s:6.1f} GB/s written (copy: {copy.gb_per_s:.1f} GB/s moved)")
    share = cholesky.gflops / product.gflops
    print(f"  Cholesky  {cholesky.ms:9.1f} ms  {cholesky.gflops:6.1f} GFLOP/s, {share:.0%} of dgemm", end=" ")
    print(f"({product.gflops:.1f})")


def run(quick: bool = False) -> dict[str, Any]:
    """N = 4000 views: the ratio to the dense method, and to the bare cost."""
    views = half_moon_views(500 if quick else 2000)
    n_views = views.shape[0] * 2
    dense: list[Any] = []  # the dense method takes half a minute: its one timed run gives the check's values too
    dense_time = measure({"dense": Task(lambda: dense.append(authors_dense_method(views, K)))}, 1, warm=False)["dense"]
    values, vectors = dense[0]
    rep = fit(views)
    errors = {
        "eigenvalues": require(
            "eigenvalues against pinvh + eigh", float(np.abs(rep.eigenvalues - values).max()), 1e-10
        ),
        "projector": require(
            "projector on the eigenfunctions",
            matched_basis_error(rep.transform(views, scale="unit").reshape(-1, K), vectors),
            1e-6,
        ),
    }
    rate = measure({"dgemm": rates.gemm(2000, 2000, 2000), "copy": rates.copy()}, 5)
    times = measure(bare_tasks(views), 3 if quick else 15)
    show(times, rate["dgemm"], rate["copy"])
    ratio = dense_time.best / times["fit"].best
    bare = times["fit"].best / (times["gram"].best + times["cholesky"].best)
    print(f"  dense     {dense_time.best:9.2f} s ({dense_time.cpu:.2f} s of processor time): ratio {ratio:.1f}")
    print(f"  {bare:.2f} times the bare cost")
    name = f"exact pretraining, N = {n_views}"
    rows = [
        Row(
            f"{name}, against pinvh + eigh",
            "at least 80 times faster",
            f"{ratio:.0f} times ({times['fit'].best:.3f} s against {dense_time.best:.1f} s)",
            "120 (aim)",
            ratio >= 80,
        ),
        Row(
            name,
            "at most 3 times one Gram + one Cholesky",
            f"{bare:.2f} times",
            f"1 ({1e3 * (times['gram'].best + times['cholesky'].best):.0f} ms)",
            bare <= 3,
        ),
    ]
    return {
        "errors": errors,
        "times": {**times, **rate, "dense": dense_time},
        "ratio": ratio,
        "bare": bare,
        "rows": rows,
    }


def eigenequation_error(views: np.ndarray, rep: Any) -> float:
    """Largest residual of K alpha = sqrt(N) v and of (I - T) v + lambda sqrt(N) alpha = gamma v, v of norm 1.

    Computed with SciPy's distances, in blocks; nothing of the solver is used.
    """
    n, m, d = views.shape
    total = n * m
    points, alpha = views.reshape(total, d), rep.coefficients
    v = rep.values.reshape(total, K) / np.sqrt(total)
    step = 1000
    for_values = [np.exp(cdist(points[s : s + step], points) / -SCALE) @ alpha for s in range(0, total, step)]
    by_sample = v.reshape(n, m, K)
    deviations = (by_sample - by_sample.mean(axis=1, keepdims=True)).reshape(total, K)
    residuals = [
        np.concatenate(for_values) / np.sqrt(total) - v,
        (deviations + rep.reg * np.sqrt(total) * alpha - rep.gamma * v) / rep.gamma,
    ]
    lengths = np.abs(np.linalg.norm(v, axis=0) - 1)
    return float(max(lengths.max(), *(np.linalg.norm(r, axis=0).max() for r in residuals)))


def run_large(quick: bool = False) -> dict[str, Any]:
    """N = 20,000 views: time over the bare cost, and peak memory in a fresh process."""
    n = 1000 if quick else 10_000
    views, n_views = half_moon_views(n), 2 * n
    error = require("eigen-equation, independent kernel values", eigenequation_error(views, fit(views)), 1e-6)
    rate = measure({"dgemm": rates.gemm(4000, 4000, 4000), "copy": rates.copy()}, 3)
    times = measure(bare_tasks(views), 2 if quick else 3)
    show(times, rate["dgemm"], rate["copy"])
    bare = times["fit"].best / (times["gram"].best + times["cholesky"].best)
    peak = peak_rise(
        f"from bench.exact import *; views = half_moon_views({n}); fit(views[:200])",
        "fit(views)",
    )
    share = peak / (8 * n_views**2)
    print(f"  {bare:.2f} times the bare cost; peak {peak / 1e9:.2f} GB = {share:.2f} x 8 N^2")
    seconds = times["gram"].best + times["cholesky"].best
    name = f"exact pretraining, N = {n_views}"
    rows = [
        Row(
            name,
            "at most 1.3 times one Gram + one Cholesky",
            f"{bare:.2f} times ({times['fit'].best:.2f} s)",
            f"1 ({seconds:.2f} s)",
            bare <= 1.3,
        ),
        Row(
            f"{name}, peak memory",
            "at most 0.9 x 8 N^2 bytes",
            f"{share:.2f} x 8 N^2 ({peak / 1e9:.2f} GB)",
            "0.75 (A, B, C)",
            share <= 0.9,
        ),
    ]
    return {"error": error, "times": {**times, **rate}, "bare": bare, "peak_bytes": peak, "rows": rows}
