import json

import pytest
import torch
from torch import Tensor, nn

from workers.attacks.apgd import apgd
from workers.attacks.attack import Attack, attacks_on
from workers.attacks.robustness import robust_accuracy
from workers.attacks.threat import Threat

THREATS = [Threat("Linf", 0.05), Threat("L1", 5.0)]
SEEDS = (0, 3)


def test_union_is_decided_for_each_image(standard: nn.Module, images: Tensor, labels: Tensor) -> None:
    attacks = attacks_on(THREATS, steps=8)
    found = robust_accuracy(standard, images, labels, attacks, seeds=SEEDS)
    linf, l1 = (result.robust for result in found.threats)
    assert torch.equal(found.union, linf & l1)
    assert found.union.shape == (2, len(images))
    assert bool((found.union.sum(1) <= torch.minimum(linf.sum(1), l1.sum(1))).all())


def test_each_row_is_the_attack_from_that_seed(standard: nn.Module, images: Tensor, labels: Tensor) -> None:
    attack = Attack(THREATS[0], steps=8)
    found = robust_accuracy(standard, images, labels, [attack], seeds=SEEDS, keep_points=True)
    alone = apgd(standard, images, labels, attack, seed=3)
    assert torch.equal(found.clean, alone.clean)
    assert torch.equal(found.threats[0].robust[1], alone.robust)
    assert found.threats[0].points is not None
    assert torch.equal(found.threats[0].points[1], alone.points)


def test_points_are_kept_only_if_asked_for(standard: nn.Module, images: Tensor, labels: Tensor) -> None:
    found = robust_accuracy(standard, images, labels, [Attack(THREATS[0], steps=2)])
    assert found.threats[0].points is None


def test_report_is_json_with_the_attack_beside_every_figure(
    standard: nn.Module, images: Tensor, labels: Tensor
) -> None:
    attacks = attacks_on(THREATS, ["ce", "dlr"], steps=6, larger_radii=True)
    report = robust_accuracy(standard, images, labels, attacks, seeds=SEEDS).as_json()
    assert json.loads(json.dumps(report)) == report
    assert set(report) == {"clean", "threats", "union"}
    named = [
        (entry["norm"], entry["eps"], entry["loss"], entry["steps"], entry["larger_radii"])
        for entry in report["threats"]
    ]
    assert named == [
        ("Linf", 0.05, "ce", 6, False),
        ("Linf", 0.05, "dlr", 6, False),
        ("L1", 5.0, "ce", 6, True),
        ("L1", 5.0, "dlr", 6, True),
    ]
    for entry in report["threats"]:
        assert len(entry["robust"]) == len(SEEDS)
        assert entry["seconds"] > 0
        pairs = zip(report["union"], entry["robust"], strict=True)
        assert all(union <= robust <= report["clean"] for union, robust in pairs)


def test_the_model_is_attacked_in_eval_mode_and_gets_its_mode_back(
    standard: nn.Module, images: Tensor, labels: Tensor
) -> None:
    model = nn.Sequential(standard, nn.Dropout(0.9)).train()
    expected = robust_accuracy(standard, images, labels, [Attack(THREATS[0], steps=4)])
    found = robust_accuracy(model, images, labels, [Attack(THREATS[0], steps=4)])
    assert torch.equal(found.union, expected.union)
    assert model.training
    model.eval()


class _Arithmetic(nn.Module):
    """The model, noting whether TF32 and algorithms that vary from run to run are allowed in each pass."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.inexact: set[bool] = set()

    def forward(self, images: Tensor) -> Tensor:
        cudnn = torch.backends.cudnn
        self.inexact.add(bool(cudnn.allow_tf32) or not cudnn.deterministic)
        logits: Tensor = self.model(images)
        return logits


def test_attacks_are_in_exact_arithmetic_whoever_calls(standard: nn.Module, images: Tensor, labels: Tensor) -> None:
    model = _Arithmetic(standard)
    before = torch.backends.cudnn.allow_tf32, torch.backends.cudnn.deterministic
    with torch.backends.cudnn.flags(allow_tf32=True):
        robust_accuracy(model, images, labels, attacks_on(THREATS, steps=2))
        assert torch.backends.cudnn.allow_tf32
    assert model.inexact == {False}
    assert (torch.backends.cudnn.allow_tf32, torch.backends.cudnn.deterministic) == before


def test_nothing_to_attack_with_is_refused(standard: nn.Module, images: Tensor, labels: Tensor) -> None:
    with pytest.raises(ValueError, match="at least one threat model and one seed"):
        robust_accuracy(standard, images, labels, [])
    with pytest.raises(ValueError, match="at least one threat model and one seed"):
        robust_accuracy(standard, images, labels, attacks_on(THREATS), seeds=[])


def test_progress_rises_to_the_end(standard: nn.Module, images: Tensor, labels: Tensor) -> None:
    told: list[float] = []
    attacks = attacks_on(THREATS, steps=2, restarts=2)
    robust_accuracy(standard, images, labels, attacks, seeds=SEEDS, batch_size=20, on_progress=told.append)
    assert told == sorted(told)
    assert len(told) > 8
    assert told[-1] == 1.0
