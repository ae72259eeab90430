"""Square attack: random search without gradients (Andriushchenko et al., ECCV 2020; for l_1 as in AutoAttack)."""

import math
from dataclasses import dataclass, fields
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor, nn

from workers.attacks.apgd import Attacked
from workers.attacks.ball import per_image, project
from workers.attacks.model import correct, device_of
from workers.attacks.threat import Norm, Threat

FIRST_SHARE = 0.8
"""The share of an image that the first squares cover, as in AutoAttack."""

_HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
_PLACES = 5
_TILES = 5
_WORTH_DROPPING = 0.05
_TINY = 1e-12

Window = tuple[Tensor, Tensor, Tensor, Tensor]
"""Indices that pick one square from each image: (N, 1, 1, 1), (1, C, 1, 1), (N, 1, side, 1) and (N, 1, 1, side)."""


@torch.no_grad()
def square(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    threat: Threat,
    queries: int = 1000,
    *,
    seed: int = 0,
    indices: Tensor | None = None,
    batch_size: int = 512,
) -> Attacked:
    """Attack ``images`` (N, C, H, W), in [0, 1], with ``labels`` (N,) int64, by the model's answers alone.

    One run of ``queries`` proposals an image after a random start; a proposal is kept where it lowers the margin
    between the label's logit and the highest other. Put the model into eval mode first. The random draws depend on
    ``seed`` and on each image's entry in ``indices`` (N,), default 0 .. N - 1, and not on batches or device.
    Raises ValueError for a negative seed or fewer than one query.
    """
    if seed < 0 or queries < 1:
        raise ValueError(f"the seed must not be negative and queries at least 1, not {seed} and {queries}")
    indices = torch.arange(len(images)) if indices is None else indices
    device = device_of(model, images.device)
    logits = [model(batch.to(device)).to(images.device) for batch in torch.split(images, batch_size)]
    clean = correct(torch.cat(logits), labels)
    points, robust = images.clone(), clean.clone()
    for rows in torch.split(clean.nonzero().squeeze(1), batch_size) if clean.any() else ():
        draws = Draws.of(images[rows], queries, seed, indices[rows.cpu()])
        search = _Search(model, images[rows].to(device), labels[rows].to(device), threat, draws)
        search.run()
        points[rows] = torch.where(per_image(search.fooled, images), search.points, search.images).to(points)
        robust[rows] = ~search.fooled.to(robust.device)
    return Attacked(points, clean, robust)


@dataclass(frozen=True)
class Draws:
    """Random numbers in [0, 1) for M images (C, H, W), each image's from its own stream.

    ``stripes`` (M, C, W) and ``tiles`` (M, T, C + 1) are for the start, ``proposals`` (M, queries, C + 5) for the rest.
    """

    stripes: Tensor
    tiles: Tensor
    proposals: Tensor

    @classmethod
    def of(cls, images: Tensor, queries: int, seed: int, indices: Tensor) -> "Draws":
        """The draws for ``images`` (M, C, H, W), which have the places ``indices`` (M,) in their set."""
        count, channels, height, width = images.shape
        side = _tile(height, width)
        shapes = (
            (channels, width),
            ((height // side) * (width // side), channels + 1),
            (queries, channels + _PLACES),
        )
        drawn = [np.empty((count, *shape), dtype=np.float32) for shape in shapes]
        for row, index in enumerate(indices.tolist()):
            generator = np.random.Generator(np.random.Philox(key=[seed, index], counter=[0, 0, 0, 1]))
            for part in drawn:
                generator.random(dtype=np.float32, out=part[row])
        return cls(*map(torch.from_numpy, drawn))


@dataclass
class _Searching:
    """The images still searched, one row each; ``rows`` (M,) says where they stand in the search."""

    rows: Tensor
    images: Tensor
    labels: Tensor
    points: Tensor
    margins: Tensor
    fooled: Tensor
    proposals: Tensor

    def select(self, kept: Tensor) -> None:
        for field in fields(self):
            setattr(self, field.name, getattr(self, field.name)[kept])


class _Search:
    """A search for ``images`` (M, C, H, W): afterwards ``fooled`` (M,) and ``points`` (M, C, H, W)."""

    def __init__(self, model: nn.Module, images: Tensor, labels: Tensor, threat: Threat, draws: Draws) -> None:
        self.images = images
        self._model = model
        self._threat = threat
        points = first_points(images, threat, draws)
        margins, fooled = self._answers(points, labels)
        self.points, self.fooled = points.clone(), fooled.clone()
        rows = torch.arange(len(images), device=images.device)
        proposals = draws.proposals.to(images)
        self._live = _Searching(rows, images, labels, points, margins, fooled, proposals)

    def run(self) -> None:
        live = self._live
        queries = live.proposals.shape[1]
        for query in range(queries):
            if int(live.fooled.sum()) > _WORTH_DROPPING * len(live.rows) or live.fooled.all():
                self._write_back()
                live.select((~live.fooled).nonzero().squeeze(1))
            if not len(live.rows):
                break
            self._try(live.proposals[:, query], share_covered(query, queries))
        self._write_back()

    def _try(self, drawn: Tensor, share: float) -> None:
        live = self._live
        proposed = proposal(live.points, live.images, self._threat, drawn, share)
        margins, fooled = self._answers(proposed, live.labels)
        kept = ((margins < live.margins) | fooled) & ~live.fooled
        live.points = torch.where(per_image(kept, proposed), proposed, live.points)
        live.margins = torch.where(kept, margins, live.margins)
        live.fooled = live.fooled | fooled & kept

    def _answers(self, points: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Margins (M,) of the label's logit over the highest other, and which points (M,) are misclassified."""
        logits = self._model(points).float()
        right = logits.gather(1, labels[:, None]).squeeze(1)
        others = logits.scatter(1, labels[:, None], -torch.inf).amax(1)
        return right - others, ~correct(logits, labels)

    def _write_back(self) -> None:
        live = self._live
        self.points[live.rows] = live.points
        self.fooled[live.rows] = live.fooled


def share_covered(query: int, queries: int) -> float:
    """The share of an image that a square covers in proposal ``query`` of ``queries``: halved nine times."""
    at = int(query / queries * 10_000)
    return float(FIRST_SHARE / 2 ** sum(at > halving for halving in _HALVINGS))


def first_points(images: Tensor, threat: Threat, draws: Draws) -> Tensor:
    """Where the search for ``images`` (N, C, H, W) starts: vertical stripes in l_inf, otherwise a grid of tiles."""
    if threat.norm == "Linf":
        signs = _signs(draws.stripes.to(images))
        return (images + threat.eps * signs[:, :, None, :]).clamp_(0, 1)
    height, width = images.shape[2:]
    side = _tile(height, width)
    perturbations = torch.zeros_like(images)
    places = [(row, column) for row in range(height // side) for column in range(width // side)]
    for (row, column), drawn in zip(places, draws.tiles.to(images).unbind(1), strict=True):
        top, left = height % side // 2 + row * side, width % side // 2 + column * side
        bumps = _bumps(side, threat.norm, drawn[:, 0], drawn[:, 1:])
        perturbations[:, :, top : top + side, left : left + side] = bumps
    if threat.norm == "L2":
        perturbations *= per_image(threat.eps / _power(perturbations, 2).sum((1, 2, 3)).sqrt(), images)
    return project(images + perturbations, images, threat)


def proposal(points: Tensor, images: Tensor, threat: Threat, drawn: Tensor, share: float) -> Tensor:
    """Random changes of ``points`` (N, C, H, W) in one square each, within the threat's ball around ``images``.

    ``drawn`` (N, C + 5) in [0, 1) decides; the square covers ``share`` of the image. l_inf: the square moves to a
    corner of the ball (algorithm 2). l_2: what a second square holds goes to the first, as two bumps of opposite sign
    (algorithm 3). l_1 is as l_2 with the other norm, sparser bumps and an exact projection, as in AutoAttack.
    """
    height, width = images.shape[2:]
    side = round(math.sqrt(share * height * width))
    if threat.norm == "Linf":
        first = _window(images, min(max(side, 1), height, width), drawn[:, 0], drawn[:, 1])
        signs = _signs(drawn[:, _PLACES:])[:, :, None, None]
        changed = points.clone()
        changed[first] = (images[first] + threat.eps * signs).clamp_(0, 1)
        return changed
    side = min(max(side, 3) | 1, height, width)
    first = _window(images, side, drawn[:, 0], drawn[:, 1])
    second = _window(images, side, drawn[:, 2], drawn[:, 3])
    bumps = _bumps(side, threat.norm, drawn[:, 4], drawn[:, _PLACES:])
    return project(images + _moved(points - images, first, second, bumps, threat), images, threat)


def _moved(perturbations: Tensor, first: Window, second: Window, bumps: Tensor, threat: Threat) -> Tensor:
    """The norm of ``perturbations`` in both windows, and what is left of eps, spent in the first window."""
    power = 2 if threat.norm == "L2" else 1
    rest = perturbations.clone()
    rest[first] = 0
    rest[second] = 0
    taken = _power(perturbations - rest, power).sum((2, 3), keepdim=True)
    unused = threat.eps**power - _power(perturbations, power).sum((1, 2, 3), keepdim=True)
    channels = perturbations.shape[1]
    budget = (taken + unused.clamp_min(0) / channels) ** (1 / power)
    if threat.norm == "L1":
        budget = channels * budget  # as in AutoAttack; the projection cuts what is too much
    rest[first] = budget * _unit(bumps + _unit(perturbations[first], power), power)
    return rest


def _power(values: Tensor, power: int) -> Tensor:
    return values.abs() if power == 1 else values.square()


def _unit(squares: Tensor, power: int) -> Tensor:
    """``squares`` (N, C, side, side), each channel divided by its norm."""
    return squares / (_power(squares, power).sum((2, 3), keepdim=True) ** (1 / power) + _TINY)


def _window(images: Tensor, side: int, down: Tensor, right: Tensor) -> Window:
    """A square in each of ``images`` (N, C, H, W), placed by ``down`` and ``right`` (N,) in [0, 1)."""
    count, channels, height, width = images.shape
    places = torch.arange(side, device=images.device)
    rows = (down * (height - side + 1)).long()[:, None] + places
    columns = (right * (width - side + 1)).long()[:, None] + places
    index = torch.arange(count, device=images.device)[:, None, None, None]
    channel = torch.arange(channels, device=images.device)[None, :, None, None]
    return index, channel, rows[:, None, :, None], columns[:, None, None, :]


def _signs(drawn: Tensor) -> Tensor:
    return 1 - 2 * (drawn < 0.5).to(drawn)


def _bumps(side: int, norm: Norm, turn: Tensor, signs: Tensor) -> Tensor:
    """Two bumps (N, C, side, side) of opposite sign and norm 1, turned by ``turn`` (N,), signed by ``signs`` (N, C)."""
    upright = two_bumps(side, norm).to(signs)
    turned = torch.where(turn[:, None, None] < 0.5, upright, upright.T)
    return _signs(signs)[:, :, None, None] * turned[:, None]


@lru_cache(maxsize=64)
def two_bumps(side: int, norm: Norm) -> Tensor:
    """A bump over another of opposite sign (side, side), of norm 1 (equation 2; for l_1 with the fourth power)."""
    half = side // 2
    above, below = (_bump(height, side, norm) for height in (half, side - half))
    both = torch.cat([above, -below])
    power = 2 if norm == "L2" else 1
    return both / _power(both, power).sum() ** (1 / power)


def _bump(height: int, width: int, norm: Norm) -> Tensor:
    """A bump (height, width) of norm 1: rectangles around its middle, the k-th with a height of k^-2 (l_1: k^-4)."""
    rows = (torch.arange(height) - height // 2).abs()
    columns = (torch.arange(width) - width // 2).abs()
    ring = torch.maximum(rows[:, None], columns)
    rings = max(height, width) // 2 + 1
    heights = torch.arange(1, rings + 1, dtype=torch.float64) ** (-2.0 if norm == "L2" else -4.0)
    sums = heights.flip(0).cumsum(0).flip(0)
    bump = sums[ring]
    power = 2 if norm == "L2" else 1
    return bump / _power(bump, power).sum().clamp_min(_TINY) ** (1 / power)


def _tile(height: int, width: int) -> int:
    """The side of a tile of the first grid."""
    return max(min(height, width) // _TILES, 1)
