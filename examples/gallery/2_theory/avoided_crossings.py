"""
On data crossings are avoided
=============================

On samples T and K never commute exactly: where two eigenvalues of the population would cross, those of a fit turn
away from each other and exchange their functions. A path over lambda finds the places.
"""

import matplotlib.pyplot as plt
import numpy as np

import sslcore
from sslcore.augmentations import GaussianNoise
from sslcore.kernels import Gaussian

x = sslcore.datasets.half_moons(200, seed=0)
path = sslcore.pretrain_path(
    GaussianNoise(0.1).views(x, 2, seed=0), Gaussian(0.5), 6, regs=np.logspace(-4, 0, 33), center=True
)
print(path.summary())

fig, axes = plt.subplots(figsize=(7, 4.4), layout="constrained")
path.plot(axes)
