"""Measures that score a soup: accuracy, accuracy under attack, constraints."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from service.schemas.base import Alternatives, Document, Name, Sha256

MAX_THREATS = 8
FEWEST_CLASSES = {"ce": 2, "dlr": 3, "targeted-dlr": 4}
"""Classes that each loss needs; the difference of logits ratio divides by a distance between the largest logits."""

MAX_TARGETS = 9
_SUM_ERROR = 1e-6
_FEWEST_STEPS_LARGER = 5


class ThreatModel(Document):
    """What an adversary may do to an image, and how hard it tries: APGD within an l_p ball."""

    norm: Literal["Linf", "L2", "L1"] = Field(description="Norm of the ball.")
    eps: float = Field(
        gt=0, le=1e6, description="Its radius, with pixels in [0, 1] at the models' input size; in Linf at most 1."
    )
    steps: int = Field(default=40, ge=1, le=1000, description="Steps of one run of the attack.")
    loss: Literal["ce", "dlr", "targeted-dlr"] = Field(
        default="ce", description="What the attack maximises; targeted-dlr runs once for each of 9 classes."
    )
    restarts: int = Field(default=1, ge=1, le=10, description="Number of runs, each from its own random start.")
    larger_radii: bool = Field(
        default=False,
        description="First take three tenths of the steps at 3 eps and at 2 eps; only for L1, stronger there.",
    )

    @model_validator(mode="after")
    def _larger_in_l1(self) -> Self:
        if self.larger_radii and (self.norm != "L1" or self.steps < _FEWEST_STEPS_LARGER):
            msg = f"larger_radii is for L1 with at least {_FEWEST_STEPS_LARGER} steps: leave it out"
            raise ValueError(msg)
        return self

    @property
    def label(self) -> str:
        """Unique name in results, such as ``Linf:0.1``, followed by whatever differs from the defaults."""
        names = ("loss", "steps", "restarts", "larger_radii")
        changed = [name for name in names if getattr(self, name) != type(self).model_fields[name].default]
        return " ".join([f"{self.norm}:{self.eps:.12g}", *(f"{name}={getattr(self, name)}" for name in changed)])

    def passes(self, classes: int) -> int:
        """The most forward passes that one image costs; there are nearly as many backward passes."""
        runs = self.restarts * (min(MAX_TARGETS, classes - 1) if self.loss == "targeted-dlr" else 1)
        return 1 + runs * (self.steps + (3 if self.larger_radii else 1))


def _is_unset(value: object) -> bool:
    """Used to omit newer fields that are unset, so that digests of older documents stay the same."""
    return value is None


class Measured(Document):
    """One number for a soup."""

    metric: Literal["accuracy", "robust_accuracy", "nll", "mutual_information", "auto"] = Field(
        default="accuracy",
        description="Accuracy on the images as they are; the share that stays right under attack; the negative "
        "log-likelihood, whose score has the sign reversed: the mean log-probability of the right label, in nats; or "
        "mutual_information, which also reads images without a label, or those alone, in nats. auto: nll, or "
        "mutual_information where there are images without a label and few with one.",
    )
    prior: (
        Annotated[
            Literal["uniform"] | dict[str, Annotated[float, Field(gt=0, le=1)]],
            Alternatives(
                "must be 'uniform', or the share of each class by its name, "
                "a fraction above 0 and at most 1: 70 % is 0.7"
            ),
        ]
        | None
    ) = Field(
        default=None,
        exclude_if=_is_unset,
        description="For mutual_information: how common each class is among the images without a label, by its name. "
        "Classes that are not named share the rest equally. By default all classes are equally common.",
    )
    threats: list[ThreatModel] | None = Field(
        default=None, min_length=1, max_length=MAX_THREATS, description="For robust_accuracy: the threat models."
    )
    over_threats: Literal["union", "mean", "worst"] = Field(
        default="union",
        description="With several threats: an image counts if it stays right under all (union), or the mean or worst "
        "of the accuracies under each.",
    )
    over_sets: Literal["mean", "worst"] = Field(
        default="mean", description="With several sets: the mean of their accuracies, or the worst one."
    )
    adaptation_sets: list[Sha256] | None = Field(
        default=None,
        min_length=1,
        max_length=32,
        exclude_if=_is_unset,
        description="Ids of the job's sets that this is measured on; by default all of them.",
    )

    @model_validator(mode="after")
    def _threats_are_for_robust_accuracy(self) -> Self:
        if self.metric == "robust_accuracy" and not self.threats:
            msg = 'robust_accuracy needs threats, for instance [{"norm": "Linf", "eps": 0.1}]'
            raise ValueError(msg)
        if self.metric != "robust_accuracy" and self.threats:
            msg = f"{self.metric} has no threats: leave them out, or set metric to robust_accuracy"
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _prior_is_for_mutual_information(self) -> Self:
        if self.prior is not None and self.metric != "mutual_information":
            msg = f"{self.metric} has no prior: leave it out, or set metric to mutual_information"
            raise ValueError(msg)
        if isinstance(self.prior, dict) and (not self.prior or sum(self.prior.values()) > 1 + _SUM_ERROR):
            msg = "the shares of a prior are of one whole: name some classes, with shares that sum to 1 at most"
            raise ValueError(msg)
        return self


class Objective(Measured):
    """What a soup is scored by."""


class NamedObjective(Measured):
    """One of several objectives."""

    metric: Literal["accuracy", "robust_accuracy", "nll", "mutual_information"] = Field(
        default="accuracy", description="As for a single objective."
    )
    name: Name = Field(description="Its name in the result.")


class Constraint(Measured):
    """What a soup must reach to rank before all soups that do not."""

    metric: Literal["accuracy", "robust_accuracy"] = Field(default="accuracy", description="What is bounded.")
    at_least: Annotated[float, Field(ge=0, le=1, description="Least value on the selection images.")]
