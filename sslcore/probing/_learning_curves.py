"""`learning_curves`: errors of probes over pretraining sizes, downstream sizes and repetitions."""

from __future__ import annotations

import functools
import hashlib
import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..arrays import (
    ArrayLike,
    as_seed,
    check_boolean,
    check_choice,
    check_integer,
    check_scalar,
)
from ..augmentations import Augmentation, Custom
from ..backends.stages import names
from ..declarations.reprs import name_of
from ..features import Features, Identity, Nystrom
from ..fitting.codec import encode
from ..io.records import versions
from ..kernels import Function, Kernel, Precomputed, as_kernel
from ..runs import run_cells
from ..solvers.objective import Objective
from ._cell import Design, compute
from ._curves import LABELS, LearningCurves
from ._prefixes import Probe
from ._sources import KINDS, Source

__all__ = ["learning_curves"]

_MOST_KEPT = 256 << 20


def learning_curves(
    data: ArrayLike | Callable[[int, int], Any],
    model: Any,
    n_components: int,
    *,
    target: ArrayLike | Callable[[Any], Any],
    augmentation: Augmentation,
    n_views: int = 2,
    kind: str = "values",
    pretraining_sizes: Sequence[int],
    downstream_sizes: Sequence[int],
    repetitions: tuple[int, int] = (10, 20),
    n_test: int = 500,
    reg: float | Callable[[int], float],
    beta: float = 1.0,
    unbiased: bool = True,
    center: bool = False,
    scale: str = "unit",
    probe_reg: float = 0.0,
    fit_intercept: bool = False,
    probe: Probe | None = None,
    shared_draws: bool = True,
    downstream_pool: int | None = None,
    keep: bool = False,
    seed: int = 0,
    workers: int = 1,
    folder: str | os.PathLike[str] | None = None,
    progress: Callable[[int, int, float | None], Any] | None = None,
) -> LearningCurves:
    r"""Measure the errors of probes over pretraining sizes x downstream sizes, repeatedly.

    In each of the repetitions of pretraining a sample is drawn, and for each pretraining size n the functions
    psi = (psi_1, ..., psi_k) are fitted to views of its first n points (`sslcore.pretrain`).  Then labelled downstream
    samples are drawn, repeatedly; on the first s points of each, for each downstream size s, a probe

        W = argmin (1/s) sum_i |W^T psi(x_i) - y_i|^2 + probe_reg |W|^2     (probe_reg = 0: the one of least norm)

    is fitted, and its errors are means over test points (x, y) that were drawn once for the repetition:

    * ``squared``: mean |W^T psi(x) - y|^2;
    * ``relative``: the same, divided by mean |y|^2;
    * ``zero_one``, but for values: mean (max_c y_c - y_c' ), c' the class predicted: the share of errors where y is
      one-hot, the excess over the best prediction where y holds probabilities.

    Parameters
    ----------
    data : array (n_total, d) or callable
        A function (n, seed) to n fresh points (n, d), such as `sslcore.datasets.half_moons`; or points, of which
        ``n_test`` are held out in each repetition, and the pretraining sample and each downstream draw are subsets of
        the others, without replacement.
    model : Kernel, callable or Features
        As for `sslcore.pretrain`.
    n_components : int
        k.
    target : array (n_total,) or (n_total, q), or callable
        What is probed for: of each point of ``data``, or a function of points (n, d).
    augmentation : Augmentation
        The law of the views; downstream and test points are not augmented.
    n_views : int
        m, of each sample.
    kind : {"values", "classes", "probabilities"}
        What targets are: numbers; labels (n,), to which one-hot vectors are fitted; or probabilities (n, q) of the
        classes, where one label is drawn a downstream point, and test points keep the probabilities.
    pretraining_sizes, downstream_sizes : sequence of int
        Increasing.
    repetitions : (int, int)
        Repetitions of pretraining, and downstream draws in each.
    n_test : int
        Test points in each repetition.
    reg : float or callable
        lambda > 0, or a function of the number of views N = n m.  Where N reg(N) is constant one factorisation serves
        all pretraining sizes.
    beta, unbiased, center
        As for `sslcore.pretrain`.
    scale : {"unit", "risk"}
        Probe the unit eigenfunctions f_i, or psi_i = sqrt(max(mu_i, 0)) f_i.
    probe_reg : float
        >= 0.
    fit_intercept : bool
        Give probes an intercept, which is not penalised.
    probe : callable, optional
        Another probe: (z, y) to a function of values (t, k) that predicts (t, q), where z (s, k) are the values of psi
        at labelled points and y (s, q) what is fitted to there (one-hot vectors for classes).  The class predicted is
        that of the largest prediction.  It is called once for each size and draw.  What it is handed is read-only, as
        sizes and draws share it: a probe that works in place begins with copies.
    shared_draws : bool
        Use the same downstream points and labels for all pretraining sizes of a repetition (common random numbers:
        differences between sizes are measured more exactly, and it is faster); False: others for each.
    downstream_pool : int, optional
        Where data is a function: take the downstream draws of a repetition from so many fresh points, each without
        replacement, so that functions are evaluated once a point.  A part of independent points is independent, so each
        draw has the law that it would have alone, and means are unbiased; draws that share points are not independent,
        which the standard error over repetitions of pretraining contains.  Labels are drawn for each draw.
    keep : bool
        Keep the errors of each single draw, for quantiles over all of them.
    seed : int
        Seed, in [0, 2**64).  Each draw has its own, ``SeedSequence(seed, spawn_key=(repetition, purpose, ...))``.
    workers : int
        Processes.  The result has the same bits for any number >= 1.  0: this process, whose threads may change the
        last bits.  Functions (``data``, ``target``, ``model``, ``probe``) must be of a module for workers to find them.
    folder, progress
        As for `sslcore.runs.run_cells`: a run that was killed goes on where its folder is given again.

    Returns
    -------
    LearningCurves

    Raises
    ------
    ValueError, TypeError
        Input that is not as described: sizes that are not increasing, or more points than there are; the folder holds
        other results.
    sslcore.runs.CellError
        A repetition failed; the message says why.

    References
    ----------
    Cabannes, Kiani, Balestriero, LeCun, Bietti, *The SSL Interplay*, ICML 2023, arXiv:2302.02774, section 5.

    Examples
    --------
    >>> import sslcore
    >>> curves = sslcore.probing.learning_curves(
    ...     sslcore.datasets.half_moons, sslcore.kernels.Exponential(0.2), 5,
    ...     target=sslcore.datasets.half_moons_probabilities, kind="probabilities",
    ...     augmentation=sslcore.augmentations.GaussianNoise(0.1),
    ...     pretraining_sizes=[30, 100], downstream_sizes=[30, 100, 300], repetitions=(2, 5), n_test=200,
    ...     reg=lambda n_views: 5e-4 / n_views, workers=0)
    >>> curves.mean["squared"].shape, bool((curves.mean["squared"][1] < curves.mean["squared"][0]).all())
    ((2, 3), True)
    """
    workers = check_integer(workers, "workers", minimum=0)
    sizes = _sizes(pretraining_sizes, "pretraining_sizes")
    downstream = _sizes(downstream_sizes, "downstream_sizes")
    outer, draws = _repetitions(repetitions)
    n_test, seed = check_integer(n_test, "n_test", minimum=1), as_seed(seed)
    kind, scale = check_choice(kind, "kind", KINDS), check_choice(scale, "scale", ("unit", "risk"))
    model = model if isinstance(model, Features) else as_kernel(model)
    if isinstance(model, Precomputed):
        raise TypeError("learning curves need a kernel of points, found Precomputed: new points have no rows in it")
    if not isinstance(augmentation, Augmentation):
        raise TypeError(f"augmentation must be an augmentation of sslcore, found {augmentation!r:.80}")
    n_views = check_integer(n_views, "n_views", minimum=1)
    regs = _regs(reg, [n * n_views for n in sizes], isinstance(model, Identity))
    objective = Objective.of(n_components, regs[0], beta, unbiased, center, zero_reg=isinstance(model, Identity))
    if n_views == 1 and objective.beta > 0:
        raise ValueError("n_views must be at least 2, found 1; only beta=0 (kernel PCA) does without pairs")
    if isinstance(model, Kernel):
        objective.within(sizes[0] * n_views, "views of the smallest pretraining size")
    if probe is not None:
        if not callable(probe):
            raise TypeError(f"probe must be a function of (z, y), found {probe!r:.80}")
        if probe_reg != 0 or fit_intercept:
            raise ValueError("probe_reg and fit_intercept are of the linear probe: leave them out where probe is given")
    if workers:
        _require_of_modules(data=data, target=target, probe=probe)
    kept = 8 * outer * draws * len(sizes) * len(downstream) * (2 if kind == "values" else 3)
    if check_boolean(keep, "keep") and kept > _MOST_KEPT:
        raise ValueError(
            f"keep=True would keep {kept / 2**20:.0f} MiB of single errors, more than {_MOST_KEPT >> 20} MiB; use "
            f"fewer sizes or repetitions, or keep=False"
        )
    source = Source.of(data, target, kind, seed, n_test, (sizes[-1], downstream[-1]))
    if downstream_pool is not None:
        source = replace(source, pool=_pool(downstream_pool, source))
    design = Design(
        source,
        model,
        augmentation,
        n_views,
        objective,
        regs,
        sizes,
        downstream,
        draws,
        check_boolean(shared_draws, "shared_draws"),
        scale == "risk",
        check_scalar(probe_reg, "probe_reg", minimum=0.0),
        check_boolean(fit_intercept, "fit_intercept"),
        probe,
        keep,
    )
    settings = _settings(data, target, design)
    if probe is not None:
        settings["probe"] = name_of(probe)
    if folder is not None:
        _require_told(settings)
    cells = run_cells(
        functools.partial(compute, design), range(outer), settings=settings, folder=folder, workers=workers,
        progress=progress,
    )  # fmt: skip
    measured = [name for name in LABELS if name in cells[0]]
    found = {name: np.stack([cell[name] for cell in cells]) for name in measured}
    single = {name: np.stack([cell[f"{name}-single"] for cell in cells]) for name in measured if keep}
    return LearningCurves(found, np.array(sizes), np.array(downstream), settings, versions(), single)


def _sizes(sizes: Any, name: str) -> tuple[int, ...]:
    if isinstance(sizes, str) or not hasattr(sizes, "__len__"):
        raise TypeError(f"{name} must be a sequence of integers, found {sizes!r:.80}")
    found = tuple(check_integer(size, f"each of {name}", minimum=1) for size in sizes)
    if not found:
        raise ValueError(f"{name} must not be empty")
    for before, after in itertools.pairwise(found):
        if after <= before:
            raise ValueError(f"{name} must be increasing, each once, found {before} before {after}; sort them")
    return found


def _repetitions(repetitions: Any) -> tuple[int, int]:
    if not isinstance(repetitions, tuple | list) or len(repetitions) != 2:
        raise TypeError(
            f"repetitions must be two integers, of pretraining and of downstream draws in each, found {repetitions!r}"
        )
    outer, draws = (check_integer(count, "each of repetitions", minimum=1) for count in repetitions)
    return outer, draws


def _pool(pool: Any, source: Source) -> int:
    if not callable(source.data):
        raise ValueError(
            "downstream_pool is for data that are a function; draws from a table already are parts of its points"
        )
    count = check_integer(pool, "downstream_pool", minimum=1)
    if count < source.n_downstream:
        raise ValueError(
            f"downstream_pool must be at least the largest of downstream_sizes, {source.n_downstream}, found {count}"
        )
    return count


def _regs(reg: Any, counts: list[int], zero: bool) -> tuple[float, ...]:
    """Return reg at each number of views."""
    if isinstance(reg, str):
        raise TypeError(f"reg must be a number or a function of the number of views, found {reg!r}")
    return tuple(
        check_scalar(reg(n) if callable(reg) else reg, f"reg({n})" if callable(reg) else "reg", minimum=0.0,
                     strict=not zero)
        for n in counts
    )  # fmt: skip


def _require_of_modules(**functions: Any) -> None:
    """Refuse what another process could not import, in words that name the argument."""
    for name, function in functions.items():
        inner = function
        while isinstance(inner, functools.partial):
            inner = inner.func
        if callable(inner) and "<" in getattr(inner, "__qualname__", ""):
            raise TypeError(
                f"{name} must be a function of a module, which worker processes can import, found {name_of(inner)}; "
                f"define it at the top of a file, or compute here with workers=0"
            )


def _require_told(settings: dict[str, Any]) -> None:
    """Refuse functions that their names do not tell from others, by which a folder knows whose cells it holds."""
    for name, value in _functions(settings):
        if "<" in value:
            raise TypeError(
                f"{name}: with folder=, functions must be of a module, so that names tell them from others, found "
                f"{value}; define it at the top of a file, with numbers that it needs in functools.partial, or compute "
                f"without folder="
            )


def _functions(settings: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Give the names of functions within settings, each after the argument that it is of."""
    if isinstance(settings, dict):
        for key, value in settings.items():
            if isinstance(value, str) and key in ("data", "target", "probe", "function"):
                yield name or key, value
            yield from _functions(value, name or key.removesuffix("_parameters"))
    elif isinstance(settings, list):
        for value in settings:
            yield from _functions(value, name)


def _settings(data: Any, target: Any, design: Design) -> dict[str, Any]:
    """Tell, in plain values, all that the errors depend on: a folder holds the cells of one such record."""
    source, objective, law = design.source, design.objective, design.augmentation
    told = {"data": _told(data, source.data), "target": _told(target, source.target), "kind": source.kind}
    told |= {"model": repr(design.model), "model_parameters": _parameters(design.model), "n_components": objective.k}
    told |= {"augmentation": repr(law), "augmentation_parameters": _parameters(law), "n_views": design.n_views}
    told |= {"pretraining_sizes": list(design.sizes), "downstream_sizes": list(design.downstream)}
    told |= {"downstream_draws": design.draws, "n_test": source.n_test, "reg": list(design.regs)}
    told |= {"beta": objective.beta, "unbiased": objective.unbiased, "center": objective.center}
    told |= {"scale": "risk" if design.risk_scale else "unit", "probe_reg": design.probe_reg}
    told |= {"fit_intercept": design.fit_intercept, "shared_draws": design.shared, "keep": design.keep}
    told |= {"seed": source.seed}
    return told if source.pool is None else told | {"downstream_pool": source.pool}


def _told(given: Any, read: Any) -> Any:
    """Return a function's name, or the shape and checksum of an array."""
    return name_of(given) if callable(given) else _checksum(read)


def _checksum(array: np.ndarray) -> dict[str, Any]:
    array = np.ascontiguousarray(array)
    digest = hashlib.sha256(array.view(np.uint8).data).hexdigest()
    return {"shape": list(array.shape), "dtype": array.dtype.str, "sha256": digest}


def _parameters(value: Any) -> Any:
    """Return a kernel, features or an augmentation as plain values, arrays by their checksums."""
    if isinstance(value, Function):
        return {"function": name_of(value.function)}
    if isinstance(value, Custom):
        return {"function": name_of(value.function), "sample_shape": value.sample_shape}
    if isinstance(value, Augmentation) and "call" in names(value.stages()):  # with such a part
        parts = getattr(value, "parts", ())
        return {type(value).__name__: [_parameters(part) for part in parts], "weights": getattr(value, "weights", None)}
    if isinstance(value, Nystrom) and isinstance(value.landmarks, int):  # which are chosen in each fit
        return {
            "kernel": _parameters(value.kernel),
            "landmarks": value.landmarks,
            "selection": value.selection,
            "seed": value.seed,
        }
    arrays: dict[str, np.ndarray] = {}
    found = encode(value, "value", arrays)
    return {**found, "arrays": {name: _checksum(a) for name, a in arrays.items()}} if arrays else found
