"""A look at data before any fit: columns brought to one scale, and in words whatever looks wrong.

In this order::

    _concerns   what looks wrong about the data
"""

from __future__ import annotations

from ..fitting.standardization import Standardization
from ._concerns import concerns

__all__ = ["Standardization", "concerns"]
