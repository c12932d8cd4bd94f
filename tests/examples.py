"""Examples of every kernel and every augmentation: the one table that the tests of all backends iterate over.

A declaration in `sslcore.kernels` or `sslcore.augmentations` needs a line here and an oracle in `naive.py`; then the
properties of test_kernels.py and test_augmentations.py, the comparison of the backends (test_registries.py,
test_backends.py), the compilation for each architecture and the checking build (cuda_on_host) include it.
`missing` says, in sentences, what is left to do; test_registries.py fails with them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import ModuleType

import numpy as np

from sslcore import augmentations, kernels
from sslcore.augmentations import (
    Affine,
    Augmentation,
    BitFlip,
    Blur,
    Brightness,
    ColorJitter,
    Compose,
    Contrast,
    Corrupt,
    Crop,
    Custom,
    Cutout,
    GaussianNoise,
    HorizontalFlip,
    Jitter,
    MagnitudeWarp,
    Mixture,
    RandomRotation,
    Resample,
    ResizedCrop,
    Reversal,
    Scaling,
    Shift,
    SignFlip,
    TangentStep,
    TimeWarp,
    Window,
)
from sslcore.kernels import (
    NNGP,
    NTK,
    ArcCosine,
    Convolutional,
    Exponential,
    Gaussian,
    Kernel,
    L1Exponential,
    Linear,
    Matern,
    Nugget,
    PeriodicGaussian,
    Polynomial,
    VonMises,
)

from . import naive

KERNELS: dict[str, list[Callable[[float], Kernel]]] = {
    "ArcCosine": [lambda s: ArcCosine(0), lambda s: ArcCosine(1), lambda s: ArcCosine(2)],
    "Convolutional": [lambda s: Convolutional(Gaussian(s), 1)],  # of points with any number of coordinates
    "Exponential": [lambda s: Exponential(s)],
    "Gaussian": [lambda s: Gaussian(s)],
    "L1Exponential": [lambda s: L1Exponential(s)],
    "Linear": [lambda s: Linear()],
    "Matern": [lambda s: Matern(0.5, s), lambda s: Matern(1.5, s), lambda s: Matern(2.5, s)],
    "NNGP": [lambda s: NNGP(1), lambda s: NNGP(3, weight_variance=1.5, bias_variance=0.2 * s**2)],
    "NTK": [lambda s: NTK(2), lambda s: NTK(3, weight_variance=1.5, bias_variance=0.2 * s**2, fan_in=0.7)],
    "Nugget": [lambda s: Nugget(0.5 * s)],
    "PeriodicGaussian": [  # whose formula changes with the scale
        lambda s: PeriodicGaussian(0.06 * s),
        lambda s: PeriodicGaussian(0.12 * s),
        lambda s: PeriodicGaussian(0.25 * s),
    ],
    "Polynomial": [lambda s: Polynomial(1, 0.5), lambda s: Polynomial(2, 0.0), lambda s: Polynomial(7)],
    "VonMises": [lambda s: VonMises(s)],
}
"""By class, one or more instances for data that vary by s."""


def turned(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A view by a function of Python: a cyclic shift along the last axis, and noise."""
    return np.roll(x, rng.integers(x.shape[-1]), axis=-1) + rng.standard_normal(x.shape)


AUGMENTATIONS: dict[str, list[tuple[Augmentation, int]]] = {
    "GaussianNoise": [(GaussianNoise(0.3), d) for d in (1, 2, 3, 4, 5, 6, 9, 33, 2049, 4099)],
    "BitFlip": [(BitFlip(0.3), d) for d in (1, 5, 33, 2051)] + [(BitFlip(0), 7), (BitFlip(1), 7)],
    "Resample": [(Resample(0.4), d) for d in (1, 5, 33, 2051)] + [(Resample(1.0), 6)],
    "Crop": [
        (Crop(2), 5),
        (Crop(3, cyclic=False), 5),
        (Crop(1), 1),
        (Crop(4, cyclic=False), 4),
        (Crop(20), 33),
        (Crop(1999), 2051),
        (Crop(700, cyclic=False), 4099),
    ],
    "Shift": [(Shift([1 / 3, 1 / 3, 0, 0, 1 / 3]), 5), (Shift([1]), 1), (Shift([0, 0, 1]), 3), (Shift([0.1] * 10), 33)],
    "Reversal": [(Reversal(0.5), 1), (Reversal(0.4), 6), (Reversal(1), 7)],
    "SignFlip": [(SignFlip(0.3), 1), (SignFlip(0.8), 33), (SignFlip(1), 2)],
    "TangentStep": [(TangentStep(0.7), d) for d in (2, 3, 5, 31, 32, 33, 64, 2051)] + [(TangentStep(3.0), 9)],
    "RandomRotation": [(RandomRotation(2.0), d) for d in (2, 3, 5, 31, 32, 33, 64, 2051)],
    "Mixture": [
        (Mixture([0.5, 0.5], [TangentStep(1.0), Compose(RandomRotation(0.5), SignFlip(0.5))]), 35),
        (Mixture([0.3, 0.7], [BitFlip(0.2), Compose(SignFlip(0.5), GaussianNoise(0.1))]), 7),
        (Mixture([0.2, 0, 0.8], [Reversal(0.5), BitFlip(1), Mixture([0.5, 0.5], [Crop(2), Shift([0.2] * 5)])]), 6),
        (Mixture([0.5, 0.5], [Affine((4, 5)), Compose(HorizontalFlip((4, 5)), Cutout((4, 5), 2))]), 20),
        (Mixture([1], [Resample(0.5)]), 3),
        (Mixture([0.5, 0.5], [Compose(Jitter(), TimeWarp()), Mixture([0.4, 0.6], [MagnitudeWarp(), Scaling()])]), 12),
        (Mixture([0.3, 0.7], [Compose(ColorJitter((3, 4, 3)), Blur((3, 4, 3))), Contrast((3, 4, 3))]), 36),
    ],
    "Affine": [
        (Affine((5, 7)), 35),
        (Affine((6, 4, 3), rotation=180, zoom=3, shift=4), 72),
        (Affine((1, 1), rotation=90, zoom=1024, shift=1e9), 1),
        (Affine((3, 1, 2), rotation=0, zoom=1, shift=0.5), 6),
    ],
    "HorizontalFlip": [(HorizontalFlip((3, 4)), 12), (HorizontalFlip((2, 5, 3), p=0.7), 30)],
    "Custom": [(Custom(turned), 5), (Custom(turned, sample_shape=(3, 4)), 12)],
    "Cutout": [(Cutout((5, 6), 2), 30), (Cutout((4, 4, 3), 4), 48), (Cutout((3, 8), 1), 24)],
    "Brightness": [(Brightness((3, 4)), 12), (Brightness((2, 5, 4), strength=1), 40)],
    "Contrast": [(Contrast((5, 7)), 35), (Contrast((1, 1, 2), strength=1), 2), (Contrast((6, 8, 2)), 96)],
    "ColorJitter": [
        (ColorJitter((4, 5, 3)), 60),
        (ColorJitter((1, 2, 3), brightness=1, contrast=1, saturation=1, hue=0.5), 6),
        (ColorJitter((7, 1, 3), brightness=0, contrast=0, saturation=0), 21),
    ],
    "Blur": [
        (Blur((5, 7)), 35),
        (Blur((3, 4, 3), scale=0.3), 36),
        (Blur((1, 6), scale=5), 6),
        (Blur((2, 2), scale=0), 4),
    ],
    "ResizedCrop": [
        (ResizedCrop((5, 7)), 35),
        (ResizedCrop((4, 6, 3), smallest=0.5, ratio=1), 72),
        (ResizedCrop((1, 4), smallest=0.01, ratio=16), 4),
    ],
    "Corrupt": [
        (Corrupt(p, np.random.default_rng(d).standard_normal((rows, d)).astype(np.float32)), d)
        for p, rows, d in ((0.6, 5, 1), (0.3, 1, 7), (1.0, 9, 6), (0.6, 50, 33), (0.2, 3, 2051))
    ],
    "Jitter": [(Jitter(), 33), (Jitter(0.5, channels=3), 9), (Jitter(2.0, channels=2), 70), (Jitter(1.0), 1)],
    "Scaling": [(Scaling(), 5), (Scaling(0.5, channels=6), 18), (Scaling(1.0, channels=1), 1)],
    "MagnitudeWarp": [
        (MagnitudeWarp(), 33),
        (MagnitudeWarp(0.5, knots=0, channels=2), 14),
        (MagnitudeWarp(1.0, knots=13, channels=3), 60),
        (MagnitudeWarp(), 1),
    ],
    "TimeWarp": [
        (TimeWarp(), 33),
        (TimeWarp(1.0, knots=0), 7),
        (TimeWarp(2.0, knots=13, channels=3), 60),
        (TimeWarp(channels=2), 2),
    ],
    "Window": [(Window(), 33), (Window(0.3, channels=4), 28), (Window(1.0), 9), (Window(0.5), 1)],
    "Compose": [
        (Compose(ColorJitter((4, 5, 3)), ResizedCrop((4, 5, 3)), Blur((4, 5, 3), 0.5), GaussianNoise(0.1)), 60),
        (Compose(Jitter(channels=2), Scaling(channels=2), TimeWarp(channels=2), Window(channels=2)), 22),
        (Compose(BitFlip(0.2)), 9),
        (Compose(GaussianNoise(0.1), GaussianNoise(0.1)), 5),
        (Compose(Affine((4, 5)), HorizontalFlip((4, 5)), Cutout((4, 5), 2), GaussianNoise(0.1)), 20),
        (Compose(Mixture([0.5, 0.5], [BitFlip(0.5), Crop(3)]), SignFlip(0.5), Mixture([1], [Reversal(0.5)])), 6),
    ],
}
"""By class, one or more instances, each with the number of coordinates to try it on."""

EXACT = {"BitFlip", "Corrupt", "Crop", "Cutout", "HorizontalFlip", "Resample", "Reversal", "Shift", "SignFlip"}
"""Augmentations whose views are those of the oracle to the bit; all others differ by rounding.

The views of two backends are the same to the bit in either case.
"""

NOT_DECLARED = {"Function", "Kernel", "Precomputed", "Product", "Profile", "Scaled", "Sum"}
"""Public classes of kernels that have no values of their own: made from other kernels, from a function, a matrix."""


def kernel_examples(scale: float = 1.3) -> list[Kernel]:
    """Every example of a kernel."""
    return [make(scale) for makes in KERNELS.values() for make in makes]


def augmentation_examples(most: float = np.inf) -> list[tuple[Augmentation, int]]:
    """Every example of an augmentation with at most so many coordinates."""
    return [(a, d) for examples in AUGMENTATIONS.values() for a, d in examples if d <= most]


def value_scale(k: Kernel, x: np.ndarray, y: np.ndarray) -> float:
    """What rounding in the values k(x, y) is relative to: 1 for a function of a distance, which is at most 1.

    For a polynomial, the value if nothing cancelled, times the degree; for all else the largest k(x, x) or k(y, y),
    that of the longest point, which bounds |k(x, y)|, itself perhaps far below what it was computed from.
    """
    if isinstance(k, Linear | Polynomial):
        absolute = Polynomial(getattr(k, "degree", 1), getattr(k, "offset", 0.0))
        return float(naive.gram(absolute, np.abs(x), np.abs(y)).max()) * absolute.degree
    if getattr(k, "pair", None) in ("sqdist", "l1"):
        return 1.0
    longest = max((*x, *y), key=lambda point: np.sum(point.astype(float) ** 2))
    return float(naive.gram(k, longest[None])[0, 0])


def declared(module: ModuleType) -> dict[str, type]:
    """The kernels, or the augmentations, that the library itself declares."""
    found = {name: cls for name, cls in module.registry.items() if cls.__module__.startswith("sslcore.")}
    if module is kernels:  # those that are no profile of one pair value register nothing
        for name in set(kernels.__all__) - NOT_DECLARED:
            cls = getattr(kernels, name)
            if isinstance(cls, type) and issubclass(cls, Kernel):
                found[name] = cls
    return found


def missing() -> Iterator[str]:
    """What a declared kernel or augmentation still needs, one sentence each."""
    tables = ((kernels, KERNELS, naive.KERNELS, "KERNELS"), (augmentations, AUGMENTATIONS, naive.AUGMENTATIONS, None))
    for module, examples, oracles, table in tables:
        table = table or "AUGMENTATIONS"
        names = declared(module)
        for name, cls in names.items():
            where = f"{cls.__module__}.{name}"
            if not examples.get(name):
                yield f"{where} has no example: add one to {table} in tests/examples.py"
            if name not in oracles:
                yield f"{where} has no oracle: write it in tests/naive.py and add it to {table} there"
            if name not in module.__all__:
                yield f"{where} is not public: add it to {cls.__module__}.__all__"
            if ">>>" not in (cls.__doc__ or ""):
                yield f"{where} has no doctest: add an Examples section to its docstring"
        for name in sorted((set(examples) | set(oracles)) - set(names)):
            yield f"{name} has an example or an oracle ({table}), but {module.__name__} does not declare it"
