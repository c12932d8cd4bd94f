"""
Samples approach the population as one over the square root
===========================================================

On the torus the eigenvalues of the population are known, so the error of a fit is known too. It falls as one over the
square root of the number of samples, and more views of each sample help less and less.
"""

import matplotlib.pyplot as plt
import numpy as np

import sslcore
from sslcore.augmentations import GaussianNoise
from sslcore.features import Nystrom
from sslcore.kernels import PeriodicGaussian
from sslcore.population import Torus

law, kernel, reg, k = GaussianNoise(0.05), PeriodicGaussian(0.1), 1e-3, 5
exact = Torus(1).spectrum(law, kernel, reg=reg, n_components=k).eigenvalues
model = Nystrom(kernel, np.linspace(0, 1, 64, endpoint=False)[:, None])  # enough for all that this kernel has

sizes = [50, 100, 200, 400, 800, 1600, 3200]
fig, axes = plt.subplots(figsize=(7, 4), layout="constrained")
for m, marker in ((2, "o"), (8, "s")):
    errors = []
    for n in sizes:
        found = []
        for seed in range(8):
            x = sslcore.datasets.torus(n, 1, seed=seed)
            rep = sslcore.pretrain(law.views(x, m, seed=seed), model, k, reg=reg)
            found.append(abs(rep.eigenvalues - exact).max())
        errors.append(np.mean(found))
    axes.loglog(sizes, errors, marker=marker, label=f"{m} views of each sample")
axes.loglog(sizes, errors[0] * (sizes[0] / np.array(sizes)) ** 0.5, "k:", label="n to the power -1/2")
axes.set(xlabel="samples n", ylabel="largest error of five eigenvalues")
axes.legend()
