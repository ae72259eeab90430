import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from workers.attacks.directions import ascent_direction
from workers.attacks.projection import lp_norm
from workers.attacks.threat import NORMS, Norm, Threat


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
