"""Recipes: how an ingredient, or a whole pantry, is trained."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import timm
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    field_validator,
    model_validator,
)
from timm.data.auto_augment import augment_and_mix_transform, auto_augment_transform, rand_augment_transform

import workers.architectures  # noqa: F401 - registers what timm lacks
from lab.data.fashion_mnist import CLASS_NAMES
from lab.data.label_maps import label_maps
from lab.data.layouts.cifar import CIFAR10_CLASSES
from workers.attacks.attack import Attack, attacks_on
from workers.attacks.threat import Threat

Precision = Literal["float32", "bfloat16", "float16"]
Split = Literal["test", "validation"]

ThreatText = Annotated[
    Threat,
    BeforeValidator(lambda value: Threat.parse(value) if isinstance(value, str) else value),
    PlainSerializer(str, return_type=str),
]
"""A threat model, written ``NORM:EPS`` in a recipe."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True, allow_inf_nan=False)


def _label_names(value: Any) -> Any:
    """The label names themselves, or those of the known data set that ``value`` names."""
    known = {"cifar10": CIFAR10_CLASSES, "fashion-mnist": CLASS_NAMES, "imagenet": label_maps().wnids}
    if not isinstance(value, str):
        return value
    if value not in known:
        raise ValueError(
            f"{value!r} is not the name of a data set: write a list of names, or one of {', '.join(known)}"
        )
    return known[value]


def _finite(value: Any) -> Any:
    """A value of YAML in which every number is finite."""
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{value} is not a finite number")
    for each in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        _finite(each)
    return value


class ModelRecipe(_Section):
    """A timm architecture and the arguments with which ``timm.create_model`` builds it.

    ``mean`` and ``std`` normalise images in [0, 1], with one number per channel. ``label_names`` are the classes in the
    order of the logits, or ``cifar10``, ``fashion-mnist`` or ``imagenet`` (the WordNet ids) for those of that data set.
    """

    architecture: str
    arguments: Annotated[dict[str, Any], AfterValidator(_finite)] = {}
    mean: tuple[float, ...]
    std: tuple[Annotated[float, Field(gt=0)], ...]
    label_names: Annotated[tuple[str, ...], BeforeValidator(_label_names)]
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

    @model_validator(mode="after")
    def _arguments_agree(self) -> Self:
        for argument, field, count in (
            ("num_classes", "label_names", len(self.label_names)),
            ("in_chans", "mean", len(self.mean)),
        ):
            given = self.arguments.get(argument, count)
            if given != count:
                raise ValueError(f"arguments.{argument} is {given!r}, but {field} has {count}: leave out {argument}")
        return self


class DataRecipe(_Section):
    """Training and test images on disk.

    ``format``: ``idx``, the four files of MNIST and Fashion-MNIST; ``cifar10``, the binary version's six files;
    ``folder``, image files in ``<folder>/<train>/<class>/`` and ``<folder>/<test>/<class>/``, as in ImageNet.
    ``max_images`` limits the training images: to the first, or for a folder to those that a fixed seed draws.
    ``validation_images`` keeps as many of the last training images out of the training (not for a folder).

    Only for a folder: ``image_size``, the height and width that images are cropped to; ``crop_pct``, the share of the
    resized test image that the crop keeps; ``interpolation``; ``workers``, the processes that decode and augment.
    """

    format: Literal["idx", "cifar10", "folder"] = "idx"
    folder: Path
    max_images: Annotated[int, Field(gt=0)] | None = None
    validation_images: Annotated[int, Field(ge=0)] = 0
    train: str = "train"
    test: str = "val"
    image_size: Annotated[int, Field(gt=0)] | None = None
    crop_pct: Annotated[float, Field(gt=0, le=1)] = 1.0
    interpolation: Literal["bilinear", "bicubic"] = "bicubic"
    workers: Annotated[int, Field(ge=0)] = 4

    @model_validator(mode="after")
    def _size_fits_format(self) -> Self:
        if self.format == "folder" and self.image_size is None:
            raise ValueError("image_size is missing: give the size that image files are cropped to, such as 224")
        if self.format != "folder" and (self.image_size is not None or self.crop_pct != 1.0):
            raise ValueError(f"image_size and crop_pct are for format folder: {self.format} images have one size")
        if self.format == "folder" and self.validation_images:
            raise ValueError("validation_images is for images in memory: put validation images into a folder as test")
        return self


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
    """What happens to training images before the attack; ``flip`` mirrors half of them.

    Images in memory: random crops after padding by ``crop_padding`` pixels. Image files, by timm's transforms: random
    crops of ``crop_scale`` (smallest and largest share of the area) and ``crop_ratio``, resized; ``color_jitter``;
    ``auto_augment``, a policy in timm's notation, such as ``rand-m7-mstd0.5-inc1``. Without crop_scale the central
    square of the image is resized.
    """

    crop_padding: Annotated[int, Field(ge=0)] = 0
    flip: bool = False
    crop_scale: tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(le=1)]] | None = None
    crop_ratio: tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]] = (3 / 4, 4 / 3)
    color_jitter: Annotated[float, Field(ge=0)] = 0.0
    auto_augment: str | None = None

    @field_validator("auto_augment")
    @classmethod
    def _policy_is_known(cls, value: str | None) -> str | None:
        kinds = ("rand", "augmix", "original", "originalr", "v0", "v0r", "3a")
        if value is None:
            return None
        kind = value.split("-")[0]
        if kind not in kinds:
            raise ValueError(f"timm does not know the policy {value!r}: write for instance rand-m7-mstd0.5-inc1")
        make = {"rand": rand_augment_transform, "augmix": augment_and_mix_transform}.get(kind, auto_augment_transform)
        try:
            make(value, {})
        except Exception as error:
            raise ValueError(f"timm cannot read the policy {value!r} ({error}): see rand-m7-mstd0.5-inc1") from error
        return value

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.crop_scale is not None and self.crop_scale[0] > self.crop_scale[1]:
            raise ValueError("crop_scale is [smallest, largest]: swap the two")
        return self


class AdversaryRecipe(_Section):
    """The attack on training images.

    ``single`` attacks under one threat model; ``max`` keeps, for each image, the attack with the highest loss (Tramer
    and Boneh, 2019); ``sat`` draws one threat model uniformly for each batch (Madaan et al., 2021); ``eat`` draws it
    with a probability proportional to one minus its running robust accuracy (Croce and Hein, 2022). Images are clean
    for the first ``delay`` fraction of all steps; then the radius grows linearly until ``warmup``.

    ``attack``: ``pgd`` with a fixed step size, or ``apgd`` with an adaptive step size from the clean image. Both train
    on the point with the highest cross-entropy. ``precision`` is that of the attack's forward and backward passes.
    """

    mode: Literal["single", "max", "sat", "eat"] = "single"
    threats: Annotated[tuple[ThreatText, ...], Field(min_length=1)]
    steps: Annotated[int, Field(ge=1)] = 10
    random_start: bool = False
    delay: Annotated[float, Field(ge=0, lt=1)] = 0.0
    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.0
    attack: Literal["pgd", "apgd"] = "pgd"
    precision: Precision = "float32"

    @model_validator(mode="after")
    def _threats_fit_mode(self) -> Self:
        if self.attack == "apgd" and self.random_start:
            raise ValueError("attack apgd starts at the image itself: leave out random_start, or use attack pgd")
        if self.mode == "single" and len(self.threats) != 1:
            raise ValueError("mode single takes one threat: use max, sat or eat for several")
        if self.mode != "single" and len(self.threats) < 2:
            raise ValueError(f"mode {self.mode} needs at least two threats: use single for one")
        return self


class TrainingRecipe(_Section):
    """One training run; without an ``adversary`` it is nominal.

    ``max_steps`` ends it earlier, with the schedules over that many steps. ``precision`` is that of the training's
    forward and backward passes (``float16`` needs a GPU); parameters, losses and the average stay in float32.
    ``ema_decay`` keeps an exponential moving average of the parameters, which becomes the ingredient.
    """

    epochs: Annotated[float, Field(gt=0)]
    batch_size: Annotated[int, Field(ge=2)] = 128
    seed: Annotated[int, Field(ge=0)] = 0
    optimizer: OptimizerRecipe = OptimizerRecipe()
    augmentation: AugmentationRecipe = AugmentationRecipe()
    adversary: AdversaryRecipe | None = None
    ema_decay: Annotated[float, Field(gt=0, lt=1)] | None = None
    max_steps: Annotated[int, Field(gt=0)] | None = None
    precision: Precision = "float32"


class EvaluationRecipe(_Section):
    """What is measured for a finished ingredient: its accuracy and, by APGD, its robust accuracy under ``threats``.

    On the first ``images`` of ``split``, or for a folder those that a fixed seed draws, ``batch_size`` at a time.
    ``split``: ``test``, or ``validation``, the images that ``data.validation_images`` keeps out of the training.
    """

    threats: Annotated[tuple[ThreatText, ...], Field(min_length=1)] = (Threat("Linf", 8 / 255),)
    steps: Annotated[int, Field(ge=1)] = 40
    images: Annotated[int, Field(gt=0)] = 1000
    split: Split = "test"
    batch_size: Annotated[int, Field(gt=0)] = 512

    @property
    def attacks(self) -> list[Attack]:
        """One on cross-entropy in each threat."""
        return attacks_on(self.threats, steps=self.steps)


class IngredientRecipe(_Section):
    """One ingredient, trained from scratch or fine-tuned from another that is named when the recipe is used."""

    data: DataRecipe
    model: ModelRecipe
    training: TrainingRecipe
    evaluation: EvaluationRecipe = EvaluationRecipe()

    @model_validator(mode="after")
    def _augmentation_fits_data(self) -> Self:
        _check_augmentation(self.data, self.training, "training")
        _check_split(self.data, self.evaluation)
        return self


IngredientName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
"""A name that a pantry can give to an ingredient, which is also the name of its folder."""


class PantryRecipe(_Section):
    """A base ingredient trained from scratch, and ingredients fine-tuned from it."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")]
    data: DataRecipe
    model: ModelRecipe
    base: dict[IngredientName, TrainingRecipe]
    fine_tunes: Annotated[dict[IngredientName, TrainingRecipe], Field(min_length=1)]
    evaluation: EvaluationRecipe = EvaluationRecipe()

    @model_validator(mode="after")
    def _one_base(self) -> Self:
        if len(self.base) != 1:
            raise ValueError("base takes one ingredient, the common start of all others")
        if self.base_name in self.fine_tunes:
            raise ValueError(f"{self.base_name!r} is both the base and a fine-tune")
        for name, training in self.ingredients.items():
            _check_augmentation(self.data, training, name)
        _check_split(self.data, self.evaluation)
        return self

    @property
    def base_name(self) -> str:
        """The name of the ingredient that all others start from."""
        return next(iter(self.base))

    @property
    def ingredients(self) -> dict[str, TrainingRecipe]:
        """All ingredients in order, the base first."""
        return {**self.base, **self.fine_tunes}

    def ingredient(self, name: str) -> IngredientRecipe:
        """The recipe of one ingredient. Raises ValueError for an unknown name."""
        if name not in self.ingredients:
            raise ValueError(f"the recipe has no ingredient {name}: it has {', '.join(self.ingredients)}")
        return IngredientRecipe(
            data=self.data, model=self.model, training=self.ingredients[name], evaluation=self.evaluation
        )


def _check_augmentation(data: DataRecipe, training: TrainingRecipe, name: str) -> None:
    augmentation = training.augmentation
    if data.format == "folder" and augmentation.crop_padding:
        raise ValueError(f"{name}: crop_padding is for images in memory; for image files use crop_scale")
    for field in ("crop_scale", "color_jitter", "auto_augment"):
        if data.format != "folder" and getattr(augmentation, field):
            raise ValueError(f"{name}: {field} is for image files; for {data.format} images use crop_padding and flip")


def _check_split(data: DataRecipe, evaluation: EvaluationRecipe) -> None:
    if evaluation.split == "validation" and not data.validation_images:
        raise ValueError("evaluation.split is validation: say with data.validation_images how many images are kept out")


def recipe_digest(*sections: BaseModel) -> str:
    """The sha256 of recipe sections, in hexadecimal. Equal sections give equal digests.

    Fields left at their defaults do not count, so adding an option later does not change the digest.
    """
    texts = [section.model_dump_json(exclude_defaults=True) for section in sections]
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()
