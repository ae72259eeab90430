"""BatchNorm statistics of the images that a soup is adapted to."""

from collections.abc import Iterable
from contextlib import ExitStack

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

PRIOR = 16
"""How many images the soup's own statistics weigh: the N of Schneider et al."""
BATCH_SIZE = 256
"""Images in one batch of the estimate, whatever an evaluator's batches are: statistics then depend on the images."""


def adapt_statistics(model: nn.Module, batches: Iterable[Tensor], images: int, *, prior: int = PRIOR) -> None:
    """Replace the running statistics of each BatchNorm in place by those of the n ``images`` in ``batches``.

    ``model`` is in evaluation mode; ``batches`` are its inputs, (images, C, H, W). Means and unbiased variances are
    averaged over batches, weighted by images, and mixed with the soup's own: (prior * own + n * new) / (prior + n).
    That is Schneider et al. 2020, "Improving robustness against common corruptions by covariate shift adaptation".

    Each layer normalises by such a mixture while the layers after it are estimated: they see what they will see. With
    ``prior`` 0 these are the batch's own statistics, and the result is that of ``torch.optim.swa_utils.update_bn`` for
    batches of equal size. Mixing the results of ``update_bn`` instead was far worse: NLL of the uniform soup of the
    shipped ResNets on 600 images of low contrast 0.57 instead of 0.46 with 100 images, 2.20 instead of 0.58 with 10.

    Raises ValueError if there is no BatchNorm, or a batch has one value in a channel.
    """
    share = images / (prior + images)
    estimates = [_Estimate(layer, share) for layer in _batch_norms(model)]
    with torch.no_grad(), ExitStack() as hooks:
        for estimate in estimates:
            hooks.callback(estimate.layer.register_forward_pre_hook(estimate.take).remove)
        for batch in batches:
            model(batch)
        for estimate in estimates:
            estimate.finish()


def _batch_norms(model: nn.Module) -> list[_BatchNorm]:
    layers = [module for module in model.modules() if isinstance(module, _BatchNorm) and module.track_running_stats]
    if not layers:
        raise ValueError('this architecture has no BatchNorm statistics to adapt: ask for statistics "source"')
    return layers


class _Estimate:
    """The statistics of one layer under way; ``share`` is what those of the images count."""

    def __init__(self, layer: _BatchNorm, share: float) -> None:
        self.layer = layer
        self._share = share
        self._mean, self._variance = torch.as_tensor(layer.running_mean), torch.as_tensor(layer.running_var)
        self._own_mean, self._own_variance = self._mean.clone(), self._variance.clone()
        self._mean_sum, self._variance_sum = torch.zeros_like(self._mean), torch.zeros_like(self._variance)
        self._seen = 0

    def take(self, _: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        """Before the layer's pass: take a batch (images, C, ...), by which it then normalises, mixed with its own."""
        batch = inputs[0].float()
        count = batch.numel() // batch.shape[1]
        if count < 2:
            raise ValueError('one value has no variance: adapt to 2 images or more, or ask for statistics "source"')
        variance, mean = torch.var_mean(batch, dim=[0, *range(2, batch.dim())], correction=0)
        self._mean_sum += len(batch) * mean
        self._variance_sum += len(batch) * count / (count - 1) * variance
        self._seen += len(batch)
        self._mix(mean, variance)

    def finish(self) -> None:
        """Set the layer's statistics to those of all batches."""
        if self._seen:
            self._mix(self._mean_sum / self._seen, self._variance_sum / self._seen)

    def _mix(self, mean: Tensor, variance: Tensor) -> None:
        self._mean.copy_(self._own_mean.lerp(mean, self._share))
        self._variance.copy_(self._own_variance.lerp(variance, self._share))
