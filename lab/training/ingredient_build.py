"""Building one ingredient from its recipe: a timm folder that says how it was made."""

from __future__ import annotations

import fcntl
import hashlib
import json
import platform
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any

import timm
import torch
from torch import nn

from lab.training.images import TrainingImages, open_images
from lab.training.network import (
    check_logits,
    check_network,
    create_network,
    load_base,
    load_ingredient,
    save_ingredient,
)
from lab.training.progress import EVENTS, LOG, MetricsLog, OnProgress, TrainingProgress
from lab.training.recipe import EvaluationRecipe, IngredientRecipe, recipe_digest
from lab.training.recipe_file import RECIPE, read_recipe, recipe_text, write_recipe
from lab.training.shard import WHOLE, Shard
from lab.training.trainer import Trainer
from workers.attacks.masking import check_masking
from workers.attacks.model import NormalizedModel
from workers.attacks.robustness import robust_accuracy
from workers.whole_file import whole_file

RECORD = "training.json"
"""The file in an ingredient's folder that says how it was trained."""

_WEIGHTS = "model.safetensors"
_MEASURING = Lock()
"""Only one thread measures at a time, because attacks switch PyTorch's arithmetic for the whole process."""


@dataclass(frozen=True)
class Origin:
    """What an ingredient is fine-tuned from: a timm folder, and an identifier of its weights for digests."""

    folder: Path
    digest: str

    @classmethod
    def of(cls, folder: Path) -> Origin:
        """The model in ``folder``, identified by its bytes. Raises FileNotFoundError if there is none."""
        path = folder / _WEIGHTS
        if not path.is_file():
            raise FileNotFoundError(f"{folder} is not a timm folder: it has no {_WEIGHTS}")
        with path.open("rb") as file:
            return cls(folder, hashlib.file_digest(file, "sha256").hexdigest())


@dataclass(frozen=True)
class IngredientBuild:
    """One ingredient, to be trained into ``folder`` from scratch or from ``origin``.

    ``digest`` stands for everything that decides its parameters; ``record`` is put into ``training.json``. During
    training, checkpoint and log are in a hidden folder beside ``folder``, which appears when everything is done.
    """

    recipe: IngredientRecipe
    images: TrainingImages
    folder: Path
    digest: str
    origin: Origin | None = None
    device: str = "cpu"
    tensorboard: bool = False
    checkpoint_seconds: float = 30.0
    record: Mapping[str, Any] = field(default_factory=dict)

    @property
    def work(self) -> Path:
        """Where an unfinished training keeps its files."""
        return work_folder(self.folder)

    @property
    def _checkpoint(self) -> Path:
        return self.work / "checkpoint"

    def run(
        self,
        on_progress: OnProgress | None = None,
        train: Train | None = None,
        on_measure: OnMeasure | None = None,
    ) -> Path:
        """Train unless the ingredient is finished, continuing an interrupted run, and return the folder.

        If the recipe of a finished ingredient asks for another evaluation, measure it again in this process, after
        calling ``on_measure``. ``train`` trains outside this process. Raises ValueError if the folder holds something
        else, another process is using it, or the recipe's network, batches or augmentation cannot be made. A training
        that fails so before its first checkpoint and the first line of its log leaves nothing behind.
        """
        if self.is_finished():
            if self.work.exists() or not self._has_asked_scores():
                self._tidy(on_measure)
            return self.folder
        check_network(self.recipe.model, self.images.image_size)
        self.images.batches(self.recipe.training)
        self.work.mkdir(parents=True, exist_ok=True)
        with _alone(self.work):
            try:
                (train or IngredientBuild.train)(self, on_progress)
            except (ValueError, OSError):
                if not (self._checkpoint.exists() or self._has_log()):
                    shutil.rmtree(self.work, ignore_errors=True)
                raise
            shutil.rmtree(self.work, ignore_errors=True)
        return self.folder

    def _tidy(self, on_measure: OnMeasure | None) -> None:
        """Give the finished folder the scores that the recipe asks for, and remove what is left of its training."""
        self.work.mkdir(parents=True, exist_ok=True)
        with _alone(self.work):
            if not self._has_asked_scores():
                if on_measure is not None:
                    on_measure(self.folder.name)
                with _MEASURING:
                    self._replace_scores()
            shutil.rmtree(self.work, ignore_errors=True)

    def train(self, on_progress: OnProgress | None = None, shard: Shard = WHOLE) -> None:
        """Train and write the folder, in this process alone or as the first of those that have a ``shard``.

        The caller must hold the folder's lock.
        """
        if not shard.is_first:
            self._trainer(shard).run()
            return
        log = MetricsLog(self.work, tensorboard=self.tensorboard)

        def note(progress: TrainingProgress) -> None:
            log(progress)
            if on_progress is not None:
                on_progress(progress)

        try:
            network = self._trainer(shard).run(note)
        finally:
            log.close()
        self._write(network.cpu())

    def is_finished(self) -> bool:
        """Whether the folder holds exactly this ingredient. Raises ValueError if it holds another."""
        if not self.folder.exists():
            return False
        if self.is_written():
            return True
        raise ValueError(
            f"{self.folder} holds an ingredient from another recipe or other data: remove it, or build elsewhere"
        )

    def is_written(self) -> bool:
        """Whether the folder exists and holds exactly this ingredient; files of its training may still be there."""
        record = self.folder / RECORD
        return record.is_file() and json.loads(record.read_text(encoding="utf-8")).get("digest") == self.digest

    def _has_asked_scores(self) -> bool:
        """Whether the folder's scores are those that the recipe asks for, as far as the folder's recipe tells."""
        kept = self.folder / RECIPE
        if not kept.is_file():
            return True
        recipe = read_recipe(kept)
        return isinstance(recipe, IngredientRecipe) and _score_settings(recipe) == _score_settings(self.recipe)

    def _replace_scores(self) -> None:
        """Replace the scores, then the recipe: after a kill between the two, the scores are measured once more."""
        record = json.loads((self.folder / RECORD).read_text(encoding="utf-8"))
        recipe = self.recipe
        network = load_ingredient(self.folder).to(self.device)
        found = self._findings(NormalizedModel(network, recipe.model.mean, recipe.model.std).to(self.device).eval())
        with whole_file(self.folder / RECORD) as file:
            file.write((json.dumps({**record, **found}, indent=2) + "\n").encode())
        with whole_file(self.folder / RECIPE) as file:
            file.write(recipe_text(recipe).encode())

    def _has_log(self) -> bool:
        log = self.work / LOG
        return log.is_file() and log.stat().st_size > 0

    def _trainer(self, shard: Shard) -> Trainer:
        network = create_network(self.recipe.model, self.recipe.training.seed)
        if self.origin is not None:
            load_base(network, self.recipe.model, self.origin.folder)
        return Trainer(
            network,
            self.recipe.model,
            self.images,
            self.recipe.training,
            checkpoint=self._checkpoint,
            checkpoint_seconds=self.checkpoint_seconds,
            device=self.device,
            origin="" if self.origin is None else f":{self.origin.digest}",
            shard=shard,
        )

    def _write(self, network: nn.Module) -> None:
        """Write the folder in a hidden place, then move it: a folder in its final place is always finished."""
        unfinished = self.work / "ingredient"
        shutil.rmtree(unfinished, ignore_errors=True)
        data = self.recipe.data
        save_ingredient(
            network,
            self.recipe.model,
            self.images.image_size,
            unfinished,
            crop_pct=data.crop_pct,
            interpolation=data.interpolation,
        )
        record = json.dumps(self._record(network), indent=2)
        (unfinished / RECORD).write_text(record + "\n", encoding="utf-8")
        write_recipe(self.recipe, unfinished / RECIPE)
        for kept in (LOG, EVENTS):
            if (self.work / kept).exists():
                (self.work / kept).rename(unfinished / kept)
        unfinished.rename(self.folder)
        shutil.rmtree(self.work, ignore_errors=True)

    def _record(self, network: nn.Module) -> dict[str, Any]:
        recipe = self.recipe
        model = NormalizedModel(network.to(self.device), recipe.model.mean, recipe.model.std).eval()
        record = {
            **self.record,
            "digest": self.digest,
            "recipe": recipe.training.model_dump(mode="json"),
            "data": {"images": len(self.images), "sha256": self.images.digest()},
            **self._findings(model),
            "versions": {"python": platform.python_version(), "torch": torch.__version__, "timm": timm.__version__},
        }
        network.cpu()
        return record

    def _findings(self, model: nn.Module) -> dict[str, Any]:
        """Clean and robust accuracy on images of the recipe's split, by APGD on cross-entropy, under the split's name.

        After adversarial training also ``masking``, the check for masked gradients on the same images.
        Raises ValueError if the network's answers are not numbers: they would count as the first class.
        """
        evaluation = self.recipe.evaluation
        images, labels = self.images.evaluation_images(evaluation.split, evaluation.images)
        check_logits(model, images[: evaluation.batch_size].to(self.device))
        found = robust_accuracy(model, images, labels, evaluation.attacks, batch_size=evaluation.batch_size)
        findings: dict[str, Any] = {evaluation.split: {"images": len(labels), "attack": "APGD", **found.as_json()}}
        if self.recipe.training.adversary is None:
            return findings
        checks = check_masking(
            model, images, labels, evaluation.threats, steps=evaluation.steps, batch_size=evaluation.batch_size
        )
        return {**findings, "masking": [check.as_json() for check in checks]}


def _score_settings(recipe: IngredientRecipe) -> EvaluationRecipe:
    """What scores depend on: everything except how many images are attacked at once."""
    return recipe.evaluation.model_copy(update={"batch_size": 1})


Train = Callable[[IngredientBuild, OnProgress | None], None]
"""Trains a build and writes its folder."""

OnMeasure = Callable[[str], None]
"""Called with the name of a finished ingredient before it is measured again, which may take minutes."""


def masking_warnings(folder: Path) -> list[str]:
    """What the check for masked gradients warned of when the ingredient in ``folder`` was measured."""
    record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    return [warning for check in record.get("masking", ()) for warning in check["warnings"]]


def work_folder(folder: Path) -> Path:
    """Where the training of the ingredient in ``folder`` keeps its checkpoint and log until it is done."""
    return folder.parent / f".{folder.name}.training"


def build_ingredient(
    recipe: IngredientRecipe,
    folder: Path,
    *,
    base: Path | None = None,
    device: str = "cpu",
    tensorboard: bool = False,
    checkpoint_seconds: float = 30.0,
    on_progress: OnProgress | None = None,
    train: Train | None = None,
    on_measure: OnMeasure | None = None,
) -> Path:
    """Train one ingredient into the timm folder ``folder``, from scratch or fine-tuned from the folder ``base``.

    A finished ingredient is left as it is; an interrupted one continues. Raises ValueError if ``folder`` holds
    something else or ``base`` does not fit the recipe, FileNotFoundError if data or base are missing.
    """
    images = open_images(recipe.data, recipe.model)
    origin = None if base is None else Origin.of(base)
    digest = f"{recipe_digest(recipe.model, recipe.training)}:{images.digest()}"
    build = IngredientBuild(
        recipe,
        images,
        folder,
        digest if origin is None else f"{digest}:{origin.digest}",
        origin,
        device,
        tensorboard,
        checkpoint_seconds,
        {
            "ingredient": folder.name,
            "fine_tuned_from": None if origin is None else origin.folder.resolve().name,
            "base_sha256": None if origin is None else origin.digest,
        },
    )
    return build.run(on_progress, train, on_measure)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the folder's lock, which ends with this process. Raises ValueError if another process holds it."""
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ValueError(
                f"another process is training into {folder} or measuring its result: wait for it or stop it"
            ) from error
        yield
