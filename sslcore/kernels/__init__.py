"""Positive semi-definite kernels as values: frozen dataclasses that any backend can evaluate.

A kernel of the registry is one declaration: a profile k(x, y) = f(t) of one pair value t, where ``pair``
is ``"sqdist"`` (t = |x - y|^2), ``"l1"`` (t = |x - y|_1), ``"dot"`` (t = <x, y>) or ``"torus"`` (the product over the
coordinates of f(t_c), t_c <= 1/2 the distance of x_c and y_c on the circle of length 1), and ``formula`` is f as
an expression valid both in Python and in C++: the constants c0..c3, ``exp``, ``sqrt``, ``cos2pi`` (cos(2 pi t) for
0 <= t <= 1/2) and ``real(1)`` for a literal, no ``**`` and no ``a if b else c``.  Backends compile the formula; nothing
else has to be written.

Calling a kernel gives a Gram matrix; kernels add and multiply, and are scaled by positive numbers:

>>> import numpy as np
>>> from sslcore.kernels import Gaussian, Linear
>>> k = Gaussian(scale=1.0) + 0.5 * Linear()
>>> k(np.array([[0.0, 0.0], [1.0, 0.0]])).round(4)
array([[1.    , 0.6065],
       [0.6065, 1.5   ]])
"""

from __future__ import annotations

from ..backends.formulas import check_formula

# the registry lists kernels in this order
# isort: off
from ._base import (
    Function,
    Kernel,
    Precomputed,
    Product,
    Profile,
    Scaled,
    Sum,
    as_kernel,
    constant_profiles,
    registry,
)
from ._profiles import (
    Exponential,
    Gaussian,
    L1Exponential,
    Linear,
    Matern,
    PeriodicGaussian,
    Polynomial,
    VonMises,
)
from ._networks import NNGP, NTK, ArcCosine
from ._convolutional import Convolutional
from ._nugget import Nugget
from ._rows import Rows

# isort: on

__all__ = [
    "NNGP",
    "NTK",
    "ArcCosine",
    "Convolutional",
    "Exponential",
    "Function",
    "Gaussian",
    "Kernel",
    "L1Exponential",
    "Linear",
    "Matern",
    "Nugget",
    "PeriodicGaussian",
    "Polynomial",
    "Precomputed",
    "Product",
    "Profile",
    "Rows",
    "Scaled",
    "Sum",
    "VonMises",
    "as_kernel",
    "check_formula",
    "constant_profiles",
    "registry",
]
