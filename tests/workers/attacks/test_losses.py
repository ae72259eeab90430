import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from workers.attacks.losses import LOSSES, cross_entropy, dlr, loss_gradient, targeted_cross_entropy, targeted_dlr

LOGITS = torch.tensor([[4.0, 1.0, 3.0, -2.0], [4.0, 1.0, 3.0, -2.0]])
LABELS = torch.tensor([0, 2])
TARGETS = torch.tensor([1, 0])


def test_dlr_of_a_right_and_a_wrong_image() -> None:
    # right: -(4 - 3) / (4 - 1); wrong: -(3 - 4) / (4 - 1)
    assert dlr(LOGITS, LABELS).tolist() == pytest.approx([-1 / 3, 1 / 3])


def test_targeted_dlr_divides_by_the_top_and_the_middle_of_third_and_fourth() -> None:
    # -(4 - 1) / (4 - (1 - 2) / 2) and -(3 - 4) / (4 - (1 - 2) / 2)
    assert targeted_dlr(LOGITS, LABELS, TARGETS).tolist() == pytest.approx([-3 / 4.5, 1 / 4.5])


def test_targeted_cross_entropy_is_minus_that_of_the_target() -> None:
    expected = -cross_entropy(LOGITS, TARGETS)
    torch.testing.assert_close(targeted_cross_entropy(LOGITS, LABELS, TARGETS), expected)


@given(st.integers(0, 2**31), st.floats(0.01, 100.0), st.floats(-50, 50))
def test_dlr_is_blind_to_scale_and_shift_of_the_logits(seed: int, scale: float, shift: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn((5, 7), generator=generator, dtype=torch.float64)
    labels = torch.randint(0, 7, (5,), generator=generator)
    targets = (labels + 1) % 7
    for loss in (dlr, targeted_dlr):
        torch.testing.assert_close(
            loss(scale * logits + shift, labels, targets), loss(logits, labels, targets), atol=1e-6, rtol=1e-6
        )


@given(st.integers(0, 2**31))
def test_the_sign_of_dlr_says_whether_the_image_is_wrong(seed: int) -> None:
    logits = torch.randn((20, 4), generator=torch.Generator().manual_seed(seed))
    labels = torch.zeros(20, dtype=torch.int64)
    assert torch.equal(dlr(logits, labels) > 0, logits.argmax(1) != labels)


@pytest.mark.parametrize("name", list(LOSSES))
def test_the_gradient_is_that_of_each_image_alone(name: str) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(9, 5)).double()
    images = torch.rand((6, 1, 3, 3), dtype=torch.float64)
    labels, targets = torch.arange(6) % 5, (torch.arange(6) + 1) % 5

    def loss(logits: Tensor) -> Tensor:
        return LOSSES[name](logits, labels, targets)  # type: ignore[index]

    _, losses, gradient = loss_gradient(model, images, loss)
    nudge = torch.zeros_like(images)
    nudge[:, 0, 1, 1] = 1e-6
    slope = (loss(model(images + nudge)) - losses) / 1e-6
    torch.testing.assert_close(gradient[:, 0, 1, 1], slope.detach(), atol=1e-5, rtol=1e-4)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_half_precision_logits_are_widened_before_the_loss() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 3)).to(torch.bfloat16)
    points = torch.rand((2, 1, 2, 2), dtype=torch.bfloat16)
    logits, losses, _ = loss_gradient(model, points, lambda logits: cross_entropy(logits, torch.tensor([0, 1])))
    assert logits.dtype == losses.dtype == torch.float32
