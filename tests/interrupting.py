"""Fits without the matrix that end after some products with the kernel."""

from __future__ import annotations

from contextlib import suppress

from sslcore.solvers.matrix_free import MatrixFreeKernel


def interrupted(monkeypatch, products, work, error=KeyboardInterrupt, **options):
    """Work until as many products are done, and end there; return the result if it was done before."""
    times_kernel, left = MatrixFreeKernel.times_kernel, products

    def stop(self, v, **how):
        nonlocal left
        if not left:
            raise error
        left -= 1
        return times_kernel(self, v, **how)

    with monkeypatch.context() as patch:
        patch.setattr(MatrixFreeKernel, "times_kernel", stop)
        with suppress(error):
            return work(**options)
    return None
