"""Views by the laws of series, images and tables, beside a copy of the samples into the views: the limit of any law."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

import sslcore

from .report import Row, require
from .timing import Task, measure

SERIES, IMAGES = (3, 128), (32, 32, 3)


def laws() -> dict[str, tuple[Any, tuple[int, ...]]]:
    """Name each law, with the shape of its samples."""
    a, channels = sslcore.augmentations, SERIES[0]
    table = np.random.default_rng(0).standard_normal((5000, 64))
    return {
        "jitter": (a.Jitter(channels=channels), SERIES),
        "scaling": (a.Scaling(channels=channels), SERIES),
        "magnitude warp": (a.MagnitudeWarp(channels=channels), SERIES),
        "time warp": (a.TimeWarp(channels=channels), SERIES),
        "window": (a.Window(channels=channels), SERIES),
        "brightness": (a.Brightness(IMAGES), IMAGES),
        "color jitter": (a.ColorJitter(IMAGES), IMAGES),
        "blur": (a.Blur(IMAGES, 1.0), IMAGES),
        "resized crop": (a.ResizedCrop(IMAGES), IMAGES),
        "affine": (a.Affine(IMAGES), IMAGES),
        "corrupt": (a.Corrupt(0.6, table), (64,)),
    }


def check() -> float:
    """Compare means over 20,000 views with those of the laws, in standard errors: 5 is a false alarm in a million."""
    a, n = sslcore.augmentations, 20_000
    times = np.arange(16.0)
    found = {
        "time": (a.TimeWarp(0.5).views(times[None], n, seed=0)[0], times),
        "window": (a.Window(0.5).views(times[None], n, seed=0)[0], 3.75 + times / 2),
        "factor": (a.MagnitudeWarp(0.3).views(np.ones((1, 16)), n, seed=0)[0], np.ones(16)),
        "contrast": (a.Contrast((4, 4)).views(times[None], n, seed=0)[0], times),
        "table": (a.Corrupt(0.5, times[:, None] * np.ones(4)).views(np.zeros((1, 4)), n, seed=0)[0], np.full(4, 3.75)),
    }
    worst = 0.0
    for views, mean in found.values():
        error = np.abs(views.mean(axis=0) - mean) / (views.std(axis=0) / math.sqrt(n) + 1e-9)
        worst = max(worst, float(error.max()))
    return worst


def run(quick: bool = False) -> dict[str, Any]:
    """Nanoseconds an entry of views on all threads, in float64."""
    error = require("means of the laws of series, images and tables, in standard errors", check(), 5.0)
    entries = 300_000 if quick else 3_000_000
    tasks, counts = {}, {}
    for name, (law, shape) in laws().items():
        d = math.prod(shape)
        x = np.random.default_rng(0).standard_normal((entries // (2 * d), d))
        counts[name] = 2 * x.size
        tasks[name] = Task(lambda law=law, x=x: law.views(x, 2, seed=0), bytes=8.0 * counts[name])
    x = np.random.default_rng(0).standard_normal((entries // 512, 256))
    counts["a copy"] = 2 * x.size
    tasks["a copy"] = Task(lambda: np.repeat(x[:, None], 2, axis=1), bytes=8.0 * counts["a copy"])
    times = measure(tasks, 3 if quick else 7)
    nanoseconds = {name: t.best / counts[name] * 1e9 for name, t in times.items()}
    rows = []
    for name, value in nanoseconds.items():
        ratio = value / nanoseconds["a copy"]
        print(f"  {name:<16} {value:6.2f} ns an entry, {ratio:.1f} copies")
        if name != "a copy":
            limit = f"{nanoseconds['a copy']:.2f} (np.repeat, one thread: {ratio:.1f} times)"
            rows.append(Row(f"views by {name}", "no target", f"{value:.2f} ns an entry", limit))
    return {"error": error, "times": times, "ns_per_entry": nanoseconds, "rows": rows}
