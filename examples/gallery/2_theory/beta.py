"""
An eigenvalue is one minus two costs
====================================

Each component has mu = 1 - beta invariance - lambda norm. Stacked, the two costs of each component fill what its
eigenvalue leaves of 1: early components are cheap in both, later ones pay for complexity, or for what views change.
"""

import matplotlib.pyplot as plt
import numpy as np

import sslcore
from sslcore.augmentations import GaussianNoise
from sslcore.kernels import Gaussian

x = sslcore.datasets.half_moons(300, seed=0)
rep = sslcore.pretrain(GaussianNoise(0.2).views(x, 2, seed=0), Gaussian(0.5), 10, reg=2e-3, center=True)

index = np.arange(1, 11)
fig, axes = plt.subplots(figsize=(7, 4), layout="constrained")
axes.bar(index, rep.eigenvalues, label="mu")
axes.bar(index, rep.beta * rep.invariance, bottom=rep.eigenvalues, hatch="//", label="beta invariance")
top = rep.eigenvalues + rep.beta * rep.invariance
axes.bar(index, rep.reg * rep.norms, bottom=top, hatch="..", label="lambda norm")
axes.set(xlabel="component", ylabel="parts of 1", xticks=index)
fig.legend(loc="outside upper center", ncols=3)
