"""The classes that every kernel is made of, and kernels made of kernels; `sslcore.kernels` says what one declares."""

from __future__ import annotations

import math
import operator
import sys
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, ClassVar

import numpy as np

from .. import tunables
from ..arrays import Array, ArrayLike, as_array, same_kind, shown
from ..backends import Backend, get_backend
from ..backends.formulas import check_formula, evaluate_formula
from ..declarations.parameters import Declared, converted, positive
from ..declarations.registries import law_of, register
from ._cosines import check_profile, functions_of
from ._rows import CalledRows, CombinedRows, Needs, PreparedRows, Rows, ScaledRows, SumRows, gram_matrix

__all__ = [
    "Function",
    "Kernel",
    "Precomputed",
    "Product",
    "Profile",
    "Scaled",
    "Sum",
    "as_kernel",
    "constant_profiles",
    "registry",
]


class Kernel(Declared):
    """Base class of all kernels.

    A kernel made from others is a subclass with `rows`; a function of one pair value is a `Profile`.

    Examples
    --------
    >>> from sslcore.kernels import Exponential, Kernel
    >>> k = Exponential(1.0)
    >>> isinstance(k, Kernel), k([[0.0]], [[0.0], [1.0]]).round(4)
    (True, array([[1.    , 0.3679]]))
    """

    trusted: ClassVar[bool] = True
    """Whether the kernel is positive semi-definite by construction (else solvers check the matrix)."""

    extra_blocks: ClassVar[int] = 1
    """Blocks of values that its rows hold while they fill one, besides those of the kernels in its fields.

    `sslcore.plan` counts them, and a copy of the points.  Declare 0 for rows that work in place, 2 for rows that hold
    two more than what they are given to fill.
    """

    @same_kind("x", "y")
    def __call__(self, x: ArrayLike, y: ArrayLike | None = None, *, backend: str | None = None) -> Array:
        """Return the Gram matrix k(x_i, y_j), (n_x, n_y); with ``y=None`` that of x with itself, exactly symmetric."""
        return self._gram(x, y, None, backend)

    def _gram(self, x: ArrayLike, y: ArrayLike | None, out: Array | None, backend: str | None) -> Array:
        """Make the Gram matrix that `sslcore.gram.gram` and a call of the kernel return."""
        return gram_matrix(self.rows, x, y, out, backend)

    def rows(self, y: Array, backend: Backend) -> Rows:
        """Prepare the points y, once, for rows k(x_i, y_j) of the Gram matrix: all that solvers ask of a kernel.

        Parameters
        ----------
        y : array (n_y, d)
            Checked, and on the device of the backend.
        backend : sslcore.backends.Backend
            What serves them, to be handed on to the rows of other kernels.

        Returns
        -------
        Rows

        Raises
        ------
        TypeError
            The kernel has no values at points, as `Precomputed`.

        Examples
        --------
        >>> from dataclasses import dataclass
        >>> from sslcore.kernels import Gaussian, Kernel, Linear
        >>> @dataclass(frozen=True)
        ... class Trend(Kernel):
        ...     slope: float
        ...     def rows(self, y, backend):
        ...         return (Gaussian(1.0) + self.slope * Linear()).rows(y, backend)
        >>> Trend(0.5)([[0.0], [1.0]]).round(4)
        array([[1.    , 0.6065],
               [0.6065, 1.5   ]])
        """
        raise TypeError(f"{self} has no values of its own here")

    def _needs(self, n: int, d: int, itemsize: int) -> Needs:
        """Count what rows for n points with d coordinates take; unless overridden those of the kernels in its fields.

        A kernel without any is taken to keep a copy of the points; who makes blocks of values, of copies of the points.
        """
        values: list[Any] = [getattr(self, field.name) for field in fields(self)] if is_dataclass(self) else []
        parts = [value._needs(n, d, itemsize) for value in values if isinstance(value, Kernel)]
        size = itemsize * d
        parts = parts or [Needs(preparing=size * n, kept=size * n, row=size)]
        needs = _together(parts, max(part.blocks for part in parts) + self.extra_blocks)
        return replace(needs, working=needs.working + size * n * (self.extra_blocks > 0))

    def profile(self, u: Any, *, width: int, squared_norm: Any = None) -> Any:
        """Evaluate k(x, y) as a function of the cosine u of x and y, for points of one length: all of it on a sphere.

        Parameters
        ----------
        u : float, array or mpmath.mpf
            From -1 to 1; numbers of mpmath are worked on to its precision.
        width : int
            Number of coordinates d.
        squared_norm : float, optional
            |x|^2 = |y|^2; default: d, as on the hypercube {-1, 1}^d, where u = 1 - 2 j / d for j differing signs.

        Returns
        -------
        float, array or mpmath.mpf
            Of the same kind as ``u``.

        Raises
        ------
        TypeError
            The kernel is not a function of u.

        Examples
        --------
        >>> import sslcore
        >>> float(sslcore.kernels.Polynomial(2).profile(0.5, width=4))
        9.0
        """
        raise TypeError(f"{self} is not a function of the inner product of points of one length")

    def __add__(self, other: Kernel | Callable[..., Array]) -> Kernel:
        return Sum(self, as_kernel(other)) if callable(other) else NotImplemented

    def __radd__(self, other: Callable[..., Array]) -> Kernel:
        return Sum(as_kernel(other), self) if callable(other) else NotImplemented

    def __mul__(self, other: Kernel | Callable[..., Array] | float) -> Kernel:
        return Product(self, as_kernel(other)) if callable(other) else Scaled(self, other)

    def __rmul__(self, other: Callable[..., Array] | float) -> Kernel:
        return Product(as_kernel(other), self) if callable(other) else Scaled(self, other)


def _together(parts: list[Needs], blocks: int) -> Needs:
    """Count what several rows take that are made one after the other, and fill one after the other."""
    preparing = kept = 0.0
    for part in parts:
        preparing = max(preparing, kept + part.preparing)
        kept += part.kept
    working, row = max(part.working for part in parts), max(part.row for part in parts)
    return Needs(max(preparing, kept), kept, working, row, blocks)


registry: dict[str, type[Kernel]] = {}
"""Every declared kernel by name, of which files and command lines speak; tests iterate over it."""


def constant_profiles() -> list[tuple[str, str]]:
    """List the pair values and formulas that declared kernels have whatever their parameters: they are compiled ahead.

    Examples
    --------
    >>> from sslcore.kernels import constant_profiles
    >>> ("sqdist", "exp(c0 * t)") in constant_profiles()
    True
    """
    found = set()
    for kernel in registry.values():
        fixed = vars(kernel).get("formula")
        formulas = [fixed] if isinstance(fixed, str) else list(vars(kernel).get("_formulas", {}).values())
        found |= {(getattr(kernel, "pair", ""), formula) for formula in formulas}  # only profiles have formulas
    return sorted(found)


class Profile(Kernel):
    """A kernel f(t) of one pair value; see `sslcore.kernels` for what a declaration contains.

    Examples
    --------
    A kernel of one's own is a class.  It runs as fast as those of the library; declare ``length`` and ``constants`` too
    if it has a scale:

    >>> from dataclasses import dataclass
    >>> from sslcore.kernels import Profile, registry
    >>> @dataclass(frozen=True)
    ... class Cauchy(Profile):
    ...     pair = "sqdist"
    ...     formula = "real(1) / (real(1) + t)"
    >>> Cauchy()([[0.0], [1.0]])
    array([[1. , 0.5],
           [0.5, 1. ]])
    >>> _ = registry.pop("Cauchy")  # over which the library's tests iterate
    """

    pair: ClassVar[str]
    reach: ClassVar[float] = math.inf
    """Lengths beyond which a distance kernel is below rounding: where it need not be computed with care."""
    bounded: ClassVar[bool] = False
    """Whether the values at any finite points are finite, so that they need not be checked."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        formula, several = vars(cls).get("formula"), vars(cls).get("_formulas", {})
        for declared in (formula, *several.values()):
            if isinstance(declared, str):  # else it is made when asked for, and checked then
                check_formula(declared)
        if not cls.__name__.startswith("_"):  # bases of others
            register(registry, cls, home=__package__ or "")

    @property
    def formula(self) -> str:
        """The profile f as an expression in t and c0..c3."""
        raise NotImplementedError

    @property
    def length(self) -> float:
        """A length on which the kernel varies: |d k / d r| <= 1 / length for distance kernels, 1 for dot products."""
        return 1.0

    def constants(self, length: float) -> tuple[float, ...]:
        """Return c0, c1, ... for points measured in a unit in which ``self.length`` reads ``length``."""
        return ()

    def coordinates(self, x: Array) -> Array:
        """Return the points between which pair values are taken, made from ``x`` (n, d); x itself unless overridden."""
        return x

    def rows(self, y: Array, backend: Backend) -> Rows:
        """Prepare rows as in `Kernel.rows`, by the backend's compiled formula."""
        bounded = vars(law_of(type(self))).get("bounded", False)  # not of a base with another formula
        return PreparedRows(self, backend.points(self, y), bounded, backend)

    def _needs(self, n: int, d: int, itemsize: int) -> Needs:
        """Count as in `Kernel._needs`; coordinates of one's own are taken to be as many as the points have."""
        needs = self._needs_of_coordinates(n, d, itemsize)
        if type(self).coordinates is Profile.coordinates:
            return needs
        size = itemsize * d
        return Needs(needs.preparing + size * n, needs.kept, needs.working, needs.row + size)

    def _needs_of_coordinates(self, n: int, d: int, itemsize: int) -> Needs:
        """Count what points with d coordinates take once these are made."""
        size = itemsize * d
        if self.pair == "dot":
            return Needs()
        # with and without the centre, and in columns for products; else in units of the length, or wrapped, in columns
        centred = self.pair == "sqdist" and d > tunables.CPU_DIFFERENCES_COORDINATES
        columns = centred and d <= tunables.CPU_PRODUCT_MOST_COORDINATES
        return Needs(2 * size * n, (1 + centred) * size * n, columns * size * n, 2 * size)

    def profile(self, u: Any, *, width: int, squared_norm: Any = None) -> Any:
        """Evaluate as in `Kernel.profile`: f at |x - y|^2 = 2 |x|^2 (1 - u), or at <x, y> = |x|^2 u."""
        if self.pair not in ("sqdist", "dot") or type(self).coordinates is not Profile.coordinates:
            return super().profile(u, width=width, squared_norm=squared_norm)
        check_profile(u, width, squared_norm)
        functions = functions_of(u)
        number = functions.mpf if hasattr(functions, "mpf") else float
        squared_norm = number(width if squared_norm is None else squared_norm)
        t = squared_norm * u if self.pair == "dot" else 2 * squared_norm * (1 - u)
        names = {"t": t, "exp": functions.exp, "sqrt": functions.sqrt, "real": number}
        names |= self._named_constants(number(self.length))
        formula = check_formula(self.formula)
        try:
            with np.errstate(all="ignore"):
                value = evaluate_formula(formula, names)
                known = bool(np.all((value - value == 0) & (value.imag == 0)))  # no infinity, NaN or complex number
        except (ArithmeticError, ValueError):  # of numbers, where arrays have infinities
            known = False
        if not known:
            raise ValueError(
                f"the values of {self} must be finite: its formula {shown(formula)} has none at u = {shown(u)}"
            )
        return value

    def _named_constants(self, length: Any) -> dict[str, Any]:
        """Return c0 to c3 by name; those that the kernel does not have are 0."""
        values = self.constants(length)
        return {f"c{i}": values[i] if i < len(values) else 0.0 for i in range(4)}

    @property
    def source_file(self) -> str:
        """The file that declares the kernel, to which backends tie their compiled code."""
        return getattr(sys.modules.get(type(self).__module__), "__file__", None) or "<none>"


def _as_part(value: Any, name: str) -> Kernel:
    if not isinstance(value, Kernel):
        raise TypeError(f"a kernel was expected, found {type(value).__name__}; wrap a callable in Function")
    if isinstance(value, Precomputed):
        raise TypeError("Precomputed() cannot be a part of another kernel; combine the matrices themselves")
    return value


def _as_function(value: Any, name: str) -> Callable[..., Any]:
    if not callable(value):
        raise TypeError(f"{name} must be callable, found {type(value).__name__}")
    function: Callable[..., Any] = value
    return function


@dataclass(frozen=True)
class Sum(Kernel):
    """k(x, y) = first(x, y) + second(x, y); written ``first + second``.

    Examples
    --------
    >>> from sslcore.kernels import Linear
    >>> (Linear() + Linear())([[3.0]])
    array([[18.]])
    """

    first: Kernel = converted("a kernel", _as_part)
    second: Kernel = converted("a kernel", _as_part)

    def _needs(self, n: int, d: int, itemsize: int) -> Needs:
        """Count as in `Kernel._needs`: values of the second part have a block of their own."""
        first, second = self.first._needs(n, d, itemsize), self.second._needs(n, d, itemsize)
        return _together([first, second], max(first.blocks, 1 + second.blocks))

    def rows(self, y: Array, backend: Backend) -> Rows:
        """Prepare rows as in `Kernel.rows`."""
        return SumRows(self, self.first.rows(y, backend), self.second.rows(y, backend), operator.iadd, backend)

    def profile(self, u: Any, *, width: int, squared_norm: Any = None) -> Any:
        """Evaluate as in `Kernel.profile`, if both parts have one."""
        at = {"width": width, "squared_norm": squared_norm}
        return self.first.profile(u, **at) + self.second.profile(u, **at)

    @property
    def trusted(self) -> bool:  # type: ignore[override]
        """Whether both parts are."""
        return self.first.trusted and self.second.trusted


@dataclass(frozen=True)
class Product(Kernel):
    """k(x, y) = first(x, y) second(x, y), positive semi-definite by Schur; written ``first * second``.

    Examples
    --------
    >>> from sslcore.kernels import Linear
    >>> (Linear() * Linear())([[3.0]])
    array([[81.]])
    """

    first: Kernel = converted("a kernel", _as_part)
    second: Kernel = converted("a kernel", _as_part)

    def _needs(self, n: int, d: int, itemsize: int) -> Needs:
        """Count as in `Kernel._needs`: values of the second part have a block of their own."""
        first, second = self.first._needs(n, d, itemsize), self.second._needs(n, d, itemsize)
        return _together([first, second], max(first.blocks, 1 + second.blocks))

    def rows(self, y: Array, backend: Backend) -> Rows:
        """Prepare rows as in `Kernel.rows`."""
        return CombinedRows(self, self.first.rows(y, backend), self.second.rows(y, backend), operator.imul, backend)

    def profile(self, u: Any, *, width: int, squared_norm: Any = None) -> Any:
        """Evaluate as in `Kernel.profile`, if both parts have one."""
        at = {"width": width, "squared_norm": squared_norm}
        return self.first.profile(u, **at) * self.second.profile(u, **at)

    @property
    def trusted(self) -> bool:  # type: ignore[override]
        """Whether both parts are."""
        return self.first.trusted and self.second.trusted


@dataclass(frozen=True)
class Scaled(Kernel):
    """k(x, y) = factor base(x, y), factor > 0; written ``factor * base``.

    Examples
    --------
    >>> from sslcore.kernels import Linear
    >>> (0.5 * Linear())([[3.0]])
    array([[4.5]])
    """

    base: Kernel = converted("a kernel", _as_part)
    factor: float = positive("what the values are multiplied by", label="the factor of a kernel")
    extra_blocks: ClassVar[int] = 0

    def rows(self, y: Array, backend: Backend) -> Rows:
        """Prepare rows as in `Kernel.rows`."""
        return ScaledRows(self, self.base.rows(y, backend), self.factor)

    def profile(self, u: Any, *, width: int, squared_norm: Any = None) -> Any:
        """Evaluate as in `Kernel.profile`, if the base has one."""
        return self.factor * self.base.profile(u, width=width, squared_norm=squared_norm)

    @property
    def trusted(self) -> bool:  # type: ignore[override]
        """Whether the base is."""
        return self.base.trusted


@dataclass(frozen=True)
class Function(Kernel):
    """Any callable ``function(x, y) -> (n_x, n_y)`` as a kernel; solvers check that it is positive semi-definite.

    Wherever a kernel is expected a plain callable may be given instead; it is wrapped into this class.

    Examples
    --------
    >>> import sslcore
    >>> sslcore.kernels.Function(lambda x, y: 1.0 / (1.0 + (x - y.T) ** 2))([[0.0], [1.0]])
    array([[1. , 0.5],
           [0.5, 1. ]])
    """

    function: Callable[[Array, Array], Array] = converted("values of a kernel", _as_function)
    trusted: ClassVar[bool] = False

    def _needs(self, n: int, d: int, itemsize: int) -> Needs:
        """Count as in `Kernel._needs`: what a function takes inside nobody knows, but a kernel's is known."""
        inner = self.function._needs(n, d, itemsize) if isinstance(self.function, Kernel) else Needs()
        working = max(inner.preparing, inner.kept + inner.working)  # it prepares the points at every call
        return Needs(working=working, row=inner.row, blocks=1 + inner.blocks)

    def rows(self, y: Array, backend: Backend) -> Rows:
        """Prepare rows as in `Kernel.rows`, by calls of the function."""
        return CalledRows(self.function, y, backend)


@dataclass(frozen=True)
class Precomputed(Kernel):
    """A kernel given by its values: "points" are then rows of kernel values against the N training views.

    For `sslcore.pretrain` the views are the Gram matrix itself, as (n, m, n m) or, with groups, (N, N);
    for `Representation.transform` they are k(new points, training views), shape (n_new, N).

    Examples
    --------
    >>> import sslcore
    >>> sslcore.kernels.Precomputed()([[2.0, 1.0], [1.0, 2.0]])
    array([[2., 1.],
           [1., 2.]])
    """

    trusted: ClassVar[bool] = False

    def _needs(self, n: int, d: int, itemsize: int) -> Needs:
        """Count as in `Kernel._needs`: rows of the matrix are taken, then columns of these."""
        return Needs(blocks=3)

    def _gram(self, x: ArrayLike, y: ArrayLike | None, out: Array | None, backend: str | None) -> Array:
        """Return the matrix that was given."""
        get_backend(x, y, backend=backend)
        x = as_array(x, "x", ndim=2, shape_hint="(n, d)")
        if out is not None:
            raise ValueError("Precomputed gives back the matrix it was given; out has no use here")
        return x


def as_kernel(value: Any) -> Kernel:
    """Return ``value`` if it is a kernel; wrap a plain callable into `Function`.

    Examples
    --------
    >>> from sslcore.kernels import Linear, as_kernel
    >>> as_kernel(Linear()), type(as_kernel(lambda x, y: x @ y.T)).__name__
    (Linear(), 'Function')
    """
    if isinstance(value, Kernel):
        return value
    if isinstance(value, type) and issubclass(value, Kernel):
        raise TypeError(f"a kernel was expected, found the class {value.__name__}; write {value.__name__}(...)")
    if callable(value):
        return Function(value)
    raise TypeError(f"a kernel of sslcore.kernels or a callable was expected, found {type(value).__name__}")
