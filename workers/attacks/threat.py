"""Threat models: the l_p ball an adversary may move an image in."""

import math
from dataclasses import dataclass
from typing import Literal, Self, get_args

Norm = Literal["Linf", "L2", "L1"]
NORMS: tuple[Norm, ...] = get_args(Norm)


@dataclass(frozen=True)
class Threat:
    """A ball of radius ``eps`` in ``norm`` around an image with pixels in [0, 1].

    ``eps`` is in units of the pixel range: 8/255 for the usual l_inf budget on CIFAR-10.
    Raises ValueError if the norm is unknown, or eps is not a positive finite number. An l_inf ball wider than the pixel
    range is a sound threat, if hardly a wanted one: ``parse`` refuses it from those who write one.
    """

    norm: Norm
    eps: float

    def __post_init__(self) -> None:
        if self.norm not in NORMS:
            raise ValueError(f"unknown norm {self.norm!r}: use one of {', '.join(NORMS)}")
        if not math.isfinite(self.eps) or self.eps <= 0:
            raise ValueError(f"eps must be a positive finite number, not {self.eps!r}")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``NORM:EPS``, for instance ``Linf:0.1``, ``L2:1.5`` or ``Linf:8/255``; the inverse of ``str``.

        Raises ValueError, saying what to write instead, for anything else, also for an l_inf ball wider than the pixel
        range: its radius was meant in units of 1/255.
        """
        norm, separator, radius = text.strip().partition(":")
        if not separator:
            raise ValueError(f"{text!r} is not a threat model: write NORM:EPS, for instance Linf:0.1")
        threat = cls(_norm(norm), _radius(radius, text))
        if threat.norm == "Linf" and threat.eps > 1:
            raise ValueError(
                f"{threat} reaches further than pixels do, which are in [0, 1]: did you mean Linf:{threat.eps:g}/255?"
            )
        return threat

    def __str__(self) -> str:
        return f"{self.norm}:{self.eps!r}"


def _norm(text: str) -> Norm:
    for norm in NORMS:
        if text.strip().lower() == norm.lower():
            return norm
    raise ValueError(f"unknown norm {text!r}: use one of {', '.join(NORMS)}")


def _radius(text: str, threat: str) -> float:
    numerator, fraction, denominator = text.partition("/")
    try:
        return float(numerator) / (float(denominator) if fraction else 1.0)
    except (ValueError, ZeroDivisionError):
        raise ValueError(
            f"cannot read the radius {text!r} of {threat!r}: write a number such as 0.1 or a fraction such as 8/255"
        ) from None
