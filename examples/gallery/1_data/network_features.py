"""
The best linear head on a network's features needs no training
==============================================================

A small network was trained on 200 labelled digits. Its 64 hidden units are kept as they are, and the head that
minimises the VICReg risk on views of all 1,797 images is found in closed form: no step size, no epochs. The spectrum
says how many directions of the features survive the views.
"""

import warnings

import matplotlib.pyplot as plt
import numpy as np
from sklearn.neural_network import MLPClassifier

import sslcore
from sslcore.augmentations import Affine, Compose, GaussianNoise
from sslcore.features import Identity

x, y = sslcore.datasets.digits()
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # 200 epochs are enough
    network = MLPClassifier((64,), max_iter=200, random_state=0).fit(x[:200], y[:200])


def features(images):
    """The hidden units of the network."""
    return np.maximum(images @ network.coefs_[0] + network.intercepts_[0], 0)


law = Compose(Affine((8, 8), rotation=15.0, zoom=1.15, shift=1.0), GaussianNoise(0.05))
rep = sslcore.pretrain(features(law.views(x, 4, seed=0)), Identity(), 32, reg=1e-3, center=True)
weight, bias = rep.linear_head()  # as in torch.nn.Linear
z = features(x) @ weight.T + bias
print(sslcore.diagnostics.collapse_report(rep))

fig, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
index = np.arange(1, 33)
left.bar(index, np.maximum(rep.eigenvalues, 0), label="active")
left.bar(index, np.minimum(rep.eigenvalues, 0), color="0.7", label="inactive: zero")
left.set(xlabel="component", ylabel="eigenvalue mu", title=f"{rep.n_active} of 32 components are active")
left.legend()
for digit in range(10):
    right.scatter(*z[y == digit, :2].T, s=4, color=plt.cm.tab10(digit), label=str(digit))
right.set(xlabel="component 1", ylabel="component 2", title="the head's outputs")
right.legend(markerscale=3, fontsize=7, ncols=2)
