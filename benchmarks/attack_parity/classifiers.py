"""What is attacked: two small Fashion-MNIST classifiers, one of them trained against l_inf PGD, or an ingredient."""

from pathlib import Path

import timm
import torch
from torch import Tensor, nn
from torch.nn import functional

from lab.data.idx import Split, load_idx_folder
from lab.training.images import open_images
from lab.training.recipe import IngredientRecipe
from lab.training.recipe_file import RECIPE, read_recipe
from workers.attacks.model import NormalizedModel
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


def subjects(ingredient: Path | None, count: int) -> tuple[dict[str, nn.Module], Tensor, Tensor]:
    """Models by name, and ``count`` images (N, 1, 28, 28) with labels (N,) that none of them was trained on.

    The two classifiers and test images, or the ingredient of a timm folder and images of its recipe's evaluation.
    Raises ValueError if the folder's recipe is not that of an ingredient.
    """
    if ingredient is None:
        training = fashion_mnist("train", 10000)
        models = {
            name: train_classifier(*training, threat, epochs=4)
            for name, threat in (("standard", None), ("robust", Threat("Linf", 0.1)))
        }
        return models, *fashion_mnist("test", count)
    recipe = read_recipe(ingredient / RECIPE)
    if not isinstance(recipe, IngredientRecipe):
        raise ValueError(f"{ingredient / RECIPE} is not the recipe of one ingredient")
    network = timm.create_model(f"local-dir:{ingredient}", pretrained=True)
    model = NormalizedModel.from_data_config(network, network.pretrained_cfg).eval()
    images = open_images(recipe.data, recipe.model).evaluation_images(recipe.evaluation.split, count)
    return {f"{ingredient.parent.name}/{ingredient.name}": model}, *images
