"""Views with Gaussian noise, made by counter-based Philox, beside NumPy's generators of normals.

NumPy's run on one thread and depend on the order of the draws; sslcore's views are a function of (seed, sample, view),
on all threads.  Its time includes reading the samples, adding them and writing the views.  There is no target.
"""

from __future__ import annotations

import math
import os
from typing import Any

import numpy as np

import sslcore

from .report import Row, require
from .timing import Task, measure

MASK = 2**32 - 1


def philox(counter: list[int], key: list[int]) -> list[int]:
    """Philox4x32-10 in Python's integers (Salmon, Moraes, Dror and Shaw 2011)."""
    c, k = list(counter), list(key)
    for _ in range(10):
        a, b = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [(b >> 32) ^ c[1] ^ k[0], b & MASK, (a >> 32) ^ c[3] ^ k[1], a & MASK]
        k = [(k[0] + 0x9E3779B9) & MASK, (k[1] + 0xBB67AE85) & MASK]
    return c


def normals_of_view(seed: int, sample: int, view: int, d: int) -> np.ndarray:
    """Make the d normals of one view by ``math``, from the layout described in sslcore.backends.numba_cpu.philox."""
    blocks = -(-d // 4)
    table = []
    for block in range(blocks):
        words = philox([block, view, sample & MASK, sample >> 32], [seed & MASK, seed >> 32])
        lanes = []
        for u, v in (words[:2], words[2:]):
            r = math.sqrt(-2 * math.log((u + 0.5) / 2**32))
            x = ((v % 2**30) - 2**29 + 0.5) * 2 * math.pi / 2**32
            pair = [r * math.cos(x), r * math.sin(x)]
            lanes += [(-z if v >> 31 else z) for z in (pair[::-1] if v >> 30 & 1 else pair)]
        table.append(lanes)
    return np.array([table[j % blocks][j // blocks] for j in range(d)])


def check() -> float:
    """Known answer of Random123, then views against Python's own arithmetic, far into a large data set."""
    if philox([0] * 4, [0] * 2) != [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]:
        raise AssertionError("the check's own Philox is wrong")
    d, first, seed = 37, 2**33 + 5, 2**40 + 3
    found = sslcore.augmentations.GaussianNoise(1.0).views(np.zeros((3, d)), 2, seed=seed, first=first)
    return max(
        float(np.abs(found[i, j] - normals_of_view(seed, first + i, j, d)).max()) for i in range(3) for j in range(2)
    )


def run(quick: bool = False) -> dict[str, Any]:
    """Nanoseconds a normal, on all threads and on one."""
    error = require("views against Python's integers and math", check(), 1e-13)
    n, m, d = (10_000 if quick else 100_000), 2, 32
    x, count = np.zeros((n, d)), n * m * d
    augmentation = sslcore.augmentations.GaussianNoise(1.0)
    out = np.empty(count)
    generators = {"PCG64": np.random.Generator(np.random.PCG64(0)), "Philox": np.random.Generator(np.random.Philox(0))}

    def on_one_thread() -> None:
        kept = os.environ.get("SSLCORE_NUM_THREADS")
        os.environ["SSLCORE_NUM_THREADS"] = "1"
        try:
            augmentation.views(x, m, seed=0)
        finally:
            del os.environ["SSLCORE_NUM_THREADS"]
            if kept is not None:
                os.environ["SSLCORE_NUM_THREADS"] = kept

    tasks = {
        "views, all threads": Task(lambda: augmentation.views(x, m, seed=0), bytes=8.0 * count),
        "views, one thread": Task(on_one_thread, bytes=8.0 * count),
        **{
            f"numpy {name}": Task(lambda g=g: g.standard_normal(out=out), bytes=8.0 * count)
            for name, g in generators.items()
        },
    }
    times = measure(tasks, 3 if quick else 9)
    nanoseconds = {name: t.best / count * 1e9 for name, t in times.items()}
    for name, value in nanoseconds.items():
        print(f"  {name:<18} {value:6.2f} ns a normal, {times[name].gb_per_s:.1f} GB/s written")
    row = Row(
        f"views with noise, d = {d}",
        "no target",
        f"{nanoseconds['views, all threads']:.2f} ns a normal ({nanoseconds['views, one thread']:.2f} on one thread)",
        f"{nanoseconds['numpy PCG64']:.2f} (NumPy's generator)",
    )
    return {"error": error, "times": times, "ns_per_normal": nanoseconds, "rows": [row]}
