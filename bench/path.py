"""A path of 20 values of reg beside one fit: with features of r = 1024, and with the exact solver.

Both sides see the same views and start from nothing; each point of the path is first compared with a fit of its own.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import sslcore

from . import features
from .report import Row, require
from .timing import Task, measure

N_REGS = 20


def check(data: Any, model: Any, k: int, regs: np.ndarray) -> None:
    """Compare all points of a path with separate fits."""
    path = sslcore.pretrain_path(data, model, k, regs=regs)
    worst = risk = 0.0
    for i, reg in enumerate(regs):
        rep = sslcore.pretrain(data, model, k, reg=reg)
        worst = max(worst, float(np.abs(path.gamma[i, 0] / rep.gamma - 1).max()))
        risk = max(risk, abs(path.at(i).risk - rep.risk) / k)
    require("gamma of each point, a fit of its own", worst, 1e-6)
    require("risk of each point, a fit of its own", risk, 1e-9)
    require("worst residual of all points", max(rep.certificate.worst for rep in path), 1e-6)


def compare(data: Any, model: Any, k: int, regs: np.ndarray, repeat: int) -> dict[str, Any]:
    """Times of one fit (at the middle of the path) and of the path."""
    middle = float(regs[len(regs) // 2])
    times = measure(
        {
            "fit": Task(lambda: sslcore.pretrain(data, model, k, reg=middle)),
            "path": Task(lambda: sslcore.pretrain_path(data, model, k, regs=regs)),
        },
        repeat,
    )
    ratio = times["path"].best / times["fit"].best
    cpu = times["path"].cpu / times["fit"].cpu
    print(
        f"  fit {times['fit'].best:.2f} s, path {times['path'].best:.2f} s; ratio {ratio:.2f}, of processor {cpu:.2f}"
    )
    return {"times": times, "ratio": ratio, "cpu_ratio": cpu}


def run(quick: bool = False) -> dict[str, Any]:
    """Ratios of a path to one fit."""
    repeat = 1 if quick else 2
    r, k = (128, 8) if quick else (features.R, features.K)
    regs = np.logspace(-6, 0, N_REGS)
    rows, results = [], {}
    for n in (1000,) if quick else (5_000, 25_000):
        data = features.views(n)
        model = features.model(r).fit(data)
        if n <= 5000:
            check(data, model, k, regs)
        results[f"features {2 * n}"] = found = compare(data, model, k, regs, repeat)
        rows.append(_row(f"path of {N_REGS} regs, features r = {r}, {2 * n} views", "at most 3 fits", found, 3.0))
    n = 300 if quick else 1000
    x = sslcore.datasets.half_moons(n, seed=0)
    moons = sslcore.augmentations.GaussianNoise(0.1).views(x, 2, seed=0)
    kernel = sslcore.kernels.Exponential(0.2)
    check(moons, kernel, 5, np.logspace(-6, 0, N_REGS))
    results["exact moons"] = found = compare(moons, kernel, 5, regs, repeat)
    rows.append(_row(f"path of {N_REGS} regs, exact, half-moons, {2 * n} views", "at most 6 fits", found, 6.0))
    wide = np.asarray(features.views(n))
    kernel = sslcore.kernels.Gaussian(features.SCALE)
    results["exact wide"] = found = compare(wide, kernel, features.K, regs, repeat)
    rows.append(_row(f"path of {N_REGS} regs, exact, d = {features.D}, {2 * n} views", "at most 6 fits", found, 6.0))
    more = 2 * n
    moons = sslcore.augmentations.GaussianNoise(0.1).views(sslcore.datasets.half_moons(more, seed=0), 2, seed=0)
    results["exact large"] = found = compare(moons, sslcore.kernels.Exponential(0.2), 5, regs, repeat)
    rows.append(_row(f"path of {N_REGS} regs, exact, half-moons, {2 * more} views", "at most 6 fits", found, 6.0))
    return {**results, "rows": rows}


def _row(work: str, target: str, found: dict[str, Any], limit: float) -> Row:
    times, ratio = found["times"], found["ratio"]
    measured = f"{ratio:.2f} fits ({times['path'].best:.2f} s)"
    return Row(work, target, measured, f"1 ({times['fit'].best:.2f} s)", ratio <= limit)
