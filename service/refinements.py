"""What a pantry and its adaptation sets allow a refinement to change."""

from collections.abc import Sequence
from dataclasses import dataclass

from search.evaluation import LEAST_LABELLED, REFINEMENT_FOLDS
from service.adaptation_sets.labels import Labels
from service.errors import InvalidRequest
from service.schemas.job import JobWarning
from service.schemas.pantry import Pantry
from service.schemas.request import AdaptRequest, Refine

IMAGES_PER_CLASS = 2
"""So many labelled images, on average: with one fold left out, the others still show most classes."""


@dataclass(frozen=True)
class RefinementLimits:
    """Why soups cannot be refined: their statistics, last layer, temperature and layers' weights; None if they can."""

    statistics: str | None = None
    head: str | None = None
    temperature: str | None = None
    layers: str | None = None

    def check(self, refine: Refine) -> None:
        """Raise InvalidRequest when ``refine`` asks for what cannot be done; what is ``auto`` asks for nothing.

        Its code is ``statistics_not_adaptable``, ``head_not_refittable``, ``temperature_not_fittable`` or
        ``layers_not_fittable``.
        """
        if refine.statistics == "adapted" and self.statistics is not None:
            raise InvalidRequest(self.statistics, param="refine.statistics", code="statistics_not_adaptable")
        if refine.head == "refit" and self.head is not None:
            raise InvalidRequest(self.head, param="refine.head", code="head_not_refittable")
        if refine.temperature and self.temperature is not None:
            raise InvalidRequest(self.temperature, param="refine.temperature", code="temperature_not_fittable")
        if refine.layers == "auto" and self.layers is not None:
            raise InvalidRequest(self.layers, param="refine.layers", code="layers_not_fittable")


def warn_of_dropped_soups(request: AdaptRequest) -> list[JobWarning]:
    """Warn when the default request would refine soups, and its search does not because it drops them early."""
    if request.preset != "auto" or not request.search.drops_soups:
        return []
    message = (
        "a search that drops soups early does not refine them: with another strategy, or without prune, the default "
        "request may well find a better model, see result.baselines"
    )
    return [JobWarning(code="not_refined", message=message)]


def limits_of(pantry: Pantry, labels: Sequence[Labels], images: Sequence[int]) -> RefinementLimits:
    """The limits of soups of ``pantry`` on sets with these labels, of which so many labelled images select."""
    few = None
    if sum(images) < LEAST_LABELLED or max(images, default=0) < REFINEMENT_FOLDS:
        few = (
            f"is fitted to {LEAST_LABELLED} labelled images or more, with {REFINEMENT_FOLDS} in one set at least, and "
            f"{sum(images)} select the soup: label more images, or hold fewer out"
        )
    return RefinementLimits(
        statistics=None if pantry.batch_norm else _no_statistics(pantry),
        head=_no_head(pantry, labels, sum(images), few),
        temperature=None if few is None else f"A temperature {few}, or leave refine.temperature out.",
        layers=_no_layers(images, few),
    )


def _no_layers(images: Sequence[int], few: str | None) -> str | None:
    if few is not None:
        return f"A layer-wise soup {few}, or leave refine.layers out."
    if 1 in images:
        return (
            "A layer-wise soup is cross-validated on every set, and one set has a single labelled image to select it: "
            "label another one, or leave refine.layers out."
        )
    return None


def _no_statistics(pantry: Pantry) -> str:
    return f'{pantry.architecture} has no BatchNorm statistics to adapt: ask for refine.statistics "source" or "auto".'


def _no_head(pantry: Pantry, labels: Sequence[Labels], images: int, few: str | None) -> str | None:
    classes = tuple((index,) for index in range(pantry.num_classes))
    otherwise = 'ask for refine.head "keep" or "auto"'
    if any(each.columns != classes for each in labels):
        return (
            "A last layer is refitted to labels that are the model's classes, and a label map gives them other "
            f"columns: {otherwise}, or label the images by the model's classes."
        )
    if few is not None:
        return f"A last layer {few}, or {otherwise}."
    if images < IMAGES_PER_CLASS * pantry.num_classes:
        return (
            f"{images} labelled images cannot tell how to refit a last layer of {pantry.num_classes} classes: "
            f"{otherwise}, or label at least {IMAGES_PER_CLASS * pantry.num_classes}."
        )
    return None
