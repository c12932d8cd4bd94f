"""The functions of `cupy`: NumPy's, with CuPy's signatures, on arrays of the stand-in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .array import counters, fresh, laid_out, ndarray, unwrap, wrap
from .memory import the_memory
from .names import FUNCTIONS, LINALG, UFUNCS, signature

__all__ = ["FUNCTION_TABLE", "LINALG_TABLE", "UFUNC_TABLE", "array"]


def _device(name: str, value: Any) -> Any:
    """An operand that must be an array of the device."""
    if not isinstance(value, ndarray):
        raise TypeError(f"cupy.{name}: an array of the device is wanted, found {type(value).__name__}")
    return value._host


def _ufunc(name: str) -> Callable[..., Any]:
    operation = getattr(np, name)

    def call(*args: Any, out: Any = None, dtype: Any = None, casting: str = "same_kind") -> Any:
        if not operation.nin <= len(args) <= operation.nargs:
            raise TypeError(f"Wrong number of arguments for {name!r}")
        if len(args) > operation.nin:
            args, out = args[: operation.nin], args[operation.nin]
        if isinstance(out, tuple):
            (out,) = out
        for value in args:
            if isinstance(value, list | tuple) or value is None:
                raise TypeError(f"Unsupported type {type(value)}")
        if out is not None and not isinstance(out, ndarray):
            raise TypeError(f"Output arguments type must be cupy.ndarray, found {type(out)}")
        options = {} if dtype is None else {"dtype": dtype}
        result = operation(*map(unwrap, args), out=unwrap(out), casting=casting, order="C", **options)
        return out if out is not None else wrap(result)

    call.__name__ = name
    return call


UFUNC_TABLE = {name: _ufunc(name) for name in UFUNCS}


# ---------------------------------------------------------------- functions that are not simply NumPy's


def array(
    obj: Any,
    dtype: Any = None,
    copy: bool | None = True,
    order: str = "K",
    subok: bool = False,
    ndmin: int = 0,
    *,
    blocking: bool = False,
) -> ndarray:
    """From anything: what lies on the host is sent over."""
    if subok:
        raise NotImplementedError
    order = order or "K"
    if isinstance(obj, ndarray):
        result = obj.astype(obj.dtype if dtype is None else dtype, order, copy=bool(copy))
        return result if ndmin <= obj.ndim else result.reshape((1,) * (ndmin - obj.ndim) + obj.shape)
    if not isinstance(obj, np.ndarray) and hasattr(obj, "__cuda_array_interface__"):
        return wrap(np.array(_of_interface(obj), dtype=dtype, copy=True if copy else None, ndmin=ndmin))
    if isinstance(obj, list | tuple) and any(isinstance(v, ndarray) for v in obj):
        return wrap(np.array([_device("array", v) for v in obj], dtype=dtype))
    if order in "KA":  # what comes from the host is contiguous here
        order = "F" if isinstance(obj, np.ndarray) and obj.flags.fnc else "C"
    host = np.array(obj, dtype=dtype, copy=True, order=order, ndmin=ndmin)  # type: ignore[call-overload]
    if host.dtype.kind not in "biufc":
        raise ValueError(f"Unsupported dtype {host.dtype}")
    if host.ndim and isinstance(obj, np.ndarray | list | tuple):
        counters._sent(host.nbytes)
    return wrap(host)


def _of_interface(obj: Any) -> np.ndarray:
    import ctypes

    described = obj.__cuda_array_interface__
    dtype, shape = np.dtype(described["typestr"]), tuple(described["shape"])
    strides = described.get("strides")
    if 0 in shape:
        return np.empty(shape, dtype)
    reach = dtype.itemsize + (
        sum((n - 1) * s for n, s in zip(shape, strides, strict=True))
        if strides is not None
        else (int(np.prod(shape)) - 1) * dtype.itemsize
    )
    buffer = (ctypes.c_uint8 * reach).from_address(described["data"][0])
    buffer._owner = obj  # type: ignore[attr-defined]
    return np.ndarray(shape, dtype, buffer=buffer, strides=strides)


def _asarray(a: Any, dtype: Any = None, order: Any = None, *, copy: Any = None, blocking: bool = False) -> ndarray:
    return array(a, dtype, copy, order or "K", blocking=blocking)


def _asnumpy(a: Any, stream: Any = None, order: str = "C", out: Any = None, *, blocking: bool = True) -> Any:
    if isinstance(a, ndarray):
        return a.get(stream=stream, order=order, out=out, blocking=blocking)
    result = np.asarray(a, order=order)  # type: ignore[call-overload]
    if out is None:
        return result
    out[...] = result
    return out


def _ascontiguousarray(a: Any, dtype: Any = None) -> ndarray:
    return array(a, dtype, None, "C") if not isinstance(a, ndarray) else _laid_out(a, dtype, "C")


def _asfortranarray(a: Any, dtype: Any = None) -> ndarray:
    return array(a, dtype, None, "F") if not isinstance(a, ndarray) else _laid_out(a, dtype, "F")


def _laid_out(a: ndarray, dtype: Any, order: Any) -> ndarray:
    host = np.array(a._host, dtype=dtype, copy=None, order=order, ndmin=1)
    return a if host is a._host else wrap(host)


def _empty(shape: Any, dtype: Any = float, order: str = "C") -> ndarray:
    return ndarray(shape, float if dtype is None else dtype, order=order)


def _filled(shape: Any, value: Any, dtype: Any, order: str) -> ndarray:
    result = _empty(shape, dtype, order)
    if result._host.nbytes:
        result._host[...] = value
    return result


def _zeros(shape: Any, dtype: Any = float, order: str = "C") -> ndarray:
    dtype = np.dtype(float if dtype is None else dtype)
    the_memory.request(int(np.prod(shape, dtype=object)) * dtype.itemsize)
    return wrap(np.zeros(shape, dtype, order=order))  # type: ignore[call-overload]


def _ones(shape: Any, dtype: Any = float, order: str = "C") -> ndarray:
    return _filled(shape, 1, dtype, order)


def _full(shape: Any, fill_value: Any, dtype: Any = None, order: str = "C") -> ndarray:
    value = unwrap(fill_value)
    return _filled(shape, value, np.array(value).dtype if dtype is None else dtype, order)


def _like(name: str, fill: Any) -> Callable[..., ndarray]:
    def call(a: Any, dtype: Any, order: str, subok: Any, shape: Any, value: Any = fill) -> ndarray:
        if subok is not None:
            raise TypeError("subok is not supported yet")
        model = _device(name, a)
        host = laid_out(model, dtype, order, shape)
        the_memory.request(host.nbytes)
        if value is None:
            flat = host.ravel("K").view(np.uint8)
            flat[...] = 1 if host.dtype.kind == "b" else 0xFF if host.dtype.kind in "fc" else 0x5B
        else:
            host[...] = unwrap(value)
        return wrap(host)

    return call


def _empty_like(prototype: Any, dtype: Any = None, order: str = "K", subok: Any = None, shape: Any = None) -> ndarray:
    return _like("empty_like", None)(prototype, dtype, order, subok, shape)


def _zeros_like(a: Any, dtype: Any = None, order: str = "K", subok: Any = None, shape: Any = None) -> ndarray:
    return _like("zeros_like", 0)(a, dtype, order, subok, shape)


def _ones_like(a: Any, dtype: Any = None, order: str = "K", subok: Any = None, shape: Any = None) -> ndarray:
    return _like("ones_like", 1)(a, dtype, order, subok, shape)


def _full_like(
    a: Any, fill_value: Any, dtype: Any = None, order: str = "K", subok: Any = None, shape: Any = None
) -> ndarray:
    return _like("full_like", fill_value)(a, dtype, order, subok, shape, fill_value)


def _concatenate(tup: Any, axis: Any = 0, out: Any = None, *, dtype: Any = None, casting: str = "same_kind") -> Any:
    parts = [_device("concatenate", a) for a in tup]
    if out is not None:
        np.concatenate(parts, axis, out=unwrap(out), casting=casting)  # type: ignore[call-overload]
        return out
    return wrap(np.ascontiguousarray(np.concatenate(parts, axis, dtype=dtype, casting=casting)))  # type: ignore[call-overload]


def _stack(tup: Any, axis: int = 0, out: Any = None, *, dtype: Any = None, casting: str = "same_kind") -> Any:
    parts = [np.expand_dims(_device("stack", a), axis) for a in tup]
    return _concatenate([wrap(p) for p in parts], axis, out, dtype=dtype, casting=casting)


def _hstack(tup: Any, *, dtype: Any = None, casting: str = "same_kind") -> Any:
    return wrap(np.ascontiguousarray(np.hstack([_device("hstack", a) for a in tup], dtype=dtype, casting=casting)))  # type: ignore[call-overload]


def _vstack(tup: Any, *, dtype: Any = None, casting: str = "same_kind") -> Any:
    return wrap(np.ascontiguousarray(np.vstack([_device("vstack", a) for a in tup], dtype=dtype, casting=casting)))  # type: ignore[call-overload]


def _matmul(
    *args: Any, out: Any = None, dtype: Any = None, casting: str = "same_kind", order: str = "K", **others: Any
) -> Any:
    if others:
        raise NotImplementedError(f"matmul with {sorted(others)}")
    a, b, *rest = args
    out = rest[0] if rest else out
    x, y = _device("matmul", a), _device("matmul", b)
    if out is None:
        return wrap(np.ascontiguousarray(np.matmul(x, y, dtype=dtype)))
    np.matmul(x, y, out=_device("matmul", out))
    return out


def _einsum(*operands: Any, **kwargs: Any) -> Any:
    if set(kwargs) - {"dtype", "casting", "optimize"}:
        raise TypeError(f"einsum() got an unexpected keyword argument {sorted(kwargs)}")
    subscripts, *arrays = operands
    if not isinstance(subscripts, str):
        raise NotImplementedError("einsum without a string of subscripts")
    options = {k: v for k, v in kwargs.items() if k == "dtype"}
    hosts = [_device("einsum", a) for a in arrays]
    result = np.einsum(subscripts, *hosts, **options)
    if len(hosts) != 2 or "->" not in subscripts or "." in subscripts:
        return fresh(result, *hosts)
    # CuPy multiplies matrices, of which there are as many as the labels that both have and the result keeps: those come
    # first, then the labels of the second operand, which is taken first, then those of the first; the result is a view
    (left, right), last = subscripts.split("->")[0].split(","), subscripts.split("->")[1]
    if (set(left) & set(right)) <= set(last):  # nothing is summed over: a product of elements
        return fresh(result)
    inner = "".join(sorted(set(left) & set(right)) + sorted(set(right) - set(left)) + sorted(set(left) - set(right)))
    inner = "".join(label for label in inner if label in last)
    turned = np.ascontiguousarray(result.transpose([last.index(label) for label in inner]))
    return wrap(
        turned.reshape([result.shape[last.index(label)] for label in inner]).transpose([*map(inner.index, last)])
    )


def _meshgrid(*xi: Any, **kwargs: Any) -> Any:
    return [wrap(a) for a in np.meshgrid(*(_device("meshgrid", a) for a in xi), **kwargs)]


def _where(condition: Any, x: Any = None, y: Any = None) -> Any:
    if (x is None) != (y is None):
        raise ValueError("Must provide both 'x' and 'y' or neither.")
    if x is None:
        return _nonzero(condition)
    if not any(isinstance(v, ndarray) for v in (condition, x, y)):
        raise TypeError("cupy.where: no array of the device")
    return fresh(np.where(unwrap(condition), unwrap(x), unwrap(y)))


def _nonzero(a: Any) -> Any:
    counters._arrived(8)  # the size of the result is asked for
    places = np.ascontiguousarray(np.argwhere(_device("nonzero", a)))
    return tuple(wrap(places[:, axis]) for axis in range(a.ndim))  # with strides


def _inner(a: Any, b: Any) -> Any:
    return fresh(np.inner(_device("inner", a), _device("inner", b)))


def _cumsum(a: Any, axis: Any = None, dtype: Any = None, out: Any = None) -> Any:
    host = _device("cumsum", a)
    if out is not None:
        np.cumsum(host, axis, dtype, out=unwrap(out))
        return out
    if axis is None or host.ndim == 1:
        return wrap(np.cumsum(host, axis, dtype))
    last = np.moveaxis(host, axis, -1)  # what is scanned becomes the last axis, of a copy where that must be
    result = np.moveaxis(np.cumsum(np.ascontiguousarray(last), -1, dtype), -1, axis)
    return wrap(result if 0 < axis % host.ndim < host.ndim - 1 else np.ascontiguousarray(result))


def _argsort(a: Any, axis: Any = -1, kind: Any = None) -> Any:
    host = np.atleast_1d(_device("argsort", a))
    host, axis = (host.ravel(), -1) if axis is None else (host, axis)
    return wrap(np.moveaxis(np.argsort(np.ascontiguousarray(np.moveaxis(host, axis, -1)), -1, kind), -1, axis))


def _roll(a: Any, shift: Any, axis: Any = None) -> Any:
    host = _device("roll", a)
    result = np.roll(host, unwrap(shift), axis)
    return fresh(result) if axis is None or isinstance(shift, ndarray) else wrap(_like_in_order(host, result))


def _tile(A: Any, reps: Any) -> Any:
    host = _device("tile", A)
    result = np.tile(host, reps)
    if np.all(np.asarray(reps) == 1) and result.ndim == host.ndim:
        return wrap(_like_in_order(host, result))
    return fresh(result, host)


def _like_in_order(model: np.ndarray, values: np.ndarray) -> np.ndarray:
    result = laid_out(model, values.dtype)
    result[...] = values
    return result


def _waits(name: str) -> Callable[..., Any]:
    plain = _plain(name)

    def call(*args: Any, **kwargs: Any) -> Any:
        counters._arrived(8)
        return plain(*args, **kwargs)

    return call


def _array_equal(a1: Any, a2: Any, equal_nan: bool = False) -> ndarray:
    return wrap(np.bool_(np.array_equal(_device("array_equal", a1), _device("array_equal", a2), equal_nan=equal_nan)))


def _allclose(a: Any, b: Any, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False) -> ndarray:
    return wrap(np.bool_(np.allclose(unwrap(a), unwrap(b), rtol, atol, equal_nan)))


def _from_dlpack(x: Any, /, *, device: Any = None, copy: Any = None) -> ndarray:
    from .dlpack import from_device

    if int(x.__dlpack_device__()[0]) not in (2, 13):
        raise TypeError(
            "CPU arrays cannot be directly imported to CuPy. Use `cupy.array(numpy.from_dlpack(input))` instead."
        )
    return wrap(from_device(x))


def _copyto(dst: Any, src: Any, casting: str = "same_kind", where: Any = None) -> None:
    np.copyto(_device("copyto", dst), unwrap(src), casting=casting, where=True if where is None else unwrap(where))  # type: ignore[arg-type]


def _split(ary: Any, indices_or_sections: Any, axis: int = 0) -> Any:
    return [wrap(a) for a in np.split(_device("split", ary), indices_or_sections, axis)]


def _broadcast_arrays(*args: Any) -> Any:
    return [wrap(a) for a in np.broadcast_arrays(*(_device("broadcast_arrays", a) for a in args))]


def _copy(a: Any, order: str = "K") -> ndarray:
    _device("copy", a)
    return a.copy(order)  # type: ignore[no-any-return]


def _reshape(a: Any, newshape: Any, order: str = "C", *, copy: Any = None) -> ndarray:
    if copy is not None:
        raise NotImplementedError("reshape with copy")
    return wrap(_device("reshape", a).reshape(newshape, order=order))


_CREATING = ("eye", "identity", "linspace", "tri", "tril_indices", "triu_indices")


def _plain(name: str, module: Any = np, text: str = "") -> Callable[..., Any]:
    """NumPy's function of the same name, with CuPy's signature: its first argument is an array of the device."""
    wanted = signature(text or FUNCTIONS[name])
    first = next(iter(wanted.parameters))
    creates = name in _CREATING
    operation = getattr(module, name)

    def call(*args: Any, **kwargs: Any) -> Any:
        bound = wanted.bind(*args, **kwargs).arguments
        if not creates and wanted.parameters[first].kind is not wanted.parameters[first].VAR_POSITIONAL:
            _device(name, bound[first])
        out = bound.get("out")
        positional = unwrap(bound.pop(first)) if first not in ("args", "arys") else None
        given = {k: unwrap(v) for k, v in bound.items() if v is not wanted.parameters[k].default}
        result = operation(*map(unwrap, args)) if positional is None else operation(positional, **given)
        operands = [v for v in (positional, *map(unwrap, args), *given.values()) if isinstance(v, np.ndarray)]
        return out if out is not None else wrap(result) if creates else fresh(result, *operands)

    call.__name__, call.__signature__ = name, wanted  # type: ignore[attr-defined]
    return call


def _arange(start: Any, stop: Any = None, step: Any = 1, dtype: Any = None) -> ndarray:
    first, last = (0, start) if stop is None else (start, stop)
    return wrap(np.arange(first, last, step, dtype=dtype))


def _clip(a: Any, a_min: Any, a_max: Any, out: Any = None) -> ndarray:
    result = np.clip(_device("clip", a), unwrap(a_min), unwrap(a_max), out=unwrap(out))
    return out if out is not None else fresh(result)


def _may_share_memory(a: Any, b: Any, max_work: Any = None) -> bool:
    return np.may_share_memory(_device("may_share_memory", a), _device("may_share_memory", b))


_OWN: dict[str, Callable[..., Any]] = {
    "allclose": _allclose,
    "arange": _arange,
    "argsort": _argsort,
    "array": array,
    "array_equal": _array_equal,
    "asarray": _asarray,
    "ascontiguousarray": _ascontiguousarray,
    "asfortranarray": _asfortranarray,
    "asnumpy": _asnumpy,
    "broadcast_arrays": _broadcast_arrays,
    "clip": _clip,
    "concatenate": _concatenate,
    "copy": _copy,
    "copyto": _copyto,
    "cumsum": _cumsum,
    "einsum": _einsum,
    "empty": _empty,
    "empty_like": _empty_like,
    "from_dlpack": _from_dlpack,
    "full": _full,
    "full_like": _full_like,
    "hstack": _hstack,
    "inner": _inner,
    "matmul": _matmul,
    "may_share_memory": _may_share_memory,
    "meshgrid": _meshgrid,
    "nonzero": _nonzero,
    "ones": _ones,
    "ones_like": _ones_like,
    "reshape": _reshape,
    "roll": _roll,
    "split": _split,
    "stack": _stack,
    "tile": _tile,
    "vstack": _vstack,
    "where": _where,
    "zeros": _zeros,
    "zeros_like": _zeros_like,
}
_WAITING = ("argwhere", "flatnonzero", "unique", "bincount")

FUNCTION_TABLE = {name: _OWN.get(name) or (_waits(name) if name in _WAITING else _plain(name)) for name in FUNCTIONS}


# ---------------------------------------------------------------- cupy.linalg


def _cholesky(a: Any) -> ndarray:
    """Without a word for matrices that are not positive definite, as CuPy's by default: the factor is then garbage."""
    host = _device("linalg.cholesky", a)
    try:
        return fresh(np.linalg.cholesky(host))
    except np.linalg.LinAlgError:
        return fresh(np.tril(host))


linalg_state = {"linalg": "ignore"}
"""What `cupyx.errstate` sets: whether cuSOLVER's information is looked at."""


def _may_fail(name: str, text: str) -> Callable[..., Any]:
    """NumPy's function; where that does not converge, the result is anything, unless an error has been asked for."""
    function = _plain(name, np.linalg, text)

    def call(a: Any, *args: Any, **kwargs: Any) -> Any:
        counters.synchronizations += linalg_state["linalg"] == "raise"
        try:
            return function(a, *args, **kwargs)
        except np.linalg.LinAlgError:
            if linalg_state["linalg"] == "raise":
                raise
            return function(wrap(np.eye(*a.shape)), *args, **kwargs)

    call.__name__, call.__signature__ = name, signature(text)  # type: ignore[attr-defined]
    return call


def _in_order(name: str, function: Callable[..., Any], orders: Callable[..., Any]) -> Callable[..., Any]:
    """The same function with its results in the orders that cuSOLVER leaves."""

    def call(a: Any, *args: Any, **kwargs: Any) -> Any:
        result = function(a, *args, **kwargs)
        if not isinstance(result, tuple):
            return wrap(np.array(result._host, order=orders(a)[0]))
        return tuple(wrap(np.array(r._host, order=o)) for r, o in zip(result, orders(a), strict=True))

    call.__name__, call.__signature__ = name, signature(LINALG[name])  # type: ignore[attr-defined]
    return call


def _corner(values: np.ndarray, shape: Any, order: str) -> np.ndarray:
    """The values within a matrix of that shape: they were computed where the operand was."""
    whole = np.zeros(shape, values.dtype, order)  # type: ignore[call-overload]
    corner = whole[tuple(map(slice, values.shape))]
    corner[...] = values
    return corner


def _svd(a: Any, full_matrices: bool = True, compute_uv: bool = True) -> Any:
    result = _FALLIBLE["svd"](a, full_matrices, compute_uv)
    if not compute_uv:
        return result
    u, s, vt = (r._host for r in result)
    tall = a.shape[0] > a.shape[1]
    u, vt = (np.asfortranarray(m) if tall else np.ascontiguousarray(m) for m in (u, vt))
    if full_matrices:
        u, vt = (u, _corner(vt, a.shape, "F")) if tall else (_corner(u, a.shape, "C"), vt)
    return wrap(u), wrap(s), wrap(vt)


def _qr(a: Any, mode: str = "reduced") -> Any:
    host = _device("linalg.qr", a)
    if mode not in ("r", "reduced"):
        raise NotImplementedError(f"qr with mode {mode!r}")
    result = np.linalg.qr(host, mode)  # type: ignore[call-overload]
    r = result if mode == "r" else result[1]
    upper = wrap(_corner(r, host.shape, "F"))
    return upper if mode == "r" else (wrap(np.asfortranarray(result[0])), upper)


_ORDERS: dict[str, Callable[..., Any]] = {
    "eigh": lambda a: ("C", "F"),
    "inv": lambda a: ("F" if a.flags.f_contiguous else "C",),
    "solve": lambda a: ("F",),
}
_ORDINARY = {name: _plain(name, np.linalg, text) for name, text in LINALG.items() if name not in ("cholesky", "qr")}
_FALLIBLE = {name: _may_fail(name, LINALG[name]) for name in ("eigh", "eigvalsh", "svd") if name in LINALG}
LINALG_TABLE: dict[str, Callable[..., Any]] = {**_ORDINARY, **_FALLIBLE, "cholesky": _cholesky, "qr": _qr, "svd": _svd}
LINALG_TABLE |= {name: _in_order(name, LINALG_TABLE[name], orders) for name, orders in _ORDERS.items()}
