"""What pantries and labels allow a refinement to change."""

import pytest

from service.adaptation_sets.labels import Labels
from service.api.examples import PANTRY
from service.errors import InvalidRequest
from service.refinements import RefinementLimits, limits_of
from service.schemas.request import Refine

CLASSES = tuple((index,) for index in range(10))
OWN = Labels(CLASSES, (), ())
MAPPED = Labels(((0, 1), (2,)), (), ())
NORMED = PANTRY.model_copy(update={"batch_norm": True})


def test_enough_labels_of_the_models_classes_allow_everything() -> None:
    assert limits_of(NORMED, [OWN, OWN], [100, 3]) == RefinementLimits()


def test_an_architecture_without_batch_norm_has_no_statistics() -> None:
    limits = limits_of(PANTRY, [OWN], [100])
    assert limits.statistics is not None
    assert "vit_tiny_patch16_224" in limits.statistics
    assert (limits.head, limits.temperature) == (None, None)


def test_a_label_map_allows_a_temperature_but_no_last_layer() -> None:
    limits = limits_of(NORMED, [OWN, MAPPED], [100, 100])
    assert limits.head is not None
    assert "label map" in limits.head
    assert limits.temperature is None


@pytest.mark.parametrize("images", [[9], [4, 4, 4], [5, 4]])
def test_few_images_allow_only_statistics(images: list[int]) -> None:
    limits = limits_of(NORMED, [OWN] * len(images), images)
    assert limits.statistics is None
    assert None not in (limits.head, limits.temperature)


def test_too_few_images_for_the_classes_allow_a_temperature_but_no_last_layer() -> None:
    wide = NORMED.model_copy(update={"num_classes": 51})
    limits = limits_of(wide, [Labels(tuple((index,) for index in range(51)), (), ())], [101])
    assert limits.head is not None
    assert "at least 102" in limits.head
    assert limits_of(wide, [Labels(tuple((index,) for index in range(51)), (), ())], [102]).head is None
    assert limits.temperature is None


def test_only_what_is_asked_for_is_refused() -> None:
    limits = RefinementLimits("no statistics", "no head", "no temperature")
    limits.check(Refine())
    limits.check(Refine(statistics="auto", head="auto"))
    for refine, code in (
        (Refine(statistics="adapted"), "statistics_not_adaptable"),
        (Refine(head="refit"), "head_not_refittable"),
        (Refine(temperature=True), "temperature_not_fittable"),
    ):
        with pytest.raises(InvalidRequest) as caught:
            limits.check(refine)
        assert caught.value.code == code
