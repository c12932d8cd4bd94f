"""Moments on a cluster of two processes of one thread, beside as many separate streams, one in each of them.

The client, the scheduler and the workers share a machine, as does the rest of what runs there, so that the processor
time of the workers tells most: what the sums take, and what a cluster adds.  A core whose sibling is busy too takes
longer for the same, so that the streams beside which a cluster is timed run in both processes at once; a single one,
beside an idle process, is timed too.  The overhead of a task is the time of a sum over leaves of one sample, which take
next to none, for each task.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any
from unittest import mock

import dask.array as da
from distributed import Client, LocalCluster

import sslcore.dask
from sslcore import tunables
from sslcore.features import Identity
from sslcore.fitting.plan import features_plan
from sslcore.fitting.sizes import Sizes
from sslcore.stream._leaves import leaf_samples

from .memory import status
from .report import Row, require
from .stream import M, R, write_shards

WORKERS = 2


def streamed(pattern: str) -> tuple[float, float, Any]:
    """Sum as one process does; wall and processor seconds, and the sums."""
    from sslcore.dask._work import one_thread

    start, used = time.perf_counter(), time.process_time()
    with one_thread():
        found = sslcore.stream.moments(pattern, Identity(), deterministic=True)
    return time.perf_counter() - start, time.process_time() - used, bits(found)


def streamed_by_each(client: Client, pattern: str, count: int = WORKERS) -> tuple[float, float, Any]:
    """Sum in ``count`` workers at once, each for itself; the means of both times, and the sums of one."""
    workers = list(client.scheduler_info(n_workers=-1)["workers"])[:count]
    futures = [client.submit(streamed, pattern, workers=[worker], pure=False) for worker in workers]
    done = client.gather(futures)
    walls, used, found = zip(*done, strict=True)
    return sum(walls) / len(walls), sum(used) / len(used), found[0]


def bits(found: Any) -> list[bytes]:
    return [getattr(part, name).tobytes() for part in found._parts for name in ("mean", "between", "within")]


def peak() -> int:
    """The resident memory of this process at most; ``ru_maxrss`` would begin at that of the process it came from."""
    return status("VmHWM")


def received(dask_worker: Any) -> int:
    return sum(int(entry["total"]) for entry in dask_worker.transfer_incoming_log)


def clustered(client: Client, views: Any) -> tuple[float, float, Any]:
    """Sum on all workers; wall seconds, processor seconds of all workers, and the sums."""
    before = sum(client.run(time.process_time).values())
    start = time.perf_counter()
    found = sslcore.dask.moments(views, Identity(), client=client)
    wall = time.perf_counter() - start
    return wall, sum(client.run(time.process_time).values()) - before, bits(found)


def overhead(client: Client, n_tasks: int) -> float:
    """Return the seconds of a task that does next to nothing, of sums of 16 leaves and more."""
    with mock.patch.object(tunables, "STREAM_LEAF_VIEWS", 2):
        views = da.zeros((n_tasks, 2, 2), chunks=(1, 2, 2))
        sslcore.dask.moments(views[:10], Identity(), client=client)
        start = time.perf_counter()
        sslcore.dask.moments(views, Identity(), client=client)
        return (time.perf_counter() - start) / n_tasks


def run(quick: bool = False) -> dict[str, Any]:
    """Rates of separate streams and of a cluster, a task's overhead, sums that travel, and a worker's peak memory."""
    n_leaves, repeat = (8, 1) if quick else (56, 3)
    by_each, together = [], []
    with (
        tempfile.TemporaryDirectory() as name,
        LocalCluster(
            n_workers=WORKERS,
            threads_per_worker=1,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
            memory_limit="4GiB",
        ) as cluster,
        Client(cluster) as client,
    ):
        size = write_shards(Path(name), n_leaves)
        pattern = str(Path(name) / "z-*.npy")
        for turn in range(-1, repeat):
            each = streamed_by_each(client, pattern)
            before = sum(client.run(received).values())
            all_of_them = clustered(client, pattern)
            wire = sum(client.run(received).values()) - before
            if turn < 0:
                differing = sum(a != b for a, b in zip(each[2], all_of_them[2], strict=True))
                require("matrices that differ from those of a stream", float(differing), 0.0)
                base = max(client.run(peak).values())
                continue
            by_each.append(each[:2])
            together.append(all_of_them[:2])
        single = streamed_by_each(client, pattern, 1)[:2]
        leaf = leaf_samples(M)
        plan = features_plan(Sizes(leaf, leaf * M, R, 1, 4), R, Identity()).bytes + leaf * M * R * 12
        plan += (tunables.STREAM_NODE_PARTS + 1 + tunables.DASK_SPARE_PARTS) * 16 * R * R
        task = overhead(client, 200 if quick else 2000)
    views = n_leaves * leaf * M
    each, both = (min(times) for times in (by_each, together))
    used_by_each = min(used for _, used in by_each)
    cpu = used_by_each / min(used for _, used in together)
    wall = each[0] / (WORKERS * both[0])
    leaf_seconds = used_by_each / n_leaves
    share = wire / (n_leaves * 16 * R * R)  # Dask counts sums as they are in memory, and half of that travels
    print(f"  by each {each[0]:.2f} s (processor {each[1]:.2f}), on all {both[0]:.2f} s (processor {both[1]:.2f})")
    print(f"  a single stream, beside an idle worker: {single[0]:.2f} s (processor {single[1]:.2f})")
    print(
        f"  {views / each[1]:.3g} views/s and core by each; {wire / 1e6:.0f} MB of sums travel, as they are in memory; "
        f"{size / 1e6:.0f} MB are read"
    )
    what = f"moments of {views:,} views, float32, r = {R}, {WORKERS} workers of one thread"
    rows = [
        Row(what, "90 % of the rate of as many separate streams (processor time)",
            f"{cpu:.0%} (wall {wall:.0%})", "100 %", cpu >= 0.9),
        Row("a task on this cluster, without its work", "little beside a leaf's time", f"{task * 1e3:.2f} ms",
            f"a leaf of r = {R}: {leaf_seconds * 1e3:.0f} ms", task < 0.1 * leaf_seconds),
        Row(f"sums that travel, {n_leaves} leaves, in memory", "at most each leaf's sums once",
            f"{share:.0%} of them", "100 %", share <= 1.1),
        Row("peak memory of a worker", f"below what is predicted, {plan / 2**20:.0f} MiB, and the process",
            f"{base / 2**20:.0f} MiB", "", base < plan + 300 * 2**20),
    ]  # fmt: skip
    return {
        "by_each": by_each,
        "single": single,
        "together": together,
        "task": task,
        "wire": wire,
        "peak": base,
        "planned": plan,
        "rows": rows,
    }
