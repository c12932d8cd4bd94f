"""What commands share: reports, outputs that are checked first, progress with the time left."""

from __future__ import annotations

import argparse
import importlib.util
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from ..representation import Representation
    from ..tables import Table

__all__ = [
    "Declare",
    "Progress",
    "Report",
    "UsageError",
    "add_drop",
    "add_progress",
    "check_interrupt",
    "check_outputs",
    "check_width",
    "columns_of",
    "interrupts_kept",
    "open_model",
    "progress",
]

PATIENCE = 2.0
"""Seconds after which work is worth a progress bar."""


class Report(NamedTuple):
    """What a command found: for machines (``--json``), and for people."""

    document: dict[str, Any]
    text: str


class UsageError(ValueError):
    """A command line that cannot be understood."""


Declare = Callable[[argparse.ArgumentParser], Callable[[argparse.Namespace], Report]]


# ---------------------------------------------------------------- outputs


def check_outputs(outputs: Mapping[str, Path], inputs: Iterable[Path] = ()) -> None:
    """Refuse, before any work, what cannot be written at its end, or would replace what is read.

    Parameters
    ----------
    outputs : mapping
        The path of each output, by the option or the word that the user knows it by; its suffix must be the one that
        the name's last word in parentheses says, such as ``"--output (.png)"``, if there is one.
    inputs : iterable of Path
        Files that are read.

    Raises
    ------
    OSError, ValueError
        Naming the path and the reason; nothing is left behind.
    """
    from ..files import check_writable

    seen: dict[Path, str] = {}
    for label, path in outputs.items():
        name, _, suffix = label.rstrip(")").partition(" (")
        if suffix and path.suffix.lower() != suffix:
            raise ValueError(f"{name} must end in {suffix}, found {path}")
        check_writable(path)
        place = Path(os.path.realpath(path))
        if place in seen:
            raise ValueError(f"{name} and {seen[place]} are the same file, {path}")
        seen[place] = name
        if any(place == Path(os.path.realpath(source)) for source in inputs):
            raise ValueError(f"{name} would replace the input {path}; choose another name")


# ---------------------------------------------------------------- data and models


def add_drop(parser: argparse.ArgumentParser) -> None:
    """Declare ``--drop``."""
    parser.add_argument(
        "--drop",
        action="extend",
        type=lambda text: text.split(","),
        default=[],
        metavar="COL,...",
        help="columns of a .csv to leave out, by name, or by number if it has no header",
    )


def columns_of(columns: tuple[str, ...] | None) -> str:
    """`` (x, y)``, or nothing where there are no names."""
    if columns is None:
        return ""
    return f" ({', '.join(columns[:8])}{', ...' if len(columns) > 8 else ''})"


def open_model(path: Path) -> Representation:
    """A saved representation."""
    from ..loading import load
    from ..representation import Representation

    try:
        model = load(path)
    except OSError as error:
        raise type(error)(f"cannot read {path}: {error.strerror or error}") from None
    if not isinstance(model, Representation):
        raise ValueError(f"{path} holds {type(model).__name__}, not a representation")
    return model


def check_width(rep: Representation, table: Table, path: Path) -> None:
    """Refuse data with other coordinates than those of the model's training views."""
    wanted = rep.n_coordinates if rep.centres is None else rep.centres.shape[1]
    found = table.values.shape[-1]
    if wanted is not None and found != wanted:
        advice = (
            "choose columns with FILE:NAME,NAME or leave some out with --drop" if table.columns else "choose others"
        )
        raise ValueError(
            f"{table.source} has {found} coordinates{columns_of(table.columns)}, the model {path} was fitted to "
            f"{wanted}; {advice}"
        )


# ---------------------------------------------------------------- interrupts

_interrupted = False


@contextmanager
def interrupts_kept() -> Iterator[None]:
    """In the body a Ctrl-C is not lost: where Python has dropped one, `check_interrupt` raises it.

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


def add_progress(parser: argparse.ArgumentParser) -> None:
    """Declare ``--progress`` and ``--no-progress``."""
    parser.add_argument(
        "--progress",
        action=argparse.BooleanOptionalAction,
        help="show progress on stderr (default: if that is a terminal and it takes over 2 seconds)",
    )


@contextmanager
def progress(wanted: bool | None, steps: Mapping[str, float]) -> Iterator[Progress]:
    """Show the progress of the work in the body, and the time left, on stderr.

    Parameters
    ----------
    wanted : bool or None
        None: if stderr is a terminal, tqdm is there, and the work takes more than `PATIENCE`.
    steps : mapping
        Of each step, in order, the seconds that it is expected to take; only their ratios count.

    Yields
    ------
    Progress
        To be called with the name of each step as it begins.
    """
    if wanted is None and not (sys.stderr.isatty() and importlib.util.find_spec("tqdm") is not None):
        wanted = False
    if wanted is False:
        yield Progress(steps)
        return
    try:
        from tqdm import tqdm
    except ImportError as error:
        raise ImportError("a progress bar needs tqdm: pip install 'sslcore[cli]'") from error
    shape = "{desc:<22} |{bar:30}| {percentage:3.0f}% [{elapsed}, {remaining} left]"

    def make(initial: float) -> Any:
        bar = tqdm(total=1.0, bar_format=shape, file=sys.stderr, smoothing=0, leave=bool(wanted), delay=1e-9)
        bar.delay = 0  # it was to keep the bar from being drawn before it has its words
        bar.start_t -= initial
        return bar

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


class Progress:
    """How far the work is; moves a bar, or nothing.

    Within a step the bar follows `advance`, else the clock: the step is taken to last as long, compared with those
    done, as was expected.

    Parameters
    ----------
    steps : mapping
        Expected seconds of each step, in order.
    make : callable, optional
        Makes the bar, a tqdm, of work that began so many seconds ago.
    patience : float
        Seconds after which it appears.
    """

    def __init__(
        self, steps: Mapping[str, float], make: Callable[[float], Any] | None = None, patience: float = 0.0
    ) -> None:
        self._steps, self._make, self._patience = dict(steps), make, patience
        self._total = sum(self._steps.values())
        self._bar: Any = None
        self._step: str | None = None
        self._done = 0.0  # expected seconds of the steps that are done
        self._spent = 0.0  # and those that they took
        self._start = self._began = time.perf_counter()
        self._within: float | None = None
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
            self._step, self._began, self._within = step, now, None
        self.show()

    def expect(self, step: str, seconds: float) -> None:
        """Correct what a step that has not begun is expected to take."""
        with self._lock:
            self._total += seconds - self._steps[step]
            self._steps[step] = seconds

    def advance(self, fraction: float) -> None:
        """Say how much of the step is done, from 0 to 1."""
        check_interrupt()
        self._within = min(max(fraction, 0.0), 1.0)

    def fraction(self) -> float:
        """The part of the whole that is done, as far as one can tell."""
        with self._lock:
            if self._step is None:
                return 0.0
            expected = self._steps[self._step]
            within = self._within
            if within is None:
                likely = expected * (self._spent / self._done if self._done else 1.0)
                # it is not done before it says so
                within = min((time.perf_counter() - self._began) / likely, 0.95) if likely > 0 else 0.0
            return (self._done + expected * within) / self._total

    def show(self) -> None:
        """Draw the bar, if its time has come."""
        with self._lock:
            elapsed = time.perf_counter() - self._start
            if self._make is None or self._step is None or elapsed < self._patience:
                return
            if self._bar is None:
                self._bar = self._make(elapsed)
            place = list(self._steps).index(self._step) + 1
            self._draw(f"{self._step} {place}/{len(self._steps)}", self.fraction())

    def close(self, done: bool) -> None:
        """Leave the bar, full if the work is done."""
        with self._lock:
            if self._bar is not None:
                if done:
                    self._draw("done", 1.0)
                self._bar.close()

    def _draw(self, words: str, fraction: float) -> None:
        self._bar.set_description_str(words, refresh=False)
        self._bar.n = max(self._bar.n, fraction)  # it never goes back
        self._bar.refresh()
