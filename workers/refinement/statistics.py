"""BatchNorm statistics of the images that a soup is adapted to."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

PRIOR = 16
"""How many images the soup's own statistics weigh: N of Schneider et al., there between 8 and 128."""
BATCH_SIZE = 256
"""Images in one batch of the estimate, whatever an evaluator's batches are: the statistics then depend on neither."""


def batch_norms(model: nn.Module) -> list[_BatchNorm]:
    """The BatchNorm layers of ``model`` that have running statistics. Raises ValueError if there are none."""
    layers = [module for module in model.modules() if isinstance(module, _BatchNorm) and module.track_running_stats]
    if not layers:
        raise ValueError('this architecture has no BatchNorm statistics to adapt: ask for statistics "source"')
    return layers


def adapt_statistics(model: nn.Module, batches: Iterable[Tensor], *, prior: int = PRIOR) -> int:
    """Replace the running statistics of each BatchNorm in place by those of the images; returns their number n.

    ``batches`` are inputs of the model, (images, C, H, W). As ``torch.optim.swa_utils.update_bn`` does, each layer's
    means and unbiased variances are taken while BatchNorm layers normalise by their batch, and averaged over batches,
    weighted by images. All else is in evaluation mode. The result is (prior * own + n * new) / (prior + n), for means
    and variances alike: Schneider et al. 2020, "Improving robustness against common corruptions by covariate shift
    adaptation", section 3. Integer buffers stay as they are.

    Raises ValueError if there is no BatchNorm, or a batch has one image.
    """
    layers = batch_norms(model)
    buffers = [buffer for layer in layers for buffer in (layer.running_mean, layer.running_var) if buffer is not None]
    own = [buffer.clone() for buffer in buffers]
    seen = 0
    with torch.no_grad(), _estimating(layers):
        for batch in batches:
            if len(batch) < 2:
                raise ValueError('statistics are those of 2 images or more: add images, or ask for statistics "source"')
            seen += len(batch)
            for layer in layers:
                layer.momentum = len(batch) / seen
            model(batch)
        share = seen / (prior + seen) if seen else 0.0
        for buffer, before in zip(buffers, own, strict=True):
            buffer.mul_(share).add_(before, alpha=1 - share)
    return seen


@contextmanager
def _estimating(layers: Sequence[_BatchNorm]) -> Iterator[None]:
    """These layers alone in training mode; momentum and counters are restored."""
    before = [(layer.training, layer.momentum, layer.num_batches_tracked) for layer in layers]
    try:
        for layer in layers:
            layer.training = True
            layer.num_batches_tracked = None
        yield
    finally:
        for layer, (training, momentum, tracked) in zip(layers, before, strict=True):
            layer.training, layer.momentum, layer.num_batches_tracked = training, momentum, tracked
