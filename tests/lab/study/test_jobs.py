from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from timm.models.resnet import ResNet
from torch.nn.modules.module import register_module_forward_pre_hook

from lab.data.corruptions import corrupt_batch
from lab.study.inputs import IdxInput, SetInput, set_arrays
from lab.study.jobs import AttackJob, CorruptJob, ScoreJob, shifted
from lab.study.plan import stack_input
from lab.study.results import ensemble, logit_ensemble
from lab.study.store import Store
from tests.lab.study.conftest import FASHION_MNIST, NAMES, RESNET
from workers.attacks.attack import attacks_on
from workers.attacks.model import NormalizedModel
from workers.attacks.robustness import robust_accuracy
from workers.attacks.threat import Threat
from workers.evaluation.evaluator import Evaluator
from workers.evaluation.preprocess import DataConfig
from workers.evaluation.sets import EncodedSet
from workers.soups.model import read_config
from workers.soups.resident import Precision, ResidentSoup
from workers.soups.stack import IngredientStack

FOLDERS = [RESNET / name for name in NAMES]
IMAGES = IdxInput(FASHION_MNIST, 40, seed=3)
CONFIG = DataConfig.of(read_config(FOLDERS[0]))
WEIGHTS = ((0.25, 0.25, 0.25, 0.25), (0.0, 0.0, 1.0, 0.0), (-0.4, 0.6, 0.0, 0.8))


def corrupt_job(corruption: str | None, severity: int | None) -> CorruptJob:
    return CorruptJob("sets/x", IMAGES, corruption, severity, "cifar", CONFIG, 10)


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> SetInput:
    """Clean images in a file."""
    store = Store(tmp_path_factory.mktemp("store"))
    store.write("clean", corrupt_job(None, None).compute([IMAGES.load()], "cpu"))
    return SetInput(store.path("clean"))


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


def test_a_set_is_the_images_under_the_corruption() -> None:
    job = corrupt_job("gaussian_noise", 4)
    data = IMAGES.load()
    made = job.compute([data], "cpu")
    rng = np.random.default_rng([3, *b"gaussian_noise", 4])
    expected = corrupt_batch(data.images.transpose(0, 2, 3, 1), "gaussian_noise", 4, rng, "cifar")
    assert np.array_equal(made["images"], np.stack(expected).transpose(0, 3, 1, 2))
    assert not np.array_equal(made["images"], data.images)


def test_a_set_is_read_as_it_was_written(tmp_path: Path) -> None:
    source = EncodedSet.of_classes(np.zeros((2, 1, 3, 3), np.uint8), [1, 0], 2)
    Store(tmp_path).write("x", set_arrays(source))
    read = SetInput(Store(tmp_path).path("x")).load()
    assert read.accepted == source.accepted
    assert read.space.columns == source.space.columns
    assert read.images.shape == (2, 1, 3, 3)


def test_scores_are_those_of_a_direct_evaluation(stored: SetInput) -> None:
    stack, images = IngredientStack.from_folders(FOLDERS), stored.load()
    job = ScoreJob("s", stack_input(FOLDERS, NAMES), stored, WEIGHTS, 40, "float32")
    made = job.compute([stack, images], "cpu")
    correct = np.unpackbits(made["correct"], axis=1, count=40).astype(bool)
    evaluator = Evaluator(stack, [images])
    for row, weights in enumerate(WEIGHTS):
        [found] = evaluator.evaluate(weights, keep_logits=True).sets
        assert found.log_probability is not None
        assert found.logits is not None
        assert np.array_equal(correct[row], found.right)
        assert made["nll"].dtype == np.float32
        assert np.array_equal(made["nll"][row], -found.log_probability)
        assert np.array_equal(made["logits"][row].argmax(axis=1), found.logits.argmax(axis=1))
    assert made["rows"].tolist() == [0, 1, 2]
    assert job.passes == 120


@pytest.mark.parametrize(
    ("threads", "precision", "sizes"),
    [(1, "float32", [128, 128, 44]), (1, "bfloat16", [256, 44]), (2, "float32", [64, 64, 64, 64, 44])],
)
def test_one_thread_scores_larger_batches_than_each_of_several(
    threads: int, precision: Precision, sizes: list[int]
) -> None:
    images = EncodedSet.of_classes(np.zeros((300, 1, 28, 28), np.uint8), [0] * 300, 10)
    job = ScoreJob("s", stack_input(FOLDERS, NAMES), SetInput(Path("unread")), WEIGHTS[:1], 300, precision)
    seen: list[int] = []
    before = torch.get_num_threads()
    hook = register_module_forward_pre_hook(
        lambda module, inputs: seen.append(len(inputs[0])) if isinstance(module, ResNet) else None
    )
    try:
        torch.set_num_threads(threads)
        job.compute([IngredientStack.from_folders(FOLDERS), images], "cpu")
    finally:
        hook.remove()
        torch.set_num_threads(before)
    assert sorted(seen, reverse=True) == sizes


def test_logits_may_be_kept_for_ingredients_alone(stored: SetInput) -> None:
    job = ScoreJob("s", stack_input(FOLDERS, NAMES), stored, WEIGHTS, 40, "float32", keep=(1,))
    made = job.compute([source.load() for source in job.inputs], "cpu")
    assert made["logits"].shape == (1, 40, 10)
    assert made["rows"].tolist() == [1]
    none = ScoreJob("s", job.stack, stored, WEIGHTS[:1], 40, "float32", keep=())
    assert none.compute([source.load() for source in none.inputs], "cpu")["logits"].shape == (0, 40, 10)


def test_kept_logits_give_the_ensembles(stored: SetInput) -> None:
    stack, images = IngredientStack.from_folders(FOLDERS), stored.load()
    evaluator = Evaluator(stack, [images])
    logits = [np.asarray(evaluator.evaluate(row, keep_logits=True).sets[0].logits) for row in np.eye(4)]
    labels, kept = np.array([accepted[0] for accepted in images.labels]), np.stack(list(map(shifted, logits)))
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


def test_an_attack_is_that_of_the_attacks(stored: SetInput) -> None:
    stack, images = IngredientStack.from_folders(FOLDERS), stored.load()
    threats = (Threat("Linf", 0.1), Threat("L1", 12.0))
    attacks = tuple(attacks_on(threats, ("ce", "dlr"), steps=3, larger_radii=True))
    weights = (0.6, 0.0, 0.4, 0.0)
    job = AttackJob("a", stack_input(FOLDERS, NAMES), stored, weights, 25, attacks, seed=1)
    made = job.compute([stack, images], "cpu")
    soup = ResidentSoup(stack)
    soup.set_weights(weights)
    model = NormalizedModel(soup.model, CONFIG.mean, CONFIG.std).eval()
    pixels, labels = torch.from_numpy(images.images[:25]).float() / 255, torch.tensor([a[0] for a in images.labels])
    for place, threat in enumerate(threats):
        within = [attack for attack in attacks if attack.threat == threat]
        expected = robust_accuracy(model, pixels, labels[:25], within, seeds=(1,))
        assert np.array_equal(made["robust"][place], expected.union[0].numpy())
        assert np.array_equal(made["clean"], expected.clean.numpy())
    assert job.passes == 3 * 3 * 2 * 2 * 25
