"""The commands, a module each.

A command is a function ``declare(parser)``: it adds its options there, those of `sslcore.cli.options` and its own, and
returns the function that does the work and gives a `common.Report`.  Its docstring is its help.  Entered here under its
name it gets ``--json``, ``--debug``, one-line errors and exit codes from `sslcore.cli.main`.  What several commands
share is in `common` (outputs that are checked before the work and appear whole or not at all) and in `progress`.

Modules import what they need when they run, so that ``--help`` and a mistyped option are answered at once.
"""

from __future__ import annotations

from . import convergence, digits, fit, halfmoons, info, interplay, path, probe, report, study, transform
from .common import Declare

__all__ = ["COMMANDS"]

COMMANDS: dict[str, Declare] = {
    "digits": digits.declare,
    "halfmoons": halfmoons.declare,
    "fit": fit.declare,
    "transform": transform.declare,
    "probe": probe.declare,
    "path": path.declare,
    "report": report.declare,
    "interplay": interplay.declare,
    "convergence": convergence.declare,
    "study": study.declare,
    "info": info.declare,
}
