"""Figures of the studies and of the command line: panels arranged on a page.

The figures of a study stand in the module of its name: a function of its results that returns a
`matplotlib.figure.Figure`.  Panels take arrays.
"""

from ...plotting import panels as panels  # first: it says what to install where there is no matplotlib
from .convergence import convergence_figure
from .digits import digits_figure
from .fits import fit_figure, map_figure, pair_figure, path_figure
from .halfmoons import half_moons_figure
from .interplay import interplay_figure, lines_panel, parities_panel

__all__ = [
    "convergence_figure",
    "digits_figure",
    "fit_figure",
    "half_moons_figure",
    "interplay_figure",
    "lines_panel",
    "map_figure",
    "pair_figure",
    "parities_panel",
    "path_figure",
]
