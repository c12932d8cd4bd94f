"""
Two modalities: the halves of a digit find each other
=====================================================

The upper half of an image is one modality, the lower half the other; a pair is one image. Kernel CCA finds functions
of each that agree. Of images that were held out, the lower half that belongs to an upper half is among the first ten
of 397 in two cases of three.
"""

import matplotlib.pyplot as plt
import numpy as np

import sslcore
from sslcore.kernels import Gaussian

x, _ = sslcore.datasets.digits()
upper, lower = x[:, :32], x[:, 32:]
train, test = slice(0, 1400), slice(1400, None)
rep = sslcore.pretrain((upper[train], lower[train]), (Gaussian(1.5), Gaussian(1.5)), 24, reg=1e-3, center=True)
u, v = rep.transform((upper[test], lower[test]))
similarity = (u / np.linalg.norm(u, axis=1, keepdims=True)) @ (v / np.linalg.norm(v, axis=1, keepdims=True)).T
rank = (similarity > np.diag(similarity)[:, None]).sum(axis=1)

shown = np.argsort(rank, kind="stable")[:: len(rank) // 7][:7]
fig, panels = plt.subplots(3, 7, figsize=(9, 3.4), layout="constrained")
for column, i in zip(panels.T, shown, strict=True):
    best = similarity[i].argmax()
    column[0].imshow(upper[test][i].reshape(4, 8), cmap="gray_r")
    column[1].imshow(lower[test][best].reshape(4, 8), cmap="gray_r")
    column[2].imshow(lower[test][i].reshape(4, 8), cmap="gray_r")
    column[0].set_title(f"rank {rank[i] + 1}", fontsize=9)
for axes, name in zip(panels[:, 0], ("upper half", "lower half\nfound", "true"), strict=True):
    axes.set_ylabel(name)
for axes in panels.flat:
    axes.set(xticks=[], yticks=[])
fig.suptitle(f"found first for {np.mean(rank == 0):.0%}, in the first ten for {np.mean(rank < 10):.0%} of {len(rank)}")
