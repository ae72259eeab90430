from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from workers.attacks.apgd import Settings, apgd
from workers.attacks.ascent import GOALS, Goal
from workers.attacks.losses import LOSS_NAMES, LossName, cross_entropy
from workers.attacks.model import correct
from workers.attacks.projection import lp_norm
from workers.attacks.threat import Threat

THREATS = [Threat("Linf", 0.07), Threat("L2", 1.0), Threat("L1", 8.0)]
QUICK = Settings(steps=12, targets=2)


def is_right(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    with torch.no_grad():
        return correct(model(images), labels)


@pytest.mark.parametrize("threat", THREATS, ids=str)
@pytest.mark.parametrize("loss", LOSS_NAMES)
@pytest.mark.parametrize("goal", GOALS)
def test_outcome_is_feasible_and_says_what_the_model_says(
    *, standard: nn.Module, images: Tensor, labels: Tensor, threat: Threat, loss: LossName, goal: Goal
) -> None:
    settings = replace(QUICK, loss=loss, goal=goal, larger_radii=threat.norm == "L1")
    outcome = apgd(standard, images, labels, threat, settings)
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
    model, settings = deepcopy(standard).double(), replace(QUICK, loss=loss, restarts=2)
    whole, parts = (
        apgd(model, images[:30].double(), labels[:30], threat, settings, seed=5, batch_size=batch_size)
        for batch_size in (30, 7)
    )
    assert torch.equal(parts.robust, whole.robust)
    torch.testing.assert_close(parts.points, whole.points, atol=1e-6, rtol=0)


def test_a_subset_with_its_indices_is_attacked_as_in_the_whole(
    standard: nn.Module, images: Tensor, labels: Tensor
) -> None:
    rows = torch.arange(5, 25)
    whole = apgd(standard, images, labels, THREATS[1], QUICK, seed=1)
    part = apgd(standard, images[rows], labels[rows], THREATS[1], QUICK, seed=1, indices=rows)
    assert torch.equal(part.robust, whole.robust[rows])


def test_the_seed_decides(standard: nn.Module, images: Tensor, labels: Tensor) -> None:
    first, again, other = (apgd(standard, images, labels, THREATS[1], QUICK, seed=seed).points for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_only_images_still_right_are_attacked(standard: nn.Module, images: Tensor, labels: Tensor) -> None:
    outcome = apgd(standard, images, labels, THREATS[0], QUICK)
    untouched = ~outcome.clean | outcome.robust
    assert untouched.any()
    assert torch.equal(outcome.points[untouched], images[untouched])


@pytest.mark.parametrize("threat", THREATS, ids=str)
def test_first_and_latest_success_agree_on_who_is_robust(
    standard: nn.Module, images: Tensor, labels: Tensor, threat: Threat
) -> None:
    first, latest = (
        apgd(standard, images, labels, threat, replace(QUICK, goal=goal))
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
    def losses(settings: Settings) -> Tensor:
        return cross_entropy(standard(apgd(standard, images, labels, threat, settings).points), labels).detach()

    once, thrice = (losses(replace(QUICK, goal="best_loss", restarts=restarts)) for restarts in (1, 3))
    assert bool((thrice >= once - 1e-5).all())
    assert thrice.mean() > losses(replace(QUICK, goal="latest_success")).mean()


def test_more_restarts_break_no_fewer_images(robust: nn.Module, images: Tensor, labels: Tensor) -> None:
    once, more = (
        apgd(robust, images, labels, THREATS[1], replace(QUICK, restarts=restarts)).robust for restarts in (1, 3)
    )
    assert bool((more <= once).all())


def test_a_model_of_nan_is_never_right(images: Tensor, labels: Tensor) -> None:
    linear = nn.Linear(784, 10)
    nn.init.constant_(linear.bias, torch.nan)
    model = nn.Sequential(nn.Flatten(), linear)
    outcome = apgd(model, images, labels, THREATS[0], QUICK)
    assert not outcome.clean.any()
    assert not outcome.robust.any()


def test_no_images_are_no_work(standard: nn.Module, images: Tensor, labels: Tensor) -> None:
    outcome = apgd(standard, images[:0], labels[:0], THREATS[0], QUICK)
    assert outcome.points.shape == (0, 1, 28, 28)
    assert outcome.robust.shape == (0,)


@pytest.mark.parametrize("loss", ["ce", "targeted-ce"])
def test_two_classes_are_enough_for_cross_entropy(images: Tensor, loss: LossName) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(784, 2))
    labels = model(images).argmax(1)
    assert not apgd(model, images, labels, Threat("Linf", 0.5), Settings(steps=5, loss=loss)).robust.any()


@pytest.mark.parametrize(("loss", "fewest"), [("dlr", 3), ("targeted-dlr", 4)])
def test_too_few_classes_for_the_loss_are_refused(images: Tensor, loss: LossName, fewest: int) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(784, 2))
    with pytest.raises(ValueError, match=f"needs {fewest} classes"):
        apgd(model, images, torch.zeros(len(images), dtype=torch.int64), THREATS[0], Settings(loss=loss))


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
def test_settings_out_of_range_are_refused(wrong: dict[str, object], advice: str) -> None:
    with pytest.raises(ValueError, match=advice):
        Settings(**wrong)  # type: ignore[arg-type]


def test_larger_radii_and_seeds_that_do_not_fit_are_refused(
    standard: nn.Module, images: Tensor, labels: Tensor
) -> None:
    with pytest.raises(ValueError, match="turn it off for L2"):
        apgd(standard, images, labels, THREATS[1], Settings(larger_radii=True))
    with pytest.raises(ValueError, match="negative"):
        apgd(standard, images, labels, THREATS[1], QUICK, seed=-1)
