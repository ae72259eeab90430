"""What a soup is compared with: its ingredients, the uniform soup and the ensembles of the ingredients."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast, get_args

import numpy as np

from search.evaluation import Average, EvaluationRequest, Outcome
from search.loop import Executor
from workers.evaluation.ensemble import ensemble_outcome
from workers.evaluation.errors import EvaluationMemoryError
from workers.evaluation.sets import LabelledColumns

AVERAGES = cast(tuple[Average, Average], get_args(Average))


@dataclass(frozen=True)
class BaselineOutcomes:
    """``ingredients`` are in the order of the stack; an ensemble is None where it found no memory.

    Without attacks ingredients and uniform soup have their logits. ``logit_ensemble`` averages the ingredients' logits,
    ``softmax_ensemble`` their probabilities. Where all are attacked, an ensemble is too, as the one model that it is.
    """

    ingredients: tuple[Outcome, ...]
    uniform_soup: Outcome
    logit_ensemble: Outcome | None
    softmax_ensemble: Outcome | None


def evaluate_baselines(
    executor: Executor, ingredients: int, labels: Sequence[LabelledColumns], *, attacked: bool
) -> BaselineOutcomes:
    """Evaluate all baselines; ``labels`` are those of each set of the executor's task.

    Without attacks the ensembles cost no pass: they are read from the ingredients' logits. Raises what the executor
    raises, but EvaluationMemoryError for the ensembles.
    """
    soups = [tuple(row) for row in np.eye(ingredients).tolist()]
    soups.append((1 / ingredients,) * ingredients)
    *members, uniform = executor.outcomes([EvaluationRequest(soup, keep_logits=not attacked) for soup in soups])
    if attacked:
        try:
            ensembles: list[Outcome | None] = [*executor.outcomes([EvaluationRequest(each) for each in AVERAGES])]
        except EvaluationMemoryError:
            ensembles = [None, None]
    else:
        spaces, accepted = [each.space for each in labels], [each.accepted for each in labels]
        ensembles = [ensemble_outcome(members, each, spaces, accepted) for each in AVERAGES]
    logit, softmax = ensembles
    return BaselineOutcomes(tuple(members), uniform, logit, softmax)
