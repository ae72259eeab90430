"""From what an evaluator measured to what users and strategies see."""

from collections.abc import Sequence

from search.evaluation import Evaluation
from search.objectives import OverSets, combine, combine_losses
from service.schemas.job import Point, SetScore
from service.schemas.result import Score
from workers.evaluation.scores import ModelScore, SoupScore


class Scoring:
    """The objective of a request over its sets, whose digests are given in order."""

    def __init__(self, over_sets: OverSets, sets: Sequence[str]) -> None:
        self.over_sets = over_sets
        self._sets = list(sets)

    def value(self, score: ModelScore) -> float | None:
        """The objective; None when the logits were not finite or not all images were seen."""
        return combine([each.accuracy for each in score.sets], self.over_sets) if _is_valid(score) else None

    def nll(self, score: ModelScore) -> float | None:
        """Negative log-likelihood over the sets, in nats an image."""
        return combine_losses([each.nll for each in score.sets], self.over_sets) if _is_valid(score) else None

    def evaluation(self, score: SoupScore) -> Evaluation:
        """What a strategy learns."""
        return Evaluation(score.weights, self.value(score), self.nll(score))

    def point(self, score: SoupScore, index: int) -> Point:
        """What the job's list of points shows."""
        return Point(
            index=index,
            weights=list(score.weights),
            score=self.value(score),
            nll=self.nll(score),
            finite=score.finite,
            floored_channels=score.floored_channels,
            images=score.images,
            sets=self._set_scores(score) if _is_valid(score) else [],
            seconds=score.seconds,
        )

    def document(self, score: ModelScore, interval: tuple[float, float] | None = None) -> Score:
        """One model's score in a result: 0 without likelihood when its logits were not finite."""
        return Score(score=self.value(score) or 0.0, nll=self.nll(score), interval=interval)

    def per_set(self, score: ModelScore) -> dict[str, Score]:
        """The scores on each set."""
        pairs = zip(self._sets, score.sets, strict=True)
        return {digest: Score(score=each.accuracy, nll=each.nll) for digest, each in pairs}

    def _set_scores(self, score: ModelScore) -> list[SetScore]:
        pairs = zip(self._sets, score.sets, strict=True)
        return [SetScore(set=digest, correct=each.correct, images=each.seen, nll=each.nll) for digest, each in pairs]


def _is_valid(score: ModelScore) -> bool:
    return score.finite and score.complete
