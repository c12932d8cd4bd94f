"""
In a pipeline of scikit-learn, unlabelled samples help a classifier
===================================================================

``SSLEmbedding`` is a transformer: it stands between a scaler and a classifier, learns from all samples without their
labels, and cross-validation treats it like any other step. Unlabelled samples help here: a classifier on 20 labelled
digits alone, and behind an embedding that has also seen 1,000 images without labels.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import sslcore
from sslcore.augmentations import Affine, Compose, GaussianNoise
from sslcore.kernels import Gaussian

x, y = sslcore.datasets.digits()
law = Compose(Affine((8, 8), rotation=15.0, zoom=1.15, shift=1.0), GaussianNoise(0.05))
embedding = sslcore.SSLEmbedding(Gaussian(2.0), law, n_components=24, reg=1e-4)
unlabelled = make_pipeline(embedding, StandardScaler()).fit(x[:1000])

rng = np.random.default_rng(0)
scores = {"pixels": [], "embedding": []}
for _ in range(20):
    train = np.concatenate([rng.choice(np.flatnonzero(y[1000:] == c), 2, replace=False) for c in range(10)]) + 1000
    test = np.setdiff1d(np.arange(1000, len(x)), train)
    for name, z in (("pixels", x), ("embedding", unlabelled.transform(x))):
        model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(z[train], y[train])
        scores[name].append(model.score(z[test], y[test]))

fig, axes = plt.subplots(figsize=(5, 4), layout="constrained")
axes.boxplot(list(scores.values()), tick_labels=list(scores))
axes.set(ylabel="accuracy, 20 labelled digits", title="20 draws of the labelled images")
