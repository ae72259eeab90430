"""Which refinement the soups of a job get, and refined soups as tensors."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from typing import Literal

from torch import Tensor

from search.evaluation import EvaluationRequest, LayerWeights, Outcome, Refinement, Weights
from search.loop import Executor
from service.errors import InvalidRequest
from service.refinements import RefinementLimits
from service.schemas.request import Refine
from service.schemas.result import AppliedRefinement
from workers.evaluation.errors import EvaluationMemoryError
from workers.evaluation.sets import EncodedSet
from workers.evaluation.streams import one_thread
from workers.refinement.checkpoint import refined
from workers.soups.merge import merge
from workers.soups.stack import IngredientStack, SoupWeights

ADAPTED = Refinement(statistics="adapted")
REFITTED = Refinement(head="refit")
TIED = 1e-6
"""Likelihoods so close, in nats, tell refinements apart no better than rounding does."""


def candidates(refine: Refine, limits: RefinementLimits, *, adapts: bool = False) -> list[Refinement]:
    """The refinements that a request leaves open and ``limits`` allow.

    With ``adapts``, statistics are adapted without asking where labels are too few to cross-validate.
    """
    statistics: list[Literal["source", "adapted"]] = ["source"] if limits.statistics else ["source", "adapted"]
    if adapts and limits.temperature is not None:
        statistics = statistics[-1:]
    heads: list[Literal["keep", "refit"]] = ["keep"] if limits.head else ["keep", "refit"]
    if refine.statistics != "auto":
        statistics = [refine.statistics]
    if refine.head != "auto":
        heads = [refine.head]
    found = [Refinement(*parts) for parts in product(statistics, heads, {False, refine.temperature})]
    return sorted(found, key=simplicity)


def baseline_refinements(limits: RefinementLimits) -> list[Refinement]:
    """The refinements of one kind by which ingredients are compared with soups."""
    return ([] if limits.statistics else [ADAPTED]) + ([] if limits.head else [REFITTED])


def simplicity(refinement: Refinement) -> tuple[int, bool, bool]:
    """A key that sorts refinements from the simplest: what fits fewer numbers to labels goes first."""
    return refinement.changes, refinement.temperature, refinement.head == "refit"


@dataclass(frozen=True)
class RefinedModels:
    """Cross-validated outcomes of some soups after each refinement, and why evaluators refused the others."""

    outcomes: Mapping[Refinement, tuple[Outcome, ...]]
    refused: Mapping[Refinement, str]

    def with_logits_of(self, kept: Refinement) -> "RefinedModels":
        """The same, without logits after all other refinements."""
        outcomes = {
            each: found if each == kept else tuple(outcome.without_logits() for outcome in found)
            for each, found in self.outcomes.items()
        }
        return RefinedModels(outcomes, self.refused)


def evaluate_refined(
    executor: Executor, soups: Sequence[Weights | LayerWeights], refinements: Sequence[Refinement]
) -> RefinedModels:
    """Evaluate every soup after every refinement, with its logits.

    A refinement that the model does not allow, or the evaluators' memory, is left out. Raises what else the executor
    raises.
    """
    requests = [EvaluationRequest(soup, keep_logits=True, refinement=each) for soup in soups for each in refinements]
    try:
        found = executor.outcomes(requests)
    except (ValueError, EvaluationMemoryError) as error:
        if len(refinements) == 1:
            return RefinedModels({}, {refinements[0]: str(error)})
        parts = [evaluate_refined(executor, soups, [each]) for each in refinements]
        return RefinedModels(
            {each: outcomes for part in parts for each, outcomes in part.outcomes.items()},
            {each: reason for part in parts for each, reason in part.refused.items()},
        )
    count = len(refinements)
    return RefinedModels({each: tuple(found[place::count]) for place, each in enumerate(refinements)}, {})


def choose(models: RefinedModels, among: Sequence[Refinement], nll: Callable[[Outcome], float | None]) -> Refinement:
    """The refinement under which the best of the soups has the best likelihood, the simplest of those that are tied.

    ``among`` are ordered from the simplest. Raises InvalidRequest (``not_refinable``) when all of them were refused.
    """
    scored = {each: least_nll(models.outcomes[each], nll) for each in among if each in models.outcomes}
    if not scored:
        raise InvalidRequest(models.refused[among[0]], param="refine", code="not_refinable")
    best = min(scored.values())
    return next(each for each, value in scored.items() if value <= best + TIED or value == best)


def least_nll(outcomes: Sequence[Outcome], nll: Callable[[Outcome], float | None]) -> float:
    """The best likelihood among ``outcomes``, as a loss in nats; infinite when none is finite."""
    return min(_loss(nll(each)) for each in outcomes)


def best_place(outcomes: Sequence[Outcome], nll: Callable[[Outcome], float | None]) -> int:
    """The place of the outcome with the best likelihood."""
    return min(range(len(outcomes)), key=lambda place: _loss(nll(outcomes[place])))


def _loss(nll: float | None) -> float:
    return float("inf") if nll is None else nll


def refined_soup(
    stack: IngredientStack, weights: SoupWeights, sets: Sequence[EncodedSet], refinement: Refinement
) -> tuple[dict[str, Tensor], AppliedRefinement | None]:
    """The soup of ``weights`` after ``refinement`` on all images of ``sets``, and what was done.

    It is refined on the CPU by one thread, so that its bytes depend on neither the number of cores nor the evaluators:
    equal arguments give equal bytes on CPUs of one kind. Raises ValueError when it cannot be refined so.
    """
    tensors = merge(stack, weights)
    if not refinement.changes_anything:
        return tensors, None
    with one_thread():
        tensors, record = refined(tensors, stack.config, sets, refinement)
    return tensors, AppliedRefinement(statistics=refinement.statistics, head=refinement.head, **asdict(record))
