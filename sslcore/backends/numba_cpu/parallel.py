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
from queue import SimpleQueue
from typing import Any, Literal

from ..machine import available_cpus
from ..signals import signals_held

__all__ = ["n_threads", "parallel_for", "parts_for_threads"]

_lock = threading.Lock()
_queue: SimpleQueue[_Share] = SimpleQueue()
_n_helpers = 0
_libraries: Any = None
_inside = threading.local()


def _forget_helpers() -> None:
    """Forget the helpers in a forked child: the parent's threads do not exist there, its lock may be held for ever."""
    global _lock, _queue, _n_helpers
    _lock, _queue, _n_helpers = threading.Lock(), SimpleQueue(), 0


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_helpers)


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
    held = [task]  # let go at the end: a share that nobody took may stay in the queue, with all that it refers to

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

    shares: list[_Share] = []
    try:
        _hand_out(work, workers - 1, shares)  # in here, so that an interrupt meanwhile stops those that have begun
        work()
        _join(shares)
    except BaseException:
        stop = True
        with signals_held():  # the next interrupt too
            _join(shares)
        raise
    finally:
        held.clear()
    for share in shares:
        if share.error is not None:
            raise share.error


class _Share:
    """Holds what one helper is to do of a call: whoever claims it first has it, the helper or the caller that waits."""

    def __init__(self, work: Callable[[], None]) -> None:
        self._work = work
        self._owner: dict[None, str] = {}
        self.over = False
        self.ended = threading.Lock()
        self.ended.acquire()
        self.error: BaseException | None = None

    def claim(self, who: Literal["helper", "caller"]) -> bool:
        """Tell whether it is theirs, now or already: a claim that an interrupt cut off can be made again."""
        return self._owner.setdefault(None, who) == who

    def do(self) -> None:
        if self.claim("helper"):
            try:
                self._work()
            except BaseException as error:
                self.error = error
            self.over = True
            self.ended.release()


def _hand_out(work: Callable[[], None], count: int, shares: list[_Share]) -> None:
    """Let ``count`` helpers do this work too; each has a share."""
    if _n_helpers < count:  # the number of threads may grow while we run
        _begin_helpers(max(count, n_threads() - 1))
    for _ in range(min(count, _n_helpers)):  # where no thread can be begun there are fewer
        shares.append(_Share(work))
        _queue.put(shares[-1])


def _begin_helpers(count: int) -> None:
    global _n_helpers
    with signals_held(), _lock:  # a thread is begun under locks of Python
        while _n_helpers < count:
            helper = threading.Thread(target=_help, args=(_queue,), name=f"sslcore_{_n_helpers}", daemon=True)
            try:
                helper.start()
            except RuntimeError:  # the interpreter is shutting down: the caller's thread does it all
                return
            _n_helpers += 1


def _help(queue: SimpleQueue[_Share]) -> None:
    while True:
        queue.get().do()


def _join(shares: list[_Share]) -> None:
    """Wait until no share is being done, whatever signal arrives meanwhile; one not begun never will be."""
    interrupt: BaseException | None = None
    waiting = list(shares)
    while waiting:
        share = waiting[-1]
        try:
            if share.over or share.claim("caller"):
                waiting.pop()
            else:
                share.ended.acquire()  # once; it is over from then on
        except BaseException as error:
            interrupt = error
    if interrupt is not None:
        raise interrupt
