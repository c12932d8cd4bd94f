"""``sslcore fit`` of a stream as large as the machine's memory, whole, and killed twice on the way.

Each run is a process of its own, killed with SIGKILL after a share of the time that a whole run took; the one that ends
must write the same values, bit for bit, as the one that nobody killed.  A checkpoint is written once a minute: a kill
loses that much at most.  Reading the same files is timed in the same run, from the memory of the system if it has room
for them.
"""

from __future__ import annotations

import filecmp
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from .memory import ROOT, status
from .report import Row, require

__all__ = ["run"]

D, M, K = 256, 2, 16


def write_shards(folder: Path, n_files: int, n: int) -> int:
    """Write shards of ``n`` samples of two views, float32, and return their bytes."""
    rng = np.random.default_rng(0)
    samples = rng.standard_normal((n, 1, D), np.float32) * np.logspace(0, -1, D, dtype=np.float32)
    for i in range(n_files):
        noise = rng.standard_normal((n, M, D), np.float32)
        noise *= np.float32(0.3)
        noise += np.roll(samples, 977 * i, axis=0)
        np.save(folder / f"z-{i:03}.npy", noise)
    return n_files * n * M * D * 4


def fit(folder: Path, out: str, kill_after: float | None = None) -> tuple[float, int, bool]:
    """Run the command, and kill it after some seconds; return its seconds, peak of memory, and if it was killed."""
    command = [sys.executable, "-m", "sslcore", "fit", str(folder / "z-*.npy"), "--features", "identity"]
    command += ["--components", str(K), "--checkpoint", str(folder / f"{out}.checkpoint"), "--out", str(folder / out)]
    start, peak = time.perf_counter(), 0
    with (folder / f"{out}.log").open("a") as log:
        process = subprocess.Popen(
            [*command, "--no-figure", "--no-progress"], cwd=ROOT, stdout=log, stderr=log, start_new_session=True
        )
        while process.poll() is None:
            try:
                peak = max(peak, status("VmHWM", process.pid))
            except (OSError, StopIteration):  # it has just ended
                break
            if kill_after is not None and time.perf_counter() - start > kill_after:
                process.send_signal(signal.SIGKILL)
            time.sleep(0.05)
        process.wait()
    if process.returncode not in (0, -signal.SIGKILL):
        raise RuntimeError(f"sslcore fit failed:\n{(folder / f'{out}.log').read_text()}")
    return time.perf_counter() - start, peak, process.returncode != 0


def read(folder: Path) -> float:
    """Read all bytes into memory that is there already, as a stream does; return the seconds."""
    target, start = bytearray(1 << 24), time.perf_counter()
    for path in sorted(folder.glob("z-*.npy")):
        with path.open("rb", buffering=0) as file:
            while file.readinto(target):
                pass
    return time.perf_counter() - start


def run(quick: bool = False) -> dict[str, Any]:
    """Seconds whole and going on, beside reading, the peak of memory, and bytes that differ after two kills."""
    n_files, n = (8, 1 << 15) if quick else (40, 1 << 18)
    wanted = n_files * n * M * D * 4 + 3 * n_files * n * M * K * 4
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        free = shutil.disk_usage(folder).free
        if free < wanted:
            raise RuntimeError(
                f"{folder} has room for {free / 1e9:.0f} GB, and {wanted / 1e9:.0f} GB are written there"
            )
        size = write_shards(folder, n_files, n)
        whole, peak, _ = fit(folder, "whole")
        reading = read(folder)
        parts = [fit(folder, "killed", whole / 2), fit(folder, "killed", whole / 3), fit(folder, "killed")]
        same = filecmp.cmp(folder / "whole-embedding.npy", folder / "killed-embedding.npy", shallow=False)
        require("values that differ after two kills", float(not same), 0.0)
    seconds, peaks, killed = zip(*parts, strict=True)
    peak = max(peak, *peaks)
    print(f"  whole {whole:.1f} s, reading {reading:.1f} s; killed {sum(killed)} times: {seconds} s")
    what = f"sslcore fit of {size / 2**30:.3g} GiB of views, float32, d = {D}, and their values"
    rows = [
        Row(what, "tens of GiB in minutes", f"{whole:.0f} s ({size / whole / 1e9:.2f} GB/s)",
            f"reading alone: {reading:.0f} s", whole < 600),
        Row(f"the same, killed {sum(killed)} times on the way", "the same values; a kill loses a minute at most",
            f"{sum(seconds):.0f} s in all", f"{whole:.0f} s", sum(seconds) < whole + 60 * sum(killed)),
        Row("peak memory of the process", "under 512 MiB, whatever the size", f"{peak / 2**20:.0f} MiB", "",
            peak < 2**29),
    ]  # fmt: skip
    return {"whole": whole, "reading": reading, "parts": seconds, "peak_bytes": peak, "bytes": size, "rows": rows}
