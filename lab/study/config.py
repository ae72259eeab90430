"""The configuration of a study, read from a small YAML file."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from lab.data.corruptions import EXTRA_NAMES, NAMES, TableName
from lab.yaml_files import read_mapping, wrong_fields
from search.lattice import Lattice
from workers.attacks.attack import Attack, LossName, attacks_on
from workers.attacks.threat import Threat
from workers.soups.model import WEIGHTS_FILE

CLEAN = "clean"
LayoutName = Literal[
    "class_folders",
    "cifar10",
    "imagenet",
    "imagenet_real",
    "imagenet_v2",
    "imagenet_a",
    "imagenet_r",
    "imagenet_c",
    "conflict_stimuli",
    "cifar10_c",
]
Severity = Annotated[int, Field(ge=1, le=5)]


def _resolved(value: Any, info: ValidationInfo) -> Any:
    """Paths are relative to the study's file."""
    if value is None or not info.context:
        return value
    return Path(info.context["folder"]) / Path(value).expanduser()


StudyPath = Annotated[Path, BeforeValidator(_resolved)]
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$", max_length=64)]


class Section(BaseModel):
    """A section of a study's file; unknown fields are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class SetSection(Section):
    """A data set besides the corrupted ones: an adaptation set's ``archive``, or the ``folder`` of a known ``layout``.

    ``corruption`` and ``severity`` are for ``imagenet_c`` and ``cifar10_c``; if given, the set counts as that
    corruption in the figures. ``labels`` is ``real.json`` of ``imagenet_real``. In a study without idx images, soups
    are attacked on the set named ``clean``.
    """

    name: Name
    archive: StudyPath | None = None
    layout: LayoutName | None = None
    folder: StudyPath | None = None
    corruption: str | None = None
    severity: Severity | None = None
    labels: StudyPath | None = None

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.archive is None) == (self.layout is None):
            raise ValueError(f"set {self.name!r} needs either an archive or a layout with its folder")
        if self.layout is not None and self.folder is None:
            raise ValueError(f"set {self.name!r} of layout {self.layout} needs a folder")
        if self.layout in {"imagenet_c", "cifar10_c"} and (self.corruption is None or self.severity is None):
            raise ValueError(f"set {self.name!r} of layout {self.layout} needs a corruption and a severity")
        if (self.layout == "imagenet_real") != (self.labels is not None):
            raise ValueError(f"set {self.name!r}: labels is for the real.json of layout imagenet_real, which needs it")
        if self.is_clean and self.corruption is not None:
            raise ValueError(f"set {CLEAN!r} names a corruption, but it must hold unchanged images")
        return self

    @property
    def is_clean(self) -> bool:
        """Whether this is the set of unchanged images."""
        return self.name == CLEAN


def corrupted_name(corruption: str, severity: int) -> str:
    """The name of the set of a corruption at a severity."""
    return f"{corruption}-{severity}"


class DataSection(Section):
    """The images: a folder of IDX files that the study corrupts, and any sets that already exist.

    ``corruptions``: ``published`` are the 15 of ImageNet-C, ``all`` adds this project's own shifts.
    """

    idx: StudyPath | None = None
    corruptions: Literal["published", "all"] | tuple[str, ...] = "published"
    severities: tuple[Severity, ...] = (1, 2, 3, 4, 5)
    table: TableName = "cifar"
    sets: tuple[SetSection, ...] = ()
    selection: Annotated[int, Field(ge=2)] = 500
    held_out: Annotated[int, Field(ge=2)] = 500

    @field_validator("corruptions")
    @classmethod
    def _known(cls, value: str | tuple[str, ...]) -> str | tuple[str, ...]:
        known = {*NAMES, *EXTRA_NAMES}
        if unknown := [name for name in value if name not in known] if isinstance(value, tuple) else []:
            raise ValueError(f"no corruption {unknown[0]!r}; choose one of {', '.join(sorted(known))}")
        return value

    @model_validator(mode="after")
    def _some(self) -> Self:
        if self.idx is None and not self.sets:
            raise ValueError("a study needs data: an idx folder, sets, or both")
        names = [each.name for each in self.sets]
        if len(set(names)) != len(names):
            raise ValueError("the names of the sets must be different")
        if self.idx is not None and CLEAN in names:
            raise ValueError(f"the idx images are the set {CLEAN!r}: rename the other set, or leave out idx")
        if taken := [name for name in names if name in self.corrupted_names]:
            raise ValueError(
                f"the set {taken[0]!r} has the name of a corruption of the idx images: rename it, "
                "or leave out that corruption or severity"
            )
        return self

    @property
    def has_clean(self) -> bool:
        """Whether there are unchanged images: those of the idx folder, or the set of that name."""
        return self.idx is not None or any(each.is_clean for each in self.sets)

    @property
    def corrupted_names(self) -> tuple[str, ...]:
        """The names of the corrupted sets that are made from the idx images."""
        made = self.corruption_names if self.idx is not None else ()
        return tuple(corrupted_name(name, severity) for name in made for severity in self.severities)

    @property
    def corruption_names(self) -> tuple[str, ...]:
        """The corruptions that are applied to the idx images."""
        if isinstance(self.corruptions, tuple):
            return self.corruptions
        return NAMES if self.corruptions == "published" else (*NAMES, *EXTRA_NAMES)


def _specialty(text: str) -> str:
    if text != CLEAN:
        Threat.parse(text)
    return text


Specialty = Annotated[str, AfterValidator(_specialty)]
MAX = "MAX training"
SAT = "SAT training"
INDEPENDENT_NOMINAL = "independent nominal model"
COMPARED = {"max": MAX, "sat": SAT, "nominal": INDEPENDENT_NOMINAL}
"""The fields of comparison models, and their names in results, because an ingredient may well be named ``nominal``."""


class LatticeSection(Section):
    """The soups to score; see ``search.lattice.Lattice``."""

    lower: float = -0.4
    upper: float = 1.4
    step: float = 0.2

    def of(self, size: int) -> Lattice:
        """The lattice of ``size`` ingredients."""
        return Lattice(size, self.lower, self.upper, self.step)


class PantrySection(Section):
    """One pantry: a folder of ingredients, and separately trained models to compare soups with.

    ``architecture`` groups pantries that differ only in the training seed. ``max``, ``sat`` and ``nominal`` are timm
    folders of the ingredients' architecture: models trained on several threats at once, and a nominal model that shares
    no start with the ingredients. ``severities`` restricts the study's severities for this pantry.
    """

    name: Name
    folder: StudyPath
    architecture: str
    max: StudyPath | None = None
    sat: StudyPath | None = None
    nominal: StudyPath | None = None
    severities: tuple[Severity, ...] | None = None

    @property
    def comparison(self) -> dict[str, Path]:
        """The models to compare with, by their names in results."""
        given = {name: getattr(self, field) for field, name in COMPARED.items()}
        return {name: folder for name, folder in given.items() if folder is not None}


class AttackSection(Section):
    """How robust accuracy is measured: APGD under the ingredients' threats, on the first images of the clean set.

    ``pairs`` and ``triples`` are the ingredients whose curves and simplices are drawn, by default all of them.
    """

    images: Annotated[int, Field(ge=2)] = 500
    steps: Annotated[int, Field(ge=1)] = 40
    losses: Annotated[tuple[LossName, ...], Field(min_length=1)] = ("ce",)
    larger_radii: bool = True
    pairs: tuple[tuple[str, str], ...] | None = None
    triples: tuple[tuple[str, str, str], ...] | None = None

    @model_validator(mode="after")
    def _enough_steps(self) -> Self:
        self.on([Threat("L1", 1.0)])
        return self

    def on(self, threats: Sequence[Threat]) -> list[Attack]:
        """The attacks in ``threats``, for each of them one on each loss."""
        return attacks_on(threats, self.losses, steps=self.steps, larger_radii=self.larger_radii)


class FewShotSection(Section):
    """The numbers of labelled images to select by, and how many draws there are of each."""

    counts: tuple[Annotated[int, Field(ge=1)], ...] = (10, 30, 100, 300, 500)
    draws: Annotated[int, Field(ge=2)] = 50


def is_trained(folder: Path) -> bool:
    """Whether ``folder`` holds a model."""
    return (folder / WEIGHTS_FILE).is_file()


class StudyConfig(Section):
    """A whole study. ``ingredients`` names each pantry's folders in order, with the threat of each or ``clean``."""

    name: Name
    ingredients: Annotated[dict[str, Specialty], Field(min_length=2, max_length=16)]
    pantries: Annotated[tuple[PantrySection, ...], Field(min_length=1)]
    lattice: LatticeSection = LatticeSection()
    data: DataSection
    attacks: AttackSection | None = AttackSection()
    few_shot: FewShotSection = FewShotSection()
    strong_severity: Severity = 4
    precision: Literal["float32", "bfloat16"] = "float32"
    logits: Literal["all", "ingredients"] = "all"
    seed: Annotated[int, Field(ge=0)] = 0

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        names = [pantry.name for pantry in self.pantries]
        if len(set(names)) != len(names):
            raise ValueError("two pantries have one name")
        self.lattice.of(len(self.ingredients))
        unknown = {name for group in (*self.pairs, *self.triples) for name in group} - set(self.ingredients)
        if unknown:
            raise ValueError(f"attacks name ingredients that the study does not have: {', '.join(sorted(unknown))}")
        if self.attacks is not None and not (self.data.has_clean and self.threats):
            raise ValueError(
                f"attacks need clean images, an idx folder or a set named {CLEAN!r}, and an ingredient with a threat: "
                "write attacks: null without"
            )
        return self

    def only(self, names: Collection[str]) -> Self:
        """The study restricted to some of its pantries. Raises ValueError for an unknown name."""
        known = {pantry.name: pantry for pantry in self.pantries}
        if unknown := [name for name in names if name not in known]:
            raise ValueError(f"the study has no pantry {unknown[0]!r}: it has {', '.join(known)}")
        kept = tuple(pantry for pantry in self.pantries if pantry.name in names)
        return self.model_copy(update={"pantries": kept})

    def available(self) -> tuple[Self, list[str]]:
        """The study without the pantries and comparison models that do not exist yet, and the names of these.

        A pantry exists if all its ingredients do. Raises ValueError if no pantry exists.
        """
        missing: list[str] = []
        kept = []
        for pantry in self.pantries:
            if lacking := [name for name in self.ingredients if not is_trained(pantry.folder / name)]:
                missing.append(f"pantry {pantry.name}, which lacks {', '.join(lacking)}")
                continue
            absent = {name for name, folder in pantry.comparison.items() if not is_trained(folder)}
            fields = [field for field, name in COMPARED.items() if name in absent]
            missing.extend(f"{field} of {pantry.name}" for field in fields)
            kept.append(pantry.model_copy(update=dict.fromkeys(fields)))
        if not kept:
            raise ValueError("no pantry has all its ingredients: build one, or correct the paths")
        return self.model_copy(update={"pantries": tuple(kept)}), missing

    @property
    def threats(self) -> dict[str, Threat]:
        """The threat that each robust ingredient was trained against."""
        return {name: Threat.parse(text) for name, text in self.ingredients.items() if text != CLEAN}

    @property
    def pairs(self) -> tuple[tuple[str, str], ...]:
        """The pairs of ingredients whose soups are attacked."""
        if self.attacks is None or self.attacks.pairs is not None:
            return (self.attacks.pairs or ()) if self.attacks else ()
        names = tuple(self.ingredients)
        return tuple((a, b) for i, a in enumerate(names) for b in names[i + 1 :])

    @property
    def triples(self) -> tuple[tuple[str, str, str], ...]:
        """The triples of ingredients whose soups are attacked."""
        if self.attacks is None or self.attacks.triples is not None:
            return (self.attacks.triples or ()) if self.attacks else ()
        names = tuple(self.ingredients)
        count = len(names)
        return tuple(
            (names[i], names[j], names[k])
            for i in range(count)
            for j in range(i + 1, count)
            for k in range(j + 1, count)
        )

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a study. Relative paths in it start from its folder.

        Raises FileNotFoundError, and ValueError naming the file, each wrong field and what it should be.
        """
        content = read_mapping(path, "study", "name, ingredients, pantries and data")
        try:
            return cls.model_validate(content, context={"folder": path.resolve().parent})
        except ValidationError as error:
            raise ValueError(f"{path}: {wrong_fields(error)}") from error
