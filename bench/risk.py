"""Risk and gradient of n = 10^5 samples, two views, k = 64, beside one pass of z^T z in the same run.

``python -m bench.risk``
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from sslcore.risk import vicreg


def check() -> float:
    """Largest relative error of value and gradient against sums over all pairs, on a small case."""
    n, m, k = 40, 3, 5
    z = np.random.default_rng(0).standard_normal((n, m, k))
    products = np.einsum("iac,jbc->iajb", z, z)
    distances = ((z[:, :, None] - z[:, None]) ** 2).sum(axis=3)
    errors = []
    for unbiased in (False, True):
        samples = np.ones((n, n)) - unbiased * np.eye(n)  # weights of the pairs of samples, and of views
        views = np.ones((m, m)) - unbiased * np.eye(m)
        samples, views = samples / samples.sum(), views / views.sum()
        value = np.einsum("iab,ab->", distances, views) / n
        value += np.einsum("iajb,ij->", products**2, samples) / m**2 - 2 * np.sum(z**2) / (n * m) + k
        slope = 4 / n * np.einsum("iabc,ab->iac", z[:, :, None] - z[:, None], views)
        slope += 4 / m**2 * np.einsum("iajb,ij,jbc->iac", products, samples, z) - 4 / (n * m) * z
        found, gradient = vicreg(z, 1.0, unbiased, return_grad=True)
        errors += [abs(found - value) / abs(value), np.abs(gradient - slope).max() / np.abs(slope).max()]
    return float(max(errors))


def best_times(functions: dict[str, Callable[[], Any]], repeat: int) -> dict[str, float]:
    """Least time of each, the functions taking turns so that a slow moment of the machine hits all."""
    times: dict[str, list[float]] = {name: [] for name in functions}
    for function in functions.values():  # compiles, and wakes the threads
        function()
    for _ in range(repeat):
        for name, function in functions.items():
            start = time.perf_counter()
            function()
            times[name].append(time.perf_counter() - start)
    return {name: min(values) for name, values in times.items()}


def run(n: int = 100_000, m: int = 2, k: int = 64, repeat: int = 9) -> dict[str, Any]:
    """Check, then time; ``ratio_*`` is the time over that of one ``z.T @ z``."""
    error = check()
    if not error < 1e-12:
        raise AssertionError(f"vicreg is wrong by {error:.1e}")
    z = np.random.default_rng(0).standard_normal((n, m, k))
    rows = z.reshape(n * m, k)
    seconds = best_times(
        {
            "product": lambda: rows.T @ rows,
            "biased": lambda: vicreg(z, return_grad=True),
            "unbiased": lambda: vicreg(z, unbiased=True, return_grad=True),
        },
        repeat,
    )
    result: dict[str, Any] = {"name": "risk", "n": n, "m": m, "k": k, "error": error, "seconds": seconds}
    for name in ("biased", "unbiased"):
        result[f"ratio_{name}"] = seconds[name] / seconds["product"]
    # z is read twice and the gradient written once
    result["gb_per_s"] = 3 * z.nbytes / seconds["biased"] / 1e9
    print(f"risk and gradient, n = {n}, m = {m}, k = {k}, float64 (error {error:.0e} on a small case)")
    print(f"  one z^T z   {seconds['product'] * 1e3:7.1f} ms  {z.nbytes / seconds['product'] / 1e9:5.1f} GB/s")
    for name in ("biased", "unbiased"):
        rate = 3 * z.nbytes / seconds[name] / 1e9
        print(f"  {name:<11} {seconds[name] * 1e3:7.1f} ms  {rate:5.1f} GB/s  ratio {result[f'ratio_{name}']:.2f}")
    return result


if __name__ == "__main__":
    run()
