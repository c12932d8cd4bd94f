"""What a user's type checker sees: checked by mypy and pyright in `test_typing.py`; nothing here is run.

A line with ``# error`` must be refused by both; every other line must pass.
"""

from typing import assert_type

import numpy as np

import sslcore
from sslcore.augmentations import Compose, GaussianNoise
from sslcore.features import Nystrom
from sslcore.kernels import Gaussian, Kernel
from sslcore.probing import ridge_probe

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
Compose(GaussianNoise(0.1), GaussianNoise(0.2))
sslcore.Views(x, GaussianNoise(0.1), 2, seed=0)

sslcore.pretrain(views, Gaussian(0.5), 3)  # error
sslcore.pretrain(views, Gaussian(0.5), "three", reg=1e-3)  # error
sslcore.pretrain(views, Gaussian(0.5), 3, reg=1e-3, centre=True)  # error
sslcore.pretrain(views, Gaussian(0.5), 3, reg=1e-3, center="yes")  # error
Gaussian("wide")  # error
print(rep.eigenvectors)  # error
print(sslcore.pretrian)  # error
sslcore.plan(100, 2, 2, Gaussian(1.0))  # error
