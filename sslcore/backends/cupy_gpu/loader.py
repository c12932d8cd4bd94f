"""The loader of all CUDA sources: compiled ahead of time if ``setup.py`` found nvcc, else by NVRTC at the first call.

CuPy keeps what NVRTC made on disk, so that only the first process of a machine waits, about a second a source.
"""

from __future__ import annotations

import functools
import warnings
from typing import Any

import cupy as xp
import numpy as np

from ...errors import BackendError
from ..formulas import check_formula
from . import sources

__all__ = ["blocks_of", "kernel", "launch"]

THREADS = 256
"""Threads of a block, for kernels whose source leaves their number to the caller."""


@functools.cache
def kernel(source: str, name: str, dtype: Any = "float64", formula: str | None = None, tile: str | None = None) -> Any:
    """Return the kernel ``name`` of ``source``.cu for this dtype, with profile ``formula`` and ``tile`` compiled in."""
    if formula is not None:
        check_formula(formula)
    try:
        return _module(source, np.dtype(dtype).name, formula, tile).get_function(name)
    except xp.cuda.compiler.CompileException as error:
        raise BackendError(
            f"the CUDA source {source}.cu could not be compiled for this GPU: {error}. Check that CuPy fits the CUDA "
            f"version of the driver (cupy.show_config() tells both); if a kernel of your own is concerned, its formula "
            f"must be valid C++: {formula!r}"
        ) from None


@functools.cache
def _module(source: str, dtype: str, formula: str | None, tile: str | None) -> Any:
    capability = int(xp.cuda.Device().compute_capability)
    try:
        path = sources.find_prebuilt(sources.PREBUILT, source, dtype, formula, tile, capability)
        if path is not None:
            module = xp.RawModule(path=str(path))
            module.compile()  # loads it, which is otherwise put off
            return module
    except (sources.DamagedError, xp.cuda.driver.CUDADriverError) as error:
        warnings.warn(
            f"the CUDA sources compiled ahead of time cannot be used ({error}); compiling them now, with the same "
            f"results. To be rid of this message reinstall sslcore, with SSLCORE_PREBUILT=0 in the environment if nvcc "
            f"is newer than the driver",
            RuntimeWarning,
            stacklevel=2,
        )
    return xp.RawModule(code=sources.text(source), options=sources.options(source, dtype, formula, tile))


def launch(function: Any, n_threads: int, *args: Any, block: int = THREADS) -> None:
    """Call a kernel of ``n_threads`` threads, ``block`` of them in a block; do nothing if there are none."""
    if n_threads:
        function((blocks_of(n_threads, block),), (block,), args)


def blocks_of(total: int, each: int) -> int:
    """Count the blocks of ``each`` that cover ``total``."""
    return -(-total // each)
