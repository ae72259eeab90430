"""A refined soup as a checkpoint."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from search.evaluation import Refinement
from workers.evaluation.batches import ResidentImages
from workers.evaluation.forward import ForwardPass
from workers.evaluation.preprocess import DataConfig
from workers.evaluation.sets import EncodedSet
from workers.evaluation.streams import Streams
from workers.refinement.fit import LabelFit, LayerChange
from workers.refinement.head import last_layer
from workers.refinement.labels import PooledLabels
from workers.refinement.reading import SoupReader
from workers.refinement.statistics import PRIOR
from workers.soups.model import TimmConfig, build_model, count_classes


class NotFiniteLogits(ValueError):
    """A soup has logits that are not finite: nothing can be learnt from them."""


@dataclass(frozen=True)
class RefinementRecord:
    """How a checkpoint was refined; ``dataclasses.asdict`` of it is JSON.

    ``images`` is their number; ``prior``, the weight of the soup's own statistics in images, None where they were kept;
    ``strength`` of the head's ridge, None where it was kept; ``temperature``, None where none was fitted.
    """

    images: int
    prior: int | None
    strength: float | None
    temperature: float | None


def refined(
    tensors: Mapping[str, Tensor],
    config: TimmConfig,
    sets: Sequence[EncodedSet],
    refinement: Refinement,
    *,
    strength: float | None = None,
    batch_size: int = 64,
) -> tuple[dict[str, Tensor], RefinementRecord]:
    """Refine the merged soup ``tensors`` (float32, on the CPU, as ``merge`` returns) on all images of ``sets``.

    Returns a state dict of the same keys, shapes and types, in which BatchNorm's running statistics or the last layer
    are others, and how that was done. ``strength`` of the ridge is chosen by cross-validation unless given.

    Equal arguments give equal bytes on one machine with one version of PyTorch and one number of its threads; another
    of these may change the last bits. Images are read ``batch_size`` at a time.

    Raises ValueError when the soup cannot be refined so: see ``SoupReader``, ``PooledLabels`` and ``LabelFit``; and
    NotFiniteLogits.
    """
    model = build_model(config).requires_grad_(requires_grad=False)
    model.load_state_dict(dict(tensors))
    model.to(memory_format=torch.channels_last)
    device = torch.device("cpu")
    images = ResidentImages(
        sets, DataConfig.of_model(model), device, num_classes=count_classes(model), batch_size=batch_size
    )
    labels = PooledLabels(sets) if refinement.needs_labels else None
    forward = ForwardPass(model, device, "float32", batch_size)
    reading = SoupReader(forward, images, images.batches, Streams(1, 1)).read(refinement)
    if not reading.is_finite:
        raise NotFiniteLogits("the soup's logits are not finite: choose bounds closer to [0, 1], or convex")
    used, change = None, None
    if labels is not None:
        fit = LabelFit(reading, labels, refinement, strength)
        used, change = fit.strength, fit.change()
        _replace(last_layer(model), change)
    record = RefinementRecord(
        images=sum(images.sizes),
        prior=PRIOR if refinement.statistics == "adapted" else None,
        strength=used,
        temperature=None if change is None else change.temperature,
    )
    found = model.state_dict()
    return {name: found[name].clone(memory_format=torch.contiguous_format) for name in tensors}, record


def _replace(layer: nn.Linear, change: LayerChange) -> None:
    temperature = change.temperature or 1.0
    for own, added in ((layer.weight, change.weight), (layer.bias, change.bias)):
        own.copy_((own.double() + (0.0 if added is None else added)) / temperature)
