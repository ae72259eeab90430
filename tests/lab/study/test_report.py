import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from lab.study.report import record


@dataclass(frozen=True)
class Row:
    value: Any


@pytest.mark.parametrize(
    ("value", "written"),
    [(0.123456789, "0.12346"), (-1e-9, "0.0"), (math.nan, "None"), ((0.1, -0.0), "[0.1, 0.0]"), ("linf", "linf")],
)
def test_values_are_rounded_and_plain(value: Any, written: str) -> None:
    assert str(record(Row(value))["value"]) == written


def test_arrays_are_left_out() -> None:
    assert record(Row(np.zeros(3))) == {}
