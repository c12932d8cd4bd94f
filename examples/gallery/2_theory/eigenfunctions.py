"""
The first eigenfunctions are the half-moons, the next split them
================================================================

The components are functions of the whole plane. The first tells the two moons apart, the next split each moon: they
change where few views cross, and are constant where many do.
"""

import matplotlib.pyplot as plt
import numpy as np

import sslcore
from sslcore.augmentations import GaussianNoise
from sslcore.kernels import Exponential

x = sslcore.datasets.half_moons(500, seed=0)
rep = sslcore.pretrain(GaussianNoise(0.1).views(x, 4, seed=0), Exponential(0.5), 4, reg=1e-5, center=True)

grid = np.stack(np.meshgrid(np.linspace(-1.6, 1.6, 90), np.linspace(-1.6, 2.6, 110)), axis=-1)
values = rep(grid.reshape(-1, 2)).reshape(*grid.shape[:2], 4)
fig, panels = plt.subplots(1, 4, figsize=(11, 3.6), layout="constrained")
for i, axes in enumerate(panels):
    limit = abs(values[..., i]).max()
    axes.contourf(grid[..., 0], grid[..., 1], values[..., i], 21, cmap="PuOr", vmin=-limit, vmax=limit)
    axes.plot(*x.T, "k.", ms=1)
    axes.set(title=f"mu = {rep.eigenvalues[i]:.4f}", aspect="equal", xticks=[], yticks=[])
