"""
The arrays decide where the work is done: the same code on a GPU
================================================================

Where the arrays are, the work is done: CuPy's arrays (or CUDA tensors of PyTorch) are fitted on their device, NumPy's
on the CPU, by the same calls. Views have the same bits on both. The title of each panel says where it was made.
"""

import matplotlib.pyplot as plt
import numpy as np

import sslcore
from sslcore.augmentations import GaussianNoise
from sslcore.kernels import Gaussian

try:
    import cupy

    xp, where = (cupy, "GPU") if cupy.cuda.is_available() else (np, "CPU")
except ImportError:
    xp, where = np, "CPU"

x = xp.asarray(sslcore.datasets.half_moons(500, seed=0))
views = GaussianNoise(0.1).views(x, 2, seed=0)
rep = sslcore.pretrain(views, Gaussian(0.3), 3, reg=1e-4, center=True)
z = rep(x)
print(where, type(z).__module__)

z, x = (np.asarray(a.get() if where == "GPU" else a) for a in (z, x))
fig, panels = plt.subplots(1, 3, figsize=(10, 3.6), layout="constrained")
for i, axes in enumerate(panels):
    axes.scatter(*x.T, c=z[:, i], s=6, cmap="PuOr")
    axes.set(title=f"component {i + 1}, on the {where}", aspect="equal", xticks=[], yticks=[])
