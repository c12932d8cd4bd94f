"""
Captions and images: a search without labels
============================================

Two modalities as an estimator: ``CrossEmbedding`` learns functions of images and of captions that agree on pairs. Its
score is minus the risk on pairs that were held out, so that reg is chosen without any label, and without asking how
well captions find their images: the reg of least risk is, within a factor of three, that at which most are found.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.model_selection import GridSearchCV

import sslcore
from sslcore.kernels import Gaussian

images, digit = sslcore.datasets.digits()
rng = np.random.default_rng(0)
ink, top = images.sum(axis=1), images[:, :32].sum(axis=1) - images[:, 32:].sum(axis=1)
left = images.reshape(-1, 8, 8)[:, :, :4].sum(axis=(1, 2)) / ink
words = {
    "bold": ink > np.quantile(ink, 0.7),
    "thin": ink < np.quantile(ink, 0.3),
    "heavy above": top > np.quantile(top, 0.6),
    "heavy below": top < np.quantile(top, 0.4),
    "leaning left": left > np.quantile(left, 0.7),
    "leaning right": left < np.quantile(left, 0.3),
    "loop": np.isin(digit, [0, 6, 8, 9]),
    "two loops": digit == 8,
    "bar": np.isin(digit, [1, 4, 7]),
    "open curve": np.isin(digit, [2, 3, 5]),
    "corner": np.isin(digit, [4, 5, 7]),
    "ring": digit == 0,
}
said = np.stack(list(words.values()), axis=1)
captions = (said & (rng.random(said.shape) < 0.8)).astype(float)  # one word in five is not said
train, test = slice(0, 1000), slice(1000, None)

regs = 10.0 ** np.arange(-5.0, -1.5, 0.5)  # beyond them all components are zero
model = sslcore.CrossEmbedding(Gaussian(2.0), Gaussian(1.5), n_components=12)
search = GridSearchCV(model, {"reg": regs}, cv=3).fit(images[train], captions[train])
found = []
for reg in regs:
    pairs = sslcore.CrossEmbedding(Gaussian(2.0), Gaussian(1.5), 12, reg=reg, scale="risk")
    u, v = pairs.fit(images[train], captions[train]).transform(images[test], captions[test])
    similarity = v @ (u / np.linalg.norm(u, axis=1, keepdims=True)).T
    found.append(np.mean((similarity > np.diag(similarity)[:, None]).sum(axis=1) < 20))

fig = plt.figure(figsize=(9, 4.2), layout="constrained")
curve, shown = fig.subfigures(1, 2, width_ratios=(1, 1.1))
axes = curve.subplots()
axes.semilogx(regs, -search.cv_results_["mean_test_score"], "o-", label="risk on held-out pairs")
axes.axvline(search.best_params_["reg"], color="0.6", ls="--", label="chosen")
axes.set(xlabel="reg", ylabel="risk")
other = axes.twinx()
other.semilogx(regs, found, "s:", color="C1", label="found among the first 20")
other.set_ylabel(f"share of captions, of {len(captions[test])} images")
curve.legend(loc="outside upper center", ncols=2, fontsize=8)

u, v = search.best_estimator_.set_params(scale="risk").transform(images[test], captions[test])
queries = rng.choice(len(v), 4, replace=False)
panels = shown.subplots(4, 6)
for row, i in zip(panels, queries, strict=True):
    best = np.argsort(-(u / np.linalg.norm(u, axis=1, keepdims=True)) @ v[i])[:6]
    for axis, j in zip(row, best, strict=True):
        axis.imshow(images[test][j].reshape(8, 8), cmap="gray_r")
        axis.set(xticks=[], yticks=[])
    row[0].set_title(", ".join(np.array(list(words))[captions[test][i] > 0]), fontsize=8, loc="left")
