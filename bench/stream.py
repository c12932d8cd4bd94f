"""Streams of float32 views from ``.npy`` files, beside the products of their leaves and a copy of their bytes.

The bare products are those that no order of sums avoids: of each leaf, two symmetric rank-k updates (means and
contrasts of two views) by the BLAS that the stream uses, of arrays that are in memory already.  The streamed probe is
timed beside its own products: Z^T Z, Z V and the outputs at all penalties.
"""

from __future__ import annotations

import contextlib
import functools
import tempfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from scipy.linalg import blas

import sslcore
from sslcore.features import Identity
from sslcore.stream import moments, ridge_probe
from sslcore.stream._leaves import leaf_samples

from . import rates
from .memory import peak_rise
from .report import Row, require
from .timing import Task, measure

R, M = 768, 2
REGS = tuple(10.0 ** (i - 6) for i in range(10))


def write_shards(folder: Path, n_leaves: int, n_files: int = 4) -> int:
    """Write shards of features of two views, and return their bytes."""
    rng = np.random.default_rng(0)
    n = n_leaves * leaf_samples(M) // n_files
    scales = np.linspace(0.1, 2.0, R, dtype=np.float32)
    for i in range(n_files):
        out = np.lib.format.open_memmap(folder / f"z-{i:03}.npy", "w+", np.float32, (n, M, R))
        for start in range(0, n, 4096):
            x = rng.standard_normal((min(4096, n - start), 1, R), np.float32) * scales
            out[start : start + len(x)] = x + rng.standard_normal((len(x), M, R), np.float32)
        out.flush()
    return n_files * n * M * R * 4


class _Stop(Exception):
    pass


def check(folder: Path) -> dict[str, float]:
    """Compare a stream with `sslcore.Moments` on all views, and one that was stopped with one that was not."""
    views = np.concatenate([np.load(path, mmap_mode="r")[:5000] for path in sorted(folder.glob("*.npy"))])
    blocks = [views[:7000], views[7000:]]
    found, whole = moments(blocks, Identity()), sslcore.Moments(Identity()).update(views)
    gamma = found.solve(16, reg=1e-2).gamma / whole.solve(16, reg=1e-2).gamma - 1

    def stop(done: int, total: int | None, left: float | None) -> None:
        raise _Stop

    kept = folder / "check"
    with contextlib.suppress(_Stop):
        moments(blocks, Identity(), checkpoint=kept, every=0, deterministic=True, progress=stop)
    resumed = moments(blocks, Identity(), checkpoint=kept, deterministic=True)
    straight = moments([views[:123], views[123:]], Identity(), deterministic=True)
    differing = sum(int((a != b).sum()) for a, b in zip(_matrices(resumed), _matrices(straight), strict=True))
    kept.unlink()
    z, y = views[:4000, 0, :64].astype(float), np.arange(4000) % 7 + (views[:4000, 0, 0] > 0)
    mine, theirs = ridge_probe([(z[:900], y[:900]), (z[900:], y[900:])], REGS), sslcore.probing.ridge_probe(z, y, REGS)
    return {
        "gamma": float(np.abs(gamma).max()),
        "differing": float(differing),
        "coef": float(np.abs(mine.coef - theirs.coef).max() / np.abs(theirs.coef).max()),
        "loo": float(np.abs(mine.loo_squared_errors / theirs.loo_squared_errors - 1).max()),
    }


def _matrices(found: Any) -> list[np.ndarray]:
    total = found._total()
    return [np.triu(total.between), np.triu(total.within), total.mean]


def bare_products(n_leaves: int) -> Task:
    """See the module's docstring."""
    rows = np.random.default_rng(0).standard_normal((leaf_samples(M), R), np.float32)

    def run() -> None:
        for _ in range(n_leaves * M):
            blas.ssyrk(1.0, rows.T)

    return Task(run, flops=float(n_leaves) * M * len(rows) * R * R)


def read_files(folder: Path, size: int) -> Task:
    """Read all bytes into memory that is there already, as the stream does."""
    target = bytearray(leaf_samples(M) * M * R * 4)

    def run() -> None:
        for path in sorted(folder.glob("z-*.npy")):
            with path.open("rb", buffering=0) as file:
                while file.readinto(target):
                    pass

    return Task(run, bytes=size)


def probe_data(n: int, k: int, t: int) -> tuple[np.ndarray, np.ndarray]:
    """Clusters with labels."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, t, n)
    z = rng.standard_normal((n, k), np.float32)
    z += rng.standard_normal((t, k), np.float32)[y] / 4
    return z, y


def bare_probe(n: int, k: int, t: int) -> Task:
    """See the module's docstring."""
    rows = 4096
    rng = np.random.default_rng(0)
    z, v, w = rng.standard_normal((rows, k)), rng.standard_normal((k, k)), rng.standard_normal((k, t * len(REGS)))
    total, turned, out = np.zeros((k, k), order="F"), np.empty((rows, k)), np.empty((rows, w.shape[1]))

    def run() -> None:
        for _ in range(n // rows):
            blas.dsyrk(1.0, z.T, beta=1.0, c=total, overwrite_c=1)
            np.matmul(z, v, out=turned)
            np.matmul(turned, w, out=out)

    return Task(run, flops=float(n) * (k * k + 2 * k * k + 2 * k * w.shape[1]))


def run(quick: bool = False) -> dict[str, Any]:
    """Time over that of the bare products, rates of checksums, and peak memory in a fresh process."""
    n_leaves, n_probe, k, t = (4, 16_384, 64, 10) if quick else (64, 2**20, 512, 100)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        size = write_shards(folder, n_leaves)
        errors = check(folder)
        require("gamma, moments of all views", errors["gamma"], 1e-4)
        require("entries that differ after a stop", errors["differing"], 0.0)
        require("coefficients of the streamed probe", errors["coef"], 1e-8)
        require("leave-one-out errors of the streamed probe", errors["loo"], 1e-8)
        pattern, kept = str(folder / "z-*.npy"), folder / "checkpoint"

        def checkpointed() -> Any:
            kept.unlink(missing_ok=True)
            return moments(pattern, Identity(), checkpoint=kept)

        bare = bare_products(n_leaves)
        block = bytes(1 << 26)
        tasks = {
            "stream": Task(lambda: moments(pattern, Identity()), flops=bare.flops, bytes=size),
            "with checkpoint": Task(checkpointed, flops=bare.flops, bytes=size),
            "deterministic": Task(
                lambda: moments(pattern, Identity(), deterministic=True), flops=bare.flops, bytes=size
            ),
            "bare products": bare,
            "reading": read_files(folder, size),
            "CRC-32 of 64 MiB": Task(functools.partial(zlib.crc32, block), bytes=len(block)),
        }
        times = measure(tasks, 2, warm=True)
        compared = measure({"compared": Task(lambda: moments(pattern, Identity(), checkpoint=kept), bytes=size)}, 2)
        peak = peak_rise(
            "import sslcore; from sslcore.stream import moments; import numpy as np; "
            "moments(np.zeros((9, 2, 4), 'f4'), sslcore.features.Identity())",
            f"moments({pattern!r}, sslcore.features.Identity(), checkpoint={str(kept) + '-2'!r})",
        )
    data = probe_data(n_probe, k, t)
    probes = measure(
        {"probe": Task(lambda: ridge_probe([data], REGS)), "bare probe": bare_probe(n_probe, k, t)}, 1, warm=quick
    )
    rate = measure({"copy of memory": rates.copy()}, 5)
    times = {**times, **compared, **probes, **rate}
    for label, timing in times.items():
        extra = f"{timing.gflops:6.1f} GFLOP/s  {timing.gb_per_s:5.2f} GB/s"
        print(f"  {label:<17} {timing.best:7.2f} s  CPU {timing.cpu:7.2f} s  {extra}")
    base = times["bare products"]
    ratios = {label: times[label].best / base.best for label in ("stream", "with checkpoint", "deterministic")}
    on_cpu = {label: times[label].cpu / base.cpu for label in ratios}
    probe = times["probe"].best / times["bare probe"].best
    print(f"  over the bare products: {ratios}, processor time {on_cpu}; peak {peak / 2**20:.0f} MiB")
    what = f"stream of {size / 1e9:.1f} GB, float32, r = {R}"
    rows = [
        Row(what if label == "stream" else f"{what}, {label}", "at most 1.3 times the bare products",
            f"{ratios[label]:.2f} times ({times[label].best:.2f} s; processor {on_cpu[label]:.2f})",
            f"1 ({base.best:.2f} s)", ratios[label] <= 1.3)
        for label in ratios
    ]  # fmt: skip
    rows += [
        Row(f"{what}, peak memory", "6 sums, two leaves: under 512 MiB", f"{peak / 2**20:.0f} MiB", "", peak < 2**29),
        Row(f"{what}, going on from the end", "at the rate of checksums", f"{times['compared'].gb_per_s:.2f} GB/s",
            f"CRC-32 {times['CRC-32 of 64 MiB'].gb_per_s:.2f} GB/s", True),
        Row(f"streamed probe, {n_probe:,} x {k}, {t} classes, {len(REGS)} penalties", "at most 2 times its products",
            f"{probe:.2f} times ({times['probe'].best:.1f} s)", f"1 ({times['bare probe'].best:.1f} s)", probe <= 2),
    ]  # fmt: skip
    return {"errors": errors, "times": times, "ratios": ratios, "processor": on_cpu, "peak_bytes": peak, "rows": rows}
