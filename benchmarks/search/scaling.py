"""How busy many evaluators are kept: the dispatcher of real jobs, with evaluators and time made up.

    python -m benchmarks.search.scaling [--ingredients 4 16] [--evaluators 1 8 64] [--images 1000 10000]

A simulated evaluator takes ``--milliseconds`` for an image, times a factor for every batch (log-normal, with a
deviation of 0.2), and ``--overhead`` for each soup. It works on its batches one after the other; two are under way for
each, as in a job. A soup that is dropped takes the time of the images that it saw; its bar is the one of the moment
in which it is handed out. Between generations the time passes that the strategy really takes to propose. Printed for
each search: the share of the evaluators' time in which they worked, how much sooner the search ends than with the
fewest evaluators, and whether it proposed the same soups.
"""

import argparse
import heapq
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from search.budget import Budget
from search.evaluation import Bar, EvaluationRequest, Outcome
from search.loop import UNSTEERED, Executor, OnFound, Steering, run_search
from search.objectives import Measure, Objectives
from search.space import Space
from search.strategies.bayes import Bayes
from search.strategies.grid import Grid
from search.strategies.random import Random
from search.strategy import StrategyRequest, kind_of
from search.testing import Landscape, Trace, visited
from workers.ray_runtime.dispatcher import Dispatcher
from workers.ray_runtime.task import Report
from workers.ray_runtime.tuning import TRIALS_PER_EVALUATOR

BLOCK = 256
"""Images of a block, which one evaluator reads."""
BATCH = 16
"""Most soups of a batch, as ``SOUPSEARCH_POINTS_PER_TRIAL``."""
LANDSCAPE_IMAGES = 64
"""Images whose outcomes are made up: what an evaluation costs does not depend on them."""


def searches(ingredients: int) -> dict[str, StrategyRequest]:
    """What is simulated for pantries of so many ingredients."""
    budget = Budget(evaluations=256)
    adaptive = {f"bayes, batch {size}": Bayes(batch=size, budget=budget, tolerance=0) for size in (4, 64)}
    if ingredients > 6:
        return {"random, 256 soups": Random(budget=budget), **adaptive}
    return {"grid": Grid(), "grid, pruned": Grid(prune=True), **adaptive}


@dataclass
class SimulatedPool(Executor):
    """``count`` evaluators that take ``seconds`` for an image and ``overhead`` for a soup of ``images``."""

    landscape: Landscape
    count: int
    images: int
    seconds: float
    overhead: float
    now: float = field(default=0.0, init=False)
    worked: float = field(default=0.0, init=False)

    def evaluate(
        self, requests: Sequence[EvaluationRequest], on_found: OnFound, steering: Steering = UNSTEERED
    ) -> None:
        """See ``Executor``."""
        names = [str(number) for number in range(self.count)]
        dispatcher = Dispatcher(names, -(-self.images // BLOCK), BATCH)
        begun = threading.Event()
        thread = threading.Thread(target=dispatcher.run, args=(requests, on_found, begun.set, steering.bar))
        thread.start()
        begun.wait()
        free = dict.fromkeys(names, self.now)
        ends: list[tuple[float, str, list[Outcome]]] = []
        rng = np.random.default_rng(0)
        number = 0
        while True:
            while len(ends) < TRIALS_PER_EVALUATOR * self.count:
                batch = dispatcher.next_batch(str(number))
                if batch is None:
                    break
                outcomes = [self._outcome(each, steering.bar()) for each in batch.requests]
                took = float(rng.lognormal(0, 0.2)) * sum(each.seconds for each in outcomes)
                free[batch.evaluator] = max(self.now, free[batch.evaluator]) + took
                self.worked += took
                heapq.heappush(ends, (free[batch.evaluator], str(number), outcomes))
                number += 1
            if not ends:
                break
            self.now, name, outcomes = heapq.heappop(ends)
            dispatcher.take(name, Report(0, outcomes, last=True))
            dispatcher.end(name)
        thread.join()

    def _outcome(self, request: EvaluationRequest, bar: Bar | None) -> Outcome:
        """On the images of the request's blocks, up to where ``bar`` drops the soup."""
        whole = self.landscape.outcome(replace(request, blocks=None))
        share = 1.0
        if bar is not None and request.visit is not None:
            whole = visited(whole, request.visit, bar)
            share = whole.sets[0].seen / LANDSCAPE_IMAGES
        rows = np.arange(whole.sets[0].seen)[self._rows(request, whole.sets[0].seen)]
        images = share * len(range(self.images)[self._rows(request, self.images)])
        sets = (replace(whole.sets[0].of_images(rows), total=LANDSCAPE_IMAGES),)
        return replace(whole, sets=sets, seconds=self.overhead + self.seconds * images)

    def _rows(self, request: EvaluationRequest, images: int) -> slice:
        blocks = -(-self.images // BLOCK)
        first, last = request.blocks or (0, blocks)
        return slice(images * first // blocks, images * last // blocks)


def main(arguments: Sequence[str] | None = None) -> None:
    """Simulate, and print a table."""
    options = _parser().parse_args(arguments)
    print("| ingredients | images | search | evaluators | busy | sooner | same soups |\n|---|---|---|---|---|---|---|")
    for ingredients in options.ingredients:
        for images in options.images:
            for name, request in searches(ingredients).items():
                reference: tuple[float, list[EvaluationRequest]] | None = None
                for count in options.evaluators:
                    pool = SimulatedPool(
                        Landscape(ingredients, LANDSCAPE_IMAGES),
                        count,
                        images,
                        options.milliseconds / 1000,
                        options.overhead / 1000,
                    )
                    seconds, soups = _searched(request, pool)
                    reference = reference or (seconds, soups)
                    busy = pool.worked / (count * seconds)
                    same = "yes" if soups == reference[1] else "no"
                    sooner = reference[0] / seconds
                    print(f"| {ingredients} | {images} | {name} | {count} | {busy:.2f} | {sooner:.1f} | {same} |")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Simulate searches on many evaluators.")
    parser.add_argument("--ingredients", type=int, nargs="+", default=[4, 16])
    parser.add_argument("--evaluators", type=int, nargs="+", default=[1, 8, 64])
    parser.add_argument("--images", type=int, nargs="+", default=[1000, 10000])
    parser.add_argument(
        "--milliseconds", type=float, default=1.0, help="for one image: ViT-B/16 on a GPU takes about 1"
    )
    parser.add_argument("--overhead", type=float, default=5.0, help="milliseconds for merging a soup")
    return parser


def _searched(request: StrategyRequest, pool: SimulatedPool) -> tuple[float, list[EvaluationRequest]]:
    """Seconds until the search ended, and the soups that it proposed."""
    landscape = pool.landscape
    objectives = Objectives((Measure(metric="nll"),), accepted=(landscape.accepted,))
    kind, space, trace = kind_of(request), Space(landscape.size), Trace()
    strategy = kind.start(request, space, objectives, 0)
    propose, learn = strategy.propose, strategy.learn

    def timed(call: object) -> object:
        def run(*given: object) -> object:
            begun = time.perf_counter()
            answer = call(*given)  # type: ignore[operator]
            pool.now += time.perf_counter() - begun
            return answer

        return run

    strategy.propose, strategy.learn = timed(propose), timed(learn)  # type: ignore[assignment, method-assign]
    run_search(strategy, kind.bound(request, space), pool, trace, trace)
    return pool.now, trace.soups


if __name__ == "__main__":
    main()
