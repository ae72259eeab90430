"""The loop: a strategy proposes, an executor evaluates, the strategy learns."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from search.budget import EndedBy, Meter
from search.evaluation import PLAIN, Bar, EvaluationRequest, Outcome, Refinement, weights_key
from search.strategy import Generation, Strategy

Found = Sequence[tuple[int, Outcome]]
"""Outcomes, each with the index of its request."""
OnFound = Callable[[Found], None]
"""Called with outcomes as they are found, by one thread at a time."""
CurrentBar = Callable[[], Bar | None]
"""The bar as it is now."""


def no_bar() -> None:
    """Soups are not dropped."""


ShouldEnd = Callable[[], bool]
"""Whether the work should be ended."""


def never() -> bool:
    """Work goes on to its end."""
    return False


@dataclass(frozen=True)
class Steering:
    """What may change while requests are evaluated. Any thread may ask."""

    should_end: ShouldEnd = never
    bar: CurrentBar = no_bar


UNSTEERED = Steering()
"""Every request is evaluated, and no soup dropped."""


class Executor(ABC):
    """Evaluates requests, anywhere and in any order.

    The outcome of a request depends only on the request, up to hardware rounding. It never depends on what else is
    evaluated, or where, in which order, or after how many losses.
    """

    @abstractmethod
    def evaluate(
        self, requests: Sequence[EvaluationRequest], on_found: OnFound, steering: Steering = UNSTEERED
    ) -> None:
        """Evaluate all requests and report each complete outcome once, as soon as it is known; return after the last.

        Soups with a visit that do not clear the bar are ``pruned``: the bar at the beginning, or any later one.

        Raises Interrupted if the user or another attempt ended the work, or soon after it should end; some outcomes are
        then never reported.
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


@dataclass(frozen=True)
class SearchEnd:
    """How many soups a search evaluated, and why it ended."""

    soups: int
    by: EndedBy


def run_search(
    strategy: Strategy,
    bound: int,
    executor: Executor,
    journal: Journal,
    observer: Observer,
    *,
    refinement: Refinement = PLAIN,
    keep_logits: bool = False,
    meter: Meter | None = None,
) -> SearchEnd:
    """Run ``strategy``, which proposes at most ``bound`` soups, to its end or to the limits that ``meter`` measures.

    Every soup is evaluated after ``refinement``, of which the strategy need not know; so is ``keep_logits``, for
    objectives that are read from logits. A refined soup is never dropped.
    What the journal holds is not evaluated again. The strategy sees the same outcomes in the same order wherever they
    come from and however fast. A limit of forward passes is never exceeded: it ends the search before the first soup,
    in the order proposed, that might. A limit of seconds ends it at any time after one soup has a score; what the
    observer was told until then is what was found. Raises Interrupted, ContractError, and whatever the executor, the
    journal or the observer raises.
    """
    meter = meter or Meter()
    first = 0
    names: set[str] = set()
    while not meter.is_late():
        soups = strategy.propose()
        if soups is None:
            return SearchEnd(first, meter.end_of(first))
        _check(soups, names, bound)
        soups = tuple(_asked(soup, refinement, keep_logits=keep_logits) for soup in soups)
        observer.proposed(soups)
        found: list[Outcome] = []
        while len(found) < len(soups):
            part = soups[len(found) :][: meter.affordable()]
            if not part:
                return SearchEnd(first + len(found), "forward_passes")
            told = _Told(observer, strategy, meter, part, first + len(found))
            try:
                found += _evaluated(part, executor, journal, told)
            except Interrupted:
                if not meter.is_late():
                    raise
                return SearchEnd(first + len(found) + told.count, "seconds")
        strategy.learn(found)
        first += len(soups)
        if meter.is_settled(soups, found):
            return SearchEnd(first, "interval")
    return SearchEnd(first, "seconds")


def _evaluated(soups: Generation, executor: Executor, journal: Journal, told: "_Told") -> list[Outcome]:
    known = [(place, outcome) for place, outcome in enumerate(journal.find(soups)) if outcome is not None]
    told.take(known, known=True)
    missing = [place for place, outcome in enumerate(told.outcomes) if outcome is None]
    if missing:
        if told.meter.is_late():
            raise Interrupted
        executor.evaluate(
            [soups[place] for place in missing],
            lambda found: told.take([(missing[index], outcome) for index, outcome in found], known=False),
            Steering(told.meter.is_late, told.bar),
        )
    found = [outcome for outcome in told.outcomes if outcome is not None]
    if len(found) < len(soups):
        raise ContractError(f"the executor left {len(soups) - len(found)} of {len(soups)} soups without an outcome")
    return found


def _asked(soup: EvaluationRequest, refinement: Refinement, *, keep_logits: bool) -> EvaluationRequest:
    visit = None if refinement.changes_anything else soup.visit
    return replace(soup, refinement=refinement, keep_logits=keep_logits or soup.keep_logits, visit=visit)


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


class _Told:
    """Collects the outcomes of ``soups``, of which ``first`` is the index of the first in the whole search.

    Tells observer, meter and strategy, whose bar it keeps.
    """

    def __init__(self, observer: Observer, strategy: Strategy, meter: Meter, soups: Generation, first: int) -> None:
        self.meter = meter
        self.outcomes: list[Outcome | None] = [None] * len(soups)
        self._observer = observer
        self._strategy = strategy
        self._soups = soups
        self._first = first
        self._bar: Bar | None = None

    @property
    def count(self) -> int:
        """How many outcomes there are."""
        return sum(outcome is not None for outcome in self.outcomes)

    def bar(self) -> Bar | None:
        """The bar as it is now."""
        return self._bar

    def take(self, found: Found, *, known: bool) -> None:
        """Take some outcomes."""
        for place, outcome in found:
            self.outcomes[place] = outcome
        self.meter.see([outcome for _, outcome in found])
        if found:
            self._observer.found([(self._first + place, outcome) for place, outcome in found], known=known)
        self._bar = self._strategy.raise_bar([(self._soups[place], outcome) for place, outcome in found])
