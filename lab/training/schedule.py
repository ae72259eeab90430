"""Learning rates and attack radii over the course of training."""

from __future__ import annotations

import math

from lab.training.recipe import OptimizerRecipe


def learning_rate(recipe: OptimizerRecipe, progress: float) -> float:
    """The learning rate at ``progress`` in [0, 1).

    ``one_cycle`` rises linearly over the warm-up and falls linearly to zero; ``cosine`` falls along a cosine after
    the warm-up; ``thirds`` divides by ten after each third (fine-tuning in Croce and Hein, ICML 2022).
    """
    if recipe.schedule == "thirds":
        return recipe.learning_rate * 10.0 ** -int(3 * progress)
    if progress < recipe.warmup:
        return recipe.learning_rate * max(progress / recipe.warmup, 1e-3)
    after = (progress - recipe.warmup) / (1 - recipe.warmup)
    factor = 1 - after if recipe.schedule == "one_cycle" else (1 + math.cos(math.pi * after)) / 2
    return recipe.learning_rate * factor


def radius_share(delay: float, warmup: float, progress: float) -> float:
    """The share, in [0, 1], of the full attack radius at ``progress``: 0 until ``delay``, 1 from ``warmup`` on."""
    if progress < delay:
        return 0.0
    return 1.0 if progress >= warmup else max((progress - delay) / (warmup - delay), 0.01)
