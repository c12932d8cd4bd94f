"""
Memory is known before a fit begins
===================================

``sslcore.plan`` says it beforehand, from the sizes alone, and a fit that has no room is refused before it begins. The
matrix of a kernel grows with the square of the samples; without the matrix, and with features, memory grows slowly.
"""

import matplotlib.pyplot as plt
import numpy as np

import sslcore
from sslcore.features import Nystrom
from sslcore.kernels import Gaussian

kernel, d, k = Gaussian(1.0), 784, 16
sizes = np.logspace(3, 5, 9).astype(int)
models = {
    "kernel, dense": (kernel, "dense", "-"),
    "kernel, matrix-free": (kernel, "matrix-free", "--"),
    "Nystrom(kernel, 1024)": (Nystrom(kernel, 1024), None, ":"),
}
fig, axes = plt.subplots(figsize=(7, 4), layout="constrained")
for name, (model, solver, style) in models.items():
    plans = [sslcore.plan(int(n), 2, d, model, k, solver=solver, memory="10TB") for n in sizes]
    axes.loglog(sizes, [plan.bytes / 1e9 for plan in plans], style, label=name)
axes.axhline(16, color="k", lw=0.8)
axes.text(1000, 18, "16 GB")
axes.set(xlabel="samples, with two views of each", ylabel="memory of the fit, GB")
axes.legend()
