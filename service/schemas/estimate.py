"""What a request would cost."""

from pydantic import Field

from service.schemas.base import Document
from service.schemas.job import JobWarning


class CostEstimate(Document):
    """The cost of the search that a request asks for, before there is a job."""

    evaluations: int = Field(description="Most soups that the search evaluates; it may end earlier.")
    forward_passes: int = Field(description="Most forward passes of one image that they take, attacks included.")
    seconds: float | None = Field(
        description="How long so many passes take at the speed of the last search of this kind on this pantry; null "
        "where there was none. Starting the evaluators, scoring the ingredients and making the result come on top."
    )
    warnings: list[JobWarning] = Field(description="What a job would warn of as it begins, as far as it is known.")
