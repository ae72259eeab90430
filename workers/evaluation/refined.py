"""Soups as they would be delivered after a refinement, on the images that they are refined on."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from search.evaluation import LayerWeights, Outcome, Passes, Refinement, Weights
from workers.evaluation.errors import EvaluationStopped, Stop
from workers.evaluation.sets import EncodedSet
from workers.evaluation.streams import one_thread
from workers.evaluation.tally import Tally
from workers.refinement.fit import LabelFit
from workers.refinement.labels import PooledLabels
from workers.refinement.reading import SoupReader, SoupReading
from workers.soups.resident import ResidentSoup


@dataclass(frozen=True)
class _Kept:
    reading: SoupReading
    floored_channels: int


class RefinedSoups:
    """Outcomes of refined soups on ``sets``, all of whose images ``reader`` reads with the model of ``soup``.

    BatchNorm statistics are those of all images together: they need no labels. A last layer and a temperature are
    fitted to the other folds of images, see ``LabelFit``, so each image is judged without its label.

    The last soup's readings are kept, for several refinements of one soup. Passes are counted as if they were not: an
    outcome depends on its request alone.
    """

    def __init__(self, soup: ResidentSoup, sets: Sequence[EncodedSet], reader: SoupReader) -> None:
        self._soup = soup
        self._sets = sets
        self._reader = reader
        self._weights: Weights | LayerWeights = ()
        self._readings: dict[tuple[str, bool], _Kept] = {}

    def outcome(
        self,
        weights: Weights | LayerWeights,
        refinement: Refinement,
        stop: Stop | None = None,
        *,
        keep_logits: bool = False,
    ) -> Outcome:
        """The soup of ``weights`` after ``refinement``; of logits that are not finite, nothing is learnt.

        When ``stop()`` ends it, no image was seen. Raises ValueError for wrong weights, and for a refinement that the
        model or the labels do not allow; EvaluationMemoryError.
        """
        tallies = [
            Tally(len(each), is_labelled=each.accepted is not None, keep_logits=keep_logits) for each in self._sets
        ]
        labels = PooledLabels(self._sets, self._soup.device) if refinement.needs_labels else None
        try:
            kept = self._read(weights, refinement, stop)
        except EvaluationStopped:
            return Outcome("stopped", tuple(tally.result() for tally in tallies))
        logits, finite = kept.reading.logits, kept.reading.is_finite
        if labels is not None and finite:
            with one_thread():
                logits = LabelFit(kept.reading, labels, refinement).crossed_logits().float()
        parts = torch.split(logits, [len(each) for each in self._sets])
        for tally, source, part in zip(tallies, self._sets, parts, strict=True):
            mask = None if source.accepted is None else source.space.mask(source.accepted).to(part.device)
            tally.add(source.space.outcomes(part, mask), part)
        passes = len(logits) * (2 if refinement.statistics == "adapted" else 1)
        return Outcome(
            status="complete" if finite else "not_finite",
            sets=tuple(tally.result() for tally in tallies),
            passes=Passes(passes),
            floored_channels=kept.floored_channels,
        )

    def _read(self, weights: Weights | LayerWeights, refinement: Refinement, stop: Stop | None) -> _Kept:
        if weights != self._weights:
            self._readings, self._weights = {}, weights
        key = refinement.statistics, refinement.needs_labels
        kept = self._readings.get(key) or self._readings.get((refinement.statistics, True))
        if kept is None:
            flags = self._soup.set_weights(weights)
            kept = self._readings[key] = _Kept(self._reader.read(refinement, stop), flags.floored_channels)
        return kept
