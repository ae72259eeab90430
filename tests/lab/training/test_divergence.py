from __future__ import annotations

import pytest
import torch
from torch import nn

from lab.training.divergence import check_logits, diverged, not_finite


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_names_what_is_not_finite(value: float) -> None:
    network = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    assert not_finite(network) is None
    network.state_dict()["1.running_var"][1] = value
    assert not_finite(network) == "1.running_var"


def test_logits_that_are_no_numbers_are_told() -> None:
    network = nn.Linear(2, 3)
    check_logits(network, torch.ones(4, 2))
    network.weight.data.fill_(3e38)
    with pytest.raises(ValueError, match="logits for test images are not finite"):
        check_logits(network, torch.ones(4, 2))


def test_says_what_to_change() -> None:
    assert "lower optimizer.learning_rate, set optimizer.clip_norm" in str(diverged("its loss is nan"))
