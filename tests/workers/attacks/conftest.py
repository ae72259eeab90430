"""Two small classifiers and the images to attack, made once."""

import pytest
import torch
from torch import Tensor, nn

from benchmarks.attack_parity.classifiers import fashion_mnist, train_classifier
from workers.attacks.threat import Threat


@pytest.fixture(scope="session")
def training_set() -> tuple[Tensor, Tensor]:
    return fashion_mnist("train", 3000)


@pytest.fixture(scope="session")
def standard(training_set: tuple[Tensor, Tensor]) -> nn.Module:
    return train_classifier(*training_set, None, epochs=3)


@pytest.fixture(scope="session")
def robust(training_set: tuple[Tensor, Tensor]) -> nn.Module:
    return train_classifier(*training_set, Threat("Linf", 0.1), epochs=3)


@pytest.fixture(scope="session")
def images(training_set: tuple[Tensor, Tensor]) -> Tensor:
    return fashion_mnist("test", 60)[0]


@pytest.fixture(scope="session")
def labels(training_set: tuple[Tensor, Tensor]) -> Tensor:
    return fashion_mnist("test", 60)[1]


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Small networks are fastest so, and other work on the machine is not held up."""
    torch.set_num_threads(1)
