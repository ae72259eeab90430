"""The rules of the claims, on tables made up so that the answer is known."""

import math

import numpy as np
import pytest

from lab.study.analysis import analyse
from lab.study.averages import Estimate
from lab.study.claims.claim import NOT_MEASURED, PaperClaim, Verdict, in_points, over_seeds
from lab.study.claims.robustness import Contest, best_contest, rank_correlations, robustness_claims
from lab.study.claims.shifts import composition_claims, few_shot_claim, shift_claims
from lab.study.config import MAX, SAT, StudyConfig
from lab.study.figures.composition import compositions
from lab.study.figures.few_shot import few_shot_points
from lab.study.methods import methods
from lab.study.plan import CURVE_WEIGHTS, curves
from lab.study.results import LOGITS, SOFTMAX, Flags, PantryResults, RobustTable
from tests.lab.study.conftest import TINY
from tests.lab.study.tables import METRICS, outcomes, results_of, table_of

NAMES = ("linf", "l1")
PAIRS = [NAMES]


@pytest.mark.parametrize(
    ("low", "high", "side", "verdict"),
    [
        (0.1, 0.3, "above", "holds"),
        (-0.1, 0.3, "above", "undecided"),
        (-0.3, -0.1, "above", "does not hold"),
        (-0.3, -0.1, "below", "holds"),
        (0.1, 0.3, "below", "does not hold"),
        (0.0, 0.3, "above", "undecided"),
        (1e-6, 0.3, "above", "holds"),
        (-0.3, -1e-6, "below", "holds"),
        (0.1 + 0.2 - 0.3, 0.3, "above", "undecided"),
        (-0.3, 0.3 - 0.2 - 0.1, "below", "undecided"),
    ],
)
def test_the_whole_interval_decides(low: float, high: float, side: str, verdict: Verdict) -> None:
    claim = PaperClaim(
        "1", "", "", "p", Estimate((low + high) / 2, low, high), 0.0, "above" if side == "above" else "below"
    )
    assert claim.verdict == verdict


def test_points_that_are_zero_but_for_rounding_have_no_sign() -> None:
    points = in_points(Estimate(-1e-17, -0.0123, 0.3 - 0.2 - 0.1))
    assert (str(points.value), points.low, str(points.high)) == ("0.0", -1.23, "0.0")


def test_what_was_not_measured_is_not_decided() -> None:
    assert PaperClaim("1", "", "", "p", NOT_MEASURED, 0.0).verdict == "not measured"


def robust_results(curve: dict[str, list[float]], models: dict[str, float] | None = None) -> PantryResults:
    """Accuracies along the curve from linf to l1, for each metric; metrics left out are constant."""
    [soups] = curves(NAMES, PAIRS)
    flat = [0.5] * len(CURVE_WEIGHTS)
    table = {
        weights: np.stack([outcomes(curve.get(metric, flat)[place], seed=0) for metric in METRICS])
        for place, weights in enumerate(soups)
    }
    trained = {name: np.stack([outcomes(value)] * len(METRICS)) for name, value in (models or {}).items()}
    return results_of([], robust=RobustTable(METRICS, table, trained, "APGD"))


def verdicts(results: PantryResults) -> dict[str, str]:
    return {claim.number: claim.verdict for claim in robustness_claims(results, PAIRS)}


FALLING = [0.8, 0.75, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.15, 0.1]


def test_a_smooth_trade() -> None:
    found = verdicts(robust_results({"Linf:0.1": FALLING, "L1:12.0": FALLING[::-1]}))
    assert (found["1a"], found["1b"]) == ("holds", "holds")
    assert found["2"] == "does not hold"
    assert found["3a"] == "holds"


def test_a_collapse_between_the_ingredients() -> None:
    found = verdicts(robust_results({"Linf:0.1": [0.5, 0.5, 0.5, 0.3, 0.1, 0.1, 0.3, 0.5, 0.5, 0.5]}))
    assert found["1a"] == "does not hold"
    assert found["1b"] != "holds"


def test_a_soup_between_beats_the_specialist() -> None:
    found = verdicts(robust_results({"Linf:0.1": [0.1, 0.3, 0.5, 0.7, 0.5, 0.4, 0.3, 0.2, 0.1, 0.1]}))
    assert found["2"] == "holds"
    assert found["3a"] != "holds"


def test_the_union_is_best_between() -> None:
    between = robust_results({"union": [0.1, 0.1, 0.2, 0.4, 0.5, 0.4, 0.3, 0.2, 0.1, 0.1]})
    assert verdicts(between)["4"] == "holds"
    assert verdicts(robust_results({"union": FALLING}))["4"] == "does not hold"


def test_joint_training_against_the_best_soup() -> None:
    found = verdicts(robust_results({"union": FALLING}, {MAX: 0.9, SAT: 0.1}))
    assert (found["5a"], found["5b"]) == ("does not hold", "holds")
    assert verdicts(robust_results({}))["5a"] == "not measured"


def test_nothing_attacked_claims_nothing() -> None:
    assert robustness_claims(results_of([]), PAIRS) == []


def test_the_best_of_many_equals_is_not_called_better() -> None:
    """Of 200 soups that are all alike, the best on half of the images is no better on the other half."""
    rng = np.random.default_rng(0)
    gains, naive = [], []
    for _ in range(40):
        ours, theirs = rng.random((200, 200)) < 0.5, rng.random((1, 200)) < 0.5
        gains.append(best_contest([Contest("x", ours, theirs)])[0].value)
        naive.append(ours.mean(axis=1).max() - theirs.mean())
    assert abs(np.mean(gains)) < 3 * np.std(gains) / np.sqrt(len(gains))
    assert np.mean(naive) > 0.08


def test_rank_correlations() -> None:
    values = np.array([[1.0, 2.0, 3.0], [3.0, 2.0, 1.0], [1.0, 1.0, 1.0], [1.0, 3.0, 2.0]])
    assert rank_correlations(np.array([1.0, 3.0, 5.0]), values) == pytest.approx([1, -1, 0, 0.5])


def shift_results(soup: float, ingredient: float, ensemble: float, severities: tuple[int, ...] = (5,)) -> PantryResults:
    """Two ingredients and the soup with a negative weight, equally good on all shifts."""
    soups = np.array([[1.0, 0.0], [0.0, 1.0], [0.5, 0.5], [-0.5, 1.5]])
    rows = [outcomes(ingredient), outcomes(ingredient / 2), outcomes(ingredient / 2), outcomes(soup)]
    correct = np.stack(rows)
    others = {SOFTMAX + "linf + l1": outcomes(ensemble), LOGITS + "linf + l1": outcomes(0.5), MAX: outcomes(0.5)}
    tables = [table_of(correct, name=f"fog-{s}", selection=200, others=others) for s in severities]
    return results_of(tables, soups=soups)


def test_soups_on_strong_shifts() -> None:
    strong = shift_results(0.8, 0.6, 0.7)
    found = {claim.number: claim for claim in shift_claims(strong, methods(strong))}
    assert {found[number].verdict for number in ("3b", "5c", "5e", "6a", "6b", "6c", "7a")} == {"holds"}
    assert found["5d"].verdict == "not measured"
    assert found["6a"].estimate.value == pytest.approx(20, abs=6)
    assert found["6a"].note == "better on 1, worse on 0 of 1 sets"
    weak = shift_results(0.5, 0.6, 0.7)
    found = {claim.number: claim for claim in shift_claims(weak, methods(weak))}
    assert found["6b"].verdict == "does not hold"
    assert found["7b"].verdict == "undecided"


def test_clean_images_alone_claim_nothing_about_shifts() -> None:
    correct = np.stack([outcomes(share, 1000) for share in (0.4, 0.9, 0.7)])
    soups = np.array([[1.0, 0.0], [0.0, 1.0], [0.5, 0.5]])
    others = dict.fromkeys((SOFTMAX + "linf + l1", LOGITS + "linf + l1", MAX), outcomes(0.5, 1000))
    results = results_of([table_of(correct, name="clean", selection=600, others=others)], soups=soups)
    config = StudyConfig.model_validate(TINY | {"attacks": None, "few_shot": {"counts": [100, 500], "draws": 2}})
    found = analyse(config, results)
    assert len(found.few_shot) > 0
    assert {claim.verdict for claim in found.claims} == {"not measured"}


def test_few_images_that_suffice_and_that_do_not() -> None:
    def claim(good: float) -> PaperClaim:
        rng = np.random.default_rng(0)
        clear = np.stack([rng.random(1000) < good, rng.random(1000) < 0.5])
        results = results_of([table_of(clear, selection=600)])
        return few_shot_claim("p", few_shot_points(results, (100, 500), 20, results.tables))

    assert claim(0.9).verdict == "holds"
    assert claim(0.58).estimate.value > claim(0.9).estimate.value
    assert few_shot_claim("p", []).verdict == "not measured"


def composed(nominal_is_best: tuple[bool, ...]) -> list[PaperClaim]:
    """Ten soups; those with much of the nominal ingredient are best where ``nominal_is_best``."""
    weights = np.linspace(0, 1, 10)
    soups = np.stack([1 - weights, weights], axis=1)
    tables = []
    for severity, nominal in enumerate(nominal_is_best, start=1):
        accuracy = 0.3 + 0.05 * (np.arange(10) if nominal else np.arange(10)[::-1])
        correct: Flags = np.stack([outcomes(each, seed=place) for place, each in enumerate(accuracy)])
        tables.append(table_of(correct, name=f"fog-{severity}", selection=200))
    results = results_of(tables, soups=soups, specialty={"linf": "Linf:0.1", "nominal": "clean"})
    return composition_claims(results, compositions(results))


def test_composition_against_severity() -> None:
    assert [claim.verdict for claim in composed((True, True, False, False))] == ["holds", "holds"]
    assert [claim.verdict for claim in composed((False, False, True, True))] == ["does not hold", "does not hold"]
    assert [claim.verdict for claim in composed((True, False))] == ["not measured", "not measured"]


def test_claims_over_seeds_have_intervals_over_seeds() -> None:
    def claims(*values: float) -> list[list[PaperClaim]]:
        return [[PaperClaim("6a", "s", "m", f"p{i}", Estimate(v, v, v), 0.0)] for i, v in enumerate(values)]

    [steady] = over_seeds("A", claims(1.0, 1.1, 0.9))
    assert steady.verdict == "holds"
    assert steady.estimate.value == pytest.approx(1.0)
    assert "p2 +0.90" in steady.note
    [wide] = over_seeds("A", claims(3.0, -1.0))
    assert wide.verdict == "undecided"
    assert over_seeds("A", claims(1.0, math.nan)) == []
