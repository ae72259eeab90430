import pytest

from soupsearch.cli.exits import CommandError
from soupsearch.cli.limits import limits


def test_limits_are_read_by_ingredient() -> None:
    assert limits(["linf=0.2", "a=b=-0.4"], ["nominal=0:1", "l1=-.5:1e-1"]) == {
        "fixed": {"linf": 0.2, "a=b": -0.4},
        "bounds": {"nominal": (0.0, 1.0), "l1": (-0.5, 0.1)},
    }
    assert limits([], []) == {}


@pytest.mark.parametrize("text", ["linf", "linf=", "=0.2", "linf=much", ""])
def test_a_weight_that_cannot_be_read_says_how_to_write_it(text: str) -> None:
    with pytest.raises(CommandError, match="NAME=WEIGHT"):
        limits([text], [])


@pytest.mark.parametrize("text", ["linf", "linf=0.2", "=0:1", "linf=0:", "linf=a:b"])
def test_bounds_that_cannot_be_read_say_how_to_write_them(text: str) -> None:
    with pytest.raises(CommandError, match="NAME=LOW:HIGH"):
        limits([], [text])
