"""Small Fashion-MNIST classifiers to attack: one trained as usual, one against l_inf PGD."""

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from lab.data.idx import Split, load_idx_folder
from workers.attacks.pgd import pgd
from workers.attacks.threat import Threat

FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")
BATCH = 100


def fashion_mnist(split: Split, count: int, folder: Path = FASHION_MNIST) -> tuple[Tensor, Tensor]:
    """The first ``count`` images (N, 1, 28, 28), in [0, 1], and labels (N,) of a split."""
    data = load_idx_folder(folder, split)
    return torch.from_numpy(data.images[:count]).float() / 255, torch.from_numpy(data.labels[:count])


def train_classifier(images: Tensor, labels: Tensor, threat: Threat | None, epochs: int, seed: int = 0) -> nn.Module:
    """A convolution and a linear layer, in eval mode; with a threat trained on PGD's images, else on clean ones."""
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Conv2d(1, 16, 5, 3), nn.ReLU(), nn.Flatten(), nn.Linear(1024, 10))
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    for _ in range(epochs):
        for rows in torch.split(torch.randperm(len(images)), BATCH):
            batch = images[rows] if threat is None else pgd(model, images[rows], labels[rows], threat, 5)
            optimizer.zero_grad()
            torch.autograd.backward(functional.cross_entropy(model(batch), labels[rows]))
            optimizer.step()
    return model.eval()
