"""The checkpoint of a fit without the kernel matrix, or of a path of them: its outer iteration between two steps.

The file says which fit it is of (versions, settings, and checksums of points, weights and groups), holds the state of
the iteration (`sslcore.solvers.krylov.KrylovState`), some numbers of the operator, the reg that a search has found, and
the solutions of a path's points that are done.  The preconditioner is made again from its seed; what of a step was done
is done again.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
import warnings
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np

from ..arrays import Array, check_integer, check_scalar, on_host
from ..io.atomic import as_path, check_writable
from ..io.records import WAY_OUT, OtherRecord, reading, require_same, require_versions, versions
from ..solvers.certificate import Certificate, Solution, Spectrum
from ..solvers.conditioned import ConditionedOperator
from ..solvers.krylov import KrylovState, block_width, krylov_capacity
from ..solvers.objective import Objective
from ..solvers.selection import Selection
from .codec import encode, read_values, write_values
from .matrix_free import MatrixFree
from .modalities import KernelPairs
from .problem import GroupedProblem, Problem

__all__ = ["FitCheckpoint", "checkpoint_of"]

_KIND = "fit"

_EVIDENCE = tuple(name for name, field in Certificate.__dataclass_fields__.items() if field.type == "np.ndarray")
_NUMBERS = ("gamma", "invariance", "norms", "intercept", *_EVIDENCE)
"""What a solution has of each component."""

MOST_POINTS = 200
"""Points of a path whose checkpoint has room for their arrays: files have at most 1,024."""

EVERY_SECONDS = 60
"""Seconds between checkpoints, at least: what a kill costs at most, but for one step."""

PATIENCE = 20
"""A checkpoint that took s seconds is followed by another after this many times s at the earliest: 5 % of the time."""


def checkpoint_of(
    path: Any, problem: Problem, objective: Objective, asked: Any, solver: str | None
) -> FitCheckpoint | None:
    """Open the checkpoint of a fit: None without a path, and for a fit with the matrix, which has no steps to keep.

    ``asked`` is what was asked for: reg, a search for it, or the points of a path.  Refuses what nobody can keep, and a
    file of another fit.
    """
    if path is None:
        return None
    path = as_path(path)
    if isinstance(problem, MatrixFree):
        if isinstance(asked, list) and len(asked) > MOST_POINTS:
            raise ValueError(
                f"checkpoint= keeps at most {MOST_POINTS} points of a path, found {len(asked)}: divide the path"
            )
        problem.keeper = problem.kept = kept = FitCheckpoint(path, problem, objective, asked)
        problem.room = kept.rank
        return kept
    if solver == "dense" or not isinstance(problem, GroupedProblem | KernelPairs):
        raise ValueError(
            "checkpoint= is for fits without the kernel matrix: leave it out, or use a kernel, groups of views or two "
            "modalities, and solver='matrix-free' (features over long streams have one of their own: "
            "sslcore.stream.moments)"
        )
    return None


class FitCheckpoint:
    """The `sslcore.solvers.exact.Keeper` that writes a file.

    Parameters
    ----------
    path : str
        If there is such a file it is read: it must be of the same fit.
    problem : MatrixFree
    objective : Objective
    asked : float, AutoReg or list
        The reg that was asked for, or (reg, beta) of the points of a path in the order in which they are solved.

    Attributes
    ----------
    selection : Selection or None
        What a search for reg has found.
    rank : int or None
        Room for the preconditioner that the earlier process had.
    """

    def __init__(self, path: str, problem: MatrixFree, objective: Objective, asked: Any) -> None:
        self.path, self.rank = path, problem.plan.rank
        self.selection: Selection | None = None
        self._settings, self._data = _settings(problem, objective, asked), _checksums(problem)
        self._shape = problem.data.n_views, objective.k, problem.dtype
        self._points: list[dict[str, Any]] = []  # what is kept of each point that is done
        self._known, self._unwritten = 0, False
        self._state: KrylovState | None = None
        self._numbers: dict[str, Any] = {}
        self._operator: ConditionedOperator | None = None
        self._pending: KrylovState | None = None  # the one that the step at work has begun with
        if os.path.lexists(path):
            self._read()
        check_writable(path)
        self._due = time.monotonic() + EVERY_SECONDS

    # ------------------------------------------------------------ what the solver calls

    def begin(self, operator: ConditionedOperator) -> KrylovState | None:
        """Return the state to go on with, having restored the operator's, or None."""
        state, self._state, self._operator = self._state, None, operator
        if state is None:
            return None
        rank = operator.state().get("rank")
        if rank != self._numbers["rank"]:
            warnings.warn(
                f"the preconditioner has the rank {rank}, and had {self._numbers['rank']} when {self.path} was "
                f"written (less memory, or another machine): the fit goes on, to the same accuracy, but not the same "
                f"bits",
                RuntimeWarning,
                stacklevel=2,
            )
        operator.restore(self._numbers)
        return replace(state, basis=operator.xp.asarray(state.basis))

    def apply(self, block: Array) -> Array:
        """Apply the operator; Ctrl-C keeps the step that has begun, and points that are done."""
        assert self._operator is not None
        try:
            return self._operator.apply(block)
        except KeyboardInterrupt:
            if self._pending is not None or self._unwritten:
                self._write(self._pending)
            raise

    def keep(self, state: KrylovState, excess: float) -> None:
        """Write the state, if it is time."""
        assert self._operator is not None
        self._numbers, self._pending = self._operator.state(), state
        if time.monotonic() >= self._due:
            self._write(state)

    # ------------------------------------------------------------ what a path calls

    def solution(self, xp: Any) -> Solution | None:
        """Return the solution of the next point, if the file has it, with its arrays where ``xp`` has them."""
        if self._known == len(self._points):
            return None
        point = self._points[self._known]
        self._known += 1
        numbers = dict(zip(_NUMBERS, point["numbers"], strict=True))
        certificate = Certificate(**point["certificate"], **{name: numbers.pop(name) for name in _EVIDENCE})
        intercept = numbers.pop("intercept").astype(point["values"].dtype)
        spectrum = Spectrum(
            certificate=certificate,
            coefficients=xp.asarray(point["coefficients"]),
            intercept=xp.asarray(intercept),
            **numbers,
        )
        return Solution(spectrum, xp.asarray(point["vectors"]).T, xp.asarray(point["values"]))

    def finish(self, solution: Solution) -> None:
        """Keep the solution of the next point, which is done; the file gets it when it is time."""
        spectrum, certificate = solution.spectrum, solution.spectrum.certificate
        assert solution.values is not None
        of = [certificate if name in _EVIDENCE else spectrum for name in _NUMBERS]
        numbers = [on_host(getattr(owner, name)).astype(float) for owner, name in zip(of, _NUMBERS, strict=True)]
        point = {
            "numbers": np.stack(numbers),
            "certificate": {name: value for name, value in vars(certificate).items() if name not in _EVIDENCE},
            "coefficients": on_host(spectrum.coefficients),
            "values": on_host(solution.values),
            "vectors": on_host(solution.vectors.T),  # which are in Fortran order
        }
        self._points.append(point)
        self._known += 1
        self._pending, self._unwritten = None, True
        if time.monotonic() >= self._due:
            self._write(None)

    # ------------------------------------------------------------ what `pretrain` calls

    def chose(self, selection: Selection | None) -> None:
        """Keep what a search has found."""
        if selection is not None and self.selection is None:
            self.selection = selection
            self._write(None)

    def remove(self) -> None:
        """Remove the file: the fit is done."""
        with suppress(FileNotFoundError):
            os.unlink(self.path)

    # ------------------------------------------------------------ the file

    def _write(self, state: KrylovState | None) -> None:
        """Write the file, which is the old one or the new one; where it cannot be, say so and go on."""
        begin = time.monotonic()
        content = {
            "versions": versions(),
            "settings": self._settings,
            "data": self._data,
            "selection": self.selection,
            "points": self._points,
            "rank": self.rank,
            "state": None
            if state is None
            else {
                "basis": state.basis.T,  # in C order as it is
                "projected": state.projected,
                "known": state.known,
                "width": state.width,
                "steps": state.steps,
                "scale": state.scale,
                "operator": self._numbers,
            },
        }
        try:
            write_values(self.path, _KIND, content)
            self._unwritten = False
        except OSError as error:
            warnings.warn(
                f"the checkpoint could not be written, and the fit goes on; the file is as it was: {error}",
                RuntimeWarning,
                stacklevel=2,
            )
        end = time.monotonic()
        self._due = end + max(EVERY_SECONDS, PATIENCE * (end - begin))

    def _read(self) -> None:
        _, content = read_values(self.path, _KIND)
        with reading(self.path, _KIND):
            there = {name: content[name] for name in ("versions", "settings", "data")}
            if not all(isinstance(value, dict) for value in there.values()):
                raise TypeError("versions, settings and data must be dictionaries")
            self._require_same(**there)
            self.selection = content["selection"]
            if not isinstance(self.selection, Selection | None):
                raise TypeError("the selection must be one")
            self.rank = check_integer(content["rank"], "rank", minimum=0)
            self._points = [self._checked_point(**point) for point in content["points"]]
            if content["state"] is not None:
                self._state = self._checked(**content["state"])

    def _require_same(self, **there: Any) -> None:
        require_versions(self.path, there["versions"], versions())
        require_same(self.path, "a fit with other settings", there["settings"], self._settings)
        if there["data"] != self._data:
            names = [name for name in self._data if there["data"].get(name) != self._data[name]]
            raise OtherRecord(
                f"{self.path} is the checkpoint of a fit to other data: {' and '.join(names)} differ; {WAY_OUT}"
            )

    def _checked_point(self, *, numbers: Any, certificate: Any, **arrays: Any) -> dict[str, Any]:
        """Refuse a solution that no point of this path has had."""
        total, k, dtype = self._shape
        evidence = {name: row for name, row in zip(_NUMBERS, numbers, strict=True) if name in _EVIDENCE}
        Certificate(**certificate, **evidence).check(k)
        shapes = {name: array.shape for name, array in arrays.items()}
        good = numbers.dtype == float and shapes.pop("vectors")[1:] == (total,)
        good = good and shapes == dict.fromkeys(("coefficients", "values"), (total, k))
        if not good or not all(a.dtype == dtype and bool(np.isfinite(a).all()) for a in arrays.values()):
            raise ValueError("its arrays are those of no solution")
        return {"numbers": numbers, "certificate": certificate, **arrays}

    def _checked(self, *, operator: Any, basis: Any, projected: Any, known: Any, **numbers: Any) -> KrylovState:
        """Refuse a state that no iteration here has had."""
        total, _, dtype = self._shape
        check_scalar(numbers["scale"], "scale", minimum=0.0)
        for name in ("width", "steps"):
            check_integer(numbers[name], name, minimum=1)
        old, size = len(projected), len(basis)
        good = old < size and basis.shape == (size, total) and basis.dtype == dtype
        good = good and projected.shape == (old, old) and known.shape == (size - old, old)
        if not good or not all(bool(np.isfinite(a).all()) for a in (basis, projected, known)):
            raise ValueError("its arrays are those of no iteration")
        self._numbers = {name: operator[name] for name in ("products", "allowed", "low", "high", "rank", "mixed")}
        return KrylovState(basis.T, projected.astype(float), known.astype(float), **numbers)


def _settings(problem: MatrixFree, objective: Objective, asked: Any) -> dict[str, Any]:
    """Say which fit this is, but for its data, in plain values."""
    arrays: dict[str, np.ndarray] = {}
    try:
        declared = json.dumps(encode(problem.model, "kernel", arrays), sort_keys=True)
    except TypeError:
        raise TypeError(
            f"checkpoint= needs a kernel that can be told from others, found {problem.model!r:.80}: declare it as a "
            f"class of its own (sslcore.kernels.Profile), or leave checkpoint out"
        ) from None
    parts = [declared.encode(), *(_bytes(array) for _, array in sorted(arrays.items()))]
    total, k = problem.data.n_views, objective.k
    width = block_width(k, total)
    return {
        "kernel": repr(problem.model),
        "kernel_sha256": _sha256(*parts),
        "n_views": total,
        "n_coordinates": problem.data.d,
        "dtype": str(problem.dtype),
        "backend": problem.backend.NAME,
        "n_components": k,
        "points" if isinstance(asked, list) else "reg": asked if isinstance(asked, float | list) else repr(asked),
        "beta": objective.beta,
        "unbiased": objective.unbiased,
        "center": objective.center,
        "basis": [width, krylov_capacity(width, total)],
    }


def _checksums(problem: MatrixFree) -> dict[str, str]:
    """Return a checksum of each part of the data."""
    data = problem.data
    groups, weight, points = data.sample_of_each_view, data.weight, problem.points
    return {
        "points": _sha256(*map(_bytes, points if isinstance(points, tuple) else (points,))),
        "groups": _sha256(_bytes(np.asarray(groups, np.int64))),
        "weights": "" if weight is None else _sha256(_bytes(weight)),
    }


def _bytes(array: Any) -> Any:
    return np.ascontiguousarray(on_host(array)).reshape(-1).view(np.uint8).data


def _sha256(*parts: Any) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()
