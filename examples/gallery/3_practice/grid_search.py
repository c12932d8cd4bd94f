"""
Kernels and lambda are searched without labels
==============================================

The score of ``SSLEmbedding`` is minus the unbiased risk on fresh views of held-out samples, so ``GridSearchCV``
searches kernels, scales and lambda with no label anywhere. (Not beta, and not the number of components: risks at
different ones do not compare.)
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.model_selection import GridSearchCV

import sslcore
from sslcore.augmentations import GaussianNoise
from sslcore.kernels import Gaussian

x = sslcore.datasets.half_moons(120, seed=0)
scales, regs = [0.1, 0.2, 0.4, 0.8, 1.6], [1e-4, 1e-3, 1e-2, 1e-1]
embedding = sslcore.SSLEmbedding(Gaussian(1.0), GaussianNoise(0.1), n_components=4, random_state=0)
search = GridSearchCV(embedding, {"kernel__scale": scales, "reg": regs}, cv=4).fit(x)
print(search.best_params_)

risk = -search.cv_results_["mean_test_score"].reshape(len(scales), len(regs))
fig, axes = plt.subplots(figsize=(6, 4), layout="constrained")
picture = axes.imshow(risk, cmap="viridis_r", vmax=np.quantile(risk, 0.9), aspect="auto")
best = np.unravel_index(risk.argmin(), risk.shape)
axes.plot(best[1], best[0], "r*", ms=16, label="least risk")
axes.set_xticks(range(len(regs)), [f"{reg:g}" for reg in regs])
axes.set_yticks(range(len(scales)), [f"{scale:g}" for scale in scales])
axes.set(xlabel="lambda (reg)", ylabel="scale of the Gaussian kernel")
axes.legend(frameon=True)
fig.colorbar(picture, label="risk on held-out samples")
