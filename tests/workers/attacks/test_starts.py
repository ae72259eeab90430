import pytest
import torch

from workers.attacks.projection import lp_norm
from workers.attacks.starts import image_noise, random_start
from workers.attacks.threat import NORMS, Norm, Threat

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
