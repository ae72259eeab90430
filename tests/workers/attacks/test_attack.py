import pytest

from workers.attacks.attack import Attack, attacks_on
from workers.attacks.threat import Threat

LINF, L1 = Threat("Linf", 0.1), Threat("L1", 4.0)


def test_larger_radii_take_six_tenths_of_the_steps() -> None:
    assert Attack(L1, 40, larger_radii=True).stages == [(Threat("L1", 12.0), 12), (Threat("L1", 8.0), 12), (L1, 16)]
    assert Attack(L1, 40).stages == [(L1, 40)]


def test_larger_radii_refuse_other_norms_and_too_few_steps() -> None:
    with pytest.raises(ValueError, match="turn it off for L2"):
        Attack(Threat("L2", 1.0), larger_radii=True)
    with pytest.raises(ValueError, match="use at least 5"):
        Attack(L1, 4, larger_radii=True)


@pytest.mark.parametrize(
    ("wrong", "advice"),
    [
        ({"steps": 0}, "steps must be at least 1"),
        ({"restarts": 0}, "restarts must be at least 1"),
        ({"targets": 0}, "targets must be at least 1"),
        ({"loss": "hinge"}, "use one of ce"),
        ({"goal": "any"}, "use one of first_success"),
    ],
)
def test_what_is_out_of_range_is_refused(wrong: dict[str, object], advice: str) -> None:
    with pytest.raises(ValueError, match=advice):
        Attack(LINF, **wrong)  # type: ignore[arg-type]


def test_each_threat_is_tried_by_each_loss_with_larger_radii_in_l1_alone() -> None:
    assert attacks_on([LINF, L1], ["ce", "dlr"], steps=9, restarts=2, targets=3, larger_radii=True) == [
        Attack(LINF, 9, "ce", 2, 3),
        Attack(LINF, 9, "dlr", 2, 3),
        Attack(L1, 9, "ce", 2, 3, larger_radii=True),
        Attack(L1, 9, "dlr", 2, 3, larger_radii=True),
    ]
