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
    mu = t[degree] - reg / kappa[degree]
    (line,) = axes.plot(reg, mu, color=plt.cm.viridis(degree / 6.5))
    name = f"degree {degree}: {count} function{'s' * (count > 1)}"
    axes.text(reg[0], mu[0] + 0.02, name, color=line.get_color(), fontsize="small")
axes.axhline(0, color="k", lw=0.8)
axes.text(0.95, -0.08, "inactive", ha="right", fontsize="small")
axes.set(xscale="log", xlabel="lambda", ylabel="eigenvalue mu", ylim=(-0.3, 1.08))
