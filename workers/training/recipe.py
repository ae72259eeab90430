"""Recipes: how an ingredient, or a whole pantry, is trained."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import timm
import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, model_validator

from workers.attacks.threat import Threat

ThreatText = Annotated[
    Threat,
    BeforeValidator(lambda value: Threat.parse(value) if isinstance(value, str) else value),
    PlainSerializer(str, return_type=str),
]
"""A threat model, written ``NORM:EPS`` in a recipe."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)


class ModelRecipe(_Section):
    """A timm architecture and the arguments that ``timm.create_model`` builds it with."""

    architecture: str
    arguments: dict[str, Any] = {}
    mean: tuple[float, ...]
    std: tuple[Annotated[float, Field(gt=0)], ...]
    label_names: tuple[str, ...]
    channels_last: bool = False

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if not timm.is_model(self.architecture):
            raise ValueError(f"timm has no architecture {self.architecture!r}: see timm.list_models()")
        if len(self.mean) != len(self.std):
            raise ValueError(f"mean has {len(self.mean)} channels, std {len(self.std)}")
        if len(set(self.label_names)) != len(self.label_names):
            raise ValueError("label_names repeats a name")
        return self


class DataRecipe(_Section):
    """Training and test images: a folder of IDX files, and how many of the training images to use."""

    folder: Path
    max_images: Annotated[int, Field(gt=0)] | None = None


class OptimizerRecipe(_Section):
    """The optimizer and its learning rate over time; ``warmup`` is a fraction of all steps."""

    name: Literal["sgd", "adamw"] = "sgd"
    learning_rate: Annotated[float, Field(gt=0)] = 0.05
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    weight_decay: Annotated[float, Field(ge=0)] = 5e-4
    schedule: Literal["one_cycle", "cosine", "thirds"] = "one_cycle"
    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.2
    clip_norm: Annotated[float, Field(gt=0)] | None = None


class AugmentationRecipe(_Section):
    """Random crops after padding by ``crop_padding`` pixels, and horizontal flips."""

    crop_padding: Annotated[int, Field(ge=0)] = 0
    flip: bool = False


class AdversaryRecipe(_Section):
    """The attack that training images go through.

    ``single`` attacks in one threat model; ``max`` keeps, for each image, the attack of highest loss (Tramer and
    Boneh, 2019); ``sat`` draws one threat model uniformly for each batch (Madaan et al., 2021); ``eat`` draws it
    with a probability proportional to one less its running robust accuracy (Croce and Hein, 2022). Images are
    clean for the first ``delay`` fraction of all steps; then the radius grows linearly until ``warmup``.
    """

    mode: Literal["single", "max", "sat", "eat"] = "single"
    threats: Annotated[tuple[ThreatText, ...], Field(min_length=1)]
    steps: Annotated[int, Field(ge=1)] = 10
    random_start: bool = False
    delay: Annotated[float, Field(ge=0, lt=1)] = 0.0
    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.0

    @model_validator(mode="after")
    def _threats_fit_mode(self) -> Self:
        if self.mode == "single" and len(self.threats) != 1:
            raise ValueError("mode single takes one threat: use max, sat or eat for several")
        if self.mode != "single" and len(self.threats) < 2:
            raise ValueError(f"mode {self.mode} needs at least two threats: use single for one")
        return self


class TrainingRecipe(_Section):
    """One run of training; without an ``adversary`` it is nominal."""

    epochs: Annotated[float, Field(gt=0)]
    batch_size: Annotated[int, Field(ge=2)] = 128
    seed: Annotated[int, Field(ge=0)] = 0
    optimizer: OptimizerRecipe = OptimizerRecipe()
    augmentation: AugmentationRecipe = AugmentationRecipe()
    adversary: AdversaryRecipe | None = None
    ema_decay: Annotated[float, Field(gt=0, lt=1)] | None = None


class EvaluationRecipe(_Section):
    """What is measured of a finished ingredient, on the first ``images`` test images."""

    threats: Annotated[tuple[ThreatText, ...], Field(min_length=1)] = (Threat("Linf", 8 / 255),)
    steps: Annotated[int, Field(ge=1)] = 40
    images: Annotated[int, Field(gt=0)] = 1000


class PantryRecipe(_Section):
    """A base ingredient trained from scratch, and ingredients fine-tuned from it."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")]
    data: DataRecipe
    model: ModelRecipe
    base: dict[str, TrainingRecipe]
    fine_tunes: Annotated[dict[str, TrainingRecipe], Field(min_length=1)]
    evaluation: EvaluationRecipe = EvaluationRecipe()

    @model_validator(mode="after")
    def _one_base(self) -> Self:
        if len(self.base) != 1:
            raise ValueError("base takes one ingredient, the common start of all others")
        if self.base_name in self.fine_tunes:
            raise ValueError(f"{self.base_name!r} is both the base and a fine-tune")
        return self

    @property
    def base_name(self) -> str:
        """The name of the ingredient that all others start from."""
        return next(iter(self.base))

    @property
    def ingredients(self) -> dict[str, TrainingRecipe]:
        """All ingredients in order, the base first."""
        return {**self.base, **self.fine_tunes}

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a pantry's recipe from a YAML file.

        Raises ValueError (pydantic's ValidationError is one), naming each field that is wrong.
        """
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise ValueError(f"{path} is not a recipe: write a mapping with name, data, model, base and fine_tunes")
        return cls.model_validate(content)


def recipe_digest(*sections: BaseModel) -> str:
    """The sha256 of recipe sections, in hexadecimal: equal when everything in them is.

    Fields left at their defaults do not count, so that an option added later does not change it.
    """
    texts = [section.model_dump_json(exclude_defaults=True) for section in sections]
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()
