"""The result of a fit to pairs of two modalities: functions of each, with one spectrum."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from typing import Any, BinaryIO

import numpy as np

from ..arrays import Array, as_native, gives_memory_back, namespace, target_of
from ..features import Features
from ..io.archive import MALFORMED, refusal
from ..kernels import Kernel
from ..solvers.certificate import Certificate
from ..solvers.selection import Selection
from .codec import read_values, write_values
from .frames import is_frame
from .representation import Representation
from .spectral import _Spectral, check_scale
from .standardization import Standardization

__all__ = ["BimodalRepresentation"]

_SHARED = ("gamma", "invariance", "norms", "reg", "beta", "unbiased", "center", "certificate")
"""Parts of a file that both sides have."""

_OWN = ("coefficients", "intercept", "centres", "model", "values", "n_coordinates")
"""Parts that each side has by itself."""

_OF_POINTS = ("standardization", "table")
"""Parts that a side may have: what becomes of its points first."""


def _own_parts(side: Representation) -> dict[str, Any]:
    """Return what the file holds of one side."""
    there = (name for name in _OF_POINTS if getattr(side, name) is not None)
    return {name: getattr(side, name) for name in (*_OWN, *there)}


def _targets(out: Any, members: list[Any]) -> list[Any]:
    """Return where the values of each modality go, so that none is written over what is still to be read or kept."""
    if len(members) == 1:
        return [out]
    if not isinstance(out, tuple) or len(out) != 2 or any(target is None for target in out):
        found = f"a tuple of {len(out)}" if isinstance(out, tuple) else type(out).__name__
        raise TypeError(f"out must be a tuple of two arrays, one for each modality, found {found}")
    first, second = (target_of(target) for target in out)
    x, y = (None if is_frame(member) else as_native(member) for member in members)
    for one, other in ((first, second), (first, y), (second, x)):
        arrays = namespace(one).ndarray
        if isinstance(one, arrays) and isinstance(other, arrays) and namespace(one).may_share_memory(one, other):
            raise ValueError("the two arrays of out must not share memory with each other, nor with either modality")
    return list(out)


@dataclass(frozen=True, eq=False)
class BimodalRepresentation(_Spectral):
    r"""Functions f_i of one modality and g_i of another that agree on pairs; psi_i = sqrt(max(mu_i, 0)) (f_i, g_i).

    The minimiser of the penalised VICReg risk whose views are the two members of a pair, with the norm
    ||f||^2 + ||g||^2: at beta = 1 the spectral contrastive loss of pairs, as of a linear CLIP (`sslcore.pretrain`).
    They are orthonormal over both modalities, (E f_i f_j + E g_i g_j) / 2 = 1 or 0.  `canonical_correlations` says what
    they are in canonical correlation analysis.

    Attributes
    ----------
    eigenvalues : (k,)
        mu_i = 1 - gamma_i, decreasing; -inf beyond the numerical rank.
    gamma : (k,)
        1 - mu_i as computed.
    invariance : (k,)
        E (f_i(x) - g_i(y))^2 / 2 (half of that for ``unbiased=False``): gamma = beta invariance + reg norms.
    norms : (k,)
        ||f_i||^2 + ||g_i||^2.
    first, second : Representation
        The functions of each modality, f and g: representations that can be called, saved and probed by themselves.
    reg, beta, unbiased, center
        What was asked for.
    certificate : Certificate
    selection : sslcore.selection.Selection or None
        How reg was chosen, for reg="auto".
    notes : dict
        Anything that shall be saved with it, by name.

    Examples
    --------
    >>> import numpy as np, sslcore
    >>> rng = np.random.default_rng(0)
    >>> z = rng.normal(size=(300, 1))  # what both modalities know of
    >>> x, y = np.hstack([z, rng.normal(size=(300, 2))]), np.hstack([rng.normal(size=(300, 1)), z**3])
    >>> gaussian = sslcore.kernels.Gaussian(2.0)
    >>> rep = sslcore.pretrain((x, y), (gaussian, gaussian), 2, reg=1e-3, center=True)
    >>> rep.transform((x, None)).shape, bool(rep.canonical_correlations()[0] > 0.9)
    ((300, 2), True)
    """

    gamma: np.ndarray
    invariance: np.ndarray
    norms: np.ndarray
    first: Representation
    second: Representation
    reg: float
    beta: float
    unbiased: bool
    center: bool
    certificate: Certificate
    selection: Selection | None = field(default=None, repr=False)
    notes: dict[str, Any] = field(default_factory=dict, repr=False)

    @classmethod
    def of_sides(cls, first: Representation, second: Representation) -> BimodalRepresentation:
        """Join the functions of both modalities, which have the same numbers."""
        words = "two modalities, of which this is the {}"
        sides = (replace(side, positives=words.format(w)) for side, w in ((first, "first"), (second, "second")))
        shared = {name: getattr(first, name) for name in _SHARED}
        return cls(first=next(sides), second=next(sides), **shared)

    def __repr__(self) -> str:
        top = ", ".join(f"{mu:.4f}" for mu in self.eigenvalues[:4])
        more = ", ..." if self.n_components > 4 else ""
        return (
            f"BimodalRepresentation({self.n_components} components, {self.n_active} active, eigenvalues [{top}{more}], "
            f"risk {self.risk:.6g}, {self.certificate.algorithm})"
        )

    @property
    def model(self) -> tuple[Kernel | Features, Kernel | Features]:
        """The kernels, or features, of both."""
        return self.first.model, self.second.model

    @property
    def positives(self) -> str:
        """The law of positive pairs in words."""
        return "two modalities"

    @property
    def tau(self) -> float:
        """The largest eigenvalue of T."""
        return 1.0

    @property
    def embedding(self) -> tuple[Array, Array]:
        """psi of the training pairs, ((N, k), (N, k)); where they lie."""
        return self.first.embedding, self.second.embedding

    def canonical_correlations(self) -> np.ndarray:
        r"""Return the canonical correlations rho_i = 1 - gamma_i / beta: mu_i at beta = 1.

        With values over the pairs, kappa_i = 2 reg / (mu_i - 1 + beta) and mu_i > 1 - beta, (f_i, g_i) is a canonical
        pair of regularised (kernel) canonical correlation analysis,

            rho = sup E f(x) g(y)   over   E f^2 + kappa ||f||^2 = E g^2 + kappa ||g||^2 = 1,

        and with ``center=True`` correlations are taken about the means (Hotelling 1936; Bach and Jordan 2002; Hardoon,
        Szedmak and Shawe-Taylor 2004).  There kappa is one number for all components; as reg -> 0 all agree.  For
        ``unbiased=False`` T averages over pairs of a point with itself, too, and beta / 2 takes the place of beta.

        Returns
        -------
        array (k,)
            NaN beyond the numerical rank.

        Raises
        ------
        ValueError
            beta = 0: the pairs play no part.

        Examples
        --------
        >>> import numpy as np, sslcore
        >>> rng = np.random.default_rng(0)
        >>> x = rng.normal(size=(1000, 1))
        >>> y = x + rng.normal(size=(1000, 1))
        >>> identity = sslcore.features.Identity()
        >>> rep = sslcore.pretrain((x, y), (identity, identity), 1, reg=0, center=True)
        >>> bool(np.isclose(rep.canonical_correlations()[0], np.corrcoef(x[:, 0], y[:, 0])[0, 1]))
        True
        """
        weight = self.beta * (1.0 if self.unbiased else 0.5)
        if weight == 0:
            raise ValueError("at beta = 0 the pairs play no part: there are no canonical correlations; use beta > 0")
        return np.where(np.isfinite(self.gamma), 1.0 - self.gamma / weight, np.nan)

    def to(self, backend: str) -> BimodalRepresentation:
        """Return the representation with its arrays on another device: ``"numba"`` (NumPy arrays) or ``"cupy"``."""
        return replace(self, first=self.first.to(backend), second=self.second.to(backend))

    def standardized_by(self, first: Standardization | None, second: Standardization | None) -> BimodalRepresentation:
        """Return the representation that standardises the points of each modality first; None: as they are.

        As `Representation.standardized_by`, which has the errors.

        Examples
        --------
        >>> import numpy as np, sslcore
        >>> x, y = np.random.default_rng(0).normal(size=(2, 50, 3)) * 100.0
        >>> columns = sslcore.defaults.Standardization.of(x)
        >>> models = sslcore.kernels.Gaussian(2.0), sslcore.kernels.Linear()
        >>> fitted = sslcore.pretrain((columns(x), y), models, 2, reg=0.1)
        >>> rep = fitted.standardized_by(columns, None)
        >>> bool(np.array_equal(rep((x, None)), fitted((columns(x), None))))
        True
        """
        return replace(self, first=self.first.standardized_by(first), second=self.second.standardized_by(second))

    def __call__(self, pair: tuple[Any, Any]) -> Any:
        """Transform with the default scaling."""
        return self.transform(pair)

    @gives_memory_back
    def transform(
        self, pair: tuple[Any, Any], scale: str = "risk", *, out: Any = None, backend: str | None = None
    ) -> Any:
        """Evaluate the functions of one modality, or of both.

        Parameters
        ----------
        pair : (x, y), (x, None) or (None, y)
            Points (n, d_x) and (n', d_y); None for the modality that is not asked for.
        scale : {"risk", "unit", "norm", "probe"}
            As of `Representation.transform`: f_i and g_i times sqrt(max(mu_i, 0)), as they are, or divided by the norm
            of both, the square root of ||f_i||^2 + ||g_i||^2, or by that of (1 - mu_i) (||f_i||^2 + ||g_i||^2).
        out : array (n, k), or a tuple of two, optional
            Where the values go, and what is returned, as of `Representation.transform`; of both modalities one each,
            apart from each other.
        backend : {"numba", "cupy"}, optional
            As of `Representation.transform`.

        Returns
        -------
        array (n, k), or two
            Two, if both modalities are given.

        Raises
        ------
        TypeError, ValueError
            ``pair`` is no tuple of two, or both are None; ``out`` is not as described.

        Examples
        --------
        >>> import numpy as np, sslcore
        >>> x, y = np.random.default_rng(0).normal(size=(2, 50, 3))
        >>> linear = sslcore.kernels.Linear()
        >>> rep = sslcore.pretrain((x, y), (linear, linear), 2, reg=0.1)
        >>> rep.transform((x, None)).shape, rep.transform((None, y[:7])).shape, len(rep.transform((x, y)))
        ((50, 2), (7, 2), 2)
        """
        scale = check_scale(scale)
        if not isinstance(pair, tuple) or len(pair) != 2 or all(member is None for member in pair):
            found = f"a tuple of {len(pair)}" if isinstance(pair, tuple) else type(pair).__name__
            raise TypeError(f"hand over the modalities as (x, y), (x, None) or (None, y), found {found}")
        sides = [(s, x) for s, x in zip((self.first, self.second), pair, strict=True) if x is not None]
        targets = [None] * len(sides) if out is None else _targets(out, [x for _, x in sides])
        values = [
            side.transform(x, scale, out=target, backend=backend)
            for (side, x), target in zip(sides, targets, strict=True)
        ]
        return values[0] if len(values) == 1 else tuple(values)

    def save(self, path: str | os.PathLike[str] | BinaryIO) -> None:
        """Write it to one file, as `Representation.save` does; `sslcore.load` reads it.

        Examples
        --------
        >>> import os, tempfile, numpy as np, sslcore
        >>> x, y = np.random.default_rng(0).normal(size=(2, 50, 3))
        >>> rep = sslcore.pretrain((x, y), (sslcore.kernels.Linear(), sslcore.kernels.Gaussian(1.0)), 2, reg=0.1)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     rep.save(os.path.join(folder, "pairs.sslcore"))
        ...     loaded = sslcore.load(os.path.join(folder, "pairs.sslcore"))
        >>> loaded.model, bool((loaded((x, None)) == rep((x, None))).all())
        ((Linear(), Gaussian(scale=1.0)), True)
        """
        content = {name: getattr(self, name) for name in (*_SHARED, "selection", "notes")}
        sides = {n: _own_parts(getattr(self, n)) for n in ("first", "second")}
        write_values(path, "modalities", content | sides)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> BimodalRepresentation:
        """Read what `save` wrote (`sslcore.load`)."""
        _, content = read_values(path, "modalities")
        return cls.from_content(path, content)

    @classmethod
    def from_content(cls, path: str | os.PathLike[str], content: dict[str, Any]) -> BimodalRepresentation:
        """Read a representation from the content of a file, checked."""
        try:
            expected = {*_SHARED, "selection", "notes", "first", "second"}
            if set(content) != expected:
                raise ValueError(f"it lacks or has besides {sorted(set(content) ^ expected)}")
            own = [content.pop(name) for name in ("first", "second")]
            if not all(isinstance(part, dict) and set(part) - {*_OF_POINTS} == set(_OWN) for part in own):
                raise ValueError("it is damaged: its sides are not what they should be")
            sides = [Representation.from_content(path, content | part) for part in own]
            if isinstance(sides[0].model, Features) != isinstance(sides[1].model, Features):
                raise ValueError("it is damaged: a kernel and features")
            loaded = cls.of_sides(*sides)
        except MALFORMED as error:
            raise refusal(path, ("modalities",), error) from None
        return replace(loaded, selection=sides[0].selection, notes=sides[0].notes)
