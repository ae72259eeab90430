"""The loop: a strategy proposes, an executor evaluates, the strategy learns."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from search.evaluation import PLAIN, EvaluationRequest, Outcome, Refinement, weights_key
from search.strategy import Generation, Strategy

Found = Sequence[tuple[int, Outcome]]
"""Outcomes, each with the index of its request."""
OnFound = Callable[[Found], None]
"""Called with outcomes as they are found, by one thread at a time."""


class Executor(ABC):
    """Evaluates requests, anywhere and in any order.

    The outcome of a request depends only on the request, up to hardware rounding. It never depends on what else is
    evaluated, or where, in which order, or after how many losses.
    """

    @abstractmethod
    def evaluate(self, requests: Sequence[EvaluationRequest], on_found: OnFound) -> None:
        """Evaluate all requests and report each complete outcome once, as soon as it is known; return after the last.

        Raises Interrupted if the user or another attempt ended the work; some outcomes are then never reported.
        """

    def outcomes(self, requests: Sequence[EvaluationRequest]) -> list[Outcome]:
        """The outcomes of all requests, in request order. Raises the same errors as ``evaluate``."""
        outcomes: dict[int, Outcome] = {}
        self.evaluate(requests, outcomes.update)
        return [outcomes[place] for place in range(len(requests))]


class Journal(ABC):
    """Outcomes known from earlier attempts and other jobs."""

    @abstractmethod
    def find(self, requests: Sequence[EvaluationRequest]) -> list[Outcome | None]:
        """The complete outcome of each request, or None if it is not known."""


class Observer(ABC):
    """Follows the progress of a search."""

    @abstractmethod
    def proposed(self, soups: Generation) -> None:
        """A generation begins."""

    @abstractmethod
    def found(self, found: Found, *, known: bool) -> None:
        """Outcomes of soups by their index in the whole search; ``known`` means they come from the journal."""


class Interrupted(Exception):
    """The work was ended from outside."""


class ContractError(Exception):
    """A strategy or an executor broke its contract; the message says how."""


def run_search(
    strategy: Strategy,
    bound: int,
    executor: Executor,
    journal: Journal,
    observer: Observer,
    *,
    refinement: Refinement = PLAIN,
) -> int:
    """Run ``strategy`` to its end; returns how many soups it proposed, at most ``bound``.

    Every soup is evaluated after ``refinement``, of which the strategy need not know.
    What the journal holds is not evaluated again. The strategy sees the same outcomes in the same order wherever they
    come from and however fast. Raises Interrupted, ContractError, and whatever the executor, the journal or the
    observer raises.
    """
    first = 0
    names: set[str] = set()
    while (soups := strategy.propose()) is not None:
        _check(soups, names, bound)
        soups = tuple(replace(soup, refinement=refinement) for soup in soups)
        observer.proposed(soups)
        outcomes = journal.find(soups)
        known = [(first + place, outcome) for place, outcome in enumerate(outcomes) if outcome is not None]
        if known:
            observer.found(known, known=True)
        missing = [place for place, outcome in enumerate(outcomes) if outcome is None]
        if missing:
            executor.evaluate([soups[place] for place in missing], _Told(observer, outcomes, missing, first))
        found = [outcome for outcome in outcomes if outcome is not None]
        if len(found) < len(soups):
            raise ContractError(f"the executor left {len(soups) - len(found)} of {len(soups)} soups without an outcome")
        strategy.learn(found)
        first += len(soups)
    return first


def _check(soups: Generation, names: set[str], bound: int) -> None:
    """Raise ContractError for a generation that no strategy may propose after the soups of ``names``."""
    if not soups:
        raise ContractError("a generation holds at least one soup: return None from propose to end the search")
    for soup in soups:
        if isinstance(soup.model, str):
            raise ContractError("a strategy proposes soups, not ensembles")
        name = weights_key(soup.model)
        if name in names:
            raise ContractError(f"the soup {name} was proposed twice")
        names.add(name)
    if len(names) > bound:
        raise ContractError(f"more soups were proposed than the declared bound of {bound}")


@dataclass(frozen=True)
class _Told:
    """Collects the outcomes of a generation and notifies the observer."""

    observer: Observer
    outcomes: list[Outcome | None]
    missing: list[int]
    first: int

    def __call__(self, found: Found) -> None:
        for index, outcome in found:
            self.outcomes[self.missing[index]] = outcome
        self.observer.found([(self.first + self.missing[index], outcome) for index, outcome in found], known=False)
