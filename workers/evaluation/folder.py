"""Evaluation of a model as it is stored, loaded as any user of timm loads it."""

from collections.abc import Callable
from pathlib import Path

import timm
import torch
from torch import nn

from search.evaluation import SetOutcome
from workers.evaluation.batches import ResidentImages
from workers.evaluation.evaluator import clean_reader, run
from workers.evaluation.forward import ForwardPass
from workers.evaluation.preprocess import DataConfig
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


def evaluate_model(
    model: nn.Module, images: EncodedSet, *, batch_size: int = 256, on_batch: OnBatch | None = None
) -> SetOutcome:
    """Evaluate a loaded model in float32 on one set, where the model is, with its logits.

    Raises ValueError when the set does not fit the model.
    """
    device = next(model.parameters()).device
    resident = ResidentImages(
        [images], DataConfig.of_model(model), device, num_classes=count_classes(model), batch_size=batch_size
    )
    tally = Tally(len(images), is_labelled=images.accepted is not None, keep_logits=True)
    forward = ForwardPass(model.to(memory_format=torch.channels_last), device, "float32", batch_size)
    run(clean_reader(forward), resident, resident.batches, [tally], on_batch=on_batch)
    return tally.result()
