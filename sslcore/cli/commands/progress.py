"""Progress with the time left, and interrupts that are not lost."""

from __future__ import annotations

import importlib.util
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, Protocol

from .common import is_terminal, say

__all__ = ["Progress", "check_interrupt", "interrupts_kept", "progress"]

PATIENCE = 2.0
"""Seconds after which work is worth a progress bar."""


# ---------------------------------------------------------------- interrupts

_interrupted = False


@contextmanager
def interrupts_kept() -> Iterator[None]:
    """Keep a Ctrl-C that arrives in the body: where Python has dropped it, `check_interrupt` raises it.

    Python drops what is raised inside a callback of C code, such as those of Numba's compiler; the work would go on.
    """
    global _interrupted
    _interrupted = False
    ours = threading.current_thread() is threading.main_thread()
    if not ours or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield  # whoever has the signal will know what to do
        return

    def note(number: int, frame: Any) -> None:
        global _interrupted
        _interrupted = True
        raise KeyboardInterrupt

    def hear(dropped: Any) -> None:
        if not issubclass(dropped.exc_type, KeyboardInterrupt):
            hook(dropped)

    hook = sys.unraisablehook
    sys.unraisablehook = hear
    signal.signal(signal.SIGINT, note)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        sys.unraisablehook = hook


def check_interrupt() -> None:
    """Raise the ``KeyboardInterrupt`` that was dropped, if one was."""
    if _interrupted:
        raise KeyboardInterrupt


# ---------------------------------------------------------------- progress


@contextmanager
def progress(wanted: bool | None, steps: Mapping[str, float]) -> Iterator[Progress]:
    """Show the progress of the work in the body, and the time left, on stderr.

    On a terminal it is a bar of rich's; where ``wanted`` asks for it elsewhere, a line for each step.

    Parameters
    ----------
    wanted : bool or None
        None: if stderr is a terminal, rich is there, and the work takes more than `PATIENCE`.
    steps : mapping
        The seconds that each step, in order, is expected to take; only their ratios count.

    Yields
    ------
    Progress
        To be called with the name of each step as it begins.
    """
    make: Callable[[float], Bar] | None = None
    if wanted is not False and is_terminal(sys.stderr):
        if importlib.util.find_spec("rich") is not None:
            make = partial(TerminalBar, leave=bool(wanted))
        elif wanted:
            raise ImportError("a progress bar needs rich: pip install '.[cli]' in sslcore's folder")
    elif wanted:
        make = Lines
    if make is None:
        yield Progress(steps)
        return
    state, stop = Progress(steps, make, 0.0 if wanted else PATIENCE), threading.Event()

    def tick() -> None:
        while not stop.wait(0.25):
            state.show()

    ticker = threading.Thread(target=tick, daemon=True)
    ticker.start()
    done = False
    try:
        yield state
        done = True
    finally:
        stop.set()
        ticker.join()
        state.close(done)


class Bar(Protocol):
    """The surface on which `Progress` draws."""

    def draw(self, words: str, fraction: float, seconds: float, left: float | None) -> None:
        """Show the step, the part of the whole that is done after so many seconds, and the seconds that are left."""

    def close(self) -> None:
        """Leave it as it is."""


class Lines:
    """Serves where there is no terminal to move on: a line for each step as it begins, and one at the end."""

    def __init__(self, seconds: float) -> None:
        self._last = ""

    def draw(self, words: str, fraction: float, seconds: float, left: float | None) -> None:
        if words != self._last:
            self._last = words
            say(f"{words:<22} {fraction:4.0%} [{_clock(seconds)}]", sys.stderr)

    def close(self) -> None:
        pass


class TerminalBar:
    """A bar of rich's, refreshed by us alone, so that whatever it may raise is raised here."""

    def __init__(self, seconds: float, leave: bool) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn

        shape = (TextColumn("{task.description:<22}"), BarColumn(30), TextColumn("{task.fields[time]}", markup=False))
        console = Console(stderr=True)
        self._bar = Progress(*shape, console=console, auto_refresh=False, transient=not leave, redirect_stdout=False)
        self._task = self._bar.add_task("", total=1.0, time="")
        self._bar.start()

    def draw(self, words: str, fraction: float, seconds: float, left: float | None) -> None:
        time = f"{fraction:4.0%} [{_clock(seconds)}, {'?' if left is None else _clock(left)} left]"
        self._bar.update(self._task, completed=fraction, description=words, time=time, refresh=True)

    def close(self) -> None:
        self._bar.stop()


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes:02}:{rest:02}"


class Progress:
    """Tells how far the work is; moves a bar, or nothing.

    Within a step the bar follows `advance`, else the clock: the step is taken to last as long, compared with those
    done, as was expected.  A bar that fails is given up: the work goes on.

    Parameters
    ----------
    steps : mapping
        Expected seconds of each step, in order.
    make : callable, optional
        Makes the bar, for work that began so many seconds ago.
    patience : float
        Seconds after which it appears.
    """

    def __init__(
        self, steps: Mapping[str, float], make: Callable[[float], Bar] | None = None, patience: float = 0.0
    ) -> None:
        self._steps, self._make, self._patience = dict(steps), make, patience
        self._total = sum(self._steps.values())
        self._bar: Bar | None = None
        self._shown = 0.0
        self._step: str | None = None
        self._done = 0.0  # expected seconds of the steps that are done
        self._spent = 0.0  # and those that they took
        self._found = 0.0  # expected seconds of what an earlier run had done
        self._start = self._began = time.perf_counter()
        self._within: float | None = None
        self._more = ""
        self._lock = threading.RLock()

    def __call__(self, step: str) -> None:
        """Say that a step begins (and the one before it is done)."""
        if step not in self._steps:
            raise KeyError(f"{step!r} is none of the steps {list(self._steps)}")
        check_interrupt()
        with self._lock:
            now = time.perf_counter()
            if self._step is not None:
                self._done += self._steps[self._step]
                self._spent += now - self._began
            self._step, self._began, self._within, self._more = step, now, None, ""
        self.show()

    def expect(self, step: str, seconds: Callable[[], float]) -> None:
        """Correct what a step that has not begun is expected to take; asked for only where it will be seen."""
        if self._make is None:
            return
        expected = seconds()
        with self._lock:
            self._total += expected - self._steps[step]
            self._steps[step] = expected

    def advance(self, fraction: float, more: str = "") -> None:
        """Say how much of the step is done, from 0 to 1, and perhaps more in words."""
        check_interrupt()
        self._more = more
        self._within = min(max(fraction, 0.0), 1.0)

    def skip(self, fraction: float) -> None:
        """Say how much of the step, which has just begun, an earlier run has done: no time of this one."""
        with self._lock:
            self.advance(fraction)
            if self._step is not None and self._within is not None:
                self._found += self._steps[self._step] * self._within

    @property
    def untold(self) -> bool:
        """Whether nothing was said yet of how much of this step is done."""
        return self._within is None

    def left(self) -> float | None:
        """Estimate the seconds that are left, by the speed of this run; None while it has done too little."""
        with self._lock:
            done = self.fraction()
            worked = done - self._found / self._total
            spent = time.perf_counter() - self._start
            return spent * (1.0 - done) / worked if worked > 0.01 else None

    def fraction(self) -> float:
        """Estimate the part of the whole that is done."""
        with self._lock:
            if self._step is None:
                return 0.0
            expected = self._steps[self._step]
            within = self._within
            if within is None:
                worked = self._done - self._found
                likely = expected * (self._spent / worked if worked > 0 else 1.0)
                # it is not done before it says so
                within = min((time.perf_counter() - self._began) / likely, 0.95) if likely > 0 else 0.0
            return (self._done + expected * within) / self._total

    def show(self) -> None:
        """Draw the bar, if its time has come."""
        with self._lock:
            seconds = time.perf_counter() - self._start
            if self._make is None or self._step is None or seconds < self._patience:
                return
            place = list(self._steps).index(self._step) + 1
            self._draw(f"{self._step} {place}/{len(self._steps)}{self._more}", self.fraction(), seconds, self.left())

    def close(self, done: bool) -> None:
        """Leave the bar, full if the work is done."""
        with self._lock:
            if self._bar is not None and done:
                self._draw("done", 1.0, time.perf_counter() - self._start, 0.0)
            bar, self._bar, self._make = self._bar, None, None
            if bar is not None:
                with suppress(Exception):
                    bar.close()

    def _draw(self, words: str, fraction: float, seconds: float, left: float | None) -> None:
        self._shown = max(self._shown, fraction)  # it never goes back
        try:
            if self._bar is None:
                assert self._make is not None
                self._bar = self._make(seconds)
            self._bar.draw(words, self._shown, seconds, left)
        except Exception:  # a terminal that is gone, a setting that rich cannot read: no reason to lose the work
            bar, self._bar, self._make = self._bar, None, None
            with suppress(Exception):
                if bar is not None:
                    bar.close()
