"""Projections are held against float64 references that solve the same problem in another way."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from workers.attacks.ball import ascent_direction, image_noise, lp_norm, project, project_ball, random_start
from workers.attacks.threat import NORMS, Norm, Threat


@st.composite
def displaced_images(draw: st.DrawFn) -> tuple[Tensor, Tensor]:
    """Images (N, 1, H, W) in [0, 1] and points around them, some far outside the box, some coordinates untouched."""
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    shape = (draw(st.integers(1, 4)), 1, draw(st.integers(1, 6)), draw(st.integers(1, 6)))
    images = torch.rand(shape, generator=generator)
    images = torch.where(torch.rand(shape, generator=generator) < 0.3, images.round(), images)
    moves = draw(st.sampled_from([0.01, 0.3, 3.0])) * torch.randn(shape, generator=generator)
    moves = torch.where(torch.rand(shape, generator=generator) < 0.2, 0.0, moves)
    return images, images + moves


threats = st.sampled_from(
    [Threat(norm, eps) for norm in NORMS for eps in (0.01, 0.1, 1.0, 5.0, 100.0) if norm != "Linf" or eps <= 1]
)


def feasible(points: Tensor, images: Tensor, threat: Threat) -> bool:
    inside = lp_norm(points.double() - images.double(), threat) <= threat.eps * (1 + 1e-4)
    return bool(inside.all()) and bool(((points >= 0) & (points <= 1)).all())


def l1_box_reference(move: NDArray[np.float64], room: NDArray[np.float64], eps: float) -> NDArray[np.float64]:
    """Closest vector of l_1 norm at most eps with entries at most ``room`` in size, by bisection on the multiplier."""

    def cut_by(multiplier: float) -> NDArray[np.float64]:
        rest: NDArray[np.float64] = np.minimum(np.maximum(np.abs(move) - multiplier, 0), room)
        return rest

    low, high = 0.0, float(np.abs(move).max())
    if cut_by(0.0).sum() <= eps:
        return np.asarray(np.sign(move) * cut_by(0.0))
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if cut_by(middle).sum() > eps else (low, middle)
    found: NDArray[np.float64] = np.sign(move) * cut_by(high)
    return found


def l1_ball_reference(move: NDArray[np.float64], eps: float) -> NDArray[np.float64]:
    """Projection on the l_1 ball by sorting (Duchi et al., ICML 2008)."""
    size = np.sort(np.abs(move))[::-1]
    if size.sum() <= eps:
        return move
    cuts = (np.cumsum(size) - eps) / np.arange(1, len(size) + 1)
    cut = cuts[np.nonzero(size > cuts)[0][-1]]
    return np.asarray(np.sign(move) * np.maximum(np.abs(move) - cut, 0))


@given(displaced_images(), threats)
def test_projected_points_are_feasible(displaced: tuple[Tensor, Tensor], threat: Threat) -> None:
    images, points = displaced
    assert feasible(project(points, images, threat), images, threat)


@given(displaced_images(), threats)
def test_projecting_twice_changes_nothing(displaced: tuple[Tensor, Tensor], threat: Threat) -> None:
    images, points = displaced
    once = project(points, images, threat)
    torch.testing.assert_close(project(once, images, threat), once, atol=2e-6, rtol=1e-5)


@given(displaced_images(), threats)
def test_feasible_points_stay(displaced: tuple[Tensor, Tensor], threat: Threat) -> None:
    images, points = displaced
    middle = (images + project(points, images, threat)) / 2
    torch.testing.assert_close(project(middle, images, threat), middle, atol=1e-6, rtol=1e-6)


@given(displaced_images(), st.sampled_from([0.01, 0.1, 1.0, 5.0]))
def test_l1_projection_matches_bisection_in_double_precision(displaced: tuple[Tensor, Tensor], eps: float) -> None:
    images, points = displaced
    projected = project(points, images, Threat("L1", eps)).double() - images.double()
    for image, point, found in zip(images.double(), points.double(), projected, strict=True):
        move = (point - image).flatten().numpy()
        corner = image.flatten().numpy()
        expected = l1_box_reference(move, np.where(move > 0, 1 - corner, corner), eps)
        np.testing.assert_allclose(found.flatten().numpy(), expected, atol=3e-6)


@given(displaced_images(), threats)
def test_no_feasible_point_is_closer_than_the_l1_and_linf_projections(
    displaced: tuple[Tensor, Tensor], threat: Threat
) -> None:
    if threat.norm == "L2":
        threat = Threat("Linf", min(threat.eps, 1.0))
    images, points = displaced
    nearest = project(points, images, threat).double()
    rival = project(images + torch.randn_like(images), images, threat).double()
    # The nearest point of a convex set makes an obtuse angle with every other one.
    angle = ((points.double() - nearest) * (rival - nearest)).flatten(1).sum(1)
    assert bool((angle <= 1e-4).all())


@given(displaced_images(), st.sampled_from([0.01, 0.1, 1.0, 5.0]))
def test_ball_projections_match_closed_forms(displaced: tuple[Tensor, Tensor], eps: float) -> None:
    moves = displaced[1] - displaced[0]
    box = min(eps, 1.0)
    balls = (Threat("L1", eps), Threat("L2", eps), Threat("Linf", box))
    for move, l1, l2, linf in zip(moves.double(), *(project_ball(moves, ball) for ball in balls), strict=True):
        flat = move.flatten().numpy()
        np.testing.assert_allclose(l1.flatten().numpy(), l1_ball_reference(flat, eps), atol=3e-6)
        length = float(np.linalg.norm(flat))
        np.testing.assert_allclose(l2.flatten().numpy(), flat * min(1, eps / max(length, 1e-30)), atol=3e-6)
        np.testing.assert_allclose(linf.flatten().numpy(), np.clip(flat, -box, box), atol=1e-6)


@pytest.mark.parametrize("eps", [12.0, 255.0])
def test_l1_projection_of_large_noisy_images_is_exact(eps: float) -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.rand((3, 3, 224, 224), generator=generator)
    points = images + torch.randn(images.shape, generator=generator)
    projected = project(points, images, Threat("L1", eps))
    assert lp_norm(projected.double() - images.double(), Threat("L1", eps)).numpy() == pytest.approx(eps, rel=1e-4)
    assert feasible(projected, images, Threat("L1", eps))


def test_rows_do_not_depend_on_their_neighbours() -> None:
    generator = torch.Generator().manual_seed(1)
    images = torch.rand((64, 1, 8, 8), generator=generator)
    points = images + torch.randn(images.shape, generator=generator)
    threat = Threat("L1", 2.0)
    together = project(points, images, threat)
    alone = torch.cat([project(points[i : i + 1], images[i : i + 1], threat) for i in range(64)])
    assert torch.equal(together, alone)


@pytest.mark.parametrize("norm", NORMS)
def test_directions_have_length_one(norm: Norm) -> None:
    threat = Threat(norm, 1.0)
    gradient = torch.randn((6, 3, 5, 5), generator=torch.Generator().manual_seed(0))
    direction = ascent_direction(gradient, threat, 0.2)
    assert lp_norm(direction, threat).tolist() == pytest.approx([1.0] * 6, rel=1e-5)


def test_l1_moves_the_largest_entries_of_each_image_in_equal_parts() -> None:
    gradient = torch.tensor([[3.0, -4.0, 0.5, 1.0], [0.1, 0.0, 0.3, -0.4]])
    direction = ascent_direction(gradient, Threat("L1", 1.0), torch.tensor([0.25, 0.5]))
    assert direction.tolist() == [[0.0, -1.0, 0.0, 0.0], [0.0, 0.0, 0.5, -0.5]]


def test_l1_moves_at_least_one_entry() -> None:
    gradient = torch.tensor([[1.0, -3.0, 2.0]])
    direction = ascent_direction(gradient, Threat("L1", 1.0), torch.zeros(1))
    assert direction.tolist() == [[0.0, -1.0, 0.0]]


@pytest.mark.parametrize("norm", NORMS)
def test_no_gradient_no_direction(norm: Norm) -> None:
    assert not ascent_direction(torch.zeros(2, 1, 3, 3), Threat(norm, 1.0), 0.2).any()


@given(st.integers(0, 2**31), st.floats(0.01, 0.99))
def test_one_density_for_all_images_is_the_same_as_one_for_each(seed: int, density: float) -> None:
    gradient = torch.randn((3, 2, 4, 4), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    threat = Threat("L1", 1.0)
    each = ascent_direction(gradient, threat, torch.full((3,), density, dtype=torch.float64))
    assert torch.equal(ascent_direction(gradient, threat, density), each)


IMAGES = torch.rand((12, 1, 7, 7), generator=torch.Generator().manual_seed(0))
INDICES = torch.arange(12)
EPS: dict[Norm, float] = {"Linf": 0.1, "L2": 0.5, "L1": 3.0}


@pytest.mark.parametrize("norm", NORMS)
def test_a_start_depends_on_seed_index_and_draw_alone(norm: Norm) -> None:
    threat = Threat(norm, EPS[norm])
    whole = random_start(IMAGES, threat, 3, INDICES, draw=2)
    some = torch.tensor([7, 2, 11])
    assert torch.equal(random_start(IMAGES[some], threat, 3, INDICES[some], draw=2), whole[some])
    assert not torch.equal(random_start(IMAGES, threat, 4, INDICES, draw=2), whole)
    assert not torch.equal(random_start(IMAGES, threat, 3, INDICES, draw=1), whole)
    assert not torch.equal(random_start(IMAGES, threat, 3, INDICES + 1, draw=2), whole)


@pytest.mark.parametrize("norm", NORMS)
def test_starts_are_feasible(norm: Norm) -> None:
    threat = Threat(norm, EPS[norm])
    start = random_start(IMAGES, threat, 0, INDICES)
    assert bool((lp_norm(start - IMAGES, threat) <= threat.eps * (1 + 1e-4)).all())
    assert bool(((start >= 0) & (start <= 1)).all())


@pytest.mark.parametrize("norm", NORMS)
def test_starts_lie_on_the_sphere_where_the_box_does_not_cut_it(norm: Norm) -> None:
    threat = Threat(norm, 0.01)
    start = random_start(torch.full((5, 3, 4, 4), 0.5), threat, 0, torch.arange(5))
    assert lp_norm(start - 0.5, threat).tolist() == pytest.approx([0.01] * 5, rel=1e-4)


def test_noise_has_the_distribution_of_its_norm() -> None:
    images = torch.empty((1, 1, 200, 200))
    uniform = image_noise(images, "Linf", 0, torch.tensor([0]), 0)
    normal = image_noise(images, "L2", 0, torch.tensor([0]), 0)
    assert float(uniform.abs().max()) <= 1
    assert float(uniform.mean()) == pytest.approx(0, abs=0.02)
    assert float(uniform.std()) == pytest.approx(3**-0.5, abs=0.01)
    assert float(normal.mean()) == pytest.approx(0, abs=0.03)
    assert float(normal.std()) == pytest.approx(1, abs=0.02)
