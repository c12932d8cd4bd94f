"""``sslcore info``."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..options import MODEL, Parser
from .common import Report, open_fit, width_of

if TYPE_CHECKING:
    from ...fitting.bimodal import BimodalRepresentation
    from ...fitting.representation import Representation


def declare(parser: Parser) -> Callable[[argparse.Namespace], Report]:
    """Show versions and the machine, which a bug report needs; or what a saved model is."""
    parser.add(MODEL.but(nargs="?"))

    def run(args: argparse.Namespace) -> Report:
        if args.model is None:
            from ...versions import versions

            found: dict[str, Any] = dict(versions())
        else:
            found = _of_fit(open_fit(args.model))
        width = max(map(len, found))
        return Report(found, "\n".join(f"{name:<{width}}  {_shown(value)}" for name, value in found.items()))

    return run


def _of_fit(fit: Representation | BimodalRepresentation) -> dict[str, Any]:
    """List what was asked for and found; of two modalities the model of each, and how well they agree."""
    from ...fitting.representation import Representation

    found: dict[str, Any] = {}
    if isinstance(fit, Representation):
        found |= _of_modality(fit)
    else:
        for name, side in (("first", fit.first), ("second", fit.second)):
            found |= {f"{name} {what}": value for what, value in _of_modality(side).items()}
    found |= {"components": fit.n_components, "active": fit.n_active, "eigenvalues": fit.eigenvalues}
    if not isinstance(fit, Representation) and fit.beta > 0:
        found["canonical correlations"] = fit.canonical_correlations()
    return found | {
        "risk": fit.risk,
        "reg": fit.reg,
        "beta": fit.beta,
        "unbiased": fit.unbiased,
        "center": fit.center,
        "algorithm": fit.certificate.algorithm,
        "worst residual": fit.certificate.worst,
    }


def _of_modality(rep: Representation) -> dict[str, Any]:
    """Name the model of one modality, and the points that it takes."""
    return {"model": repr(rep.model), "coordinates": width_of(rep)}


def _shown(value: Any) -> str:
    if hasattr(value, "tolist"):
        return " ".join(f"{number:.4f}" for number in value.tolist())
    return f"{value:.6g}" if isinstance(value, float) else str(value)
