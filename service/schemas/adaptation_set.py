"""Adaptation sets as users see them."""

from typing import Annotated, Any

from pydantic import Field, StrictInt, StrictStr, model_validator

from service.schemas.base import Alternatives, Document, Sha256, Timestamp

ModelClass = StrictInt | StrictStr
"""A class of the model: its index or its label name. Strict, because `true` is not an index."""

_MUST = "must be a class of the model, its index or name, or a list of at least one"
LabelMap = dict[
    Annotated[str, Field(min_length=1)],
    Annotated[ModelClass | Annotated[list[ModelClass], Field(min_length=1)], Alternatives(_MUST)],
]
"""Maps a class of the set to one or more classes of the model; several are scored by their mean softmax."""


PRECROPPED = "The images are what the model's crop would leave: none of their border is cut off."


class Preprocessing(Document):
    """What ``preprocessing.json`` in an archive says about its images."""

    precropped: bool = Field(default=False, description=PRECROPPED)


class AdaptationSetRequest(Document):
    """The ``request`` part of an upload to ``POST /adaptation-sets``."""

    label_map: LabelMap | None = Field(
        default=None,
        description="Maps each class of the set to one or several classes of the model (index or label name).",
    )


class AdaptationSet(Document):
    """A stored set of images, labelled or not, identified by the sha256 of its contents."""

    id: Sha256
    created_at: Timestamp
    images: int = Field(description="Number of images.")
    labelled: int = Field(description="How many of them have a label.")
    classes: dict[str, int] = Field(
        description="Number of labelled images per class of the set, as named in the upload."
    )
    multi_label: bool = Field(default=False, description="Whether an image may have several accepted labels.")
    label_map: LabelMap | None = None
    precropped: bool = Field(default=False, description=PRECROPPED)
    bytes: int = Field(description="Stored size in bytes.")
    url: str

    @model_validator(mode="before")
    @classmethod
    def _all_labelled(cls, value: Any) -> Any:
        """Sets of earlier versions, whose documents do not say it, have a label for every image."""
        return {"labelled": value.get("images")} | value if isinstance(value, dict) else value


class AdaptationSetPage(Document):
    """One page of stored sets, newest first."""

    items: list[AdaptationSet]
    next: str | None = Field(default=None, description="Pass as `after` for the next page; null on the last.")
