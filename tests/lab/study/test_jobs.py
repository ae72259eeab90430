from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lab.study.inputs import idx_images, set_arrays, set_part
from lab.study.jobs import AttackJob, ScoreJob, Weights, shifted
from lab.study.plan import stack_input
from lab.study.results import ensemble, logit_ensemble
from lab.study.store import Store
from tests.lab.study.conftest import FASHION_MNIST, NAMES, RESNET, computed, stored_set
from workers.attacks.attack import attacks_on
from workers.attacks.model import NormalizedModel
from workers.attacks.robustness import robust_accuracy
from workers.attacks.threat import Threat
from workers.evaluation.evaluator import Evaluator
from workers.evaluation.preprocess import DataConfig, encode_images
from workers.evaluation.sets import EncodedSet
from workers.soups.model import read_config
from workers.soups.resident import ResidentSoup
from workers.soups.stack import IngredientStack

FOLDERS = [RESNET / name for name in NAMES]
CONFIG = DataConfig.of(read_config(FOLDERS[0]))
WEIGHTS = ((0.25, 0.25, 0.25, 0.25), (0.0, 0.0, 1.0, 0.0), (-0.4, 0.6, 0.0, 0.8))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Clean images in a file."""
    store = Store(tmp_path_factory.mktemp("store"))
    data = idx_images(FASHION_MNIST, 40, seed=3)
    encoded = encode_images(data.images.transpose(0, 2, 3, 1), CONFIG)
    store.write("clean", set_arrays(EncodedSet.of_classes(encoded, data.labels.tolist(), 10)))
    return store


def score_job(store: Store, weights: Weights = WEIGHTS, keep: tuple[int, ...] | None = None) -> ScoreJob:
    return ScoreJob("s", stack_input(FOLDERS, NAMES), set_part(store, "clean"), weights, "float32", keep)


@given(arrays(np.float32, (5, 4), elements=st.floats(-100, 100, width=32)))
def test_kept_logits_predict_as_the_logits_do(logits: np.ndarray) -> None:
    kept = shifted(logits)
    assert kept.dtype == np.float16
    greatest = np.take_along_axis(logits, kept.argmax(axis=1)[:, None], axis=1)[:, 0]
    assert np.allclose(greatest, logits.max(axis=1), rtol=0, atol=2**-24)


def test_logits_that_are_not_finite_stay_so() -> None:
    kept = shifted(np.array([[np.nan, 1.0], [1e30, 0.0]], dtype=np.float32))
    assert np.isnan(kept[0]).all()
    assert kept[1].tolist() == [0.0, np.finfo(np.float16).min]


def test_a_set_is_read_as_it_was_written(tmp_path: Path) -> None:
    source = EncodedSet.of_classes(np.zeros((2, 1, 3, 3), np.uint8), [1, 0], 2)
    store = Store(tmp_path)
    store.write("x", set_arrays(source))
    part = set_part(store, "x")
    assert part.accepted == source.accepted
    assert part.columns == source.space.columns
    assert part.rows == (0, 1)
    assert stored_set(part, store).images.shape == (2, 1, 3, 3)


def test_scores_are_those_of_a_direct_evaluation(store: Store) -> None:
    job = score_job(store)
    made = computed(job, store)
    correct = np.unpackbits(made["correct"], axis=1, count=40).astype(bool)
    evaluator = Evaluator(IngredientStack.from_folders(FOLDERS), [stored_set(job.images, store)])
    for row, weights in enumerate(WEIGHTS):
        [found] = evaluator.evaluate(weights, keep_logits=True).sets
        assert found.log_probability is not None
        assert found.logits is not None
        assert np.array_equal(correct[row], found.right)
        assert made["nll"].dtype == np.float32
        assert np.array_equal(made["nll"][row], -found.log_probability)
        assert np.array_equal(made["logits"][row].argmax(axis=1), found.logits.argmax(axis=1))
    assert made["rows"].tolist() == [0, 1, 2]
    assert job.passes == 40


def test_logits_may_be_kept_for_ingredients_alone(store: Store) -> None:
    job = score_job(store, keep=(1,))
    assert [request.keep_logits for request in job.requests] == [False, True, False]
    made = computed(job, store)
    assert made["logits"].shape == (1, 40, 10)
    assert made["rows"].tolist() == [1]
    assert computed(score_job(store, WEIGHTS[:1], keep=()), store)["logits"].shape == (0, 40, 10)


def test_kept_logits_give_the_ensembles(store: Store) -> None:
    stack, images = IngredientStack.from_folders(FOLDERS), stored_set(set_part(store, "clean"), store)
    evaluator = Evaluator(stack, [images])
    logits = [np.asarray(evaluator.evaluate(row, keep_logits=True).sets[0].logits) for row in np.eye(4)]
    labels, kept = np.array([accepted[0] for accepted in images.labels]), np.stack([shifted(each) for each in logits])
    probabilities = torch.stack([torch.from_numpy(each).double().softmax(dim=1) for each in logits])
    by_softmax = probabilities.mean(dim=0).argmax(dim=1).numpy() == labels
    by_logits = np.mean(logits, axis=0).argmax(axis=1) == labels
    assert np.array_equal(ensemble(images, kept), by_softmax)
    assert np.array_equal(logit_ensemble(images, kept), by_logits)


def test_a_confident_member_outweighs_others_in_logits_alone() -> None:
    images = EncodedSet.of_classes(np.zeros((1, 1, 1, 1), np.uint8), [0], 2)
    logits = np.array([[[0.0, -9.0]], [[-4.0, 0.0]], [[-4.0, 0.0]]], dtype=np.float16)
    assert logit_ensemble(images, logits).tolist() == [True]
    assert ensemble(images, logits).tolist() == [False]


def test_an_attack_is_that_of_the_attacks(store: Store) -> None:
    part = set_part(store, "clean")
    threats = (Threat("Linf", 0.1), Threat("L1", 12.0))
    attacks = tuple(attacks_on(threats, ("ce", "dlr"), steps=3, larger_radii=True))
    weights = (0.6, 0.0, 0.4, 0.0)
    job = AttackJob("a", stack_input(FOLDERS, NAMES), part, (weights,), 25, attacks, seed=1)
    made = computed(job, store)
    soup = ResidentSoup(IngredientStack.from_folders(FOLDERS))
    soup.set_weights(weights)
    model = NormalizedModel(soup.model, CONFIG.mean, CONFIG.std).eval()
    images = stored_set(part, store)
    pixels, labels = torch.from_numpy(images.images[:25]).float() / 255, torch.tensor([a[0] for a in images.labels])
    for place, threat in enumerate(threats):
        within = [attack for attack in attacks if attack.threat == threat]
        expected = robust_accuracy(model, pixels, labels[:25], within, seeds=(1,))
        assert np.array_equal(made["robust"][place], expected.union[0].numpy())
        assert np.array_equal(made["clean"], expected.clean.numpy())
    assert job.passes == 3 * 3 * 2 * 2 * 25


def test_a_soup_that_is_not_finite_is_robust_nowhere(store: Store) -> None:
    attacks = tuple(attacks_on((Threat("Linf", 0.1), Threat("L1", 12.0)), ("ce", "dlr"), steps=3))
    weights = ((1e38, -1e38, 1.0, 0.0),)
    job = AttackJob("a", stack_input(FOLDERS, NAMES), set_part(store, "clean"), weights, 25, attacks, seed=1)
    made = computed(job, store)
    assert made["robust"].shape == (2, 25)
    assert not made["robust"].any()
