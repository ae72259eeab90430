from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lab.training.adversarial_training import AdversarialTraining, radius_share
from lab.training.recipe import AdversaryRecipe
from workers.attacks.losses import cross_entropy
from workers.attacks.threat import Threat

THREATS = ["Linf:0.1", "L2:1.5", "L1:12"]


def adversary(**changes: Any) -> AdversarialTraining:
    return AdversarialTraining(AdversaryRecipe.model_validate({"threats": THREATS, "steps": 2} | changes))


def problem() -> tuple[nn.Module, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return model, torch.rand(20, 1, 8, 8, generator=generator), torch.arange(20) % 10


def attack(attacker: AdversarialTraining, progress: float = 0.5, seed: int = 0) -> Tensor:
    return attacker.attack(*problem(), progress, torch.Generator().manual_seed(seed))


def size(perturbed: Tensor, threat: str) -> float:
    order = {"Linf": torch.inf, "L2": 2, "L1": 1}[Threat.parse(threat).norm]
    return float(torch.linalg.vector_norm((perturbed - problem()[1]).flatten(1), order, dim=1).max())


def losses(images: Tensor) -> Tensor:
    model, _, labels = problem()
    return cross_entropy(model(images), labels).detach()


@pytest.mark.parametrize("threat", THREATS)
def test_single_stays_in_its_ball_and_raises_the_loss(threat: str) -> None:
    perturbed = attack(adversary(mode="single", threats=[threat]))
    assert 0 < size(perturbed, threat) <= Threat.parse(threat).eps * 1.0001
    assert (losses(perturbed) >= losses(problem()[1])).all()


def test_max_keeps_the_highest_loss_of_each_image() -> None:
    singles = torch.stack([losses(attack(adversary(mode="single", threats=[threat]))) for threat in THREATS])
    assert torch.allclose(losses(attack(adversary(mode="max"))), singles.amax(0))


def test_sat_draws_one_threat_for_a_batch_each_equally_often() -> None:
    attacker = adversary(mode="sat")
    drawn = {round(size(attack(attacker, seed=seed), "L1:12"), 1) for seed in range(20)}
    assert attacker.probabilities().tolist() == pytest.approx([1 / 3] * 3)
    assert len(drawn) == len(THREATS)


def test_eat_prefers_the_threat_it_is_weakest_in() -> None:
    attacker = adversary(mode="eat")
    attacker.robust_accuracy = [0.9, 0.6, 0.5]
    assert attacker.probabilities().tolist() == pytest.approx([0.1, 0.4, 0.5])
    attacker.robust_accuracy = [1.0, 1.0, 1.0]
    assert attacker.probabilities().tolist() == pytest.approx([1 / 3] * 3)


def test_eat_remembers_the_accuracy_of_the_threat_it_drew() -> None:
    attacker = adversary(mode="eat", threats=["Linf:0.0001", "L2:0.0001"])
    model, images, _ = problem()
    labels = model(images).argmax(1)
    for step in range(30):
        attacker.attack(model, images, labels, 0.5, torch.Generator().manual_seed(step))
    assert all(0.5 < accuracy < 1 for accuracy in attacker.robust_accuracy)


def test_images_are_clean_until_the_delay_and_moved_less_in_the_warmup() -> None:
    attacker = adversary(mode="single", threats=["Linf:0.1"], delay=0.2, warmup=0.4)
    assert torch.equal(attack(attacker, progress=0.1), problem()[1])
    assert size(attack(attacker, progress=0.3), "Linf:0.1") == pytest.approx(0.05)
    assert size(attack(attacker, progress=0.4), "Linf:0.1") == pytest.approx(0.1)


def test_equal_generators_attack_alike() -> None:
    attacker = adversary(mode="max", random_start=True)
    assert torch.equal(attack(attacker, seed=1), attack(attacker, seed=1))
    assert not torch.equal(attack(attacker, seed=1), attack(attacker, seed=2))


def test_apgd_raises_the_loss_further_than_pgd_and_stays_in_the_ball() -> None:
    pgd, apgd = (
        attack(adversary(mode="single", threats=["L2:1.5"], steps=10, attack=name)) for name in ("pgd", "apgd")
    )
    assert size(apgd, "L2:1.5") <= 1.5 * 1.0001
    assert losses(apgd).mean() >= losses(pgd).mean() - 1e-3
    assert losses(apgd).mean() > losses(problem()[1]).mean()


def test_attacks_may_run_in_half_precision() -> None:
    exact, half = (attack(adversary(mode="max", precision=precision)) for precision in ("float32", "bfloat16"))
    assert half.dtype == torch.float32
    assert not torch.equal(half, exact)
    assert losses(half).mean() > losses(problem()[1]).mean()


def test_the_radius_waits_grows_and_stays() -> None:
    shares = [radius_share(0.2, 0.4, progress) for progress in (0.0, 0.19, 0.2, 0.3, 0.4, 0.9)]
    assert shares == pytest.approx([0, 0, 0.01, 0.5, 1, 1])


def test_without_warmup_the_radius_is_full_from_the_start() -> None:
    assert radius_share(0.0, 0.0, 0.0) == 1.0
