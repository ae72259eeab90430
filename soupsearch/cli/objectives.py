"""Command-line options as the objectives and constraints of a request."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from soupsearch.cli.exits import CommandError
from workers.attacks.threat import Threat

MOST_ON_A_FRONT = 3
MOST_SETS_ON_A_FRONT = 4
MOST_PERCENT = 100
Fields = dict[str, Any]
_ARCHIVE_SUFFIX = re.compile(r"(\.tar)?\.(zip|npz|tar|tgz|gz)$")


@dataclass(frozen=True)
class Wanted:
    """Options beside the threats.

    ``prior`` are shares of classes, written CLASS=SHARE, which only mutual information has.
    Each threat is tried by one attack for each of ``losses``; ``larger_radii`` are for L1 alone. ``min_accuracy`` are
    constraints, written [SET=]VALUE.
    """

    metric: str | None = None
    prior: Sequence[str] = ()
    over_sets: str = "mean"
    over_threats: str = "union"
    steps: int = 40
    losses: Sequence[str] = ("ce",)
    restarts: int = 1
    larger_radii: bool = False
    min_accuracy: Sequence[str] = ()
    pareto: bool = False

    @property
    def bounds(self) -> list[tuple[str | None, float]]:
        """Least accuracies, each with the set that it applies to; None means the sets that soups are scored on."""
        return [_bound(text) for text in self.min_accuracy]

    def every_set(self, sets: Sequence[str]) -> list[str]:
        """``sets``, on which soups are scored, followed by those that only a constraint names."""
        return list(dict.fromkeys([*sets, *(name for name, _ in self.bounds if name is not None)]))


def objective_fields(threats: Sequence[str], wanted: Wanted, sets: Sequence[str]) -> Fields:
    """The fields ``objective`` or ``objectives``, and ``constraints``, of a request.

    ``threats`` are written NORM:EPS; without any, soups are scored by ``wanted.metric``, or as the preset says.
    ``sets`` are the sets that soups are scored on. ``adaptation_sets`` holds them as written on the command line, for
    ``with_ids`` to replace. With ``pareto``, accuracy and each threat are separate objectives; without threats,
    accuracy on each set.
    Raises CommandError for options that cannot be read or do not fit together.
    """
    parsed = [_parsed(text) for text in threats]
    _check(parsed, wanted)
    models = [_threat_models(threat, wanted) for threat in parsed]
    every = wanted.every_set(sets)
    scored = _on(sets, every)
    constraints = [
        {"metric": "accuracy", "at_least": least} | (scored if name is None else _on([name], every))
        for name, least in wanted.bounds
    ]
    if wanted.pareto:
        shared = {"over_sets": wanted.over_sets} | scored
        objectives = [shared | each for each in (_robust_front(models) if models else _front_of_sets(sets))]
        return {"objectives": objectives, "constraints": constraints}
    robust: Fields = (
        {"metric": "robust_accuracy", "threats": list(chain.from_iterable(models)), "over_threats": wanted.over_threats}
        if models
        else ({} if wanted.metric is None else {"metric": wanted.metric})
    )
    if wanted.prior:
        robust = {"metric": "mutual_information"} | robust | {"prior": dict(map(_share, wanted.prior))}
    return {"objective": {"over_sets": wanted.over_sets} | scored | robust, "constraints": constraints}


def with_ids(fields: Fields, ids: Mapping[str, str]) -> Fields:
    """``objective_fields`` with ids in place of the names that the command line uses for sets."""

    def named(measured: Fields) -> Fields:
        sets = measured.get("adaptation_sets")
        return measured if sets is None else measured | {"adaptation_sets": [ids[each] for each in sets]}

    return {
        key: named(value) if isinstance(value, dict) else [named(each) for each in value]
        for key, value in fields.items()
    }


def _on(sets: Sequence[str], every: Sequence[str]) -> Fields:
    return {} if set(sets) == set(every) else {"adaptation_sets": list(sets)}


def _bound(text: str) -> tuple[str | None, float]:
    name, _, value = text.rpartition("=")
    try:
        return name or None, _fraction(value, f"--min-accuracy {text}")
    except ValueError as error:
        raise CommandError(
            f"--min-accuracy {text}: write it as 0.85, or SET=0.85 for the accuracy on one set"
        ) from error


def _share(text: str) -> tuple[str, float]:
    name, _, value = text.rpartition("=")
    try:
        return name, _fraction(value, f"--prior {text}")
    except ValueError as error:
        raise CommandError(f"--prior {text}: write it as CLASS=SHARE, say cat=0.7") from error


def _fraction(text: str, given: str) -> float:
    """``text`` as a number from 0 to 1. Raises ValueError if it is none, CommandError if it is another number."""
    value = float(text)
    if 1 < value <= MOST_PERCENT:
        raise CommandError(f"{given}: the value must be at most 1 (a fraction): {value:g} % is {value / 100:g}")
    if not 0 <= value <= 1:
        raise CommandError(f"{given}: the value must be a fraction from 0 to 1")
    return value


def _robust_front(models: Sequence[list[Fields]]) -> list[Fields]:
    if len(models) > MOST_ON_A_FRONT:
        raise CommandError(f"--pareto sets accuracy against 1 to {MOST_ON_A_FRONT} threats: give as many --threat")
    robust = [
        {"name": f"{tried[0]['norm']}-{tried[0]['eps']:g}", "metric": "robust_accuracy", "threats": tried}
        for tried in models
    ]
    return [{"name": "accuracy"}, *robust]


def _front_of_sets(sets: Sequence[str]) -> list[Fields]:
    if not 2 <= len(sets) <= MOST_SETS_ON_A_FRONT:
        raise CommandError(
            f"--pareto sets accuracy against 1 to {MOST_ON_A_FRONT} threats, or 2 to {MOST_SETS_ON_A_FRONT} sets "
            "against each other: give as many --threat, or sets"
        )
    return [{"name": name, "adaptation_sets": [each]} for name, each in zip(_names(sets), sets, strict=True)]


def _names(sets: Sequence[str]) -> list[str]:
    """Different names: those of the files, with the folder's name if files share one, otherwise numbers."""
    paths = [Path(each).resolve() for each in sets]
    bare = [_ARCHIVE_SUFFIX.sub("", path.name) for path in paths]
    for texts in (bare, [f"{path.parent.name}-{name}" for path, name in zip(paths, bare, strict=True)]):
        names = [re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("._-")[:40] for text in texts]
        if all(names) and len(set(names)) == len(names):
            return names
    return [f"set-{number}" for number in range(1, len(sets) + 1)]


def _parsed(text: str) -> Threat:
    try:
        return Threat.parse(text)
    except ValueError as error:
        raise CommandError(str(error)) from error


def _check(threats: Sequence[Threat], wanted: Wanted) -> None:
    if not threats and (tuple(wanted.losses) != Wanted.losses or wanted.restarts != 1 or wanted.larger_radii):
        raise CommandError(
            "--loss, --restarts and --larger-radii only apply to attacks: add a --threat, or leave them out"
        )
    if wanted.larger_radii and not any(threat.norm == "L1" for threat in threats):
        raise CommandError("--larger-radii only applies to L1: add a --threat L1:EPS, or leave it out")
    if wanted.metric is not None and (threats or wanted.pareto):
        raise CommandError(
            f"--metric {wanted.metric} applies to one objective without attacks: leave it out, or --threat and --pareto"
        )
    if wanted.prior and (threats or wanted.pareto):
        raise CommandError("--prior applies to mutual information: leave it out, or --threat and --pareto")
    if len(wanted.losses) > 1 and wanted.over_threats != "union" and not wanted.pareto:
        raise CommandError(
            "several --loss form one attack, and an image must withstand all of them: give only one --loss, "
            "or --over-threats union"
        )


def _threat_models(threat: Threat, wanted: Wanted) -> list[Fields]:
    """The threat as a request names it, once for each loss."""
    how = {"steps": wanted.steps, "restarts": wanted.restarts}
    how |= {"larger_radii": True} if wanted.larger_radii and threat.norm == "L1" else {}
    return [{"norm": threat.norm, "eps": threat.eps, "loss": loss} | how for loss in wanted.losses]
