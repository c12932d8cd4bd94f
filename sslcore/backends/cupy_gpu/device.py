"""The GPU itself: whether there is one, its memory, and copies between it and the host."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import cupy as xp
import numpy as np

from ...errors import BackendError

__all__ = ["free_memory", "release", "require_device", "stream", "to_host"]

_OLDEST = 70
"""Least compute capability (times 10): what CUDA 12 still compiles for with double-precision atomics."""


def require_device() -> None:
    """Raise `BackendError` where no GPU can be used; its message says what to do."""
    advice = "use backend='numba' with NumPy arrays, or"
    try:
        count = xp.cuda.runtime.getDeviceCount()
    except xp.cuda.runtime.CUDARuntimeError as error:
        raise BackendError(
            f"the 'cupy' backend is not available here (CuPy is installed, but finds no usable CUDA driver: {error}); "
            f"{advice} install NVIDIA's driver (nvidia-smi tells its CUDA version) and the CuPy package of that version"
        ) from None
    if count == 0:
        raise BackendError(
            f"the 'cupy' backend is not available here (CuPy is installed, but no CUDA device is visible); {advice} "
            f"make one visible (CUDA_VISIBLE_DEVICES)"
        )
    capability = int(xp.cuda.Device().compute_capability)
    if capability < _OLDEST:
        raise BackendError(
            f"the 'cupy' backend is not available here (the GPU has compute capability {capability / 10:.1f}, at least "
            f"{_OLDEST / 10:.1f} is needed, Volta or newer); {advice} choose another device (CUDA_VISIBLE_DEVICES)"
        )


def free_memory() -> int:
    """Return the bytes that can still be allocated: what device and CuPy's pool have left, within the pool's limit."""
    pool = xp.get_default_memory_pool()
    free = int(xp.cuda.Device().mem_info[0]) + int(pool.free_bytes())
    limit = int(pool.get_limit())
    return min(free, max(0, limit - int(pool.used_bytes()))) if limit else free


def release() -> None:
    """Give all unused memory of CuPy's pools back, after a failure."""
    xp.get_default_memory_pool().free_all_blocks()
    xp.get_default_pinned_memory_pool().free_all_blocks()


def to_host(array: Any) -> np.ndarray:
    """Copy ``array`` to NumPy; this waits for the device."""
    out: np.ndarray = xp.asnumpy(array)
    return out


def stream(blocks: Iterable[Any]) -> Iterator[Any]:
    """Yield tuples of ``blocks``, the host array that is first in each on the device; others as they are.

    Double buffering: while the caller works on one block, the next is read into pinned memory and copied by a stream of
    its own.  A pinned buffer is written again, or given back to CuPy's pool, only when its copy has ended, and a block
    is handed out behind an event that makes the caller's stream wait for its copy; the caller is done with a block when
    it asks for the next one but one, which the copying stream waits for in turn.
    """
    copies = xp.cuda.Stream(non_blocking=True)
    buffers: list[Any] = [None, None]
    copied = [xp.cuda.Event(disable_timing=True) for _ in buffers]
    ahead: Any = None
    try:
        for number, (block, *rest) in enumerate(blocks):
            if not isinstance(block, np.ndarray):
                yield (block, *rest)
                continue
            slot = number % 2
            pinned = buffers[slot]
            if pinned is not None:
                copied[slot].synchronize()
            if pinned is None or pinned.nbytes < block.nbytes:
                pinned = buffers[slot] = _pinned(block.nbytes)
            staged = pinned[: block.nbytes].view(block.dtype).reshape(block.shape)
            staged[...] = block
            device = xp.empty(block.shape, block.dtype)
            # memory of the pool may still be in use by work that the caller has queued
            copies.wait_event(xp.cuda.get_current_stream().record())
            device.set(staged, stream=copies)
            copied[slot].record(copies)
            if ahead is not None:
                yield _arrived(*ahead)
            ahead = (copied[slot], device, rest)
        if ahead is not None:
            yield _arrived(*ahead)
    finally:
        # both pools would hand the memory of a copy that is under way to whoever asks next: the caller's stream waits
        # for the copies, the host does not, and a caller may not have wanted all blocks
        for pinned, event in zip(buffers, copied, strict=True):
            if pinned is not None:
                event.synchronize()


def _arrived(event: Any, device: Any, rest: list[Any]) -> tuple[Any, ...]:
    xp.cuda.get_current_stream().wait_event(event)
    return (device, *rest)


def _pinned(n_bytes: int) -> np.ndarray:
    memory = xp.cuda.alloc_pinned_memory(n_bytes)
    return np.frombuffer(memory, np.uint8, n_bytes)
