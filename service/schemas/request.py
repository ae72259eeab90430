"""The request to adapt."""

from itertools import chain
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, Union

from pydantic import Field, TypeAdapter, ValidationError, model_validator

from search.evaluation import PLAIN, Refinement
from search.information import weight_beside
from search.strategies.auto import Auto
from search.strategy import StrategyRequest, kinds
from service.schemas.adaptation_set import LabelMap
from service.schemas.base import Document, Name, Sha256
from service.schemas.objective import MAX_THREATS, Constraint, Measured, NamedObjective, Objective, ThreatModel

if TYPE_CHECKING:
    Search = StrategyRequest
else:
    Search = Annotated[
        Union[tuple(kind.request for kind in kinds().values())],  # noqa: UP007 - the strategies are known at run time
        Field(discriminator="strategy"),
    ]


class Refine(Document):
    """How each soup is changed beyond its weights, learnt from the images that select it."""

    statistics: Literal["source", "adapted", "auto"] = Field(
        default="source",
        description="BatchNorm statistics: the soup's own; adapted to the images, which needs no labels; or whichever "
        "of the two has the better cross-validated likelihood.",
    )
    head: Literal["keep", "refit", "auto"] = Field(
        default="keep", description="The last layer: the soup's own; refitted to the labels; or whichever is better."
    )
    temperature: bool = Field(
        default=False, description="Also divide the logits by a fitted temperature, if that makes them likelier."
    )
    layers: Literal["one", "auto"] = Field(
        default="one",
        description="The weights of the best soup's layers: one for each ingredient in all of them; or, if that has "
        "the better cross-validated likelihood, weights of their own for some or all layers, which is tried once the "
        "search has ended.",
    )

    @property
    def changes_every_soup(self) -> bool:
        """Whether soups are searched as they are once refined; layers change the best one alone."""
        return self.model_copy(update={"layers": "one"}) != Refine()

    @model_validator(mode="after")
    def _layers_go_alone(self) -> Self:
        if self.layers == "auto" and self.changes_every_soup:
            msg = "layers are fitted to soups as they are: leave out statistics, head and temperature, or layers"
            raise ValueError(msg)
        return self


Preset = Literal["auto", "paper"]
_PRESETS: dict[Preset, dict[str, dict[str, Any]]] = {
    "auto": {
        "objective": {"metric": "auto"},
        "search": {"strategy": "auto"},
        "refine": {"statistics": "auto", "head": "auto"},
    },
    "paper": {"objective": {"metric": "accuracy"}, "search": {"strategy": "grid"}, "refine": {}},
}


def _differentiates(search: Any) -> bool:
    name = search.get("strategy") if isinstance(search, dict) else getattr(search, "strategy", None)
    kind = kinds().get(name) if isinstance(name, str) else None
    return kind is not None and kind.request.differentiates


def _fits_layers(refine: Any) -> bool:
    return isinstance(refine, dict) and refine.get("layers") == "auto"


def _names_threats(measured: Any) -> bool:
    threats = measured.get("threats") if isinstance(measured, dict) else getattr(measured, "threats", None)
    return bool(threats)


_SEARCHES: TypeAdapter[StrategyRequest] = TypeAdapter(Search)


def _drops_soups(given: Any) -> bool:
    try:
        return _SEARCHES.validate_python(given).drops_soups
    except ValidationError:
        return False


class AdaptRequest(Document):
    """A request to find the best soup of a pantry for one or several adaptation sets. Only ``pantry`` is required."""

    pantry: Name
    preset: Preset = Field(
        default="auto",
        description="What fields that are left out stand for. auto: the best model that we know how to find, by "
        "likelihood, or by mutual information where labels are few and there are images without one, with statistics "
        "and last layer refined where cross-validation says so. paper: the best soup of "
        "the whole lattice by accuracy, as it is (Croce et al., CVPR 2023).",
    )
    adaptation_sets: list[Sha256] | None = Field(
        default=None,
        min_length=1,
        max_length=32,
        description="Stored sets, when none is uploaded with the request.",
    )
    label_map: LabelMap | None = Field(
        default=None, description="For the set uploaded with this request: its classes to the model's."
    )
    objective: Objective | None = Field(
        default=None, description="What soups are scored by, when objectives is not given; by default as preset says."
    )
    objectives: list[NamedObjective] | None = Field(
        default=None,
        min_length=2,
        max_length=4,
        description="In place of objective: several, for the Pareto front of soups that no other beats in all of them.",
    )
    constraints: list[Constraint] = Field(
        default_factory=list, max_length=8, description="Soups that violate one go after all soups that violate none."
    )
    search: Search = Field(default=Auto(), description="How soup weights are proposed; by default as preset says.")
    refine: Refine = Field(
        default=Refine(**_PRESETS["auto"]["refine"]),
        description="How each soup is changed beyond its weights; by default as preset says, and not at all under "
        "threats, in bfloat16, where the search drops soups early, or with the strategy gradient.",
    )
    precision: Literal["float32", "bfloat16"] = Field(
        default="float32",
        description="Arithmetic of the forward passes in the search; the merge is always in float32.",
    )
    held_out_fraction: float = Field(
        default=0.0,
        ge=0.0,
        le=0.9,
        description="Share of the images kept from selection to score the winner on.",
    )
    top_k: int = Field(default=5, ge=1, le=100, description="How many of the best soups the result lists.")
    label_next: int = Field(
        default=10, ge=0, le=1000, description="How many of the images without a label the result names to label next."
    )
    seed: int = Field(default=0, ge=0, lt=2**32, description="Seeds the held-out split, the attacks and the bootstrap.")

    @model_validator(mode="before")
    @classmethod
    def _filled(cls, value: Any) -> Any:
        """Fill in what is left out of objective, search and refine, as ``preset`` says."""
        if not isinstance(value, dict):
            return value
        preset = value.get("preset", "auto")
        if not isinstance(preset, str) or preset not in _PRESETS:
            return value
        defaults = _PRESETS[preset]
        filled = dict(value)
        several = [value.get(field) for field in ("objectives", "constraints")]
        lists = [each for each in several if isinstance(each, list)]
        measured = [value.get("objective"), *chain.from_iterable(lists)]
        is_plain = (
            value.get("precision", "float32") != "float32"
            or any(map(_names_threats, measured))
            or _drops_soups(value.get("search"))
            or _differentiates(value.get("search"))
            or _fits_layers(value.get("refine"))
        )
        for field in ("objective", "search", "refine"):
            given = value.get(field)
            is_open = field != "objective" or not (value.get("objectives") or _names_threats(given))
            if (given is None or isinstance(given, dict)) and is_open:
                filled[field] = ({} if field == "refine" and is_plain else defaults[field]) | (given or {})
        return filled

    @model_validator(mode="after")
    def _objectives_agree(self) -> Self:
        named = self.objectives or []
        if self.objective is not None and named:
            msg = "give either objective or objectives, not both"
            raise ValueError(msg)
        if len({each.name for each in named}) < len(named):
            msg = "two objectives have the same name: give each its own"
            raise ValueError(msg)
        if len(self.threat_models) > MAX_THREATS:
            msg = f"objectives and constraints name {len(self.threat_models)} threats: at most {MAX_THREATS} in all"
            raise ValueError(msg)
        if self.threat_models and self.precision != "float32":
            msg = "attacks need the gradients of float32: leave precision out"
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _refines_what_can_be_refined(self) -> Self:
        if self.refine == Refine():
            return self
        if self.threat_models:
            msg = "soups are not refined under threats: leave refine out, or the threats"
            raise ValueError(msg)
        if self.precision != "float32":
            msg = "refinements are learnt in float32: leave precision out, or refine"
            raise ValueError(msg)
        if self.search.drops_soups and self.refine.changes_every_soup:
            msg = "soups are refined on all images, and so are not dropped before: leave refine out, or prune or race"
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _differentiates_what_can_be_differentiated(self) -> Self:
        if not self.search.differentiates and self.refine.layers == "one":
            return self
        subject = f"the strategy {self.search.strategy}" if self.search.differentiates else "refine.layers"
        instead = "choose the strategy bayes" if self.search.differentiates else "leave refine.layers out"
        reasons = {
            "the gradients of one likelihood: give one objective, and no constraints": self.objectives
            or self.constraints,
            "the mean over sets, because the worst has no gradient: leave over_sets out": self.objective is not None
            and self.objective.over_sets == "worst",
            "the likelihood of labels: take the metric nll or accuracy": self.objective is not None
            and self.objective.metric == "mutual_information",
            "soups as they are, without attacks: leave threats out": self.threat_models,
            "soups as they are: leave refine out": self.refine.changes_every_soup,
            "gradients in float32: leave precision out": self.precision != "float32",
        }
        for what, applies in reasons.items():
            if applies:
                msg = f"{subject} follows {what}, or {instead}"
                raise ValueError(msg)
        return self

    def decided(self, *, labelled: int, unlabelled: int) -> Self:
        """This request with the metric that ``auto`` stands for.

        It depends on how many images with a label, and how many without, select soups in the objective's sets; what
        follows gradients needs labels.
        """
        if self.objective is None or self.objective.metric != "auto":
            return self
        follows_labels = self.search.differentiates or self.refine.layers != "one"
        without_labels = unlabelled and weight_beside(labelled) and not follows_labels
        metric = "mutual_information" if without_labels else "nll"
        return self.model_copy(update={"objective": self.objective.model_copy(update={"metric": metric})})

    @property
    def ranked_by(self) -> list[Measured]:
        """The objective, or the objectives in their order; soups are ranked by the first."""
        return [self.objective] if self.objective is not None else list(self.objectives or [])

    @property
    def measured(self) -> dict[str, Measured]:
        """Everything that is measured for a soup, keyed by its place in the request."""
        alone = {} if self.objective is None else {"objective": self.objective}
        named = {f"objectives.{place}": each for place, each in enumerate(self.objectives or [])}
        return alone | named | {f"constraints.{place}": each for place, each in enumerate(self.constraints)}

    @property
    def threat_models(self) -> list[ThreatModel]:
        """Every threat model that an objective or a constraint names, once, in their order."""
        named = (threat for each in self.measured.values() for threat in each.threats or [])
        return list({threat.label: threat for threat in named}.values())

    def passes_an_image(self, classes: int, refinement: Refinement = PLAIN) -> int:
        """The most forward passes that one soup costs for each image of a set with so many classes."""
        attacks = sum(threat.passes(classes) for threat in self.threat_models)
        return 1 + attacks + (refinement.statistics == "adapted")

    @property
    def metric_names(self) -> list[str]:
        """What is reported for every soup besides its score: accuracy, each threat, and their union.

        Empty when accuracy without threats is all that is measured.
        """
        labels = [threat.label for threat in self.threat_models]
        union = ["union"] if len(labels) > 1 else []
        is_plain = not labels and all(each.metric == "accuracy" for each in self.ranked_by)
        return [] if is_plain else ["accuracy", *labels, *union]


class SuggestLabelsRequest(Document):
    """A request to name the images of a set whose labels would tell most about which soup is best."""

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
    count: int = Field(default=10, ge=1, le=1000, description="How many images to name.")

    def job(self) -> AdaptRequest:
        """The request of the job that finds them: a search like any other."""
        return AdaptRequest(
            pantry=self.pantry,
            adaptation_sets=self.adaptation_sets,
            label_map=self.label_map,
            objective=Objective(metric="auto"),
            label_next=self.count,
        )
