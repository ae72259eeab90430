"""Warnings that a job and the estimate of its cost share: of few images, and of a long search."""

from collections.abc import Sequence
from dataclasses import dataclass

from service.schemas.job import JobWarning
from service.schemas.objective import Measured
from service.schemas.request import AdaptRequest

FEW_IMAGES = 50
LONG_SECONDS = 3600.0


@dataclass(frozen=True)
class SelectingImages:
    """How many images of a set select the soup, with a label or without, and how many classes it has to tell apart."""

    set_id: str
    images: int
    classes: int
    is_labelled: bool = True


def warn_of_long_search(seconds: float | None) -> list[JobWarning]:
    """Warn of a search that is expected to take an hour or more; None says that nothing is known of its time."""
    if seconds is None or seconds < LONG_SECONDS:
        return []
    message = (
        f"the search will take about {seconds / 3600:.1f} hours: take fewer soups, images, threats or steps, or give "
        "it a budget"
    )
    return [JobWarning(code="long_search", message=message)]


def warn_of_images(request: AdaptRequest, sets: Sequence[SelectingImages]) -> list[JobWarning]:
    """Warn of sets with too few images, for their classes or at all, that an objective or constraint is measured on."""
    warnings = _few_without_label(request, sets)
    for each in (counted for counted in sets if counted.is_labelled):
        is_scored = _is_measured(each, request.ranked_by)
        if is_scored and each.images < each.classes:
            message = f"{each.images} images select among soups of {each.classes} classes: some classes have no image"
            warnings.append(JobWarning(code="fewer_images_than_classes", message=message))
        if each.images < FEW_IMAGES and is_scored:
            message = (
                f"{each.images} images select the soup: the score is uncertain, see its interval; 100 usually suffice"
            )
            warnings.append(JobWarning(code="few_images", message=message))
        elif each.images < FEW_IMAGES and _is_measured(each, request.constraints):
            message = (
                f"{each.images} images tell whether a constraint holds: its value is uncertain; 100 usually suffice"
            )
            warnings.append(JobWarning(code="few_images", message=message))
    return warnings


def _few_without_label(request: AdaptRequest, sets: Sequence[SelectingImages]) -> list[JobWarning]:
    informed = [each for each in request.ranked_by if each.metric == "mutual_information"]
    few = [each for each in sets if not each.is_labelled and each.images < FEW_IMAGES and _is_measured(each, informed)]
    message = "{} images without a label say little about which soup is best: 100 usually suffice"
    return [JobWarning(code="few_images", message=message.format(each.images)) for each in few]


def _is_measured(each: SelectingImages, measures: Sequence[Measured]) -> bool:
    named = [measure.adaptation_sets for measure in measures]
    return any(sets is None or each.set_id in sets for sets in named)
