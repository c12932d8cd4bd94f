"""
The wider a kernel, the fewer frequencies it calls simple
=========================================================

On the torus every kernel of differences has the same eigenfunctions, sines and cosines, and its eigenvalues alone say
what it prefers. The wider the kernel, the sooner they fall: at lambda a frequency is active only while the eigenvalue
of the kernel exceeds lambda by enough.
"""

import matplotlib.pyplot as plt
import numpy as np

from sslcore.kernels import PeriodicGaussian, VonMises
from sslcore.population import Torus

torus = Torus(1)
frequencies = np.arange(16)
kernels = [PeriodicGaussian(0.05), PeriodicGaussian(0.1), PeriodicGaussian(0.2), VonMises(0.6)]

fig, axes = plt.subplots(figsize=(7, 4), layout="constrained")
for kernel, marker in zip(kernels, "os^x", strict=True):
    values = torus.kernel_eigenvalues(kernel, [(int(w),) for w in frequencies])
    axes.semilogy(frequencies, values, marker=marker, label=repr(kernel))
axes.set(xlabel="frequency", ylabel="eigenvalue of K", ylim=(1e-9, 1))
axes.legend()
