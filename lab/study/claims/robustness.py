"""Claims about soups under attack: smooth trades, intermediate soups, extrapolation, the union of threats."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from lab.study.averages import Estimate
from lab.study.claims.claim import NOT_MEASURED, PaperClaim, in_points
from lab.study.config import CLEAN, MAX, SAT
from lab.study.plan import CURVE_WEIGHTS, curves
from lab.study.results import UNION, Flags, PantryResults, RobustTable
from search.resampling import percentile_interval, shared_resamples

COLLAPSE = -2.0
MONOTONE = 0.9
INSIDE = [index for index, w in enumerate(CURVE_WEIGHTS) if 0 <= w <= 1]
BETWEEN = [index for index, w in enumerate(CURVE_WEIGHTS) if 0 < w < 1]
OUTSIDE = [index for index, w in enumerate(CURVE_WEIGHTS) if not 0 <= w <= 1]
Pair = tuple[str, str]


def robustness_claims(results: PantryResults, pairs: Sequence[Pair]) -> list[PaperClaim]:
    """The claims about attacked soups; none if nothing was attacked."""
    if results.robust is None:
        return []
    lines = {pair: _outcomes(results.robust, soups) for pair, soups in _curves(results, pairs).items()}
    claims = _Claims(results, results.robust, lines)
    return [
        claims.no_collapse(),
        claims.monotone(),
        claims.beats_specialist(),
        claims.extrapolation(),
        claims.union(),
    ] + [claims.against(model) for model in (MAX, SAT)]


def _curves(results: PantryResults, pairs: Sequence[Pair]) -> dict[Pair, list[tuple[float, ...]]]:
    return dict(zip(pairs, curves(results.ingredients, pairs), strict=True))


def _outcomes(robust: RobustTable, soups: Sequence[tuple[float, ...]]) -> Flags:
    """(points, metrics, images) along a curve."""
    return np.stack([robust.soups[weights] for weights in soups])


class _Claims:
    """``lines``: outcomes (points, metrics, images) of each pair's curve."""

    def __init__(self, results: PantryResults, robust: RobustTable, lines: dict[Pair, Flags]) -> None:
        self._results = results
        self._robust = robust
        self._lines = lines

    def no_collapse(self) -> PaperClaim:
        contests = []
        for pair, line in self._lines.items():
            for metric, name in enumerate(self._robust.metrics):
                ends = line[[INSIDE[0], INSIDE[-1]], metric]
                lower = ends[[int(ends.mean(axis=1).argmin())]]
                contests += [Contest(f"{_label(pair, w)}, {name}", lower, line[[w], metric]) for w in BETWEEN]
        measure = "worst soup between two ingredients, less the worse of the two, in any metric"
        return self._claim("1a", "Soups trade robustness without collapse", measure, contests, COLLAPSE, negate=True)

    def monotone(self) -> PaperClaim:
        specialty = self._results.specialty
        trades = [
            self._samples(line[:, self._metric(specialty[b])]) - self._samples(line[:, self._metric(specialty[a])])
            for (a, b), line in self._lines.items()
            if specialty[a] != specialty[b]
        ]
        estimate = NOT_MEASURED
        if trades:
            rho = np.mean([_rank_correlation(trade) for trade in trades], axis=0)
            estimate = Estimate.of(float(rho[0]), percentile_interval(rho[1:]))
        return PaperClaim(
            "1b",
            "The trade between two threats is monotone up to noise",
            "rank correlation of w in [0, 1] with accuracy in the second threat less the first, mean over pairs",
            self._results.name,
            estimate,
            MONOTONE,
            unit="",
        )

    def beats_specialist(self) -> PaperClaim:
        contests = []
        for pair, line in self._lines.items():
            for name in pair:
                metric = self._metric(self._results.specialty[name])
                if metric:
                    end = INSIDE[0] if name == pair[0] else INSIDE[-1]
                    label = f"{pair[0]} to {pair[1]}, {self._robust.metrics[metric]}"
                    contests.append(Contest(label, line[BETWEEN, metric], line[[end], metric]))
        measure = "best soup between two ingredients, less the specialist in the specialist's own threat"
        return self._claim("2", "Some intermediate soup beats the specialist in its own threat", measure, contests, 0.0)

    def extrapolation(self) -> PaperClaim:
        contests = [
            Contest(f"{pair[0]} to {pair[1]}, {name}", line[OUTSIDE, metric], line[INSIDE, metric])
            for pair, line in self._lines.items()
            for metric, name in enumerate(self._robust.metrics)
        ]
        measure = (
            "best soup with w outside [0, 1], less the best inside on the same curve, in the metric where it gains most"
        )
        return self._claim("3a", "Weights outside [0, 1] help somewhere, under attack", measure, contests, 0.0)

    def union(self) -> PaperClaim:
        union = self._robust.metrics.index(UNION)
        wanted = [pair for pair in self._lines if self._norms(pair) == {"Linf", "L1"}]
        contests = [
            Contest(_label(pair), self._lines[pair][BETWEEN, union], self._lines[pair][[INSIDE[0], INSIDE[-1]], union])
            for pair in wanted
        ]
        measure = "union robust accuracy: best soup between the l_inf and the l_1 model, less the better of the two"
        return self._claim("4", "The union is best between the l_inf and the l_1 model", measure, contests, 0.0)

    def against(self, model: str) -> PaperClaim:
        union = self._robust.metrics.index(UNION)
        contests = []
        if model in self._robust.models:
            soups = np.stack([outcome[union] for outcome in self._robust.soups.values()])
            contests = [Contest("any attacked soup", soups, self._robust.models[model][[union]])]
        measure = f"union robust accuracy: best attacked soup, less {model}"
        number = {MAX: "5a", SAT: "5b"}[model]
        statement = f"Without joint training, soups are as robust to the union as {model}"
        return self._claim(number, statement, measure, contests, 0.0)

    def _claim(
        self,
        number: str,
        statement: str,
        measure: str,
        contests: list[Contest],
        threshold: float,
        *,
        negate: bool = False,
    ) -> PaperClaim:
        if not contests:
            return PaperClaim(number, statement, measure, self._results.name, NOT_MEASURED, threshold)
        found, chosen = best_contest(contests)
        estimate = Estimate(-found.value, -found.high, -found.low) if negate else found
        note = "; ".join(dict.fromkeys(chosen))
        return PaperClaim(number, statement, measure, self._results.name, in_points(estimate), threshold, note=note)

    def _norms(self, pair: Pair) -> set[str]:
        return {self._results.specialty[name].partition(":")[0] for name in pair}

    def _metric(self, specialty: str) -> int:
        """The row of an ingredient's own metric; 0, clean, for a nominal ingredient."""
        return 0 if specialty == CLEAN else self._robust.metrics.index(specialty)

    @staticmethod
    def _samples(outcomes: Flags) -> NDArray[np.float64]:
        """Accuracies at weights inside [0, 1], followed by their resamples: (1 + resamples, points)."""
        inside = outcomes[INSIDE]
        return np.vstack([inside.mean(axis=1), shared_resamples(inside.shape[1]).means(inside).T])


def _rank_correlation(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Spearman's correlation of each row, shape (rows, points), with the points' order."""
    return rank_correlations(np.arange(values.shape[1], dtype=np.float64), values)


def rank_correlations(order: NDArray[np.float64], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Spearman's correlation of each row of ``values`` (rows, points) with ``order`` (points,); 0 for constant rows."""
    ranks = rankdata(values, axis=1)
    x = rankdata(order) - (len(order) + 1) / 2
    y = ranks - ranks.mean(axis=1, keepdims=True)
    spread = np.sqrt((x**2).sum() * (y**2).sum(axis=1))
    result: NDArray[np.float64] = np.divide(y @ x, spread, out=np.zeros(len(values)), where=spread > 0)
    return result


def _label(pair: Pair, index: int | None = None) -> str:
    label = f"{pair[0]} to {pair[1]}"
    return label if index is None else f"{label} at w = {CURVE_WEIGHTS[index]:g}"


@dataclass(frozen=True)
class Contest:
    """``ours`` (K, N) against ``theirs`` (L, N), outcomes of soups on the same N images; ``label`` names it."""

    label: str
    ours: Flags
    theirs: Flags


def best_contest(contests: Sequence[Contest]) -> tuple[Estimate, tuple[str, str]]:
    """By how much our best beats their best, in the contest where it does so most.

    The contest and both sides' soups are chosen on the even images and scored on the odd ones, and the other way round;
    the figure is the mean of both. It is therefore an unbiased estimate of the gain from such a choice, however many
    candidates there were. Returns it with the contests that the two halves chose. Raises ValueError without contests.
    """
    if not contests:
        raise ValueError("nothing to choose from")
    images = contests[0].ours.shape[1]
    even = np.arange(images) % 2 == 0
    differences = np.zeros(images)
    chosen = []
    for choosing in (even, ~even):
        contest, ours, theirs = max((_best(contest, choosing) for contest in contests), key=lambda found: found[0])[1]
        differences[~choosing] = contest.ours[ours, ~choosing].astype(float) - contest.theirs[theirs, ~choosing]
        chosen.append(contest.label)
    interval = shared_resamples(images).interval(differences)
    return Estimate.of(float(differences.mean()), interval), (chosen[0], chosen[1])


def _best(contest: Contest, choosing: NDArray[np.bool_]) -> tuple[float, tuple[Contest, int, int]]:
    ours, theirs = contest.ours[:, choosing].mean(axis=1), contest.theirs[:, choosing].mean(axis=1)
    mine, yours = int(ours.argmax()), int(theirs.argmax())
    return float(ours[mine] - theirs[yours]), (contest, mine, yours)
