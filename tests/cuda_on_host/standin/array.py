"""`cupy.ndarray` over NumPy: a wrapper, so that nothing of NumPy's arrays comes through but what CuPy's have too."""

from __future__ import annotations

import ctypes
import operator
from typing import Any

import numpy as np

from .memory import MemoryPointer, the_memory
from .names import ARRAY_METHODS, signature

__all__ = ["Counters", "counters", "fresh", "laid_out", "ndarray", "poisoned", "unwrap", "wrap"]

_POISONED = 1 << 28  # bytes up to which new memory is poisoned; more is left to the system's zeros


class Counters:
    """What crossed over, and how often the host waited for the device."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Count from zero."""
        self.synchronizations = 0
        self.to_host = 0  # transfers, and their bytes
        self.to_host_bytes = 0
        self.to_device = 0
        self.to_device_bytes = 0
        self.launches = 0  # of kernels of ours

    def _arrived(self, n_bytes: int) -> None:
        self.synchronizations += 1
        self.to_host += 1
        self.to_host_bytes += n_bytes

    def _sent(self, n_bytes: int) -> None:
        self.to_device += 1
        self.to_device_bytes += n_bytes

    def __repr__(self) -> str:
        return f"Counters({', '.join(f'{k}={v}' for k, v in vars(self).items())})"


counters = Counters()


class Flags:
    """`cupy._core.flags.Flags`."""

    def __init__(self, array: np.ndarray, owndata: bool) -> None:
        self.c_contiguous, self.f_contiguous = array.flags.c_contiguous, array.flags.f_contiguous
        self.owndata = owndata

    @property
    def forc(self) -> bool:
        """Contiguous in either order."""
        return self.f_contiguous or self.c_contiguous

    @property
    def fnc(self) -> bool:
        """In Fortran's order only."""
        return self.f_contiguous and not self.c_contiguous

    def __getitem__(self, name: str) -> bool:
        return {"C_CONTIGUOUS": self.c_contiguous, "F_CONTIGUOUS": self.f_contiguous, "OWNDATA": self.owndata}[name]


def poisoned(shape: Any, dtype: Any, order: str = "C") -> np.ndarray:
    """New memory, full of NaN or of large numbers."""
    dtype = np.dtype(dtype)
    if dtype.kind not in "biufc":
        raise ValueError(f"Unsupported dtype {dtype}")
    n_bytes = int(np.prod(shape, dtype=object)) * dtype.itemsize if np.ndim(shape) else int(shape) * dtype.itemsize
    the_memory.request(n_bytes)
    array = np.empty(shape, dtype, order=order or "C")  # type: ignore[call-overload]
    if array.nbytes <= _POISONED and array.size:
        flat = array.ravel("K").view(np.uint8)
        flat[...] = 1 if dtype.kind == "b" else 0xFF if dtype.kind in "fc" else 0x5B
    return array


def wrap(value: Any) -> Any:
    """NumPy's result as the device's: scalars become arrays without dimensions."""
    if isinstance(value, np.ndarray | np.generic):
        array = ndarray.__new__(ndarray)
        array._host = np.asarray(value)
        array._base = None
        the_memory.own(array._host)
        return array
    if isinstance(value, tuple | list):
        return type(value)(map(wrap, value)) if type(value) in (tuple, list) else tuple(map(wrap, value))
    return value


def unwrap(value: Any) -> Any:
    """An operand as NumPy sees it; arrays of the host are refused."""
    if isinstance(value, ndarray):
        return value._host
    if isinstance(value, np.ndarray):
        raise TypeError(f"Unsupported type {type(value)}: an array of the host among operands of the device")
    if isinstance(value, tuple | list):
        return type(value)(map(unwrap, value))
    return value


def fresh(result: Any, *operands: Any) -> Any:
    """A result of NumPy's as the device's: what is no view of an operand is in C order, whatever the operands' order.

    NumPy keeps the order of its operands where it can; CuPy allocates in C order.
    """
    if isinstance(result, tuple | list):
        return type(result)(fresh(r, *operands) for r in result) if type(result) in (tuple, list) else wrap(result)
    if isinstance(result, np.ndarray) and not any(np.may_share_memory(result, a) for a in operands):
        result = np.asarray(result, order="C")
    return wrap(result)


def laid_out(host: np.ndarray, dtype: Any = None, order: str | None = "K", shape: Any = None) -> np.ndarray:
    """New memory for an array like ``host``, in CuPy's order: for "K" the axes keep the order of their strides.

    Of axes with the same stride the last is the innermost, as in NumPy; one that was broadcast (stride 0) is inner to
    all others.
    """
    dtype, shape = np.dtype(dtype or host.dtype), host.shape if shape is None else shape
    shape = tuple(shape) if np.ndim(shape) else (int(shape),)
    order = (order or "K").upper()
    if order == "K" and len(shape) != host.ndim:
        order = "C"
    if order == "A" or (order == "K" and (host.flags.c_contiguous or host.flags.f_contiguous)):
        order = "F" if host.flags.fnc else "C"
    if order != "K":
        return np.empty(shape, dtype, order)  # type: ignore[call-overload]
    outer_first = sorted(range(host.ndim), key=lambda axis: (-abs(host.strides[axis]), axis))
    return np.empty([shape[axis] for axis in outer_first], dtype).transpose(np.argsort(outer_first))


_SCALARS = (bool, int, float, complex, np.generic)


class ndarray:
    """`cupy.ndarray`."""

    __module__ = "cupy"
    __array_priority__ = 100
    __hash__ = None  # type: ignore[assignment]

    def __init__(
        self, shape: Any, dtype: Any = float, memptr: Any = None, strides: Any = None, order: str = "C"
    ) -> None:
        self._base: Any = None
        if memptr is None:
            if strides is not None:
                raise NotImplementedError("strides without memptr")
            self._host = poisoned(shape, dtype, order)
            the_memory.own(self._host)
            return
        shape = tuple(shape) if np.ndim(shape) else (int(shape),)
        dtype = np.dtype(dtype)
        if strides is None:
            strides = _strides(shape, dtype, order)
        start, stop = memptr._extent
        low = memptr.ptr + sum(min(0, (n - 1) * s) for n, s in zip(shape, strides, strict=True))
        high = memptr.ptr + sum(max(0, (n - 1) * s) for n, s in zip(shape, strides, strict=True)) + dtype.itemsize
        if 0 not in shape and not (start <= low and high <= stop):
            raise ValueError(
                f"an array of shape {shape} and strides {strides} exceeds the memory that its pointer belongs to"
            )
        span = (ctypes.c_uint8 * max(0, stop - memptr.ptr)).from_address(memptr.ptr)
        span._owner = memptr._host  # type: ignore[attr-defined]
        self._host = np.ndarray(shape, dtype, buffer=span, strides=strides)
        self._base = memptr._host

    # ------------------------------------------------------------ what it is
    @property
    def shape(self) -> tuple[int, ...]:
        """Lengths of axes."""
        return self._host.shape

    @shape.setter
    def shape(self, shape: Any) -> None:
        changed = self._host.reshape(shape)
        if changed.size and not np.may_share_memory(changed, self._host):
            raise AttributeError("incompatible shape for a non-contiguous array")
        self._host = changed

    @property
    def strides(self) -> tuple[int, ...]:
        """Steps in bytes."""
        return self._host.strides

    @property
    def dtype(self) -> np.dtype:
        """Type of an element."""
        return self._host.dtype

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return self._host.ndim

    @property
    def size(self) -> int:
        """Number of elements."""
        return self._host.size

    @property
    def itemsize(self) -> int:
        """Bytes of an element."""
        return self._host.itemsize

    @property
    def nbytes(self) -> int:
        """Bytes of all elements."""
        return self._host.nbytes

    @property
    def base(self) -> Any:
        """What this is a view of."""
        if self._base is None and self._host.base is not None:
            self._base = wrap(self._host.base) if isinstance(self._host.base, np.ndarray) else None
        return self._base

    @property
    def flags(self) -> Flags:
        """How it lies in memory."""
        return Flags(self._host, self._host.base is None)

    @property
    def data(self) -> MemoryPointer:
        """Address of the first element."""
        return MemoryPointer._of(self._host)

    @property
    def device(self) -> Any:
        """The only device."""
        return self.data.device

    @property
    def T(self) -> ndarray:
        """Axes in reverse order."""
        return wrap(self._host.T)

    @property
    def mT(self) -> ndarray:
        """The last two axes exchanged."""
        return wrap(np.swapaxes(self._host, -1, -2))

    @property
    def real(self) -> ndarray:
        """Real part."""
        return wrap(self._host.real)

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return {
            "shape": self.shape,
            "typestr": self.dtype.str,
            "descr": self.dtype.descr,
            "stream": 1,
            "version": 3,
            "strides": None if self._host.flags.c_contiguous else self.strides,
            "data": (self._host.ctypes.data if self.size else 0, False),
        }

    def __dlpack_device__(self) -> tuple[int, int]:
        return (2, 0)

    def __dlpack__(
        self, *, stream: Any = None, max_version: Any = None, dl_device: Any = None, copy: bool | None = None
    ) -> Any:
        from .dlpack import on_device

        if dl_device is not None and tuple(dl_device) != (2, 0):
            if tuple(dl_device) != (1, 0):
                raise BufferError("unsupported device requested.")
            if copy is False:
                raise ValueError("GPU memory cannot be exported to CPU without copy.")
            return self.get().__dlpack__()
        return on_device(self._host)

    # ------------------------------------------------------------ the way to the host
    def get(
        self, stream: Any = None, order: str = "C", out: np.ndarray | None = None, blocking: bool = True
    ) -> np.ndarray:
        """A copy on the host."""
        from .cuda import settle_streams

        settle_streams(stream)
        counters._arrived(self.nbytes)
        if out is None:
            return np.array(self._host, order=order, copy=True)
        if not isinstance(out, np.ndarray):
            raise TypeError("Only numpy.ndarray can be obtained fromcupy.ndarray")
        if out.dtype != self.dtype:
            raise TypeError(f"{out.dtype} array cannot be obtained from {self.dtype} array")
        if out.shape != self.shape:
            raise ValueError(f"Shape mismatch. Expected shape: {self.shape}, actual shape: {out.shape}")
        if not (out.flags.c_contiguous or out.flags.f_contiguous):
            raise RuntimeError("`out` cannot be specified when copying to non-contiguous ndarray")
        out[...] = self._host
        return out

    def set(self, arr: np.ndarray, stream: Any = None) -> None:
        """Copy an array of the host here."""
        from .cuda import enqueue, is_pinned

        if not isinstance(arr, np.ndarray):
            raise TypeError("Only numpy.ndarray can be set to cupy.ndarray")
        if arr.dtype != self.dtype:
            raise TypeError(f"{arr.dtype} array cannot be set to {self.dtype} array")
        if arr.shape != self.shape:
            raise ValueError(f"Shape mismatch. Old shape: {self.shape}, new shape: {arr.shape}")
        if not (self._host.flags.c_contiguous or self._host.flags.f_contiguous):
            raise RuntimeError("Cannot set to non-contiguous array")
        counters._sent(arr.nbytes)
        if arr.size and arr.flags.c_contiguous and is_pinned(arr.ctypes.data):  # by address: nothing holds it meanwhile
            memory = (ctypes.c_uint8 * arr.nbytes).from_address(arr.ctypes.data)
            source = np.frombuffer(memory, arr.dtype).reshape(arr.shape)
        else:  # other memory has been read when the call returns
            source = arr.copy()
        enqueue(lambda: operator.setitem(self._host, Ellipsis, source), stream)

    def item(self) -> Any:
        """The only element, on the host."""
        if self.size != 1:
            raise ValueError("can only convert an array of size 1 to a Python scalar")
        return self.get().item()

    def tolist(self) -> Any:
        """A list on the host."""
        return self.get().tolist()

    def __array__(self, dtype: Any = None) -> np.ndarray:
        raise TypeError(
            "Implicit conversion to a NumPy array is not allowed. "
            "Please use `.get()` to construct a NumPy array explicitly."
        )

    def __bool__(self) -> bool:
        if self.size != 1:
            raise ValueError(
                "The truth value of an array with more than one element is ambiguous. Use a.any() or a.all()"
            )
        return bool(self.get())

    def __int__(self) -> int:
        return int(self.get())

    def __float__(self) -> float:
        return float(self.get())

    def __complex__(self) -> complex:
        return complex(self.get())

    def __repr__(self) -> str:
        return repr(self.get())

    def __str__(self) -> str:
        return str(self.get())

    def __format__(self, format_spec: str) -> str:
        return format(self.get(), format_spec)

    # ------------------------------------------------------------ shape and copies
    def astype(
        self, dtype: Any, order: str = "K", casting: Any = None, subok: Any = None, copy: bool = True
    ) -> ndarray:
        """With another type of elements."""
        if casting is not None:
            raise TypeError("casting is not supported yet")
        if subok is not None:
            raise TypeError("subok is not supported yet")
        order = (order or "K").upper()
        if not copy and np.dtype(dtype) == self.dtype and (order == "K" or self._contiguous(order)):
            return self
        result = laid_out(self._host, dtype, order)
        result[...] = self._host.astype(dtype)
        return wrap(result)

    def _contiguous(self, order: str) -> bool:
        flags = self._host.flags
        return {"C": flags.c_contiguous, "F": flags.f_contiguous, "A": flags.forc}[order]

    def copy(self, order: str = "C") -> ndarray:
        """A copy."""
        the_memory.request(self.nbytes)
        result = laid_out(self._host, order=order)
        result[...] = self._host
        return wrap(result)

    def __copy__(self) -> ndarray:
        return self.copy()

    def __deepcopy__(self, memo: Any) -> ndarray:
        return self.copy()

    def __reduce__(self) -> Any:
        from .functions import array

        return array, (self.get(order="A"),)

    def view(self, dtype: Any = None, type: Any = None) -> ndarray:
        """The same memory."""
        if type is not None:
            raise NotImplementedError("subclasses")
        return wrap(self._host.view() if dtype is None else self._host.view(dtype))

    def reshape(self, *shape: Any, order: str = "C", copy: bool | None = None) -> ndarray:
        """With other axes."""
        if copy is not None:
            raise NotImplementedError("reshape with copy")
        return wrap(self._host.reshape(*shape, order=order))  # type: ignore[call-overload]

    def transpose(self, *axes: Any) -> ndarray:
        """Axes in another order."""
        return wrap(self._host.transpose(*axes))

    def fill(self, value: Any) -> None:
        """Set all elements."""
        if isinstance(value, np.ndarray) and value.shape != ():
            raise ValueError("non-scalar numpy.ndarray cannot be used for fill")
        self._host.fill(unwrap(value) if isinstance(value, ndarray) else value)

    def __len__(self) -> int:
        if self.ndim == 0:
            raise TypeError("len() of unsized object")
        return len(self._host)

    def __iter__(self) -> Any:
        if self.ndim == 0:
            raise TypeError("iteration over a 0-d array")
        return (self[i] for i in range(len(self)))

    # ------------------------------------------------------------ indexing
    def __getitem__(self, index: Any) -> ndarray:
        return fresh(self._host[_index(index)], self._host)

    def __setitem__(self, index: Any, value: Any) -> None:
        if isinstance(value, list | tuple):
            raise TypeError(f"Unsupported type {type(value)}")
        self._host[_index(index, writing=True)] = unwrap(value)

    # ------------------------------------------------------------ operators
    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        from .functions import UFUNC_TABLE

        if method != "__call__" or ufunc.__name__ not in UFUNC_TABLE:
            return NotImplemented
        if "out" in kwargs:
            (kwargs["out"],) = kwargs["out"]
        return UFUNC_TABLE[ufunc.__name__](*inputs, **kwargs)

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        raise TypeError(f"numpy.{func.__name__} on an array of the device; call the function of xp")

    def __neg__(self) -> ndarray:
        return fresh(-self._host)

    def __pos__(self) -> ndarray:
        return fresh(+self._host)

    def __abs__(self) -> ndarray:
        return fresh(abs(self._host))

    def __invert__(self) -> ndarray:
        return fresh(~self._host)

    def __matmul__(self, other: Any) -> ndarray:
        if not isinstance(other, ndarray):
            raise TypeError(f"Unsupported type {type(other)}")
        return wrap(np.ascontiguousarray(self._host @ other._host))


def _strides(shape: tuple[int, ...], dtype: np.dtype, order: str) -> tuple[int, ...]:
    strides, step = [], dtype.itemsize
    for size in reversed(shape) if order == "C" else shape:
        strides.append(step)
        step *= size
    return tuple(reversed(strides)) if order == "C" else tuple(strides)


def _index(index: Any, writing: bool = False) -> Any:
    """An index as NumPy sees it."""
    if isinstance(index, tuple):
        return tuple(_index(i, writing) for i in index)
    if isinstance(index, ndarray):
        if index.dtype.kind == "b" and not writing:
            counters._arrived(8)  # the size of the result is asked for
        return index._host
    if isinstance(index, np.ndarray):
        raise TypeError("an array of the host as an index of an array of the device")
    if isinstance(index, list):
        host = np.asarray(index)
        counters._sent(host.nbytes)
        return host
    return index


def _operators() -> None:
    def binary(name: str, operation: Any) -> None:
        def forward(self: ndarray, other: Any) -> Any:
            return apply(self, other, operation)

        def backward(self: ndarray, other: Any) -> Any:
            return apply(self, other, lambda a, b: operation(b, a))

        def in_place(self: ndarray, other: Any) -> Any:
            if not isinstance(other, (ndarray, *_SCALARS)):
                unwrap(other)
                return NotImplemented
            ufunc(self._host, unwrap(other), out=self._host, casting="same_kind")
            return self

        ufunc = _IN_PLACE[name]
        for prefix, method in (("", forward), ("r", backward), ("i", in_place)):
            method.__name__ = f"__{prefix}{name}__"
            setattr(ndarray, method.__name__, method)

    def compare(name: str, operation: Any) -> None:
        def method(self: ndarray, other: Any) -> Any:
            if other is None:
                return wrap(np.full(self.shape, name == "ne"))
            return apply(self, other, operation)

        setattr(ndarray, f"__{name}__", method)

    def apply(self: ndarray, other: Any, operation: Any) -> Any:
        if not isinstance(other, (ndarray, *_SCALARS)):
            unwrap(other)  # refuses arrays of the host
            return NotImplemented
        return fresh(operation(self._host, unwrap(other)))

    for name in _IN_PLACE:
        binary(name, getattr(operator, f"{name}_" if name in ("and", "or") else name))
    for name in ("lt", "le", "eq", "ne", "gt", "ge"):
        compare(name, getattr(operator, name))

    for name, text in ARRAY_METHODS.items():
        setattr(ndarray, name, _method(name, text))


def _method(name: str, text: str) -> Any:
    wanted = signature(text)

    def method(self: ndarray, *args: Any, **kwargs: Any) -> Any:
        bound = wanted.bind(*args, **kwargs).arguments
        if name in FROM_FUNCTIONS:
            from .functions import FUNCTION_TABLE

            return FUNCTION_TABLE[name](self, *args, **kwargs)
        out = bound.get("out")
        given = {k: unwrap(v) for k, v in bound.items() if v is not None}
        if name == "sort" and given.get("axis", -1) is None:
            raise TypeError("an integer is required")
        if name == "sort" and not self._host.flags.c_contiguous:
            raise NotImplementedError("Sorting non-contiguous array is not supported.")
        if name == "dot" and out is not None and not out.flags.c_contiguous:
            raise ValueError("Output array must be C-contiguous")
        if name in ("argmax", "argmin") and given.pop("dtype", None) is not None:
            raise NotImplementedError("dtype of argmax")
        if name == "clip":
            result = self._host.clip(given.get("min"), given.get("max"), out=given.get("out"))
        elif name == "conj":
            result = self._host.conj() if self.dtype.kind == "c" else self._host
        else:
            # CuPy takes by name what NumPy takes by position only
            places = [given.pop(key) for key in _POSITIONAL.get(name, ())]
            result = getattr(self._host, name)(*places, **given)
        return out if out is not None else fresh(result, self._host)

    method.__name__, method.__signature__ = name, wanted  # type: ignore[attr-defined]
    return method


FROM_FUNCTIONS = ("argsort", "cumsum", "nonzero")  # their results have an order of their own
_POSITIONAL = {"swapaxes": ("axis1", "axis2"), "take": ("indices",), "repeat": ("repeats",), "dot": ("b",)}
_IN_PLACE = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "truediv": np.true_divide,
    "floordiv": np.floor_divide,
    "mod": np.remainder,
    "pow": np.power,
    "and": np.bitwise_and,
    "or": np.bitwise_or,
    "xor": np.bitwise_xor,
    "lshift": np.left_shift,
    "rshift": np.right_shift,
}

_operators()
