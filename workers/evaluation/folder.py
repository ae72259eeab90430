"""Evaluation of a model as it is stored, loaded as any user of timm loads it."""

from collections.abc import Callable, Sequence
from pathlib import Path

import timm
import torch
from torch import nn

from workers.evaluation.batches import ResidentImages
from workers.evaluation.evaluator import run
from workers.evaluation.forward import ForwardPass
from workers.evaluation.preprocess import DataConfig
from workers.evaluation.scores import ImageDetail
from workers.evaluation.sets import EncodedSet
from workers.evaluation.tally import Tally
from workers.soups.model import count_classes
from workers.soups.verify import verify_folder

OnBatch = Callable[[int], None]
"""Told the number of images done so far."""


def load_folder(folder: Path, device: torch.device | str = "cpu") -> nn.Module:
    """``timm.create_model("local-dir:...", pretrained=True)`` in evaluation mode, after ``verify_folder``.

    Raises IngredientError.
    """
    verify_folder(folder)
    model: nn.Module = timm.create_model(f"local-dir:{folder.resolve()}", pretrained=True)
    return model.eval().requires_grad_(requires_grad=False).to(device)


def score_model(
    model: nn.Module, images: EncodedSet, *, batch_size: int = 256, on_batch: OnBatch | None = None
) -> ImageDetail:
    """Score a loaded model in float32 on one set, where the model is: each image's result, with its logits.

    Raises ValueError when the set does not fit the model.
    """
    device = next(model.parameters()).device
    resident = ResidentImages(
        [images], DataConfig.of_model(model), device, num_classes=count_classes(model), batch_size=batch_size
    )
    tally = Tally(len(images), keep_logits=True)
    forward = ForwardPass(model.to(memory_format=torch.channels_last), device, "float32", batch_size)
    run(forward, resident, [tally], end_early=_telling(on_batch) if on_batch is not None else None)
    detail = tally.result(detail=True).detail
    if detail is None:
        raise ValueError("the set was scored without each image's result")
    return detail


def _telling(on_batch: OnBatch) -> Callable[[Sequence[Tally]], bool]:
    def tell(tallies: Sequence[Tally]) -> bool:
        on_batch(sum(tally.running.seen for tally in tallies))
        return False

    return tell
