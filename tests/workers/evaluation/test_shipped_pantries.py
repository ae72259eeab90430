"""The shipped pantries on the shipped sets: real checkpoints and real images."""

import json

import numpy as np
import pytest
import timm
import timm.data
import torch

from tests.workers.evaluation.shipped import EXAMPLES, NAMES, labelled_images, shipped_stack
from workers.evaluation.evaluator import Evaluator
from workers.evaluation.preprocess import DataConfig, encode_images
from workers.evaluation.sets import EncodedSet
from workers.soups.merge import FLOOR_FACTOR
from workers.soups.stack import IngredientStack
from workers.soups.verify import verify_folder

WEIGHTS = [0.6, 0.4, 0.2, -0.2]


@pytest.mark.parametrize("pantry", ["fashion-resnet", "fashion-vit"])
def test_a_soup_scores_as_timm_and_plain_torch_score_it(pantry: str) -> None:
    folders = [EXAMPLES / "pantries" / pantry / name for name in NAMES]
    for folder in folders:
        verify_folder(folder)
    stack = IngredientStack.from_folders(folders)
    label_names = json.loads((folders[0] / "config.json").read_text())["label_names"]
    images = labelled_images(EXAMPLES / "sets" / "fashion-rotation" / "adaptation.zip", label_names)
    labels = [label for _, label in images]
    encoded = encode_images([image for image, _ in images], DataConfig.of(stack.config))
    outcome = Evaluator(stack, [EncodedSet.of_classes(encoded, labels, 10)]).evaluate(WEIGHTS, keep_logits=True)

    models = [timm.create_model(f"local-dir:{folder}", pretrained=True).eval() for folder in folders]
    states = [model.state_dict() for model in models]
    tensors = {}
    for name, tensor in states[0].items():
        if tensor.is_floating_point():
            total = torch.stack([w * state[name].double() for w, state in zip(WEIGHTS, states, strict=True)]).sum(dim=0)
            if name.endswith("running_var"):
                least = torch.stack([state[name].double() for state in states]).amin(dim=0)
                total = torch.where(total > 0, total, FLOOR_FACTOR * least)
            tensors[name] = total.float()
    models[0].load_state_dict(tensors, strict=False)
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(models[0]))
    inputs = torch.stack([transform(image.convert("L")) for image, _ in images])
    with torch.inference_mode():
        logits = models[0](inputs)

    [found] = outcome.sets
    assert found.logits is not None
    np.testing.assert_allclose(found.logits, logits.numpy(), rtol=1e-3, atol=1e-4)
    np.testing.assert_array_equal(found.prediction, logits.argmax(dim=1).numpy())
    np.testing.assert_array_equal(found.right, (logits.argmax(dim=1) == torch.tensor(labels)).numpy())
    assert found.accuracy > 0.3


def test_extrapolated_resnets_are_floored_and_stay_finite() -> None:
    stack = shipped_stack("fashion-resnet")
    images = np.random.default_rng(0).integers(0, 256, (8, 1, 28, 28), dtype=np.uint8)
    evaluator = Evaluator(stack, [EncodedSet.of_classes(images, [0] * 8, 10)])
    corners = [np.roll([1.4, 0.4, -0.4, -0.4], shift) for shift in range(4)]
    outcomes = [evaluator.evaluate(corner) for corner in corners]
    assert any(outcome.floored_channels for outcome in outcomes)
    assert all(outcome.status == "complete" for outcome in outcomes)
