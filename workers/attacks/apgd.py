"""Auto-PGD: random restarts, targets, larger radii first, batches (Croce and Hein, ICML 2020 and 2021)."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from workers.attacks.ascent import Ascent, AscentProblem, ascend
from workers.attacks.attack import FEWEST_CLASSES, Attack, Goal, LossName
from workers.attacks.ball import project, random_start
from workers.attacks.losses import LOSSES
from workers.attacks.model import correct, device_of
from workers.attacks.pgd import TRAINING_DENSITY
from workers.attacks.step_control import FIRST_DENSITY
from workers.attacks.threat import Threat

OnAttacked = Callable[[float], None]
"""Told the share, in [0, 1], of an attack that is done."""


@dataclass(frozen=True)
class Attacked:
    """An attack's outcome, one row an image, on the device of the images given.

    ``points`` (N, ...): misclassified where the attack succeeded, the image itself where not; with the goal
    ``best_loss`` the point of highest loss. ``clean`` (N,): right before the attack; ``robust`` (N,): right after.
    """

    points: Tensor
    clean: Tensor
    robust: Tensor


def apgd(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    attack: Attack,
    *,
    seed: int = 0,
    indices: Tensor | None = None,
    batch_size: int = 512,
    on_progress: OnAttacked | None = None,
) -> Attacked:
    """Attack ``images`` (N, ...), in [0, 1], with ``labels`` (N,) int64; the batches go to the model's device.

    Put the model into eval mode first. The random starts depend on ``seed`` and on each image's entry in
    ``indices`` (N,), its place in the set (default 0 .. N - 1), and not on batches or device.
    Raises ValueError for a negative seed, or where the model has too few classes for the loss.
    """
    if indices is None:
        indices = torch.arange(len(images))
    run = _Run(model, images, labels, attack, seed, indices, batch_size)
    return run.outcome(on_progress or (lambda _: None))


def apgd_for_training(model: nn.Module, images: Tensor, labels: Tensor, threat: Threat, steps: int = 10) -> Tensor:
    """The point (N, ...) of highest cross-entropy that one run from the clean ``images`` (N, ...) finds.

    As in fine-tuning to l_p robustness (Croce and Hein, "Adversarial robustness against multiple and single l_p
    threat models", ICML 2022). The caller decides on train or eval mode; the original attacks in eval mode.
    """
    images = images.contiguous()
    problem = AscentProblem(model, images, labels, labels, LOSSES["ce"], threat)
    return ascend(problem, images, steps, goal="best_loss", density=TRAINING_DENSITY).best


@dataclass
class _Run:
    """An attack on a whole set: which images are still right, and the points found so far."""

    model: nn.Module
    images: Tensor
    labels: Tensor
    attack: Attack
    seed: int
    indices: Tensor
    batch_size: int

    def __post_init__(self) -> None:
        """Score the clean images and order the wrong classes (N, C - 1) of each, likeliest first."""
        if self.seed < 0:
            raise ValueError(f"the seed must not be negative, as {self.seed} is")
        self.images = self.images.contiguous()
        self.device = device_of(self.model, self.images.device)
        logits = self.logits(self.images)
        _require_classes(logits.shape[1], self.attack.loss)
        self.clean = correct(logits, self.labels)
        self.robust = self.clean.clone()
        self.points = self.images.clone()
        self.highest = torch.full_like(logits[:, 0], -torch.inf)
        self.wrong_classes = logits.scatter(1, self.labels[:, None], -torch.inf).argsort(1, descending=True)[:, :-1]

    def outcome(self, on_progress: OnAttacked) -> Attacked:
        attack = self.attack
        runs = attack.restarts * (min(attack.targets, self.wrong_classes.shape[1]) if attack.targeted else 1)
        for draw in range(runs):
            batches = self.open_batches()
            for number, rows in enumerate(batches, start=1):
                self.take(rows, self.climb(rows, rank=draw // attack.restarts, draw=draw))
                on_progress((draw + number / len(batches)) / runs)
        if attack.goal == "best_loss":
            self.robust = self.clean & correct(self.logits(self.points), self.labels)
        return Attacked(self.points, self.clean, self.robust)

    def open_batches(self) -> tuple[Tensor, ...]:
        """The rows to attack next: those still right, or all of them where the loss counts."""
        best_loss = self.attack.goal == "best_loss"
        rows = (self.robust | best_loss).nonzero().squeeze(1)
        batches: tuple[Tensor, ...] = torch.split(rows, self.batch_size) if len(rows) else ()
        return batches

    def climb(self, rows: Tensor, rank: int, draw: int) -> Ascent:
        """One run on a batch, towards the wrong class of ``rank`` if the loss is targeted."""
        images, labels, targets = (
            whole[rows].to(self.device) for whole in (self.images, self.labels, self.wrong_classes[:, rank])
        )
        attack = self.attack
        density = None if attack.larger_radii else FIRST_DENSITY
        points = random_start(images, attack.stages[0][0], self.seed, self.indices[rows.cpu()], draw)
        for threat, steps in attack.stages:
            goal: Goal = attack.goal if threat == attack.threat else "best_loss"
            problem = AscentProblem(self.model, images, labels, targets, LOSSES[attack.loss], threat)
            ascent = ascend(problem, project(points, images, threat), steps, goal=goal, density=density)
            points = ascent.best
        return ascent

    def take(self, rows: Tensor, ascent: Ascent) -> None:
        """Keep what a run on ``rows`` found, if it is better than what there was."""
        highest = ascent.highest.to(self.highest)
        best_loss = self.attack.goal == "best_loss"
        better = highest > self.highest[rows] if best_loss else ascent.fooled.to(self.robust.device)
        found = (ascent.best if best_loss else ascent.adversarial).to(self.points)
        self.points[rows[better]] = found[better]
        self.highest[rows[better]] = highest[better]
        self.robust[rows[better]] = False

    @torch.no_grad()
    def logits(self, images: Tensor) -> Tensor:
        batches = [self.model(batch.to(self.device)) for batch in torch.split(images, self.batch_size)]
        return torch.cat(batches).to(images.device)


def _require_classes(classes: int, loss: LossName) -> None:
    fewest = FEWEST_CLASSES[loss]
    if classes < fewest:
        raise ValueError(f"the loss {loss!r} needs {fewest} classes and the model has {classes}: use ce")
