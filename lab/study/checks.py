"""Checks that run before anything is computed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from lab.study.config import CLEAN, AttackSection, PantrySection, StudyConfig
from lab.study.plan import check_trained
from service.pantries.config import NORMALISATION_TOLERANCE
from workers.attacks.attack import FEWEST_CLASSES
from workers.evaluation.preprocess import DataConfig
from workers.ray_runtime.task import SetPart
from workers.soups.layout import Layout
from workers.soups.model import build_model, count_classes, read_config
from workers.soups.verify import verify_folder


def check_models(config: StudyConfig) -> None:
    """Compare all models of each pantry by their configurations and headers, without reading weights.

    Raises FileNotFoundError if a model is missing, ValueError if one does not fit the first ingredient.
    """
    for section in config.pantries:
        models = [_Model.of(label, folder) for label, folder in _folders(config, section).items()]
        for model in models[1:]:
            if difference := models[0].difference(model):
                raise ValueError(
                    f"pantry {section.name!r}: {model.label} ({model.folder}) does not fit {models[0].label}: "
                    f"{difference}; all models of a pantry must share one architecture, label space and preprocessing"
                )


def _folders(config: StudyConfig, section: PantrySection) -> dict[str, Path]:
    ingredients = {f"ingredient {name}": section.folder / name for name in config.ingredients}
    folders = ingredients | section.comparison
    for label, folder in folders.items():
        check_trained(label, folder)
    return folders


@dataclass(frozen=True)
class _Model:
    label: str
    folder: Path
    layout: Layout
    classes: int
    label_names: list[str] | None
    data: DataConfig

    @classmethod
    def of(cls, label: str, folder: Path) -> _Model:
        """Raises IngredientError if the folder's files do not match each other."""
        verify_folder(folder)
        config = read_config(folder)
        model = build_model(config, "meta")
        names = config.get("label_names")
        return cls(label, folder, Layout.of(model), count_classes(model), names, DataConfig.of_model(model))

    def difference(self, other: _Model) -> str | None:
        """How the other differs from this one, or None."""
        mine, theirs = ({slot.names[0]: slot.shape for slot in model.layout.slots} for model in (self, other))
        if mine != theirs:
            name = next(name for name in (*mine, *theirs) if mine.get(name) != theirs.get(name))
            if name not in theirs:
                return f"it lacks {name}"
            return f"it has {name} of shape {theirs[name]}, where there is " + str(mine.get(name, "no such tensor"))
        if self.classes != other.classes or (
            self.label_names and other.label_names and self.label_names != other.label_names
        ):
            return "its config.json has other classes"
        return None if _alike(self.data, other.data) else f"its config.json has {other.data}, not {self.data}"


def _alike(first: DataConfig, other: DataConfig) -> bool:
    return replace(first, mean=(), std=()) == replace(other, mean=(), std=()) and all(
        np.allclose(mine, theirs, atol=NORMALISATION_TOLERANCE)
        for mine, theirs in ((first.mean, other.mean), (first.std, other.std))
    )


def check_attackable(section: AttackSection, images: SetPart) -> None:
    """Raise ValueError, saying what to change, unless an attack can lead each clean image away from a single class."""
    if several := sum(len(accepted) != 1 for accepted in images.accepted or ()):
        raise ValueError(
            f"{several} of {len(images.rows)} images of the set {CLEAN!r} have several accepted labels, and an "
            f"attack leads away from one: use a set with one label per image as {CLEAN!r}, or write attacks: null"
        )
    for loss in section.losses:
        if len(images.columns) < FEWEST_CLASSES[loss]:
            lack = (
                f"{loss} needs {FEWEST_CLASSES[loss]} classes, and {len(images.columns)} compete in the set {CLEAN!r}"
            )
            raise ValueError(f"attacks.losses: {lack}: write losses: [ce]")
