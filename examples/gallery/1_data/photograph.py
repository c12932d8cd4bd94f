"""
What neighbouring patches share are the objects of a photograph
===============================================================

Samples are patches of a photograph, positive pairs are patches side by side. The components, drawn where their
patches lie, follow what stays the same from one patch to the next: sky, building, trees.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_sample_image

import sslcore
from sslcore.features import Nystrom
from sslcore.kernels import Gaussian
from sslcore.positives import Pairs

image = load_sample_image("china.jpg")[::2, ::2].astype(float) / 255
size = 6
rows, columns = image.shape[0] // size, image.shape[1] // size
patches = image[: rows * size, : columns * size].reshape(rows, size, columns, size, 3).swapaxes(1, 2)
x = patches.reshape(rows * columns, -1)

place = np.arange(rows * columns).reshape(rows, columns)
first = np.concatenate([place[:, :-1].ravel(), place[:-1].ravel()])
second = np.concatenate([place[:, 1:].ravel(), place[1:].ravel()])
model = Nystrom(Gaussian(x.var(axis=0).sum() ** 0.5), 256)
rep = sslcore.pretrain(x, model, 5, reg=1e-4, center=True, positives=Pairs(first, second))
z = rep(x)

fig, panels = plt.subplots(2, 3, figsize=(9, 4.6), layout="constrained")
panels.flat[0].imshow(image)
panels.flat[0].set_title("the photograph")
for i, axes in enumerate(panels.flat[1:]):
    limit = np.quantile(abs(z[:, i]), 0.98)
    axes.imshow(z[:, i].reshape(rows, columns), cmap="PuOr", vmin=-limit, vmax=limit)
    axes.set_title(f"component {i + 1}, mu = {rep.eigenvalues[i]:.2f}")
for axes in panels.flat:
    axes.set(xticks=[], yticks=[])
