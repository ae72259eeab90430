"""The result of a job."""

from typing import Any, Literal

from pydantic import Field, model_validator

from search.budget import EndedBy
from search.layers import LayerKind
from service.schemas.base import Document, Name, Sha256
from service.schemas.objective import Constraint

ResultEnd = EndedBy | Literal["cancelled"]
"""Why the search of a job ended."""

METRICS = (
    "On the sets of the first objective: accuracy, robust accuracy under each threat, and under their union; empty "
    "when accuracy is all that is measured."
)


class Score(Document):
    """One model on the selection images."""

    score: float = Field(
        description="The objective, of which more is better: with one set and accuracy the fraction right, for nll the "
        "mean log-probability of the right label in nats, which is negative; for mutual_information this, where there "
        "are labels, plus the weighted mutual information of the images without."
    )
    nll: float | None = None
    interval: tuple[float, float] | None = Field(default=None, description="95 % bootstrap interval over images.")
    metrics: dict[str, float] = Field(default_factory=dict, description=METRICS)


class ScoredSoup(Document):
    """One soup on the selection images, as the search scored it."""

    weights: dict[Name, float]
    score: float
    nll: float | None = None
    floored_channels: int = 0
    metrics: dict[str, float] = Field(default_factory=dict, description=METRICS)
    objectives: dict[Name, float] = Field(
        default_factory=dict, description="With several objectives: each one's value."
    )
    violation: float = 0.0
    point: int | None = Field(
        default=None,
        description="Index of its point, by which its model is downloaded: `?point=`; null in older results.",
    )


class FrontSoup(ScoredSoup):
    """A soup that no other beats in every objective."""

    point: int = Field(description="Index of its point, by which its model is downloaded: `?point=`.")


class ConstraintOutcome(Document):
    """A constraint and the soup's value, as the search scored it."""

    constraint: Constraint
    value: float
    holds: bool


class RefinedIngredient(Score):
    """The best ingredient, by cross-validated likelihood, of those that are refined in one way.

    On the selection images each image is read by a model that was refined without its label.
    """

    ingredient: Name


class Baselines(Document):
    """Baselines for the soup, on the same images."""

    ingredients: dict[Name, Score]
    uniform_soup: Score
    logit_ensemble: Score
    softmax_ensemble: Score
    reference: Score | None = Field(
        default=None, description="The independent model that the pantry names, if it names one."
    )
    adapted_statistics: RefinedIngredient | None = Field(
        default=None, description="With BatchNorm statistics of these images; null without BatchNorm, or with threats."
    )
    refitted_head: RefinedIngredient | None = Field(
        default=None,
        description="With its last layer refitted; null where the labels do not allow it, or with threats.",
    )


class AccuracyTest(Document):
    """Two models compared by accuracy on the same images, by the exact McNemar test."""

    difference: float = Field(description="Soup's accuracy minus the ingredient's.")
    interval: tuple[float, float] = Field(description="95 % paired bootstrap interval of the difference.")
    p_value: float


class PairedTest(Document):
    """The soup compared with the best single ingredient on the same images, by the exact McNemar test."""

    against: Name
    difference: float = Field(description="Soup's score minus the ingredient's.")
    interval: tuple[float, float] = Field(description="95 % paired bootstrap interval of the difference.")
    p_value: float | None = Field(
        description="Null for nll and for the mean or worst over threats: an image is then not just right or wrong."
    )
    accuracy: AccuracyTest | None = Field(
        default=None, description="For nll: the same two models by accuracy. Null otherwise, and in older results."
    )


class HeldOut(Document):
    """The winner, and what it is compared with, on images that were not used for selection."""

    images: int = Field(description="Images held out of the sets that the objective is measured on.")
    soup: Score
    ingredients: dict[Name, Score]
    uniform_soup: Score | None = Field(default=None, description="Null in results of earlier versions.")
    logit_ensemble: Score | None = Field(default=None, description="Null also if it did not fit into memory.")
    softmax_ensemble: Score | None = None
    reference: Score | None = Field(
        default=None, description="The independent model that the pantry names, if it names one."
    )
    adapted_statistics: RefinedIngredient | None = Field(
        default=None, description="The ingredient of result.baselines, with statistics of the selection images."
    )
    refitted_head: RefinedIngredient | None = Field(
        default=None, description="The ingredient of result.baselines, refitted to the selection images."
    )
    paired_test: PairedTest | None = Field(
        default=None, description="Against the ingredient of result.paired_test, on these images."
    )


class AppliedRefinement(Document):
    """What was changed of a soup beyond its weights, learnt from the images that selected it."""

    statistics: Literal["source", "adapted"]
    head: Literal["keep", "refit"]
    temperature: float | None = Field(description="By which logits were divided; null if they were not.")
    strength: float | None = Field(description="Of the ridge towards the soup's own last layer; null if it was kept.")
    prior: int | None = Field(description="Images that the soup's own statistics count as; null if they were kept.")
    images: int = Field(description="How many images it was learnt from.")


class LayerStep(Document):
    """One kind of layer-wise soup, by the mean negative log-likelihood of images that it was not fitted to."""

    kind: LayerKind
    nll: float | None = Field(description="Cross-validated, in nats; null where logits were not finite.")


class LayerWiseSoup(Document):
    """Whether the layers of the soup have weights of their own, and which."""

    kind: LayerKind = Field(
        description="one: all layers have result.weights. head: the last layer has its own. slope: weights change "
        "linearly with depth. thirds: early, middle and late layers have their own. blocks: every layer has."
    )
    weights: list[dict[Name, float]] = Field(
        description="Of each layer, from the stem over every block to the classifier; empty for one."
    )
    steps: list[LayerStep] = Field(description="What was tried, from the fewest free numbers to the most.")
    images: int = Field(description="How many labelled images it was fitted to.")
    evaluations: int = Field(description="Soups evaluated for this, beside those of the search.")


class LabelFreeSigns(Document):
    """What predictions on the images without a label say about a model; of several sets the worst."""

    largest_share: float = Field(description="Share of the images that get the class predicted most.")
    predicted_classes: int = Field(description="How many classes are predicted.")
    agreement: float = Field(description="Share on which the ingredients' softmax ensemble predicts the same.")


class LabelFreeChoice(Document):
    """How a soup was chosen by mutual information, and whether to trust that choice."""

    labelled: int = Field(description="Selection images with a label that counted.")
    unlabelled: int = Field(description="Selection images without one that counted.")
    weight: float = Field(description="What their mutual information counted beside the likelihood of the labels.")
    soup: LabelFreeSigns | None = Field(default=None, description="Null if the job was cancelled before its search.")
    ingredients: LabelFreeSigns | None = Field(
        default=None, description="The worst of any ingredient: the limits of the alarms follow from them."
    )
    doubts: list[str] = Field(description="Why not to trust the choice; empty where nothing speaks against it.")


class ImageToLabel(Document):
    """An image whose label would tell much about which soup is best."""

    set: Sha256
    image: str = Field(description="Its path in the archive, or its place in the array of an npz.")
    votes: dict[str, int] = Field(description="How many of the soups compared predict each class.")
    information: float = Field(
        description="What its label and those of the images before are expected to tell about the best soup, in nats."
    )


class Cost(Document):
    """The cost of the search, and what a plain grid would have cost."""

    evaluations: int = Field(description="Soups tried, those known already included.")
    pruned_points: int = 0
    reused_points: int = Field(default=0, description="Points taken from the journal of an earlier job or attempt.")
    images: int = Field(description="Selection images of all sets.")
    forward_passes: int = Field(description="Forward passes of one image by soups, in this search.")
    backward_passes: int = Field(default=0, description="Backward passes of one image: attacks need them.")
    grid_forward_passes: int = Field(
        description="Cost of scoring every soup of the lattice on every image; with attacks, an upper limit."
    )
    seconds: float = Field(description="Wall time of the last attempt, from its beginning to the result.")

    @model_validator(mode="before")
    @classmethod
    def _renamed(cls, value: Any) -> Any:
        """Earlier versions called evaluations points."""
        if isinstance(value, dict) and "points" in value:
            return {"evaluations" if name == "points" else name: each for name, each in value.items()}
        return value


class MergedModel(Document):
    """The merged checkpoint."""

    sha256: Sha256
    bytes: int
    url: str


class Result(Document):
    """The outcome of a job."""

    summary: str = Field(default="", description="What is best, and by how much, in plain words.")
    weights: dict[Name, float]
    refinement: AppliedRefinement | None = Field(
        default=None,
        description="What else was changed of the soup; its scores are then cross-validated. With adapted statistics "
        "they are transductive: the images that score gave their statistics too, though not their labels.",
    )
    layers: LayerWiseSoup | None = Field(
        default=None,
        description="With refine.layers: how the layers of the soup differ. Unless its kind is one, its scores are "
        "cross-validated, and weights are those of the soup from which it was fitted.",
    )
    metric: str
    score: float
    images: int | None = Field(
        default=None,
        description="Selection images of the sets that the objective is measured on; null in older results.",
    )
    nll: float | None = None
    interval: tuple[float, float] | None = None
    cross_validated: Score | None = Field(
        default=None,
        description="What a soup chosen so scores on other images: each image is judged by the soup that would have "
        "been chosen without a tenth of the images. Null for a set of fewer than 10 images, and for very many soups.",
    )
    metrics: dict[str, float] = Field(default_factory=dict, description=METRICS)
    objectives: dict[Name, float] = Field(
        default_factory=dict, description="With several objectives: each one's value."
    )
    constraints: list[ConstraintOutcome] = Field(default_factory=list)
    constraints_met: bool | None = Field(
        default=None, description="False if no soup meets all constraints: this one violates them least."
    )
    front: list[FrontSoup] = Field(
        default_factory=list,
        description="With several objectives: the soups that no other beats in all of them, best in the first one "
        "first, which is this result's.",
    )
    per_set: dict[Sha256, Score] = Field(
        default_factory=dict, description="The objective on each set, also on those that it is not measured on."
    )
    ended_by: ResultEnd | None = Field(
        default=None,
        description="Why the search ended: its strategy had no more to propose, the named limit of its budget was "
        "reached, or the job was cancelled. Null in older results.",
    )
    partial: bool = Field(
        default=False,
        description="True if the job was cancelled before every soup was tried; this is the best of those tried.",
    )
    floored_channels: int = 0
    held_out: HeldOut | None = None
    top: list[ScoredSoup]
    baselines: Baselines | None = None
    paired_test: PairedTest | None = None
    label_free: LabelFreeChoice | None = Field(
        default=None, description="With images without a label and few with one: how far to trust the choice."
    )
    label_next: list[ImageToLabel] = Field(
        default_factory=list, description="Which images without a label to label next, most telling first."
    )
    cost: Cost
    model: MergedModel
