"""The sentences of a result."""

from typing import Any

import pytest

from service.schemas.request import AdaptRequest
from service.schemas.result import (
    AppliedRefinement,
    Baselines,
    Cost,
    HeldOut,
    MergedModel,
    PairedTest,
    RefinedIngredient,
    Result,
    Score,
)
from workers.jobs.summary import summarise

BETTER = PairedTest(against="l1", difference=0.12, interval=(0.05, 0.2), p_value=0.002)
LEVEL = PairedTest(against="l1", difference=0.01, interval=(-0.05, 0.07), p_value=0.8)
WORSE = PairedTest(against="l1", difference=-0.1, interval=(-0.2, -0.03), p_value=0.01)
REFINED = AppliedRefinement(statistics="adapted", head="refit", temperature=None, strength=0.64, prior=16, images=100)


def refined(score: float, ingredient: str = "l1") -> RefinedIngredient:
    return RefinedIngredient(ingredient=ingredient, score=score)


def models(best: float, **others: Any) -> dict[str, Any]:
    ingredients = {"l1": Score(score=best), "linf": Score(score=best - abs(best) / 10)}
    same = Score(score=best - abs(best) / 10)
    return {
        "ingredients": ingredients,
        "uniform_soup": same,
        "logit_ensemble": same,
        "softmax_ensemble": same,
        **others,
    }


def result(score: float = 0.63, test: PairedTest | None = BETTER, best: float = 0.51, **changes: Any) -> Result:
    found = Result(
        weights={"l1": 0.6, "linf": 0.4},
        metric="accuracy",
        score=score,
        images=100,
        top=[],
        baselines=Baselines(**models(best)),
        paired_test=test,
        cost=Cost(points=1, images=100, forward_passes=100, grid_forward_passes=100, seconds=1.0),
        model=MergedModel(sha256="0" * 64, bytes=1, url="/model"),
    )
    return found.model_copy(update=changes)


def request(**fields: Any) -> AdaptRequest:
    return AdaptRequest.model_validate({"pantry": "tiny", "preset": "paper", **fields})


def with_baselines(best: float = 0.51, **others: Any) -> dict[str, Any]:
    return {"baselines": Baselines(**models(best, **others))}


GAIN = "The soup is right on 63.0 % of the 100 images that chose it, 12.0 points more than the best ingredient (l1)."


def test_a_gain_is_told_in_points() -> None:
    assert summarise(result(), request()) == GAIN


@pytest.mark.parametrize(
    ("baselines", "refine", "sentence"),
    [
        (
            {"refitted_head": refined(0.66)},
            {},
            'Refitting the last layer of l1 alone gives 66.0 %, 3.0 points more: use refine.head "auto".',
        ),
        (
            {"refitted_head": refined(0.66), "adapted_statistics": refined(0.78, "linf")},
            {},
            'Adapting the statistics of linf alone gives 78.0 %, 15.0 points more: use refine.statistics "auto".',
        ),
        (
            {"adapted_statistics": refined(0.64)},
            {"statistics": "auto"},
            "Adapting the statistics of l1 alone gives 64.0 %, 1.0 points more.",
        ),
        ({"refitted_head": refined(0.6)}, {}, "Refitting the last layer of l1 alone gives 60.0 %, 3.0 points less."),
        ({"refitted_head": refined(0.63)}, {}, "Refitting the last layer of l1 alone gives 63.0 %, as much."),
        (
            {"refitted_head": refined(0.64), "logit_ensemble": Score(score=0.7)},
            {},
            "The logit ensemble gives 70.0 %, 7.0 points more, but costs a pass through every ingredient.",
        ),
        ({"uniform_soup": Score(score=0.64)}, {}, "The uniform soup gives 64.0 %, 1.0 points more."),
        ({"reference": Score(score=0.9)}, {}, "The reference gives 90.0 %, 27.0 points more."),
    ],
)
def test_the_strongest_rival_is_named(baselines: dict[str, Any], refine: dict[str, Any], sentence: str) -> None:
    found = summarise(result(**with_baselines(**baselines)), request(refine=refine))
    assert found == f"{GAIN} {sentence}"


def test_a_soup_that_is_no_better_is_said_to_be_none() -> None:
    found = summarise(result(0.52, LEVEL), request())
    assert found == (
        "The soup is no better than the best ingredient (l1) as far as these images tell: "
        "it is right on 52.0 % of the 100 images that chose it, l1 on 51.0 %."
    )


def test_a_soup_that_is_worse_is_said_to_be_worse() -> None:
    found = summarise(result(0.41, WORSE), request())
    assert found.startswith("The soup is worse than the best ingredient (l1): it is right on 41.0 %")


def test_what_was_changed_is_named() -> None:
    found = summarise(result(refinement=REFINED, weights={"l1": 1.0, "linf": 0.0}), request())
    assert found.startswith(
        "The soup, which is l1 alone, with adapted statistics and a refitted last layer, is right on 63.0 %"
    )


def test_figures_are_those_of_the_images_held_out() -> None:
    apart = HeldOut(
        images=600,
        soup=Score(score=0.55),
        paired_test=LEVEL,
        **models(0.54, refitted_head=refined(0.6)),
    )
    found = summarise(result(held_out=apart, **with_baselines(refitted_head=refined(0.5))), request())
    assert found == (
        "The soup is no better than the best ingredient (l1) as far as these images tell: "
        "it is right on 55.0 % of the 600 held-out images, l1 on 54.0 %. "
        'Refitting the last layer of l1 alone gives 60.0 %, 5.0 points more: use refine.head "auto".'
    )


def test_likelihoods_are_in_nats_and_judged_by_their_interval() -> None:
    gain = PairedTest(against="l1", difference=0.3, interval=(0.1, 0.5), p_value=None)
    wanted = request(objective={"metric": "nll"})
    found = summarise(result(-0.6, gain, -0.9, **with_baselines(-0.9, refitted_head=refined(-0.5))), wanted)
    assert found == (
        "The soup has a log-likelihood of -0.600 nats on the 100 images that chose it, "
        "0.300 nats more than the best ingredient (l1). "
        'Refitting the last layer of l1 alone gives -0.500 nats, 0.100 nats more: use refine.head "auto".'
    )
    level = gain.model_copy(update={"interval": (-0.1, 0.5)})
    found = summarise(result(-0.6, level, -0.9), wanted)
    assert "no better than the best ingredient (l1)" in found
    assert found.endswith("l1 one of -0.900 nats.")


def test_likelihoods_are_told_by_accuracy_where_it_is_known() -> None:
    def scored(score: float, accuracy: float) -> dict[str, Any]:
        return {"score": score, "metrics": {"accuracy": accuracy}}

    level = Score(**scored(-1.0, 0.5))
    baselines = Baselines(
        ingredients={"l1": level},
        uniform_soup=level,
        logit_ensemble=level,
        softmax_ensemble=level,
        refitted_head=RefinedIngredient(ingredient="l1", **scored(-0.7, 0.6)),
    )
    test = PairedTest(against="l1", difference=0.3, interval=(0.2, 0.4), p_value=None)
    found = result(-0.7, test, metrics={"accuracy": 0.62}, baselines=baselines)
    asked = request(objective={"metric": "nll"})
    assert summarise(found, asked) == (
        "The soup is right on 62.0 % of the 100 images that chose it, 12.0 points more than the best ingredient (l1). "
        "Refitting the last layer of l1 alone gives 60.0 %, 2.0 points less."
    )
    likelier = found.model_copy(update={"metrics": {"accuracy": 0.5}})
    assert summarise(likelier, asked).startswith("The soup is no better than the best ingredient (l1)")


def test_robustness_several_sets_and_several_objectives_are_named() -> None:
    threat = {"norm": "Linf", "eps": 0.1}
    robust = request(objective={"metric": "robust_accuracy", "threats": [threat]})
    assert "is right under attack on 63.0 % of the 100 images" in summarise(result(), robust)
    sets: dict[str, Any] = {"per_set": {digit * 64: Score(score=0.6) for digit in "12"}}
    assert "that chose it, in the worst set, 12.0" in summarise(
        result(**sets), request(objective={"over_sets": "worst"})
    )
    several = request(objectives=[{"name": "shifted"}, {"name": "clean"}])
    assert summarise(result(), several).startswith("By the objective shifted, the soup is right on")


def test_a_cancelled_search_and_violated_constraints_are_told() -> None:
    found = summarise(result(baselines=None, paired_test=None, partial=True, constraints_met=False), request())
    assert found == (
        "The soup is right on 63.0 % of the 100 images that chose it. "
        "No soup meets all constraints; this one violates them least. "
        "The search was cancelled before it had tried every soup."
    )
