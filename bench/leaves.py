"""What a leaf of a stream takes on one core, beside the cost model of docs/scale.md; and adding the sums of two leaves.

With r features of float32 a leaf of L = 16,384 views takes L (r^2 / F + 4 r / B) seconds: F, the rate of a symmetric
product of this width, is measured in the same run, and B is one number for all widths: what reading, checking and
rotating a view's 4 r bytes takes.  Processor time of one thread, which is what a worker of a cluster has.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import threadpoolctl
from scipy.linalg import blas

from sslcore.features import Features, Identity, Nystrom
from sslcore.kernels import Gaussian
from sslcore.stream import moments
from sslcore.stream._leaves import leaf_samples

from .report import Row, require
from .stream import M

BYTES_PER_SECOND = 1.5e9
"""B of the model."""

WIDTHS = 64, 256, 768, 2048
LANDMARKS, COORDINATES = 1024, 128


def best(call: Callable[[], Any], repeat: int) -> float:
    """Return the least processor time of some calls, after one that is not counted."""
    call()
    used = []
    for _ in range(repeat):
        start = time.process_time()
        call()
        used.append(time.process_time() - start)
    return min(used)


def views_of(n: int, d: int) -> np.ndarray:
    """Return two views of each of n samples."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((n, 1, d), np.float32)
    out: np.ndarray = x + rng.standard_normal((n, M, d), np.float32)
    return out


def leaf_seconds(features: Features, d: int, n_leaves: int, repeat: int) -> float:
    """Return the seconds of a leaf in a file of some."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "z.npy"
        leaf = views_of(leaf_samples(M), d)
        out = np.lib.format.open_memmap(path, "w+", np.float32, (n_leaves * len(leaf), M, d))
        for start in range(0, len(out), len(leaf)):
            out[start : start + len(leaf)] = leaf
        out.flush()
        del out
        return best(lambda: moments(path, features, deterministic=True), repeat) / n_leaves


def check() -> float:
    """Compare the eigenvalues of a stream of single precision with those of its moments in double precision."""
    views = views_of(leaf_samples(M) + 77, 64)
    phi = views.astype(float)
    sigma = np.einsum("nmi,nmj->ij", phi, phi)
    delta = np.einsum("ni,nj->ij", phi[:, 0] - phi[:, 1], phi[:, 0] - phi[:, 1])
    found = moments([views], Identity()).solve(4, reg=1e-2)
    values = np.linalg.eigvals(np.linalg.solve(delta + 1e-2 * M * len(phi) * np.eye(64), sigma)).real
    return float(np.abs(1.0 / found.gamma / np.sort(values)[::-1][:4] - 1.0).max())


def run(quick: bool = False) -> dict[str, Any]:
    """Return the seconds of a leaf by the model and as measured, for each width, and of adding two sums."""
    require("1/gamma of a stream, in double precision", check(), 1e-5)
    widths, repeat = (WIDTHS[:2], 1) if quick else (WIDTHS, 5)
    views = M * leaf_samples(M)
    cases, rows = [], []
    with threadpoolctl.threadpool_limits(1):
        for r in widths:
            flat = views_of(leaf_samples(M), r)[:, 0].copy()
            rate = len(flat) * r * r / best(lambda flat=flat: blas.ssyrk(1.0, flat.T), 2 * repeat)
            n_leaves = 2 if quick else max(4, (1 << 29) // (views * r * 4))
            measured = leaf_seconds(Identity(), r, n_leaves, repeat)
            model = views * (r * r / rate + 4 * r / BYTES_PER_SECOND)
            sums, other = (moments([views_of(20, r)], Identity())._total() for _ in range(2))
            added = best(lambda sums=sums, other=other: sums.add(other), 4 * repeat)
            cases.append({"r": r, "rate": rate, "model": model, "measured": measured, "added": added})
            print(
                f"  r = {r:<5} {rate / 1e9:6.1f} GFLOP/s, model {model * 1e3:7.1f} ms, {measured * 1e3:7.1f} ms a leaf"
            )
            rows.append(
                Row(f"a leaf of {views:,} views, float32, r = {r:,}, one core", "within 30 % of the cost model",
                    f"{measured * 1e3:.3g} ms", f"{model * 1e3:.3g} ms", abs(measured / model - 1) <= 0.3)
            )  # fmt: skip
        landmarks = views_of(LANDMARKS // M, COORDINATES).reshape(LANDMARKS, COORDINATES)
        nystrom = leaf_seconds(Nystrom(Gaussian(16.0), landmarks), COORDINATES, 2 if quick else 4, repeat)
    what = f"a leaf of {views:,} views, float32, Nystrom r = {LANDMARKS:,}, d = {COORDINATES}, one core"
    rows.append(Row(what, "", f"{nystrom * 1e3:.3g} ms", ""))
    return {"views": views, "cases": cases, "nystrom": nystrom, "rows": rows}
