"""
Each component tells some digits apart, and no label was seen
=============================================================

Nobody named a digit here. Colours are put on afterwards: each component tells some digits from others, as what two
views of an image share is most of all which digit it is.
"""

import matplotlib.pyplot as plt

import sslcore
from sslcore.augmentations import Affine, Compose, GaussianNoise
from sslcore.kernels import Gaussian

x, y = sslcore.datasets.digits()
law = Compose(Affine((8, 8), rotation=15.0, zoom=1.15, shift=1.0), GaussianNoise(0.05))
rep = sslcore.pretrain(law.views(x, 2, seed=0), Gaussian(2.0), 6, reg=1e-4, center=True)
z = rep(x)

fig, panels = plt.subplots(1, 3, figsize=(10, 3.6), layout="constrained")
for i, axes in enumerate(panels):
    points = axes.scatter(z[:, 2 * i], z[:, 2 * i + 1], c=y, s=4, cmap="tab10", vmin=-0.5, vmax=9.5)
    axes.set(xlabel=f"component {2 * i + 1}", ylabel=f"component {2 * i + 2}", xticks=[], yticks=[])
fig.colorbar(points, ax=panels, ticks=range(10), label="digit (not used)")
