"""`sslcore.backends.cupy_gpu.sources`, without its package, which asks for CuPy and a device."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import sslcore

__all__ = ["sources"]


def _load() -> ModuleType:
    path = Path(sslcore.__file__).parent / "backends" / "cupy_gpu" / "sources.py"
    spec = importlib.util.spec_from_file_location("cuda_sources", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


sources = _load()
