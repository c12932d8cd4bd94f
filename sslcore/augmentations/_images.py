"""Laws of images."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from ..arrays import check_integer
from ..declarations.parameters import converted, integer, nonnegative, probability, real
from ._base import Augmentation, Stage, checked_shape

__all__ = ["Affine", "Cutout", "HorizontalFlip"]


# ---------------------------------------------------------------- images


def _as_image_shape(value: Any, name: str) -> tuple[int, ...]:
    return checked_shape(value, name, "(height, width) or (height, width, channels)", (2, 3))


@dataclass(frozen=True)
class _OnImages(Augmentation):
    """Samples are images (height, width) or (height, width, channels), flattened in C order."""

    image_shape: tuple[int, ...] = converted("(height, width) or (height, width, channels)", _as_image_shape)

    @property
    def n_coordinates(self) -> int:
        return math.prod(self.image_shape)

    def _takes(self, shape: tuple[int, ...]) -> bool:
        return (*shape, 1)[:3] == (*self.image_shape, 1)[:3]  # grey ones with or without their channel

    @property
    def _height_width_channels(self) -> tuple[int, ...]:
        return (*self.image_shape, 1)[:3]


@dataclass(frozen=True)
class Affine(_OnImages):
    """Random rotation, zoom and shift of an image, with bilinear interpolation and zeros outside.

    The pixel q = (row, column) of the view shows the image, which is interpolated linearly in either
    direction and 0 at all pixels outside, at

        ``c + R(-theta) (q - c - s) / zeta``,   ``c = ((height - 1)/2, (width - 1)/2)``:

    the content turns by theta (counter-clockwise as displayed, rows downwards) and grows by zeta about the
    centre c, then moves by s.  The four draws are independent: theta uniform on [-rotation, rotation],
    zeta log-uniform on [1/zoom, zoom] (``zeta = zoom^(1 - 2u)``), and the two shifts, down and to the right,
    uniform on [-shift, shift].  Computed in float64, rounded once to the type of x.

    Parameters
    ----------
    image_shape : tuple
        (height, width) or (height, width, channels); d is the product.
    rotation : float
        Largest angle in degrees; in [0, 180].
    zoom : float
        Largest magnification; in [1, 1024].
    shift : float
        Largest shift in pixels along each axis; >= 0.

    References
    ----------
    Simard, Steinkraus and Platt, *Best practices for convolutional neural networks applied to visual
    document analysis*, ICDAR 2003.

    Examples
    --------
    >>> import numpy as np
    >>> from sslcore.augmentations import Affine
    >>> x = np.arange(12.0).reshape(1, 12)
    >>> Affine((3, 4)).views(x, 2, seed=0).shape
    (1, 2, 12)
    >>> still = Affine((3, 4), rotation=0, zoom=1, shift=0)
    >>> np.array_equal(still.views(x, 1, seed=0)[:, 0], x)
    True
    """

    rotation: float = real("largest angle in degrees", minimum=0.0, maximum=180.0, default=10.0)
    zoom: float = real("largest magnification", minimum=1.0, maximum=1024.0, default=1.1)
    shift: float = nonnegative("largest shift in pixels along each axis", default=1.0)

    def stages(self) -> tuple[Stage, ...]:
        law = (self.rotation / 360.0, math.log2(self.zoom), self.shift)
        return (Stage("affine", (*self._height_width_channels, *law)),)


@dataclass(frozen=True)
class HorizontalFlip(_OnImages):
    """Mirror image: with probability p, the columns of the view are those of the image from right to left.

    On functions of the image, A has the eigenvalue 1 on the even and ``1 - 2p`` on the odd ones.

    Parameters
    ----------
    image_shape : tuple
        (height, width) or (height, width, channels); d is the product.
    p : float
        Probability of the mirror image, used to 2^-33; in [0, 1].

    References
    ----------
    Cabannes et al., *The SSL Interplay*, ICML 2023, arXiv:2302.02774.

    Examples
    --------
    >>> import numpy as np
    >>> from sslcore.augmentations import HorizontalFlip
    >>> HorizontalFlip((2, 3), p=1).views(np.arange(6.0).reshape(1, 6), 1, seed=0)
    array([[[2., 1., 0., 5., 4., 3.]]])
    """

    p: float = probability("probability of the mirror image, used to 2^-33", default=0.5)

    def stages(self) -> tuple[Stage, ...]:
        return (Stage("flip_columns", (*self._height_width_channels, round(self.p * 2**32))),)


@dataclass(frozen=True)
class Cutout(_OnImages):
    """A square of ``size`` x ``size`` pixels set to 0, in all channels.

    Its upper row is uniform on {0, ..., height - size}, its left column on {0, ..., width - size}: the square
    lies wholly inside.  The places are ``floor(w (height - size + 1) / 2^32)`` for a word w, and likewise.

    Parameters
    ----------
    image_shape : tuple
        (height, width) or (height, width, channels); d is the product.
    size : int
        Side of the square, in pixels; >= 1.  At most min(height, width).

    References
    ----------
    DeVries and Taylor, *Improved regularization of convolutional neural networks with Cutout*,
    arXiv:1708.04552 (there, squares may stick out of the image).

    Examples
    --------
    >>> import numpy as np
    >>> from sslcore.augmentations import Cutout
    >>> xi = Cutout((8, 8), 3).views(np.ones((5, 64)), 2, seed=0)
    >>> np.unique(xi.sum(axis=-1))
    array([55.])
    """

    size: int = integer("side of the square, in pixels", minimum=1)

    def _complete(self) -> None:
        check_integer(self.size, "size", minimum=1, maximum=min(self.image_shape[:2]))

    def stages(self) -> tuple[Stage, ...]:
        return (Stage("erase_square", (*self._height_width_channels, self.size)),)
