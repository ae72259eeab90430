import numpy as np
import pytest

from search.evaluation import Outcome, SetOutcome
from search.guards import guards_of
from search.information import UnlabelledSet
from search.objectives import Measure, Objectives
from search.ranking import rank

CLASSES, IMAGES = 4, 40
ALONE = UnlabelledSet(0)
OBJECTIVES = Objectives((Measure(metric="mutual_information", sets=(), unlabelled=(ALONE,)),))


def predicting(classes: list[int], sureness: float = 5.0) -> Outcome:
    """A model that predicts these classes, one after the other."""
    predicted = np.array(classes, dtype=np.int32)
    logits = (sureness * np.eye(CLASSES)[predicted]).astype(np.float32)
    return Outcome("complete", (SetOutcome(len(predicted), predicted, logits=logits),))


BALANCED = [image % CLASSES for image in range(IMAGES)]
SKEWED = [0] * 14 + [1 + image % 3 for image in range(26)]
INGREDIENTS = [predicting(BALANCED), predicting(BALANCED), predicting(SKEWED)]


def test_what_ingredients_do_sounds_no_alarm() -> None:
    [guard] = guards_of([ALONE], INGREDIENTS)
    assert guard.teacher.tolist() == BALANCED
    assert guard.ingredients.largest_share == 14 / IMAGES
    assert guard.ingredients.predicted_classes == CLASSES
    assert [guard.shortfalls(each) for each in INGREDIENTS] == [{}, {}, {}]
    assert not any(guard.disagrees(each) for each in INGREDIENTS)


def test_a_model_that_predicts_one_class_sounds_every_alarm_there_is() -> None:
    [guard] = guards_of([ALONE], INGREDIENTS)
    collapsed = guard.shortfalls(predicting([3] * IMAGES))
    assert collapsed["largest_share"] == pytest.approx(1 / 0.7 - 1)
    assert collapsed["predicted_classes"] == pytest.approx(0.5)
    turned = predicting([(label + 1) % CLASSES for label in BALANCED])
    assert guard.shortfalls(turned) == {"agreement": 1.0}
    assert guard.disagrees(turned)


def test_limits_are_reached_without_an_alarm() -> None:
    [guard] = guards_of([ALONE], INGREDIENTS)
    share = [0] * 28 + [1 + image % 3 for image in range(12)]
    assert "largest_share" not in guard.shortfalls(predicting(share))
    assert "largest_share" in guard.shortfalls(predicting([0, *share[:-1]]))
    assert "predicted_classes" not in guard.shortfalls(predicting([image % 2 for image in range(IMAGES)]))


def test_soups_with_an_alarm_rank_below_all_others() -> None:
    guarded = Objectives(OBJECTIVES.measures, guards=guards_of([ALONE], INGREDIENTS))
    dull, turned = predicting(BALANCED, 1.0), predicting([(label + 1) % CLASSES for label in BALANCED])
    evaluations = [guarded.evaluation((place, 1.0), each) for place, each in enumerate([turned, dull])]
    assert evaluations[0].score is not None
    assert evaluations[1].score is not None
    assert evaluations[0].score > evaluations[1].score
    assert [each.weights[0] for each in rank(evaluations)] == [1, 0]
    assert (guarded.alarms(turned), guarded.alarms(dull)) == (["agreement"], [])
    assert (evaluations[0].violation, evaluations[1].violation) == (1.0, 0.0)
    plain = [OBJECTIVES.evaluation((place, 1.0), each) for place, each in enumerate([turned, dull])]
    assert [each.weights[0] for each in rank(plain)] == [0, 1]


def test_ingredients_that_are_not_finite_set_no_limit() -> None:
    broken = Outcome("not_finite", predicting([3] * IMAGES).sets)
    [guard] = guards_of([ALONE], [*INGREDIENTS, broken])
    assert guard.ingredients.largest_share == 14 / IMAGES
    assert guards_of([ALONE], [broken]) == ()
    with pytest.raises(ValueError, match="ask for them"):
        guards_of([ALONE], [predicting(BALANCED).without_logits()])
