"""
A saved fit embeds new points anywhere, bit for bit
===================================================

A saved fit is plain data in one file: arrays and JSON, no pickle, no code that runs. A loaded one evaluates any new
points, bit for bit as the one that was saved; here those between and beyond the samples.
"""

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import sslcore
from sslcore.augmentations import GaussianNoise
from sslcore.kernels import Exponential

x = sslcore.datasets.half_moons(300, seed=0)
rep = sslcore.pretrain(GaussianNoise(0.1).views(x, 2, seed=0), Exponential(0.5), 3, reg=1e-4, center=True)
path = Path(tempfile.mkdtemp()) / "moons.npz"
rep.save(path)

again = sslcore.load(path)
new = sslcore.datasets.half_moons(2000, seed=1)
assert np.array_equal(again(new), rep(new))
print(f"{path.stat().st_size / 1e3:.0f} kB")
print(again.summary())

z = again(new)
fig, panels = plt.subplots(1, 3, figsize=(10, 3.6), layout="constrained")
for i, axes in enumerate(panels):
    limit = abs(z[:, i]).max()
    axes.scatter(*new.T, c=z[:, i], s=5, cmap="PuOr", vmin=-limit, vmax=limit)
    axes.set(title=f"component {i + 1} at new points", aspect="equal", xticks=[], yticks=[])
