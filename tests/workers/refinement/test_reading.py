"""Logits and features of models that timm builds."""

import pytest
import timm
import torch
from torch import nn

from search.evaluation import Refinement
from tests.workers.evaluation.images import CLASSES, random_images
from tests.workers.evaluation.stopping import StopAfter
from tests.workers.soups.folders import RESNET, VIT, build, config_of
from workers.evaluation.batches import ResidentImages
from workers.evaluation.errors import EvaluationMemoryError, EvaluationStopped
from workers.evaluation.forward import ForwardPass
from workers.evaluation.labels import LabelSpace
from workers.evaluation.preprocess import DataConfig
from workers.evaluation.sets import EncodedSet
from workers.evaluation.streams import Streams
from workers.refinement import reading
from workers.refinement.reading import SoupReader
from workers.soups.model import build_model

BOTH = Refinement(statistics="adapted", head="refit")
HEAD = Refinement(head="refit")


def reader_of(model: nn.Module, *, threads: int = 1, part_size: int = 8, channels: int = 1) -> SoupReader:
    config = DataConfig((channels, 28, 28), (0.3,) * channels, (0.4,) * channels, "bicubic", 1.0, "center")
    sets = [
        EncodedSet(random_images(count).repeat(channels, axis=1), None, LabelSpace.of_classes(CLASSES))
        for count in (21, 12)
    ]
    images = ResidentImages(sets, config, torch.device("cpu"), num_classes=CLASSES, batch_size=8)
    forward = ForwardPass(model, torch.device("cpu"), "float32", part_size)
    return SoupReader(forward, images, images.batches, Streams(threads, threads))


def hooks(model: nn.Module) -> int:
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules())


@pytest.mark.parametrize("base", [RESNET, VIT], ids=["resnet", "vit"])
@pytest.mark.parametrize(("threads", "part_size"), [(1, 8), (1, 3), (3, 8)])
def test_features_are_what_the_last_layer_takes(base: dict[str, object], threads: int, part_size: int) -> None:
    model = build_model(config_of(base)).requires_grad_(requires_grad=False)
    reader = reader_of(model, threads=threads, part_size=part_size)
    found = reader.read(HEAD)
    assert found.features is not None
    inputs = torch.cat([reader.images.normalise(batch.images) for batch in reader.batches])
    with torch.inference_mode():
        torch.testing.assert_close(found.logits, model(inputs), rtol=1e-4, atol=1e-5)
        features = model.forward_head(model.forward_features(inputs), pre_logits=True)  # type: ignore[operator]
        torch.testing.assert_close(found.features, features, rtol=1e-4, atol=1e-5)
    assert found.is_finite
    assert hooks(model) == 0
    plain = reader.read(Refinement())
    assert plain.features is None
    assert torch.equal(plain.logits, found.logits)


def test_statistics_do_not_depend_on_how_images_are_read() -> None:
    config = config_of(RESNET)
    states = []
    for threads, part_size in ((1, 8), (3, 2)):
        model = build(config)
        reader_of(model, threads=threads, part_size=part_size).read(BOTH)
        states.append(model.state_dict())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_stopping_leaves_no_hook_and_no_training_layer() -> None:
    model = build_model(config_of(RESNET))
    reader = reader_of(model)
    asked = 1 + len(reader.batches)
    for times in range(asked):
        stop = StopAfter(times)
        with pytest.raises(EvaluationStopped):
            reader.read(BOTH, stop)
        assert stop.asked == times + 1
        assert hooks(model) == 0
        assert not any(module.training for module in model.modules())
    stop = StopAfter(asked)
    reader.read(BOTH, stop)
    assert stop.asked == asked


def test_failures_leave_no_hook() -> None:
    class Failing(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            raise RuntimeError("a bad layer")

    model = build_model(config_of(VIT))
    model.blocks = Failing()
    with pytest.raises(RuntimeError, match="a bad layer"):
        reader_of(model).read(HEAD)
    assert hooks(model) == 0


def test_too_little_memory_for_the_statistics_says_what_to_change(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(reading, "adapt_statistics", full)
    with pytest.raises(EvaluationMemoryError, match='ask for statistics "source"'):
        reader_of(build_model(config_of(RESNET))).read(BOTH)


def test_logits_that_are_not_the_last_layers_outputs_are_refused() -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = build_model(config_of(VIT))

        def get_classifier(self) -> nn.Module:
            layer: nn.Module = self.inner.get_classifier()  # type: ignore[operator]
            return layer

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            logits: torch.Tensor = 2 * self.inner(images)
            return logits

    model = Scaled()
    with pytest.raises(ValueError, match="logits are not what its last layer returns"):
        reader_of(model).read(HEAD)
    assert hooks(model) == 0


def test_two_heads_are_refused() -> None:
    model = timm.create_model(
        "deit_tiny_distilled_patch16_224", img_size=28, patch_size=7, embed_dim=12, depth=1, num_classes=CLASSES
    ).eval()
    with pytest.raises(ValueError, match="is tuple, not one linear layer"):
        reader_of(model, channels=3).read(HEAD)


@pytest.mark.parametrize("number", ["inf", "-inf", "nan"])
def test_numbers_that_are_not_finite_are_seen(number: str) -> None:
    model = build_model(config_of(VIT)).requires_grad_(requires_grad=False)
    model.head.bias.fill_(float(number))  # type: ignore[union-attr, operator]
    assert not reader_of(model).read(HEAD).is_finite
