"""
Equal eigenvalues: only their span is defined
=============================================

On a circle sine and cosine of one frequency have one eigenvalue. Two fits to different samples return different
functions, rotated against each other, and both are right: their spans agree. Compare complete blocks.
"""

import matplotlib.pyplot as plt
import numpy as np

import sslcore
from sslcore.augmentations import GaussianNoise
from sslcore.kernels import Gaussian

angle = np.linspace(0, 2 * np.pi, 400)
circle = np.stack([np.cos(angle), np.sin(angle)], axis=1)
values = []
for seed in (0, 1):
    x = sslcore.datasets.sphere(2000, 2, seed=seed)
    views = GaussianNoise(0.1).views(x, 2, seed=seed)
    rep = sslcore.pretrain(views, sslcore.features.Nystrom(Gaussian(0.7), 128), 2, reg=1e-3, center=True)
    values.append(rep(circle))

# %%
# Each function of the second fit is a combination of the two of the first, to the accuracy of the samples.

combination, *_ = np.linalg.lstsq(values[0], values[1], rcond=None)
fig, panels = plt.subplots(1, 2, figsize=(9, 3.6), sharey=True, layout="constrained")
for i, axes in enumerate(panels):
    axes.plot(angle, values[0][:, i], label="one fit")
    axes.plot(angle, values[1][:, i], "--", label="another fit")
    axes.plot(angle, (values[0] @ combination)[:, i], "k:", lw=2, label="in the span of the first")
    axes.set(xlabel="angle", title=f"component {i + 1}")
fig.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
