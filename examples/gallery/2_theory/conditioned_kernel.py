"""
Pretraining is kernel PCA of a conditioned kernel
=================================================

The solver rests on one identity: the wanted functions are the eigenfunctions of the kernel of a Gaussian process that
has been told that views of one sample have equal values. Here the process lives on a line, and views are pairs of
points: what has been told joins them, and a random function drawn from it is flat between.
"""

import matplotlib.pyplot as plt
import numpy as np

from sslcore.kernels import Gaussian

kernel = Gaussian(0.15)
x = np.linspace(0, 1, 200)[:, None]
pairs = np.array([[0.1, 0.3], [0.3, 0.35], [0.6, 0.9]])
points = pairs.reshape(-1, 1)
contrasts = np.kron(np.eye(3), [[1.0], [-1.0]]) / 2**0.5  # a column for each pair

k_xx, k_xp = kernel(x), kernel(x, points)
told = contrasts.T @ kernel(points) @ contrasts + 1e-3 * np.eye(3)
conditioned = k_xx - (k_xp @ contrasts) @ np.linalg.solve(told, (k_xp @ contrasts).T)

fig, panels = plt.subplots(1, 2, figsize=(9, 3.6), sharey=True, layout="constrained")
rng = np.random.default_rng(1)
draws = rng.normal(size=(200, 4))
for axes, matrix, title in zip(panels, (k_xx, conditioned), ("before", "told that pairs agree"), strict=True):
    values, vectors = np.linalg.eigh(matrix)
    axes.plot(x[:, 0], vectors * np.sqrt(np.maximum(values, 0)) @ draws)
    axes.set(title=title, xlabel="x")
for i, (a, b) in enumerate(pairs):
    panels[1].plot([a, b], [-2.6 - 0.15 * i] * 2, "k.-")
panels[0].set_ylabel("functions drawn at random")
