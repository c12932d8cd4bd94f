"""The picture of a representation: what is drawn, checked."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from ..arrays import as_array, as_native, on_host, read_names

__all__ = ["draw"]


def draw(rep: Any, target: Any, x: Any, color: Any, images: Any) -> Any:
    """Do as `Representation.plot`."""
    from ..plotting import maps, panels

    to_file = isinstance(target, str | os.PathLike)
    if to_file:
        panels.kind_of_file(target)
    z = on_host(as_native(rep.embedding if x is None else rep(x), "x"))
    z = z if z.ndim == 2 else z[:, 0]
    shades = None if color is None else colors_of(color, len(z))
    shown = None if images is None else images_of(images, len(z))
    if target is not None and not to_file:
        maps.value_map(target, z, shades, shown)
        return target
    figure = maps.representation_figure(rep.eigenvalues, rep.gamma, z, shades, shown)
    return panels.save(figure, target) if to_file else figure


def colors_of(color: Any, n: int) -> np.ma.MaskedArray:
    """Read labels or values (n,), of which some may be missing."""
    values, missing = read_names(color, "color")
    if values.shape != (n,):
        raise ValueError(f"color must be one label or value for each of the {n} points, found shape {values.shape}")
    return np.ma.masked_array(values, missing)


def images_of(images: Any, n: int) -> np.ndarray:
    """Check images (n, height, width), grey or in colours."""
    hint = "(n, height, width) or (n, height, width, 3)"
    found: np.ndarray = on_host(as_array(as_native(images, "images"), "images", ndim=(3, 4), shape_hint=hint))
    if len(found) != n:
        raise ValueError(f"images must be one for each of the {n} points, found shape {found.shape}")
    if found.ndim == 4 and found.shape[3] not in (3, 4):
        raise ValueError(f"images in colours must have 3 or 4 channels last, found shape {found.shape}")
    return found.astype(float)
