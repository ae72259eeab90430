"""Cross-validated refinements: each image without its label, and the same as fits made one by one."""

from dataclasses import replace

import pytest
import torch

from search.evaluation import REFINEMENT_FOLDS, Refinement
from tests.workers.refinement.readings import random_reading, with_labels_changed
from workers.evaluation.sets import EncodedSet
from workers.refinement import fit
from workers.refinement.fit import LabelFit
from workers.refinement.folds import folds_of
from workers.refinement.head import STRENGTHS, HeadRegression
from workers.refinement.labels import PooledLabels
from workers.refinement.reading import SoupReading
from workers.refinement.temperature import fit_temperature

BOTH = Refinement(head="refit", temperature=True)
ALL = [Refinement(head="refit"), Refinement(temperature=True), BOTH]


@pytest.mark.parametrize("refinement", ALL, ids=["head", "temperature", "both"])
def test_labels_of_a_fold_change_no_bit_of_its_own_logits(
    monkeypatch: pytest.MonkeyPatch, refinement: Refinement
) -> None:
    reading, sets = random_reading([40, 23])
    folds = torch.cat([torch.arange(size) % REFINEMENT_FOLDS for size in (40, 23)])
    monkeypatch.setattr(fit, "folds_of", lambda _: folds)
    before = LabelFit(reading, PooledLabels(sets), refinement, strength=0.16).crossed_logits()
    for fold in range(REFINEMENT_FOLDS):
        changed = [with_labels_changed(source, fold) for source in sets]
        after = LabelFit(reading, PooledLabels(changed), refinement, strength=0.16).crossed_logits()
        assert torch.equal(after[folds == fold], before[folds == fold])
        for other in set(range(REFINEMENT_FOLDS)) - {fold}:
            assert not torch.equal(after[folds == other], before[folds == other])


def test_logits_are_those_of_fits_to_the_other_folds() -> None:
    reading, sets = random_reading([45])
    labels = PooledLabels(sets)
    assert reading.features is not None
    regression = HeadRegression(reading.features, reading.logits, labels.accepted)
    folds = folds_of(labels.first)
    head = LabelFit(reading, labels, Refinement(head="refit"), strength=0.16).crossed_logits()
    both = LabelFit(reading, labels, BOTH, strength=0.16).crossed_logits()
    for fold in range(REFINEMENT_FOLDS):
        [(_, changes)] = regression.path((folds != fold)[:, None], [0.16])
        expected = regression.logits(changes)[:, 0][folds == fold]
        torch.testing.assert_close(head[folds == fold], expected)
        inner = torch.zeros_like(head)
        for other in set(range(REFINEMENT_FOLDS)) - {fold}:
            [(_, changes)] = regression.path(((folds != fold) & (folds != other))[:, None], [0.16])
            inner[folds == other] = regression.logits(changes)[:, 0][folds == other]
        kept = folds != fold
        temperature = fit_temperature(lambda t, i=inner, k=kept: labels.nll(i / t)[k].mean().item())  # type: ignore[misc]
        torch.testing.assert_close(both[folds == fold], expected / temperature, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("refinement", ALL, ids=["head", "temperature", "both"])
def test_images_without_a_label_are_read_by_what_all_labels_taught(refinement: Refinement) -> None:
    reading, sets = random_reading([40, 23])
    bare = [sets[0], replace(sets[1], accepted=None)]
    fitted = LabelFit(reading, PooledLabels(bare), refinement, strength=0.16)
    alone = LabelFit(reading.of_images(torch.arange(40)), PooledLabels(sets[:1]), refinement, strength=0.16)
    logits, change = fitted.crossed_logits(), alone.change()
    torch.testing.assert_close(logits[:40], alone.crossed_logits())
    torch.testing.assert_close(logits[40:], change.logits(reading)[40:])
    assert reading.features is not None
    expected = reading.logits[40:].double()
    if change.weight is not None and change.bias is not None:
        expected = expected + reading.features[40:].double() @ change.weight.T + change.bias
    torch.testing.assert_close(logits[40:], expected / (change.temperature or 1))


def test_the_strength_is_that_of_the_least_cross_validated_nll() -> None:
    reading, sets = random_reading([60])
    labels = PooledLabels(sets)
    chosen = LabelFit(reading, labels, Refinement(head="refit"))
    nlls = {
        strength: labels.nll(LabelFit(reading, labels, Refinement(head="refit"), strength).crossed_logits()).mean()
        for strength in STRENGTHS
    }
    assert chosen.strength == min(nlls, key=lambda strength: nlls[strength].item())
    torch.testing.assert_close(labels.nll(chosen.crossed_logits()).mean(), nlls[chosen.strength], rtol=1e-4, atol=0)
    assert LabelFit(reading, labels, Refinement(temperature=True)).strength is None


def test_the_change_is_fitted_to_all_images() -> None:
    reading, sets = random_reading([40])
    labels = PooledLabels(sets)
    found = LabelFit(reading, labels, BOTH, strength=0.16)
    change = found.change()
    assert reading.features is not None
    assert change.weight is not None
    assert change.bias is not None
    regression = HeadRegression(reading.features, reading.logits, labels.accepted)
    [(_, changes)] = regression.path(torch.ones(40, 1), [0.16])
    weights, biases = regression.layer(changes)
    torch.testing.assert_close(change.weight, weights[0])
    torch.testing.assert_close(change.bias, biases[0])
    crossed = LabelFit(reading, labels, Refinement(head="refit"), strength=0.16).crossed_logits()
    assert change.temperature == fit_temperature(lambda t: labels.nll(crossed / t).mean().item())
    alone = LabelFit(reading, labels, Refinement(temperature=True)).change()
    assert (alone.weight, alone.bias) == (None, None)
    assert alone.temperature == fit_temperature(lambda t: labels.nll(reading.logits.double() / t).mean().item())


def test_what_cannot_be_fitted_is_refused() -> None:
    reading, sets = random_reading([40])
    with pytest.raises(ValueError, match="read them"):
        LabelFit(SoupReading(reading.logits), PooledLabels(sets), Refinement(head="refit"))
    few = [EncodedSet(each.images[:9], each.labels[:9], each.space) for each in sets]
    with pytest.raises(ValueError, match="label more images than 9"):
        LabelFit(SoupReading(reading.logits[:9]), PooledLabels(few), Refinement(temperature=True))
