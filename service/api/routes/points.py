"""The points of a job: every soup tried."""

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Header, Query, Response
from starlette.responses import StreamingResponse

from service.api.examples import POINT_PAGE, POINTS_CSV
from service.api.openapi import Responses, answer, problems, raw_answer
from service.api.routes.jobs import GONE_JOB, NO_JOB
from service.api.services import Use
from service.errors import InvalidRequest
from service.schemas.job import Point, PointPage
from service.schemas.request import AdaptRequest

router = APIRouter(tags=["jobs"])

COLUMNS = ("index", "score", "nll", "finite", "floored_channels", "pruned", "images", "seconds")
UNDER_ATTACK = ("backward",)
CONSTRAINED = ("violation",)


PAGES: Responses = {
    200: {
        "description": "A page of points, or all of them as CSV.",
        "content": answer(200, "", POINT_PAGE)[200]["content"]
        | raw_answer(200, "", "text/csv", POINTS_CSV)[200]["content"],
    }
}


@dataclass(frozen=True)
class Page:
    """Which points to return, and in which format."""

    limit: Annotated[int, Query(ge=1, le=10_000, description="Points in a JSON page.")] = 1000
    after: Annotated[int | None, Query(ge=0, le=2**53, description="`next` of the page before.")] = None
    form: Annotated[Literal["json", "csv"] | None, Query(alias="format", description="Goes before Accept.")] = None
    accept: Annotated[str, Header()] = ""

    @property
    def is_csv(self) -> bool:
        """Whether the request asks for CSV."""
        return self.form == "csv" or (self.form is None and self.accept.startswith("text/csv"))


def _cell(value: object) -> object:
    return str(value).lower() if isinstance(value, bool) else value


def csv_lines(points: Iterable[Point], ingredients: Sequence[str], request: AdaptRequest) -> Iterator[str]:
    """The points as lines of CSV, with one weight column per ingredient after the columns that ``request`` adds."""
    metrics, objectives = request.metric_names, [each.name for each in request.objectives or []]
    columns = [*COLUMNS, *(UNDER_ATTACK if metrics else ()), *(CONSTRAINED if request.constraints else ())]
    named = [*metrics, *(f"objective_{name}" for name in objectives), *(f"weight_{name}" for name in ingredients)]
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow([*columns, *named])
    for point in points:
        yield buffer.getvalue()
        buffer.seek(0)
        buffer.truncate()
        values = [*(point.metrics.get(name) for name in metrics), *(point.objectives.get(name) for name in objectives)]
        writer.writerow([*(_cell(getattr(point, column)) for column in columns), *values, *point.weights])
    yield buffer.getvalue()


@router.get(
    "/jobs/{job_id}/points",
    response_model=PointPage,
    summary="List every soup tried",
    responses=PAGES
    | problems(NO_JOB, GONE_JOB, InvalidRequest("limit must be at most 10000, not 20000.", param="limit")),
)
def get_points(job_id: str, use: Use, page: Annotated[Page, Depends()]) -> Response:
    """All points so far, in the order of the search; with `Accept: text/csv` or `format=csv`, all at once."""
    job = use.jobs.get(job_id)
    if page.is_csv:
        lines = csv_lines(use.jobs.iter_points(job_id), job.request.ingredients, job.request.request)
        headers = {"Content-Disposition": f'attachment; filename="points-{job_id}.csv"', "Vary": "Accept"}
        return StreamingResponse(lines, media_type="text/csv; charset=utf-8", headers=headers)
    points = use.jobs.points(job_id, after=page.after, limit=page.limit)
    return Response(points.model_dump_json(), media_type="application/json", headers={"Vary": "Accept"})
