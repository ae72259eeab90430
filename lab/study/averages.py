"""Means over data sets, with intervals over the images that several of them share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lab.study.results import Flags, ShiftTable
from search.resampling import Interval, Resamples, percentile_interval

Outcomes = Mapping[str, Flags]
"""For each shift by name, which of its held-out images a method classifies correctly."""


@dataclass(frozen=True)
class Estimate:
    """A figure and its 95 % interval."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, value: float, interval: Interval) -> Estimate:
        """A figure with an interval."""
        return cls(float(value), *interval)


class Average:
    """The mean over the held-out images of ``tables``, in which each set has the same weight.

    Images of one family, in sets of one size, are drawn together for all its shifts, so the interval reflects that a
    hard image is hard under many of them. All methods see the same draws, so differences are paired.
    """

    def __init__(self, tables: Sequence[ShiftTable], seed: int = 0) -> None:
        if not tables:
            raise ValueError("a mean needs at least one data set")
        self._families: dict[tuple[str, int], list[str]] = {}
        for table in tables:
            key = (table.shift.family, table.held_out.shape[1])
            self._families.setdefault(key, []).append(table.shift.name)
        self._count = len(tables)
        self._resamples = {key: Resamples(key[1], seed + place) for place, key in enumerate(self._families)}

    def estimate(self, outcomes: Outcomes) -> Estimate:
        """A method's mean accuracy."""
        return self._estimate({name: outcomes[name].astype(np.float64) for name in self._names})

    def difference(self, ours: Outcomes, theirs: Outcomes) -> Estimate:
        """How much more accurate one method is than another, paired by image."""
        return self._estimate({name: ours[name].astype(np.float64) - theirs[name] for name in self._names})

    @property
    def _names(self) -> list[str]:
        return [name for names in self._families.values() for name in names]

    def _estimate(self, values: Mapping[str, NDArray[np.float64]]) -> Estimate:
        point, samples = 0.0, np.zeros(1)
        for family, names in self._families.items():
            per_image = np.sum([values[name] for name in names], axis=0) / self._count
            point += float(per_image.mean())
            samples = samples + self._resamples[family].means(per_image)
        return Estimate.of(point, percentile_interval(samples))
