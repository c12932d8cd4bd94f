"""The search for reg (reg="auto") with a kernel, beside one fit at the reg that it chooses."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

import sslcore
from sslcore.selection import AutoReg

from .report import Row, require
from .timing import Task, measure


def check(views: Any, kernel: Any, k: int, selection: Any, center: bool) -> None:
    """Compare the risks at some powers of ten with a search that comes to them from random vectors."""
    worst = 0.0
    decades = np.abs(np.log10(selection.regs) % 1 - 0.5) > 0.499  # those between are rounded where they are written
    for i in np.flatnonzero(decades & np.isfinite(selection.risks))[2::3]:
        search = AutoReg(regs=(float(selection.regs[0]) * 1e3, float(selection.regs[i])))  # the first has collapsed
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", sslcore.SelectionWarning)
            alone = sslcore.pretrain(views, kernel, k, reg=search, center=center).selection
        worst = max(worst, abs(float(alone.risks[1] - selection.risks[i])) / k)
    require("risk of some regs, each in a search of its own", worst, 1e-6)


def run(quick: bool = False) -> dict[str, Any]:
    """Ratios on half-moons and on the digits."""
    moons = sslcore.datasets.half_moons(250 if quick else 2000, seed=0)
    digits = np.asarray(sslcore.datasets.digits()[0], float)[: 250 if quick else 1000]
    cases = {
        "half-moons": (moons, 0.1, sslcore.kernels.Exponential(0.2), 5, False),
        "digits": (digits, 0.1 * float(digits.max()), sslcore.kernels.Gaussian(2.0 * float(digits.max())), 16, True),
    }
    rows, results = [], {}
    for name, (x, noise, kernel, k, center) in cases.items():
        views = sslcore.augmentations.GaussianNoise(noise).views(x, 2, seed=0)

        def search(views: Any = views, kernel: Any = kernel, k: int = k, center: bool = center) -> Any:
            return sslcore.pretrain(views, kernel, k, reg="auto", center=center)

        found = search()

        def fit(
            views: Any = views, kernel: Any = kernel, k: int = k, center: bool = center, reg: float = found.reg
        ) -> Any:
            return sslcore.pretrain(views, kernel, k, reg=reg, center=center)

        check(views, kernel, k, found.selection, center)
        times = measure({"fit": Task(fit), "search": Task(search)}, 1 if quick else 3)
        ratio, cpu = times["search"].best / times["fit"].best, times["search"].cpu / times["fit"].cpu
        print(
            f"  {name}: reg {found.reg:g}; fit {times['fit'].best:.2f} s, search {times['search'].best:.2f} s; "
            f"ratio {ratio:.2f}, of processor {cpu:.2f}"
        )
        rows.append(
            Row(
                f'reg="auto", {name}, N = {2 * len(x)}, k = {k}',
                "at most 3 fits",
                f"{ratio:.2f} fits ({times['search'].best:.2f} s)",
                f"1 ({times['fit'].best:.2f} s)",
                ratio <= 3,
            )
        )
        results[name] = {"times": times, "ratio": ratio, "cpu_ratio": cpu}
    return {**results, "rows": rows}
