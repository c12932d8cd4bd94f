"""Arrays of any library at the public edge: the same kind comes out that went in.

NumPy's and CuPy's arrays are what the library computes with.  Everything else that speaks DLPack (PyTorch, JAX,
TensorFlow) or ``__cuda_array_interface__`` is viewed as one of the two, without a copy where its memory allows, and
results are handed back in the same way.  What an array is besides its memory is heeded or refused: masks, sparse
layouts, PyTorch's lazy negation, tensors that have no memory.  ``backend="cupy"`` with NumPy arrays is the one
crossing that can be asked for: the work is done on the device, and the results come back as NumPy arrays.

Memory that runs out is handled here too: on a GPU, everything that the failed call held is given back.
"""

from __future__ import annotations

import functools
import gc
import inspect
import sys
import traceback
from collections.abc import Callable
from typing import Any, TypeVar, cast

import numpy as np

from ..backends import device_of, get_backend
from ..errors import BackendError

__all__ = ["ArrayKind", "as_native", "gives_memory_back", "handed_back", "kind_of", "same_kind", "target_of"]

F = TypeVar("F", bound=Callable[..., Any])


class ArrayKind:
    """The library whose arrays came in, to which results go back."""

    def __init__(self, library: str, convert: Callable[[Any], Any] | None) -> None:
        self.library, self._convert = library, convert

    def convert_back(self, result: Any) -> Any:
        """Return ``result`` with every array in it as one of the library's own; words stay arrays of NumPy."""
        if self._convert is None:
            return result
        if isinstance(result, tuple):
            return tuple(map(self.convert_back, result))
        numbers = isinstance(result, np.ndarray) and result.dtype.kind in "biufc"
        return self._convert(result) if numbers or device_of(result) == "cupy" else result


_NATIVE = ArrayKind("native", None)


def is_foreign(value: Any) -> bool:
    """Tell whether ``value`` is an array of a library other than NumPy and CuPy."""
    kind = type(value)
    if kind is np.ndarray or kind in (float, int, list, tuple, str, type(None)):
        return False
    if isinstance(value, np.ndarray | np.generic) or device_of(value) == "cupy":
        return False
    if hasattr(kind, "to_pylist"):
        return False  # Arrow's columns, whose nulls and words DLPack cannot say
    return hasattr(kind, "__dlpack__") or hasattr(kind, "__cuda_array_interface__")


def as_native(value: Any, name: str = "an array", backend: str | None = None) -> Any:
    """Convert an array of another library to NumPy or CuPy; others only if ``backend`` asks for the crossing.

    What NumPy would make something else of in silence is refused: masked entries and sparse matrices, also in lists.
    """
    if isinstance(value, np.ma.MaskedArray):
        value = unmasked(value, name)
    elif isinstance(value, list | tuple):
        value = _natives(value, name)
    elif hasattr(type(value), "toarray") or hasattr(type(value), "todense"):
        dense = "toarray" if hasattr(type(value), "toarray") else "todense"
        raise TypeError(
            f"{name} is a sparse {type(value).__name__}, and a dense array is needed: hand over {name}.{dense}()"
        )
    elif is_foreign(value):
        value = _view(value, name)
    if backend == "cupy" and device_of(value) != "cupy" and value is not None:
        return get_backend(backend="cupy").xp.asarray(np.asarray(value))
    return value


def kind_of(value: Any, backend: str | None = None) -> ArrayKind:
    """Tell where the results of a call with the argument ``value`` go."""
    if is_foreign(value):
        library = type(value).__module__.split(".")[0]
        module = value.__array_namespace__() if hasattr(value, "__array_namespace__") else sys.modules.get(library)
        importer = getattr(module, "from_dlpack", None)
        return ArrayKind(library, importer) if importer is not None else _NATIVE
    if backend == "cupy" and device_of(value) != "cupy":
        return ArrayKind("numpy", get_backend(backend="cupy").to_host)
    return _NATIVE


def unmasked(array: np.ma.MaskedArray, name: str) -> np.ndarray:
    """Return the entries of an array without masked ones; refuse others, for what is under a mask is no value."""
    mask = np.ma.getmaskarray(array)
    hidden = np.argwhere(mask) if mask.dtype == bool else np.empty((0, 1))  # a mask of records says nothing by itself
    if len(hidden):
        first = tuple(map(int, hidden[0]))
        raise ValueError(
            f"{name} has masked entries ({len(hidden)} of them, the first at index {first}), which have no value; "
            f"leave those samples out, or fill them first, with {name}.filled(...)"
        )
    return np.ma.getdata(array)


def target_of(out: Any) -> Any:
    """Return the memory of ``out``, where results are to go: a tensor's as an array of NumPy or CuPy.

    Arrays of other libraries are never changed, by their own contract (JAX, TensorFlow), and refused.
    """
    if not is_foreign(out):
        return out
    if "torch" not in sys.modules or not isinstance(out, sys.modules["torch"].Tensor):
        kind = f"{type(out).__module__.split('.')[0]}.{type(out).__name__}"
        raise TypeError(f"out is a {kind}, which cannot be written to; hand over an array of NumPy, CuPy or PyTorch")
    if out.requires_grad or with_values(out, "out") is not out:
        raise TypeError("out is a tensor that requires a gradient or is lazily negated; hand over one of torch.empty")
    return _view(out, "out") if out.is_cuda else out.numpy()


def handed_back(kind: ArrayKind, result: Any, memory: Any, out: Any) -> Any:
    """Convert results to their kind, and give ``out`` itself back in place of its memory (`target_of`)."""
    if out is None:
        return kind.convert_back(result)
    if isinstance(result, tuple):
        return tuple(handed_back(kind, part, memory, out) for part in result)
    return out if result is memory else kind.convert_back(result)


_PLAIN = frozenset((float, int, bool, complex, str, bytes, type(None), np.float64, np.float32, np.int64, np.str_))
_DEEPEST = 64
"""Axes of an array of NumPy, at most."""


def _natives(items: Any, name: str, depth: int = 1) -> Any:
    """Convert the arrays in a list or tuple as `as_native` does; numbers and words stay."""
    if all(type(item) in _PLAIN or type(item) is np.ndarray for item in items):
        return items
    if depth == _DEEPEST:
        raise ValueError(f"{name} must be a rectangular array, found lists in lists, {depth} deep")
    found = [
        _natives(item, name, depth + 1) if isinstance(item, list | tuple) else as_native(item, name) for item in items
    ]
    if any(device_of(item) == "cupy" for item in found):
        raise TypeError(f"{name} is a list of arrays that lie on a GPU; make one array of them first, with stack(...)")
    return found


def within_torch_func(tensor: Any) -> bool:
    """Tell whether a tensor stands for another one, inside ``torch.func.grad``, ``vmap`` and the like."""
    functorch = getattr(sys.modules["torch"]._C, "_functorch", None)
    return functorch is not None and bool(functorch.is_functorch_wrapped_tensor(tensor))


def with_values(value: Any, name: str) -> Any:
    """Return a tensor of PyTorch whose memory holds its values: negation and conjugation are done, or refused."""
    torch = sys.modules["torch"]
    reason, remedy = "", "hand over a dense tensor"
    if within_torch_func(value):
        reason = "is being transformed by torch.func or vmap, which do not see into NumPy"
        remedy = "use the losses of sslcore.torch there"
    elif value.is_nested:
        reason = "is nested"
    elif value.layout != torch.strided:
        reason, remedy = f"has the layout {value.layout}", f"hand over {name}.to_dense()"
    elif value.is_quantized:
        reason, remedy = f"is quantized ({value.dtype})", f"hand over {name}.dequantize()"
    elif type(value).__torch_dispatch__ is not torch.Tensor.__torch_dispatch__:
        reason = "has no memory of its own, or means something else by it"
    elif value.device.type == "meta" or value._is_zerotensor() or (value.numel() and not value.data_ptr()):
        reason = f"has no memory (on the device {value.device})"
    if reason:
        raise TypeError(f"{name} is a torch.{type(value).__name__} that {reason}; {remedy}")
    return value.resolve_conj().resolve_neg()


def _view(value: Any, name: str) -> Any:
    kind = f"{type(value).__module__.split('.')[0]}.{type(value).__name__}"
    if "torch" in sys.modules and isinstance(value, sys.modules["torch"].Tensor):
        value = with_values(value, name)
    try:
        if not hasattr(value, "__dlpack_device__") or int(value.__dlpack_device__()[0]) in _CUDA:
            xp = get_backend(backend="cupy").xp
            return xp.from_dlpack(value) if hasattr(value, "__dlpack__") else xp.asarray(value)
        return np.from_dlpack(value)
    except BackendError:
        raise
    except (BufferError, RuntimeError, TypeError, ValueError, AttributeError) as error:
        raise TypeError(
            f"{name} is a {kind} whose memory cannot be shared: {str(error).rstrip('.')}; hand over a dense array of "
            f"real numbers on the CPU or on a CUDA device (for PyTorch, tensor.detach())"
        ) from None


_CUDA = (2, 13)  # DLPack's numbers for CUDA memory and managed CUDA memory


def same_kind(*names: str) -> Callable[[F], F]:
    """Decorate a public function whose parameters ``names`` are arrays, the first of them always given.

    A ``backend`` among its parameters may ask for the crossing of NumPy arrays to the device.  An ``out`` among them is
    where a result goes, and is returned itself.
    """

    def decorate(function: F) -> F:
        parameters = list(inspect.signature(function).parameters)
        places = {name: parameters.index(name) for name in names}

        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            backend = kwargs.get("backend")
            kind, out = _NATIVE, kwargs.get("out")
            if backend == "cupy" or any(map(is_foreign, args)) or (kwargs and any(map(is_foreign, kwargs.values()))):
                values = list(args)
                for name, place in places.items():
                    if place < len(values):
                        kind = kind_of(values[place], backend) if name == names[0] else kind
                        values[place] = as_native(values[place], name, backend)
                    elif name in kwargs:
                        kind = kind_of(kwargs[name], backend) if name == names[0] else kind
                        kwargs[name] = as_native(kwargs[name], name, backend)
                args = tuple(values)
                if out is not None:
                    kwargs["out"] = target_of(out)
            return handed_back(kind, _guarded(function, args, kwargs), kwargs.get("out"), out)

        return cast(F, call)

    return decorate


def gives_memory_back(function: F) -> F:
    """Decorate a public function that brings its arrays over by itself: if the GPU has no more, the call lets go."""

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        return _guarded(function, args, kwargs)

    return cast(F, call)


def _guarded(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Call ``function(*args, **kwargs)``; if device memory runs out, free what the call held before the error."""
    try:
        return function(*args, **kwargs)
    except MemoryError as error:
        if device_of(error) != "cupy":
            raise
        message = str(error)
        traceback.clear_frames(error.__traceback__)  # they keep the arrays of the failed call alive
        error.__traceback__ = None
    gc.collect()
    get_backend(backend="cupy").release()
    raise MemoryError(
        f"the GPU ran out of memory ({message.rstrip('.')}); what the call held has been given back. Use memory= to be "
        f"told beforehand, smaller data, features in place of an exact kernel, or free other arrays on the device"
    )
