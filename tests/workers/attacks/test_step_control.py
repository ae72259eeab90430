import pytest
import torch

from workers.attacks.step_control import HalvingControl, SparsityControl, checkpoints
from workers.attacks.threat import Threat


def test_checkpoints_of_40_and_100_steps() -> None:
    assert checkpoints(40) == [8, 15, 21, 26, 30, 33, 35, 37, 39]
    assert checkpoints(100) == [22, 41, 57, 70, 80, 87, 93, 99]


def test_checkpoints_of_very_few_steps_come_after_every_step() -> None:
    assert checkpoints(1) == [1]
    assert checkpoints(5) == [1, 2, 3, 4, 5]


def test_a_step_is_halved_where_the_loss_seldom_rose() -> None:
    control = HalvingControl(Threat("L2", 1.0), 40, torch.zeros(3))
    rises = torch.tensor([[step < 7, step < 6, False] for step in range(8)])
    for step, rose in enumerate(rises, start=1):
        control.observe(rose)
        assert control.due(step) == (step == 8)
    # six of eight rises are three quarters: still too few
    halved = control.checkpoint(torch.tensor([1.0, 1.0, 0.0]), torch.zeros(3, 1))
    assert halved.tolist() == [False, True, True]
    assert control.size.tolist() == [2.0, 1.0, 1.0]


def test_a_step_is_halved_where_the_best_loss_stalled_unless_it_was_halved_last_time() -> None:
    control = HalvingControl(Threat("Linf", 0.5), 40, torch.zeros(2))
    always, never = torch.ones(2, dtype=torch.bool), torch.zeros(2, dtype=torch.bool)
    windows = {8: never, 15: always, 21: always}
    found = []
    best = torch.tensor([1.0, 2.0])
    for step in range(1, 22):
        control.observe(next(rose for end, rose in windows.items() if step <= end))
        if control.due(step):
            found.append(control.checkpoint(best, torch.zeros(2, 1)).tolist())
            best = best + torch.tensor([0.0, 1.0])
    # the second time both have just been halved; the third time the first has not risen since
    assert found == [[True, True], [False, False], [True, False]]
    assert control.size.tolist() == [0.25, 0.5]


def test_l1_restarts_with_the_full_step_where_the_perturbation_became_sparser() -> None:
    threat = Threat("L1", 9.0)
    perturbations = torch.zeros(2, 1, 10, 10)
    control = SparsityControl(threat, 40, perturbations, density=0.2)
    assert control.density.tolist() == pytest.approx([0.2, 0.2])
    perturbations[:, 0, :3] = 1
    first = control.checkpoint(torch.zeros(2), perturbations)
    assert first.tolist() == [True, True]
    assert control.density.tolist() == pytest.approx([0.2, 0.2])
    perturbations[1, 0, 2] = 0
    second = control.checkpoint(torch.zeros(2), perturbations)
    assert second.tolist() == [False, True]
    assert control.size.tolist() == pytest.approx([6.0, 9.0])


def test_l1_steps_never_fall_below_a_tenth_of_the_radius() -> None:
    control = SparsityControl(Threat("L1", 9.0), 40, torch.ones(1, 4))
    for _ in range(20):
        control.checkpoint(torch.zeros(1), torch.ones(1, 4))
    assert control.size.tolist() == pytest.approx([0.9])


def test_l1_checks_at_intervals_of_a_twenty_fifth() -> None:
    control = SparsityControl(Threat("L1", 1.0), 100, torch.ones(1, 4))
    assert [step for step in range(1, 13) if control.due(step)] == [4, 8, 12]


def test_selected_rows_keep_their_state() -> None:
    control = HalvingControl(Threat("L2", 1.0), 40, torch.zeros(3))
    control.size = torch.tensor([1.0, 2.0, 3.0])
    control.select(torch.tensor([0, 2]))
    assert control.size.tolist() == [1.0, 3.0]
    control.observe(torch.ones(2, dtype=torch.bool))
    assert control.checkpoint(torch.ones(2), torch.zeros(2, 1)).shape == (2,)
