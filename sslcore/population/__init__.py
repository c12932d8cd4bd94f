"""The population theory: exact spectra of T, of K and of (1 - beta) I + beta T - lambda K^-1 on domains in closed form.

A domain knows the functions that diagonalise its augmentations and kernels, and gives one *line* for each: how
mu = 1 - beta + beta t - lambda / kappa moves with lambda.  All the rest (`base`) is the same on every domain:

* ``.lines(a, k, n)``: the lines that can be among the first n;
* ``.spectrum(a, k, reg=, beta=, n_components=)``: eigenvalues with labels, multiplicities and block ends;
* ``.crossings(...)``, ``.regimes(...)``: the values of lambda at which the order changes, exactly, and between them;
* ``.minimum_risk(...)``.

Source: Cabannes, Kiani, Balestriero, LeCun, Bietti, *The SSL Interplay*, ICML 2023, arXiv:2302.02774.
"""

from .base import Crossing, Domain, Regime, risk_of_moments
from .cube import Hypercube, crop_eigenvalue_by_diameter
from .cube_classes import SubsetClass
from .gaussian import Gaussian
from .given import Eigenvalues, Modes
from .laws import HeatKernel, OrnsteinUhlenbeck
from .lines import CutBlockWarning, Lines, PopulationSpectrum
from .sphere import Sphere
from .torus import Torus

__all__ = [
    "Crossing",
    "CutBlockWarning",
    "Domain",
    "Eigenvalues",
    "Gaussian",
    "HeatKernel",
    "Hypercube",
    "Lines",
    "Modes",
    "OrnsteinUhlenbeck",
    "PopulationSpectrum",
    "Regime",
    "Sphere",
    "SubsetClass",
    "Torus",
    "crop_eigenvalue_by_diameter",
    "risk_of_moments",
]
