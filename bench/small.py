"""What small problems and short programs pay: one tiny fit, the import, and compilation in a second process."""

from __future__ import annotations

from statistics import median
from typing import Any

import numpy as np

from .memory import in_fresh_process
from .problems import authors_dense_method, half_moon_views, matched_basis_error
from .report import Row, require
from .timing import Task, measure


def run_tiny(quick: bool = False) -> dict[str, Any]:
    """Time n = 100, m = 2, k = 5, warm: one call of `pretrain`, in a tight loop."""
    from . import exact

    views = half_moon_views(100)
    values, vectors = authors_dense_method(views, exact.K)
    rep = exact.fit(views)
    error = require("eigenvalues against pinvh + eigh", float(np.abs(rep.eigenvalues - values).max()), 1e-10)
    embedded = rep.transform(views, scale="unit").reshape(-1, exact.K)
    require("projector", matched_basis_error(embedded, vectors), 1e-6)
    tasks = {
        "fit": Task(lambda: exact.fit(views)),
        "transform": Task(lambda: rep(views)),
        "dense": Task(lambda: authors_dense_method(views, exact.K)),
    }
    times = {name: measure({name: task}, 20 if quick else 300, pause=0.0)[name] for name, task in tasks.items()}
    for name, t in times.items():
        print(f"  {name:<9} best {t.ms:6.2f} ms, median {t.median * 1e3:6.2f} ms")
    row = Row(
        "tiny problem, n = 100, m = 2, k = 5, warm",
        "under 5 ms a call",
        f"{times['fit'].median * 1e3:.1f} ms (median), {times['fit'].ms:.1f} ms (best)",
        f"{times['dense'].median * 1e3:.1f} ms (dense method)",
        times["fit"].median < 5e-3,
    )
    return {"error": error, "times": times, "rows": [row]}


IMPORT = """
import json, time
start = time.perf_counter()
import {module}
print(json.dumps(time.perf_counter() - start))
"""

SESSION = """
import json, time
start = time.perf_counter()
import numpy as np
import sslcore
from numba.core import event
recorder = event.RecordingListener()
event.register("numba:run_pass", recorder)
event.register("numba:compile", recorder)
rng = np.random.default_rng(0)
for dtype in (np.float64, np.float32):
    x = rng.standard_normal((60, 3)).astype(dtype)
    views = sslcore.Views(x, sslcore.augmentations.GaussianNoise(0.1), 2, seed=0)
    for kernel in (sslcore.kernels.Gaussian(1.0), sslcore.kernels.Exponential(1.0)):
        rep = sslcore.pretrain(np.asarray(views), kernel, 2, reg=1e-2)
        rep(x)
        if len(recorder.buffer) == 0 and "first" not in globals():
            first = time.perf_counter() - start
    z = sslcore.pretrain(views, sslcore.features.Nystrom(kernel, 10), 2, reg=1e-2).embedding
    sslcore.risk.vicreg(z, unbiased=True, return_grad=True)
    kernel(rng.standard_normal((60, 100)).astype(dtype))
print(json.dumps([len(recorder.buffer), globals().get("first", time.perf_counter() - start)]))
"""


def run_import(quick: bool = False) -> dict[str, Any]:
    """Seconds of ``import``, each in a process of its own, and what Numba compiles in a second process.

    sslcore imports its parts when they are first used, so the time from the interpreter's start to the first fitted
    representation is told as well.  Every compiler pass that Numba runs is counted, over both precisions and all main
    doors; loading from its cache runs none.
    """
    repeat = 3 if quick else 11
    seconds: dict[str, list[float]] = {"sslcore": [], "numpy": [], "sslcore.fitting.pretraining": []}
    for _ in range(repeat):
        for module, values in seconds.items():
            values.append(float(in_fresh_process(IMPORT.format(module=module))))
    in_fresh_process(SESSION)  # the first process compiles, if this machine never has
    compiled, first_fit = in_fresh_process(SESSION)
    medians = {module: median(values) for module, values in seconds.items()}
    for module, value in medians.items():
        print(f"  import {module:<20} {value * 1e3:7.1f} ms (best {min(seconds[module]) * 1e3:.1f})")
    print(f"  a second process runs {compiled} compiler passes; its first fit is there after {first_fit:.2f} s")
    rows = [
        Row(
            "`import sslcore`",
            "under 0.25 s",
            f"{medians['sslcore']:.3f} s (its solvers: {medians['sslcore.fitting.pretraining']:.2f} s)",
            f"{medians['numpy']:.3f} s (import numpy)",
            medians["sslcore"] < 0.25,
        ),
        Row("a second process", "compiles nothing", f"{compiled} compiler passes", "0", compiled == 0),
    ]
    return {"seconds": seconds, "compiler_passes": compiled, "first_fit_seconds": first_fit, "rows": rows}
