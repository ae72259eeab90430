"""BatchNorm statistics, against PyTorch's own estimate and by hand."""

from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import update_bn

from tests.workers.evaluation.shipped import shipped_set, shipped_stack
from tests.workers.soups.folders import RESNET, VIT, build, config_of, randomise
from workers.evaluation.preprocess import DataConfig, Normaliser
from workers.refinement.statistics import PRIOR, adapt_statistics
from workers.soups.resident import ResidentSoup
from workers.soups.stack import IngredientStack

EFFICIENTNET = config_of({"architecture": "test_efficientnet"}, size=32, channels=3)


def model_of(config: dict[str, Any]) -> nn.Module:
    model = build(config)
    randomise(model, 3)
    return model.eval()


def inputs(config: dict[str, Any], count: int) -> torch.Tensor:
    size = config["pretrained_cfg"]["input_size"]
    return torch.randn(count, *size, generator=torch.Generator().manual_seed(0))


def running(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items() if "running_" in name}


@pytest.mark.parametrize("config", [config_of(RESNET), EFFICIENTNET], ids=["resnet", "efficientnet"])
def test_without_a_prior_batches_give_what_pytorch_gives(config: dict[str, Any]) -> None:
    images = inputs(config, 24)
    for batches in ([images], list(torch.split(images, 8))):
        model = model_of(config)
        reference = deepcopy(model)
        for module in reference.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0
        with torch.no_grad():
            update_bn(batches, reference)
        adapt_statistics(model, batches, 24, prior=0)
        assert_statistics(model, running(reference))


def assert_statistics(model: nn.Module, expected: dict[str, torch.Tensor]) -> None:
    assert expected
    for name, found in running(model).items():
        torch.testing.assert_close(found, expected[name], rtol=1e-4, atol=1e-5, msg=name)


def test_shipped_soups_take_the_statistics_that_pytorch_gives() -> None:
    stack = shipped_stack("fashion-resnet")
    soup = ResidentSoup(stack)
    soup.set_weights([0.25] * 4)
    reference = deepcopy(soup.model)
    images = shipped_inputs(stack)
    with torch.no_grad():
        update_bn([images], reference)
    adapt_statistics(soup.model, [images], 100, prior=0)
    assert_statistics(soup.model, running(reference))


def shipped_inputs(stack: IngredientStack) -> torch.Tensor:
    source = shipped_set(stack, "fashion-low-contrast")
    return Normaliser(DataConfig.of(stack.config), "cpu")(torch.from_numpy(source.images))


def test_each_layer_has_the_statistics_of_what_reaches_it() -> None:
    stack = shipped_stack("fashion-resnet")
    soup = ResidentSoup(stack)
    soup.set_weights([0.25] * 4)
    images, own = shipped_inputs(stack), running(soup.model)
    adapt_statistics(soup.model, [images], 100)
    layers = {name: each for name, each in soup.model.named_modules() if isinstance(each, nn.BatchNorm2d)}
    reached: dict[str, torch.Tensor] = {}
    for name, layer in layers.items():
        layer.register_forward_pre_hook(lambda _, values, name=name: reached.update({name: values[0]}))
    with torch.no_grad():
        soup.model(images)
    for name, layer in layers.items():
        mean = (PRIOR * own[f"{name}.running_mean"] + 100 * reached[name].mean((0, 2, 3))) / (PRIOR + 100)
        # While later layers are estimated, variances are the batch's: n - 1 in place of n is what is left.
        torch.testing.assert_close(layer.running_mean, mean, rtol=0.02, atol=0.02)


def test_batches_count_by_their_images_and_the_prior_as_so_many() -> None:
    model = nn.Sequential(nn.BatchNorm2d(3)).eval()
    layer = model[0]
    assert isinstance(layer, nn.BatchNorm2d)
    assert layer.running_mean is not None
    assert layer.running_var is not None
    layer.running_mean.fill_(2.0)
    layer.running_var.fill_(9.0)
    batches = torch.split(torch.randn(10, 3, 4, 4, generator=torch.Generator().manual_seed(0)), [6, 2, 2])
    adapt_statistics(model, batches, 10)
    moments = [(len(batch), batch.mean((0, 2, 3)), batch.transpose(0, 1).flatten(1).var(1)) for batch in batches]
    mean = sum(count * each for count, each, _ in moments) / 10
    variance = sum(count * each for count, _, each in moments) / 10
    torch.testing.assert_close(layer.running_mean, (PRIOR * 2.0 + 10 * mean) / (PRIOR + 10))
    torch.testing.assert_close(layer.running_var, (PRIOR * 9.0 + 10 * variance) / (PRIOR + 10))


def test_nothing_else_changes_even_when_it_fails() -> None:
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.9), nn.BatchNorm2d(4)).eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    images = torch.randn(8, 1, 6, 6, generator=torch.Generator().manual_seed(0))
    adapt_statistics(model, [images], 8, prior=0)
    first = running(model)
    adapt_statistics(model, [images], 8, prior=0)
    assert all(torch.equal(first[name], found) for name, found in running(model).items())
    with pytest.raises(RuntimeError):
        adapt_statistics(model, [images, torch.zeros(2, 5, 6, 6)], 10)
    with pytest.raises(ValueError, match="2 images or more"):
        adapt_statistics(model, [images[:1, :, :3, :3]], 1)
    after = model.state_dict()
    assert after.keys() == before.keys()
    assert [name for name in before if not torch.equal(after[name], before[name])] == list(running(model))
    assert not any(module.training or module._forward_pre_hooks for module in model.modules())


def test_models_without_batchnorm_are_refused() -> None:
    with pytest.raises(ValueError, match='ask for statistics "source"'):
        adapt_statistics(model_of(config_of(VIT)), [], 1)
