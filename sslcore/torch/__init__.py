"""Risks of `sslcore.risk` as losses of PyTorch, the closed-form head as a layer, and a monitor of networks that train.

>>> import sslcore.torch, torch
>>> z = torch.randn(20, 2, 5, requires_grad=True)  # (n, m, k): the outputs of a network at m views of n samples
>>> loss = sslcore.torch.vicreg(z, beta=0.5, unbiased=True)
>>> loss.backward()
>>> z.grad.shape
torch.Size([20, 2, 5])

Values and gradients are those of `sslcore.risk`: sums in float64 also for float32, linear in the number of views, and
no graph is recorded inside, so that the memory is that of one gradient.  To ``torch.compile`` and ``torch.export`` a
loss is one operator; ``torch.func.grad``, ``jvp`` and ``vmap`` take it (outside of compiled code); second derivatives
are refused.  A tensor on a CUDA device is worked on there, through CuPy (``pip install '.[cuda12]'``); nothing is
copied.
"""

from ._distributed import all_reduce
from ._layer import linear_layer
from ._losses import barlow_twins, spectral_contrastive, vicreg, vicreg_hinge
from ._monitor import Monitor
from ._monitor_report import MonitorReport

__all__ = [
    "Monitor",
    "MonitorReport",
    "all_reduce",
    "barlow_twins",
    "linear_layer",
    "spectral_contrastive",
    "vicreg",
    "vicreg_hinge",
]
