"""Building the ingredients of a pantry from its recipe."""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path

from lab.training.images import open_images
from lab.training.ingredient_build import RECORD, IngredientBuild, OnMeasure, Origin, Train
from lab.training.progress import TrainingProgress
from lab.training.recipe import PantryRecipe, recipe_digest

__all__ = ["RECORD", "OnPantryProgress", "PantryBuild", "build_pantry", "wanted_ingredients"]

OnPantryProgress = Callable[[str, TrainingProgress], None]


def build_pantry(
    recipe: PantryRecipe,
    output: Path,
    *,
    only: Collection[str] | None = None,
    device: str = "cpu",
    on_progress: OnPantryProgress | None = None,
) -> list[Path]:
    """Train the ingredients of ``recipe`` into timm folders ``output/NAME`` and return these, the base first.

    A finished ingredient stays as it is, an interrupted one continues. With ``only``, only these are trained, after a
    fine-tune's base if it is missing.

    Raises ValueError if a folder holds an ingredient of another recipe, or ``only`` names an unknown one.
    """
    wanted = wanted_ingredients(recipe, only)
    build = PantryBuild(recipe, output, device)
    return [build.ingredient(name, on_progress) for name in wanted]


def wanted_ingredients(recipe: PantryRecipe, only: Collection[str] | None) -> list[str]:
    """The names to build, the base first. Raises ValueError if ``only`` names an unknown one."""
    unknown = set(only or ()) - set(recipe.ingredients)
    if unknown:
        raise ValueError(
            f"the recipe has no ingredient {', '.join(sorted(unknown))}: it has {', '.join(recipe.ingredients)}"
        )
    return [name for name in recipe.ingredients if only is None or name in only or name == recipe.base_name]


class PantryBuild:
    """The ingredients of ``recipe``, one at a time, in ``output``. Their images are opened once.

    ``train`` trains outside this process; ``on_measure`` is called before an ingredient is measured again.
    """

    def __init__(
        self,
        recipe: PantryRecipe,
        output: Path,
        device: str = "cpu",
        *,
        tensorboard: bool = False,
        checkpoint_seconds: float = 30.0,
        train: Train | None = None,
        on_measure: OnMeasure | None = None,
    ) -> None:
        output.mkdir(parents=True, exist_ok=True)
        self._recipe = recipe
        self._output = output
        self._device = device
        self._tensorboard = tensorboard
        self._checkpoint_seconds = checkpoint_seconds
        self._train = train
        self._on_measure = on_measure
        self._images = open_images(recipe.data, recipe.model)

    def ingredient(self, name: str, on_progress: OnPantryProgress | None = None) -> Path:
        """Train one ingredient unless it is finished. A fine-tune needs a finished base."""
        base = self._recipe.base_name
        build = IngredientBuild(
            self._recipe.ingredient(name),
            self._images,
            self._output / name,
            self._digest(name),
            None if name == base else Origin(self._output / base, self._digest(base)),
            self._device,
            self._tensorboard,
            self._checkpoint_seconds,
            record={
                "pantry": self._recipe.name,
                "ingredient": name,
                "fine_tuned_from": None if name == base else base,
            },
        )
        return build.run(partial(on_progress, name) if on_progress else None, self._train, self._on_measure)

    def _digest(self, name: str) -> str:
        """The digest of everything that decides an ingredient's parameters, including a fine-tune's base."""
        stages = [self._recipe.base[self._recipe.base_name]]
        if name != self._recipe.base_name:
            stages.append(self._recipe.fine_tunes[name])
        return f"{recipe_digest(self._recipe.model, *stages)}:{self._images.digest()}"
