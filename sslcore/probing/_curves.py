"""The results of a study over pretraining sizes and downstream sizes."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, fields
from typing import Any, BinaryIO

import numpy as np

from ..arrays import check_boolean, check_choice, check_scalar
from ..fitting.codec import read_values, write_values
from ..io.archive import MALFORMED, refusal

__all__ = ["LearningCurves"]

_KIND = "learning-curves"
LABELS = {"squared": "squared error", "relative": "relative squared error", "zero_one": "0-1 error"}


@dataclass(frozen=True, eq=False)
class LearningCurves:
    """Errors over P pretraining sizes, D downstream sizes and R repetitions (`learning_curves`).

    Attributes
    ----------
    errors : dict
        By name, ``"squared"``, ``"relative"`` and, but for values, ``"zero_one"``: arrays (R, P, D), the errors of each
        repetition of pretraining, averaged over its downstream draws.
    pretraining_sizes : array (P,)
    downstream_sizes : array (D,)
    settings : dict
        All that the errors depend on, as plain values; data and targets that were arrays by their checksums.
    versions : dict
        Of the libraries that computed them.
    single : dict
        By name, arrays (R, P, D, draws) of all single errors, if they were kept; else empty.

    Examples
    --------
    >>> import numpy as np
    >>> from sslcore.probing import LearningCurves
    >>> errors = {"squared": np.array([[[3.0, 1.0]], [[5.0, 3.0]]])}
    >>> curves = LearningCurves(errors, np.array([100]), np.array([10, 20]), {}, {})
    >>> curves.mean["squared"], curves.standard_error["squared"], curves.quantiles(0.5)["squared"]
    (array([[4., 2.]]), array([[1., 1.]]), array([[4., 2.]]))
    """

    errors: dict[str, np.ndarray]
    pretraining_sizes: np.ndarray
    downstream_sizes: np.ndarray
    settings: dict[str, Any]
    versions: dict[str, str]
    single: dict[str, np.ndarray] = field(default_factory=dict, repr=False)

    def __repr__(self) -> str:
        p, d = self.pretraining_sizes, self.downstream_sizes
        return (
            f"LearningCurves({len(p)} pretraining sizes {p[0]}..{p[-1]}, {len(d)} downstream sizes {d[0]}..{d[-1]}, "
            f"{self.n_repetitions} repetitions; {', '.join(self.errors)})"
        )

    @property
    def n_repetitions(self) -> int:
        """R, the number of repetitions of pretraining."""
        return len(next(iter(self.errors.values())))

    @property
    def mean(self) -> dict[str, np.ndarray]:
        """Means over the repetitions, by name, (P, D)."""
        return {name: values.mean(axis=0) for name, values in self.errors.items()}

    @property
    def standard_error(self) -> dict[str, np.ndarray]:
        """Standard errors of the means, by name, (P, D): s / sqrt(R) with s the deviation between repetitions.

        Repetitions of pretraining are independent where data is a function; the downstream draws inside one share its
        functions and test points, so they are averaged first.  Subsets of a table overlap, and then this says nothing
        of other tables.  NaN for one repetition.
        """
        if self.n_repetitions < 2:
            return {name: np.full(values.shape[1:], np.nan) for name, values in self.errors.items()}
        root = self.n_repetitions**0.5
        return {name: values.std(axis=0, ddof=1) / root for name, values in self.errors.items()}

    def quantiles(self, q: Any, single: bool = False) -> dict[str, np.ndarray]:
        """Return quantiles over the repetitions, by name, (P, D), or (..., P, D) for several q.

        Parameters
        ----------
        q : float or sequence of float
            In [0, 1].
        single : bool
            Of all single errors, those of each downstream draw; they must have been kept (``keep=True``).
        """
        levels = [check_scalar(level, "q", minimum=0.0, maximum=1.0) for level in np.atleast_1d(q).tolist()]
        if check_boolean(single, "single") and not self.single:
            raise ValueError("single errors were not kept; call learning_curves with keep=True")
        chosen = {name: np.moveaxis(a, 3, 1).reshape(-1, *a.shape[1:3]) for name, a in self.single.items()}
        found = {
            name: np.quantile(values, levels, axis=0) for name, values in (chosen if single else self.errors).items()
        }
        return {name: values.reshape(*np.shape(q), *values.shape[1:]) for name, values in found.items()}

    def save(self, path: str | os.PathLike[str] | BinaryIO) -> None:
        """Write it to one file, which appears whole or not at all (docs/format.md).

        The same settings give the same bytes, whenever and however often they were interrupted: no time is in it.

        Raises
        ------
        OSError
            The file cannot be written; what was there before is unchanged.
        """
        write_values(path, _KIND, {f.name: getattr(self, f.name) for f in fields(self)})

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> LearningCurves:
        """Read what `save` wrote; ``ValueError`` if the file is damaged or holds something else."""
        content = read_values(path, _KIND)[1]
        try:
            loaded = cls(**content)
            _check(loaded)
        except MALFORMED as error:
            raise refusal(path, (_KIND,), error) from None
        return loaded

    def as_dict(self) -> dict[str, Any]:
        """Return sizes, means, standard errors, settings and versions for JSON: lists and numbers."""
        known = self.n_repetitions > 1
        spread = {name: e.tolist() if known else None for name, e in self.standard_error.items()}
        return {
            "pretraining_sizes": self.pretraining_sizes.tolist(),
            "downstream_sizes": self.downstream_sizes.tolist(),
            "repetitions": self.n_repetitions,
            "mean": {name: values.tolist() for name, values in self.mean.items()},
            "standard_error": spread,
            "settings": self.settings,
            "versions": self.versions,
        }

    def summary(self) -> str:
        """Tell, in lines for people, the errors at the ends of both ranges of sizes."""
        lines = [repr(self)]
        for name in ("data", "model", "augmentation", "reg"):
            if name in self.settings:
                lines.append(f"{name:13}{self.settings[name]!s:.100}")
        corners = [(p, d) for p in sorted({0, len(self.pretraining_sizes) - 1}) for d in sorted({0, self._last})]
        for name, mean in self.mean.items():
            spread = self.standard_error[name]
            for p, d in corners:
                n, s = self.pretraining_sizes[p], self.downstream_sizes[d]
                error = f" +- {spread[p, d]:.2g}" if np.isfinite(spread[p, d]) else ""
                lines.append(f"{name:13}{mean[p, d]:.4g}{error}   pretrained on {n:,}, probed with {s:,}")
        return "\n".join(lines)

    @property
    def _last(self) -> int:
        return len(self.downstream_sizes) - 1

    def plot(self, target: Any = None, error: str = "squared") -> Any:
        """Draw an error: contours of its logarithm where both sizes vary, else a curve; needs matplotlib.

        Parameters
        ----------
        target : str, path or matplotlib Axes, optional
            A .png, .pdf or .svg file to write, with a panel for each error, or axes to draw on; new axes, of a figure
            of their own, if not given.
        error : {"squared", "relative", "zero_one"}
            Which one, for axes.

        Returns
        -------
        matplotlib Axes, or None for a file
        """
        from ..plotting import panels

        names = list(self.errors)
        if isinstance(target, str | os.PathLike):
            drawn = panels.side_by_side(len(names), lambda axes, i: self.plot(axes, names[i]))
            return panels.save(drawn, target)
        error = check_choice(error, "error", tuple(names))
        if target is None:
            return panels.side_by_side(1, lambda axes, _: self.plot(axes, error)).axes[0]
        mean, spread = self.mean[error], self.standard_error[error]
        first, second = self.pretraining_sizes, self.downstream_sizes
        if len(first) > 1 and len(second) > 1:
            panels.error_contours(target, first, second, mean)
            target.set(xlabel="pretraining samples", ylabel="downstream samples")
            target.set_title(rf"$\log_{{10}}$ of the {LABELS.get(error, error)}")
            return target
        along, other, words = (first, second, "probed with {:,}") if len(first) > 1 else (second, first, "{:,} samples")
        panels.banded_curve(target, along, mean.ravel(), 2 * spread.ravel())
        target.set(xlabel="pretraining samples" if len(first) > 1 else "downstream samples")
        target.set(ylabel=LABELS.get(error, error), title=words.format(other[0]))
        return target


def _check(curves: LearningCurves) -> None:
    """Refuse what a file holds that is no study of these sizes."""
    p, d = curves.pretraining_sizes, curves.downstream_sizes
    for sizes in (p, d):
        if not isinstance(sizes, np.ndarray) or sizes.ndim != 1 or not len(sizes) or sizes.dtype != np.int64:
            raise ValueError("it is damaged: its sizes are no integers")
    if not isinstance(curves.settings, dict) or not isinstance(curves.versions, dict) or not curves.errors:
        raise ValueError("it is damaged: it has no settings, versions or errors")
    for found, axes in ((curves.errors, 3), (curves.single, 4)):
        for name, values in found.items():
            shaped = isinstance(values, np.ndarray) and values.ndim == axes and values.shape[1:3] == (len(p), len(d))
            if name not in LABELS or not shaped or values.dtype != np.float64 or len(values) != curves.n_repetitions:
                raise ValueError(f"it is damaged: the errors {name!r} do not fit its sizes")
