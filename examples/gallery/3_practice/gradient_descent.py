"""
Watch a training, and know how far it is from the end
=====================================================

A linear head is trained by gradient descent on the risk, whose value and gradient ``sslcore.risk`` computes. The
minimum is known in closed form, so the picture shows what a loss curve alone never does: how far there is to go.
"""

import matplotlib.pyplot as plt
import numpy as np

import sslcore
from sslcore.augmentations import Affine
from sslcore.features import Identity

x, _ = sslcore.datasets.digits()
views = Affine((8, 8), rotation=15.0, shift=1.0).views(x[:600], 2, seed=0)
k, reg, beta = 8, 1e-2, 1.0
rep = sslcore.pretrain(views, Identity(), k, reg=reg, beta=beta, unbiased=False)

rng = np.random.default_rng(0)
start = 0.05 * rng.normal(size=(views.shape[-1], k))
fig, axes = plt.subplots(figsize=(7, 4), layout="constrained")
for step, style in ((0.003, ":"), (0.01, "--"), (0.03, "-")):
    weight, excess = start.copy(), []
    for _ in range(300):
        risk, gradient = sslcore.risk.vicreg(views @ weight, beta=beta, return_grad=True)
        excess.append(risk + 2 * reg * np.sum(weight**2) - rep.risk)
        weight -= step * (np.einsum("nmd,nmk->dk", views, gradient) + 4 * reg * weight)
    axes.semilogy(excess, style, label=f"step {step}")
axes.set(xlabel="steps of gradient descent", ylabel="risk above the exact minimum")
axes.set_yticks([0.5, 1, 2, 4], labels=[0.5, 1, 2, 4])
axes.minorticks_off()
axes.legend()
