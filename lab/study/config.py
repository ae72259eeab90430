"""What a study is about, read from a small YAML file."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    Field,
    ValidationError,
    model_validator,
)

from lab.study.data_config import CLEAN, DataSection, Name, Section, Severity, StudyPath
from lab.yaml_files import read_mapping, wrong_fields
from search.lattice import Lattice
from workers.attacks.attack import Attack, LossName, attacks_on
from workers.attacks.threat import Threat
from workers.soups.model import WEIGHTS_FILE


def _specialty(text: str) -> str:
    if text != CLEAN:
        Threat.parse(text)
    return text


Specialty = Annotated[str, AfterValidator(_specialty)]
MAX = "MAX training"
SAT = "SAT training"
INDEPENDENT_NOMINAL = "independent nominal model"
COMPARED = {"max": MAX, "sat": SAT, "nominal": INDEPENDENT_NOMINAL}
"""The fields of models to compare with, and what results call them: an ingredient may well be named ``nominal``."""


class LatticeSection(Section):
    """The soups that are scored; see ``search.lattice.Lattice``."""

    lower: float = -0.4
    upper: float = 1.4
    step: float = 0.2

    def of(self, size: int) -> Lattice:
        """The lattice of ``size`` ingredients."""
        return Lattice(size, self.lower, self.upper, self.step)


class PantrySection(Section):
    """One pantry: a folder of ingredients, and models trained apart to compare soups with.

    ``architecture`` groups pantries that differ in the training seed alone. ``max``, ``sat`` and ``nominal`` are timm
    folders of the ingredients' architecture: models trained on several threats at once, and a nominal model that
    shares no start with the ingredients. ``severities`` restricts the study's for this pantry.
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
        """The models to compare with, by what results call them."""
        given = {name: getattr(self, field) for field, name in COMPARED.items()}
        return {name: folder for name, folder in given.items() if folder is not None}


class AttackSection(Section):
    """How robust accuracy is measured: APGD in the ingredients' threats, on the first images of the clean set.

    ``pairs`` and ``triples`` are the ingredients whose curves and simplices are drawn; by default all of them.
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
    """The numbers of labelled images to select by, and how often each is drawn anew."""

    counts: tuple[Annotated[int, Field(ge=1)], ...] = (10, 30, 100, 300, 500)
    draws: Annotated[int, Field(ge=2)] = 50


def is_trained(folder: Path) -> bool:
    """Whether there is a model in ``folder``."""
    return (folder / WEIGHTS_FILE).is_file()


class StudyConfig(Section):
    """A whole study. ``ingredients`` names each pantry's folders in order, with the threat of each, or ``clean``."""

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
            raise ValueError(f"attacks name no ingredient of the study: {', '.join(sorted(unknown))}")
        if self.attacks is not None and not (self.data.has_clean and self.threats):
            raise ValueError(
                f"attacks need clean images, an idx folder or a set named {CLEAN!r}, and an ingredient with a threat: "
                "write attacks: null without"
            )
        return self

    def only(self, names: Collection[str]) -> Self:
        """The study of some of its pantries. Raises ValueError for a name that is none of them."""
        known = {pantry.name: pantry for pantry in self.pantries}
        if unknown := [name for name in names if name not in known]:
            raise ValueError(f"the study has no pantry {unknown[0]!r}: it has {', '.join(known)}")
        kept = tuple(pantry for pantry in self.pantries if pantry.name in names)
        return self.model_copy(update={"pantries": kept})

    def available(self) -> tuple[Self, list[str]]:
        """The study without pantries and comparison models that are not there yet, and what was left out.

        A pantry is there when all its ingredients are.

        Raises ValueError when no pantry is there.
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
            raise ValueError("no pantry is there with all its ingredients: build one, or correct the paths")
        return self.model_copy(update={"pantries": tuple(kept)}), missing

    @property
    def threats(self) -> dict[str, Threat]:
        """The threat that each robust ingredient was trained in."""
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
        """Read a study; relative paths in it start from its folder.

        Raises FileNotFoundError, and ValueError naming the file, each field that is wrong and what it should be.
        """
        content = read_mapping(path, "study", "name, ingredients, pantries and data")
        try:
            return cls.model_validate(content, context={"folder": path.resolve().parent})
        except ValidationError as error:
            raise ValueError(f"{path}: {wrong_fields(error)}") from error
