"""What a soup is compared with: its ingredients, the uniform soup and the ensembles of the ingredients."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from workers.evaluation.adversary import Stop
from workers.evaluation.ensemble import Average, EnsembleModel
from workers.evaluation.errors import EvaluationStopped
from workers.evaluation.evaluator import AnyScore, Evaluator, attacked
from workers.evaluation.scores import ModelScore, SetScore, SoupScore
from workers.evaluation.sets import EncodedSet
from workers.evaluation.tally import Tally

AVERAGES: tuple[Average, Average] = ("logits", "softmax")


@dataclass(frozen=True)
class BaselineScores:
    """Scores with each image's result, on the evaluator's sets; ``ingredients`` in the order of the stack.

    ``logit_ensemble`` averages the ingredients' logits, ``softmax_ensemble`` their probabilities. Where the evaluator
    attacks, all of them are attacked, an ensemble as the one model that it is.
    """

    ingredients: tuple[SoupScore, ...]
    uniform_soup: SoupScore
    logit_ensemble: ModelScore
    softmax_ensemble: ModelScore


def score_baselines(evaluator: Evaluator, stop: Stop | None = None) -> BaselineScores:
    """Score all baselines on the sets of ``evaluator``, with one pass of each ingredient and of the uniform soup.

    ``stop`` is asked before each pass. Raises EvaluationStopped when it ended them, EvaluationMemoryError.
    """
    count = len(evaluator.soup.stack)
    ensembles = [Ensemble(source) for source in evaluator.sets]
    ingredients = []
    for one_hot in np.eye(count):
        score = _whole(evaluator.evaluate(one_hot, stop=stop, logits=True))
        sets = tuple(ensemble.take(part) for ensemble, part in zip(ensembles, score.sets, strict=True))
        ingredients.append(replace(score, sets=sets))
    uniform_soup = _whole(evaluator.evaluate(np.full(count, 1 / count), stop=stop, detail=True))
    logit, softmax = (_ensemble_score(evaluator, ensembles, average, stop) for average in AVERAGES)
    return BaselineScores(tuple(ingredients), uniform_soup, logit, softmax)


def score_ensembles(evaluator: Evaluator, stop: Stop | None = None) -> tuple[ModelScore, ModelScore]:
    """The logit and the softmax ensemble as ``score_baselines`` scores them, but no ingredient is attacked by itself.

    Raises as ``score_baselines`` does.
    """
    ensembles = [Ensemble(source) for source in evaluator.sets]
    for one_hot in np.eye(len(evaluator.soup.stack)):
        score = _whole(evaluator.evaluate(one_hot, stop=stop, logits=True, attack=False))
        for ensemble, part in zip(ensembles, score.sets, strict=True):
            ensemble.take(part)
    logit, softmax = (_ensemble_score(evaluator, ensembles, average, stop) for average in AVERAGES)
    return logit, softmax


class Ensemble:
    """Averages of several models' outputs on one set, summed as the models come."""

    def __init__(self, source: EncodedSet) -> None:
        shape = len(source), source.space.num_classes
        self.source = source
        self.members = 0
        self._logits = torch.zeros(shape, dtype=torch.float64)
        self._log_probabilities = torch.full(shape, -torch.inf, dtype=torch.float64)

    def add(self, logits: Tensor) -> None:
        """Add a member by its logits on all images, shape (N, classes)."""
        self.members += 1
        self._logits += logits
        self._log_probabilities = torch.logaddexp(self._log_probabilities, logits.double().log_softmax(dim=1))

    def take(self, score: SetScore) -> SetScore:
        """Add the member that was scored with its logits; returns the score without them."""
        if score.detail is None or score.detail.logits is None:
            raise ValueError("a member of an ensemble is evaluated with logits=True")
        self.add(torch.from_numpy(score.detail.logits))
        return replace(score, detail=replace(score.detail, logits=None))

    def mean_logits(self) -> Tensor:
        """Mean of the members' logits, float64 (N, classes)."""
        return self._logits / self.members

    def mean_log_probabilities(self) -> Tensor:
        """Logarithm of the mean of the members' softmax up to a constant, float64 (N, classes)."""
        return self._log_probabilities


def _whole(score: AnyScore) -> AnyScore:
    if not score.complete:
        raise EvaluationStopped
    return score


def _ensemble_score(evaluator: Evaluator, ensembles: list[Ensemble], average: Average, stop: Stop | None) -> ModelScore:
    tallies = []
    for ensemble in ensembles:
        space = ensemble.source.space
        tally = Tally(len(ensemble.source))
        logits = ensemble.mean_logits() if average == "logits" else ensemble.mean_log_probabilities()
        tally.add(space.score(logits, space.mask(ensemble.source.accepted)), logits)
        tallies.append(tally)
    sets = tuple(tally.result(detail=True) for tally in tallies)
    score = ModelScore(sets, all(tally.finite for tally in tallies), complete=True)
    if not evaluator.attacks:
        return score
    model = EnsembleModel(evaluator.soup.ingredients(), average)
    return _whole(attacked(score, evaluator.adversary(model), stop))
