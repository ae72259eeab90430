"""Checks that every strategy must pass, and made-up soups that can be searched in milliseconds.

To check your own strategy::

    @pytest.mark.parametrize("check", strategy_checks(), ids=lambda check: check.__name__)
    @given(case=cases())
    def test_conformance(check, case):
        check(KIND, MyRequest(), case)
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.special import softmax

from search.continuation import Continuation, most_soups
from search.evaluation import Bar, EvaluationRequest, Flags, Outcome, Passes, SetOutcome, Visit, Weights, weights_key
from search.information import UnlabelledSet
from search.loop import (
    UNSTEERED,
    ContractError,
    Executor,
    Found,
    Interrupted,
    Journal,
    Observer,
    OnFound,
    Steering,
    run_search,
)
from search.objectives import Measure, Objectives
from search.pareto import pareto_front
from search.ranking import Evaluation, rank
from search.space import SearchError, Space
from search.strategy import Generation, LatticeRequest, Strategy, StrategyKind, StrategyRequest


@dataclass(frozen=True)
class Landscape:
    """Soups of ``size`` made-up ingredients on ``images`` images.

    Their logits vary smoothly with the weights and are drawn from ``seed``; gradients are exact.

    For a fraction ``broken`` of the soups, the logits are not finite; a fraction ``pruned`` is dropped early.
    """

    size: int
    images: int = 20
    classes: int = 4
    seed: int = 0
    broken: float = 0.0
    pruned: float = 0.0

    @cached_property
    def _drawn(self) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Logits of the ingredients (size, images, classes), and labels."""
        rng = np.random.default_rng(self.seed)
        ingredients = rng.normal(size=(self.size, self.images, self.classes))
        labels = rng.integers(0, self.classes, self.images)
        ingredients[:, np.arange(self.images), labels] += rng.uniform(0, 2, size=(self.size, 1))
        return ingredients, labels

    @property
    def accepted(self) -> Flags:
        """The labels, bool (images, classes)."""
        return np.asarray(self._drawn[1][:, None] == np.arange(self.classes))

    def outcome(self, request: EvaluationRequest) -> Outcome:
        """The outcome that evaluators would return; always the same for the same weights."""
        ingredients, labels = self._drawn
        weights = np.array(request.weights)
        total = np.tensordot(weights, ingredients, 1)
        shrinkage = 1 + ((weights - 1 / self.size) ** 2).sum()
        logits = total / shrinkage
        if _fraction(request.weights) < self.broken:
            logits[0] = np.inf
        found = _read(logits, labels, keep_logits=request.keep_logits)
        if request.gradient and found.status == "complete":
            pull = self.accepted - softmax(logits, axis=1)
            of_total = np.tensordot(ingredients, pull, 2) / shrinkage
            gradient = of_total - (pull * total).sum() * 2 * (weights - 1 / self.size) / shrinkage**2
            (part,) = found.sets
            found = replace(found, sets=(replace(part, gradients=gradient[None, None]),))
            found = replace(found, passes=Passes(self.images, self.images))
        return replace(found, status="pruned") if _fraction(request.weights) > 1 - self.pruned else found


def _fraction(weights: Weights) -> float:
    """A number in [0, 1) that depends only on the weights."""
    key = np.frombuffer(np.round(np.array(weights) * 1e9).astype(np.int64).tobytes(), dtype=np.uint32)
    return float(np.random.default_rng(key.tolist()).random())


def _read(logits: NDArray[np.float64], labels: NDArray[np.int64], *, keep_logits: bool) -> Outcome:
    finite: Flags = np.asarray(np.isfinite(logits).all(axis=1))
    safe = np.where(finite[:, None], logits, 0.0)
    shifted = safe - safe.max(axis=1, keepdims=True)
    log_probability = shifted[np.arange(len(labels)), labels] - np.log(np.exp(shifted).sum(axis=1))
    prediction = np.where(finite, safe.argmax(axis=1), -1).astype(np.int32)
    found = SetOutcome(
        total=len(labels),
        prediction=prediction,
        correct=prediction == labels,
        log_probability=np.where(finite, log_probability, -np.inf).astype(np.float32),
        logits=logits.astype(np.float32) if keep_logits else None,
    )
    return Outcome("complete" if finite.all() else "not_finite", (found,), Passes(len(labels)))


@dataclass(frozen=True)
class RecordedLandscape:
    """Soups of real ingredients, evaluated once and for all.

    ``weights`` is float64 (soups, ingredients), ``logits`` float16 (soups, images, classes), ``labels`` int (images,).
    """

    weights: NDArray[np.float64]
    logits: NDArray[np.float16]
    labels: NDArray[np.int64]

    @classmethod
    def load(cls, path: Path) -> "RecordedLandscape":
        """Read what ``save`` wrote."""
        with np.load(path) as file:
            return cls(file["weights"], file["logits"], file["labels"])

    def save(self, path: Path) -> None:
        """Write a compressed npz file."""
        np.savez_compressed(path, weights=self.weights, logits=self.logits, labels=self.labels)

    def of_images(self, rows: Sequence[int] | NDArray[np.intp]) -> "RecordedLandscape":
        """Some of the images."""
        return RecordedLandscape(self.weights, self.logits[:, rows], self.labels[rows])

    @property
    def accepted(self) -> Flags:
        """The labels, bool (images, classes)."""
        return np.asarray(self.labels[:, None] == np.arange(self.logits.shape[2]))

    def outcome(self, request: EvaluationRequest) -> Outcome:
        """The outcome that evaluators returned.

        Raises KeyError for a soup that was not recorded, ValueError for a gradient: none were recorded.
        """
        if request.gradient:
            raise ValueError("a recorded landscape holds logits alone: take a Landscape, or the ingredients")
        logits = self.logits[self._places[weights_key(request.weights)]].astype(np.float64)
        return _read(logits, self.labels, keep_logits=request.keep_logits)

    @cached_property
    def _places(self) -> dict[str, int]:
        return {weights_key(row): place for place, row in enumerate(self.weights.tolist())}


class HasOutcomes(Protocol):
    """Anything that knows the outcome of every soup that is asked for."""

    def outcome(self, request: EvaluationRequest) -> Outcome:
        """Always the same for the same request."""


class LandscapeExecutor(Executor):
    """Evaluates soups of a landscape in the order given by ``shuffle``; interrupted after ``until`` soups.

    Without ``shuffle`` they go as they are asked for. A bar that is raised during a generation is heard of with the
    probability ``heard``.
    """

    def __init__(
        self,
        landscape: HasOutcomes,
        shuffle: int | None = 0,
        until: int | None = None,
        heard: float = 1.0,
    ) -> None:
        self._landscape = landscape
        self._is_ordered = shuffle is None
        self._rng = np.random.default_rng(shuffle or 0)
        self._left = until
        self._heard = heard

    def evaluate(
        self, requests: Sequence[EvaluationRequest], on_found: OnFound, steering: Steering = UNSTEERED
    ) -> None:
        """See ``Executor``."""
        bars = [steering.bar()]
        for place in range(len(requests)) if self._is_ordered else self._rng.permutation(len(requests)).tolist():
            if self._left == 0 or steering.should_end():
                raise Interrupted
            self._left = None if self._left is None else self._left - 1
            outcome = self._landscape.outcome(requests[place])
            visit = requests[place].visit
            for each in [] if visit is None else [each for each in bars if each is not None]:
                outcome = visited(outcome, visit, each) if visit is not None and outcome.is_whole else outcome
            on_found([(place, outcome)])
            if self._rng.random() < self._heard:
                bars[1:] = [steering.bar()]


def visited(outcome: Outcome, visit: Visit, bar: Bar) -> Outcome:
    """What becomes of a soup with this outcome on all images when it meets ``bar`` on its visit."""
    for count in range(1, len(visit.steps)):
        rows = replace(visit, steps=visit.steps[:count]).rows(len(outcome.sets))
        seen = [replace(each.of_images(some), total=each.total) for each, some in zip(outcome.sets, rows, strict=True)]
        if bar.drops(seen):
            return Outcome("pruned", tuple(seen), Passes(sum(each.seen for each in seen)))
    return outcome


class Trace(Observer, Journal):
    """Records what a search proposed and found, and what was known before."""

    def __init__(self, known: Mapping[EvaluationRequest, Outcome] | None = None) -> None:
        self.known = dict(known or {})
        self.soups: list[EvaluationRequest] = []
        self.found_now: dict[EvaluationRequest, Outcome] = {}

    def find(self, requests: Sequence[EvaluationRequest]) -> list[Outcome | None]:
        """See ``Journal``."""
        return [self.known.get(request) for request in requests]

    def proposed(self, soups: Generation) -> None:
        """See ``Observer``."""
        self.soups += soups

    def found(self, found: Found, *, known: bool) -> None:
        """See ``Observer``."""
        del known
        self.found_now |= {self.soups[place]: outcome for place, outcome in found}


@dataclass(frozen=True)
class Case:
    """The circumstances in which a strategy is checked."""

    landscape: Landscape
    space: Space
    seed: int
    shuffle: int
    cut: float
    objectives: Objectives = field(default_factory=Objectives)


@st.composite
def cases(draw: st.DrawFn, *, sizes: tuple[int, int] = (2, 4)) -> Case:
    """Landscapes, spaces with and without bounds and fixed weights, orders of completion, and interruptions."""
    size = draw(st.integers(*sizes))
    seeds = st.integers(0, 2**16)
    broken = draw(st.sampled_from([0.0, 0.3, 1.0]))
    kind = draw(st.sampled_from(["free", "bounded", "fixed"]))
    bounds: list[tuple[float, float]] = [(-10.0, 10.0)] * size
    if kind == "bounded":
        bounds[draw(st.integers(0, size - 1))] = (0.0, 1.0)
    elif kind == "fixed":
        bounds[0] = (0.2, 0.2)
    space = Space(size, None if kind == "free" else tuple(bounds))
    pruned = draw(st.sampled_from([0.0, 0.4]))
    landscape = Landscape(size, seed=draw(seeds), broken=broken, pruned=pruned)
    return Case(landscape, space, draw(seeds), draw(seeds), draw(st.floats(0, 1)), draw(_objectives(landscape)))


@st.composite
def _objectives(draw: st.DrawFn, landscape: Landscape) -> Objectives:
    """One or two objectives, with and without a constraint, with labels known or not, or not needed."""
    accuracy, likelihood = Measure(), Measure(metric="nll")
    information = Measure(metric="mutual_information", sets=(), unlabelled=(UnlabelledSet(0),))
    measures = draw(st.sampled_from([(accuracy,), (likelihood,), (accuracy, likelihood), (information,)]))
    return Objectives(
        measures,
        ("accuracy", "nll") if len(measures) > 1 else (),
        draw(st.sampled_from([(), ((accuracy, 0.5),), ((accuracy, 1.1),)])),
        accepted=draw(st.sampled_from([(), (landscape.accepted,)])),
        top_k=draw(st.sampled_from([1, 3])),
    )


Check = Callable[[StrategyKind, StrategyRequest, Case], None]


def strategy_checks() -> list[Check]:
    """Every check; each raises AssertionError for a strategy that breaks the contract."""
    return [
        check_soups_lie_in_the_space,
        check_nothing_is_proposed_twice,
        check_it_ends_within_its_bound,
        check_equal_searches_propose_alike,
        check_a_journal_changes_nothing,
        check_an_interrupted_search_resumes,
        check_late_bars_change_no_answer,
        check_it_goes_on_from_an_earlier_search,
    ]


def check_soups_lie_in_the_space(kind: StrategyKind, request: StrategyRequest, case: Case) -> None:
    """Weights sum to 1 and respect bounds and fixed weights."""
    for soup in _searched(kind, request, case).soups:
        assert soup.weights in case.space, f"{soup.weights} lies outside the space"
        if isinstance(request, LatticeRequest):
            assert request.admits(soup.weights, case.space), f"{soup.weights} lies outside the limits of the request"


def check_nothing_is_proposed_twice(kind: StrategyKind, request: StrategyRequest, case: Case) -> None:
    """No soup is proposed twice in a search."""
    names = [weights_key(soup.weights) for soup in _searched(kind, request, case).soups]
    assert len(set(names)) == len(names), "a soup was proposed twice"


def check_it_ends_within_its_bound(kind: StrategyKind, request: StrategyRequest, case: Case) -> None:
    """The search proposes something, and ends after at most as many evaluations as its kind declares."""
    trace = _searched(kind, request, case)
    assert trace.soups or _started(kind, request, case) is None, "nothing was proposed"


def check_equal_searches_propose_alike(kind: StrategyKind, request: StrategyRequest, case: Case) -> None:
    """The same soups in the same order, whichever outcome is known first and whatever was searched before."""
    first = _searched(kind, request, case, shuffle=0)
    assert _searched(kind, request, case, shuffle=case.shuffle + 1).soups == first.soups


def check_a_journal_changes_nothing(kind: StrategyKind, request: StrategyRequest, case: Case) -> None:
    """It proposes the same soups, whichever outcomes are already known."""
    whole = _searched(kind, request, case)
    count = round(case.cut * len(whole.soups))
    known = {soup: whole.found_now[soup] for soup in whole.soups[:count]}
    assert _searched(kind, request, case, known=known).soups == whole.soups


def check_an_interrupted_search_resumes(kind: StrategyKind, request: StrategyRequest, case: Case) -> None:
    """A search that is cut off anywhere and restarted with what it had found ends with the same soups."""
    whole = _searched(kind, request, case)
    cut = _searched(kind, request, case, until=int(case.cut * len(whole.soups)))
    resumed = _searched(kind, request, case, known=cut.found_now)
    assert resumed.soups == whole.soups
    assert _answer(resumed, case) == _answer(whole, case)
    for soup, outcome in whole.found_now.items():
        assert "pruned" in {resumed.found_now[soup].status, outcome.status} or (
            resumed.found_now[soup].status == outcome.status
        )


def check_late_bars_change_no_answer(kind: StrategyKind, request: StrategyRequest, case: Case) -> None:
    """The same soups are proposed, and the same are best, however many of the raised bars are heard of."""
    whole = _searched(kind, request, case)
    for heard in (0.0, 0.3):
        other = _searched(kind, request, case, shuffle=case.shuffle + 1, heard=heard)
        assert other.soups == whole.soups
        assert _answer(other, case) == _answer(whole, case)


def _answer(trace: Trace, case: Case) -> tuple[list[Evaluation], list[Evaluation]]:
    """The best soups and the Pareto front."""
    found = [case.objectives.evaluation(soup.weights, outcome) for soup, outcome in trace.found_now.items()]
    front = pareto_front(found) if len(case.objectives.measures) > 1 else []
    return rank(found)[: case.objectives.top_k], front


def check_it_goes_on_from_an_earlier_search(kind: StrategyKind, request: StrategyRequest, case: Case) -> None:
    """It begins with the soups of an earlier search, evaluates none twice, and tries at least what it tries alone."""
    alone = _searched(kind, request, case)
    rng = np.random.default_rng(case.shuffle)
    tried = [soup.weights for soup in alone.soups]
    earlier = [tried[place] for place in rng.permutation(len(tried))[: round(case.cut * len(tried))].tolist()]
    if not earlier or (started := _started(kind, request, case)) is None:
        return
    strategy, bound = started
    trace, budget = Trace(), request.limits(case.space)
    continued = Continuation(strategy, earlier, budget)
    run_search(continued, most_soups(bound, len(earlier), budget), LandscapeExecutor(case.landscape), trace, trace)
    soups = [soup.weights for soup in trace.soups]
    assert soups[: len(earlier)] == earlier
    assert len({weights_key(soup) for soup in soups}) == len(soups), "a soup was proposed twice"
    assert all(soup in case.space for soup in soups)
    assert budget is not None or set(map(weights_key, soups)) == set(map(weights_key, tried))


def _started(kind: StrategyKind, request: StrategyRequest, case: Case) -> tuple[Strategy, int] | None:
    """The strategy and its bound; None where it refuses the space, which the bound alone may do, or the objectives."""
    if request.drops_soups and case.objectives.reads_logits:
        return None
    try:
        bound = kind.bound(request, case.space)
    except SearchError:
        return None
    return kind.start(request, case.space, case.objectives, case.seed), bound


def _searched(
    kind: StrategyKind,
    request: StrategyRequest,
    case: Case,
    *,
    known: Mapping[EvaluationRequest, Outcome] | None = None,
    shuffle: int | None = None,
    until: int | None = None,
    heard: float = 1.0,
) -> Trace:
    trace = Trace(known)
    if (started := _started(kind, request, case)) is None:
        return trace
    strategy, bound = started
    executor = LandscapeExecutor(case.landscape, case.shuffle if shuffle is None else shuffle, until, heard)
    try:
        run_search(strategy, bound, executor, trace, trace, keep_logits=case.objectives.reads_logits)
    except Interrupted:
        assert until is not None
    except ContractError as error:
        raise AssertionError(str(error)) from error
    return trace
