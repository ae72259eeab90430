"""The search of a request."""

import pytest

from service.errors import InvalidRequest
from service.jobs.keys import weights_key
from service.schemas.request import Grid, Uniform
from service.settings import Settings
from workers.jobs.plan import plan_search


def test_the_papers_grid_has_480_points(settings: Settings) -> None:
    plan = plan_search(Grid(), 4, settings)
    assert plan.strategy.total == plan.lattice_points == 480
    asked = plan.strategy.ask(480)
    assert [plan.index(weights) for weights in asked] == list(range(480))
    assert weights_key(asked[7]) in plan


def test_uniform_is_one_point(settings: Settings) -> None:
    plan = plan_search(Uniform(), 3, settings)
    assert plan.strategy.ask(9) == [(1 / 3, 1 / 3, 1 / 3)]


def test_points_outside_the_plan_come_last(settings: Settings) -> None:
    plan = plan_search(Grid(), 4, settings)
    assert [plan.index((9.0, -8.0, 0.0, 0.0)), plan.index((8.0, -7.0, 0.0, 0.0))] == [480, 481]


@pytest.mark.parametrize(
    ("search", "code"),
    [
        (Grid(lower=-0.4, upper=1.4, step=0.001), "too_many_points"),
        (Grid(lower=-0.4, upper=0.1, step=0.1), "empty_lattice"),
    ],
)
def test_lattices_that_cannot_be_searched_are_refused(search: Grid, code: str, settings: Settings) -> None:
    with pytest.raises(InvalidRequest) as caught:
        plan_search(search, 4, settings)
    assert (caught.value.code, caught.value.param) == (code, "search")
