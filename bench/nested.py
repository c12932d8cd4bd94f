"""Fits to the first n' of n samples, for 50 n', beside the largest of them alone: the paper's controlled study."""

from __future__ import annotations

from typing import Any

import numpy as np

import sslcore
from sslcore.fitting.nested import nested_fits

from .exact import KERNEL, K
from .problems import LAMBDA_REF, half_moon_views
from .report import Row, require
from .timing import Task, measure

N_SIZES, LEAST = 50, 30


def check(views: np.ndarray, fits: list[Any]) -> None:
    """Compare all sizes with separate fits."""
    gamma = values = 0.0
    for fit in fits:
        alone = sslcore.pretrain(views[: fit.n], KERNEL, K, reg=fit.reg, unbiased=False)
        gamma = max(gamma, float(np.abs(fit.gamma / alone.gamma - 1).max()))
        values = max(values, float(np.abs(fit.representation.values - alone.values).max()))
    require("gamma of each size, a fit of its own", gamma, 1e-10)
    require("values of each size, a fit of its own", values, 1e-6)
    require("worst residual of all sizes", max(fit.certificate.worst for fit in fits), 1e-6)


def run(quick: bool = False) -> dict[str, Any]:
    """Ratio of all sizes to the largest one."""
    n = 200 if quick else 1000
    views = half_moon_views(n)
    sizes = np.unique(np.round(np.geomspace(LEAST, n, N_SIZES)).astype(int)).tolist()
    reg_times_n = LAMBDA_REF / views.shape[1]  # lambda = lambda_ref / (m N)

    def nested() -> list[Any]:
        return nested_fits(views, KERNEL, K, sizes, reg_times_n=reg_times_n, unbiased=False)

    def largest() -> Any:
        return sslcore.pretrain(views, KERNEL, K, reg=reg_times_n / (n * views.shape[1]), unbiased=False)

    fits = nested()
    check(views, fits)
    times = measure({"largest": Task(largest), "nested": Task(nested)}, 3 if quick else 7)
    ratio, cpu = times["nested"].best / times["largest"].best, times["nested"].cpu / times["largest"].cpu
    steps = sum(fit.certificate.iterations for fit in fits) / len(fits)
    print(
        f"  largest {times['largest'].ms:.1f} ms, {len(sizes)} sizes {times['nested'].ms:.1f} ms; ratio {ratio:.2f}, "
        f"of processor {cpu:.2f}; {steps:.1f} steps a size"
    )
    row = Row(
        f"nested pretraining, {len(sizes)} sizes up to n = {n}",
        "at most 5 times the largest",
        f"{ratio:.2f} times ({times['nested'].best:.3f} s)",
        f"1 ({times['largest'].best:.3f} s)",
        ratio <= 5,
    )
    return {"times": times, "ratio": ratio, "cpu_ratio": cpu, "steps": steps, "rows": [row]}
