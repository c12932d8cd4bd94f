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
    Compose,
    Cutout,
    GaussianNoise,
    HorizontalFlip,
    Resample,
)
from sslcore.kernels import Exponential, Gaussian, Kernel, L1Exponential, Linear, Matern, Polynomial

from . import naive

KERNELS: dict[str, list[Callable[[float], Kernel]]] = {
    "Exponential": [lambda s: Exponential(s)],
    "Gaussian": [lambda s: Gaussian(s)],
    "L1Exponential": [lambda s: L1Exponential(s)],
    "Linear": [lambda s: Linear()],
    "Matern": [lambda s: Matern(0.5, s), lambda s: Matern(1.5, s), lambda s: Matern(2.5, s)],
    "Polynomial": [lambda s: Polynomial(1, 0.5), lambda s: Polynomial(2, 0.0), lambda s: Polynomial(7)],
}
"""By class, one or more instances for data that vary by s."""

AUGMENTATIONS: dict[str, list[tuple[Augmentation, int]]] = {
    "GaussianNoise": [(GaussianNoise(0.3), d) for d in (1, 2, 3, 4, 5, 6, 9, 33, 2049, 4099)],
    "BitFlip": [(BitFlip(0.3), d) for d in (1, 5, 33, 2051)] + [(BitFlip(0), 7), (BitFlip(1), 7)],
    "Resample": [(Resample(0.4), d) for d in (1, 5, 33, 2051)] + [(Resample(1.0), 6)],
    "Affine": [
        (Affine((5, 7)), 35),
        (Affine((6, 4, 3), rotation=180, zoom=3, shift=4), 72),
        (Affine((1, 1), rotation=90, zoom=1024, shift=1e9), 1),
        (Affine((3, 1, 2), rotation=0, zoom=1, shift=0.5), 6),
    ],
    "HorizontalFlip": [(HorizontalFlip((3, 4)), 12), (HorizontalFlip((2, 5, 3), p=0.7), 30)],
    "Cutout": [(Cutout((5, 6), 2), 30), (Cutout((4, 4, 3), 4), 48), (Cutout((3, 8), 1), 24)],
    "Compose": [
        (Compose(BitFlip(0.2)), 9),
        (Compose(GaussianNoise(0.1), GaussianNoise(0.1)), 5),
        (Compose(Affine((4, 5)), HorizontalFlip((4, 5)), Cutout((4, 5), 2), GaussianNoise(0.1)), 20),
    ],
}
"""By class, one or more instances, each with the number of coordinates to try it on."""

EXACT = {"BitFlip", "Resample", "HorizontalFlip", "Cutout"}
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

    For a polynomial, the value if nothing cancelled, times the degree; for all else the largest value.
    """
    if isinstance(k, Linear | Polynomial):
        absolute = Polynomial(getattr(k, "degree", 1), getattr(k, "offset", 0.0))
        return float(naive.gram(absolute, np.abs(x), np.abs(y)).max()) * absolute.degree
    return 1.0 if getattr(k, "pair", None) in ("sqdist", "l1") else float(np.abs(naive.gram(k, x, y)).max())


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
