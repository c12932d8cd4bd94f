"""
Two views are enough, if the average leaves a view's product with itself out
============================================================================

The average over all pairs of views of a sample, each view with itself included, is biased: with m views it solves the
problem at beta (m - 1) / m. Pairs of distinct views (``unbiased=True``, the default) solve the right one for any m.
"""

import matplotlib.pyplot as plt
import numpy as np

import sslcore
from sslcore.augmentations import GaussianNoise
from sslcore.features import Nystrom
from sslcore.kernels import PeriodicGaussian
from sslcore.population import Torus

law, kernel, reg = GaussianNoise(0.08), PeriodicGaussian(0.1), 1e-3
exact = Torus(1).spectrum(law, kernel, reg=reg, n_components=3).eigenvalues[1]
model = Nystrom(kernel, np.linspace(0, 1, 64, endpoint=False)[:, None])
counts = [2, 3, 4, 8, 16]
x = sslcore.datasets.torus(2000, 1, seed=0)

fig, axes = plt.subplots(figsize=(7, 4), layout="constrained")
for unbiased, marker in ((True, "o"), (False, "s")):
    values = [
        sslcore.pretrain(law.views(x, m, seed=1), model, 3, reg=reg, unbiased=unbiased).eigenvalues[1:3].mean()
        for m in counts
    ]
    axes.plot(counts, values, marker=marker, label=f"unbiased={unbiased}")
axes.axhline(exact, color="k", ls=":", label="population")
axes.set(xscale="log", xlabel="views of each sample", ylabel="second eigenvalue")
axes.set_xticks(counts, [str(m) for m in counts])
axes.minorticks_off()
axes.legend()
