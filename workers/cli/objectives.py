"""From options of the command line to what a request asks soups to be good at."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from workers.attacks.threat import Threat
from workers.cli.exits import CommandError

MOST_ON_A_FRONT = 3


@dataclass(frozen=True)
class Attack:
    """How each threat is tried: by one attack for each of ``losses``; ``larger_radii`` are for L1 alone."""

    steps: int = 40
    losses: tuple[str, ...] = ("ce",)
    restarts: int = 1
    larger_radii: bool = False


@dataclass(frozen=True)
class Wanted:
    """Options beside the threats; ``min_accuracy`` is a constraint."""

    over_sets: str = "mean"
    over_threats: str = "union"
    attack: Attack = Attack()
    min_accuracy: float | None = None
    pareto: bool = False


def objective_fields(threats: Sequence[str], wanted: Wanted) -> dict[str, Any]:
    """The fields ``objective`` or ``objectives``, and ``constraints``, of a request.

    ``threats`` are written NORM:EPS; without any, soups are scored by accuracy. With ``pareto`` accuracy and each
    threat are objectives of their own. Raises CommandError for what cannot be read, or makes no sense together.
    """
    parsed = [_parsed(text) for text in threats]
    _check(parsed, wanted)
    models = [_threat_models(threat, wanted.attack) for threat in parsed]
    least = wanted.min_accuracy
    constraints = [] if least is None else [{"metric": "accuracy", "at_least": least}]
    if wanted.pareto:
        return {"objectives": _front(models, wanted.over_sets), "constraints": constraints}
    robust: dict[str, Any] = (
        {"metric": "robust_accuracy", "threats": list(chain.from_iterable(models)), "over_threats": wanted.over_threats}
        if models
        else {}
    )
    return {"objective": {"over_sets": wanted.over_sets} | robust, "constraints": constraints}


def _front(models: Sequence[list[dict[str, Any]]], over_sets: str) -> list[dict[str, Any]]:
    if not 1 <= len(models) <= MOST_ON_A_FRONT:
        raise CommandError(f"--pareto sets accuracy against 1 to {MOST_ON_A_FRONT} threats: give as many --threat")
    robust: list[dict[str, Any]] = [
        {"name": f"{tried[0]['norm']}-{tried[0]['eps']:g}", "metric": "robust_accuracy", "threats": tried}
        for tried in models
    ]
    return [each | {"over_sets": over_sets} for each in ({"name": "accuracy"}, *robust)]


def _parsed(text: str) -> Threat:
    try:
        return Threat.parse(text)
    except ValueError as error:
        raise CommandError(str(error)) from error


def _check(threats: Sequence[Threat], wanted: Wanted) -> None:
    if not threats and wanted.attack != Attack(wanted.attack.steps):
        raise CommandError("--loss, --restarts and --larger-radii are of attacks: add a --threat, or leave them out")
    if wanted.attack.larger_radii and not any(threat.norm == "L1" for threat in threats):
        raise CommandError("--larger-radii is an attack in L1: add a --threat L1:EPS, or leave it out")
    if len(wanted.attack.losses) > 1 and wanted.over_threats != "union" and not wanted.pareto:
        raise CommandError(
            "several --loss are one attack together, of which an image must withstand each: take one of them, "
            "or --over-threats union"
        )


def _threat_models(threat: Threat, attack: Attack) -> list[dict[str, Any]]:
    """The threat as a request names it, once for each loss."""
    how = {"steps": attack.steps, "restarts": attack.restarts}
    how |= {"larger_radii": True} if attack.larger_radii and threat.norm == "L1" else {}
    return [{"norm": threat.norm, "eps": threat.eps, "loss": loss} | how for loss in attack.losses]
