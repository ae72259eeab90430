"""What a result says of a choice that was made without labels, and which images to label next."""

from collections.abc import Sequence

import numpy as np

from search.evaluation import Outcome, Weights
from search.guards import Guard, Signs
from search.labelling import MOST_SOUPS, suggest_labels
from service.schemas.job import Point
from service.schemas.result import ImageToLabel, LabelFreeChoice, LabelFreeSigns
from workers.jobs.material import Material, SetMaterial
from workers.jobs.scoring import Scoring

_SIGNS = {
    "largest_share": "predicts one class too often",
    "predicted_classes": "predicts too few classes",
    "agreement": "agrees with the ingredients' softmax ensemble too seldom",
}


def label_free_choice(
    material: Material, scoring: Scoring, ranked: Sequence[Point], score: Outcome
) -> LabelFreeChoice | None:
    """How the best of ``ranked`` was chosen, whose file has the outcome ``score``; None where labels alone chose it."""
    measure = scoring.objectives.first
    if not measure.reads_logits:
        return None
    guards = scoring.objectives.guards
    return LabelFreeChoice(
        labelled=sum(len(each.split.selection) for each in measure.of_sets(material.sets)),
        unlabelled=sum(len(material.sets[each.place].split.selection) for each in measure.unlabelled),
        weight=measure.weight,
        soup=_worst([guard.signs(score) for guard in guards]),
        ingredients=_worst([guard.ingredients for guard in guards]),
        doubts=_doubts(ranked, guards, score),
    )


def _doubts(ranked: Sequence[Point], guards: Sequence[Guard], score: Outcome) -> list[str]:
    best = ranked[0]
    better = [point for point in ranked if point.alarms and (point.score or 0.0) > (best.score or 0.0)]
    doubts = []
    if best.alarms:
        doubts.append(f"every soup sounds an alarm: this one {_told(best)}")
    elif better:
        doubts.append(f"a soup that the objective prefers {_told(better[0])}")
    for guard in guards:
        if guard.disagrees(score):
            ours, theirs = guard.signs(score).agreement, guard.ingredients.agreement
            doubts.append(
                f"the soup agrees with the ingredients' softmax ensemble on {100 * ours:.0f} % of the images without a "
                f"label, every ingredient on {100 * theirs:.0f} % or more"
            )
    return doubts


def _told(point: Point) -> str:
    return " and ".join(_SIGNS[alarm] for alarm in point.alarms)


def _worst(signs: Sequence[Signs]) -> LabelFreeSigns | None:
    if not signs:
        return None
    return LabelFreeSigns(
        largest_share=max(each.largest_share for each in signs),
        predicted_classes=min(each.predicted_classes for each in signs),
        agreement=min(each.agreement for each in signs),
    )


def label_next(
    material: Material, ranked: Sequence[Point], tried: Sequence[tuple[Weights, Outcome]]
) -> list[ImageToLabel]:
    """The images without a label whose labels would tell most about which of the best soups tried is best.

    Of a search that drops soups only the ``top_k`` best count: which others have seen all images depends on timing.
    """
    parts = [(place, each) for place, each in enumerate(material.sets) if not each.is_labelled]
    outcomes = dict(tried)
    sound = [point for point in ranked if not point.alarms] or list(ranked)
    most = min(MOST_SOUPS, material.request.top_k) if material.request.search.drops_soups else MOST_SOUPS
    soups = [outcomes[weights] for point in sound if (weights := tuple(point.weights)) in outcomes][:most]
    if not parts or not soups or not material.request.label_next:
        return []
    found = suggest_labels(
        np.array([np.concatenate([soup.sets[place].prediction for place, _ in parts]) for soup in soups]),
        material.request.label_next,
        classes=max(len(each.labels.columns) for _, each in parts),
        right=[sum(int(each.right.sum()) for each in soup.sets if each.correct is not None) for soup in soups],
        labelled=sum(len(each.split.selection) for each in material.sets if each.is_labelled),
    )
    images = [(each, row) for _, each in parts for row in each.split.selection]
    return [
        ImageToLabel(
            set=images[suggestion.image][0].stored.digest,
            image=_name(*images[suggestion.image]),
            votes={_class_name(images[suggestion.image][0], column): soups for column, soups in suggestion.votes},
            information=suggestion.information,
        )
        for suggestion in found
    ]


def _name(part: SetMaterial, row: int) -> str:
    """The path of an image in its archive, or its place in the array of an npz."""
    paths = part.stored.contents.paths
    return paths[row] if paths else str(row)


def _class_name(part: SetMaterial, column: int) -> str:
    return part.labels.column_names[column]
