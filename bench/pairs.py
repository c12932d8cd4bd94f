"""Positive pairs: a trajectory beside the same pairs as views, and linear TICA from a memory map beside its products.

* **Trajectory.**  N points, lag 1, an exact kernel: N - 1 edges.  As views the same pairs are N - 1 samples of two
  views, which store each point twice and have the same minimisers: that is the check, and the alternative.  Beside it
  N points as N / 2 samples of two views, whose system is half as large.
* **TICA.**  The bare products are two symmetric rank-k updates for each block of rows, in memory that is there already:
  of points, and of differences.  Reading, means, checks and the eigenproblem are the solver's.
"""

from __future__ import annotations

import tempfile
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import scipy.linalg as sl
from numpy.lib.format import open_memmap
from scipy.linalg import blas

import sslcore
from sslcore.features import Identity
from sslcore.fitting.plan import feature_rows
from sslcore.kernels import Exponential
from sslcore.positives import TimeLag

from .report import Row, require
from .timing import Task, measure

REG, K, LAG = 1e-4, 5, 10


def trajectory(n: int, d: int = 2) -> np.ndarray:
    """Return n points of a random walk that is pulled back, whose coordinates forget at different rates."""
    rng, rates = np.random.default_rng(0), np.linspace(0.99, 0.5, d)
    steps = rng.standard_normal((n, d)) * np.sqrt(1 - rates**2)
    for t in range(1, n):
        steps[t] += rates * steps[t - 1]
    return steps


def run(quick: bool = False) -> dict[str, Any]:
    """Both, at sizes for all days."""
    return _run(300 if quick else 4000, 20_000 if quick else 100_000, 64 if quick else 512, 1 if quick else 3)


def run_large(quick: bool = False) -> dict[str, Any]:
    """Both, at the sizes to be reached: 8 GB of memory, and 2 GB on the disk."""
    return run(quick=True) if quick else _run(20_000, 500_000, 512, 1)


def _run(n: int, n_rows: int, r: int, repeat: int) -> dict[str, Any]:
    paired, tica = _trajectory(n, repeat), _tica(n_rows, r, repeat)
    return {"trajectory": paired, "tica": tica, "rows": [*paired.pop("rows"), *tica.pop("rows")]}


def _trajectory(n: int, repeat: int) -> dict[str, Any]:
    x, kernel = trajectory(n), Exponential(0.5)

    def fit() -> Any:
        return sslcore.pretrain(x, kernel, K, reg=REG, positives=TimeLag(1))

    tasks = {"pairs": Task(fit)}
    pairs = np.stack([x[:-1], x[1:]], axis=1)
    room = sslcore.plan(len(pairs), 2, 2, kernel, K).bytes < 0.8 * sslcore.fitting.plan.memory_budget(None)
    if room:
        tasks["as views"] = Task(lambda: sslcore.pretrain(pairs, kernel, K, reg=REG, solver="dense"))
    tasks["half the pairs"] = Task(lambda: sslcore.pretrain(x.reshape(-1, 2, 2), kernel, K, reg=REG, solver="dense"))
    small = x[:301]
    ours = sslcore.pretrain(small, kernel, K, reg=REG, positives=TimeLag(1))
    same = sslcore.pretrain(np.stack([small[:-1], small[1:]], axis=1), kernel, K, reg=REG)
    require("gamma of 300 pairs, of them as views", float(np.abs(ours.gamma / same.gamma - 1).max()), 1e-8)
    require("certificate of all pairs", fit().certificate.worst, 1e-6)
    times = measure(tasks, repeat, warm=repeat > 1)
    rows = []
    for name, what in (("as views", "as views, each point twice"), ("half the pairs", "as N / 2 samples of 2 views")):
        if name in times:
            ratio, cpu = times["pairs"].best / times[name].best, times["pairs"].cpu / times[name].cpu
            print(f"  N = {n}: {times['pairs'].best:.2f} s; {what} {times[name].best:.2f} s; ratio {ratio:.2f}")
            goal = "at most 1.5 times" if name == "as views" else ""
            measured = f"{ratio:.2f} times ({times['pairs'].best:.2f} s; processor {cpu:.2f})"
            met = ratio <= 1.5 if name == "as views" else None
            rows.append(Row(f"trajectory of {n:,} points, lag 1, {what}", goal, measured,
                            f"1 ({times[name].best:.2f} s)", met))  # fmt: skip
    return {"times": times, "rows": rows}


def _tica(n: int, r: int, repeat: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "x.npy")
        written = open_memmap(path, mode="w+", dtype=float, shape=(n, r))
        rng, turn = np.random.default_rng(0), sl.qr(np.random.default_rng(1).standard_normal((r, r)))[0]
        slow = trajectory(n, 8)
        for start in range(0, n, 10_000):
            block = rng.standard_normal((min(10_000, n - start), r))
            block[:, :8] = slow[start : start + 10_000]
            written[start : start + 10_000] = block @ turn
        written.flush()
        x = np.load(path, mmap_mode="r")

        def fit() -> Any:
            return sslcore.pretrain(x, Identity(), 8, reg=1e-6, center=True, positives=TimeLag(LAG))

        require("eigenvalues, by the textbook's two matrices", _error(fit(), x), 1e-5)
        times = measure({"fit": Task(fit), "bare": Task(_bare(n, r), flops=2.0 * n * r * r)}, max(repeat, 2))
        tracemalloc.start()  # resident memory has pages of the map, which the system takes back
        fit()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    ratio, cpu = times["fit"].best / times["bare"].best, times["fit"].cpu / times["bare"].cpu
    print(
        f"  TICA of {n} x {r}: {times['fit'].best:.2f} s, bare products {times['bare'].best:.2f} s "
        f"({times['bare'].gflops:.0f} GFLOP/s); ratio {ratio:.2f}, of processor {cpu:.2f}; peak {peak / 2**20:.0f} MiB"
    )
    rows = [
        Row(f"linear TICA, {n:,} x {r}, lag {LAG}, from a memory map", "at most 1.6 times the bare products",
            f"{ratio:.2f} times ({times['fit'].best:.2f} s; processor {cpu:.2f})", f"1 ({times['bare'].best:.2f} s)",
            ratio <= 1.6),
    ]  # fmt: skip
    return {"times": times, "ratio": ratio, "peak_bytes": peak, "rows": rows}


def _error(rep: Any, x: np.ndarray) -> float:
    """Compare with the generalised eigenproblem of the lagged and the instantaneous covariance."""
    mean = (x[:-LAG].mean(axis=0) + x[LAG:].mean(axis=0)) / 2
    instant, lagged = np.zeros((2, x.shape[1], x.shape[1]))
    for start in range(0, len(x) - LAG, 10_000):
        stop = min(start + 10_000, len(x) - LAG)
        before, after = x[start:stop] - mean, x[start + LAG : stop + LAG] - mean
        instant += before.T @ before + after.T @ after
        lagged += before.T @ after
    mu = sl.eigh(lagged + lagged.T, instant, eigvals_only=True)[::-1][: len(rep.gamma)]
    return float(np.abs(rep.eigenvalues - mu).max())


def _bare(n: int, r: int) -> Any:
    """See the module's docstring."""
    rows = feature_rows(r, r)
    block = np.random.default_rng(0).standard_normal((rows, r))
    totals = [np.zeros((r, r), order="F") for _ in range(2)]

    def products() -> None:
        for start in range(0, n, rows):
            part = block[: min(rows, n - start)].T
            for total in totals:
                blas.dsyrk(1.0, part, beta=1.0, c=total, overwrite_c=1)

    return products
