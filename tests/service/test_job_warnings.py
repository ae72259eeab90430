"""Warnings that a job and the estimate of its cost share."""

import pytest

from service.job_warnings import warn_of_long_search


@pytest.mark.parametrize("seconds", [None, 0.0, 3599.0])
def test_a_search_of_less_than_an_hour_is_not_told(seconds: float | None) -> None:
    assert warn_of_long_search(seconds) == []


@pytest.mark.parametrize(("seconds", "hours"), [(3600.0, "1.0"), (5400.0, "1.5")])
def test_a_longer_one_is_told_with_what_makes_it_shorter(seconds: float, hours: str) -> None:
    (warning,) = warn_of_long_search(seconds)
    assert warning.code == "long_search"
    assert warning.message.startswith(f"the search will take about {hours} hours: take fewer soups, ")
