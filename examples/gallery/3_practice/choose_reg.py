"""
Held-out risk chooses lambda without labels
===========================================

The unbiased risk of samples that were held out says which lambda is best, with its error, and no label is needed. The
risk on the samples of the fit falls on and on; the gap between the two is what was learnt by heart.
"""

import matplotlib.pyplot as plt

import sslcore
from sslcore.augmentations import GaussianNoise
from sslcore.kernels import Gaussian

x = sslcore.datasets.half_moons(200, seed=0)
rep = sslcore.pretrain(GaussianNoise(0.1).views(x, 2, seed=0), Gaussian(0.3), 5, reg="auto", center=True)
found = rep.selection
print(found.how)

fig, axes = plt.subplots(figsize=(7, 4), layout="constrained")
axes.errorbar(found.regs, found.risks, found.standard_errors, marker="o", capsize=3, label="held-out samples")
axes.plot(found.regs, found.training_risks, "s--", label="samples of the fit")
axes.axvline(found.reg, color="k", ls=":", label=f"chosen: {found.reg:.0e}")
axes.set(xscale="log", xlabel="lambda (reg)", ylabel="risk")
axes.legend()
