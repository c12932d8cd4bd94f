"""Worker processes: fresh interpreters with one thread, each of which computes a cell at a time.

They write no files and end with the process that started them, however that one ends.
"""

from __future__ import annotations

import json
import multiprocessing.spawn
import os
import pickle
import queue
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Generator, Iterator
from contextlib import suppress
from typing import IO, Any

import numpy as np

from ..io.archive import DTYPES, READABLE

__all__ = ["CellError", "Result", "as_arrays", "by_workers", "failure", "pickled"]

Result = tuple[int, dict[str, np.ndarray]]

_PROGRAM = """
import json, signal, sys
signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that asks
sys.path[:] = json.loads(sys.argv[1])
from sslcore.runs import _workers
_workers.serve()
"""
_ONE_THREAD = ("SSLCORE", "NUMBA", "OMP", "OPENBLAS", "MKL", "BLIS", "VECLIB", "NUMEXPR")
_importing = False  # a worker, what the function needs


class CellError(RuntimeError):
    """A cell of a run could not be computed; its ``__cause__`` is the exception that the function raised, if it did.

    Examples
    --------
    >>> from sslcore.runs import CellError, run_cells
    >>> def inverse(settings, cell):
    ...     return {"inverse": 1 / cell}
    >>> try:
    ...     run_cells(inverse, [1, 0], settings={}, workers=0)
    ... except CellError as error:
    ...     print(error)
    cell 1 (0) failed: ZeroDivisionError: division by zero
    """


def failure(index: int, cell: Any, error: BaseException) -> CellError:
    """Return the error for a cell whose function raised one."""
    return CellError(f"cell {index} ({cell!r:.100}) failed: {type(error).__name__}: {error}")


def as_arrays(found: Any) -> dict[str, np.ndarray]:
    """Return what a function gave as arrays that a file can hold; ``TypeError`` if it is none such."""
    if not isinstance(found, dict):
        raise TypeError(f"the function of a cell must give a dict of arrays, found {type(found).__name__}")
    arrays = {name: np.asarray(value, order="C") for name, value in found.items()}
    for name, array in arrays.items():
        if not isinstance(name, str) or not READABLE.fullmatch(name):
            raise TypeError(f"the name {name!r:.100} of an array is none of letters, digits and _.-")
        if array.dtype.newbyteorder("<").str not in DTYPES:
            raise TypeError(f"array {name!r} is one of {array.dtype}; make it one of {', '.join(DTYPES)}")
    return dict(sorted(arrays.items()))  # in the order in which files give them back


def pickled(function: Any, settings: dict[str, Any]) -> bytes:
    """Return the first message to a worker: where to import from, and then what."""
    if _importing:
        raise RuntimeError(
            "a worker process imports the script that starts workers, to find a function there; keep what shall run "
            "once under 'if __name__ == \"__main__\":'"
        )
    try:
        work = pickle.dumps((function, settings))
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise TypeError(
            f"the function of the cells cannot be sent to other processes ({error}): it must be one of a module, no "
            f"lambda and none inside another function; or compute here, with workers=0"
        ) from None
    place = multiprocessing.spawn.get_preparation_data("cells")
    dropped = ["authkey", "start_method", "log_to_stderr", "log_level"]
    if b"__main__" not in work:  # a worker need not run the script that we are in
        dropped += ["init_main_from_name", "init_main_from_path"]
    return pickle.dumps(({key: value for key, value in place.items() if key not in dropped}, work))


# ---------------------------------------------------------------- the process that asks


def by_workers(payload: bytes, cells: list[tuple[int, Any]], workers: int) -> Generator[Result]:
    """Compute cells on processes, and yield results as they come; ``close`` ends the processes."""
    todo, lock = iter(cells), threading.Lock()
    found: queue.SimpleQueue[Result | CellError] = queue.SimpleQueue()
    processes: list[_Process] = []
    try:
        for _ in range(min(workers, len(cells))):
            processes.append(_Process())
            threading.Thread(target=_drive, args=(processes[-1], payload, todo, lock, found), daemon=True).start()
        for _ in cells:
            result = found.get()
            if isinstance(result, CellError):
                raise result
            yield result
    finally:
        for process in processes:
            process.end()


def _drive(
    process: _Process,
    payload: bytes,
    todo: Iterator[tuple[int, Any]],
    lock: threading.Lock,
    found: queue.SimpleQueue[Result | CellError],
) -> None:
    """Give one process a cell after the other, until there are none or one fails."""
    message = payload
    while True:
        with lock:
            index, cell = next(todo, (-1, None))
        if index < 0:
            return
        try:
            if message:  # with the first cell
                process.ask(message)
                message = b""
            found.put((index, process.ask(cell)))
        except _Raised as raised:
            error = failure(index, cell, raised.error)
            raised.error.add_note(raised.where)
            error.__cause__ = raised.error
            found.put(error)
            return
        except Exception as broken:  # of the pipe, or of half a message in it
            found.put(CellError(f"cell {index} ({cell!r:.100}) was not finished: {process.obituary(broken)}"))
            return


class _Raised(Exception):
    """Carries what a function raised in a worker, and the lines of its traceback."""

    def __init__(self, error: Exception, where: str) -> None:
        super().__init__(error, where)
        self.error, self.where = error, where


class _Process:
    """A worker, seen from the process that asks it."""

    def __init__(self) -> None:
        one = {f"{name}_NUM_THREADS": "1" for name in _ONE_THREAD} | {"VECLIB_MAXIMUM_THREADS": "1"}
        self._process = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM, json.dumps([p for p in sys.path if isinstance(p, str)])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **one, "PYTHONHASHSEED": "0"},
        )

    def ask(self, message: Any) -> Any:
        """Return the answer to a message; `_Raised` if it is an exception."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        pickle.dump(message, self._process.stdin)
        self._process.stdin.flush()
        answer, where = pickle.load(self._process.stdout)
        if where:
            raise _Raised(answer, where)
        return answer

    def obituary(self, broken: Exception) -> str:
        """Tell what a worker died of."""
        try:
            code = self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            return f"its worker process cannot be understood ({type(broken).__name__}: {broken})"
        if code >= 0:
            return f"its worker process ended with the code {code}"
        name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
        more = ", as the system does where memory runs out: use fewer workers, or smaller cells" if code == -9 else ""
        return f"its worker process was ended by {name}{more}"

    def end(self) -> None:
        """End the process, whatever it does."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with suppress(OSError, ValueError):  # of bytes that nobody reads any more
                    pipe.close()


# ---------------------------------------------------------------- the process that is asked


def serve() -> None:
    """Answer the messages of standard input, on what was standard output, until the input ends."""
    global _importing
    source, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    os.dup2(2, 1)  # what a function prints
    messages: queue.SimpleQueue[Any] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(source, messages), daemon=True).start()
    place, work = pickle.loads(messages.get())
    try:
        _importing = True
        multiprocessing.spawn.prepare(place)
        function, settings = pickle.loads(work)
        _importing = False
    except Exception as error:
        _answer(answers, *_told(error))
        return
    _answer(answers, None)
    while True:
        answer: tuple[Any, str]
        try:
            answer = as_arrays(function(settings, messages.get())), ""
        except Exception as error:
            answer = _told(error)
        _answer(answers, *answer)


def _listen(source: IO[bytes], messages: queue.SimpleQueue[Any]) -> None:
    """Hand messages on; end this process with the one that sends them, in the middle of a cell too."""
    try:
        while True:
            messages.put(pickle.load(source))
    finally:
        os._exit(1)


def _answer(answers: IO[bytes], answer: Any, where: str = "") -> None:
    """Send an answer; where nobody is there to read it, end in silence, as `_listen` does."""
    try:
        pickle.dump((answer, where), answers)
        answers.flush()
    except BrokenPipeError:
        os._exit(1)


def _told(error: Exception) -> tuple[Exception, str]:
    """Return an exception, or its words if it cannot be sent, and the lines of its traceback."""
    where = "".join(traceback.format_exception(error))
    error.__traceback__ = None
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        error = RuntimeError(f"{type(error).__name__}: {error}")
    return error, f"In the worker process:\n{where}"
