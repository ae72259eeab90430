"""The request to adapt."""

from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from service.schemas.adaptation_set import LabelMap
from service.schemas.base import Document, Name, Sha256


class Objective(Document):
    """What a soup is scored by."""

    metric: Literal["accuracy"] = Field(
        default="accuracy",
        description="Accuracy on the adaptation set; ties are broken by negative log-likelihood.",
    )
    over_sets: Literal["mean", "worst"] = Field(
        default="mean", description="With several sets: the mean of their accuracies, or the worst one."
    )


class Grid(Document):
    """Every soup on a lattice of affine weights."""

    strategy: Literal["grid"] = "grid"
    lower: float = Field(default=-0.4, ge=-10, le=1, description="Least weight of an ingredient.")
    upper: float = Field(default=1.4, ge=0, le=10, description="Greatest weight of an ingredient.")
    step: float = Field(default=0.2, gt=0, le=1, description="Distance of neighbouring weights.")
    convex: bool = Field(default=False, description="Only weights in [0, 1]: interpolation alone.")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.lower >= self.upper:
            msg = f"lower ({self.lower}) must be less than upper ({self.upper})"
            raise ValueError(msg)
        return self


class Uniform(Document):
    """The uniform soup alone, scored beside its ingredients: no search."""

    strategy: Literal["uniform"] = "uniform"


def _with_strategy(value: object) -> object:
    """Bounds alone are a grid's."""
    return {"strategy": "grid", **value} if isinstance(value, dict) else value


Search = Annotated[Grid | Uniform, Field(discriminator="strategy"), BeforeValidator(_with_strategy)]


class AdaptRequest(Document):
    """A request to find the best soup of a pantry for one or several adaptation sets. Only ``pantry`` is required."""

    pantry: Name
    adaptation_sets: list[Sha256] | None = Field(
        default=None,
        min_length=1,
        max_length=32,
        description="Stored sets, when none is uploaded with the request.",
    )
    label_map: LabelMap | None = Field(
        default=None, description="For the set uploaded with this request: its classes to the model's."
    )
    objective: Objective = Objective()
    search: Search = Grid()
    precision: Literal["float32", "bfloat16"] = Field(
        default="float32",
        description="Arithmetic of the forward passes in the search; the merge is float32 always.",
    )
    held_out_fraction: float = Field(
        default=0.0,
        ge=0.0,
        le=0.9,
        description="Share of the images kept from selection to score the winner on.",
    )
    top_k: int = Field(default=5, ge=1, le=100, description="How many of the best soups the result lists.")
    seed: int = Field(default=0, ge=0, lt=2**32, description="Seeds the held-out split and the bootstrap.")
