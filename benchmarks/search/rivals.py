"""General optimisers on the same landscapes: ``pip install optuna cma nevergrad joblib`` for all of them.

Each proposes the weights of all ingredients but the last, one soup at a time, which is then the nearest of the lattice.
All begin with the ingredients and the uniform soup, as ``bayes`` does. A soup proposed again costs nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from itertools import count

import numpy as np

from search.evaluation import Weights

Score = Callable[[list[float]], float]
"""The score of a soup, of which more is better, by the weights of all ingredients but the last."""


@dataclass(frozen=True)
class Setting:
    """The first soups, the least and greatest weight, the seed, and how many soups are evaluated."""

    first: list[Weights]
    lower: float
    upper: float
    seed: int
    evaluations: int


Rival = Callable[[Setting, Score], None]
"""Runs until ``Score`` raises StopIteration."""


def optuna_tpe(setting: Setting, score: Score) -> None:
    """Optuna's default: a tree-structured Parzen estimator (Bergstra et al. 2011)."""
    optuna = import_module("optuna")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=setting.seed))
    names = [f"w{place}" for place in range(len(setting.first[0]) - 1)]
    for start in setting.first:
        study.enqueue_trial(dict(zip(names, start, strict=False)))
    study.optimize(
        lambda trial: score([trial.suggest_float(name, setting.lower, setting.upper) for name in names]),
        n_trials=10_000,
    )


def cma_es(setting: Setting, score: Score) -> None:
    """CMA-ES (Hansen), as mergekit-evolve uses it, from the best of the first soups, restarted when it ends."""
    cma = import_module("cma")
    scores = [score(list(start[:-1])) for start in setting.first]
    begun = list(setting.first[int(np.argmax(scores))][:-1])
    for restart in count(1):
        options = {"seed": setting.seed * 1000 + restart, "bounds": [setting.lower, setting.upper], "verbose": -9}
        strategy = cma.CMAEvolutionStrategy(begun, 0.3, options)
        while not strategy.stop():
            asked = strategy.ask()
            strategy.tell(asked, [-score(list(each)) for each in asked])


def nevergrad_ngopt(setting: Setting, score: Score) -> None:
    """Nevergrad's NGOpt, as LoraHub uses it."""
    nevergrad = import_module("nevergrad")
    space = nevergrad.p.Array(init=np.array(setting.first[-1][:-1])).set_bounds(setting.lower, setting.upper)
    space.random_state.seed(setting.seed)
    optimizer = nevergrad.optimizers.NGOpt(parametrization=space, budget=setting.evaluations)
    for start in setting.first:
        optimizer.suggest(np.array(start[:-1]))
    while True:
        asked = optimizer.ask()
        optimizer.tell(asked, -score(list(asked.value)))


RIVALS: dict[str, Rival] = {"Optuna TPE": optuna_tpe, "CMA-ES": cma_es, "Nevergrad NGOpt": nevergrad_ngopt}
