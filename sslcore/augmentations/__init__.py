"""Augmentations: laws of a view given its sample, as values.

A view is a pure function of (seed, sample index, view index): neither blocks, nor their order, nor
threads, nor a division of the data change it.  So views need not be stored; they can be made again.

An augmentation is declared in one place, its class here: the law, the parameters and their ranges, the
source, and in :meth:`Augmentation.stages` what a backend has to do.  The declaration enters it into
:data:`registry`.
"""

from __future__ import annotations

# the registry lists augmentations in this order
# isort: off
from ._base import Augmentation, Choice, Stage, registry
from ._vectors import BitFlip, Crop, GaussianNoise, Resample, Reversal, Shift, SignFlip
from ._sphere import RandomRotation, TangentStep
from ._images import Affine, Cutout, HorizontalFlip
from ._photographs import Blur, Brightness, ColorJitter, Contrast, ResizedCrop
from ._series import Jitter, MagnitudeWarp, Scaling, TimeWarp, Window
from ._tables import Corrupt
from ._composition import Compose, Mixture
from ._custom import Custom
from ._views import Views

# isort: on

__all__ = [
    "Affine",
    "Augmentation",
    "BitFlip",
    "Blur",
    "Brightness",
    "Choice",
    "ColorJitter",
    "Compose",
    "Contrast",
    "Corrupt",
    "Crop",
    "Custom",
    "Cutout",
    "GaussianNoise",
    "HorizontalFlip",
    "Jitter",
    "MagnitudeWarp",
    "Mixture",
    "RandomRotation",
    "Resample",
    "ResizedCrop",
    "Reversal",
    "Scaling",
    "Shift",
    "SignFlip",
    "Stage",
    "TangentStep",
    "TimeWarp",
    "Views",
    "Window",
    "registry",
]
