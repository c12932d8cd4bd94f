"""
A formula is a kernel, on the CPU and the GPU
=============================================

A kernel of one pair value is a class with a formula: it is compiled for the CPU and the GPU, and every solver takes
it. The Cauchy kernel has heavy tails: far points still count, so it depends less on its scale than a Gaussian.
"""

from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np

import sslcore
from sslcore.augmentations import GaussianNoise
from sslcore.kernels import Gaussian, Profile, registry


@dataclass(frozen=True)
class Cauchy(Profile):
    """k(x, y) = 1 / (1 + |x - y|^2)."""

    pair = "sqdist"
    formula = "real(1) / (real(1) + t)"


x = sslcore.datasets.half_moons(200, seed=0)
views = GaussianNoise(0.1).views(x, 2, seed=0)
fig, axes = plt.subplots(figsize=(7, 4), layout="constrained")
index = np.arange(1, 13)
for name, kernel, marker in (("Cauchy()", Cauchy(), "o"), ("Gaussian(1.0)", Gaussian(1.0), "s")):
    rep = sslcore.pretrain(views, kernel, 12, reg=1e-4, center=True)
    axes.semilogy(index, rep.gamma, marker=marker, label=name)
axes.axhline(1, color="k", ls=":", label="inactive above")
axes.set(xlabel="component", ylabel="1 - mu")
axes.legend()
registry.pop("Cauchy")  # this script alone needs it
