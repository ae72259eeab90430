"""Refined checkpoints, loaded by timm."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from torch import Tensor

from search.evaluation import Refinement
from tests.workers.evaluation.images import random_set
from tests.workers.evaluation.shipped import shipped_set, shipped_stack
from workers.evaluation.folder import evaluate_model, load_folder
from workers.evaluation.preprocess import DataConfig, Normaliser
from workers.evaluation.sets import EncodedSet
from workers.refinement.checkpoint import RefinementRecord, refined
from workers.refinement.head import STRENGTHS
from workers.refinement.statistics import PRIOR
from workers.soups.files import model_file_bytes, save_model, soup_config
from workers.soups.merge import merge
from workers.soups.stack import IngredientStack

WEIGHTS = [0.4, 0.3, 0.2, 0.1]
SETS = ("fashion-rotation", "fashion-gaussian-noise")
EVERYTHING = Refinement("adapted", "refit", temperature=True)


@pytest.fixture(scope="module", params=["fashion-resnet", "fashion-vit"])
def shipped(request: pytest.FixtureRequest) -> tuple[IngredientStack, list[EncodedSet]]:
    stack = shipped_stack(request.param)
    return stack, [shipped_set(stack, name) for name in SETS]


def refinements(stack: IngredientStack) -> list[Refinement]:
    has_norms = any("running_mean" in name for slot in stack.layout.slots for name in slot.names)
    return [
        Refinement(statistics, head, temperature)
        for statistics in (("source", "adapted") if has_norms else ("source",))
        for head in ("keep", "refit")
        for temperature in (False, True)
    ]


def test_a_refined_checkpoint_is_what_timm_makes_of_it(
    tmp_path: Path, shipped: tuple[IngredientStack, list[EncodedSet]]
) -> None:
    stack, sets = shipped
    tensors = merge(stack, WEIGHTS)
    before = {name: tensor.clone() for name, tensor in tensors.items()}
    for place, refinement in enumerate(refinements(stack)):
        found, record = refined(tensors, stack.config, sets, refinement)
        assert list(found) == list(tensors)
        assert all((found[name].shape, found[name].dtype) == (each.shape, each.dtype) for name, each in before.items())
        assert all(torch.equal(tensors[name], each) for name, each in before.items())
        assert {name for name in found if not torch.equal(found[name], before[name])} == changed(before, refinement)
        again, same = refined(tensors, stack.config, sets, refinement)
        assert model_file_bytes(again, {}) == model_file_bytes(found, {})
        assert same == record
        folder = tmp_path / str(place)
        save_model(folder, found, soup_config(stack.config), {})
        loaded = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
        assert all(torch.equal(tensor, found[name]) for name, tensor in loaded.state_dict().items())
        assert json.loads(json.dumps(asdict(record))) == asdict(record)
        assert (record.images, record.prior) == (200, PRIOR if refinement.statistics == "adapted" else None)
        assert (record.strength in STRENGTHS) == (refinement.head == "refit")
        assert (record.temperature is not None) == refinement.temperature


def changed(state: dict[str, Tensor], refinement: Refinement) -> set[str]:
    last = {name for name in state if name in {"fc.weight", "fc.bias", "head.weight", "head.bias"}}
    norms = {name for name in state if "running_" in name}
    return (norms if refinement.statistics == "adapted" else set()) | (last if refinement.needs_labels else set())


def test_refinements_pay_on_images_that_were_not_seen(
    tmp_path: Path, shipped: tuple[IngredientStack, list[EncodedSet]]
) -> None:
    stack, sets = shipped
    held_out = shipped_set(stack, SETS[1], "held_out")
    nlls = []
    for place, refinement in enumerate(refinements(stack)):
        found, _ = refined(merge(stack, WEIGHTS), stack.config, sets[1:], refinement)
        save_model(tmp_path / str(place), found, soup_config(stack.config), {})
        nlls.append(evaluate_model(load_folder(tmp_path / str(place)), held_out).nll)
    own, *others = nlls
    assert all(nll < own - 0.1 for nll in others)


def test_a_temperature_divides_the_logits(shipped: tuple[IngredientStack, list[EncodedSet]]) -> None:
    stack, sets = shipped
    tensors = merge(stack, WEIGHTS)
    found, record = refined(tensors, stack.config, sets, Refinement(temperature=True))
    assert record.temperature is not None
    logits = []
    for state in (tensors, found):
        model = timm.create_model(stack.config["architecture"], **arguments(stack)).eval()
        model.load_state_dict(state)
        images = Normaliser(DataConfig.of(stack.config), "cpu")(torch.from_numpy(sets[0].images))
        with torch.inference_mode():
            logits.append(model(images).numpy())
    np.testing.assert_allclose(logits[1] * record.temperature, logits[0], rtol=1e-4, atol=1e-4)


def arguments(stack: IngredientStack) -> dict[str, object]:
    return {"num_classes": stack.config["num_classes"], **stack.config["model_args"]}


def test_statistics_need_no_labels_and_the_order_of_sets_hardly_matters() -> None:
    stack = shipped_stack("fashion-resnet")
    sets = [shipped_set(stack, name) for name in SETS]
    tensors, adapted = merge(stack, WEIGHTS), Refinement(statistics="adapted")
    found, record = refined(tensors, stack.config, sets, adapted)
    assert record == RefinementRecord(200, PRIOR, None, None)
    bare, _ = refined(tensors, stack.config, [replace(each, accepted=None) for each in sets], adapted)
    assert model_file_bytes(bare, {}) == model_file_bytes(found, {})
    turned, _ = refined(tensors, stack.config, sets[::-1], adapted)
    for name, tensor in found.items():
        torch.testing.assert_close(turned[name], tensor, rtol=1e-4, atol=1e-5)


def test_a_given_strength_is_used() -> None:
    stack = shipped_stack("fashion-vit")
    sets, tensors = [shipped_set(stack, SETS[0])], merge(stack, WEIGHTS)
    head = Refinement(head="refit")
    distances = []
    for strength in (0.05, 50.0):
        found, record = refined(tensors, stack.config, sets, head, strength=strength)
        assert record.strength == strength
        distances.append((found["head.weight"] - tensors["head.weight"]).norm().item())
    assert distances[0] > 3 * distances[1]


def test_soups_that_cannot_be_refined_are_refused(stack: IngredientStack) -> None:
    tensors, source = merge(stack, [0.5, 0.25, 0.25]), random_set(20)
    with pytest.raises(ValueError, match="label images"):
        refined(tensors, stack.config, [replace(source, accepted=None)], EVERYTHING)
    last = next(name for name in tensors if name in {"fc.bias", "head.bias"})
    tensors[last][0] = torch.inf
    with pytest.raises(ValueError, match="not finite"):
        refined(tensors, stack.config, [source], Refinement(head="refit"))
