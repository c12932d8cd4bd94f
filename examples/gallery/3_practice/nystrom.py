"""
Features of a smooth kernel need few landmarks
==============================================

A fit with a kernel stores a matrix of the square of the number of views. Nystrom features of rank r need r numbers a
view at a time, and approach the same eigenvalues as r grows: quickly for a smooth kernel, slowly for the exponential
one.
"""

import matplotlib.pyplot as plt
import numpy as np

import sslcore
from sslcore.augmentations import GaussianNoise
from sslcore.features import Nystrom
from sslcore.kernels import Exponential, Gaussian

x = sslcore.datasets.half_moons(400, seed=0)
views = GaussianNoise(0.1).views(x, 2, seed=0)
ranks = [8, 16, 32, 64, 128, 256]
fig, axes = plt.subplots(figsize=(7, 4), layout="constrained")
for kernel, marker in ((Gaussian(0.5), "o"), (Exponential(0.5), "s")):
    exact = sslcore.pretrain(views, kernel, 4, reg=1e-3, center=True).gamma
    errors = [
        np.max(abs(sslcore.pretrain(views, Nystrom(kernel, rank), 4, reg=1e-3, center=True).gamma / exact - 1))
        for rank in ranks
    ]
    axes.loglog(ranks, errors, marker=marker, label=repr(kernel))
axes.set(xlabel="rank r", ylabel="largest relative error of 1 - mu, of four")
axes.set_xticks(ranks, [str(rank) for rank in ranks])
axes.minorticks_off()
axes.legend()
