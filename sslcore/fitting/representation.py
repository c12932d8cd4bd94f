"""The result of a fit: k functions that can be evaluated anywhere, their spectrum, and the evidence for them."""

from __future__ import annotations

import os
from dataclasses import MISSING, dataclass, field, fields, replace
from typing import Any, BinaryIO

import numpy as np

from .. import tunables
from ..arrays import (
    Array,
    ArrayLike,
    as_array,
    as_native,
    check_target,
    gives_memory_back,
    kind_of,
    namespace,
    target_of,
    to_backend,
)
from ..augmentations import Views
from ..backends import device_of, get_backend
from ..features import Features, Identity
from ..io.archive import MALFORMED, refusal
from ..io.encoding import Encoding
from ..kernels import Kernel, Precomputed
from ..solvers.certificate import Certificate, Spectrum
from ..solvers.objective import Objective
from ..solvers.selection import Selection
from .codec import read_values, write_values
from .collections import home_of
from .content import check_content
from .evaluation import evaluator
from .frames import is_frame, transform_frame
from .pictures import draw
from .spectral import _Spectral, check_scale
from .standardization import Standardization

__all__ = ["Representation"]


@dataclass(frozen=True, eq=False)
class Representation(_Spectral):
    r"""The minimiser psi = (sqrt(max(mu_i, 0)) f_i), i = 1..k, of the penalised VICReg risk (`sslcore.pretrain`).

    After a fit of CuPy arrays its coefficients, centres and values are CuPy arrays; the k numbers of the spectrum are
    NumPy's always.

    Attributes
    ----------
    eigenvalues : (k,)
        mu_i = 1 - gamma_i, decreasing; -inf beyond the numerical rank.
    gamma : (k,)
        1 - mu_i as computed: keeps its digits where mu_i rounds to 1.
    invariance : (k,)
        <f_i, (I - T) f_i>, half the mean squared distance between views: gamma = beta invariance + reg norms.
    norms : (k,)
        ||f_i||_H^2.
    coefficients : (N, k) or (r, k)
        alpha, with f_i = sum_a alpha_ai k(., xi_a) + intercept_i over the N training views, or c with
        f_i = <c_i, phi(.)> + intercept_i over the features.
    intercept : (k,)
        0 unless ``center``.
    centres : (N, d) or None
        The training views (kernels of points only).
    model : Kernel or Features
    reg, beta, unbiased, center
        What was asked for.
    certificate : Certificate
        Residuals, eigengap, rank, time and memory.
    training : views or None
        What `embedding` is evaluated on (feature models).
    values : array or None
        Unit eigenfunctions at the training views (kernel models).
    n_coordinates : int or None
        Of the points that it was fitted to (feature models).
    selection : sslcore.selection.Selection or None
        How reg was chosen, for reg="auto".
    notes : dict
        Anything that shall be saved with it, by name: numbers, strings, arrays, kernels, augmentations, lists, dicts.
    positives : str or None
        The law of positive pairs in words: what was given, its edges and parts.
    table : Encoding or None
        How the columns of a table become its coordinates, if it was fitted to one with words, missing values or names
        of the rows (`sslcore.tables`): tables that are handed to `transform` go the same way.
    tau : float
        1, or the largest eigenvalue (centred, that on centred functions) of an `sslcore.positives.Operator`.
    standardization : sslcore.defaults.Standardization or None
        What `transform` does to its points first (`standardized_by`); centres and training views are standardised.

    Examples
    --------
    >>> import sslcore
    >>> x = sslcore.datasets.half_moons(100, seed=0)
    >>> views = sslcore.augmentations.GaussianNoise(0.1).views(x, 2, seed=0)
    >>> rep = sslcore.pretrain(views, sslcore.kernels.Gaussian(0.5), n_components=3, reg=1e-3)
    >>> rep.eigenvalues.round(4), rep.n_active, round(rep.risk, 4), rep(x).shape
    (array([0.9933, 0.9904, 0.9825]), 3, 0.0671, (100, 3))
    """

    gamma: np.ndarray
    invariance: np.ndarray
    norms: np.ndarray
    coefficients: Array
    intercept: Array
    centres: Array | None
    model: Kernel | Features
    reg: float
    beta: float
    unbiased: bool
    center: bool
    certificate: Certificate
    training: Any = field(default=None, repr=False)
    values: Array | None = field(default=None, repr=False)
    n_coordinates: int | None = field(default=None, repr=False)
    selection: Selection | None = field(default=None, repr=False)
    notes: dict[str, Any] = field(default_factory=dict, repr=False)
    positives: str | None = None
    tau: float = 1.0
    standardization: Standardization | None = None
    table: Encoding | None = field(default=None, repr=False)

    @classmethod
    def from_spectrum(
        cls,
        spectrum: Spectrum,
        model: Kernel | Features,
        objective: Objective,
        *,
        centres: Array | None = None,
        training: Any = None,
        values: Array | None = None,
        n_coordinates: int | None = None,
    ) -> Representation:
        """Put a solver's result together; ``values`` are those of the unit eigenfunctions at the training views."""
        return cls(
            spectrum.gamma,
            spectrum.invariance,
            spectrum.norms,
            spectrum.coefficients,
            spectrum.intercept,
            centres,
            model,
            objective.reg,
            objective.beta,
            objective.unbiased,
            objective.center,
            spectrum.certificate,
            training,
            values,
            n_coordinates,
        )

    def __repr__(self) -> str:
        top = ", ".join(f"{mu:.4f}" for mu in self.eigenvalues[:4])
        more = ", ..." if self.n_components > 4 else ""
        return (
            f"Representation({self.n_components} components, {self.n_active} active, eigenvalues [{top}{more}], "
            f"risk {self.risk:.6g}, {self.certificate.algorithm}{self._fitted_to()})"
        )

    def _fitted_to(self) -> str:
        """Say for what the axes of the training views were taken, where they are known."""
        known = self.values if self.values is not None else self.training
        if known is None:
            return ""
        n, *m = known.shape[:-1]
        d = self.n_coordinates if self.centres is None else self.centres.shape[1]
        views = f"{n} samples with {m[0]} views" if m else f"{n} views"
        return f", of {views}" + (f" of {d} coordinates" if d else "")

    @property
    def embedding(self) -> Array:
        """psi at the training views, (n, m, k), or (N, k) for a fit with groups; where the training views lie."""
        if self.values is not None:
            return self.values * self._scale_where(self.values)
        if self.training is None:
            raise ValueError("the training views are not known here (made from Moments, or loaded); call transform(x)")
        source = self.training.x if isinstance(self.training, Views) else self.training
        return self.to(device_of(source)).of_standardized().transform(self.training)

    def to(self, backend: str) -> Representation:
        """Return the representation with its arrays on another device: ``"numba"`` (NumPy arrays) or ``"cupy"``.

        The training views stay where they are.

        Examples
        --------
        >>> import sslcore
        >>> views = sslcore.augmentations.GaussianNoise(0.1).views(sslcore.datasets.half_moons(50, seed=0), 2, seed=0)
        >>> rep = sslcore.pretrain(views, sslcore.kernels.Gaussian(0.5), n_components=3, reg=1e-3)
        >>> rep.to("numba") is rep
        True
        """
        chosen = get_backend(backend=backend)
        if device_of(self.coefficients) == chosen.NAME:
            return self
        return replace(
            self,
            coefficients=to_backend(self.coefficients, chosen),
            intercept=to_backend(self.intercept, chosen),
            centres=to_backend(self.centres, chosen),
            values=to_backend(self.values, chosen),
        )

    def standardized_by(self, standardization: Standardization | None) -> Representation:
        """Return the representation that standardises its points before anything else; it was fitted to such points.

        Parameters
        ----------
        standardization : sslcore.defaults.Standardization or None
            Of as many columns as the training views had; None: points are taken as they are.

        Raises
        ------
        TypeError, ValueError
            It is none, of another number of columns, or the representation is of a given Gram matrix.

        Examples
        --------
        >>> import numpy as np, sslcore
        >>> x = sslcore.datasets.half_moons(50, seed=0) * [1.0, 1000.0]
        >>> columns = sslcore.defaults.Standardization.of(x)
        >>> views = sslcore.augmentations.GaussianNoise(0.1).views(columns(x), 2, seed=0)
        >>> fitted = sslcore.pretrain(views, sslcore.kernels.Gaussian(0.5), n_components=3, reg=1e-3)
        >>> rep = fitted.standardized_by(columns)
        >>> rep(x).shape, bool(np.array_equal(rep(x), fitted(columns(x))))
        ((50, 3), True)
        """
        if standardization is None:
            return replace(self, standardization=None)
        if not isinstance(standardization, Standardization):
            raise TypeError(f"standardization must be a Standardization, found {type(standardization).__name__}")
        if isinstance(self.model, Precomputed):
            raise TypeError(
                "a given Gram matrix has no columns to be standardised: standardise the points it is made of"
            )
        width = self.n_coordinates if self.centres is None else self.centres.shape[1]
        if width is not None:
            standardization.check((width,))
        return replace(self, standardization=standardization)

    def of_standardized(self) -> Representation:
        """Return the same functions of points that are standardised already; itself, if it takes no others.

        Examples
        --------
        >>> import sslcore
        >>> views = sslcore.augmentations.GaussianNoise(0.1).views(sslcore.datasets.half_moons(50, seed=0), 2, seed=0)
        >>> rep = sslcore.pretrain(views, sslcore.kernels.Gaussian(0.5), n_components=3, reg=1e-3)
        >>> rep.of_standardized() is rep
        True
        """
        return self if self.standardization is None else replace(self, standardization=None)

    def __call__(self, x: ArrayLike | Views) -> Array:
        """Transform with the default scaling."""
        return self.transform(x)

    @gives_memory_back
    def transform(
        self, x: ArrayLike | Views, scale: str = "risk", *, out: Array | None = None, backend: str | None = None
    ) -> Array:
        """Evaluate psi(x), in blocks: memory O(block).

        Parameters
        ----------
        x : array (n, d), views (n, m, d), `Views`, or a frame of pandas, polars or pyarrow
            As they were before they were standardised, where that was done (`standardization`).  For `Precomputed` the
            kernel values (n, N) against the training views, in their order.
        scale : {"risk", "unit", "norm", "probe"}
            ``"risk"``: the minimiser, sqrt(max(mu_i, 0)) f_i.  ``"unit"``: the unit eigenfunctions f_i, of second
            moment 1 (centred: variance 1) over the training views, of collapsed components too.  ``"norm"``:
            f_i / ||f_i||_H: the penalty of a ridge probe is then the norm of its own function, but for the angles
            between the f_i in H, so that smooth components count more and many rough ones do little harm.
            ``"probe"``: f_i / sqrt((1 - mu_i) ||f_i||_H^2), so that components which also keep still under the views
            count more; best for probes of few labels (`bench practice`).  Components beyond the numerical rank are 0
            in each.
        out : array (n, k) or (n, m, k), optional
            Where the values of an array or of `Views` go, and what is returned: C order, of their type, where ``x``
            lies, apart from it; a tensor of PyTorch too.  After an error its content is undefined.
        backend : {"numba", "cupy"}, optional
            ``"cupy"`` takes NumPy arrays to the GPU by blocks, and the values back.  Otherwise ``x`` and the
            representation must be on one device (`to`).

        Returns
        -------
        array (n, k) or (n, m, k)
            Of the kind of ``x``; for Dask's arrays lazily, chunk by chunk.  A frame has the columns ``component_1``,
            ..., before them that of the rows' names, if the model knows of one; the index of pandas stays.

        Raises
        ------
        ValueError, TypeError
            Another number of coordinates than those of the fit, NaN or infinite entries, another device, an ``out``
            that is not as described.

        Examples
        --------
        >>> import numpy as np, sslcore
        >>> x = sslcore.datasets.half_moons(50, seed=0)
        >>> views = sslcore.augmentations.GaussianNoise(0.1).views(x, 2, seed=0)
        >>> rep = sslcore.pretrain(views, sslcore.kernels.Gaussian(0.5), n_components=3, reg=1e-3)
        >>> out = np.empty((50, 3))
        >>> rep.transform(x, scale="unit", out=out) is out, rep.transform(views).shape
        (True, (50, 2, 3))
        """
        scale = check_scale(scale)
        if out is not None and (is_frame(x) or home_of(x) is not None):
            raise TypeError(f"out is for arrays and Views; a {type(x).__name__} gives one of its own kind")
        if is_frame(x):
            framed: Array = transform_frame(self, x, scale, backend)
            return framed
        home = home_of(x)
        if home is not None:
            lazy: Array = home.transform(self, x, scale, backend=backend)
            return lazy
        if isinstance(x, Views):
            rows = max(1, 65536 // x.n_views)
            blocks = [(s, min(s + rows, len(x))) for s in range(0, len(x), rows)]
            if out is not None:
                shape = (len(x), x.n_views, self.n_components)
                memory = check_target(target_of(out), shape, x.dtype, get_backend(x.x), x.x)
                for start, stop in blocks:
                    self.transform(x.block(start, stop), scale, out=memory[start:stop], backend=backend)
                return out
            parts = [self.transform(x.block(*block), scale, backend=backend) for block in blocks]
            joined: Array = x.kind.convert_back(namespace(parts[0]).concatenate(parts))
            return joined
        kind, x = kind_of(x), as_native(x, "x")
        x = as_array(x, "x", ndim=(2, 3), shape_hint="(n, d) or (n, m, d)", finite=False)
        if backend == "cupy":
            chosen = get_backend(backend=backend)
        else:
            chosen = get_backend(x, self.coefficients, backend=backend)
        points, shape = x.reshape(-1, x.shape[-1]), (*x.shape[:-1], self.n_components)
        target = None
        if out is not None:
            target = check_target(target_of(out), shape, x.dtype, get_backend(x), x).reshape(-1, self.n_components)
        evaluate = evaluator(self.to(chosen.NAME), points, x.shape, scale, chosen)
        if device_of(points) == chosen.NAME:
            values = evaluate(points, target)
        else:
            values = np.empty((len(points), self.n_components), x.dtype) if target is None else target
            rows = max(1, tunables.DEVICE_BLOCK_BYTES // points[:1].nbytes)
            starts = range(0, len(points), rows)
            for start, (block,) in zip(starts, chosen.stream((points[s : s + rows],) for s in starts), strict=True):
                values[start : start + rows] = chosen.to_host(evaluate(block, None))
        return kind.convert_back(values.reshape(shape)) if out is None else out

    def linear_head(self, scale: str = "risk") -> tuple[Array, Array]:
        """Return (W, b) with psi(x) = W phi(x) + b, W (k, r) as in ``torch.nn.Linear``; for feature models.

        ``scale`` is that of `transform`.  A standardisation is part of the head for `Identity`, where phi(x) = x; other
        features are of standardised points.
        """
        scale = check_scale(scale)
        if not isinstance(self.model, Features):
            raise TypeError(
                "a kernel model has no finite linear head; fit a feature model, such as sslcore.features.Nystrom"
            )
        factors = self._scale_where(self.coefficients, scale)
        weights, intercept = (self.coefficients * factors).T.copy(), self.intercept * factors
        if self.standardization is not None and isinstance(self.model, Identity):
            xp = namespace(weights)
            weights /= xp.asarray(self.standardization.deviation)
            intercept = intercept - weights @ xp.asarray(self.standardization.mean)
        return weights, intercept

    def plot(self, target: Any = None, *, x: Any = None, color: Any = None, images: Any = None) -> Any:
        """Draw the spectrum, and the map of the first two components; needs matplotlib.

        Where all active eigenvalues are above 0.9 the spectrum shows 1 - mu on a logarithmic axis.

        Parameters
        ----------
        target : str, path or matplotlib Axes, optional
            A .png, .pdf or .svg file to write, or axes for the map alone.
        x : array (n, d) or views (n, m, d), optional
            Points of the map; of views the first of each sample.  By default the training views.
        color : (n,), optional
            Labels or values of the points, of any kind (`sslcore.probing` reads them so too): words, booleans and at
            most ten different integers are classes with a legend, other numbers are shown by a bar of colours, and what
            is missing (masked, None, NaN, NA) is grey.
        images : array (n, height, width) or (n, height, width, 3), optional
            Drawn in the map in place of points, as many as find room.

        Returns
        -------
        matplotlib Figure or Axes, or None for a file

        Raises
        ------
        ValueError
            Numbers of points, colours and images differ; a file of another kind; training views that are not known.

        Examples
        --------
        >>> import os, tempfile, sslcore
        >>> x = sslcore.datasets.half_moons(50, seed=0)
        >>> views = sslcore.augmentations.GaussianNoise(0.1).views(x, 2, seed=0)
        >>> rep = sslcore.pretrain(views, sslcore.kernels.Gaussian(0.5), n_components=3, reg=1e-3)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     rep.plot(os.path.join(folder, "moons.svg"), x=x, color=x[:, 0] > 0)
        >>> rep.plot(x=x, color=x[:, 0]).axes[0].get_title()
        'spectrum: 3 of 3 active'
        """
        return draw(self, target, x, color, images)

    def save(self, path: str | os.PathLike[str] | BinaryIO) -> None:
        """Write it to one file, in a documented format without pickle; the file appears whole or not at all.

        Everything is in it but the training views of a feature model (so that `embedding` is not known after
        `sslcore.load`; `transform` is).  Arrays of CuPy come back as NumPy's; see `to`.

        Parameters
        ----------
        path : str or path, or a binary file that is open for writing
            The name is taken as it is. A file that is there is replaced, and its permissions stay; through a symbolic
            link the file behind it is. What is no regular file (a folder, a pipe, a device) is refused.

        Raises
        ------
        TypeError
            The kernel is a plain function: files hold no code.
        OSError
            The file cannot be written; what was there before is unchanged.

        Examples
        --------
        >>> import os, tempfile, sslcore
        >>> views = sslcore.augmentations.GaussianNoise(0.1).views(sslcore.datasets.half_moons(50, seed=0), 2, seed=0)
        >>> rep = sslcore.pretrain(views, sslcore.kernels.Gaussian(0.5), n_components=3, reg=1e-3)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     rep.save(os.path.join(folder, "moons.sslcore"))
        ...     loaded = sslcore.load(os.path.join(folder, "moons.sslcore"))
        >>> loaded.model, bool((loaded(views) == rep(views)).all())
        (Gaussian(scale=0.5), True)
        """
        absent = {"training"} | (set() if self.positives else {"positives", "tau"})  # as older files are
        absent |= {name for name in ("standardization", "table") if getattr(self, name) is None}
        content = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in absent}
        write_values(path, "representation", content)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Representation:
        """Read what `save` wrote (`sslcore.load`)."""
        _, content = read_values(path, "representation")
        return cls.from_content(path, content)

    @classmethod
    def from_content(cls, path: str | os.PathLike[str], content: dict[str, Any]) -> Representation:
        """Read a representation from the content of a file, checked."""
        try:
            _check_names(content, [f for f in fields(cls) if f.name != "training"])
            loaded = cls(**content)
            check_content(loaded)
        except MALFORMED as error:
            raise refusal(path, ("representation",), error) from None
        return loaded


def _check_names(content: dict[str, Any], known: list[Any]) -> None:
    """Refuse unknown names: a file may lack what came later and has a default, and have nothing else."""
    unknown = set(content) - {f.name for f in known}
    missing = {f.name for f in known if f.default is MISSING and f.default_factory is MISSING} - set(content)
    if unknown or missing:
        raise ValueError(f"it lacks {sorted(missing)}" if missing else f"it has the unknown parts {sorted(unknown)}")
