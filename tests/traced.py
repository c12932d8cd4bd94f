"""The peak of what NumPy allocates, for tests of plans of memory."""

import tracemalloc

__all__ = ["traced_peak"]


def traced_peak(action):
    """Return the most bytes that a second run of ``action`` allocates at once.

    The first loads and compiles code, whose memory a compiler counts too: 42 MB were seen where 25 MB were planned.
    """
    action()
    tracemalloc.start()
    try:
        action()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
