"""Pantries as users see them."""

from typing import Any

from pydantic import Field

from service.schemas.base import Document, Name, Sha256, Timestamp


class Ingredient(Document):
    """One checkpoint of a pantry."""

    name: Name
    sha256: Sha256 = Field(description="The sha256 of the ingredient's model.safetensors.")
    bytes: int
    training: dict[str, Any] | None = Field(
        default=None, description="How it was trained: the ingredient's training.json, if it has one."
    )


class PantryRequest(Document):
    """The ``request`` part of an upload to ``POST /pantries``."""

    name: Name
    ingredients: list[Name] | None = Field(
        default=None,
        min_length=2,
        max_length=16,
        description="Folders of the archive in the desired order; by default all of them, sorted by name.",
    )
    reference: Name | None = Field(
        default=None,
        description="A folder that is not an ingredient but an independent model of the same architecture and classes, "
        "such as a nominally trained one, to compare results with.",
    )


class Pantry(Document):
    """A named, ordered, immutable set of ingredients of one architecture and one label space."""

    name: Name
    digest: Sha256 = Field(description="sha256 over the ordered names and contents of ingredients and reference.")
    created_at: Timestamp
    architecture: str
    parameters: int = Field(description="Floating-point numbers in one ingredient.")
    num_classes: int
    label_names: list[str] | None = None
    input_size: tuple[int, int, int] = Field(description="Channels, height, width.")
    batch_norm: bool = Field(description="Whether the ingredients carry BatchNorm statistics.")
    dtype: str
    ingredients: list[Ingredient]
    reference: Ingredient | None = Field(
        default=None, description="An independent model to compare results with; it is never part of a soup."
    )
    url: str


class PantryList(Document):
    """All pantries, by name."""

    items: list[Pantry]
