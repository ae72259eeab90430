import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from workers.attacks.apgd import apgd_for_training
from workers.attacks.ball import lp_norm
from workers.attacks.pgd import pgd, random_points
from workers.attacks.threat import Threat

THREATS = [Threat("Linf", 0.1), Threat("L2", 1.5), Threat("L1", 12.0)]


def loss(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    with torch.no_grad():
        return functional.cross_entropy(model(images), labels, reduction="none")


def assert_feasible(points: Tensor, images: Tensor, threat: Threat) -> None:
    assert bool((lp_norm(points - images, threat) <= threat.eps * (1 + 1e-4)).all())
    assert bool(((points >= 0) & (points <= 1)).all())


@pytest.mark.parametrize("threat", THREATS, ids=str)
@pytest.mark.parametrize("random_start", [False, True])
def test_raises_the_loss_within_the_ball(
    standard: nn.Module, images: Tensor, labels: Tensor, threat: Threat, random_start: bool
) -> None:
    start = random_points(images, threat, torch.Generator().manual_seed(0)) if random_start else None
    points = pgd(standard, images, labels, threat, 7, start=start)
    assert_feasible(points, images, threat)
    assert loss(standard, points, labels).mean() > 1.5 * loss(standard, images, labels).mean()


@pytest.mark.parametrize("threat", THREATS, ids=str)
def test_keeps_the_highest_loss_even_where_steps_lower_it(
    standard: nn.Module, images: Tensor, labels: Tensor, threat: Threat
) -> None:
    points = pgd(standard, images, labels, threat, 2, step_size=20 * threat.eps)
    assert bool((loss(standard, points, labels) >= loss(standard, images, labels)).all())


@pytest.mark.parametrize("threat", THREATS, ids=str)
def test_adaptive_steps_from_the_clean_image_do_at_least_as_well(
    standard: nn.Module, images: Tensor, labels: Tensor, threat: Threat
) -> None:
    points = apgd_for_training(standard, images, labels, threat)
    assert_feasible(points, images, threat)
    found, plain = (loss(standard, found, labels) for found in (points, pgd(standard, images, labels, threat, 10)))
    assert bool((found >= loss(standard, images, labels)).all())
    assert found.mean() > 0.9 * plain.mean()


def test_a_random_start_follows_its_generator(standard: nn.Module, images: Tensor, labels: Tensor) -> None:
    def attack(seed: int) -> Tensor:
        start = random_points(images, THREATS[1], torch.Generator().manual_seed(seed))
        return pgd(standard, images, labels, THREATS[1], 1, start=start)

    assert torch.equal(attack(0), attack(0))
    assert not torch.equal(attack(0), attack(1))


def test_leaves_parameters_images_and_mode_alone(standard: nn.Module, images: Tensor, labels: Tensor) -> None:
    before = images.clone()
    apgd_for_training(standard, images, labels, THREATS[0])
    pgd(standard, images, labels, THREATS[0], 2)
    assert torch.equal(images, before)
    assert all(parameter.grad is None or not parameter.grad.isnan().any() for parameter in standard.parameters())
    assert not standard.training


def test_refuses_no_steps(standard: nn.Module, images: Tensor, labels: Tensor) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        pgd(standard, images, labels, THREATS[0], 0)
