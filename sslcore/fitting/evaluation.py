"""Values of the functions of a fit at any points."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from .. import tunables
from ..arrays import Array, check_same_width, require_finite
from ..backends import Backend
from ..features import Features
from ..gram import kernel_product

if TYPE_CHECKING:
    from .representation import Representation

__all__ = ["evaluator"]

Product = Callable[[Array, "Array | None"], Array]
"""Of points and, if that is so, of memory for the result."""


def evaluator(
    rep: Representation, like: Array, shape: tuple[int, ...], scale: str, backend: Backend
) -> Callable[[Array, Array | None], Array]:
    """Make a function from points on the backend's device, with coordinates as ``like``, to their values.

    ``rep`` lies on that device.  The function writes into its second argument, unless that is None.
    """
    dtype = like.dtype
    weights, intercept = rep.coefficients, rep.intercept
    if scale != "unit":
        weights = weights * rep._scale_where(weights, scale)
        intercept = intercept * rep._scale_where(intercept, scale)
    product = _product(rep, like, shape, weights, backend)
    columns = rep.standardization
    if columns is not None:
        columns.check(shape)

    def evaluate(points: Array, out: Array | None) -> Array:
        if columns is not None:
            points = columns.apply(require_finite(points, "x"))
        values = product(points, out)
        values += intercept.astype(values.dtype, copy=False)
        if out is None:
            return values.astype(dtype, copy=False)
        if values is not out:
            out[...] = values
        return out

    return evaluate


def _product(rep: Representation, like: Array, shape: tuple[int, ...], weights: Array, backend: Backend) -> Product:
    """Make the function from points to their features, or values of the kernel, times the weights.

    It computes in the memory that it is given where that has the type of the products, else in fresh memory.
    """
    width, dtype, model, centres = like.shape[1], like.dtype, rep.model, rep.centres

    def room(out: Array | None, rows: int, kind: np.dtype) -> Array:
        fresh: Array = backend.xp.empty((rows, rep.n_components), kind) if out is None or out.dtype != kind else out
        return fresh

    if isinstance(model, Features):
        if rep.n_coordinates not in (None, width):
            raise ValueError(
                f"x must have {rep.n_coordinates} coordinates like the training views, found shape {shape}"
            )
        features = model.prepare(width, dtype, backend)
        weights, step = weights.astype(float, copy=False), tunables.FEATURES_BLOCK_ROWS * backend.BLOCK_FACTOR
        chunk = max(64, tunables.FEATURES_CHUNK_ENTRIES // len(weights)) * backend.BLOCK_FACTOR

        def product(points: Array, out: Array | None) -> Array:
            # products in float64: W phi and the intercept cancel where the features are far from the origin
            values = room(out, len(points), np.dtype(float))
            for start in range(0, len(points), step):
                phi = features(require_finite(points[start : start + step], "x", offset=start))
                for first in range(0, len(phi), chunk):
                    part = phi[first : first + chunk].astype(float, copy=False)
                    backend.xp.matmul(part, weights, out=values[start + first : start + first + len(part)])
            return values

    elif centres is None:
        if width != len(weights):
            raise ValueError(
                f"x must hold the kernel values against the {len(weights)} training views, found shape {shape}"
            )

        def product(points: Array, out: Array | None) -> Array:
            values = room(out, len(points), np.result_type(points.dtype, weights.dtype))
            backend.xp.matmul(require_finite(points, "x"), weights, out=values)
            return values

    else:
        # alpha is of the order of 1 / reg, and its products with the kernel cancel: never in less precision
        # than that of the fit
        check_same_width(like, centres, "x", "the training views")
        kind = np.result_type(centres.dtype, weights.dtype)

        def product(points: Array, out: Array | None) -> Array:
            values = room(out, len(points), np.result_type(points.dtype, kind))
            return kernel_product(model, points, centres, weights, out=values)

    return product
