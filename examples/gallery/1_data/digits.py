"""
A few labels are enough after pretraining
=========================================

Pretraining sees 1,797 digits and no label; then a linear probe learns from 10 to 200 labelled images. On the pixels
themselves it needs at least four times as many labels for the same accuracy.
"""

import matplotlib.pyplot as plt
import numpy as np

import sslcore
from sslcore.augmentations import Affine, Compose, GaussianNoise
from sslcore.kernels import Gaussian

x, y = sslcore.datasets.digits()
law = Compose(Affine((8, 8), rotation=15.0, zoom=1.15, shift=1.0), GaussianNoise(0.05))
rep = sslcore.pretrain(law.views(x, 2, seed=0), Gaussian(2.0), 32, reg=1e-4, center=True)
z = rep(x)

# %%
# The same labelled images for both, drawn twenty times, as many of each digit.

rng = np.random.default_rng(0)
sizes = [1, 2, 5, 10, 20]
accuracy = {"raw pixels": [], "sslcore": []}
for size in sizes:
    draws = {name: [] for name in accuracy}
    for _ in range(20):
        train = np.concatenate([rng.choice(np.flatnonzero(y == c), size, replace=False) for c in range(10)])
        test = np.setdiff1d(np.arange(len(x)), train)
        for name, points in (("raw pixels", x), ("sslcore", z)):
            probe = sslcore.probing.ridge_probe(points[train], y[train], 10.0 ** np.arange(-5, 1))
            draws[name].append(probe.score(points[test], y[test]))
    for name in accuracy:
        accuracy[name].append(np.mean(draws[name]))

fig, axes = plt.subplots(figsize=(6, 4), layout="constrained")
for name, marker in (("sslcore", "o"), ("raw pixels", "s")):
    axes.plot(10 * np.array(sizes), accuracy[name], marker=marker, label=name)
axes.set(xscale="log", xlabel="labelled images", ylabel="accuracy on the others")
axes.set_xticks([10, 20, 50, 100, 200], ["10", "20", "50", "100", "200"])
axes.legend()
