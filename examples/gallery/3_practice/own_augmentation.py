"""
Any function that makes views is an augmentation
================================================

A law of views is anything that makes views: an array (samples, views, coordinates) is all that a fit asks for. Here
views of a series are windows of it at a random place, which makes the representation blind to where an event was.
"""

import matplotlib.pyplot as plt
import numpy as np

import sslcore
from sslcore.kernels import Gaussian

rng = np.random.default_rng(0)
time = np.arange(96)
kinds = rng.integers(0, 3, size=300)
shapes = [lambda t: np.exp(-(t**2) / 8), lambda t: np.exp(-(t**2) / 60), lambda t: t * np.exp(-(t**2) / 30)]
series = np.array([shapes[kind](time - rng.uniform(36, 60)) for kind in kinds]) + 0.05 * rng.normal(size=(300, 96))


def windows(x, length, count, rng):
    """Views of each series: `count` windows of `length` points, each at a random place."""
    starts = rng.integers(0, x.shape[1] - length + 1, size=(len(x), count))
    return np.take_along_axis(x[:, None, :], starts[..., None] + np.arange(length), axis=2)


views = windows(series, 72, 4, rng)  # (n, m, d)
rep = sslcore.pretrain(views, Gaussian(1.5), 2, reg=1e-3, center=True)
z = rep(series[:, 12:84])

fig, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
for kind, marker in zip(range(3), "os^", strict=True):
    left.plot(series[kinds == kind][0] + 1.5 * kind, color=f"C{kind}")
    right.scatter(*z[kinds == kind].T, s=14, marker=marker, color=f"C{kind}", label=f"shape {kind}")
left.set(xlabel="time", yticks=[], title="one series of each shape")
right.set(xlabel="component 1", ylabel="component 2", title="the embedding")
right.legend()
