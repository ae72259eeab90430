"""One coherent story in examples: a pantry, a set, a job and its result, as the documentation shows them."""

from datetime import UTC, datetime, timedelta
from typing import Any

from search.strategies.grid import Grid
from service.schemas.adaptation_set import AdaptationSet, AdaptationSetPage, AdaptationSetRequest
from service.schemas.estimate import CostEstimate
from service.schemas.job import (
    Best,
    Job,
    JobPage,
    JobStatus,
    JobUrls,
    Point,
    PointPage,
    Progress,
    RequestEcho,
    SetScore,
)
from service.schemas.objective import Constraint, Objective, ThreatModel
from service.schemas.pantry import Ingredient, Pantry, PantryList, PantryRequest
from service.schemas.request import AdaptRequest, SuggestLabelsRequest
from service.schemas.result import (
    Baselines,
    Cost,
    MergedModel,
    PairedTest,
    RefinedIngredient,
    Result,
    Score,
    ScoredSoup,
)

NAMES = ("linf", "l2", "l1", "nominal")
WEIGHTS = (0.2, -0.4, 0.4, 0.8)
SET_ID = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
CLEAN_SET_ID = "3a7bd3e2360a3d29eea436fcfb7e44c735d117c42d1c1835420b6b9942dd4f1b"
PANTRY_DIGEST = "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae"
MODEL_DIGEST = "fcde2b2edba56bf408601fb721fe9b5c338d10ee429ea04fae5511b68fbf8fb9"
JOB_ID = "01k9zq3v7m4t"
BEGIN = datetime(2026, 11, 22, 9, 30, tzinfo=UTC)


def _score(score: float, nll: float, width: float = 0.07) -> Score:
    return Score(score=score, nll=nll, interval=(round(score - width, 3), round(score + width, 3)))


def _soup(*weights: float) -> dict[str, float]:
    return dict(zip(NAMES, weights, strict=True))


REQUEST = AdaptRequest(
    pantry="fashion",
    preset="paper",
    objective=Objective(metric="accuracy"),
    search=Grid(strategy="grid", lower=-0.4, upper=1.4, step=0.2),
)

STORED_SETS_REQUEST = AdaptRequest(
    pantry="fashion",
    adaptation_sets=[SET_ID, CLEAN_SET_ID],
    objective=Objective(
        metric="robust_accuracy",
        threats=[ThreatModel(norm="Linf", eps=0.1), ThreatModel(norm="L2", eps=1.5)],
        over_threats="union",
        adaptation_sets=[SET_ID],
    ),
    constraints=[Constraint(metric="accuracy", at_least=0.85, adaptation_sets=[CLEAN_SET_ID])],
    held_out_fraction=0.5,
)

SUGGEST_REQUEST = SuggestLabelsRequest(pantry="fashion", count=10)

STORED_SETS_SUGGEST_REQUEST = SuggestLabelsRequest(pantry="fashion", adaptation_sets=[SET_ID], count=10)

ADAPTATION_SET_REQUEST = AdaptationSetRequest(label_map={"shoe": ["Sandal", "Sneaker", "Ankle boot"], "bag": "Bag"})

ADAPTATION_SET = AdaptationSet(
    id=SET_ID,
    created_at=BEGIN,
    images=150,
    labelled=100,
    classes={"bag": 40, "shoe": 60},
    label_map=ADAPTATION_SET_REQUEST.label_map,
    bytes=61_440,
    url=f"/adaptation-sets/{SET_ID}",
)

ADAPTATION_SET_PAGE = AdaptationSetPage(items=[ADAPTATION_SET])

PANTRY_REQUEST = PantryRequest(name="fashion", ingredients=list(NAMES))

PANTRY = Pantry(
    name="fashion",
    digest=PANTRY_DIGEST,
    created_at=BEGIN - timedelta(days=1),
    architecture="vit_tiny_patch16_224",
    parameters=803_978,
    num_classes=10,
    label_names=["T-shirt", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"],
    input_size=(1, 28, 28),
    batch_norm=False,
    dtype="float32",
    ingredients=[
        Ingredient(name=name, sha256=(str(place) * 64), bytes=3_218_000, training={"threat": name})
        for place, name in enumerate(NAMES)
    ],
    url="/pantries/fashion",
)

PANTRY_LIST = PantryList(items=[PANTRY])

RESULT = Result(
    summary="The soup is right on 86.0 % of the 100 images that chose it, 10.0 points more than the best ingredient "
    "(l1). Refitting the last layer of nominal alone gives 83.0 %, 3.0 points less.",
    weights=_soup(*WEIGHTS),
    metric="accuracy",
    score=0.86,
    images=100,
    nll=0.41,
    interval=(0.79, 0.92),
    per_set={SET_ID: _score(0.86, 0.41)},
    ended_by="strategy",
    top=[
        ScoredSoup(weights=_soup(*WEIGHTS), score=0.86, nll=0.41, point=317),
        ScoredSoup(weights=_soup(0.0, -0.2, 0.4, 0.8), score=0.85, nll=0.43, point=62),
    ],
    baselines=Baselines(
        ingredients={name: _score(score, 0.9) for name, score in zip(NAMES, (0.71, 0.74, 0.76, 0.69), strict=True)},
        uniform_soup=_score(0.77, 0.66),
        logit_ensemble=_score(0.78, 0.65),
        softmax_ensemble=_score(0.77, 0.67),
        refitted_head=RefinedIngredient(ingredient="nominal", score=0.83, nll=0.52, interval=(0.76, 0.9)),
    ),
    paired_test=PairedTest(against="l1", difference=0.1, interval=(0.03, 0.17), p_value=0.006),
    cost=Cost(evaluations=480, images=100, forward_passes=48_000, grid_forward_passes=48_000, seconds=19.5),
    model=MergedModel(sha256=MODEL_DIGEST, bytes=3_218_400, url=f"/jobs/{JOB_ID}/model"),
)

_ECHO = RequestEcho(request=REQUEST, pantry_digest=PANTRY_DIGEST, adaptation_sets=[SET_ID], ingredients=list(NAMES))

_URLS = JobUrls(
    self=f"/jobs/{JOB_ID}",
    events=f"/jobs/{JOB_ID}/events",
    points=f"/jobs/{JOB_ID}/points",
    model=f"/jobs/{JOB_ID}/model",
    cancel=f"/jobs/{JOB_ID}/cancel",
    pause=f"/jobs/{JOB_ID}/pause",
    resume=f"/jobs/{JOB_ID}/resume",
    view=f"/jobs/{JOB_ID}/view",
)

QUEUED_JOB = Job(
    id=JOB_ID,
    status=JobStatus.QUEUED,
    is_terminal=False,
    created_at=BEGIN,
    queue_position=0,
    progress=Progress(total=480),
    request=_ECHO,
    urls=_URLS,
)

ESTIMATE = CostEstimate(evaluations=480, forward_passes=48_000, seconds=19.5, warnings=[])

CANCELLING_JOB = QUEUED_JOB.model_copy(
    update={
        "status": JobStatus.CANCELLING,
        "queue_position": None,
        "attempt": 1,
        "started_at": BEGIN + timedelta(seconds=1),
        "progress": Progress(done=120, total=480, images=12_000, rate=25.0),
        "best": Best(weights=_soup(0.0, -0.2, 0.4, 0.8), score=0.85, nll=0.43),
    }
)

PAUSED_JOB = CANCELLING_JOB.model_copy(update={"status": JobStatus.PAUSED})

SUCCEEDED_JOB = QUEUED_JOB.model_copy(
    update={
        "status": JobStatus.SUCCEEDED,
        "is_terminal": True,
        "queue_position": None,
        "attempt": 1,
        "started_at": BEGIN + timedelta(seconds=1),
        "finished_at": BEGIN + timedelta(seconds=22),
        "expires_at": BEGIN + timedelta(days=7),
        "progress": Progress(done=480, total=480, images=48_000, rate=25.0),
        "best": Best(weights=_soup(*WEIGHTS), score=0.86, nll=0.41),
        "result": RESULT,
    }
)

JOB_PAGE = JobPage(items=[SUCCEEDED_JOB])

POINT_PAGE = PointPage(
    items=[
        Point(
            index=0,
            weights=list(WEIGHTS),
            score=0.86,
            nll=0.41,
            images=100,
            sets=[SetScore(set=SET_ID, correct=86, images=100, nll=0.41)],
            seconds=0.04,
        )
    ],
    next=0,
)

POINTS_CSV = (
    "index,score,nll,finite,floored_channels,pruned,images,seconds,weight_linf,weight_l2,weight_l1,weight_nominal\n"
    "0,0.86,0.41,true,0,false,100,0.04,0.2,-0.4,0.4,0.8\n"
)

EVENTS = (
    'id: 1767-0\nevent: progress\ndata: {"done": 16, "total": 480}\n\n'
    'id: 1768-0\nevent: end\ndata: {"status": "succeeded"}\n\n'
)

HEALTH: dict[str, Any] = {"status": "ok"}

READINESS: dict[str, Any] = {
    "status": "ready",
    "checks": {"job_store": "ok", "artifact_store": "ok"},
    "workers": 1,
}

METRICS = (
    '# HELP soupsearch_jobs Jobs in the store.\n# TYPE soupsearch_jobs gauge\nsoupsearch_jobs{status="queued"} 2.0\n'
)
