"""The images of a study."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from lab.data.corruptions import EXTRA_NAMES, NAMES, TableName

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
