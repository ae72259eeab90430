"""From options to a request."""

from typing import Any

import pytest

from service.schemas.objective import ThreatModel
from service.schemas.request import AdaptRequest
from soupsearch.cli.exits import CommandError
from soupsearch.cli.objectives import Wanted, objective_fields, with_ids


def request_of(*threats: str, **options: Any) -> AdaptRequest:
    fields = objective_fields(threats, Wanted(**options), ["shifted.zip"])
    return AdaptRequest.model_validate({"pantry": "fashion", "preset": "paper"} | fields)


def fields_of(*sets: str, **options: Any) -> dict[str, Any]:
    return objective_fields((), Wanted(**options), sets)


def test_without_threats_soups_are_scored_by_accuracy() -> None:
    assert request_of(over_sets="worst").ranked_by[0].over_sets == "worst"
    assert request_of().metric_names == []
    assert request_of(min_accuracy=["0.85"]).constraints[0].at_least == 0.85


def test_soups_can_be_scored_by_likelihood_but_not_under_attack() -> None:
    request = request_of(metric="nll")
    assert (request.ranked_by[0].metric, request.metric_names) == ("nll", ["accuracy"])
    with pytest.raises(CommandError, match="without attacks"):
        request_of("Linf:0.1", metric="nll")


def test_a_prior_is_of_mutual_information() -> None:
    (measured,) = request_of(prior=["cat=0.7", "a=b=0.1"]).ranked_by
    assert (measured.metric, measured.prior) == ("mutual_information", {"cat": 0.7, "a=b": 0.1})
    with pytest.raises(CommandError, match="CLASS=SHARE"):
        request_of(prior=["cat"])
    for wrong in ({"pareto": True}, {}):
        with pytest.raises(CommandError, match="mutual information"):
            request_of("Linf:0.1", prior=["cat=0.7"], **wrong)


def test_threats_make_it_robust_accuracy() -> None:
    request = request_of("Linf:8/255", "l2:1.5", over_threats="worst", steps=10)
    assert request.metric_names == ["accuracy", "Linf:0.0313725490196 steps=10", "L2:1.5 steps=10", "union"]
    assert request.ranked_by[0].over_threats == "worst"


def test_a_front_sets_accuracy_against_each_threat() -> None:
    request = request_of("Linf:0.1", "L1:12", pareto=True, min_accuracy=["0.5"])
    assert [each.name for each in request.objectives or []] == ["accuracy", "Linf-0.1", "L1-12"]
    assert request.objective is None
    assert len(request.constraints) == 1


def test_each_threat_is_tried_by_each_loss() -> None:
    options = {"steps": 20, "losses": ["ce", "targeted-dlr"], "restarts": 2, "larger_radii": True}
    request = request_of("Linf:0.1", "L1:12", **options)
    assert [(each.norm, each.loss, each.steps, each.restarts, each.larger_radii) for each in request.threat_models] == [
        ("Linf", "ce", 20, 2, False),
        ("Linf", "targeted-dlr", 20, 2, False),
        ("L1", "ce", 20, 2, True),
        ("L1", "targeted-dlr", 20, 2, True),
    ]
    assert request.ranked_by[0].over_threats == "union"


def test_the_attack_is_the_services_own_without_options() -> None:
    request = request_of("Linf:0.1")
    assert request.threat_models == [ThreatModel(norm="Linf", eps=0.1)]


def test_on_a_front_the_losses_of_a_threat_are_one_objective() -> None:
    request = request_of("Linf:0.1", "L1:12", losses=["ce", "dlr"], pareto=True)
    accuracy, linf, l1 = request.objectives or []
    assert accuracy.threats is None
    for objective, norm in ((linf, "Linf"), (l1, "L1")):
        assert objective.over_threats == "union"
        assert [(each.norm, each.loss) for each in objective.threats or []] == [(norm, "ce"), (norm, "dlr")]


@pytest.mark.parametrize(
    ("threats", "options", "message"),
    [
        ((), {"losses": ["dlr"]}, "add a --threat"),
        (("L2:1",), {"larger_radii": True}, "add a --threat L1:EPS"),
        (("L2:1", "L1:12"), {"losses": ["ce", "dlr"], "over_threats": "mean"}, "--over-threats union"),
    ],
)
def test_options_of_attacks_that_make_no_sense_are_refused(
    threats: tuple[str, ...], options: dict[str, object], message: str
) -> None:
    with pytest.raises(CommandError, match=message):
        request_of(*threats, **options)


@pytest.mark.parametrize("threats", [(), ("Linf:0.1",) * 4])
def test_a_front_needs_one_to_three_threats(threats: tuple[str, ...]) -> None:
    with pytest.raises(CommandError, match="1 to 3 threats"):
        request_of(*threats, pareto=True)


def test_what_is_no_threat_is_refused() -> None:
    with pytest.raises(CommandError, match="NORM:EPS"):
        request_of("0.1")


def test_a_set_that_only_a_constraint_names_is_not_scored_by() -> None:
    options: dict[str, Any] = {"min_accuracy": ["clean.zip=0.85", "0.3"]}
    assert Wanted(**options).every_set(["shifted.zip"]) == ["shifted.zip", "clean.zip"]
    fields = fields_of("shifted.zip", **options)
    assert fields["objective"] == {"over_sets": "mean", "adaptation_sets": ["shifted.zip"]}
    on_clean, on_shifted = fields["constraints"]
    assert on_clean == {"metric": "accuracy", "at_least": 0.85, "adaptation_sets": ["clean.zip"]}
    assert on_shifted == {"metric": "accuracy", "at_least": 0.3, "adaptation_sets": ["shifted.zip"]}
    named = with_ids(fields, {"shifted.zip": "a" * 64, "clean.zip": "b" * 64})
    request = AdaptRequest.model_validate({"pantry": "fashion"} | named)
    assert [each.adaptation_sets for each in request.measured.values()] == [["a" * 64], ["b" * 64], ["a" * 64]]


def test_a_constraint_on_one_of_the_sets_leaves_the_objective_on_all() -> None:
    fields = fields_of("a.zip", "b.zip", min_accuracy=["b.zip=0.85"])
    assert fields["objective"] == {"over_sets": "mean"}
    assert fields["constraints"][0]["adaptation_sets"] == ["b.zip"]
    assert fields_of("a.zip", min_accuracy=["a.zip=0.85"])["constraints"] == [{"metric": "accuracy", "at_least": 0.85}]


@pytest.mark.parametrize(
    ("sets", "names"),
    [
        (["rotation.zip", "noise.npz"], ["rotation", "noise"]),
        (["noise_0.1", "noise_0.5"], ["noise_0.1", "noise_0.5"]),
        (["noise.tar.gz", "noise_0.5.tgz"], ["noise", "noise_0.5"]),
        (["sets/rotation/few.zip", "sets/noise/few.zip"], ["rotation-few", "noise-few"]),
        (["a/x/few.zip", "b/x/few.zip"], ["set-1", "set-2"]),
        (["0f" * 32, "grey images/"], ["0f" * 20, "grey-images"]),
    ],
)
def test_without_threats_a_front_sets_accuracy_on_each_set_against_the_others(
    sets: list[str], names: list[str]
) -> None:
    fields = fields_of(*sets, pareto=True)
    assert [each["name"] for each in fields["objectives"]] == names
    assert [each["adaptation_sets"] for each in fields["objectives"]] == [[each] for each in sets]
    ids = {each: f"{place}" * 64 for place, each in enumerate(sets)}
    assert AdaptRequest.model_validate({"pantry": "fashion"} | with_ids(fields, ids)).objective is None


@pytest.mark.parametrize("text", ["much", "clean.zip=", "clean.zip", "="])
def test_what_is_no_least_accuracy_is_refused(text: str) -> None:
    with pytest.raises(CommandError, match=r"write it as 0\.85"):
        fields_of("a.zip", min_accuracy=[text])


@pytest.mark.parametrize(
    ("option", "text", "message"),
    [
        ("min_accuracy", "85", r"--min-accuracy 85: the value must be at most 1 \(a fraction\): 85 % is 0\.85"),
        ("min_accuracy", "clean.zip=85", r"--min-accuracy clean\.zip=85: .*85 % is 0\.85"),
        ("min_accuracy", "-1", "--min-accuracy -1: the value must be a fraction from 0 to 1"),
        ("min_accuracy", "nan", "from 0 to 1"),
        ("prior", "cat=70", r"--prior cat=70: .*70 % is 0\.7"),
        ("prior", "cat=700", "--prior cat=700: the value must be a fraction from 0 to 1"),
    ],
)
def test_shares_in_percent_are_refused_and_told_as_fractions(option: str, text: str, message: str) -> None:
    with pytest.raises(CommandError, match=message):
        fields_of("a.zip", **{option: [text]})
