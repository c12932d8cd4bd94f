"""Settings for data of which nothing is said, chosen from their shape and spread, without labels, and told in words.

In this order::

    _concerns   what looks wrong about the data
    _choice     what suits them: a standardisation, a law of views, a kernel, numbers

``sslcore.SSLEmbedding()`` asks here, and shows what it was told.
"""

from __future__ import annotations

from ..fitting.standardization import Standardization
from ._choice import Choice, choose
from ._concerns import concerns

__all__ = ["Choice", "Standardization", "choose", "concerns"]
