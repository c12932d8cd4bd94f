"""Risks of `sslcore.risk` as losses of PyTorch, and the closed-form head as a layer of a network.

>>> import sslcore.torch, torch
>>> z = torch.randn(20, 2, 5, requires_grad=True)  # (n, m, k): the outputs of a network at m views of n samples
>>> loss = sslcore.torch.vicreg(z, beta=0.5, unbiased=True)
>>> loss.backward()
>>> z.grad.shape
torch.Size([20, 2, 5])

Values and gradients are those of `sslcore.risk`: sums in float64 also for float32, linear in the number of views, and
no graph is recorded inside, so that the memory is that of one gradient.  To ``torch.compile`` and ``torch.export`` a
loss is one operator; ``torch.func.grad``, ``jvp`` and ``vmap`` take it (outside of compiled code); second derivatives
are refused.  A tensor on a CUDA device is worked on there, through CuPy (``pip install 'sslcore[cuda12]'``); nothing is
copied.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from . import risk
from .arrays import check_boolean, check_scalar, on_host, with_values, within_torch_func
from .backends import get_backend
from .features import Features, Nystrom
from .fitting.codec import encode
from .fitting.moments import Moments
from .fitting.representation import Representation
from .kernels import Function
from .solvers.sums import Sums

__all__ = ["all_reduce", "barlow_twins", "linear_layer", "spectral_contrastive", "vicreg", "vicreg_hinge"]


def vicreg(z: torch.Tensor, beta: float = 1.0, unbiased: bool = False) -> torch.Tensor:
    """Compute `sslcore.risk.vicreg` as a loss: beta E||psi(xi) - psi(xi')||^2 + ||E[psi psi^T] - I||_F^2.

    Parameters
    ----------
    z : tensor of shape (n, m, k)
        Values of the representation at m >= 2 views of each sample, float32 or float64, on the CPU or a CUDA device.
    beta : float, default 1
        Weight of the invariance term, at least 0.
    unbiased : bool, default False
        The unbiased estimate, whose minibatch gradients are unbiased too.  It has no minimum over free embeddings of
        one batch: train a network with it, on fresh batches.

    Returns
    -------
    tensor of shape ()
        Of the dtype and device of ``z``; the gradient with respect to ``z`` flows, second derivatives are refused.

    Raises
    ------
    TypeError
        If ``z`` is no dense tensor of float32 or float64 on such a device.
    ValueError, OverflowError
        As `sslcore.risk.vicreg`.

    Examples
    --------
    >>> import sslcore.torch, torch
    >>> z = torch.tensor([[[2.0], [2.0]], [[-2.0], [-2.0]]], requires_grad=True)
    >>> loss = sslcore.torch.vicreg(z)  # (4 - 1)^2
    >>> loss.backward()
    >>> loss.item(), z.grad.flatten().tolist()
    (9.0, [6.0, 6.0, -6.0, -6.0])
    """
    return _loss(z, "vicreg", beta=beta, unbiased=unbiased)


def spectral_contrastive(z: torch.Tensor, unbiased: bool = False) -> torch.Tensor:
    """Compute `sslcore.risk.spectral_contrastive`: -2 E[psi(xi)^T psi(xi')] + E[(psi(xi)^T psi(xi''))^2].

    Parameters, result and errors are those of `vicreg`, which it is at ``beta=1`` less k.

    Examples
    --------
    >>> import sslcore.torch, torch
    >>> sslcore.torch.spectral_contrastive(torch.tensor([[[1.0], [1.0]], [[-1.0], [-1.0]]])).item()
    -1.0
    """
    return _loss(z, "spectral_contrastive", unbiased=unbiased)


def vicreg_hinge(
    z: torch.Tensor,
    similarity: float = 25.0,
    variance: float = 25.0,
    covariance: float = 1.0,
    target_std: float = 1.0,
    eps: float = 1e-4,
) -> torch.Tensor:
    """Compute `sslcore.risk.vicreg_hinge`, the original VICReg (Bardes, Ponce, LeCun 2022), as a loss.

    Parameters are those of `sslcore.risk.vicreg_hinge`; ``z``, the result and errors as for `vicreg`.

    Examples
    --------
    >>> import sslcore.torch, torch
    >>> round(sslcore.torch.vicreg_hinge(torch.zeros(4, 2, 3)).item(), 3)  # collapse: 50 (1 - sqrt(eps))
    49.5
    """
    options = {"similarity": similarity, "variance": variance, "covariance": covariance}
    return _loss(z, "vicreg_hinge", **options, target_std=target_std, eps=eps)


def barlow_twins(z: torch.Tensor, redundancy: float = 5e-3, eps: float = 1e-5) -> torch.Tensor:
    """Compute `sslcore.risk.barlow_twins` (Zbontar et al. 2021) as a loss.

    Parameters are those of `sslcore.risk.barlow_twins`; ``z``, the result and errors as for `vicreg`.

    Examples
    --------
    >>> import sslcore.torch, torch
    >>> round(sslcore.torch.barlow_twins(torch.tensor([[[1.0], [1.0]], [[-1.0], [-1.0]]])).item(), 6)
    0.0
    """
    return _loss(z, "barlow_twins", redundancy=redundancy, eps=eps)


def linear_layer(
    representation: Representation, *, scale: str = "risk", dtype: torch.dtype | None = None, device: Any = None
) -> torch.nn.Linear:
    """Put the head of a representation of features into a ``torch.nn.Linear``, to stand behind the network.

    Parameters
    ----------
    representation : Representation
        Fitted on features: ``Identity()`` for the outputs of a network, which the layer then takes; for other feature
        models the layer takes the model's features phi(x).
    scale : {"risk", "unit", "norm"}
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


# ---------------------------------------------------------------- several processes


def all_reduce(moments: Moments, group: Any = None) -> Moments:
    """Merge the moments of all processes of ``torch.distributed``; each of them gets all, with the same bits.

    For those who extract features on several processes: each updates moments of what it has seen, all call this, and
    each may solve.  The sums of one process after the other, in the order of their ranks, are sent to all and added
    (`sslcore.Moments.merge`).  Sums take 16 r^2 bytes, 24 r^2 where views have weights of their own, and as much again
    for each part that a stream holds out; each process receives those of each.  Beside its moments it has at most four
    such sums: the total and its next value, what another process has sent, and a copy of its own in another order.

    Parameters
    ----------
    moments : Moments
        Of equal features everywhere; they stay as they are.  Of a process that has seen nothing yet they are empty.
    group : torch.distributed.ProcessGroup, optional
        By default all processes.

    Returns
    -------
    Moments
        With NumPy arrays.

    Raises
    ------
    RuntimeError
        There is no process group yet.
    TypeError, ValueError
        On all processes: what is no `Moments`, on any of them; features or coordinates that differ, sums that overflow,
        moments that are empty everywhere; features that cannot be compared, as of a kernel that is a function (one that
        a module defines is compared by its name).

    Examples
    --------
    >>> import os, tempfile, numpy as np, sslcore, sslcore.torch, torch
    >>> moments = sslcore.Moments(sslcore.features.Identity()).update(np.random.default_rng(0).normal(size=(50, 2, 3)))
    >>> store = torch.distributed.FileStore(os.path.join(tempfile.mkdtemp(), "store"), 1)
    >>> torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)  # torchrun makes more of them
    >>> sslcore.torch.all_reduce(moments).n
    50
    >>> torch.distributed.destroy_process_group()
    """
    distributed = torch.distributed
    if not distributed.is_available() or not distributed.is_initialized():
        _require_moments(moments)
        raise RuntimeError("there is no process group: call torch.distributed.init_process_group first")
    own, mine_told = _told(moments)
    told: list[Any] = [None] * distributed.get_world_size(group)
    distributed.all_gather_object(told, mine_told, group)
    for rank, tell in enumerate(told):
        if isinstance(tell, str):
            raise TypeError(f"the moments of rank {rank} cannot be sent: {tell}")
    seen = [rank for rank, (_, _, *parts) in enumerate(told) if parts]
    if not seen:
        raise ValueError("the moments are empty on all processes; call update(views) on some first")
    name, d, *_ = told[seen[0]]
    for rank, (other, width, *parts) in enumerate(told):
        if other != name:
            raise ValueError(f"the moments of rank {rank} are of other features than those of rank {seen[0]}")
        if parts and width != d:
            raise ValueError(f"the moments of rank {rank} are of {width} coordinates, those of rank {seen[0]} of {d}")
    on_gpu = distributed.get_backend(group) == "nccl"
    device = torch.device("cuda", torch.cuda.current_device()) if on_gpu else torch.device("cpu")
    total = Moments(moments.features)
    for rank in seen:
        source = rank if group is None else distributed.get_global_rank(group, rank)
        mine = iter(own if rank == distributed.get_rank(group) else ())
        parts = []
        for numbers in told[rank][2:]:
            sums = next(mine, None) or _empty(numbers)
            for array in (sums.mean, sums.between, sums.within, sums.unbiased):
                if array is not None:
                    buffer = torch.from_numpy(array.ravel(order="K").copy()).to(device)
                    distributed.broadcast(buffer, source, group)
                    if rank != distributed.get_rank(group):
                        array.T[...] = buffer.cpu().numpy().reshape(array.T.shape)
            parts.append(sums)
        first, *held = parts
        total.merge(Moments.of_sums(moments.features, d, first, tuple(held), backend=None, from_host=False))
    return total


def _require_moments(moments: Any) -> None:
    if not isinstance(moments, Moments):
        raise TypeError(f"Moments were expected, found {type(moments).__name__}")


def _told(moments: Moments) -> tuple[list[Sums], Any]:
    """Return the sums, and what others must know of them: a name, coordinates, numbers, or words for what is wrong.

    Nothing is raised here: the other processes would wait for this one.
    """
    try:
        _require_moments(moments)
        name, host = _name_of(moments.features), get_backend(backend="numba")
        own = [part.on(host).in_fortran_order() for part in moments._parts]
    except Exception as error:
        return [], str(error) or type(error).__name__
    return own, (name, moments._d, *map(_described, own))


def _name_of(features: Features) -> str:
    """Name features by what they are made of, as `merge` compares them."""
    arrays: dict[str, np.ndarray] = {}
    made_of: Any = features
    if isinstance(features, Nystrom):
        kernel: Any = features.kernel
        if isinstance(kernel, Function):
            kernel = _name_of_function(kernel.function)
        made_of = ["Nystrom", kernel, features.landmarks]
    content = json.dumps(encode(made_of, "features", arrays), sort_keys=True)
    found = hashlib.sha256(content.encode())
    for key in sorted(arrays):
        found.update(np.ascontiguousarray(arrays[key]).tobytes())
    return found.hexdigest()


def _name_of_function(function: Any) -> str:
    """Name a function that a module defines; others of one name may hold different values."""
    module, name = str(getattr(function, "__module__", "")), str(getattr(function, "__qualname__", ""))
    if getattr(sys.modules.get(module), name, None) is not function:
        raise TypeError(
            "a kernel that is a function cannot be compared between processes, unless a module defines it by name; "
            "declare it as a class (sslcore.kernels.Profile)"
        )
    return f"{module}.{name}"


def _described(sums: Sums) -> dict[str, Any]:
    """Return all of sums but their arrays, of which the length and the presence."""
    names = ("n", "n_views", "weight", "factor")
    return {name: getattr(sums, name) for name in names} | {"r": len(sums.mean), "own": sums.unbiased is not None}


def _empty(numbers: dict[str, Any]) -> Sums:
    """Make room for the sums that another process describes."""
    r = numbers["r"]
    made = Sums.zero(r, np)
    made.unbiased = np.empty((r, r), order="F") if numbers["own"] else None
    for name in ("n", "n_views", "weight", "factor"):
        setattr(made, name, numbers[name])
    return made


_ONCE = (
    "second derivatives of sslcore's risks are not implemented (the gradient comes in closed form, outside the graph); "
    "do without create_graph=True, or write the risk in PyTorch's operations"
)


def _loss(z: torch.Tensor, name: str, **options: Any) -> torch.Tensor:
    """Compute the risk of this name; ``options`` are its parameters in order, the boolean one last."""
    if not isinstance(z, torch.Tensor):
        raise TypeError(f"z must be a torch.Tensor, found {type(z).__name__}; for arrays use sslcore.risk")
    if z.dtype not in (torch.float32, torch.float64):
        raise TypeError(f"z must be of float32 or float64, found {z.dtype}; convert it first, with z.float()")
    if torch.compiler.is_compiling():  # checks are made when the program runs
        values, flags = _sorted(options)
        loss: torch.Tensor = torch.ops.sslcore.risk(z, name, values, flags, True)[0]
        return loss
    values, flags = _sorted({key: _checked(key, value) for key, value in options.items()})
    if within_torch_func(z):
        wanted = True
    else:
        with_values(z.detach(), "z")
        dual = torch.autograd.forward_ad.unpack_dual(z).tangent is not None
        wanted = dual or (torch.is_grad_enabled() and z.requires_grad)
    loss = _Risk.apply(z, name, values, flags, wanted)[0]
    return loss


def _checked(name: str, value: Any) -> float | bool:
    """Check a parameter of a risk, before PyTorch's operator would say of it what nobody understands."""
    return check_boolean(value, name) if name == "unbiased" else check_scalar(value, name, minimum=0.0)


def _sorted(options: dict[str, Any]) -> tuple[list[float], list[bool]]:
    """Return numbers and booleans, as the operator takes them."""
    numbers = [value for name, value in options.items() if name != "unbiased"]
    return numbers, [options["unbiased"]] if "unbiased" in options else []


# ---------------------------------------------------------------- what PyTorch's compiler sees: one operator


def _risk(
    z: torch.Tensor, name: str, values: Sequence[float], flags: Sequence[bool], slope: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the risk, and its gradient or an empty tensor."""
    function = getattr(risk, name)
    found = function(z.detach(), *values, *flags, return_grad=slope)
    value, gradient = found if slope else (found, z.new_empty(0))
    return z.new_tensor(value), gradient


def _shapes(
    z: torch.Tensor, name: str, values: Sequence[float], flags: Sequence[bool], slope: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """Make tensors like those of `_risk`, without values."""
    return z.new_empty(()), z.new_empty(z.shape if slope else 0)


def _keep(ctx: Any, inputs: Any, output: Any) -> None:
    """Keep of a call what its derivatives need."""
    gradient = output[1]
    ctx.mark_non_differentiable(gradient)
    ctx.save_for_backward(inputs[0], gradient)


def _differentiate(ctx: Any, *slopes: torch.Tensor) -> Any:
    z, gradient = ctx.saved_tensors
    # z must be in the graph that may be made of this very computation, so that nobody takes its part for zero
    return _Once.apply(slopes[0] * gradient, z), None, None, None, None


if not hasattr(torch.ops.sslcore, "risk"):  # an operator is registered once in a process
    _LIBRARY = torch.library.Library("sslcore", "FRAGMENT")
    _LIBRARY.define("risk(Tensor z, str name, float[] values, bool[] flags, bool slope) -> (Tensor, Tensor)")
    for _key in ("CPU", "CUDA"):
        _LIBRARY.impl("risk", torch.compiler.disable(_risk), _key)
    torch.library.register_fake("sslcore::risk", lib=_LIBRARY)(_shapes)
    # always, and not only where a gradient is wanted: tangents would be dropped
    _LIBRARY.impl("risk", lambda *arguments: _Risk.apply(*arguments), "Autograd")


class _Risk(torch.autograd.Function):
    """The operator with tangents and batches, which PyTorch's operators have no rules for."""

    @staticmethod
    def forward(z: torch.Tensor, name: str, values: Any, flags: Any, slope: bool) -> Any:
        with torch._C._AutoDispatchBelowAutograd():
            return torch.ops.sslcore.risk(z, name, values, flags, slope)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        _keep(ctx, inputs, output)
        ctx.save_for_forward(output[1])

    @staticmethod
    def backward(ctx: Any, *slopes: torch.Tensor) -> Any:
        return _differentiate(ctx, *slopes)

    @staticmethod
    def jvp(ctx: Any, tangent: torch.Tensor, *rest: Any) -> Any:
        (gradient,) = ctx.saved_tensors
        return (gradient.double() * tangent.double()).sum().to(gradient.dtype), None

    @staticmethod
    def vmap(info: Any, in_dims: Any, z: torch.Tensor, *rest: Any) -> Any:
        value, gradient = zip(*(_Risk.apply(one, *rest) for one in z.movedim(in_dims[0], 0)), strict=True)
        return (torch.stack(value), torch.stack(gradient)), (0, 0)


class _Once(torch.autograd.Function):
    """The first argument, of which no derivative is known."""

    generate_vmap_rule = True

    @staticmethod
    def forward(product: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
        return product.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, *slopes: torch.Tensor) -> Any:
        raise NotImplementedError(_ONCE)

    @staticmethod
    def jvp(ctx: Any, *tangents: torch.Tensor) -> Any:
        raise NotImplementedError(_ONCE)
