"""Jobs, their points and events."""

from enum import StrEnum
from typing import Any, Literal

from pydantic import Field

from search.evaluation import PLAIN, EvaluationRequest, Refinement
from search.guards import Alarm
from service.schemas.base import Document, Name, Sha256, Timestamp
from service.schemas.request import AdaptRequest
from service.schemas.result import Result


class JobStatus(StrEnum):
    """The stage of a job's life."""

    QUEUED = "queued"
    RUNNING = "running"
    FINALIZING = "finalizing"
    CANCELLING = "cancelling"
    PAUSED = "paused"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_terminal(self) -> bool:
        """Whether the job has ended."""
        return self in {JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELLED}


class Progress(Document):
    """The progress of a search."""

    done: int = Field(default=0, description="Points evaluated.")
    pruned: int = Field(default=0, description="Points dropped early because they could no longer be among the best.")
    total: int = Field(default=0, description="Points in the search; 0 until it is known.")
    images: int = Field(default=0, description="Forward passes of one image so far.")
    backward: int = Field(default=0, description="Backward passes of one image so far, which attacks need.")
    rate: float | None = Field(default=None, description="Points per second in this attempt.")
    estimated_finish: Timestamp | None = None


class Best(Document):
    """The best soup so far."""

    weights: dict[Name, float]
    score: float
    nll: float | None = None
    violation: float = 0.0


class JobWarning(Document):
    """Something the user should know; it does not stop the job."""

    code: str
    message: str


class JobError(Document):
    """Why a job failed."""

    code: str
    message: str
    param: str | None = Field(default=None, description="The field of the request to change, if one is at fault.")
    retryable: bool = False
    attempts: list[str] = Field(default_factory=list, description="The reason of each failed attempt.")


class RequestEcho(Document):
    """The request as the service understood it, with every default and digest filled in."""

    request: AdaptRequest
    pantry_digest: Sha256
    adaptation_sets: list[Sha256]
    ingredients: list[Name]

    @property
    def kind_of_work(self) -> str:
        """What the speed of a search depends on besides the machines, as text."""
        attacked = "attacked" if self.request.threat_models else "plain"
        dropped = "dropped" if self.request.search.drops_soups else "whole"
        refine = self.request.refine
        return " ".join([self.pantry_digest, self.request.precision, attacked, dropped, refine.statistics, refine.head])


class JobUrls(Document):
    """Addresses of the parts of a job."""

    self: str
    events: str
    points: str
    model: str
    cancel: str
    pause: str
    resume: str
    view: str


class Job(Document):
    """One request to adapt, from acceptance to result."""

    id: str
    status: JobStatus
    is_terminal: bool
    created_at: Timestamp
    started_at: Timestamp | None = None
    finished_at: Timestamp | None = None
    expires_at: Timestamp | None = None
    queue_position: int | None = Field(default=None, description="0 is next; null once it runs.")
    attempt: int = 0
    progress: Progress = Progress()
    best: Best | None = None
    warnings: list[JobWarning] = Field(default_factory=list)
    result: Result | None = None
    error: JobError | None = None
    request: RequestEcho
    urls: JobUrls


class JobPage(Document):
    """One page of jobs, newest first."""

    items: list[Job]
    next: str | None = Field(default=None, description="Pass as `after` for the next page; null on the last.")


class SetScore(Document):
    """One soup on the selection images of one set."""

    set: Sha256
    correct: int
    images: int
    nll: float = Field(description="Mean negative log-likelihood, in nats per image.")
    robust: dict[str, int] = Field(
        default_factory=dict, description="Images still right under each threat, and under all of them (`union`)."
    )


class Point(Document):
    """One soup's evaluation in a search."""

    index: int = Field(description="Place of these weights in the order of the search.")
    weights: list[float] = Field(description="In the order of the pantry's ingredients.")
    score: float | None = Field(description="Null if the logits were not finite or the point was pruned.")
    nll: float | None
    finite: bool = True
    floored_channels: int = Field(default=0, description="BatchNorm channels whose variance was not positive.")
    pruned: bool = False
    images: int = Field(description="Forward passes spent on it.")
    backward: int = Field(default=0, description="Backward passes spent on it.")
    metrics: dict[str, float] = Field(
        default_factory=dict, description="With threats: accuracy, robust accuracy under each, and under their union."
    )
    objectives: dict[Name, float] = Field(
        default_factory=dict, description="With several objectives: each one's value."
    )
    constraints: list[float] = Field(default_factory=list, description="The soup's value for each constraint.")
    violation: float = Field(
        default=0.0,
        description="Total shortfall from the constraints, and what its alarms exceed; 0 if there are none.",
    )
    alarms: list[Alarm] = Field(
        default_factory=list, description="For mutual_information: why the soup ranks below those without an alarm."
    )
    sets: list[SetScore] = Field(default_factory=list)
    seconds: float = 0.0
    refinement: Refinement = Field(
        default=PLAIN, description="What was changed of the soup beyond its weights before it was scored."
    )

    @property
    def evaluation(self) -> EvaluationRequest:
        """The request that it answers."""
        return EvaluationRequest(tuple(self.weights), refinement=self.refinement)


class PointPage(Document):
    """One page of points, by index."""

    items: list[Point]
    next: int | None = Field(default=None, description="Pass as `after` for the next page; null on the last.")


class Event(Document):
    """One server-sent event of a job."""

    id: str
    type: Literal["status", "progress", "point", "best", "warning", "end"]
    data: dict[str, Any]
