"""Questions of the estimators to this room: data as rows and tables, what was given, warnings."""

from __future__ import annotations

import functools
import warnings
from typing import Any

import numpy as np

from ..arrays import Array, as_array, as_float_dtype, check_integer, listed
from ..augmentations import Views
from ..augmentations._base import flattened, image_shapes
from ..backends import device_of
from ..errors import DataWarning
from ..features import Features, Nystrom
from ..kernels import Precomputed
from ._choice import N_VIEWS, SCALE
from ._concerns import concerns

__all__ = [
    "INPUTS",
    "as_rows",
    "as_table",
    "checked_samples",
    "given_to",
    "remember_columns",
    "warn",
]

INPUTS = ("samples", "images", "series", "views")
"""What X may hold."""


def as_rows(x: Array, law: Any, input: str, fitted: tuple[int, ...] = ()) -> Array:
    """Return images or series as rows (n, d), if the law is of such images, has no shape, or is still to be chosen."""
    shapes = sorted(image_shapes(law)) if law is not None else []
    array = flattened(x, law) if law is not None else x
    if array.ndim == 2:
        return array
    if not shapes and len(fitted) > 1 and x.shape[1:] != fitted:
        raise ValueError(f"X must have the shape (n, {str(fitted)[1:-1]}) of the fit, or be flat, found {x.shape}")
    if not shapes and x.ndim in (3, 4) and (law is None or input != "samples"):
        return x.reshape(len(x), -1)
    wanted = f" or images (n, {str(shapes[0])[1:-1]}) of the law" if shapes else ""
    raise ValueError(
        f"with input={input!r}, X must hold samples (n, d){wanted}, found shape {x.shape}; for images give a law "
        f"of images of that shape, such as augmentation=Affine({x.shape[1:]}), or flatten them with "
        f"X.reshape(len(X), -1); input='views' would take X for {x.shape[1]} views of each sample, of "
        f"{x.shape[-1]} coordinates"
    )


def checked_samples(views: Any, groups: Any, sample_weight: Any, kernel: Any) -> tuple[Any, Any]:
    """Return samples as views, one of each, and their weights; refuse what is for views made elsewhere."""
    if groups is not None:
        raise ValueError("groups name the sample of each view: use input='views'")
    if isinstance(kernel, Precomputed):
        raise ValueError("Precomputed takes the Gram matrix of views made elsewhere: use input='views'")
    if sample_weight is not None:
        sample_weight = as_array(sample_weight, "sample_weight", ndim=1, shape_hint="(n,)")
        if len(sample_weight) != len(views):
            raise ValueError(
                f"sample_weight must have shape ({len(views)},), one a sample, found {sample_weight.shape}"
            )
    return views if isinstance(views, Views) else views[:, None], sample_weight


def given_to(settings: Any, seed: int) -> dict[str, Any]:
    """Return what the user has said of what `choose` chooses, from the parameters of the estimator."""
    names = ("augmentation", "kernel", "features", "solver", "n_components")
    given = {name: value for name in names if (value := getattr(settings, name)) is not None}
    if not (isinstance(settings.reg, str) and settings.reg == "auto"):
        given["reg"] = settings.reg
    if settings.input == "views" or settings.positives is not None:
        given["augmentation"] = None
    if settings.features is not None and not isinstance(settings.features, Features):
        landmarks = check_integer(settings.features, "features", minimum=1)
        given["features"] = functools.partial(Nystrom, landmarks=landmarks, seed=seed)
    usual = {"n_views": N_VIEWS, "scale": SCALE}
    return given | {name: value for name in usual if (value := getattr(settings, name)) != usual[name]}


def as_table(estimator: Any, array: Array, name: str, *, reset: bool, several: bool = False) -> Array:
    """Return entries as floats (n, d), or with ``several`` (n, m, d), by our checks and, if NumPy's, scikit-learn's."""
    import sklearn.utils.validation as validation

    if array.dtype.kind == "c":
        raise ValueError(
            f"Complex data not supported; real and imaginary parts are coordinates too: {name}.real, {name}.imag"
        )
    if array.dtype.kind != "O":  # scikit-learn takes objects that are numbers, and knows what to say of others
        array = array.astype(as_float_dtype(array.dtype, name), copy=False)
    if device_of(array) == "cupy":
        return as_array(array, name, ndim=3 if several else 2)
    options = {"allow_nd": several, "ensure_2d": not several, "ensure_min_samples": 2 if reset else 1}
    try:
        out: Array = validation.check_array(
            array, dtype=[np.float64, np.float32], input_name=name, estimator=estimator, **options
        )
    except OverflowError:
        raise ValueError(f"{name} must hold real numbers, found an integer beyond the range of float64") from None
    except ValueError as error:
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise _not_finite(array, name) from None
        if "could not convert" not in str(error):
            raise
        raise ValueError(
            f"{name} must hold real numbers, found words{_where(array)}: {error}; leave them out, or make "
            f"categories of them, with sslcore.tables.read(..., categories='one-hot').values"
        ) from None
    return out


def _where(array: np.ndarray) -> str:
    """Name the columns of an array of objects that hold words, counted from 0."""
    if array.ndim != 2:
        return ""
    found = [str(j) for j in range(array.shape[1]) if _holds_words(array[:, j])]
    return f" in column{'s' * (len(found) > 1)} {listed(found)}" if found else ""


def _holds_words(column: np.ndarray) -> bool:
    try:
        column.astype(float)
    except (TypeError, ValueError):
        return True
    return False


def _not_finite(array: np.ndarray, name: str) -> ValueError:
    gone = ~np.isfinite(array)
    first = tuple(np.argwhere(gone)[0].tolist())
    what = "NaN" if np.isnan(array[first]) else "infinity"
    return ValueError(
        f"{name} contains {what}, the first at index {first}; {int(gone.sum())} entries are not finite in all: remove "
        f"or impute them first, with scikit-learn's SimpleImputer, or of a table with "
        f"sslcore.tables.read(..., missing='mean')"
    )


def remember_columns(estimator: Any, x: Any, width: int, rank: int, reset: bool) -> None:
    """Set, or compare, the names and the number of the columns of X."""
    import sklearn.utils.validation as validation

    names = list(getattr(x, "column_names", getattr(x, "columns", ())))  # the columns of pyarrow are the data
    if len(set(names)) < len(names):
        raise ValueError(f"X has two columns named {next(n for n in names if names.count(n) > 1)!r}; rename one")
    if rank == 2 and hasattr(validation, "validate_data"):
        validation.validate_data(estimator, x, reset=reset, skip_check_array=True)
    elif rank == 2:  # scikit-learn before 1.6
        estimator._check_feature_names(x, reset=reset)
        estimator._check_n_features(x, reset=reset)
    elif reset:
        estimator.n_features_in_ = width
        vars(estimator).pop("feature_names_in_", None)  # of another fit
    elif width != estimator.n_features_in_:
        raise ValueError(
            f"X has {width} features, but {type(estimator).__name__} is expecting {estimator.n_features_in_} features "
            f"as input"
        )


def warn(x: Array, views: Any, standardization: Any, columns: Any) -> None:
    """Warn, in the place where `fit` was called, of what looks wrong about samples and their views."""
    for sentence in concerns(x, views, standardization=standardization, columns=columns):
        warnings.warn(sentence, DataWarning, stacklevel=4)
