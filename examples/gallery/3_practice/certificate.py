"""
A fit that rounding has spoilt is an error, not a result
========================================================

Every fit measures how well its result solves the equations, and estimates what rounding can have done. Where lambda
is so small that rounding wins, an error is raised in place of a wrong number: the curve below ends there.
"""

import matplotlib.pyplot as plt
import numpy as np

import sslcore
from sslcore.augmentations import GaussianNoise
from sslcore.kernels import Exponential, Gaussian

x = sslcore.datasets.half_moons(200, seed=0)
views = GaussianNoise(0.1).views(x, 2, seed=0)
fig, axes = plt.subplots(figsize=(7, 4), layout="constrained")
for kernel, marker in ((Gaussian(1.0), "o"), (Exponential(0.5), "s")):
    regs, residuals = [], []
    for reg in 10.0 ** -np.arange(2, 16):
        try:
            certificate = sslcore.pretrain(views, kernel, 5, reg=reg).certificate
        except sslcore.CertificateError as error:
            print(f"{kernel!r}, reg {reg:.0e}: {str(error)[:90]} ...")
            axes.axvline(reg, color=axes.lines[-1].get_color() if axes.lines else "C0", ls=":")
            break
        regs.append(reg)
        residuals.append(certificate.worst)
    axes.loglog(regs, residuals, marker=marker, label=repr(kernel))
axes.axhline(1e-6, color="k", lw=0.8)
axes.text(1e-2, 1.6e-6, "tolerance", fontsize="small")
axes.set(xlabel="lambda (reg)", ylabel="worst residual of the certificate", ylim=(None, 1e-5))
axes.invert_xaxis()
axes.legend()
