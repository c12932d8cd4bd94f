"""The closed-form head as a layer of a network."""

from __future__ import annotations

from typing import Any

import torch

from ..arrays import on_host
from ..fitting.representation import Representation

__all__ = ["linear_layer"]


def linear_layer(
    representation: Representation, *, scale: str = "risk", dtype: torch.dtype | None = None, device: Any = None
) -> torch.nn.Linear:
    """Put the head of a representation of features into a ``torch.nn.Linear``, to stand behind the network.

    Parameters
    ----------
    representation : Representation
        Fitted on features: ``Identity()`` for the outputs of a network, which the layer then takes; for other feature
        models the layer takes the model's features phi(x).
    scale : {"risk", "unit", "norm", "probe"}
        As of `sslcore.Representation.transform`.
    dtype, device : optional
        Of the layer; by default PyTorch's, as for any other layer (float32, on the CPU).

    Returns
    -------
    torch.nn.Linear
        ``layer(phi)`` is ``representation.transform(x, scale)``: components are scaled by sqrt(mu) unless said
        otherwise, and the intercept of a centred fit is the bias.

    Raises
    ------
    TypeError
        If the representation is of a kernel, which has no finite linear head.

    Examples
    --------
    >>> import numpy as np, sslcore, sslcore.torch, torch
    >>> x = np.random.default_rng(0).standard_normal((50, 6))  # features of 50 samples
    >>> views = sslcore.augmentations.GaussianNoise(0.3).views(x, 2, seed=0)
    >>> rep = sslcore.pretrain(views, sslcore.features.Identity(), 3, reg=1e-2, center=True)
    >>> layer = sslcore.torch.linear_layer(rep, dtype=torch.float64)
    >>> layer
    Linear(in_features=6, out_features=3, bias=True)
    >>> bool(np.allclose(layer(torch.from_numpy(x)).detach(), rep(x)))
    True
    """
    if not isinstance(representation, Representation):
        raise TypeError(f"representation must be what sslcore.pretrain returns, found {type(representation).__name__}")
    weight, bias = (torch.tensor(on_host(part)) for part in representation.linear_head(scale))
    layer = torch.nn.Linear(weight.shape[1], weight.shape[0], dtype=dtype, device=device)
    with torch.no_grad():
        layer.weight.copy_(weight)
        layer.bias.copy_(bias)
    return layer
