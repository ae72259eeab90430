"""A job's inputs: the pantry's ingredients, the sets' images, and how soups are scored."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass
from functools import cached_property
from typing import Any

import numpy as np

from search.evaluation import PLAIN, Flags, Refinement
from service.adaptation_sets.labels import Labels, check_attackable, resolve
from service.adaptation_sets.registry import SetRegistry
from service.adaptation_sets.stored import StoredSet
from service.artifacts import open_store
from service.errors import InvalidRequest
from service.pantries.registry import PantryRegistry
from service.refinements import RefinementLimits, limits_of
from service.schemas.job import RequestEcho
from service.schemas.request import AdaptRequest
from service.settings import Settings
from workers.attacks.attack import Attack
from workers.attacks.threat import Threat
from workers.evaluation.labels import LabelSpace
from workers.evaluation.preprocess import DataConfig, encode_images
from workers.evaluation.sets import EncodedSet
from workers.jobs.split import Rows, Split, split_images
from workers.ray_runtime.task import SetPart, Task
from workers.ray_runtime.version import scoring_version
from workers.soups.model import read_config
from workers.soups.resident import Precision
from workers.soups.stack import IngredientStack, single_model


@dataclass(frozen=True)
class SetMaterial:
    """The labelled images of one adaptation set, or those without a label: their labels for this pantry, and split.

    Evaluators take the two as sets of their own, so that a set's outcome has labels for all of its images or for none.
    """

    stored: StoredSet
    num_classes: int
    labels: Labels
    split: Split
    is_labelled: bool = True

    @property
    def accepted_classes(self) -> Flags | None:
        """The labels of the selection images, bool (images, classes), all False without labels.

        None where they are not the model's classes.
        """
        space = LabelSpace(self.labels.columns, self.num_classes)
        if not space.is_plain:
            return None
        accepted = self.accepted(self.split.selection)
        shape = len(self.split.selection), self.num_classes
        return np.zeros(shape, dtype=bool) if accepted is None else np.asarray(space.mask(accepted))

    def accepted(self, rows: Rows) -> tuple[tuple[int, ...], ...] | None:
        """The accepted columns of each of ``rows``; None without labels."""
        return tuple(self.labels.accepted[row] for row in rows) if self.is_labelled else None

    def encoded(self, config: DataConfig) -> EncodedSet:
        """The selection images as a model takes them, with their labels."""
        rows = self.split.selection
        images = encode_images(self.stored.images(), config, precropped=self.stored.precropped)[list(rows)]
        return EncodedSet(images, self.accepted(rows), LabelSpace(self.labels.columns, self.num_classes))


def materials_of(
    stored: StoredSet, label_names: Sequence[str] | None, num_classes: int, *, held_out: float, seed: int
) -> list[SetMaterial]:
    """The labelled images of ``stored``, then those without a label, whichever there are; ``held_out`` is a fraction.

    Raises InvalidSet as ``resolve`` does.
    """
    labels = resolve(stored, label_names, num_classes)
    parts = ((labels.labelled, True), (labels.unlabelled, False))
    return [
        SetMaterial(stored, num_classes, labels, split_images(rows, labels.accepted, held_out, seed), is_labelled)
        for rows, is_labelled in parts
        if rows
    ]


class Ingredients:
    """The pantry that a job works on, and its ingredients.

    Raises PantryNotFound, InvalidRequest (``pantry_changed``).
    """

    def __init__(self, echo: RequestEcho, settings: Settings) -> None:
        self.echo = echo
        self.request = echo.request
        self._settings = settings
        self._store = open_store(settings)
        self._stored_pantry = PantryRegistry(self._store, settings).open(self.request.pantry)
        self.pantry = self._stored_pantry.document
        if self.pantry.digest != echo.pantry_digest:
            msg = f"the pantry {self.pantry.name!r} was replaced after this request: send the request again"
            raise InvalidRequest(msg, param="pantry", code="pantry_changed")

    @cached_property
    def stack(self) -> IngredientStack:
        """The ingredients in memory."""
        return IngredientStack.from_folders(self._stored_pantry.folders, self.names)

    @property
    def names(self) -> list[str]:
        """Names of the ingredients in order."""
        return [ingredient.name for ingredient in self.pantry.ingredients]


class Material(Ingredients):
    """Everything a request names, read from the artifact store; images are decoded only if an evaluator lacks them.

    Raises PantryNotFound, SetNotFound, InvalidSet (classes that the pantry does not know), InvalidRequest.
    """

    def __init__(self, echo: RequestEcho, settings: Settings) -> None:
        super().__init__(echo, settings)
        registry = SetRegistry(self._store, settings)
        self.sets = [part for digest in echo.adaptation_sets for part in self._open(registry, digest)]
        self.request = self._decided()
        self.limits.check(self.request.refine)

    @cached_property
    def limits(self) -> RefinementLimits:
        """What a refinement may not change."""
        labelled = [each for each in self.sets if each.is_labelled]
        selection = [len(each.split.selection) for each in labelled]
        return limits_of(self.pantry, [each.labels for each in labelled], selection)

    @cached_property
    def encoded_sets(self) -> list[EncodedSet]:
        """The selection images with their labels, from which refinements learn."""
        return [each.encoded(self.data_config) for each in self.sets]

    @cached_property
    def data_config(self) -> DataConfig:
        """The pantry's preprocessing."""
        return DataConfig.of(read_config(self._stored_pantry.folders[0]))

    def _decided(self) -> AdaptRequest:
        """The request with the metric that ``auto`` stands for on its sets."""
        named = None if self.request.objective is None else self.request.objective.adaptation_sets
        counts = {True: 0, False: 0}
        for each in self.sets:
            if named is None or each.stored.digest in named:
                counts[each.is_labelled] += len(each.split.selection)
        return self.request.decided(labelled=counts[True], unlabelled=counts[False])

    @property
    def image_count(self) -> int:
        """Selection images of all sets."""
        return sum(len(each.split.selection) for each in self.sets)

    @cached_property
    def attacks(self) -> tuple[Attack, ...]:
        """The attacks that the objectives and constraints name, in the order of the request's threat models."""
        return tuple(
            Attack(Threat(each.norm, each.eps), each.steps, each.loss, each.restarts, larger_radii=each.larger_radii)
            for each in self.request.threat_models
        )

    def passes_a_soup(self, refinement: Refinement = PLAIN) -> int:
        """The most single-image forward passes that one soup costs on the selection images, after ``refinement``."""
        return sum(
            len(each.split.selection) * self.request.passes_an_image(len(each.labels.columns), refinement)
            for each in self.sets
        )

    def task(
        self,
        precision: Precision,
        rows_of: Callable[[SetMaterial], Rows],
        stack: str | None = None,
        *,
        attacked: bool = False,
    ) -> Task:
        """Some images of each set with the pantry, or another stack; with the request's attacks if ``attacked``."""
        parts = tuple(self._part(each, rows_of(each)) for each in self.sets)
        attacks, seed = (self.attacks, self.request.seed) if attacked and self.attacks else ((), 0)
        return Task(stack or self._stack_key, parts, precision, self._settings.batch_size, attacks, seed)

    def selection(self, precision: Precision, stack: str | None = None, *, attacked: bool = True) -> Task:
        """The selection images, by default with the request's attacks."""
        return self.task(precision, lambda each: each.split.selection, stack, attacked=attacked)

    def held_out(self, stack: str | None = None) -> Task:
        """The images held out, in float32, with the request's attacks."""
        return self.task("float32", lambda each: each.split.held_out, stack, attacked=True)

    def arrays_of(self, key: str) -> dict[str, Any]:
        """The arrays of one key of a task, for the object store."""
        if key == self._stack_key:
            return self.stack.arrays()
        if key == self.reference_key:
            folder = self._stored_pantry.reference_folder
            return {} if folder is None else single_model(folder)
        each = next(each for each in self.sets if self._images_key(each) == key)
        return {"images": encode_images(each.stored.images(), self.data_config, precropped=each.stored.precropped)}

    @property
    def reference_key(self) -> str | None:
        """Key of the pantry's reference as the only ingredient of a stack, where it has one."""
        reference = self.pantry.reference
        return None if reference is None else f"model {reference.sha256}"

    @property
    def _stack_key(self) -> str:
        return f"pantry {self.pantry.digest}"

    def _images_key(self, each: SetMaterial) -> str:
        return f"set {each.stored.digest} {self.preprocessing}"

    @cached_property
    def preprocessing(self) -> str:
        """The preprocessing of images up to uint8, as text."""
        config = self.data_config
        return json.dumps([config.input_size, config.interpolation, config.crop_pct, config.crop_mode])

    def _part(self, each: SetMaterial, rows: Rows) -> SetPart:
        columns = each.labels.columns
        return SetPart(self._images_key(each), rows, each.accepted(rows), columns, self.pantry.num_classes)

    def _open(self, registry: SetRegistry, digest: str) -> list[SetMaterial]:
        stored = registry.open(digest)
        stored.check_channels(self.pantry.input_size[0])
        request = self.request
        parts = materials_of(
            stored,
            self.pantry.label_names,
            self.pantry.num_classes,
            held_out=request.held_out_fraction,
            seed=request.seed,
        )
        check_attackable(parts[0].labels, request.threat_models)
        return parts


def scope_of(
    material: Material,
    hardware: Sequence[str],
    batch_size: int,
    refinement: Refinement = PLAIN,
) -> str:
    """sha256 under which outcomes are journalled: jobs of one scope share every outcome.

    It covers everything besides the weights that can change an outcome: the pantry, the sets with their labels and
    selection images, the refinement, the attacks and their seed, precision and preprocessing, the code that evaluates,
    and the kind of device, its threads and the batch size, on which the last bits depend.
    Objectives and constraints only affect how outcomes are read, so they are not part of it.
    """
    request = material.request
    document = {
        "pantry": material.pantry.digest,
        "sets": [[each.stored.digest, astuple(each.labels), each.split.selection] for each in material.sets],
        "attacks": [astuple(attack) for attack in material.attacks],
        "seed": request.seed if material.attacks else None,
        "precision": request.precision,
        "preprocessing": astuple(material.data_config),
        "code": scoring_version(),
        "hardware": list(hardware),
        "batch_size": batch_size,
        "refinement": astuple(refinement),
    }
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()
