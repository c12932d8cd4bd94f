"""Processes that a test starts, which end with it."""

import contextlib
import subprocess
import sys
import threading

LONGEST = 300
"""Seconds after which such a process is killed: one that hangs ends what its test reads from it, red."""


@contextlib.contextmanager
def started(*arguments, **pipes):
    """A process of this Python, to be killed where the test has ended first, or waits for too long."""
    process = subprocess.Popen([sys.executable, *arguments], **pipes)
    last = threading.Timer(LONGEST, process.kill)
    last.start()
    with process:  # closes its pipes
        try:
            yield process
        finally:
            last.cancel()
            process.kill()
