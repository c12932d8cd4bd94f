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

from . import data_laws
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


# ---------------------------------------------------------------- the laws of the theory


def by_numpy(rng: np.random.Generator, m: int) -> dict[str, Any]:
    """The same laws in NumPy, on views (n m, d) of samples (n, d); draws depend on their order."""

    def repeated(x: np.ndarray) -> np.ndarray:
        return np.repeat(x, m, axis=0)

    def flip(x: np.ndarray, p: float = 0.2) -> np.ndarray:
        v = repeated(x)
        return np.where(rng.random(v.shape) < p, -v, v)

    def crop(x: np.ndarray, width: int = 20) -> np.ndarray:
        v = repeated(x)
        start = rng.integers(v.shape[1], size=(len(v), 1))
        kept = (np.arange(v.shape[1]) - start) % v.shape[1] < width
        return np.where(kept, v, 2.0 * rng.integers(2, size=v.shape) - 1.0)

    def shift(x: np.ndarray) -> np.ndarray:
        v = repeated(x)
        d = v.shape[1]
        return np.take_along_axis(v, (np.arange(d) - rng.integers(d, size=(len(v), 1))) % d, axis=1)

    def step(x: np.ndarray, angle: float = 0.5) -> np.ndarray:
        v = repeated(x)
        g = rng.standard_normal(v.shape)
        g -= (np.einsum("ij,ij->i", g, v) / np.einsum("ij,ij->i", v, v))[:, None] * v
        lengths = np.linalg.norm(v, axis=1) / np.linalg.norm(g, axis=1)
        return np.cos(angle) * v + (np.sin(angle) * lengths)[:, None] * g

    return {"flip": flip, "crop": crop, "shift": shift, "tangent step": step}


def check_laws() -> float:
    """Means of products of a view with its sample, against the eigenvalues that the laws' docstrings state."""
    a, n, d = sslcore.augmentations, 20_000, 32
    x = sslcore.datasets.hypercube(n, d, seed=1)
    worst = 0.0
    for law, pair, exact in (
        (a.BitFlip(0.2), [0, 3], 0.36),
        (a.Crop(20), [0, 3], 17 / 32),
        (a.Shift([1 / d] * d), [0, 3], 1 / d),
    ):
        xi = law.views(x, 2, seed=0)
        worst = max(worst, abs(float((xi[..., pair].prod(-1) * x[:, None, pair].prod(-1)).mean()) - exact))
    y = sslcore.datasets.sphere(n, d, seed=1)
    angles = (a.TangentStep(0.5).views(y, 2, seed=0) * y[:, None]).sum(axis=-1)
    return max(worst, abs(float(angles.mean()) - math.cos(0.5)))


def run_laws(quick: bool = False) -> dict[str, Any]:
    """Nanoseconds a coordinate of views on the cube and on the sphere, beside the same laws in NumPy."""
    error = require("eigenvalues of the laws, by 40,000 views", check_laws(), 5 / math.sqrt(40_000))
    n, m, d = (5_000 if quick else 50_000), 2, 32
    a = sslcore.augmentations
    x, count = sslcore.datasets.hypercube(n, d, seed=0), n * m * d
    laws = {
        "flip": a.BitFlip(0.2),
        "crop": a.Crop(20),
        "shift": a.Shift([1 / d] * d),
        "tangent step": a.TangentStep(0.5),
        "rotation": a.RandomRotation(0.5),
        "mixture of flip and crop": a.Mixture([0.5, 0.5], [a.BitFlip(0.2), a.Crop(20)]),
    }
    others = by_numpy(np.random.default_rng(0), m)
    tasks = {name: Task(lambda law=law: law.views(x, m, seed=0), bytes=8.0 * count) for name, law in laws.items()}
    tasks |= {f"numpy {name}": Task(lambda f=f: f(x), bytes=8.0 * count) for name, f in others.items()}
    times = measure(tasks, 3 if quick else 7)
    nanoseconds = {name: t.best / count * 1e9 for name, t in times.items()}
    rows = []
    for name in laws:
        other = nanoseconds.get(f"numpy {name}")
        print(f"  {name:<26} {nanoseconds[name]:6.2f} ns a coordinate" + (f", NumPy {other:.2f}" if other else ""))
        limit = "no alternative timed" if other is None else f"{other:.2f} (NumPy's generator, one thread)"
        rows.append(Row(f"views by {name}, d = {d}", "no target", f"{nanoseconds[name]:.2f} ns a coordinate", limit))
    data = data_laws.run(quick)
    rows += data["rows"]
    return {"error": error, "times": times, "ns_per_coordinate": nanoseconds, "data_laws": data, "rows": rows}
