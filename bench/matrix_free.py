"""Exact fits without the kernel matrix: beside the dense solver where that has room, and alone where it has none.

The limit is the time of the products with the kernel alone: everything else of a fit is overhead.
"""

from __future__ import annotations

import time
from typing import Any
from unittest import mock

import numpy as np

import sslcore
from sslcore.kernels import Exponential, Gaussian
from sslcore.solvers.matrix_free import MatrixFreeKernel

from .memory import in_fresh_process, peak_rise
from .problems import half_moon_views
from .report import Row, require

REG = 1e-5
CASES: dict[str, tuple[Any, int, dict[str, float]]] = {
    "exponential(.2)": (Exponential(0.2), 5, {}),
    "Gaussian(.3)": (Gaussian(0.3), 5, {}),
    "kernel PCA, exponential(.2)": (Exponential(0.2), 16, {"beta": 0.0}),
}
LARGE_SECONDS = {"exponential(.2)": 720, "Gaussian(.3)": 180, "kernel PCA, exponential(.2)": 300}
LARGE_BYTES = 6 << 30


def fit(views: np.ndarray, case: str, solver: str) -> Any:
    """Fit one of the cases."""
    kernel, k, numbers = CASES[case]
    return sslcore.pretrain(views, kernel, k, reg=REG, solver=solver, **numbers)


def timed(views: np.ndarray, case: str, solver: str) -> tuple[Any, dict[str, float]]:
    """Fit, and say how long it took: wall clock, processor, and the products with the kernel among it."""
    spent: list[float] = []
    original = MatrixFreeKernel.times_kernel

    def counted(self: MatrixFreeKernel, v: Any, **how: Any) -> Any:
        start = time.perf_counter()
        product = original(self, v, **how)
        spent.append(time.perf_counter() - start)
        return product

    with mock.patch.object(MatrixFreeKernel, "times_kernel", counted):
        start, processor = time.perf_counter(), time.process_time()
        rep = fit(views, case, solver)
        seconds = {"seconds": time.perf_counter() - start, "processor": time.process_time() - processor}
    return rep, seconds | {"products": len(spent), "in_products": sum(spent)}


def show(name: str, rep: Any, times: dict[str, float]) -> None:
    """Tell one fit in a line."""
    print(
        f"  {name}: {times['seconds']:.1f} s ({times['processor']:.1f} s of processor, {times['products']} products in "
        f"{times['in_products']:.1f} s); {rep.certificate.algorithm}; worst {rep.certificate.worst:.0e}",
        flush=True,
    )


def run(quick: bool = False) -> dict[str, Any]:
    """N = 4,000 and 20,000 views: the same numbers as the dense solver, time and memory beside its."""
    rows, results = [], {}
    for n in (300, 500) if quick else (2000, 10_000):
        views, n_views = half_moon_views(n), 2 * n
        for case in CASES:
            fit(views[:100], case, "matrix-free")
            dense, dense_times = timed(views, case, "dense")
            found, times = timed(views, case, "matrix-free")
            show(f"dense, {case}, N = {n_views}", dense, dense_times)
            show(f"matrix-free, {case}, N = {n_views}", found, times)
            require("gamma against the dense solver", float(np.abs(found.gamma / dense.gamma - 1).max()), 1e-8)
            require("certificate", found.certificate.worst, 1e-6)
            ratio, limit = times["seconds"] / dense_times["seconds"], times["in_products"] / dense_times["seconds"]
            target = n_views == 20_000
            measured = f"{ratio:.2f} times ({times['seconds']:.1f} s, {times['products']} products)"
            rows.append(
                Row(
                    f"matrix-free against dense, {case}, N = {n_views}",
                    "at most 4 times" if target else "-",
                    measured,
                    f"{limit:.2f} (its products)",
                    ratio <= 4 if target else None,
                )
            )
            results[f"{case} {n_views}"] = {"dense": dense_times, "matrix-free": times}
    setup = f"from bench.matrix_free import *; views = half_moon_views({n})"
    peaks = {
        s: peak_rise(f"{setup}; fit(views[:200], 'exponential(.2)', '{s}')", f"fit(views, 'exponential(.2)', '{s}')")
        for s in ("dense", "matrix-free")
    }
    share = peaks["matrix-free"] / peaks["dense"]
    rows.append(
        Row(
            f"matrix-free, peak memory, N = {n_views}",
            "at most a fifth of dense",
            f"{share:.3f} ({peaks['matrix-free'] / 1e6:.0f} MB)",
            "-",
            share <= 0.2,
        )
    )
    return {"times": results, "peak_bytes": peaks, "rows": rows}


_LARGE = """
import json
from bench.matrix_free import *
views = half_moon_views({n})
fit(views[:200], {case!r}, "matrix-free")
rep, times = timed(views, {case!r}, "matrix-free")
show({case!r}, rep, times)
with open("/proc/self/status") as file:
    peak = next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM"))
print(json.dumps([times, rep.certificate.worst, rep.certificate.algorithm, peak]))
"""


def run_large(quick: bool = False) -> dict[str, Any]:
    """N = 100,000 views, whose matrix would take 80 GB: time and memory of the whole process."""
    n = 500 if quick else 50_000
    rows, results = [], {}
    for case, most in LARGE_SECONDS.items():
        times, worst, algorithm, peak = in_fresh_process(_LARGE.format(n=n, case=case))
        print(f"  {case}: {algorithm}, {times}", flush=True)
        require("certificate", worst, 1e-6)
        rows.append(
            Row(
                f"matrix-free, {case}, N = {2 * n}",
                f"at most {most} s, 6 GiB",
                f"{times['seconds']:.0f} s, {peak / 2**30:.1f} GiB",
                f"{times['in_products']:.0f} s ({times['products']} products)",
                times["seconds"] <= most and peak <= LARGE_BYTES,
            )
        )
        results[case] = {**times, "worst": worst, "peak_bytes": peak, "algorithm": algorithm}
    return {"times": results, "rows": rows}
