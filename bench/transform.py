"""Embedding of 10^5 new points by 4,000 centres, beside scikit-learn's KernelPCA.

Both hold the same functions: sslcore at beta = 0, centred, is kernel PCA, so the check is that their values agree
(scikit-learn's scores are the unit eigenfunctions times the square roots of the eigenvalues of K / N).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.decomposition import KernelPCA

import sslcore

from . import rates
from .memory import peak_rise
from .report import Row, require
from .timing import Task, measure

K = 16


def points(n: int, d: int, seed: int) -> np.ndarray:
    """Draw normal points with decreasing deviations, so that the eigenvalues are distinct."""
    return np.random.default_rng(seed).standard_normal((n, d)) * np.linspace(2, 0.5, d)


def fit(x: np.ndarray) -> Any:
    """Kernel PCA as sslcore has it."""
    kernel = sslcore.kernels.Gaussian(float(np.sqrt(x.shape[1])))
    return sslcore.pretrain(x[:, None], kernel, K, reg=1e-6, beta=0, center=True)


def memory(n: int, d: int) -> int:
    """Bytes at the peak of a transform of n points beside the result."""
    setup = f"from bench.transform import *; rep = fit(points(4000, {d}, 0)); x = points({n}, {d}, 1); rep(x[:64])"
    return peak_rise(setup, "z = rep(x)") - 8 * n * K


def run(quick: bool = False) -> dict[str, Any]:
    """For d = 2 and d = 32: the ratio of the times, and the memory at two numbers of points."""
    n, n_centres = (10_000, 1000) if quick else (100_000, 4000)
    result: dict[str, Any] = {"cases": []}
    rows = []
    for d in (2, 32):
        x, new = points(n_centres, d, 0), points(n, d, 1)
        scale = float(np.sqrt(d))
        theirs = KernelPCA(K, kernel="rbf", gamma=0.5 / scale**2, eigen_solver="arpack", random_state=0).fit(x)
        ours = fit(x)
        expected = theirs.transform(new[:2000]) * np.sqrt(n_centres) / theirs.eigenvalues_
        found = ours.transform(new[:2000], scale="unit")
        expected *= np.sqrt(theirs.eigenvalues_)
        signs = np.sign((expected * found).sum(axis=0))
        error = float(np.abs(found - signs * expected).max() / np.abs(expected).max())
        require(f"d = {d}, against KernelPCA.transform", error, 1e-6)
        tasks = {
            "sslcore": Task(lambda r=ours, y=new: r(y), bytes=8.0 * n * n_centres),
            "sklearn": Task(lambda t=theirs, y=new: t.transform(y), bytes=8.0 * n * n_centres),
            "dgemm": rates.gemm(500, K, n_centres),
        }
        times = measure(tasks, 3)
        ratio = times["sklearn"].best / times["sslcore"].best
        peaks = [memory(n * factor, d) for factor in (1, 2)]
        flops = 2.0 * n * n_centres * K / times["sslcore"].best / 1e9
        print(
            f"  d = {d:<2}  {times['sslcore'].ms:7.1f} ms  {n * n_centres / times['sslcore'].best / 1e9:.2f} G kernel "
            f"values/s, {flops:.1f} GFLOP/s in the products (dgemm of that shape: {times['dgemm'].gflops:.1f}); "
            f"scikit-learn {times['sklearn'].ms:.1f} ms: ratio {ratio:.1f}; "
            f"memory beside the result {' and '.join(f'{p / 2**20:.0f}' for p in peaks)} MiB for n and 2 n"
        )
        result["cases"].append({"d": d, "error": error, "times": times, "ratio": ratio, "peak_bytes": peaks})
        name = f"transform {n} points, {n_centres} centres, k = {K}, d = {d}"
        rows.append(
            Row(
                name,
                "at least 10 times faster than KernelPCA.transform",
                f"{ratio:.1f} times ({times['sslcore'].best:.2f} s)",
                "",
                ratio >= 10,
            )
        )
        rows.append(
            Row(
                f"{name}, memory beside the result",
                "O(block)",
                f"{peaks[0] / 2**20:.0f} MiB, and {peaks[1] / 2**20:.0f} MiB for twice the points",
                "16 MiB (one block)",
                max(peaks) <= 64 * 2**20,
            )
        )
    return {**result, "rows": rows}
