"""Risk and gradient of n = 10^5 samples, two views, k = 64, beside one pass of z^T z in the same run.

z^T z (NumPy) is the least that the covariance term needs; the gradient has to read z again and write as much.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from sslcore.risk import vicreg

from . import rates
from .report import Row, require
from .timing import Task, measure


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


def run(quick: bool = False) -> dict[str, Any]:
    """Time of value and gradient, both estimators, over that of one ``z.T @ z``."""
    n, m, k = (10_000 if quick else 100_000), 2, 64
    error = require("value and gradient against sums over all pairs, small case", check(), 1e-12)
    z = np.random.default_rng(0).standard_normal((n, m, k))
    rows = z.reshape(n * m, k)
    tasks = {
        "product": Task(lambda: rows.T @ rows, bytes=z.nbytes, flops=2.0 * n * m * k * k),
        "biased": Task(lambda: vicreg(z, return_grad=True), bytes=3 * z.nbytes),  # read twice, gradient written
        "unbiased": Task(lambda: vicreg(z, unbiased=True, return_grad=True), bytes=3 * z.nbytes),
        "copy": rates.copy(),
    }
    times = measure(tasks, 5 if quick else 21)
    ratios = {name: times[name].best / times["product"].best for name in ("biased", "unbiased")}
    copy = times["copy"].gb_per_s
    for name in ("product", "biased", "unbiased"):
        t = times[name]
        print(f"  {name:<9} {t.ms:7.1f} ms  {t.gb_per_s:5.1f} GB/s, {t.gb_per_s / copy:.0%} of a one-thread copy")
    print(f"  ratios {ratios['biased']:.2f} (biased), {ratios['unbiased']:.2f} (unbiased)")
    row = Row(
        f"risk and gradient, n = {n}, m = {m}, k = {k}, biased / unbiased",
        "at most 2 times one z^T z",
        f"{ratios['biased']:.2f} / {ratios['unbiased']:.2f} times ({times['biased'].ms:.0f} ms)",
        f"1 ({times['product'].ms:.0f} ms)",
        max(ratios.values()) <= 2,
    )
    return {"error": error, "times": times, "ratios": ratios, "rows": [row]}
