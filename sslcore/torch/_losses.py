"""Risks of `sslcore.risk` as losses of PyTorch, each one operator to its compiler."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import library

from .. import risk
from ..arrays import check_boolean, check_scalar, with_values, within_torch_func

__all__ = ["barlow_twins", "spectral_contrastive", "vicreg", "vicreg_hinge"]


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
    _LIBRARY = library.Library("sslcore", "FRAGMENT")
    _LIBRARY.define("risk(Tensor z, str name, float[] values, bool[] flags, bool slope) -> (Tensor, Tensor)")
    for _key in ("CPU", "CUDA"):
        _LIBRARY.impl("risk", torch.compiler.disable(_risk), _key)
    library.register_fake("sslcore::risk", lib=_LIBRARY)(_shapes)
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
