"""
More samples without labels help at every number of labels
==========================================================

``learning_curves`` repeats pretraining and probing over both sizes, with the same seeds for any number of processes.
Here, on the half-moons, whose class probabilities are known: unlabelled samples lower the error at every number of
labels.
"""

import matplotlib.pyplot as plt

import sslcore
from sslcore.augmentations import GaussianNoise
from sslcore.kernels import Exponential

moons = sslcore.datasets
curves = sslcore.probing.learning_curves(
    moons.half_moons,
    Exponential(0.2),
    5,
    augmentation=GaussianNoise(0.1),
    target=moons.half_moons_probabilities,
    kind="probabilities",
    reg=lambda n_views: 5e-4 / n_views,
    pretraining_sizes=[30, 100, 300],
    downstream_sizes=[30, 100, 300],
    repetitions=(6, 20),
)
print(curves.summary())

fig, axes = plt.subplots(figsize=(7, 4.4), layout="constrained")
mean = curves.mean["squared"]
for row, size, marker in zip(mean, [30, 100, 300], "os^", strict=True):
    axes.loglog([30, 100, 300], row, marker=marker, label=f"{size} samples without labels")
axes.set(xlabel="labelled samples", ylabel="squared error of the probabilities")
axes.set_xticks([30, 100, 300], labels=[30, 100, 300])
axes.set_yticks([0.03, 0.1, 0.3], labels=[0.03, 0.1, 0.3])
axes.minorticks_off()
axes.legend()
