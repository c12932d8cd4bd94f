"""Data in parts, of any number: sums over blocks from files, arrays and generators, that go on where they were killed.

Moments are sums over samples.  Here they are summed leaf by leaf (a run of samples of fixed size at a fixed place), so
that memory is O(r^2) and a block for any number of samples, and what was summed is kept in a file.
"""

from __future__ import annotations

from ._moments import moments
from ._ridge import ridge_probe

__all__ = ["moments", "ridge_probe"]
