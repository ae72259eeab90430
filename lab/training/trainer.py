"""Training of one network."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import torch
from timm.optim import create_optimizer_v2
from timm.utils import ModelEmaV3
from torch import Tensor, nn
from torch.nn import functional

from lab.training.adversarial_training import AdversarialTraining
from lab.training.batches import seeded_generator
from lab.training.checkpoint import load_checkpoint, save_checkpoint
from lab.training.images import TrainingImages
from lab.training.network import diverged, not_finite
from lab.training.precision import MOST_SKIPPED, autocast, gradient_scaler, update_scale
from lab.training.progress import OnProgress, TrainingProgress
from lab.training.recipe import ModelRecipe, OptimizerRecipe, TrainingRecipe, recipe_digest
from lab.training.shard import WHOLE, Shard
from workers.attacks.model import NormalizedModel


class Trainer:
    """Trains ``network`` on ``images`` as ``recipe`` says, resuming from ``checkpoint`` if it exists.

    Every random choice is a function of (seed, step), so a run that is killed and restarted continues as if it had
    never been interrupted. With one thread the result is the same bit for bit; with several, or on a GPU, sums may be
    rounded differently.

    ``origin`` identifies the weights that ``network`` starts from, if recipe and images do not.

    If several processes train together, each has its ``shard`` of every batch, and the first one saves. They see the
    same images in the same order as one process, and step by the mean of their gradients. As usual in data-parallel
    training, BatchNorm takes the statistics of a share, and the first process's running averages are kept.
    """

    def __init__(
        self,
        network: nn.Module,
        model_recipe: ModelRecipe,
        images: TrainingImages,
        recipe: TrainingRecipe,
        *,
        checkpoint: Path | None = None,
        checkpoint_seconds: float = 30.0,
        device: str = "cpu",
        origin: str = "",
        shard: Shard = WHOLE,
    ) -> None:
        self._recipe = recipe
        self._device = torch.device(device)
        self._shard = shard
        self._network = network.to(self._device)
        self._model = NormalizedModel(network, model_recipe.mean, model_recipe.std).to(self._device)
        self._parallel = shard.parallel(self._model)
        self._optimizer = _optimizer(network, recipe)
        self._scaler = gradient_scaler(self._device, recipe.precision)
        self._skipped = 0
        self._ema = ModelEmaV3(network, decay=recipe.ema_decay, use_warmup=True) if recipe.ema_decay else None
        self._adversary = AdversarialTraining(recipe.adversary, shard) if recipe.adversary else None
        self._batches = images.batches(recipe, shard)
        steps = max(1, math.ceil(recipe.epochs * len(self._batches)))
        self._steps = min(steps, recipe.max_steps or steps)
        self._checkpoint = checkpoint
        self._checkpoint_seconds = checkpoint_seconds
        self._saved = 0.0
        self._digest = f"{recipe_digest(model_recipe, recipe)}:{images.digest()}{origin}" if checkpoint else ""

    def run(self, on_progress: OnProgress | None = None) -> nn.Module:
        """Train to the end and return the network in eval mode: the average one if the recipe asks for it.

        Raises ValueError if the training diverges, in all processes at the same step: at once for a loss that is not
        finite, in any precision, and for the 30th step in a row whose gradients overflow float16, or all steps of a
        shorter training; when a checkpoint is due and at the end, for the network's parameters and buffers or their
        moving averages. Whatever is saved or returned is finite.
        """
        first = self._resume()
        started = self._saved = time.monotonic()
        for step in range(first, self._steps):
            loss, accuracy, is_due = self._step(step)
            if not math.isfinite(loss):
                raise diverged(f"its loss is {loss} at step {step + 1} of {self._steps}")
            if self._skipped >= min(MOST_SKIPPED, self._steps):
                raise diverged(f"its gradients overflow float16 up to step {step + 1}, which bfloat16 might not")
            if on_progress:
                rate = (step + 1 - first) * self._recipe.batch_size / (time.monotonic() - started)
                on_progress(TrainingProgress(step + 1, self._steps, loss, accuracy, self._rate(step), rate))
            if is_due:
                self._save(step + 1)
        self._check(self._steps)
        return self._trained().eval()

    def _trained(self) -> nn.Module:
        """The network that becomes the ingredient."""
        network: nn.Module = self._ema.module if self._ema else self._network
        return network

    def _check(self, step: int) -> None:
        """Raise ValueError, in all processes, if the state after ``step`` steps is not finite in one of them."""
        name = not_finite(self._network) or not_finite(self._trained())
        if self._shard.mean(float(name is None), device=self._device) != (1.0,):
            raise diverged(f"its {name or 'state in another worker'} is not finite after step {step} of {self._steps}")

    def _step(self, step: int) -> tuple[float, float, bool]:
        """The loss and accuracy of the whole batch, and whether a checkpoint is due by the first process's clock."""
        generator = seeded_generator(self._recipe.seed, step, stream=1)
        torch.manual_seed(self._shard.seed(int(torch.randint(2**62, (1,), generator=generator))))
        images, labels = self._batch(step, generator)
        if self._adversary:
            self._model.eval()
            images = self._adversary.attack(self._model, images, labels, step / self._steps, generator)
        self._parallel.train()
        with autocast(self._device, self._recipe.precision):
            logits = self._parallel(images)
        loss = functional.cross_entropy(logits.float(), labels)
        self._update(loss, step)
        accuracy = float((logits.argmax(1) == labels).float().mean())
        is_due = self._shard.is_first and time.monotonic() - self._saved >= self._checkpoint_seconds
        told = self._shard.mean(float(loss.detach()), accuracy, float(is_due), device=self._device)
        return told[0], told[1], told[2] > 0

    def _batch(self, step: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        images, labels = (tensor.to(self._device, non_blocking=True) for tensor in self._batches.batch(step, generator))
        return (images.float() / 255 if images.dtype == torch.uint8 else images), labels

    def _update(self, loss: Tensor, step: int) -> None:
        for group in self._optimizer.param_groups:
            group["lr"] = self._rate(step)
        self._optimizer.zero_grad()
        self._scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        if self._recipe.optimizer.clip_norm:
            self._scaler.unscale_(self._optimizer)
            nn.utils.clip_grad_norm_(self._network.parameters(), self._recipe.optimizer.clip_norm)
        self._scaler.step(self._optimizer)
        self._skipped = self._skipped + 1 if update_scale(self._scaler) else 0
        if self._ema:
            self._ema.update(self._network, step=step)

    def _rate(self, step: int) -> float:
        return learning_rate(self._recipe.optimizer, step / self._steps)

    def _save(self, step: int) -> None:
        """Save, in the first process, a state that all processes found finite; raise ValueError in all if it is not."""
        self._check(step)
        if self._checkpoint and self._shard.is_first:
            save_checkpoint(self._checkpoint, self._digest, self._state(step))
        self._saved = time.monotonic()

    def _state(self, step: int) -> dict[str, Any]:
        return {
            "step": step,
            "network": self._network.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "scaler": self._scaler.state_dict(),
            "ema": self._ema.state_dict() if self._ema else None,
            "robust_accuracy": self._adversary.robust_accuracy if self._adversary else None,
        }

    def _resume(self) -> int:
        step = self._load()
        if self._shard.mean(step, device=self._device) != (step,):
            raise ValueError("the workers see different checkpoints: train into a folder on storage that all share")
        return step

    def _load(self) -> int:
        state = load_checkpoint(self._checkpoint, self._digest) if self._checkpoint else None
        if state is None:
            return 0
        self._network.load_state_dict(state["network"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._scaler.load_state_dict(state["scaler"])
        if self._ema:
            self._ema.load_state_dict(state["ema"])
        if self._adversary:
            self._adversary.robust_accuracy = list(state["robust_accuracy"])
        return int(state["step"])


def _optimizer(network: nn.Module, recipe: TrainingRecipe) -> torch.optim.Optimizer:
    settings = recipe.optimizer
    optimizer: torch.optim.Optimizer = create_optimizer_v2(
        network,
        opt=settings.name,
        lr=settings.learning_rate,
        weight_decay=settings.weight_decay,
        momentum=settings.momentum,
    )
    return optimizer


def learning_rate(recipe: OptimizerRecipe, progress: float) -> float:
    """The learning rate at ``progress`` in [0, 1).

    ``one_cycle`` rises linearly over the warm-up and falls linearly to zero; ``cosine`` falls along a cosine after
    the warm-up; ``thirds`` divides by ten after each third (fine-tuning in Croce and Hein, ICML 2022).
    """
    if recipe.schedule == "thirds":
        return recipe.learning_rate * 10.0 ** -int(3 * progress)
    if progress < recipe.warmup:
        return recipe.learning_rate * max(progress / recipe.warmup, 1e-3)
    after = (progress - recipe.warmup) / (1 - recipe.warmup)
    factor = 1 - after if recipe.schedule == "one_cycle" else (1 + math.cos(math.pi * after)) / 2
    return recipe.learning_rate * factor
