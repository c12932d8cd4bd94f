"""Signals that wait until work which must not be left in the middle is done."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

__all__ = ["handled", "signals_held"]


@contextmanager
def signals_held(which: Callable[[Any], bool] = callable) -> Iterator[None]:
    """Let SIGINT, SIGHUP and SIGTERM, which would end the process, or the work, wait until the body is done.

    ``which`` says of a handler whether its signal waits; unless told, that of any handler in Python.  Such a handler
    runs between any two instructions of the main thread, and what it raises, ``KeyboardInterrupt`` at Ctrl-C, may leave
    a lock that is made in Python taken for ever.
    """
    noted: list[int] = []
    try:
        with handled(lambda number, frame: noted.append(number), which):
            yield
    finally:
        _raise_each(noted)


def _raise_each(numbers: list[int]) -> None:
    """Raise signals, each whatever the handlers of those before it raise."""
    if numbers:
        try:
            signal.raise_signal(numbers[0])
        finally:
            _raise_each(numbers[1:])


@contextmanager
def handled(hear: Callable[[int, Any], None], which: Callable[[Any], bool]) -> Iterator[None]:
    """Give ``hear``, in the body (main thread only), the signals whose handler ``which`` accepts."""
    with ExitStack() as before:  # SIGINT is the last to be given back: nothing interrupts the others
        if threading.current_thread() is threading.main_thread():
            for name in ("SIGINT", "SIGHUP", "SIGTERM"):
                number = getattr(signal, name, None)
                handler = None if number is None else signal.getsignal(number)
                if number is not None and handler is not None and which(handler):
                    try:
                        signal.signal(number, hear)
                    except ValueError:  # `threading` was imported elsewhere first, and takes that for the main thread
                        break
                    before.callback(signal.signal, number, handler)
        yield
