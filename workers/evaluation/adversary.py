"""Attacks on the model that is resident, on the images that are."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from search.evaluation import Passes
from workers.attacks.apgd import apgd
from workers.attacks.attack import Attack
from workers.attacks.model import exact_arithmetic
from workers.evaluation.batches import Batch, ResidentImages
from workers.evaluation.errors import EvaluationMemoryError, EvaluationStopped, Stop
from workers.evaluation.forward import is_out_of_memory
from workers.evaluation.labels import LabelSpace

Flags = NDArray[np.bool_]


class Adversary:
    """Attacks ``model`` on ``images`` by every one of ``attacks``, from random starts that depend on ``seed``.

    ``model`` takes normalised inputs, as a forward pass does. The start of an image depends on its place in its set.
    Images go in their batches, in parts of ``part_size`` that halve when memory runs out.

    Raises ValueError when an image accepts several labels: there is no one class to lead it away from.
    """

    def __init__(
        self, model: nn.Module, images: ResidentImages, attacks: Sequence[Attack], *, seed: int, part_size: int
    ) -> None:
        if not all(batch.accepted is not None and bool((batch.accepted.sum(1) == 1).all()) for batch in images):
            raise ValueError("attacks need exactly one right class per image: this set has images with several or none")
        self.attacks = tuple(attacks)
        self.part_size = part_size
        self._model = model
        self._images = images
        self._seed = seed

    def robust(
        self, batches: Sequence[Batch], stop: Stop | None = None, order: Sequence[int] = ()
    ) -> Iterator[tuple[int, int, Flags, Passes]]:
        """Attack ``batches``, all by one attack before the next, in ``order`` or else that of the attacks.

        Yields for each the places of the attack and of the batch's set, which images of the batch stay right, and the
        passes that this took. ``stop`` is asked before each pass. Raises EvaluationStopped, EvaluationMemoryError, and
        the ValueError of ``apgd`` when a loss needs more classes than a set has.
        """
        for index in order or range(len(self.attacks)):
            for batch in batches:
                model = _Probe(self._model, self._images, batch.space, stop)
                flags = self._attack(model, batch, self.attacks[index])
                yield index, batch.set_index, flags, Passes(model.forward_passes, model.backward_passes)

    def _attack(self, model: nn.Module, batch: Batch, attack: Attack) -> Flags:
        images = batch.images.to(torch.float32).div_(255)
        labels = torch.as_tensor(batch.accepted).to(torch.int64).argmax(dim=1)
        while True:
            try:
                with exact_arithmetic():
                    outcome = apgd(
                        model,
                        images,
                        labels,
                        attack,
                        seed=self._seed,
                        indices=batch.rows,
                        batch_size=self.part_size,
                    )
                robust: Flags = outcome.robust.cpu().numpy()
                return robust
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                self._halve(len(images), error)

    def _halve(self, images: int, error: Exception) -> None:
        size = min(self.part_size, images)
        if size <= 1:
            raise EvaluationMemoryError(
                "not even one image can be attacked in the memory there is beside the ingredients: use fewer "
                "ingredients, or a device with more memory"
            ) from error
        self.part_size = size // 2
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


class _Probe(nn.Module):
    """The model as an attack sees it: pixels in [0, 1] in, a score for each column of ``space`` out; counts passes."""

    def __init__(self, model: nn.Module, images: ResidentImages, space: LabelSpace, stop: Stop | None) -> None:
        super().__init__()
        self.model = model
        self.forward_passes = 0
        self.backward_passes = 0
        self._normalise = images.normalise
        self._space = space
        self._stop = stop

    def forward(self, images: Tensor) -> Tensor:
        if self._stop is not None and self._stop():
            raise EvaluationStopped
        self.forward_passes += len(images)
        self.backward_passes += len(images) if images.requires_grad else 0
        inputs = (images - self._normalise.mean) / self._normalise.std
        logits: Tensor = self.model(inputs.contiguous(memory_format=torch.channels_last))
        return self._space.attack_scores(logits)
