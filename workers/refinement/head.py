"""The last layer, refitted to labels without going far from the soup's own."""

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn

STRENGTHS = tuple(0.01 * 4.0**place for place in range(6))
"""Strengths of the penalty that cross-validation chooses among, from 0.01 to about 10."""
TOLERANCE = 1e-7
"""How far a fit may be from the optimum, in nats over all images together."""
_MOST_STEPS = 1000
_SLOPE = 1e-4


def last_layer(model: nn.Module) -> nn.Linear:
    """What timm calls the classifier of ``model``. Raises ValueError unless it is one linear layer with a bias."""
    layer = model.get_classifier()  # type: ignore[operator]
    if not isinstance(layer, nn.Linear) or layer.bias is None:
        raise ValueError(
            f"the last layer of this architecture is {type(layer).__name__}, not one linear layer with a bias: "
            'ask for head "keep" and no temperature'
        )
    return layer


class HeadRegression:
    """Multinomial logistic regression on the features of N images, with a ridge towards the layer that is there.

    ``features`` (N, d) are the layer's inputs, ``logits`` (N, classes) its outputs, ``accepted`` bool (N, classes) the
    right classes of each image. A change D of weights and bias together costs, over the training images,

        sum of -log(probability of the accepted classes) + strength * scale / 2 * ||D||^2

    where ``scale`` is the mean of ||(features, 1)||^2: a strength means the same whatever the features' unit. The sum
    grows with the images, so more images move the layer further.

    With one accepted class an image this is strictly convex, and Newton's method finds its only optimum to
    ``TOLERANCE``: steps by conjugate gradients, shortened until the cost falls enough (Nocedal and Wright, Numerical
    Optimization, algorithm 7.1). With several, the cost falls in each step, to a stationary point near the layer that
    is there. All is float64 in the basis of the features' singular vectors, where there are no more coordinates than
    images. Problems solved together do not touch each other's results.
    """

    def __init__(self, features: Tensor, logits: Tensor, accepted: Tensor) -> None:
        inputs = torch.cat([features, features.new_ones(len(features), 1)], dim=1).double()
        left, self._sizes, self._basis = torch.linalg.svd(inputs, full_matrices=False)
        self._inputs = left * self._sizes
        self._logits = logits.double()
        self._accepted = accepted
        self.scale = float(inputs.square().sum(dim=1).mean())

    def path(self, training: Tensor, strengths: Sequence[float]) -> Iterator[tuple[float, Tensor]]:
        """The strengths, greatest first, each with the changes fitted to B choices of training images.

        ``training`` is bool (N, B). Changes are float64 (rank, B, classes), for ``logits`` and ``layer``. Each fit
        begins at the one before.
        """
        mask = training.to(self._logits)
        changes = mask.new_zeros(len(self._sizes), mask.shape[1], self._logits.shape[1])
        for strength in sorted(strengths, reverse=True):
            changes = self._fit(changes, mask, strength * self.scale)
            yield strength, changes

    def logits(self, changes: Tensor) -> Tensor:
        """Logits of all images after each of B changes, float64 (N, B, classes)."""
        return self._logits[:, None] + _times(self._inputs, changes)

    def layer(self, changes: Tensor) -> tuple[Tensor, Tensor]:
        """What B changes add to the layer's weight, float64 (B, classes, d), and to its bias, (B, classes)."""
        both = _times(self._basis.t(), changes).permute(1, 2, 0)
        return both[:, :, :-1], both[:, :, -1]

    def _cost(self, changes: Tensor, mask: Tensor, ridge: float) -> tuple[Tensor, Tensor, Tensor]:
        """The cost (B,), its gradient (rank, B, classes), and the probabilities (N, B, classes)."""
        logits = self.logits(changes)
        right = logits.masked_fill(~self._accepted[:, None], -torch.inf)
        norm, norm_right = logits.logsumexp(dim=2, keepdim=True), right.logsumexp(dim=2, keepdim=True)
        probabilities = (logits - norm).exp()
        cost = ((norm - norm_right).squeeze(2) * mask).sum(dim=0) + ridge / 2 * _dot(changes, changes)
        residuals = (probabilities - (right - norm_right).exp()) * mask[:, :, None]
        return cost, _times(self._inputs.t(), residuals) + ridge * changes, probabilities

    def _fit(self, changes: Tensor, mask: Tensor, ridge: float) -> Tensor:
        cost, gradient, probabilities = self._cost(changes, mask, ridge)
        for _ in range(_MOST_STEPS):
            # The cost is strongly convex, at least by the ridge: this bounds how far it is above its least.
            going = _dot(gradient, gradient) > 2 * ridge * TOLERANCE
            if not going.any():
                break
            step = self._newton_step(gradient, probabilities * mask[:, :, None], ridge, going)
            slope, length = _dot(gradient, step), torch.ones_like(cost)
            while True:
                tried = changes + length[:, None] * step
                tried_cost, gradient, probabilities = self._cost(tried, mask, ridge)
                too_long = tried_cost > cost + _SLOPE * length * slope + 1e-12 * cost.abs()
                if not too_long.any():
                    break
                length = torch.where(too_long, length / 2, length)
            changes, cost = tried, tried_cost
        return changes

    def _newton_step(self, gradient: Tensor, probabilities: Tensor, ridge: float, going: Tensor) -> Tensor:
        """``probabilities`` are zero for images that are not for training."""

        def curvature(direction: Tensor) -> Tensor:
            moved = probabilities * _times(self._inputs, direction)
            moved -= probabilities * moved.sum(dim=2, keepdim=True)
            return _times(self._inputs.t(), moved) + ridge * direction

        spread = (probabilities * (1 - probabilities)).mean(dim=0)
        diagonal = self._sizes.square()[:, None, None] * spread + ridge
        enough = _dot(gradient, gradient).clamp(min=ridge * TOLERANCE) / 100
        return _conjugate_gradients(curvature, -gradient, diagonal, going, enough)


def _conjugate_gradients(
    matrix: Callable[[Tensor], Tensor], right: Tensor, diagonal: Tensor, going: Tensor, enough: Tensor
) -> Tensor:
    """Solve B positive definite systems until the squared residuals are ``enough``; zero where not ``going``."""
    solution, residual = torch.zeros_like(right), right
    scaled = residual / diagonal
    direction, product = scaled, _dot(residual, scaled)
    for _ in range(right[:, 0].numel()):
        if not going.any():
            break
        image = matrix(direction)
        length = torch.where(going, product / _dot(direction, image), 0.0)[:, None]
        solution = solution + length * direction
        residual = residual - length * image
        going = going & (_dot(residual, residual) > enough)
        scaled = residual / diagonal
        product, before = _dot(residual, scaled), product
        direction = scaled + torch.where(going, product / before, 0.0)[:, None] * direction
    return solution


def _times(matrix: Tensor, problems: Tensor) -> Tensor:
    """``matrix`` (M, R) by each of B problems in (R, B, classes), as one product."""
    return (matrix @ problems.flatten(1)).view(-1, *problems.shape[1:])


def _dot(one: Tensor, other: Tensor) -> Tensor:
    """The inner product of each problem's changes, (B,)."""
    return (one * other).sum(dim=(0, 2))
