"""Searches that go on from the soups of an earlier one."""

from collections.abc import Sequence

from search.budget import Budget
from search.evaluation import Bar, EvaluationRequest, Outcome, Weights, weights_key
from search.strategy import Generation, Strategy


class Continuation(Strategy):
    """Proposes the soups of an ``earlier`` search first, in their order, and then what ``strategy`` proposes of others.

    ``strategy`` learns the outcomes of all that it proposes, wherever they come from. With a ``budget``, no more than
    its evaluations are proposed in all, the earlier ones included.
    """

    def __init__(self, strategy: Strategy, earlier: Sequence[Weights], budget: Budget | None) -> None:
        self._strategy = strategy
        self._earlier = tuple(
            EvaluationRequest(soup, keep_logits=strategy.reads_logits, gradient=strategy.reads_gradients)
            for soup in earlier
        )
        self._left = None if budget is None else budget.evaluations
        self._outcomes: dict[str, Outcome] = {}
        self._wanted: Generation = ()
        self._asked: Generation = self._earlier
        self._recalled: list[tuple[EvaluationRequest, Outcome]] = []

    def propose(self) -> Generation | None:
        """See ``Strategy``."""
        if not self._outcomes:
            self._asked = self._affordable(self._earlier)
            return self._asked or None
        while self._left != 0 and (soups := self._strategy.propose()) is not None:
            new = tuple(soup for soup in soups if weights_key(soup.weights) not in self._outcomes)
            self._wanted, self._asked = soups, self._affordable(new)
            known = [(soup, self._outcomes.get(weights_key(soup.weights))) for soup in soups]
            self._recalled = [(soup, outcome) for soup, outcome in known if outcome is not None]
            if self._asked:
                return self._asked
            self._strategy.learn([outcome for _, outcome in self._recalled])
        return None

    def raise_bar(self, found: Sequence[tuple[EvaluationRequest, Outcome]]) -> Bar | None:
        """See ``Strategy``. The earlier soups are not dropped."""
        if not self._outcomes:
            return None
        recalled, self._recalled = self._recalled, []
        return self._strategy.raise_bar([*recalled, *found])

    def learn(self, outcomes: Sequence[Outcome]) -> None:
        """See ``Strategy``."""
        is_first = not self._outcomes
        self._outcomes |= {
            weights_key(soup.weights): outcome for soup, outcome in zip(self._asked, outcomes, strict=True)
        }
        if is_first:
            self._strategy.start_from(self._asked, outcomes)
            return
        names = [weights_key(soup.weights) for soup in self._wanted]
        if all(name in self._outcomes for name in names):
            self._strategy.learn([self._outcomes[name] for name in names])

    def _affordable(self, soups: Generation) -> Generation:
        taken = soups[: self._left]
        self._left = None if self._left is None else self._left - len(taken)
        return taken


def most_soups(bound: int, earlier: int, budget: Budget | None) -> int:
    """The most soups that a search proposes that goes on from so many ``earlier`` ones, where it has the ``bound``."""
    return bound + earlier if budget is None else min(bound + earlier, budget.evaluations)
