"""What is minimised: the numbers of a fit, checked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..arrays import (
    check_boolean,
    check_integer,
    check_scalar,
)

__all__ = ["FitNumbers", "check_fit_numbers", "refuse_auto"]


def refuse_auto(n_components: Any, beta: Any) -> None:
    """Explain why there is no search over these two."""
    for name, value in (("beta", beta), ("n_components", n_components)):
        if isinstance(value, str) and value == "auto":
            raise ValueError(
                f"{name} cannot be 'auto': the unbiased risk grows with beta and with n_components whatever the data, "
                f"so risks at different ones are not comparable; choose {name} for the task, and only reg by held-out "
                f"risk (reg='auto')"
            )


@dataclass(frozen=True)
class FitNumbers:
    """The numbers of a fit, checked."""

    k: int
    reg: float
    beta: float
    unbiased: bool
    center: bool


def check_fit_numbers(
    n_components: Any,
    largest: int,
    what: str,
    reg: Any,
    beta: Any,
    unbiased: Any,
    center: Any,
    *,
    zero_reg: bool = False,
) -> FitNumbers:
    """``largest`` is the largest n_components, ``what`` it counts; ``zero_reg`` allows reg = 0."""
    refuse_auto(n_components, beta)
    k = check_integer(n_components, "n_components", minimum=1)
    if k > largest:
        raise ValueError(f"n_components must be at most the number of {what}, {largest}, found {k}")
    if isinstance(reg, str):
        raise TypeError(
            f"reg must be a number > 0, found {reg!r}; sslcore.pretrain takes 'auto' too, which holds out samples"
        )
    reg = check_scalar(reg, "reg", minimum=0.0, strict=not zero_reg)
    beta = check_scalar(beta, "beta", minimum=0.0)
    return FitNumbers(k, reg, beta, check_boolean(unbiased, "unbiased"), check_boolean(center, "center"))
