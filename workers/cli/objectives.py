"""From options of the command line to what a request asks soups to be good at."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from workers.attacks.threat import Threat
from workers.cli.exits import CommandError

MOST_ON_A_FRONT = 3


@dataclass(frozen=True)
class Wanted:
    """Options beside the threats; ``steps`` are each attack's, ``min_accuracy`` is a constraint."""

    over_sets: str = "mean"
    over_threats: str = "union"
    steps: int = 40
    min_accuracy: float | None = None
    pareto: bool = False


def objective_fields(threats: Sequence[str], wanted: Wanted) -> dict[str, Any]:
    """The fields ``objective`` or ``objectives``, and ``constraints``, of a request.

    ``threats`` are written NORM:EPS; without any, soups are scored by accuracy. With ``pareto`` accuracy and each
    threat are objectives of their own. Raises CommandError for what cannot be read.
    """
    models = [_threat_model(text, wanted.steps) for text in threats]
    least = wanted.min_accuracy
    constraints = [] if least is None else [{"metric": "accuracy", "at_least": least}]
    if wanted.pareto:
        return {"objectives": _front(models, wanted.over_sets), "constraints": constraints}
    robust: dict[str, Any] = (
        {"metric": "robust_accuracy", "threats": models, "over_threats": wanted.over_threats} if models else {}
    )
    return {"objective": {"over_sets": wanted.over_sets} | robust, "constraints": constraints}


def _front(models: Sequence[dict[str, Any]], over_sets: str) -> list[dict[str, Any]]:
    if not 1 <= len(models) <= MOST_ON_A_FRONT:
        raise CommandError(f"--pareto sets accuracy against 1 to {MOST_ON_A_FRONT} threats: give as many --threat")
    robust: list[dict[str, Any]] = [
        {"name": f"{model['norm']}-{model['eps']:g}", "metric": "robust_accuracy", "threats": [model]}
        for model in models
    ]
    return [each | {"over_sets": over_sets} for each in ({"name": "accuracy"}, *robust)]


def _threat_model(text: str, steps: int) -> dict[str, Any]:
    try:
        threat = Threat.parse(text)
    except ValueError as error:
        raise CommandError(str(error)) from error
    return {"norm": threat.norm, "eps": threat.eps, "steps": steps}
