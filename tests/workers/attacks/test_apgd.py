from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from workers.attacks.apgd import apgd
from workers.attacks.attack import GOALS, LOSS_NAMES, Attack, Goal, LossName
from workers.attacks.ball import lp_norm
from workers.attacks.losses import cross_entropy
from workers.attacks.model import correct
from workers.attacks.threat import Threat

THREATS = [Threat("Linf", 0.07), Threat("L2", 1.0), Threat("L1", 8.0)]
QUICK = Attack(THREATS[1], steps=12, targets=2)


def is_right(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    with torch.no_grad():
        return correct(model(images), labels)


@pytest.mark.parametrize("threat", THREATS, ids=str)
@pytest.mark.parametrize("loss", LOSS_NAMES)
@pytest.mark.parametrize("goal", GOALS)
def test_outcome_is_feasible_and_says_what_the_model_says(
    *, standard: nn.Module, images: Tensor, labels: Tensor, threat: Threat, loss: LossName, goal: Goal
) -> None:
    attack = replace(QUICK, threat=threat, loss=loss, goal=goal, larger_radii=threat.norm == "L1")
    outcome = apgd(standard, images, labels, attack)
    assert bool((lp_norm(outcome.points - images, threat) <= threat.eps * (1 + 1e-4)).all())
    assert bool(((outcome.points >= 0) & (outcome.points <= 1)).all())
    assert torch.equal(outcome.clean, is_right(standard, images, labels))
    assert torch.equal(outcome.robust, outcome.clean & is_right(standard, outcome.points, labels))
    assert 0 < outcome.robust.sum() < outcome.clean.sum()


@pytest.mark.parametrize(
    ("threat", "loss"), list(zip(THREATS, ("ce", "targeted-dlr", "ce"), strict=True)), ids=("Linf", "L2", "L1")
)
def test_batches_change_nothing(
    standard: nn.Module, images: Tensor, labels: Tensor, threat: Threat, loss: LossName
) -> None:
    """In double precision, because a network's own rounding depends on its batch."""
    model, attack = deepcopy(standard).double(), replace(QUICK, threat=threat, loss=loss, restarts=2)
    whole, parts = (
        apgd(model, images[:30].double(), labels[:30], attack, seed=5, batch_size=batch_size) for batch_size in (30, 7)
    )
    assert torch.equal(parts.robust, whole.robust)
    torch.testing.assert_close(parts.points, whole.points, atol=1e-6, rtol=0)


def test_a_subset_with_its_indices_is_attacked_as_in_the_whole(
    standard: nn.Module, images: Tensor, labels: Tensor
) -> None:
    rows = torch.arange(5, 25)
    whole = apgd(standard, images, labels, QUICK, seed=1)
    part = apgd(standard, images[rows], labels[rows], QUICK, seed=1, indices=rows)
    assert torch.equal(part.robust, whole.robust[rows])


def test_the_seed_decides(standard: nn.Module, images: Tensor, labels: Tensor) -> None:
    first, again, other = (apgd(standard, images, labels, QUICK, seed=seed).points for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_only_images_still_right_are_attacked(standard: nn.Module, images: Tensor, labels: Tensor) -> None:
    outcome = apgd(standard, images, labels, replace(QUICK, threat=THREATS[0]))
    untouched = ~outcome.clean | outcome.robust
    assert untouched.any()
    assert torch.equal(outcome.points[untouched], images[untouched])


@pytest.mark.parametrize("threat", THREATS, ids=str)
def test_first_and_latest_success_agree_on_who_is_robust(
    standard: nn.Module, images: Tensor, labels: Tensor, threat: Threat
) -> None:
    first, latest = (
        apgd(standard, images, labels, replace(QUICK, threat=threat, goal=goal))
        for goal in ("first_success", "latest_success")
    )
    assert torch.equal(first.robust, latest.robust)
    fooled = first.clean & ~first.robust
    losses = [cross_entropy(standard(outcome.points[fooled]), labels[fooled]).mean() for outcome in (first, latest)]
    assert losses[1] > losses[0]


@pytest.mark.parametrize("threat", THREATS, ids=str)
def test_best_loss_finds_the_highest_loss_and_more_restarts_a_higher_one(
    standard: nn.Module, images: Tensor, labels: Tensor, threat: Threat
) -> None:
    def losses(goal: Goal, restarts: int) -> Tensor:
        attack = replace(QUICK, threat=threat, goal=goal, restarts=restarts)
        return cross_entropy(standard(apgd(standard, images, labels, attack).points), labels).detach()

    once, thrice = (losses("best_loss", restarts) for restarts in (1, 3))
    assert bool((thrice >= once - 1e-5).all())
    assert thrice.mean() > losses("latest_success", 1).mean()


def test_more_restarts_break_no_fewer_images(robust: nn.Module, images: Tensor, labels: Tensor) -> None:
    once, more = (apgd(robust, images, labels, replace(QUICK, restarts=restarts)).robust for restarts in (1, 3))
    assert bool((more <= once).all())


def test_a_model_of_nan_is_never_right(images: Tensor, labels: Tensor) -> None:
    linear = nn.Linear(784, 10)
    nn.init.constant_(linear.bias, torch.nan)
    model = nn.Sequential(nn.Flatten(), linear)
    outcome = apgd(model, images, labels, replace(QUICK, threat=THREATS[0]))
    assert not outcome.clean.any()
    assert not outcome.robust.any()


def test_no_images_are_no_work(standard: nn.Module, images: Tensor, labels: Tensor) -> None:
    outcome = apgd(standard, images[:0], labels[:0], replace(QUICK, threat=THREATS[0]))
    assert outcome.points.shape == (0, 1, 28, 28)
    assert outcome.robust.shape == (0,)


@pytest.mark.parametrize("loss", ["ce", "targeted-ce"])
def test_two_classes_are_enough_for_cross_entropy(images: Tensor, loss: LossName) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(784, 2))
    labels = model(images).argmax(1)
    assert not apgd(model, images, labels, Attack(Threat("Linf", 0.5), steps=5, loss=loss)).robust.any()


@pytest.mark.parametrize(("loss", "fewest"), [("dlr", 3), ("targeted-dlr", 4)])
def test_too_few_classes_for_the_loss_are_refused(images: Tensor, loss: LossName, fewest: int) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(784, 2))
    with pytest.raises(ValueError, match=f"needs {fewest} classes"):
        apgd(model, images, torch.zeros(len(images), dtype=torch.int64), Attack(THREATS[0], loss=loss))


def test_a_negative_seed_is_refused(standard: nn.Module, images: Tensor, labels: Tensor) -> None:
    with pytest.raises(ValueError, match="negative"):
        apgd(standard, images, labels, QUICK, seed=-1)
