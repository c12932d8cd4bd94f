"""
Standardise the columns of a table
==================================

The 13 columns of the wine data have units of their own: proline is in the hundreds, hue near 1. A kernel of distances
sees the largest column alone, so columns are standardised first. Then the first two components show the three
cultivars, and the raw columns, left as they are, do not.
"""

import matplotlib.pyplot as plt
from sklearn.datasets import load_wine

import sslcore
from sslcore.augmentations import GaussianNoise
from sslcore.kernels import Gaussian

x, y = load_wine(return_X_y=True)
standard = (x - x.mean(axis=0)) / x.std(axis=0)

fig, panels = plt.subplots(1, 2, figsize=(9, 4), layout="constrained")
for axes, points, title in zip(panels, (x, standard), ("columns as they are", "standardised columns"), strict=True):
    spread = points.var(axis=0).sum() ** 0.5
    noise = GaussianNoise(0.5 * spread / 13**0.5)
    rep = sslcore.pretrain(noise.views(points, 4, seed=0), Gaussian(spread), 4, reg=1e-3, center=True)
    z = rep(points)
    probe = sslcore.probing.ridge_probe(z, y, [1e-4, 1e-3, 1e-2, 1e-1])
    for cultivar, marker in zip(range(3), "os^", strict=True):
        axes.scatter(*z[y == cultivar, :2].T, s=18, marker=marker, label=f"cultivar {cultivar}")
    axes.set(
        title=f"{title}\nerror left-one-out {probe.loo_errors.min():.3f}",
        xlabel="component 1",
    )
panels[0].set_ylabel("component 2")
panels[1].legend()
