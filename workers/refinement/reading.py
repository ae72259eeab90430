"""What a refinement is learnt from: a model's logits on the images, and the inputs of its last layer."""

import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn

from search.evaluation import Refinement
from workers.evaluation.batches import Batch, ResidentImages
from workers.evaluation.errors import EvaluationMemoryError, EvaluationStopped, Stop
from workers.evaluation.forward import ForwardPass, forward_context, is_out_of_memory
from workers.evaluation.streams import Streams
from workers.refinement.head import last_layer
from workers.refinement.statistics import BATCH_SIZE, adapt_statistics

Item = TypeVar("Item")


@dataclass(frozen=True)
class SoupReading:
    """Of all N images: ``logits``, float32 (N, classes), and ``features``, float32 (N, d), if they were asked for."""

    logits: Tensor
    features: Tensor | None = None

    @property
    def is_finite(self) -> bool:
        """Whether every number is finite."""
        return all(bool(part.isfinite().all()) for part in (self.logits, self.features) if part is not None)

    def of_images(self, rows: Tensor) -> "SoupReading":
        """The reading of some of the images."""
        return SoupReading(self.logits[rows], None if self.features is None else self.features[rows])


@dataclass(frozen=True)
class SoupReader:
    """Reads the model of ``forward`` on ``batches``, which are all of ``images`` in order."""

    forward: ForwardPass
    images: ResidentImages
    batches: Sequence[Batch]
    streams: Streams

    def read(self, refinement: Refinement, stop: Stop | None = None) -> SoupReading:
        """Adapt the model's statistics in place, if asked, then read it; with features if labels are needed.

        Raises EvaluationStopped when ``stop()`` before a batch, EvaluationMemoryError, and ValueError when the model
        has no such statistics, or no such last layer.
        """
        model = self.forward.model
        if refinement.needs_labels:
            last_layer(model)
        if refinement.statistics == "adapted":
            self._adapt(stop)
        if not refinement.needs_labels:
            return SoupReading(self._outputs(self.forward, stop))
        with _with_features(model) as (both, layer):
            forward = ForwardPass(both, self.forward.device, self.forward.precision, self.forward.part_size)
            outputs = self._outputs(forward, stop)
        return SoupReading(outputs[:, layer.in_features :], outputs[:, : layer.in_features])

    def _adapt(self, stop: Stop | None) -> None:
        try:
            with forward_context(self.forward.device, self.forward.precision):
                batches = _until(stop, self.images.mixed(BATCH_SIZE))
                adapt_statistics(self.forward.model, batches, sum(self.images.sizes))
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            # Smaller batches would give other statistics.
            raise EvaluationMemoryError(
                f"statistics are adapted to {BATCH_SIZE} images at once, which do not fit into the memory of "
                f'{self.forward.device}: ask for statistics "source", or use a device with more memory'
            ) from error

    def _outputs(self, forward: ForwardPass, stop: Stop | None) -> Tensor:
        def outputs(batch: Batch) -> Tensor:
            return forward(self.images.normalise(batch.images))

        with closing(self.streams.map(outputs, _until(stop, self.batches))) as found:
            return torch.cat(list(found))


def _until(stop: Stop | None, items: Iterable[Item]) -> Iterator[Item]:
    for item in items:
        if stop is not None and stop():
            raise EvaluationStopped
        yield item


@contextmanager
def _with_features(model: nn.Module) -> Iterator[tuple[nn.Module, nn.Linear]]:
    """``model`` with the inputs of its last layer before its logits, and that layer; the model's hook is removed."""
    layer = last_layer(model)
    both = _FeaturesAndLogits(model)
    hook = layer.register_forward_hook(both.take)
    try:
        yield both, layer
    finally:
        hook.remove()


class _FeaturesAndLogits(nn.Module):
    """Several threads may call it at once."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self._taken = threading.local()

    def take(self, _: nn.Module, inputs: tuple[Tensor, ...], outputs: Tensor) -> None:
        self._taken.calls.append((inputs[0], outputs))

    def forward(self, images: Tensor) -> Tensor:
        calls: list[tuple[Tensor, Tensor]] = []
        self._taken.calls = calls
        logits = self.model(images)
        if len(calls) != 1 or not _same(calls[0][1], logits):
            raise ValueError(
                "this architecture's logits are not what its last layer returns for one vector an image: "
                'ask for head "keep" and no temperature'
            )
        return torch.cat([calls[0][0].float(), logits.float()], dim=1)


def _same(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors are equal, where a NaN equals a NaN."""
    return one.shape == other.shape and torch.allclose(one, other, rtol=0, atol=0, equal_nan=True)
