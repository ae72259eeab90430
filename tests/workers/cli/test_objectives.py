"""From options to a request."""

import pytest

from service.schemas.request import AdaptRequest
from workers.cli.exits import CommandError
from workers.cli.objectives import Wanted, objective_fields


def request_of(*threats: str, **options: object) -> AdaptRequest:
    return AdaptRequest.model_validate({"pantry": "fashion"} | objective_fields(threats, Wanted(**options)))


def test_without_threats_soups_are_scored_by_accuracy() -> None:
    assert request_of(over_sets="worst").ranked_by[0].over_sets == "worst"
    assert request_of().metric_names == []
    assert request_of(min_accuracy=0.85).constraints[0].at_least == 0.85


def test_threats_make_it_robust_accuracy() -> None:
    request = request_of("Linf:8/255", "l2:1.5", over_threats="worst", steps=10)
    assert request.metric_names == ["accuracy", "Linf:0.0313725490196 steps=10", "L2:1.5 steps=10", "union"]
    assert request.ranked_by[0].over_threats == "worst"


def test_a_front_sets_accuracy_against_each_threat() -> None:
    request = request_of("Linf:0.1", "L1:12", pareto=True, min_accuracy=0.5)
    assert [each.name for each in request.objectives or []] == ["accuracy", "Linf-0.1", "L1-12"]
    assert request.objective is None
    assert len(request.constraints) == 1


@pytest.mark.parametrize("threats", [(), ("Linf:0.1",) * 4])
def test_a_front_needs_one_to_three_threats(threats: tuple[str, ...]) -> None:
    with pytest.raises(CommandError, match="1 to 3 threats"):
        request_of(*threats, pareto=True)


def test_what_is_no_threat_is_refused() -> None:
    with pytest.raises(CommandError, match="NORM:EPS"):
        request_of("0.1")
