"""How pictures of the gallery look: the colours of the library's own figures, few lines that say nothing."""

from __future__ import annotations

from typing import Any

import matplotlib
from cycler import cycler

from sslcore.plotting.panels import CLASSES


def style(gallery_conf: dict[str, Any], script: str) -> None:
    """Set matplotlib's parameters before a script, after sphinx-gallery has reset them."""
    matplotlib.rcParams.update(
        {
            "axes.prop_cycle": cycler(color=CLASSES),
            "axes.edgecolor": "#9ca3af",
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.titlesize": "medium",
            "lines.linewidth": 1.8,
            "legend.frameon": False,
            "hatch.linewidth": 0.6,
            "xtick.color": "#374151",
            "ytick.color": "#374151",
        }
    )
