"""Least-squares probes on growing prefixes (k = 5, 4 classes, 500 test points), beside a NumPy loop in the same run.

Learning curves need them by the million: 100 downstream sizes from 30 to 1,000, each with its squared and its excess
0-1 error.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from sslcore.probing._prefixes import prefix_errors

from . import rates
from .report import Row, require
from .timing import Task, measure


def problem(draws: int) -> tuple[np.ndarray, ...]:
    """Points, one-hot labels, sizes, test points and their probabilities."""
    rng = np.random.default_rng(0)
    n, k, q, t = 1000, 5, 4, 500
    sizes = np.unique(np.geomspace(30, n, 101).astype(int))
    labels = np.eye(q)[rng.integers(0, q, (draws, n))]
    return rng.standard_normal((draws, n, k)), labels, sizes, rng.standard_normal((t, k)), rng.dirichlet(np.ones(q), t)


def loop(z: np.ndarray, y: np.ndarray, sizes: np.ndarray, test: np.ndarray, target: np.ndarray) -> Any:
    """Fit and test one probe after the other."""
    squared, zero_one = np.empty((2, len(z), len(sizes)))
    highest, rows = target.max(axis=1), np.arange(len(test))
    for r in range(len(z)):
        for j, s in enumerate(sizes):
            w = np.linalg.lstsq(z[r, :s], y[r, :s], rcond=None)[0]
            predicted = test @ w
            squared[r, j] = ((predicted - target) ** 2).sum(axis=1).mean()
            zero_one[r, j] = (highest - target[rows, predicted.argmax(axis=1)]).mean()
    return squared, zero_one


def run(quick: bool = False) -> dict[str, Any]:
    """Time of a probe over that of one in the loop."""
    draws = 200 if quick else 10_000
    z, y, sizes, test, target = problem(draws)
    few = slice(0, 2)
    found, wanted = prefix_errors(z[few], y[few], sizes, test, target), loop(z[few], y[few], sizes, test, target)
    error = max(float(np.abs(a - b).max()) for a, b in zip(found, wanted, strict=True))
    require("errors against a loop of least squares", error, 1e-10)
    probes = draws * len(sizes)
    work = 2.0 * len(test) * z.shape[2] * y.shape[2]
    tasks = {
        "prefixes": Task(lambda: prefix_errors(z, y, sizes, test, target), flops=probes * work),
        "loop": Task(lambda: loop(z[few], y[few], sizes, test, target), flops=2 * len(sizes) * work),
        "gemm": rates.gemm(1500, 1500, 1500),
    }
    times = measure(tasks, 2 if quick else 5)
    each, alternative = times["prefixes"].best / probes, times["loop"].best / (2 * len(sizes))
    ratio = alternative / each
    gemm = times["gemm"].gflops
    print(
        f"  {probes:,} probes {times['prefixes'].best:.2f} s: {each * 1e6:.2f} us each, loop {alternative * 1e6:.1f} us"
    )
    print(f"  {times['prefixes'].gflops:.1f} GFLOP/s in predictions, {times['prefixes'].gflops / gemm:.0%} of dgemm")
    row = Row(
        f"{probes:,} least-squares probes, k = 5, 4 outputs, 500 test points, against a NumPy loop",
        "50 times faster",
        f"{ratio:.0f} times ({each * 1e6:.2f} us a probe)",
        f"{alternative * 1e6:.0f} us a probe",
        ratio >= 50,
    )
    return {"error": error, "times": times, "ratio": ratio, "rows": [row]}
