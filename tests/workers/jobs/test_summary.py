"""The sentences of a result."""

from typing import Any

import pytest

from service.schemas.request import AdaptRequest
from service.schemas.result import (
    AccuracyTest,
    AppliedRefinement,
    Baselines,
    Cost,
    HeldOut,
    ImageToLabel,
    LabelFreeChoice,
    LabelFreeSigns,
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
        cost=Cost(evaluations=1, images=100, forward_passes=100, grid_forward_passes=100, seconds=1.0),
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


@pytest.mark.parametrize(
    "search", [{"strategy": "grid", "prune": True}, {"strategy": "race"}, {"strategy": "gradient"}]
)
def test_a_search_that_refines_nothing_is_not_told_to(search: dict[str, object]) -> None:
    found = summarise(
        result(**with_baselines(refitted_head=refined(0.7))), request(search=search, objective={"metric": "nll"})
    )
    assert found.endswith('more: search in another way, with refine.head "auto".')


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


NLL = {"objective": {"metric": "nll"}}
ACCURATER = AccuracyTest(difference=0.12, interval=(0.05, 0.2), p_value=0.002)
AS_ACCURATE = AccuracyTest(difference=0.0, interval=(-0.06, 0.06), p_value=1.0)


def scored(score: float, accuracy: float | None) -> dict[str, Any]:
    return {"score": score, "metrics": {} if accuracy is None else {"accuracy": accuracy}}


def by_likelihood(
    accuracy: float | None,
    by_accuracy: AccuracyTest | None,
    interval: tuple[float, float] = (0.2, 0.4),
    **others: Score,
) -> Result:
    """A result that likelihood ranks; l1 is right on half of the images."""
    level = Score(**scored(-1.0, 0.5))
    rivals: dict[str, Any] = {"uniform_soup": level, "logit_ensemble": level, "softmax_ensemble": level}
    ingredients = {"l1": level} | {name: others.pop(name) for name in ("linf",) if name in others}
    test = PairedTest(against="l1", difference=sum(interval) / 2, interval=interval, p_value=None, accuracy=by_accuracy)
    found = result(-0.7, test, baselines=Baselines(ingredients=ingredients, **(rivals | others)))
    return found.model_copy(update=scored(-0.7, accuracy))


def test_likelihoods_are_told_by_accuracy_where_it_is_known() -> None:
    head = RefinedIngredient(ingredient="l1", **scored(-0.7, 0.6))
    assert summarise(by_likelihood(0.62, ACCURATER, refitted_head=head), request(**NLL)) == (
        "The soup is right on 62.0 % of the 100 images that chose it, 12.0 points more than the best ingredient (l1). "
        "Refitting the last layer of l1 alone gives 60.0 %, 2.0 points less."
    )
    in_nats = summarise(by_likelihood(None, None), request(**NLL))
    assert in_nats.startswith(
        "The soup has a log-likelihood of -0.700 nats on the 100 images that chose it, 0.300 nats"
    )
    assert "%" not in summarise(by_likelihood(0.62, None), request(**NLL))


@pytest.mark.parametrize(
    ("accuracy", "by_accuracy", "interval", "sentence"),
    [
        (
            0.5,
            AS_ACCURATE,
            (0.2, 0.4),
            "The soup is as accurate as the best ingredient (l1) as far as these images tell, and surer of the right "
            "labels: it is right on 50.0 % of the 100 images that chose it, l1 on 50.0 %; the right labels are 0.300 "
            "nats more likely.",
        ),
        (
            0.5,
            AS_ACCURATE,
            (-0.2, 0.4),
            "The soup is no better than the best ingredient (l1) as far as these images tell: "
            "it is right on 50.0 % of the 100 images that chose it, l1 on 50.0 %.",
        ),
        (
            0.62,
            ACCURATER,
            (-0.4, -0.2),
            "The soup is right on 62.0 % of the 100 images that chose it, "
            "12.0 points more than the best ingredient (l1).",
        ),
        (
            0.4,
            AccuracyTest(difference=-0.1, interval=(-0.2, -0.03), p_value=0.01),
            (0.2, 0.4),
            "The soup is worse than the best ingredient (l1): "
            "it is right on 40.0 % of the 100 images that chose it, l1 on 50.0 %. ",
        ),
        (
            0.5004,
            AccuracyTest(difference=0.0004, interval=(0.0001, 0.0007), p_value=0.01),
            (0.2, 0.4),
            "The soup is right on 50.0 % of the 100 images that chose it, as much as the best ingredient (l1).",
        ),
    ],
)
def test_what_is_judged_is_what_is_told(
    accuracy: float, by_accuracy: AccuracyTest, interval: tuple[float, float], sentence: str
) -> None:
    found = summarise(by_likelihood(accuracy, by_accuracy, interval), request(**NLL))
    assert found.startswith(sentence)


def test_the_likeliest_ingredient_need_not_be_the_most_accurate() -> None:
    found = summarise(by_likelihood(0.62, ACCURATER, linf=Score(**scored(-1.2, 0.65))), request(**NLL))
    assert found == (
        "The soup is right on 62.0 % of the 100 images that chose it, 12.0 points more than the likeliest ingredient "
        "(l1). The ingredient linf gives 65.0 %, 3.0 points more."
    )


def test_models_without_finite_logits_are_passed_over() -> None:
    broken = Score(**scored(-87.0, None))
    head = RefinedIngredient(ingredient="l1", **scored(-87.0, None))
    found = by_likelihood(0.62, ACCURATER, linf=broken, uniform_soup=broken, refitted_head=head)
    assert summarise(found, request(**NLL)).endswith("12.0 points more than the best ingredient (l1).")
    none_is_finite = found.model_copy(
        update={"baselines": Baselines(**models(-87.0)), "paired_test": None, "metrics": {"accuracy": 0.62}}
    )
    assert summarise(none_is_finite, request(**NLL)) == "The soup is right on 62.0 % of the 100 images that chose it."
    apart = HeldOut(images=50, soup=broken, **models(-87.0))
    told = summarise(found.model_copy(update={"held_out": apart}), request(**NLL))
    assert told == "The soup has a log-likelihood of -87.000 nats on the 50 held-out images."


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


@pytest.mark.parametrize(
    ("ended_by", "told"),
    [
        (
            "forward_passes",
            " The search ended after 1 soup: another might have exceeded its budget of 900 forward passes.",
        ),
        ("seconds", " The search ended after 1 soup, when its 60 seconds were over."),
        ("interval", " The search ended after 1 soup: none of the last gained 0.05 or more."),
        ("evaluations", ""),
        ("strategy", ""),
    ],
)
def test_the_end_of_a_budget_is_told(ended_by: str, told: str) -> None:
    budget = {"forward_passes": 900, "seconds": 60, "interval": 0.05}
    found = result(baselines=None, paired_test=None, ended_by=ended_by)
    text = summarise(found, request(search={"strategy": "bayes", "budget": budget}))
    assert text == f"The soup is right on 63.0 % of the 100 images that chose it.{told}"


SIGNS = LabelFreeSigns(largest_share=0.2, predicted_classes=10, agreement=0.7)
TO_LABEL = [ImageToLabel(set="0" * 64, image=f"unlabelled/{name}.png", votes={}, information=1.0) for name in "abcd"]


def label_free(labelled: int = 0, doubts: list[str] | None = None) -> LabelFreeChoice:
    return LabelFreeChoice(
        labelled=labelled, unlabelled=300, weight=1.0, soup=SIGNS, ingredients=SIGNS, doubts=doubts or []
    )


def test_a_choice_without_labels_says_what_is_not_known() -> None:
    found = result(1.7, None, 1.5, images=0, label_free=label_free(), label_next=TO_LABEL)
    assert summarise(found, request(objective={"metric": "mutual_information"})) == (
        "The soup was chosen without labels, by its mutual information on 300 images. "
        "That is 1.700 nats; l1, the best ingredient by it, has 1.500."
    )
    adapted = with_baselines(1.5, adapted_statistics=refined(1.8, "linf"))
    text = summarise(found.model_copy(update=adapted), request(objective={"metric": "mutual_information"}))
    assert text.endswith("has 1.500, linf with adapted statistics alone 1.800.")


def test_a_choice_that_is_not_to_be_trusted_names_images_to_label() -> None:
    doubts = ["it predicts one class too often"]
    found = result(1.7, None, 1.5, images=0, label_free=label_free(doubts=doubts), label_next=TO_LABEL)
    assert summarise(found, request(objective={"metric": "mutual_information"})).endswith(
        "Do not trust this choice: it predicts one class too often. Instead, label some images, first of all "
        "unlabelled/a.png, unlabelled/b.png, unlabelled/c.png."
    )


def test_few_labels_are_told_beside_the_images_without() -> None:
    baselines = models(0.9)
    baselines["ingredients"] = {
        name: Score(score=0.9, metrics={"accuracy": value}) for name, value in (("l1", 0.5), ("linf", 0.6))
    }
    baselines["adapted_statistics"] = RefinedIngredient(ingredient="l1", score=1.0, metrics={"accuracy": 0.65})
    changes: dict[str, Any] = {
        "metrics": {"accuracy": 0.7},
        "label_free": label_free(10),
        "baselines": Baselines(**baselines),
    }
    found = result(1.2, None, images=10, **changes)
    assert summarise(found, request(objective={"metric": "mutual_information"})) == (
        "The soup was chosen by 10 images with a label and 300 without. "
        "It is right on 70.0 % of the 10 that have one, linf, the best ingredient, on 60.0 %, "
        "l1 with adapted statistics alone on 65.0 %."
    )
