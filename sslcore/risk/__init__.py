"""Risks of a representation from its values at the views, each with its gradient.

All take ``z`` of shape (n, m, k): the k components of the representation at the m views of n samples
(an array of NumPy, CuPy or any library with DLPack, and the gradient is of the same kind; any strides;
float32 in gives a float32 gradient, sums are accumulated in float64).  They are linear in the number of
views N = n m, and need memory for one block besides the gradient.

Notation: z_ia is the representation of view a of sample i, zbar_i the mean over the views of sample
i, C_i = (1/m) sum_a z_ia z_ia^T, C = (1/n) sum_i C_i.
"""

from ._equivalent import EquivalentParameters, equivalent_parameters
from ._losses import spectral_contrastive, vicreg
from ._published import barlow_twins, vicreg_hinge

__all__ = [
    "EquivalentParameters",
    "barlow_twins",
    "equivalent_parameters",
    "spectral_contrastive",
    "vicreg",
    "vicreg_hinge",
]
