"""
Augmentation against architecture, on the cube
==============================================

On the hypercube parities are eigenfunctions of crops and of a ReLU network's kernel at once, so each is a straight
line in lambda. Crops prefer bits that lie close together, the network prefers few bits: the first place changes hands
twice.
"""

import matplotlib.pyplot as plt
import numpy as np

from sslcore.augmentations import Crop
from sslcore.kernels import NNGP
from sslcore.population import Hypercube

cube, law, kernel = Hypercube(16), Crop(8), NNGP(2)
sets = [{0, 5}, {0, 2, 4}, {0, 1, 2, 3}]
t = cube.augmentation_eigenvalues(law, sets)
kappa = cube.kernel_eigenvalues(kernel, sets)
crossings = cube.crossings(law, kernel, labels=sets)

reg = np.linspace(0, 2e-6, 200)
fig, axes = plt.subplots(figsize=(7, 4), layout="constrained")
for s, t_s, kappa_s, style in zip(sets, t, kappa, ("-", "--", "-."), strict=True):
    axes.plot(reg, t_s - reg / kappa_s, style, label=f"parity of {s}")
for crossing in crossings:
    axes.plot(crossing.reg, crossing.eigenvalue, "ko", mfc="none", ms=9)
axes.set(xlabel="lambda", ylabel="eigenvalue of $T - \\lambda K^{-1}$", ylim=(-0.05, None))
axes.ticklabel_format(style="sci", axis="x", scilimits=(0, 0))
axes.legend()
