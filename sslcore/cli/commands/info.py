"""``sslcore info``."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from ..options import MODEL, Parser
from .common import Report, open_model


def declare(parser: Parser) -> Callable[[argparse.Namespace], Report]:
    """Show versions and the machine, which a bug report needs; or what a saved model is."""
    parser.add(MODEL.but(nargs="?"))

    def run(args: argparse.Namespace) -> Report:
        if args.model is None:
            from ...versions import versions

            found: dict[str, Any] = dict(versions())
        else:
            rep = open_model(args.model, of_either=False)
            certificate = rep.certificate
            found = {
                "model": repr(rep.model),
                "coordinates": rep.n_coordinates if rep.centres is None else rep.centres.shape[1],
                "components": rep.n_components,
                "active": rep.n_active,
                "eigenvalues": rep.eigenvalues,
                "risk": rep.risk,
                "reg": rep.reg,
                "beta": rep.beta,
                "unbiased": rep.unbiased,
                "center": rep.center,
                "algorithm": certificate.algorithm,
                "worst residual": certificate.worst,
            }
        width = max(map(len, found))
        return Report(found, "\n".join(f"{name:<{width}}  {_shown(value)}" for name, value in found.items()))

    return run


def _shown(value: Any) -> str:
    if hasattr(value, "tolist"):
        return " ".join(f"{number:.4f}" for number in value.tolist())
    return f"{value:.6g}" if isinstance(value, float) else str(value)
