"""
Where T and K do not commute, functions change with lambda
==========================================================

Samples are Gaussian, views add noise. The eigenfunctions of T are Hermite polynomials under the law of the views,
those of a Gaussian kernel are other functions: no line is straight in lambda, and what is first changes its shape on
the way.
"""

import matplotlib.pyplot as plt
import numpy as np

from sslcore.augmentations import GaussianNoise
from sslcore.kernels import Gaussian
from sslcore.population import Gaussian as GaussianSpace

space, law, kernel = GaussianSpace(1, scale=1.0), GaussianNoise(0.5), Gaussian(1.0)
x = np.linspace(-3, 3, 200)[:, None]

fig, (left, right) = plt.subplots(1, 2, figsize=(9, 4), layout="constrained")
regs = np.logspace(-6, -0.5, 40)
values = np.array([space.spectrum(law, kernel, reg=reg, n_components=4).eigenvalues for reg in regs])
left.semilogx(regs, values)
left.axhline(0, color="k", lw=0.8)
left.set(xlabel="lambda", ylabel="eigenvalue mu", ylim=(-0.3, 1.05), title="the first four")
for reg, style in ((1e-6, "-"), (1e-2, "--"), (1e-1, ":")):
    third = space.eigenfunctions(law, kernel, reg=reg, n_components=3)(x)[:, 2]
    right.plot(x[:, 0], third * np.sign(third[-1]), style, label=f"lambda = {reg:g}")
right.set(xlabel="x", title="the third eigenfunction")
right.legend()
