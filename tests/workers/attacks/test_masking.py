import pytest
import torch
from torch import Tensor, nn

from workers.attacks.masking import MARGIN, MOST_IMAGES, Comparison, MaskingCheck, check_masking
from workers.attacks.threat import Threat

THREATS = [Threat("Linf", 0.05), Threat("L2", 0.75), Threat("L1", 5.0)]


class Coarse(nn.Module):
    """A model that rounds its pixels, so that it has no gradient."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.model((50 * images).round() / 50 + 0 * images)
        return logits


def test_a_sound_model_is_not_warned_of(standard: nn.Module, images: Tensor, labels: Tensor) -> None:
    checks = check_masking(standard, images, labels, THREATS, steps=20)
    assert [check.threat for check in checks] == THREATS
    assert [check.images for check in checks] == [len(labels)] * 3
    assert [check.warnings for check in checks] == [[], [], []]


@pytest.mark.parametrize("threat", [Threat("Linf", 0.1), Threat("L2", 1.5), Threat("L1", 12.0)], ids=str)
def test_a_model_without_gradients_is_warned_of(
    standard: nn.Module, images: Tensor, labels: Tensor, threat: Threat
) -> None:
    (check,) = check_masking(Coarse(standard), images, labels, [threat], steps=10)
    assert any("no gradients (Square attack)" in warning for warning in check.warnings)
    assert all(f"gradients may be masked in {threat}: " in warning for warning in check.warnings)
    assert check.as_json()["warnings"] == check.warnings


def test_it_depends_neither_on_the_batch_size_nor_on_the_other_threats(
    standard: nn.Module, images: Tensor, labels: Tensor
) -> None:
    whole = check_masking(standard, images, labels, THREATS[:2], steps=3)
    (alone,) = check_masking(standard, images, labels, THREATS[1:2], steps=3, batch_size=11)
    assert alone == whole[1]


def test_it_takes_a_limited_number_of_images_and_few_classes(images: Tensor, labels: Tensor) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(784, 2))
    told: list[float] = []
    many = images.repeat(4, 1, 1, 1)
    (check,) = check_masking(model, many, labels.repeat(4) % 2, THREATS[:1], steps=1, on_progress=told.append)
    assert check.images == MOST_IMAGES < len(many)
    assert told == [1.0]


def test_the_margin_is_exceeded_not_reached() -> None:
    sound = Comparison("more steps", 0.5, 0.5 - MARGIN + 1e-9)
    masked = Comparison("a targeted loss", 0.5, 0.41)
    assert not sound.is_suspicious
    check = MaskingCheck(THREATS[0], 200, (sound, masked))
    assert check.warnings == [
        "gradients may be masked in Linf:0.05: 50.0 % of 200 images withstand the plain attack and 41.0 % the one with "
        "a targeted loss"
    ]
