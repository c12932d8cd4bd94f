"""The names of CuPy that the stand-in has, with their signatures: listed once, compared with CuPy's own by a test.

A name that is not here is not in the stand-in: whoever needs it adds it here, and a function to `functions` if NumPy's
of the same name does not do.
"""

from __future__ import annotations

import inspect

__all__ = ["ARRAY_METHODS", "CONSTANTS", "FUNCTIONS", "LINALG", "TYPES", "UFUNCS", "signature"]

CONSTANTS = ("inf", "nan", "pi", "e", "newaxis")

TYPES = (
    "bool_", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float16", "float32", "float64",
    "complex64", "complex128", "dtype", "finfo", "iinfo", "integer", "floating", "generic", "number",
)  # fmt: skip

UFUNCS = (
    "abs", "absolute", "add", "arccos", "arcsin", "arctan", "arctan2", "bitwise_and", "bitwise_or", "bitwise_xor",
    "ceil", "copysign", "cos", "cosh", "divide", "equal", "exp", "exp2", "expm1", "fabs", "floor", "floor_divide",
    "fmax", "fmin", "fmod", "greater", "greater_equal", "hypot", "invert", "isfinite", "isinf", "isnan", "ldexp",
    "left_shift", "less", "less_equal", "log", "log10", "log1p", "log2", "logical_and", "logical_not", "logical_or",
    "logical_xor", "maximum", "minimum", "mod", "multiply", "negative", "nextafter", "not_equal", "positive", "power",
    "reciprocal", "remainder", "right_shift", "rint", "sign", "signbit", "sin", "sinh", "sqrt", "square", "subtract",
    "tan", "tanh", "true_divide", "trunc",
)  # fmt: skip

FUNCTIONS = {
    "all": "(a, axis=None, out=None, keepdims=False)",
    "allclose": "(a, b, rtol=1e-05, atol=1e-08, equal_nan=False)",
    "amax": "(a, axis=None, out=None, keepdims=False)",
    "amin": "(a, axis=None, out=None, keepdims=False)",
    "any": "(a, axis=None, out=None, keepdims=False)",
    "arange": "(start, stop=None, step=1, dtype=None)",
    "argmax": "(a, axis=None, dtype=None, out=None, keepdims=False)",
    "argmin": "(a, axis=None, dtype=None, out=None, keepdims=False)",
    "argsort": "(a, axis=-1, kind=None)",
    "argwhere": "(a)",
    "array": "(obj, dtype=None, copy=True, order='K', subok=False, ndmin=0, *, blocking=False)",
    "array_equal": "(a1, a2, equal_nan=False)",
    "asarray": "(a, dtype=None, order=None, *, copy=None, blocking=False)",
    "ascontiguousarray": "(a, dtype=None)",
    "asfortranarray": "(a, dtype=None)",
    "asnumpy": "(a, stream=None, order='C', out=None, *, blocking=True)",
    "atleast_1d": "(*arys)",
    "atleast_2d": "(*arys)",
    "average": "(a, axis=None, weights=None, returned=False, *, keepdims=False)",
    "bincount": "(x, weights=None, minlength=None)",
    "broadcast_arrays": "(*args)",
    "broadcast_to": "(array, shape)",
    "clip": "(a, a_min, a_max, out=None)",
    "concatenate": "(tup, axis=0, out=None, *, dtype=None, casting='same_kind')",
    "copy": "(a, order='K')",
    "copyto": "(dst, src, casting='same_kind', where=None)",
    "count_nonzero": "(a, axis=None)",
    "cumsum": "(a, axis=None, dtype=None, out=None)",
    "diag": "(v, k=0)",
    "diagonal": "(a, offset=0, axis1=0, axis2=1)",
    "diff": "(a, n=1, axis=-1, prepend=None, append=None)",
    "dot": "(a, b, out=None)",
    "einsum": "(*operands, **kwargs)",
    "empty": "(shape, dtype=float, order='C')",
    "empty_like": "(prototype, dtype=None, order='K', subok=None, shape=None)",
    "expand_dims": "(a, axis)",
    "eye": "(N, M=None, k=0, dtype=float, order='C')",
    "flatnonzero": "(a)",
    "flip": "(a, axis=None)",
    "from_dlpack": "(x, /, *, device=None, copy=None)",
    "full": "(shape, fill_value, dtype=None, order='C')",
    "full_like": "(a, fill_value, dtype=None, order='K', subok=None, shape=None)",
    "hstack": "(tup, *, dtype=None, casting='same_kind')",
    "identity": "(n, dtype=float)",
    "inner": "(a, b)",
    "linspace": "(start, stop, num=50, endpoint=True, retstep=False, dtype=None, axis=0)",
    "matmul": "(*args, axes=None, axis=None, keepdims=False, casting='same_kind', dtype=None, signature=None,"
    " order='K', out=None)",
    "max": "(a, axis=None, out=None, keepdims=False)",
    "may_share_memory": "(a, b, max_work=None)",
    "mean": "(a, axis=None, dtype=None, out=None, keepdims=False)",
    "median": "(a, axis=None, out=None, overwrite_input=False, keepdims=False)",
    "meshgrid": "(*xi, **kwargs)",
    "min": "(a, axis=None, out=None, keepdims=False)",
    "moveaxis": "(a, source, destination)",
    "nonzero": "(a)",
    "ones": "(shape, dtype=float, order='C')",
    "ones_like": "(a, dtype=None, order='K', subok=None, shape=None)",
    "outer": "(a, b, out=None)",
    "partition": "(a, kth, axis=-1)",
    "prod": "(a, axis=None, dtype=None, out=None, keepdims=False)",
    "ravel": "(a, order='C')",
    "repeat": "(a, repeats, axis=None)",
    "reshape": "(a, newshape, order='C', *, copy=None)",
    "roll": "(a, shift, axis=None)",
    "searchsorted": "(a, v, side='left', sorter=None)",
    "sort": "(a, axis=-1, kind=None)",
    "split": "(ary, indices_or_sections, axis=0)",
    "squeeze": "(a, axis=None)",
    "stack": "(tup, axis=0, out=None, *, dtype=None, casting='same_kind')",
    "std": "(a, axis=None, dtype=None, out=None, ddof=0, keepdims=False)",
    "sum": "(a, axis=None, dtype=None, out=None, keepdims=False)",
    "swapaxes": "(a, axis1, axis2)",
    "take": "(a, indices, axis=None, out=None)",
    "take_along_axis": "(a, indices, axis)",
    "tensordot": "(a, b, axes=2)",
    "tile": "(A, reps)",
    "trace": "(a, offset=0, axis1=0, axis2=1, dtype=None, out=None)",
    "transpose": "(a, axes=None)",
    "tri": "(N, M=None, k=0, dtype=float)",
    "tril": "(m, k=0)",
    "tril_indices": "(n, k=0, m=None)",
    "triu": "(m, k=0)",
    "triu_indices": "(n, k=0, m=None)",
    "unique": "(ar, return_index=False, return_inverse=False, return_counts=False, axis=None, *, equal_nan=True)",
    "var": "(a, axis=None, dtype=None, out=None, ddof=0, keepdims=False)",
    "vstack": "(tup, *, dtype=None, casting='same_kind')",
    "where": "(condition, x=None, y=None)",
    "zeros": "(shape, dtype=float, order='C')",
    "zeros_like": "(a, dtype=None, order='K', subok=None, shape=None)",
}

LINALG = {
    "cholesky": "(a)",
    "eigh": "(a, UPLO='L')",
    "eigvalsh": "(a, UPLO='L')",
    "inv": "(a)",
    "norm": "(x, ord=None, axis=None, keepdims=False)",
    "qr": "(a, mode='reduced')",
    "solve": "(a, b)",
    "svd": "(a, full_matrices=True, compute_uv=True)",
}

ARRAY_METHODS = {
    "all": "(axis=None, out=None, keepdims=False)",
    "any": "(axis=None, out=None, keepdims=False)",
    "argmax": "(axis=None, out=None, dtype=None, keepdims=False)",
    "argmin": "(axis=None, out=None, dtype=None, keepdims=False)",
    "argsort": "(axis=-1, kind=None)",
    "clip": "(min=None, max=None, out=None)",
    "conj": "()",
    "cumsum": "(axis=None, dtype=None, out=None)",
    "diagonal": "(offset=0, axis1=0, axis2=1)",
    "dot": "(b, out=None)",
    "flatten": "(order='C')",
    "max": "(axis=None, out=None, keepdims=False)",
    "mean": "(axis=None, dtype=None, out=None, keepdims=False)",
    "min": "(axis=None, out=None, keepdims=False)",
    "nonzero": "()",
    "prod": "(axis=None, dtype=None, out=None, keepdims=None)",
    "ravel": "(order='C')",
    "repeat": "(repeats, axis=None)",
    "round": "(decimals=0, out=None)",
    "sort": "(axis=-1, kind=None)",
    "squeeze": "(axis=None)",
    "std": "(axis=None, dtype=None, out=None, ddof=0, keepdims=False)",
    "sum": "(axis=None, dtype=None, out=None, keepdims=False)",
    "swapaxes": "(axis1, axis2)",
    "take": "(indices, axis=None, out=None)",
    "trace": "(offset=0, axis1=0, axis2=1, dtype=None, out=None)",
    "var": "(axis=None, dtype=None, out=None, ddof=0, keepdims=False)",
}


def signature(text: str) -> inspect.Signature:
    """A signature from its text."""
    return inspect.signature(eval(f"lambda {text[1:-1]}: None"))
