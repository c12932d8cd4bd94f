"""DLPack capsules that say they lie on a CUDA device, about memory of the host."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np

__all__ = ["from_device", "on_device"]


class _Device(ctypes.Structure):
    _fields_ = [("type", ctypes.c_int32), ("id", ctypes.c_int32)]


class _Tensor(ctypes.Structure):  # the start of DLManagedTensor
    _fields_ = [("data", ctypes.c_void_p), ("device", _Device)]


_pointer = ctypes.pythonapi.PyCapsule_GetPointer
_pointer.restype, _pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]


def _relabel(capsule: Any, device: int) -> Any:
    _Tensor.from_address(_pointer(capsule, b"dltensor")).device.type = device
    return capsule


def on_device(host: np.ndarray) -> Any:
    """A capsule for an array of the stand-in."""
    return _relabel(host.__dlpack__(), 2)


class _Relabelled:
    """What a library on the device hands over, for NumPy."""

    def __init__(self, tensor: Any) -> None:
        self._tensor = tensor

    def __dlpack_device__(self) -> tuple[int, int]:
        return (1, 0)

    def __dlpack__(self, **_: Any) -> Any:
        return _relabel(self._tensor.__dlpack__(stream=1), 1)


def from_device(tensor: Any) -> np.ndarray:
    """The memory of a tensor that says it lies on the device."""
    return np.from_dlpack(_Relabelled(tensor))
