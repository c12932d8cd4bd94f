"""Peak memory of a piece of code in a fresh process (Linux)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

__all__ = ["in_fresh_process", "peak_rise", "status"]

ROOT = Path(__file__).resolve().parent.parent

_RESET = """
import ctypes
from bench.memory import status
ctypes.CDLL(None).malloc_trim(0)  # what the setup has freed goes back, or its reuse would hide a rise
with open("/proc/self/clear_refs", "w") as file:
    file.write("5")  # sets VmHWM back to VmRSS (man 5 proc)
before = status("VmRSS")
"""


def status(name: str, process: int | str = "self") -> int:
    """Bytes that the kernel counts of a process under this name: VmRSS, or VmHWM at most."""
    with open(f"/proc/{process}/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith(name))


def in_fresh_process(code: str, **environment: str) -> Any:
    """Run ``code`` in a new interpreter from the repository's root; its last line printed is JSON."""
    variables = os.environ | environment
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=variables, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"the fresh process failed:\n{done.stderr}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def peak_rise(setup: str, code: str) -> int:
    """Bytes by which the resident memory rises at most while ``code`` runs, above where it was after ``setup``.

    ``setup`` should import, make the data, and call once on a small case, so that libraries, compiled code and the
    buffers of BLAS are not counted.  The kernel's own high-water mark (VmHWM) misses no peak, unlike sampling; unlike
    ``ru_maxrss`` it does not start at the parent's, and it can be set back after the setup.
    """
    last = 'import json; print(json.dumps([before, status("VmHWM")]))'
    before, peak = in_fresh_process("\n".join([setup, _RESET, code, last]))
    return int(peak - before)
