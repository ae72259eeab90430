"""Building the ingredients of a pantry from its recipe."""

from __future__ import annotations

import json
import platform
import shutil
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import timm
import torch
from torch import nn

from workers.attacks.model import NormalizedModel
from workers.attacks.robustness import attack_report
from workers.data.idx import load_idx_folder
from workers.data.labelled_images import LabelledImages
from workers.training.network import create_network, load_ingredient, save_ingredient
from workers.training.recipe import PantryRecipe, recipe_digest
from workers.training.trainer import Progress, Trainer

RECORD = "training.json"
"""The file of an ingredient's folder that says how it was trained."""

OnPantryProgress = Callable[[str, Progress], None]


def build_pantry(
    recipe: PantryRecipe,
    output: Path,
    *,
    only: Collection[str] | None = None,
    device: str = "cpu",
    on_progress: OnPantryProgress | None = None,
) -> list[Path]:
    """Train the ingredients of ``recipe`` into timm folders ``output/NAME``, and return these, the base first.

    An ingredient that is finished stays as it is, one that was interrupted goes on where it was. With ``only``,
    no others are trained; a fine-tune's base is trained first where it is missing.

    Raises ValueError if a folder holds an ingredient of another recipe, or ``only`` names an unknown one.
    """
    unknown = set(only or ()) - set(recipe.ingredients)
    if unknown:
        raise ValueError(f"the recipe has no ingredient {', '.join(sorted(unknown))}")
    wanted = [name for name in recipe.ingredients if only is None or name in only or name == recipe.base_name]
    output.mkdir(parents=True, exist_ok=True)
    data = load_idx_folder(recipe.data.folder, "train").first(recipe.data.max_images)
    build = _Build(recipe, data, output, device)
    return [build.ingredient(name, on_progress) for name in wanted]


@dataclass(frozen=True)
class _Build:
    recipe: PantryRecipe
    data: LabelledImages
    output: Path
    device: str

    def ingredient(self, name: str, on_progress: OnPantryProgress | None) -> Path:
        folder = self.output / name
        if self._is_finished(name):
            return folder
        checkpoint = self.output / f".{name}.checkpoint"
        trainer = Trainer(
            self._start(name),
            self.recipe.model,
            self.data,
            self.recipe.ingredients[name],
            checkpoint=checkpoint,
            device=self.device,
        )
        network = trainer.run(partial(on_progress, name) if on_progress else None)
        self._write(name, network.cpu())
        checkpoint.unlink(missing_ok=True)
        return folder

    def _is_finished(self, name: str) -> bool:
        folder = self.output / name
        if not folder.exists():
            return False
        record = folder / RECORD
        if record.is_file() and json.loads(record.read_text(encoding="utf-8"))["digest"] == self._digest(name):
            return True
        raise ValueError(f"{folder} holds an ingredient of another recipe or other data: remove it, or build elsewhere")

    def _start(self, name: str) -> nn.Module:
        network = create_network(self.recipe.model, self.recipe.ingredients[name].seed)
        if name != self.recipe.base_name:
            network.load_state_dict(load_ingredient(self.output / self.recipe.base_name).state_dict())
        return network

    def _write(self, name: str, network: nn.Module) -> None:
        """Write the folder beside its place and move it there whole: a folder in its place is finished."""
        unfinished = self.output / f".{name}.unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        height, width = self.data.images.shape[2:]
        save_ingredient(network, self.recipe.model, (height, width), unfinished)
        record = json.dumps(self._record(name, network), indent=2)
        (unfinished / RECORD).write_text(record + "\n", encoding="utf-8")
        unfinished.rename(self.output / name)

    def _record(self, name: str, network: nn.Module) -> dict[str, Any]:
        recipe = self.recipe
        model = NormalizedModel(network, recipe.model.mean, recipe.model.std).eval()
        return {
            "pantry": recipe.name,
            "ingredient": name,
            "fine_tuned_from": None if name == recipe.base_name else recipe.base_name,
            "digest": self._digest(name),
            "recipe": recipe.ingredients[name].model_dump(mode="json"),
            "data": {"images": len(self.data), "sha256": self.data.digest()},
            "test": self._scores(model),
            "versions": {"python": platform.python_version(), "torch": torch.__version__, "timm": timm.__version__},
        }

    def _scores(self, model: nn.Module) -> dict[str, Any]:
        """Clean and robust accuracy on the first test images, by APGD on cross-entropy."""
        evaluation = self.recipe.evaluation
        test = load_idx_folder(self.recipe.data.folder, "test").first(evaluation.images)
        images, labels = torch.from_numpy(test.images).float() / 255, torch.from_numpy(test.labels)
        report = attack_report(model, images, labels, evaluation.threats, steps=evaluation.steps)
        return {"images": len(test), "attack": "APGD", **report}

    def _digest(self, name: str) -> str:
        """The digest of all that decides an ingredient's parameters: for a fine-tune, its base's recipe too."""
        stages = [self.recipe.base[self.recipe.base_name]]
        if name != self.recipe.base_name:
            stages.append(self.recipe.fine_tunes[name])
        return f"{recipe_digest(self.recipe.model, *stages)}:{self.data.digest()}"
