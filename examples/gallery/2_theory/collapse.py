"""
Collapse: components that cost more than they are worth
=======================================================

A component is worth 1 - beta invariance - lambda norm; where that falls below zero the component is zero. So the
number of active components falls with lambda, to none: total collapse. It is a property of the objective, not of an
optimiser.
"""

import matplotlib.pyplot as plt
import numpy as np

import sslcore
from sslcore.augmentations import GaussianNoise
from sslcore.kernels import Gaussian

x = sslcore.datasets.half_moons(200, seed=0)
regs = np.logspace(-5, 0, 31)
fig, axes = plt.subplots(figsize=(7, 4), layout="constrained")
for noise, style in ((0.05, "-"), (0.2, "--"), (0.5, ":")):
    views = GaussianNoise(noise).views(x, 2, seed=0)
    path = sslcore.pretrain_path(views, Gaussian(0.5), 16, regs=regs, center=True)
    axes.step(regs, path.n_active[:, 0], style, where="mid", label=f"noise {noise}")
axes.set(xscale="log", xlabel="lambda", ylabel="active components of 16")
axes.legend()
