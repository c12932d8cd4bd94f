"""Settings of the property tests, and the fixture `backend`."""

from __future__ import annotations

import ctypes
import functools
import importlib.util
import os
import signal
import subprocess
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

from sslcore.backends import get_backend
from sslcore.kernels import registry

from .cuda_on_host import standin
from .cuda_on_host.compiler import has_compiler

# compilation and a busy machine make single examples slow; in CI a run must be repeatable.  The fixture `backend` keeps
# nothing from one example to the next.
settings.register_profile(
    "dev", deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
settings.register_profile("ci", parent=settings.get_profile("dev"), derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "dev")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # so shells start background jobs; some tests send it
    signal.signal(signal.SIGINT, signal.default_int_handler)


# a child that hangs ends its test, not the suite; tests that know better say their own timeout
subprocess.run = functools.partial(subprocess.run, timeout=900)  # type: ignore[assignment]


def has_device() -> bool:
    """Whether CuPy is installed and finds a device; it is not imported where there is no driver."""
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    if importlib.util.find_spec("cupy") is None:
        return False
    import cupy

    try:
        return int(cupy.cuda.runtime.getDeviceCount()) > 0
    except cupy.cuda.runtime.CUDARuntimeError:
        return False


class Backend:
    """Where a test's arrays live."""

    def __init__(self, variant: str, xp: ModuleType) -> None:
        self.variant = variant  # "numba", "cupy-on-host" or "cupy"
        self.name = "numba" if variant == "numba" else "cupy"  # what the parameter backend= is called
        self.xp = xp

    @property
    def primitives(self) -> ModuleType:
        """The primitives."""
        return get_backend(backend=self.name)

    def asarray(self, x: Any, dtype: Any = None) -> Any:
        """An array of this backend."""
        return self.xp.asarray(x, dtype=dtype)

    def asnumpy(self, y: Any) -> Any:
        """An array of NumPy; ``y`` must be an array of this backend, which is checked."""
        if not isinstance(y, self.xp.ndarray):
            raise AssertionError(f"expected an array of {self.variant}, found {type(y)}")
        return y if self.name == "numba" else self.xp.asnumpy(y)

    def __repr__(self) -> str:
        return f"<{self.variant}>"


@pytest.fixture(params=["numba", "cupy-on-host", *(["cupy"] if has_device() else [])])
def backend(request: pytest.FixtureRequest) -> Iterator[Backend]:
    """The same test on the CPU, on CUDA code that runs on the host, and on a GPU where there is one."""
    if request.param == "numba":
        yield Backend("numba", np)
    elif request.param == "cupy":
        import cupy

        yield Backend("cupy", cupy)
    elif has_compiler():
        with standin.installed() as cupy:
            yield Backend("cupy-on-host", cupy)
    elif os.environ.get("CI"):
        pytest.fail("CUDA code on the host is compiled by g++, which is not installed")
    else:
        pytest.skip("CUDA code on the host is compiled by g++, which is not installed")


@pytest.fixture(params=["host", *(["device"] if has_device() else [])])
def cp(request: pytest.FixtureRequest) -> Iterator[ModuleType]:
    """CuPy on the host, and on a device where there is one."""
    if request.param == "host":
        with standin.installed() as cupy:
            yield cupy
    else:
        yield get_backend(backend="cupy").xp


def pytest_collection_finish() -> None:
    """Kernels that test modules declare leave the registry again: what iterates over it means the library's."""
    for name, kernel in list(registry.items()):
        if not kernel.__module__.startswith("sslcore."):
            del registry[name]
