"""Best and median times of functions that take turns."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Any

__all__ = ["Task", "Timing", "measure"]

PAUSE = 0.2
"""Seconds between two timed calls.

The threads of OpenBLAS wait busily for a tenth of a second after a call.  NumPy and SciPy bring a pool each, so without
a pause the alternative's idle threads would slow what comes next; asleep, they disturb nobody.
"""


@dataclass(frozen=True)
class Task:
    """What is timed: ``call()``, or ``call(setup())`` with the setup outside of the clock; and the work it does."""

    call: Callable[..., Any]
    setup: Callable[[], Any] | None = None
    flops: float = 0.0
    bytes: float = 0.0


@dataclass(frozen=True)
class Timing:
    """Seconds, processor seconds of the best run (all threads), and the rates at it.

    Processor time below wall time in threaded work means that somebody else had the cores: measure again.
    """

    best: float
    median: float
    cpu: float
    runs: int
    gflops: float
    gb_per_s: float

    @property
    def ms(self) -> float:
        """The best time in milliseconds."""
        return self.best * 1e3


def measure(tasks: dict[str, Task], repeat: int, *, warm: bool = True, pause: float = PAUSE) -> dict[str, Timing]:
    """Time each task ``repeat`` times, in turns, so that a slow moment hits all; ``warm``: call each once before."""
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in tasks}
    for turn in range(-1 if warm else 0, repeat):
        for name, task in tasks.items():
            elapsed = _once(task, pause)
            if turn >= 0:
                seconds[name].append(elapsed)
    return {name: _timing(tasks[name], values) for name, values in seconds.items()}


def _once(task: Task, pause: float) -> tuple[float, float]:
    arguments = () if task.setup is None else (task.setup(),)
    time.sleep(pause)
    start, cpu_start = time.perf_counter(), time.process_time()
    task.call(*arguments)
    return time.perf_counter() - start, time.process_time() - cpu_start


def _timing(task: Task, seconds: list[tuple[float, float]]) -> Timing:
    best, cpu = min(seconds)
    return Timing(
        best, median(wall for wall, _ in seconds), cpu, len(seconds), task.flops / best / 1e9, task.bytes / best / 1e9
    )
