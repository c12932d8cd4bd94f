"""Primitives for CuPy arrays: CUDA C kernels (``cuda/*.cu``), cuBLAS and cuSOLVER, on the caller's stream."""

from __future__ import annotations

import cupy as xp

from .device import free_memory, release, require_device, stream, to_host

require_device()
