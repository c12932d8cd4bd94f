"""What a user's type checker sees: checked by mypy and pyright in `test_typing.py`; nothing here is run.

A line with ``# error`` must be refused by both; every other line must pass.
"""

from typing import assert_type

import numpy as np

import sslcore
from sslcore.augmentations import Compose, GaussianNoise
from sslcore.features import Nystrom, RandomFourier
from sslcore.gram import contrast_gram, gram, kernel_product
from sslcore.kernels import Gaussian, Kernel, Linear
from sslcore.probing import KNNProbe, RidgeProbe, knn_probe, ridge_probe

x = sslcore.datasets.half_moons(100, seed=0)
views = GaussianNoise(0.1).views(x, 2, seed=0)
rep = sslcore.pretrain(views, Gaussian(0.5), 3, reg=1e-3)

assert_type(rep, sslcore.Representation)
assert_type(rep.eigenvalues, np.ndarray)
assert_type(rep.n_active, int)
assert_type(rep.risk, float)
assert_type(rep(x), sslcore.arrays.Array)
assert_type(rep.certificate.worst, float)
assert_type(sslcore.plan(100, 2, 2, Gaussian(1.0), 3), sslcore.Plan)
assert_type(sslcore.pretrain_path(views, Gaussian(0.5), 3, regs=[1e-3, 1e-2]), sslcore.Path)
assert_type(Gaussian(1.0) + 0.5 * Gaussian(2.0), Kernel)
assert_type(Gaussian(1.0).scale, float)
assert_type(sslcore.Moments(Nystrom(Gaussian(1.0), x[:10])).update(views).n, int)
ridge_probe(rep(x), [0, 1] * 50, 1e-2)
sslcore.pretrain(views, lambda a, b: a @ b.T, 3, reg=1e-3)
sslcore.pretrain(x, Gaussian(0.5), 3, reg=1e-3, positives=sslcore.positives.TimeLag(1) + sslcore.positives.Labels(x))
assert_type(RandomFourier(Gaussian(1.0), 8).kernel.scale, float)
sslcore.pretrain(views, Nystrom(Gaussian(1.0), 10), 3, reg="auto")
Compose(GaussianNoise(0.1), GaussianNoise(0.2))
sslcore.Views(x, GaussianNoise(0.1), 2, seed=0)

points = [[0.0, 1.0], [1.0, 0.0]]  # lists are arrays, too
assert_type(Gaussian(1.0)(points), sslcore.arrays.Array)
assert_type(gram(Linear(), points, np.eye(2)), sslcore.arrays.Array)
assert_type(gram(lambda a, b: a @ b.T, points), sslcore.arrays.Array)
assert_type(kernel_product(Linear(), points, points, [1.0, 2.0]), sslcore.arrays.Array)
assert_type(contrast_gram(Linear(), views).mean, sslcore.arrays.Array)
assert_type(sslcore.risk.vicreg([[[0.0], [1.0]]], beta=2.0), float)
assert_type(sslcore.risk.vicreg(views, return_grad=True), tuple[float, sslcore.arrays.Array])
assert_type(sslcore.risk.spectral_contrastive(views), float)
assert_type(sslcore.risk.spectral_contrastive(views, True, return_grad=True)[1], sslcore.arrays.Array)
assert_type(sslcore.risk.vicreg_hinge(views, eps=1e-3), float)
assert_type(sslcore.risk.vicreg_hinge(views, 1.0, return_grad=True), tuple[float, sslcore.arrays.Array])
assert_type(sslcore.risk.barlow_twins(views, return_grad=False), float)
value, gradient = sslcore.risk.barlow_twins(views, return_grad=True)
assert_type(value, float)
assert_type(sslcore.diagnostics.rankme(rep), float)
assert_type(sslcore.diagnostics.rankme(points), float)
assert_type(
    sslcore.pretrain(sslcore.Views(x, GaussianNoise(0.1), 2, seed=0), Linear(), 1, reg=1.0), sslcore.Representation
)
assert_type(sslcore.pretrain((points, points), (Linear(), Gaussian(1.0)), 1, reg=1.0), sslcore.BimodalRepresentation)
assert_type(ridge_probe(points, [0, 1], [0.1, 1.0]), RidgeProbe)
assert_type(knn_probe(points, ["a", "b"], n_neighbors=1), KNNProbe)
assert_type(knn_probe(points, [0, 1], n_neighbors=1).predict(points), sslcore.arrays.Array)
assert_type(rep.selection, sslcore.selection.Selection | None)

sslcore.pretrain(views, Gaussian(0.5), 3)  # error
sslcore.pretrain(views, Gaussian(0.5), "three", reg=1e-3)  # error
sslcore.pretrain(views, Gaussian(0.5), 3, reg=1e-3, centre=True)  # error
sslcore.pretrain(views, Gaussian(0.5), 3, reg=1e-3, center="yes")  # error
Gaussian("wide")  # error
print(rep.eigenvectors)  # error
print(sslcore.pretrian)  # error
sslcore.plan(100, 2, 2, Gaussian(1.0))  # error
gram(0.5, points)  # error
gram(Gaussian(1.0), None)  # error
Gaussian(1.0)(sslcore)  # error
kernel_product(Linear(), points, points)  # error
sslcore.risk.vicreg(rep)  # error
sslcore.risk.vicreg(views, beta="large")  # error
value, gradient = sslcore.risk.vicreg(views)  # error
sslcore.diagnostics.rankme(None)  # error
sslcore.pretrain(views, "gaussian", 3, reg=1e-3)  # error
sslcore.pretrain_path(views, None, 3, regs=[1e-3])  # error
sslcore.plan(100, 2, 2, 0.5, 3)  # error
sslcore.datasets.half_moons_probabilities(None)  # error
ridge_probe(object(), [0, 1], 0.1)  # error
knn_probe(points, [0, 1], n_neighbors="all")  # error
sslcore.pretrain(None, Gaussian(0.5), 3, reg=1e-3)  # error
