"""The checks of a representation that came from a file: of everything that `transform` relies on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..arrays import require_finite
from ..features import Features
from ..io.encoding import Encoding
from ..kernels import Kernel, Precomputed
from ..solvers.certificate import Certificate
from ..solvers.selection import Selection
from .standardization import Standardization

if TYPE_CHECKING:
    from .representation import Representation

__all__ = ["check_content"]


def check_content(rep: Representation) -> None:
    """Check types and shapes of what came from a file: everything that `transform` relies on."""
    _require(_is_array(rep.coefficients, None, None), "the coefficients must be a matrix of real numbers")
    rows, k = rep.coefficients.shape
    _require(k >= 1 and rows >= 1, "it has no components")
    _check_numbers(rep, k)
    _check_order(rep)
    _check_model(rep, rows)
    _check_parts(rep, rows, k)


def _require(holds: bool, what: str) -> None:
    if not holds:
        raise ValueError(f"it is damaged: {what}")


def _is_array(value: Any, *shape: int | None, dtypes: tuple[type, ...] = (np.float64, np.float32)) -> bool:
    if not isinstance(value, np.ndarray) or value.ndim != len(shape) or value.dtype not in dtypes:
        return False
    return all(wanted in (None, found) for wanted, found in zip(shape, value.shape, strict=True))


def _check_numbers(rep: Representation, k: int) -> None:
    """Check the numbers of the components, those of the objective, the notes and the certificate."""
    for name in ("gamma", "invariance", "norms"):
        value = getattr(rep, name)
        _require(_is_array(value, k, dtypes=(np.float64,)) and not bool(np.isnan(value).any()), f"{name} is not ({k},)")
        _require(bool((value > -np.inf).all()), f"{name} has the value -inf")
    _require(_is_array(rep.intercept, k), f"the intercept is not ({k},)")
    for name in ("coefficients", "intercept"):
        require_finite(getattr(rep, name), name)
    for name in ("reg", "beta"):
        value = getattr(rep, name)
        _require(isinstance(value, float) and 0 <= value < np.inf, f"{name} is {value!r}")
    for name in ("unbiased", "center"):
        _require(isinstance(getattr(rep, name), bool), f"{name} is {getattr(rep, name)!r}")
    _require(rep.positives is None or isinstance(rep.positives, str), f"positives is {rep.positives!r:.80}")
    _require(isinstance(rep.tau, float) and abs(rep.tau) < np.inf, f"tau is {rep.tau!r:.80}")
    _require(isinstance(rep.notes, dict), "the notes are no dict")
    _require(isinstance(rep.certificate, Certificate), "it has no certificate")
    rep.certificate.check(k)


def _check_order(rep: Representation) -> None:
    """Check that gamma increases, from what it is at least, within the tolerance of the certificate."""
    slack = rep.certificate.tolerance
    with np.errstate(invalid="ignore"):
        before, after = rep.gamma[:-1], rep.gamma[1:]
        ordered = (after >= before - slack * (1 + abs(before))) | (after == np.inf)
    _require(bool(ordered.all()), "gamma must not decrease")
    least = rep.beta * (1.0 - rep.tau)
    _require(bool((rep.gamma >= least - slack * (1 + abs(least))).all()), "gamma must not be negative")


def _check_parts(rep: Representation, rows: int, k: int) -> None:
    """Check what not every representation has."""
    if rep.selection is not None:
        _require(isinstance(rep.selection, Selection), f"the selection is of class {type(rep.selection).__name__}")
        rep.selection.check()
    width = rep.n_coordinates if rep.centres is None else rep.centres.shape[-1]
    if rep.standardization is not None:
        kind = type(rep.standardization)
        _require(kind is Standardization, f"the standardisation is of class {kind.__name__}")
        _require(len(rep.standardization.mean) == width, "the standardisation does not fit the points")
    if rep.values is not None:
        shaped = isinstance(rep.values, np.ndarray) and rep.values.ndim in (2, 3) and rep.values.dtype.kind == "f"
        _require(shaped and rep.values.shape[-1] == k and rep.values.size == rows * k, "the values do not fit")
    if rep.table is not None:
        _require(isinstance(rep.table, Encoding), f"the table is of class {type(rep.table).__name__}")
        rep.table.check(width)


def _check_model(rep: Representation, rows: int) -> None:
    """Check that features, or a kernel with its centres, fit the coefficients."""
    if isinstance(rep.model, Features):
        width = rep.n_coordinates
        if not isinstance(width, int) or isinstance(width, bool) or width < 1:
            raise ValueError("it is damaged: the number of coordinates")
        _require(rep.centres is None, "features have no centres")
        _require(rows == rep.model.n_kept(width), f"{rows} coefficients do not fit the features")
        return
    _require(isinstance(rep.model, Kernel), "it has no model")
    _require(rep.n_coordinates is None, "a kernel has no number of coordinates")
    if isinstance(rep.model, Precomputed):
        _require(rep.centres is None, "a given matrix has no centres")
        return
    _require(_is_array(rep.centres, rows, None), f"it needs {rows} centres")
    assert rep.centres is not None
    require_finite(rep.centres, "centres")
