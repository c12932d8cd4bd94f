"""Questions of `sslcore.SSLEmbedding` to this room: its data as rows, its number of components, its warnings."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np

from ..arrays import Array, as_array, check_integer, shown
from ..augmentations import Views
from ..augmentations._base import flattened, image_shapes
from ..errors import DataWarning
from ..features import Features
from ..kernels import Precomputed
from ._concerns import concerns

__all__ = [
    "INPUTS",
    "as_rows",
    "check_standardize",
    "checked_samples",
    "count_components",
    "count_points",
    "kind_of_input",
    "reasons_in_use",
    "warn",
]

INPUTS = ("samples", "images", "series", "views")
"""What X may hold."""


def as_rows(x: Array, law: Any, input: str, fitted: tuple[int, ...] = ()) -> Array:
    """Return images or series as rows (n, d), if the law is of such images, has no shape, or is still to be chosen."""
    shapes = sorted(image_shapes(law)) if law is not None else []
    array = flattened(x, law) if law is not None else x
    if array.ndim == 2:
        return array
    if not shapes and len(fitted) > 1 and x.shape[1:] != fitted:
        raise ValueError(f"X must have the shape (n, {str(fitted)[1:-1]}) of the fit, or be flat, found {x.shape}")
    if not shapes and x.ndim in (3, 4) and (law is None or input != "samples"):
        return x.reshape(len(x), -1)
    wanted = f" or images (n, {str(shapes[0])[1:-1]}) of the law" if shapes else ""
    raise ValueError(
        f"with input={input!r}, X must hold samples (n, d){wanted}, found shape {x.shape}; for images give a law "
        f"of images of that shape, such as augmentation=Affine({x.shape[1:]}), or flatten them with "
        f"X.reshape(len(X), -1); input='views' would take X for {x.shape[1]} views of each sample, of "
        f"{x.shape[-1]} coordinates"
    )


def checked_samples(views: Any, groups: Any, sample_weight: Any, kernel: Any) -> tuple[Any, Any]:
    """Return samples as views, one of each, and their weights; refuse what is for views made elsewhere."""
    if groups is not None:
        raise ValueError("groups name the sample of each view: use input='views'")
    if isinstance(kernel, Precomputed):
        raise ValueError("Precomputed takes the Gram matrix of views made elsewhere: use input='views'")
    if sample_weight is not None:
        sample_weight = as_array(sample_weight, "sample_weight", ndim=1, shape_hint="(n,)")
        if len(sample_weight) != len(views):
            raise ValueError(
                f"sample_weight must have shape ({len(views)},), one a sample, found {sample_weight.shape}"
            )
    return views if isinstance(views, Views) else views[:, None], sample_weight


def kind_of_input(input: str, rows: Array) -> str:
    """Say what data of this shape are taken for, in the words of `choose`."""
    if input in ("images", "series"):
        return input
    return "table" if rows.ndim == 2 else "auto"


def check_standardize(value: Any, auto: bool) -> bool:
    """Return whether to standardise; ``auto`` is what "auto" means."""
    if isinstance(value, str) and value == "auto":
        return auto
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"standardize must be True or False, found {shown(value)}; or 'auto'")
    return bool(value)


def count_components(asked: Any, usual: int, model: Any, views: Any) -> Any:
    """Return k as it was asked for, for the fit to check; by default the usual number, or as many as there are."""
    if asked is not None:
        return asked
    there = math.prod(views.shape[:-1]) - 1  # centred functions on so many points
    if isinstance(model, Features):
        chosen = getattr(model, "landmarks", None)
        there = min(there, int(chosen) if isinstance(chosen, int) else model.n_kept(views.shape[-1]))
    return max(1, min(usual, int(there)))


def count_points(settings: Any, x: Any) -> int:
    """Return how many views of X decide between kernel and features; 0 where ``features`` or ``solver`` say it."""
    if settings.features is not None or settings.solver is not None:
        return 0
    if settings.input == "views":
        return math.prod(x.shape[:-1])
    return len(x) * (1 if settings.positives is not None else check_integer(settings.n_views, "n_views", minimum=1))


def reasons_in_use(settings: Any, reasons: tuple[str, ...]) -> tuple[str, ...]:
    """Return the reasons of `choose` for what was not given: law, kernel and scale may have been."""
    law = settings.augmentation is None and settings.positives is None and settings.input != "views"
    kernel = settings.kernel is None and not isinstance(settings.features, Features)
    holds = (True, True, law, kernel, settings.scale == "norm")
    return tuple(reason for reason, holding in zip(reasons, holds, strict=True) if holding)


def warn(x: Array, views: Any, standardization: Any, columns: Any) -> None:
    """Warn, in the place where `fit` was called, of what looks wrong about samples and their views."""
    for sentence in concerns(x, views, standardization=standardization, columns=columns):
        warnings.warn(sentence, DataWarning, stacklevel=4)
