"""The objective that is minimised: the numbers of a fit, checked once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..arrays import (
    check_boolean,
    check_integer,
    check_scalar,
)

__all__ = ["Objective"]


@dataclass(frozen=True)
class Objective:
    """The risk that is minimised: components, reg, beta, and how T and the second moment are taken."""

    k: int
    reg: float
    beta: float
    unbiased: bool
    center: bool

    @classmethod
    def of(
        cls, n_components: Any, reg: Any, beta: Any, unbiased: Any, center: Any, *, zero_reg: bool = False
    ) -> Objective:
        """Check the numbers of a fit; ``zero_reg`` allows reg = 0."""
        _refuse_auto(n_components, beta)
        k = check_integer(n_components, "n_components", minimum=1)
        if isinstance(reg, str):
            raise TypeError(
                f"reg must be a number > 0, found {reg!r}; sslcore.pretrain takes 'auto' too, which holds out samples"
            )
        reg = check_scalar(reg, "reg", minimum=0.0, strict=not zero_reg)
        beta = check_scalar(beta, "beta", minimum=0.0)
        return cls(k, reg, beta, check_boolean(unbiased, "unbiased"), check_boolean(center, "center"))

    def within(self, largest: int, what: str) -> Objective:
        """Return the same objective, unless it has more components than there are dimensions, counted by ``what``."""
        if self.k > largest:
            raise ValueError(f"n_components must be at most the number of {what}, {largest}, found {self.k}")
        return self


def _refuse_auto(n_components: Any, beta: Any) -> None:
    """Explain why there is no search over these two."""
    for name, value in (("beta", beta), ("n_components", n_components)):
        if isinstance(value, str) and value == "auto":
            raise ValueError(
                f"{name} cannot be 'auto': the unbiased risk grows with beta and with n_components whatever the data, "
                f"so risks at different ones are not comparable; choose {name} for the task, and only reg by held-out "
                f"risk (reg='auto')"
            )
