"""
On the sphere components die by degree
======================================

Zonal kernels and rotations act on spherical harmonics of degree l by one number each, so all 2 l + 1 functions of a
degree share one line, and collapse together. A kernel's eigenvalue falls with the degree: high degrees die first.
"""

import matplotlib.pyplot as plt
import numpy as np

from sslcore.kernels import Gaussian
from sslcore.population import HeatKernel, Sphere

sphere, law, kernel = Sphere(3), HeatKernel(0.05), Gaussian(0.7)
t = sphere.augmentation_eigenvalues(law, 5)
kappa = sphere.kernel_eigenvalues(kernel, 5)
reg = np.logspace(-5, 0, 300)

fig, axes = plt.subplots(figsize=(7, 4), layout="constrained")
for degree in range(6):
    count = sphere.multiplicities(5)[degree]
    word = "function" if count == 1 else "functions"
    axes.plot(
        reg, t[degree] - reg / kappa[degree], label=f"degree {degree}: {count} {word}", color=plt.cm.viridis(degree / 6)
    )
axes.axhline(0, color="k", lw=0.8)
axes.text(1.1e-5, -0.06, "inactive below")
axes.set(xscale="log", xlabel="lambda", ylabel="eigenvalue mu", ylim=(-0.3, 1.05))
axes.legend()
