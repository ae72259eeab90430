from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.evaluation import EvaluationRequest
from search.information import UnlabelledSet
from search.objectives import Measure, Objectives
from search.surrogate import GaussianProcess, Kernel, LogitSurrogate, ScoreSurrogate, ladder
from search.testing import Landscape

KERNEL = Kernel(0.7, 1.0, 1e-4)


def soups(count: int, size: int = 3, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).dirichlet(np.ones(size), count)


@given(st.integers(0, 2**16), st.integers(2, 8))
def test_what_is_left_out_is_predicted_as_if_it_had_never_been_known(seed: int, count: int) -> None:
    points = soups(count, seed=seed)
    responses = np.random.default_rng(seed).normal(size=(count, 3))
    means, deviations = GaussianProcess(points, responses, [KERNEL]).left_out
    for place in range(count):
        others = np.arange(count) != place
        process = GaussianProcess(points[others], responses[others], [KERNEL])
        assert means[place] == pytest.approx(process.mean(points[place : place + 1])[0], abs=1e-6)
        noisy = np.hypot(process.deviation(points[place : place + 1]), np.sqrt(KERNEL.noise))
        assert deviations[place] == pytest.approx(noisy[0], rel=1e-4)


def test_what_is_known_is_certain_and_what_is_pending_nearly_so() -> None:
    points, elsewhere = soups(6), soups(5, seed=1)
    process = GaussianProcess(points, points[:, :1] ** 2, [KERNEL])
    assert process.mean(points) == pytest.approx(points[:, :1] ** 2, abs=1e-3)
    assert process.deviation(points).max() < 0.02
    assert process.deviation(elsewhere, elsewhere).max() < 0.02
    assert (process.deviation(elsewhere, points[:0]) == process.deviation(elsewhere)).all()


def test_the_kernel_with_the_greatest_likelihood_is_taken() -> None:
    rng = np.random.default_rng(0)
    points = rng.uniform(-1, 1, size=(40, 2))
    true = Kernel(0.5, 0.0, 1e-4)
    covariance = true.between(points, points) + 1e-4 * np.eye(40)
    responses = np.linalg.cholesky(covariance) @ rng.normal(size=(40, 20))
    kernels = ladder((0.1, 0.5, 3.0), (0.0, 10.0), (1e-4, 0.5))
    assert GaussianProcess(points, responses, kernels).kernel == true


UNLABELLED = (UnlabelledSet(0),)


@pytest.mark.parametrize(
    "measure",
    [
        Measure(),
        Measure(metric="nll"),
        Measure(metric="mutual_information", sets=(), unlabelled=UNLABELLED),
        Measure(metric="mutual_information", unlabelled=UNLABELLED, weight=0.5),
    ],
)
def test_logits_predict_soups_of_linear_models_exactly(measure: Measure) -> None:
    landscape = Landscape(3, images=60, classes=5)
    objectives = Objectives((measure,), accepted=(landscape.accepted,))
    known, unseen = soups(12), soups(30, seed=1)
    outcomes = [landscape.outcome(EvaluationRequest(tuple(each), keep_logits=True)) for each in known]
    surrogate = LogitSurrogate(objectives, known, outcomes)
    truth = [
        objectives.every_value(landscape.outcome(EvaluationRequest(tuple(each), keep_logits=True)))[0]
        for each in unseen
    ]
    assert surrogate.found[:, 0] == pytest.approx([objectives.value(each) for each in outcomes], abs=1e-5)
    assert np.abs(surrogate.predict(unseen)[:, 0] - truth).max() < 0.02


def test_logits_are_thinned_and_asked_for() -> None:
    landscape = Landscape(3, images=50, classes=4)
    objectives = Objectives(accepted=(landscape.accepted,))
    known = soups(4)
    outcomes = [landscape.outcome(EvaluationRequest(tuple(each), keep_logits=True)) for each in known]
    assert LogitSurrogate(objectives, known, outcomes, limit=40).process.responses.shape == (4, 40)
    with pytest.raises(ValueError, match="ask for them"):
        LogitSurrogate(objectives, known, [each.without_logits() for each in outcomes])


def test_scores_order_soups_as_their_measures_do() -> None:
    landscape = Landscape(3, images=200)
    objectives = Objectives((Measure(metric="nll"),), (), ((Measure(), 0.5),))
    known, unseen = soups(20), soups(30, seed=1)
    outcomes = [landscape.outcome(EvaluationRequest(tuple(each))) for each in known]
    surrogate = ScoreSurrogate(objectives, known, outcomes)
    truth = np.array([objectives.every_value(landscape.outcome(EvaluationRequest(tuple(each)))) for each in unseen])
    predicted = surrogate.predict(unseen)
    assert np.corrcoef(predicted[:, 0], truth[:, 0])[0, 1] > 0.95
    holds = surrogate.found[:, 1] >= surrogate.thresholds[0] - 1e-9
    assert holds.tolist() == [objectives.every_value(each)[1] >= 0.5 for each in outcomes]


def test_images_without_a_label_teach_no_margin() -> None:
    landscape = Landscape(3, images=30, classes=3)
    known = soups(6)
    outcomes = [landscape.outcome(EvaluationRequest(tuple(each), keep_logits=True)) for each in known]
    twice = [replace(each, sets=(each.sets[0], each.sets[0])) for each in outcomes]
    none = np.zeros_like(landscape.accepted)
    one = LogitSurrogate(Objectives(accepted=(landscape.accepted,)), known, outcomes)
    objectives = Objectives((Measure(sets=(0,)),), accepted=(landscape.accepted, none))
    both = LogitSurrogate(objectives, known, twice)
    np.testing.assert_allclose(both.predict(soups(5, seed=1)), one.predict(soups(5, seed=1)), atol=1e-6)


def test_an_image_that_accepts_every_class_tells_nothing_and_harms_nothing() -> None:
    landscape = Landscape(3, images=30, classes=3)
    accepted = landscape.accepted.copy()
    accepted[0] = True
    known = soups(6)
    outcomes = [landscape.outcome(EvaluationRequest(tuple(each), keep_logits=True)) for each in known]
    surrogate = LogitSurrogate(Objectives((Measure(metric="nll"), Measure()), accepted=(accepted,)), known, outcomes)
    assert np.isfinite(surrogate.errors).all()
    assert np.isfinite(surrogate.predict(soups(5, seed=1))).all()
