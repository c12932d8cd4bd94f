"""Moments of several processes."""

from __future__ import annotations

import hashlib
import json
import sys
from typing import Any

import numpy as np
import torch

from ..backends import get_backend
from ..features import Features, Nystrom
from ..fitting.codec import encode
from ..fitting.moments import Moments
from ..kernels import Function
from ..solvers.sums import Sums

__all__ = ["all_reduce"]


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
    seen = [rank for rank, (_, _, _, *parts) in enumerate(told) if parts]
    if not seen:
        raise ValueError("the moments are empty on all processes; call update(views) on some first")
    name, d, *_ = told[seen[0]]
    for rank, (other, width, _, *parts) in enumerate(told):
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
        epsilon, *described = told[rank][2:]
        for numbers in described:
            sums = next(mine, None) or _empty(numbers)
            for array in (sums.mean, sums.between, sums.within, sums.unbiased):
                if array is not None:
                    buffer = torch.from_numpy(array.ravel(order="K").copy()).to(device)
                    distributed.broadcast(buffer, source, group)
                    if rank != distributed.get_rank(group):
                        array.T[...] = buffer.cpu().numpy().reshape(array.T.shape)
            parts.append(sums)
        first, *held = parts
        total.merge(
            Moments.of_sums(moments.features, d, first, tuple(held), epsilon=epsilon, backend=None, from_host=False)
        )
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
    return own, (name, moments._d, moments._epsilon, *map(_described, own))


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
