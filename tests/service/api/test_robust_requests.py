"""Robust objectives, constraints and several objectives in POST /adapt."""

import csv
import io
import json

import httpx2
import numpy as np
import pytest

from service.jobs.store import JobStore
from service.schemas.job import JobStatus, Point
from service.schemas.request import AdaptRequest
from tests.driving import Driver
from tests.service.api.checks import problem
from tests.service.api.conftest import Post

LINF = {"norm": "Linf", "eps": 0.1}
L1 = {"norm": "L1", "eps": 12}
ROBUST = {"metric": "robust_accuracy", "threats": [LINF]}


def body(**fields: object) -> str:
    return json.dumps({"pantry": "fashion"} | fields)


def test_what_is_left_out_is_filled_in(adapt: Post) -> None:
    answer = adapt(request=body(objective={"metric": "robust_accuracy", "threats": [LINF, L1]}))
    assert answer.status_code == 202
    objective = answer.json()["request"]["request"]["objective"]
    assert objective["over_threats"] == "union"
    assert objective["threats"][0] == {
        "norm": "Linf",
        "eps": 0.1,
        "steps": 40,
        "loss": "ce",
        "restarts": 1,
        "larger_radii": False,
    }


def test_several_objectives_take_the_place_of_one(adapt: Post, job_store: JobStore) -> None:
    answer = adapt(
        request=body(objectives=[{"name": "clean"}, {"name": "linf"} | ROBUST], constraints=[{"at_least": 0.85}])
    )
    assert answer.status_code == 202
    request = job_store.get(answer.json()["id"]).request.request
    assert request.objective is None
    assert [each.metric for each in request.ranked_by] == ["accuracy", "robust_accuracy"]
    assert request.metric_names == ["accuracy", "Linf:0.1"]
    assert request.constraints[0].at_least == 0.85


THREATS_OF = [{"norm": "Linf", "eps": 0.01 * place} for place in range(1, 10)]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"objective": {"metric": "robust_accuracy"}}, "objective"),
        ({"objective": {"metric": "accuracy", "threats": [LINF]}}, "objective"),
        ({"objective": {"metric": "robust_accuracy", "threats": []}}, "objective.threats"),
        ({"objective": {"metric": "robust_accuracy", "threats": [LINF | {"eps": 0}]}}, "objective.threats.0.eps"),
        ({"objective": {"metric": "robust_accuracy", "threats": [LINF | {"norm": "L3"}]}}, "objective.threats.0.norm"),
        (
            {"objective": {"metric": "robust_accuracy", "threats": [LINF | {"steps": 1001}]}},
            "objective.threats.0.steps",
        ),
        (
            {"objective": {"metric": "robust_accuracy", "threats": [LINF | {"restarts": 11}]}},
            "objective.threats.0.restarts",
        ),
        (
            {"objective": {"metric": "robust_accuracy", "threats": [LINF | {"loss": "targeted-ce"}]}},
            "objective.threats.0.loss",
        ),
        ({"objective": {"metric": "robust_accuracy", "threats": THREATS_OF}}, "objective.threats"),
        (
            {"objective": {"metric": "robust_accuracy", "threats": [LINF | {"larger_radii": True}]}},
            "objective.threats.0",
        ),
        ({"objective": ROBUST, "precision": "bfloat16"}, None),
        ({"objective": {}, "objectives": [{"name": "a"}, {"name": "b"}]}, None),
        ({"objectives": [{"name": "a"}]}, "objectives"),
        ({"objectives": [{"name": "a"}, {"name": "a"}]}, None),
        ({"objectives": [{"name": "a"}, {}]}, "objectives.1.name"),
        ({"constraints": [{"metric": "accuracy"}]}, "constraints.0.at_least"),
        ({"constraints": [{"at_least": 1.5}]}, "constraints.0.at_least"),
        (
            {
                "objective": {"metric": "robust_accuracy", "threats": THREATS_OF[:5]},
                "constraints": [{"metric": "robust_accuracy", "threats": THREATS_OF[5:], "at_least": 0.5}],
            },
            None,
        ),
    ],
)
def test_what_makes_no_sense_is_refused(
    adapt: Post, job_store: JobStore, fields: dict[str, object], param: str | None
) -> None:
    answer = problem(adapt(request=body(**fields)), 422, "invalid_request")
    assert param is None or answer["param"].endswith(param), answer
    assert job_store.queue_depth() == 0


@pytest.mark.parametrize(
    "fields",
    [
        {"objective": ROBUST | {"threats": [L1, LINF | {"eps": 8}]}},
        {"constraints": [ROBUST | {"threats": [LINF | {"eps": 8}], "at_least": 0.2}]},
    ],
)
def test_a_radius_beyond_the_range_of_pixels_is_refused(
    adapt: Post, job_store: JobStore, fields: dict[str, object]
) -> None:
    answer = problem(adapt(request=body(**fields)), 422, "radius_too_large", "objective")
    assert "did you mean 8/255" in answer["detail"]
    assert job_store.queue_depth() == 0


def test_a_radius_of_the_whole_range_is_taken_and_former_requests_stay_readable(adapt: Post) -> None:
    assert adapt(request=body(objective=ROBUST | {"threats": [LINF | {"eps": 1}]})).status_code == 202
    former = AdaptRequest.model_validate({"pantry": "fashion", "objective": ROBUST | {"threats": [LINF | {"eps": 8}]}})
    assert former.threat_models[0].eps == 8


def test_images_with_several_labels_cannot_be_attacked(adapt: Post) -> None:
    buffer = io.BytesIO()
    np.savez(buffer, images=np.zeros((3, 28, 28), dtype=np.uint8), labels=np.array([[0, -1], [1, 2], [2, -1]]))
    several = buffer.getvalue()
    problem(adapt(request=body(objective=ROBUST), archive=several), 422, "several_labels", "objective")
    assert adapt(request=body(), archive=several).status_code == 202


def test_a_loss_that_needs_more_classes_is_refused(adapt: Post) -> None:
    threat = LINF | {"loss": "targeted-dlr"}
    objective = {"metric": "robust_accuracy", "threats": [threat]}
    request = body(objective=objective, label_map={"Bag": 8, "Coat": [2, 4]})
    problem(adapt(request=request), 422, "too_few_classes", "objective")


def test_the_table_of_points_has_a_column_for_each_metric(api: httpx2.Client, adapt: Post, driver: Driver) -> None:
    fields = {"objectives": [{"name": "clean"}, {"name": "linf"} | ROBUST], "constraints": [{"at_least": 0.5}]}
    job_id = adapt(request=body(**fields)).json()["id"]
    driver.start()
    assert driver.claim is not None
    point = Point(
        index=0,
        weights=[1.0, 0.0, 0.0, 0.0],
        score=0.9,
        nll=0.5,
        images=600,
        backward=500,
        metrics={"accuracy": 0.9, "Linf:0.1": 0.4},
        objectives={"clean": 0.9, "linf": 0.4},
        constraints=[0.9],
    )
    unscored = Point(index=1, weights=[0.0, 1.0, 0.0, 0.0], score=None, nll=None, finite=False, images=100)
    outcomes = {each.index: "packed" for each in (point, unscored)}
    driver.store.record_points(job_id, driver.claim.attempt, [point, unscored], outcomes=outcomes)
    rows = list(csv.DictReader(io.StringIO(api.get(f"/jobs/{job_id}/points?format=csv").text)))
    assert rows[0]["accuracy"] == rows[0]["objective_clean"] == "0.9"
    assert (rows[0]["Linf:0.1"], rows[0]["backward"], rows[0]["violation"]) == ("0.4", "500", "0.0")
    assert (rows[1]["Linf:0.1"], rows[1]["objective_linf"]) == ("", "")
    progress = api.get(f"/jobs/{job_id}").json()["progress"]
    assert (progress["images"], progress["backward"]) == (700, 500)
    assert api.get(f"/jobs/{job_id}").json()["status"] == JobStatus.RUNNING


def test_threats_that_differ_have_different_names() -> None:
    threats = [
        LINF,
        LINF | {"steps": 100},
        LINF | {"loss": "dlr"},
        LINF | {"eps": 0.1000001},
        L1,
        L1 | {"larger_radii": True},
        LINF,
    ]
    request = AdaptRequest.model_validate(
        {"pantry": "fashion", "objective": {"metric": "robust_accuracy", "threats": threats}}
    )
    assert [threat.label for threat in request.threat_models] == [
        "Linf:0.1",
        "Linf:0.1 steps=100",
        "Linf:0.1 loss=dlr",
        "Linf:0.1000001",
        "L1:12",
        "L1:12 larger_radii=True",
    ]
