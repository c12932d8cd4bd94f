"""Fresh processes without the time of their imports: children of a process that has imported, and done nothing else."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest

__all__ = ["Child", "Parent", "needs_fork"]

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked here, and Windows has no fork")

_PARENT = """
import json, os, sys, traceback, warnings
names = {"__name__": "__main__"}
exec(sys.argv[1], names)
for line in sys.stdin:
    code, environment, out, err = json.loads(line)
    with warnings.catch_warnings():
        # Python's own, of forking a process that has threads: those of the BLAS, which are at rest
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if not child:
        status = 1
        try:
            for path, descriptor in ((os.devnull, 0), (out, 1), (err, 2)):
                os.dup2(os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600), descriptor)
            os.environ.update(environment)
            exec(code, names)
            status = 0
        except SystemExit as end:
            status = end.code or 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
    print(child, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class Parent:
    """A process that has run ``imports`` and forks when it is asked to."""

    def __init__(self, imports: str, **environment: str) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self._process = subprocess.Popen(
            [sys.executable, "-c", _PARENT, imports],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,  # select tells of all that was not read
            env=os.environ | environment,
            start_new_session=True,  # a group of its own, with its child
        )

    def __enter__(self) -> Parent:
        return self

    def __exit__(self, kind: object, *error: object) -> None:
        self._process.stdin.close()
        try:
            if kind is None:
                self._process.wait(60)
        finally:
            if self._process.returncode is None:  # a test has failed, or a child does not end
                os.killpg(self._process.pid, signal.SIGKILL)
                self._process.wait()
            self._process.stdout.close()
            self._folder.cleanup()

    def start(self, code: str, **environment: str) -> Child:
        """Run ``code`` in a child, with these variables changed; a second one waits until the first has ended."""
        return Child(self._process, Path(tempfile.mkdtemp(dir=self._folder.name)), code, environment)

    def run(self, code: str, **environment: str) -> str:
        """The standard output of a child, which must end well."""
        child = self.start(code, **environment)
        status, out, err = child.wait()
        assert status == 0, err
        return out


class Child:
    """One process of a `Parent`."""

    def __init__(self, parent: subprocess.Popen[bytes], folder: Path, code: str, environment: dict[str, str]) -> None:
        self._parent, self._streams = parent, [folder / name for name in ("out", "err")]
        parent.stdin.write(json.dumps([code, environment, *map(str, self._streams)]).encode() + b"\n")
        self.pid = int(self._line())

    def _line(self) -> bytes:
        ready, _, _ = select.select([self._parent.stdout], [], [], 300)
        assert ready, "the child does not end"
        return self._parent.stdout.readline()

    def has_ended(self) -> bool:
        """Whether it has."""
        return bool(select.select([self._parent.stdout], [], [], 0)[0])

    def until(self, condition: Callable[[], bool], seconds: float = 120.0) -> None:
        """Wait until ``condition()`` holds or the process has ended, for at most so many seconds."""
        last = time.monotonic() + seconds
        while not condition() and not self.has_ended():
            assert time.monotonic() < last, f"what was waited for has not come within {seconds:g} seconds"
            time.sleep(0.002)

    def kill(self) -> None:
        """End it at once."""
        if self.has_ended():  # its id may be another's
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)

    def wait(self) -> tuple[int, str, str]:
        """Its status, and what it has written, when it has ended."""
        status = int(self._line())
        out, err = (path.read_text() if path.exists() else "" for path in self._streams)
        return status, out, err
