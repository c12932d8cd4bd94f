"""
What views add to kernel PCA is worth labels
============================================

With beta = 0 the views are ignored, and the fit is kernel PCA of the same kernel. With beta = 1 functions that the
views change cost more. The two spend their components on different directions: a probe sees it most with few labels.
"""

import matplotlib.pyplot as plt
import numpy as np

import sslcore
from sslcore.augmentations import Affine, Compose, GaussianNoise
from sslcore.kernels import Gaussian

x, y = sslcore.datasets.digits()
x, y = x[:1000], y[:1000]
law = Compose(Affine((8, 8), rotation=15.0, zoom=1.15, shift=1.0), GaussianNoise(0.05))
views = law.views(x, 2, seed=0)

betas, sizes = [0.0, 0.5, 1.0, 4.0], [2, 10]
rng = np.random.default_rng(0)
accuracy = np.zeros((len(sizes), len(betas)))
for j, beta in enumerate(betas):
    z = sslcore.pretrain(views, Gaussian(2.0), 24, reg=1e-4, beta=beta, center=True)(x)
    for i, size in enumerate(sizes):
        draws = []
        for _ in range(20):
            train = np.concatenate([rng.choice(np.flatnonzero(y == c), size, replace=False) for c in range(10)])
            test = np.setdiff1d(np.arange(len(x)), train)
            probe = sslcore.probing.ridge_probe(z[train], y[train], 10.0 ** np.arange(-6, 1))
            draws.append(probe.score(z[test], y[test]))
        accuracy[i, j] = np.mean(draws)

fig, axes = plt.subplots(figsize=(6, 4), layout="constrained")
names = ["0\n(kernel PCA)", *(f"{beta:g}" for beta in betas[1:])]
for size, row, hatch in zip(sizes, accuracy, ("", "//"), strict=True):
    places = np.arange(len(betas)) + (-0.2 if size == sizes[0] else 0.2)
    axes.bar(places, row, 0.4, label=f"{size} labels of each digit", hatch=hatch)
axes.set_xticks(range(len(betas)), names)
axes.set(xlabel="beta, weight of the invariance", ylabel="accuracy", ylim=(0.5, 1.1))
axes.legend(loc="upper left", ncols=2)
