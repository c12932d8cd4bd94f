"""Threads for the tile loops: plain Python threads over Numba functions that release the GIL.

Why not Numba's own parallel layer: under GNU OpenMP a forked child dies in its first kernel, the
``workqueue`` layer aborts when two threads enter it at once, and ``parallel=True`` compiles several
times slower.  Here any number of threads may call in at the same time, a forked child starts its own
pool, and nothing process-wide is changed.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from ..machine import available_cpus

__all__ = ["n_threads", "parallel_for", "parts_for_threads"]

_lock = threading.Lock()
_pool: ThreadPoolExecutor | None = None
_pool_size = 0
_libraries: Any = None
_inside = threading.local()


def _forget_pool() -> None:
    """Forget the pool in a forked child: the parent's threads do not exist there, its lock may be held for ever."""
    global _pool, _lock
    _pool, _lock = None, threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_pool)


def n_threads() -> int:
    """Return the number of threads for tile loops.

    That is ``SSLCORE_NUM_THREADS``; else ``OMP_NUM_THREADS`` (the first number of a list, that of the outermost loops)
    or the processors that this process may use, and no more than a limit set by ``threadpoolctl``.
    """
    own = _number("SSLCORE_NUM_THREADS")
    if own:
        return own
    cpus = available_cpus()
    wanted = _number("OMP_NUM_THREADS") or cpus
    limit = _library_threads()
    return min(wanted, limit) if limit is not None and limit < cpus else wanted


def _number(name: str) -> int:
    """Return the first number in this environment variable; 0 if there is none above 0."""
    first = os.environ.get(name, "").split(",")[0].strip()
    return int(first) if first.isdecimal() else 0


def _library_threads() -> int | None:
    """Return the least number of threads of the libraries threadpoolctl limits (BLAS, OpenMP), if it is imported.

    Where it is not, it limits none.  The libraries are looked for once: a limit is set on all of
    them, so that those that were there first tell of it.
    """
    global _libraries
    threadpoolctl = sys.modules.get("threadpoolctl")
    if threadpoolctl is None:
        return None
    try:
        if _libraries is None:
            _libraries = threadpoolctl.ThreadpoolController().lib_controllers
        return min((library.num_threads for library in _libraries), default=None)
    except Exception:  # of another version than those from 3.0 on, or only half imported
        return None


def parts_for_threads(n_tasks: int) -> int:
    """Return into how many parts each of so few tasks must be cut that no thread is without one."""
    return max(1, -(-n_threads() // max(1, n_tasks)))


def parallel_for(task: Callable[[int], None], n_tasks: int) -> None:
    """Call ``task(i)`` for i in range(n_tasks), on several threads; the caller's thread takes part.

    Tasks are handed out one at a time, so that uneven ones balance.  The first exception (Ctrl-C
    included) stops the hand-out and is raised here, after the tasks under way have ended: no thread
    touches the arrays any more when this returns.
    """
    one = n_tasks <= 1 or getattr(_inside, "busy", False)  # then nobody asks for threads, which takes 10 us
    workers = 1 if one else min(n_threads(), n_tasks)
    if workers <= 1:
        for i in range(n_tasks):
            task(i)
        return

    # next() on a range iterator is atomic under the GIL, but not promised to be; a lock costs 0.1 us
    counter = iter(range(n_tasks))
    counter_lock = threading.Lock()
    stop = False
    held = [task]  # let go at the end: a cancelled helper may stay in a busy pool's queue, with all that it refers to

    def work() -> None:
        nonlocal stop
        _inside.busy = True
        try:
            while not stop:
                with counter_lock:
                    i = next(counter, None)
                if i is None:
                    return
                held[0](i)
        except BaseException:
            stop = True
            raise
        finally:
            _inside.busy = False

    helpers: list[Future[None]] = []
    try:
        _submit(work, workers - 1, helpers)  # in here, so that an interrupt meanwhile stops those that have begun
        work()
    finally:
        stop = True
        _join(helpers)
        held.clear()
    for helper in helpers:
        if not helper.cancelled():
            helper.result()


def _submit(work: Callable[[], None], count: int, helpers: list[Future[None]]) -> None:
    global _pool, _pool_size
    with _lock:
        if _pool is None or _pool_size < count:  # the number of threads may grow while we run
            if _pool is not None:
                _pool.shutdown(wait=False)  # after what is in its queue
            _pool_size = max(count, n_threads() - 1)
            _pool = ThreadPoolExecutor(_pool_size, thread_name_prefix="sslcore")
        try:
            for _ in range(count):
                helpers.append(_pool.submit(work))
        except RuntimeError:  # the interpreter is shutting down: the caller's thread does it all
            return


def _join(helpers: list[Future[None]]) -> None:
    """Wait until no helper runs, whatever signal arrives meanwhile; one not begun is cancelled."""
    interrupt: KeyboardInterrupt | None = None
    waiting = list(helpers)
    while waiting:
        try:
            if waiting[-1].cancel() or waiting[-1].done():
                waiting.pop()
            else:
                waiting[-1].exception()
        except KeyboardInterrupt as error:
            interrupt = error
    if interrupt is not None:
        raise interrupt
