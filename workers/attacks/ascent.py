"""One run of APGD from given starts (Croce and Hein, ICML 2020, algorithm 1; for l_1 "Mind the box", ICML 2021)."""

from dataclasses import dataclass, fields
from functools import partial

import torch
from torch import Tensor, nn

from workers.attacks.attack import Goal
from workers.attacks.ball import ascent_direction, per_image, project
from workers.attacks.losses import Loss, loss_gradient, loss_only
from workers.attacks.model import correct
from workers.attacks.step_control import HalvingControl, SparsityControl, StepControl
from workers.attacks.threat import Threat

MOMENTUM = 0.75
_WORTH_DROPPING = 0.05


@dataclass(frozen=True)
class AscentProblem:
    """What a run attacks: ``images`` (N, ...) in [0, 1], ``labels`` and ``targets`` (N,), with a loss, in a threat."""

    model: nn.Module
    images: Tensor
    labels: Tensor
    targets: Tensor
    loss: Loss
    threat: Threat


@dataclass(frozen=True)
class Ascent:
    """How a run ended, one row an image.

    ``best`` (N, ...) are the points of highest loss and ``highest`` (N,) their losses; where ``fooled`` (N,),
    ``adversarial`` (N, ...) is a misclassified point, elsewhere the start.
    """

    best: Tensor
    highest: Tensor
    adversarial: Tensor
    fooled: Tensor


def ascend(
    problem: AscentProblem, start: Tensor, steps: int, *, goal: Goal = "first_success", density: float | None = None
) -> Ascent:
    """Climb ``steps`` steps from ``start`` (N, ...), which must be feasible and counts as a point.

    ``first_success`` keeps the first misclassified point of an image and leaves the image alone from then on,
    ``latest_success`` climbs on and keeps the latest; ``best_loss`` follows the loss alone and reports no success.
    ``density`` is the fraction of entries that l_1 steps move at first; None takes it from the start.
    """
    climb = _Climb(problem, start, goal)
    control = _control(problem, start, steps, climb.live.highest, density)
    for step in range(1, steps + 1):
        if goal == "first_success":
            climb.drop_fooled(control)
        if not len(climb.live.rows):
            break
        climb.step(control, momentum=1.0 if step == 1 else MOMENTUM)
        control.observe(climb.evaluate(last=step == steps))
        if step < steps and control.due(step):
            climb.look_back(control)
    return climb.finish()


def _control(problem: AscentProblem, start: Tensor, steps: int, highest: Tensor, density: float | None) -> StepControl:
    if problem.threat.norm == "L1":
        return SparsityControl(problem.threat, steps, start - problem.images, density)
    return HalvingControl(problem.threat, steps, highest)


@dataclass
class _Live:
    """The images still climbing, one row each; ``rows`` (M,) says where they stand in the problem."""

    rows: Tensor
    images: Tensor
    labels: Tensor
    targets: Tensor
    points: Tensor
    previous: Tensor
    losses: Tensor
    gradient: Tensor
    best: Tensor
    highest: Tensor
    best_gradient: Tensor
    fooled: Tensor

    def select(self, kept: Tensor) -> None:
        for field in fields(self):
            setattr(self, field.name, getattr(self, field.name)[kept])


class _Climb:
    """A run under way: the live images, and what was found for all of them."""

    def __init__(self, problem: AscentProblem, start: Tensor, goal: Goal) -> None:
        self._problem = problem
        self._goal = goal
        loss = partial(problem.loss, labels=problem.labels, targets=problem.targets)
        logits, losses, gradient = loss_gradient(problem.model, start, loss)
        fooled = ~correct(logits, problem.labels) & (goal != "best_loss")
        self._found = Ascent(start.clone(), losses.clone(), start.clone(), fooled.clone())
        self.live = _Live(
            rows=torch.arange(len(start), device=start.device),
            images=problem.images,
            labels=problem.labels,
            targets=problem.targets,
            points=start,
            previous=start,
            losses=losses,
            gradient=gradient,
            best=start.clone(),
            highest=losses,
            best_gradient=gradient.clone(),
            fooled=fooled,
        )

    def drop_fooled(self, control: StepControl) -> None:
        """Leave the misclassified images alone, once they are enough to pay for moving the others together."""
        live = self.live
        if int(live.fooled.sum()) <= _WORTH_DROPPING * len(live.rows):
            return
        self._write_back()
        kept = (~live.fooled).nonzero().squeeze(1)
        live.select(kept)
        control.select(kept)

    def step(self, control: StepControl, momentum: float) -> None:
        live, threat = self.live, self._problem.threat
        direction = ascent_direction(live.gradient, threat, control.density)
        points = torch.addcmul(live.points, per_image(control.size, direction), direction)
        points = project(points, live.images, threat)
        if threat.norm != "L1":
            points = torch.lerp(live.points, points, momentum)
            points.add_(live.points - live.previous, alpha=1 - momentum)
            points = project(points, live.images, threat)
        live.previous, live.points = live.points, points

    def evaluate(self, *, last: bool) -> Tensor:
        """Score the points; returns which of them (M,) have a higher loss than the points before."""
        live, before = self.live, self.live.losses
        loss = partial(self._problem.loss, labels=live.labels, targets=live.targets)
        if last:
            logits, live.losses = loss_only(self._problem.model, live.points, loss)
        else:
            logits, live.losses, live.gradient = loss_gradient(self._problem.model, live.points, loss)
        self._note_best()
        if self._goal != "best_loss":
            self._note_fooled(~correct(logits, live.labels))
        return live.losses > before

    def look_back(self, control: StepControl) -> None:
        live = self.live
        restarted = per_image(control.checkpoint(live.highest, live.best - live.images), live.points)
        live.points = torch.where(restarted, live.best, live.points)
        live.gradient = torch.where(restarted, live.best_gradient, live.gradient)

    def finish(self) -> Ascent:
        self._write_back()
        return self._found

    def _note_best(self) -> None:
        live = self.live
        higher = live.losses > live.highest
        rows = higher.nonzero().squeeze(1)
        live.best[rows] = live.points[rows]
        live.best_gradient[rows] = live.gradient[rows]
        live.highest = torch.where(higher, live.losses, live.highest)

    def _note_fooled(self, wrong: Tensor) -> None:
        live, found = self.live, self._found
        noted = wrong if self._goal == "latest_success" else wrong & ~live.fooled
        rows = noted.nonzero().squeeze(1)
        found.adversarial[live.rows[rows]] = live.points[rows]
        found.fooled[live.rows[rows]] = True
        live.fooled = live.fooled | wrong

    def _write_back(self) -> None:
        live, found = self.live, self._found
        found.best[live.rows] = live.best
        found.highest[live.rows] = live.highest
