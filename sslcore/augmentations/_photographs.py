"""Laws of images that change colours, sharpness and the section that is seen."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from ..declarations.parameters import real
from ._base import Stage
from ._images import _OnImages

__all__ = ["Blur", "Brightness", "ColorJitter", "Contrast", "ResizedCrop"]

_REACH = 3.0
"""A blur takes in pixels as far as so many of its largest standard deviations."""


def _strength(what: str) -> Any:
    return real(what, minimum=0.0, maximum=1.0, default=0.4)


class _Colours(_OnImages):
    """Laws that change all pixels of an image by one draw of each strength, in this order; words 0 to 3 of block 0."""

    def _changed(self, *strengths: float) -> tuple[Stage, ...]:
        return (Stage("color_jitter", (*self._height_width_channels, *strengths)),)


@dataclass(frozen=True)
class Brightness(_Colours):
    """All values of an image times one random factor: ``xi = (1 + u) x``, u uniform on [-strength, strength].

    The mean of the views is the sample.  Values may leave the range of the images: none is clipped.

    Parameters
    ----------
    image_shape : tuple
        (height, width) or (height, width, channels); d is the product.
    strength : float
        Largest change of the factor; in [0, 1].

    References
    ----------
    Chen, Kornblith, Norouzi and Hinton, *A simple framework for contrastive learning of visual representations*,
    ICML 2020, arXiv:2002.05709 (0.8 for ImageNet, 0.4 for CIFAR-10).

    Examples
    --------
    >>> import numpy as np
    >>> from sslcore.augmentations import Brightness
    >>> xi = Brightness((2, 2), 0.4).views(np.ones((1000, 4)), 1, seed=0)
    >>> bool((xi == xi[..., :1]).all()), bool(0.6 <= xi.min() < 0.61 and 1.39 < xi.max() <= 1.4)
    (True, True)
    """

    strength: float = _strength("largest change of the factor")

    def stages(self) -> tuple[Stage, ...]:
        return self._changed(self.strength, 0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Contrast(_Colours):
    """Deviations from the mean times one random factor: ``xi = x + u (x - mean x)``.

    u is uniform on [-strength, strength].  The mean is that of each channel over the image, and stays; so does the
    sample as the mean of the views.  Values may leave the range of the images: none is clipped.

    Parameters
    ----------
    image_shape : tuple
        (height, width) or (height, width, channels); d is the product.
    strength : float
        Largest change of the factor; in [0, 1].

    References
    ----------
    Chen et al., ICML 2020, arXiv:2002.05709 (0.8 for ImageNet, 0.4 for CIFAR-10).

    Examples
    --------
    >>> import numpy as np
    >>> from sslcore.augmentations import Contrast
    >>> xi = Contrast((2, 2), 0.4).views([[1.0, 2.0, 3.0, 4.0]], 1000, seed=0)
    >>> bool(np.abs(xi.mean(axis=-1) - 2.5).max() < 1e-15)
    True
    """

    strength: float = _strength("largest change of the factor")

    def stages(self) -> tuple[Stage, ...]:
        return self._changed(0.0, self.strength, 0.0, 0.0)


@dataclass(frozen=True)
class ColorJitter(_Colours):
    """Brightness, contrast, saturation and hue of an image of three channels (red, green, blue), changed in this order.

    With u_b, u_c, u_s, u_h independent and uniform on [-strength, strength] of each:
    ``x <- (1 + u_b) x``; ``x <- x + u_c (x - mean x)``, the mean of each channel over the image;
    ``x <- x + u_s (x - grey)`` with ``grey = 0.299 red + 0.587 green + 0.114 blue`` of each pixel; and the colour
    differences ``(0.492 (blue - grey), 0.877 (red - grey))`` turn by u_h of a circle, which keeps grey.  All steps are
    linear in the image and none needs its range, so that images may be centred; values are not clipped.  A hue of 0.1
    turns colours nearly as 0.1 in the HSV space of other libraries does.

    Parameters
    ----------
    image_shape : tuple
        (height, width, 3); d is the product.
    brightness : float
        Largest change of the factor of all values; in [0, 1].
    contrast : float
        Largest change of the factor of deviations from the mean; in [0, 1].
    saturation : float
        Largest change of the factor of deviations from grey; in [0, 1].
    hue : float
        Largest turn of the colours, in circles; in [0, 0.5].

    References
    ----------
    Chen et al., ICML 2020, arXiv:2002.05709 (these strengths for CIFAR-10, twice these for ImageNet; on four of five
    views: ``Mixture([0.8, 0.2], [ColorJitter(shape), GaussianNoise(0)])``).

    Examples
    --------
    >>> import numpy as np
    >>> from sslcore.augmentations import ColorJitter
    >>> x = np.random.default_rng(0).random((1, 8, 8, 3))
    >>> xi = ColorJitter((8, 8, 3), brightness=0, contrast=0).views(x, 5, seed=0).reshape(5, 8, 8, 3)
    >>> bool(np.abs((xi - x) @ [0.299, 0.587, 0.114]).max() < 1e-15)  # colours alone
    True
    """

    brightness: float = _strength("largest change of the factor of all values")
    contrast: float = _strength("largest change of the factor of deviations from the mean")
    saturation: float = _strength("largest change of the factor of deviations from grey")
    hue: float = real("largest turn of the colours, in circles", minimum=0.0, maximum=0.5, default=0.1)

    def _complete(self) -> None:
        if self._height_width_channels[2] != 3:
            raise ValueError(
                f"ColorJitter takes images of three channels, (height, width, 3), found image_shape="
                f"{self.image_shape}; for others take Compose(Brightness(...), Contrast(...))"
            )

    def stages(self) -> tuple[Stage, ...]:
        return self._changed(self.brightness, self.contrast, self.saturation, self.hue)


@dataclass(frozen=True)
class Blur(_OnImages):
    """A Gaussian blur of random width: weights ``exp(-(i^2 + j^2) / (2 sigma^2))`` that sum to 1.

    sigma is uniform on (0, scale), and the weights reach as far as ``ceil(3 scale)`` pixels in either direction.
    Beyond its edges the image goes on with its nearest pixel: what is constant stays.

    Parameters
    ----------
    image_shape : tuple
        (height, width) or (height, width, channels); d is the product.
    scale : float
        Largest standard deviation, in pixels; in [0, 100].

    References
    ----------
    Chen et al., ICML 2020, arXiv:2002.05709 (0.1 to 2.0, for images of 224 pixels and on half of the views; take less
    for small ones).

    Examples
    --------
    >>> import numpy as np
    >>> from sslcore.augmentations import Blur
    >>> x = np.zeros((1, 21, 21))
    >>> x[0, 10, 10] = 1.0
    >>> xi = Blur((21, 21), 1.0).views(x, 100, seed=0)
    >>> bool(np.abs(xi.sum(axis=-1) - 1).max() < 1e-12), bool(xi.min() >= 0)
    (True, True)
    """

    scale: float = real("largest standard deviation, in pixels", minimum=0.0, maximum=100.0, default=2.0)

    def stages(self) -> tuple[Stage, ...]:
        return (Stage("blur", (*self._height_width_channels, self.scale, math.ceil(_REACH * self.scale))),)


@dataclass(frozen=True)
class ResizedCrop(_OnImages):
    """A random section of the image, stretched to its full size with bilinear interpolation.

    The section has the share a of the area, uniform on [smallest, 1], and the share ``sqrt(a q)`` of the height and
    ``sqrt(a / q)`` of the width (1 where that is more), q log-uniform on [1/ratio, ratio]; it lies uniformly within the
    image.  Pixel centres are mapped to each other; beyond the edges of the image its nearest pixel goes on.  The four
    draws are words 0 to 3 of block 0: a, q, and the places from above and from the left.

    Parameters
    ----------
    image_shape : tuple
        (height, width) or (height, width, channels); d is the product.
    smallest : float
        Smallest share of the area; > 0 and <= 1.
    ratio : float
        Largest change of height to width; in [1, 16].

    References
    ----------
    Szegedy et al., *Going deeper with convolutions*, CVPR 2015; Chen et al., ICML 2020, arXiv:2002.05709 (0.08 and 4/3;
    take more than 0.08 for small images).

    Examples
    --------
    >>> import numpy as np
    >>> from sslcore.augmentations import ResizedCrop
    >>> column = np.tile(np.arange(32.0), (32, 1))[None]
    >>> xi = ResizedCrop((32, 32), smallest=0.25, ratio=1).views(column, 500, seed=0).reshape(500, 32, 32)
    >>> steps = xi[:, 16, 16] - xi[:, 16, 15]  # the share of the width
    >>> bool(steps.min() >= 0.5 and steps.max() <= 1), bool(abs((steps**2).mean() - 0.625) < 0.05)
    (True, True)
    """

    smallest: float = real("smallest share of the area", minimum=0.0, maximum=1.0, strict=True, default=0.08)
    ratio: float = real("largest change of height to width", minimum=1.0, maximum=16.0, default=4 / 3)

    def stages(self) -> tuple[Stage, ...]:
        numbers = (self.smallest, math.log2(self.ratio))
        return (Stage("resized_crop", (*self._height_width_channels, *numbers)),)
