"""Our APGD and Square attack against the authors' code, on the same models and images."""

import numpy as np
import pytest
import torch
from pyautoattack.autopgd_base import APGDAttack, L1_projection
from pyautoattack.square import SquareAttack
from torch import Tensor, nn

from benchmarks.attack_parity.classifiers import fashion_mnist
from benchmarks.attack_parity.reference import reference_robust
from benchmarks.attack_parity.square import compare
from workers.attacks.apgd import apgd
from workers.attacks.ascent import AscentProblem, ascend
from workers.attacks.attack import Attack, LossName
from workers.attacks.ball import image_noise, project, random_start
from workers.attacks.losses import LOSSES
from workers.attacks.square import two_bumps
from workers.attacks.step_control import FIRST_DENSITY
from workers.attacks.threat import Norm, Threat

STANDARD = [Threat("Linf", 0.05), Threat("L2", 0.75), Threat("L1", 5.0)]
ROBUST = [Threat("Linf", 0.1), Threat("L2", 1.5), Threat("L1", 12.0)]


def robust_images(
    model: nn.Module, images: Tensor, labels: Tensor, attack: Attack, *, seeds: int
) -> tuple[Tensor, Tensor]:
    """Robust accuracies (S,), ours and the authors'."""
    ours = [apgd(model, images, labels, attack, seed=seed).robust for seed in range(seeds)]
    theirs = [reference_robust(model, images, labels, attack, seed=seed) for seed in range(seeds)]
    return torch.stack(ours).double().mean(1), torch.stack(theirs).double().mean(1)


def test_l1_projections_agree() -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.rand((50, 1, 28, 28), generator=generator)
    for scale in (0.01, 0.1, 1.0):
        moves = scale * torch.randn(images.shape, generator=generator)
        theirs = images + moves + L1_projection(images, moves, 12.0)
        ours = project(images + moves, images, Threat("L1", 12.0))
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)


@pytest.mark.parametrize("threat", STANDARD, ids=str)
@pytest.mark.parametrize("loss", ["ce", "dlr", "targeted-dlr"])
def test_robust_accuracy_agrees_on_a_few_images(
    standard: nn.Module, images: Tensor, labels: Tensor, threat: Threat, loss: LossName
) -> None:
    attack = Attack(threat, steps=20, loss=loss, targets=2, larger_radii=threat.norm == "L1")
    ours, theirs = robust_images(standard, images, labels, attack, seeds=1)
    assert abs(float(ours - theirs)) <= 2.5 / len(images)


@pytest.mark.parametrize("threat", STANDARD, ids=str)
@pytest.mark.parametrize("steps", [1, 40])
def test_the_same_starts_lead_to_the_same_points(
    *,
    monkeypatch: pytest.MonkeyPatch,
    standard: nn.Module,
    images: Tensor,
    labels: Tensor,
    threat: Threat,
    steps: int,
) -> None:
    rows = torch.arange(24)
    images, labels = images[rows], labels[rows]
    problem = AscentProblem(standard, images, labels, labels, LOSSES["ce"], threat)
    start = random_start(images, threat, 0, rows)
    ours = ascend(problem, start, steps, goal="latest_success", density=FIRST_DENSITY)
    noise = image_noise(images, threat.norm, 0, rows, 0)
    # The authors' code draws its starts by these two, uniformly in [0, 1] and normally.
    monkeypatch.setattr(torch, "rand", lambda *_: (noise + 1) / 2)
    monkeypatch.setattr(torch, "randn", lambda *_: noise.clone())
    reference = APGDAttack(standard, n_iter=steps, norm=threat.norm, eps=threat.eps)
    reference.init_hyperparam(images)
    best, right, highest, _ = reference.attack_single_run(images, labels)
    if threat.norm != "L1" or steps == 1:
        torch.testing.assert_close(ours.best, best, atol=1e-3, rtol=0)
    # Which entries an l_1 step moves hangs on the last digit, so its longer runs agree on average.
    assert float((ours.highest - highest).mean()) == pytest.approx(0, abs=0.05)
    assert abs(int((~ours.fooled).sum() - right.sum())) <= 1


@pytest.mark.parametrize(("norm", "side"), [(norm, side) for norm in ("L2", "L1") for side in (3, 5, 13, 25)])
def test_bumps_agree(norm: Norm, side: int) -> None:
    ours, theirs = two_bumps(side, norm).float(), SquareAttack(None, norm=norm, eps=1.0, device="cpu").eta(side)
    assert min(float((each - theirs).abs().max()) for each in (ours, ours.T)) < 1e-6


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["standard", "robust"])
@pytest.mark.parametrize("number", range(3))
def test_square_attacks_agree(request: pytest.FixtureRequest, kind: str, number: int) -> None:
    model: nn.Module = request.getfixturevalue(kind)
    threat = (STANDARD if kind == "standard" else ROBUST)[number]
    ours, theirs = compare(model, *fashion_mnist("test", 500), threat, 300, seeds=3)
    noise = float(np.hypot(ours.numpy().std(), theirs.numpy().std()))
    assert abs(float(ours.mean() - theirs.mean())) <= 1 + noise


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["ce", "dlr"])
@pytest.mark.parametrize("kind", ["standard", "robust"])
@pytest.mark.parametrize("number", range(3))
def test_robust_accuracy_agrees(request: pytest.FixtureRequest, loss: LossName, kind: str, number: int) -> None:
    model: nn.Module = request.getfixturevalue(kind)
    threat = (STANDARD if kind == "standard" else ROBUST)[number]
    assert_parity(model, Attack(threat, loss=loss), count=500, seeds=3)


@pytest.mark.slow
@pytest.mark.parametrize(
    "attack",
    [
        Attack(ROBUST[0], loss="targeted-dlr", targets=3),
        Attack(ROBUST[1], loss="targeted-dlr", targets=3),
        Attack(ROBUST[2], loss="targeted-dlr", targets=3),
        Attack(ROBUST[2], loss="targeted-dlr", targets=3, larger_radii=True),
        Attack(ROBUST[2], loss="ce", larger_radii=True),
        Attack(ROBUST[2], loss="dlr", larger_radii=True),
    ],
    ids=lambda attack: f"{attack.threat}-{attack.loss}" + attack.larger_radii * "-larger",
)
def test_targets_and_larger_radii_agree_on_a_robust_model(robust: nn.Module, attack: Attack) -> None:
    assert_parity(robust, attack, count=300, seeds=2)


def assert_parity(model: nn.Module, attack: Attack, *, count: int, seeds: int) -> None:
    """Robust accuracies on ``count`` images are within one percentage point and the noise of the seeds."""
    images, labels = fashion_mnist("test", count)
    ours, theirs = (each.numpy() for each in robust_images(model, images, labels, attack, seeds=seeds))
    noise = float(np.hypot(ours.std(), theirs.std()))
    assert abs(ours.mean() - theirs.mean()) <= 0.01 + noise
