"""What a finalizer does when a soup cannot be refined, or its job is cancelled."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from search.evaluation import PLAIN, Outcome, Refinement, SetOutcome, Weights
from service.errors import SoupsearchError
from service.schemas.job import Point
from service.schemas.request import AdaptRequest
from workers.evaluation.errors import EvaluationMemoryError
from workers.jobs import finalize
from workers.jobs.finalize import Finalizer
from workers.jobs.preflight import Preflight
from workers.jobs.refining import ADAPTED, REFITTED, RefinedModels
from workers.jobs.scoring import Scoring
from workers.jobs.soup_file import MergedFile
from workers.refinement.checkpoint import NotFiniteLogits

SOUPS: list[Weights] = [(1.0, 0.0), (0.0, 1.0), (0.5, 0.5)]


def outcome(nll: float) -> Outcome:
    likelihood = np.full(4, -nll, dtype=np.float32)
    return Outcome("complete", (SetOutcome(4, np.zeros(4, np.int32), np.ones(4, np.bool_), likelihood),))


@pytest.fixture
def finalizer() -> Finalizer:
    """One without evaluators, of two ingredients."""
    request = AdaptRequest.model_validate({"pantry": "tiny", "objective": {"metric": "nll"}})
    material = SimpleNamespace(
        names=["l1", "linf"], stack=None, encoded_sets=[], request=request, held_out=lambda key: key
    )
    scoring = Scoring(request, ["0" * 64])
    return Finalizer(cast(Any, material), scoring, cast(Any, None), cast(Any, None), "token")


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (NotFiniteLogits("the logits are not finite"), ("no_finite_soup", "search")),
        (ValueError("this architecture's logits are not its last layer's"), ("not_refinable", "refine")),
    ],
)
def test_why_a_winner_cannot_be_refined_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, finalizer: Finalizer, error: ValueError, told: tuple[str, str]
) -> None:
    def refuse(*_: object) -> None:
        raise error

    monkeypatch.setattr(finalize, "write_soup", refuse)
    point = Point(index=0, weights=[1.0, 0.0], score=-1.0, nll=1.0, images=4, refinement=REFITTED)
    with pytest.raises(SoupsearchError, match=str(error)) as caught:
        finalizer._written(point, None, tmp_path)
    assert (caught.value.code, caught.value.param) == told


@pytest.mark.parametrize("before", [0, 1, 2])
def test_a_cancelled_job_refines_no_further_ingredient(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, finalizer: Finalizer, before: int
) -> None:
    refined: list[Refinement] = []

    def refine(stack: object, weights: Weights, sets: object, refinement: Refinement) -> tuple[dict[str, Any], None]:
        assert weights == SOUPS[1]
        refined.append(refinement)
        return {}, None

    monkeypatch.setattr(finalize, "refined_soup", refine)
    monkeypatch.setattr(finalize, "write_model", lambda *_: MergedFile(tmp_path / "model.safetensors", "0" * 64))
    monkeypatch.setattr(Finalizer, "_evaluate", lambda *_: outcome(0.5))
    outcomes = {each: tuple(outcome(nll) for nll in (2.0, 1.0, 0.5)) for each in (PLAIN, ADAPTED, REFITTED)}
    preflight = Preflight(cast(Any, None), [], SOUPS, RefinedModels(outcomes, {}), PLAIN)
    is_cancelled: Callable[[], bool] = lambda: len(refined) >= before  # noqa: E731
    found = finalizer._refined_on_held_out(preflight, tmp_path, is_cancelled)
    assert refined == [ADAPTED, REFITTED][:before]
    assert list(found) == ["adapted_statistics", "refitted_head"][:before]
    assert all(each.ingredient == "linf" for each in found.values())


@pytest.mark.parametrize("error", [ValueError("no gradients"), EvaluationMemoryError("too large")])
def test_a_soup_whose_layers_cannot_be_fitted_is_delivered_without(
    monkeypatch: pytest.MonkeyPatch, finalizer: Finalizer, error: Exception
) -> None:
    def refuse(*_: object) -> None:
        raise error

    monkeypatch.setattr(finalize, "layered", refuse)
    cast(Any, finalizer.material).request = AdaptRequest.model_validate(
        {"pantry": "tiny", "refine": {"layers": "auto"}}
    )
    assert finalizer._layers(Point(index=0, weights=[1.0, 0.0], score=-1.0, nll=1.0, images=4), lambda: False) is None
