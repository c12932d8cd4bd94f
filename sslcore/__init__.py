"""sslcore: self-supervised learning in closed form.

The minimiser of a joint-embedding loss (VICReg, spectral contrastive) over a kernel's functions, or over
linear functions of fixed features, is known exactly: the top eigenfunctions of
T = (1 - beta) I + beta T_aug - lambda K^-1.  This package computes it, with the evidence that it did.

Everything is imported when it is first used: ``import sslcore`` itself loads no compiler and no linear algebra.

Floors, each importing only those below it (kept by import-linter, see pyproject.toml)::

    cli
    studies
    dask
    stream torch
    population diagnostics probing estimator cross_embedding path selection
    defaults
    fitting
    gram
    solvers plotting
    features runs tables
    kernels augmentations positives io risk datasets versions
    declarations
    arrays
    backends
    errors tunables _version
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from ._version import __version__

if TYPE_CHECKING:  # what type checkers and editors see; `__getattr__` imports it when it is used
    from . import (
        arrays,
        augmentations,
        datasets,
        defaults,
        diagnostics,
        features,
        gram,
        kernels,
        path,
        population,
        positives,
        probing,
        risk,
        runs,
        selection,
        stream,
        tables,
    )
    from .augmentations import Views
    from .cross_embedding import CrossEmbedding
    from .errors import (
        BackendError,
        CertificateError,
        ConvergenceError,
        ConvergenceWarning,
        DataWarning,
        MemoryBudgetError,
        NotPositiveSemidefiniteError,
        SelectionWarning,
    )
    from .estimator import SSLEmbedding
    from .fitting.bimodal import BimodalRepresentation
    from .fitting.loading import load
    from .fitting.moments import Moments
    from .fitting.path import Path, pretrain_path
    from .fitting.plan import Plan
    from .fitting.planning import plan
    from .fitting.pretraining import pretrain
    from .fitting.representation import Representation
    from .solvers.certificate import Certificate
    from .versions import show_versions

__all__ = [
    "BackendError",
    "BimodalRepresentation",
    "Certificate",
    "CertificateError",
    "ConvergenceError",
    "ConvergenceWarning",
    "CrossEmbedding",
    "DataWarning",
    "MemoryBudgetError",
    "Moments",
    "NotPositiveSemidefiniteError",
    "Path",
    "Plan",
    "Representation",
    "SSLEmbedding",
    "SelectionWarning",
    "Views",
    "__version__",
    "arrays",
    "augmentations",
    "datasets",
    "defaults",
    "diagnostics",
    "features",
    "gram",
    "kernels",
    "load",
    "path",
    "plan",
    "population",
    "positives",
    "pretrain",
    "pretrain_path",
    "probing",
    "risk",
    "runs",
    "selection",
    "show_versions",
    "stream",
    "tables",
]

_HOMES = {
    "BackendError": "errors",
    "BimodalRepresentation": "fitting.bimodal",
    "Certificate": "solvers.certificate",
    "CertificateError": "errors",
    "ConvergenceError": "errors",
    "ConvergenceWarning": "errors",
    "CrossEmbedding": "cross_embedding",
    "DataWarning": "errors",
    "MemoryBudgetError": "errors",
    "Moments": "fitting.moments",
    "NotPositiveSemidefiniteError": "errors",
    "Path": "fitting.path",
    "Plan": "fitting.plan",
    "Representation": "fitting.representation",
    "SSLEmbedding": "estimator",
    "SelectionWarning": "errors",
    "Views": "augmentations",
    "load": "fitting.loading",
    "plan": "fitting.planning",
    "pretrain": "fitting.pretraining",
    "pretrain_path": "fitting.path",
    "show_versions": "versions",
}


if not TYPE_CHECKING:  # or every misspelt name would be one of the package

    def __getattr__(name: str) -> Any:
        if name in _HOMES:
            value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
        elif name in __all__:
            value = importlib.import_module(f"{__name__}.{name}")
        else:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return __all__
