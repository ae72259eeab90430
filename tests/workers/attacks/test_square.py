import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from workers.attacks.ball import lp_norm
from workers.attacks.model import correct
from workers.attacks.square import Draws, first_points, proposal, share_covered, square, two_bumps
from workers.attacks.threat import Threat

THREATS = [Threat("Linf", 0.1), Threat("L2", 1.5), Threat("L1", 12.0)]


def assert_feasible(points: Tensor, images: Tensor, threat: Threat) -> None:
    assert bool((lp_norm(points - images, threat) <= threat.eps * (1 + 1e-4)).all())
    assert bool(((points >= 0) & (points <= 1)).all())


@pytest.mark.parametrize("threat", THREATS, ids=str)
def test_breaks_images_within_the_ball(standard: nn.Module, images: Tensor, labels: Tensor, threat: Threat) -> None:
    found = square(standard, images, labels, threat, 60)
    with torch.no_grad():
        right = correct(standard(found.points), labels)
        assert torch.equal(found.clean, correct(standard(images), labels))
    assert_feasible(found.points, images, threat)
    assert torch.equal(right, found.robust)
    assert int(found.robust.sum()) < int(found.clean.sum())
    assert torch.equal(found.points[~found.clean | found.robust], images[~found.clean | found.robust])


@pytest.mark.parametrize("threat", THREATS, ids=str)
def test_more_queries_break_more_and_none_needs_gradients(
    standard: nn.Module, images: Tensor, labels: Tensor, threat: Threat
) -> None:
    rounded = Rounded(standard)
    few, many = (square(rounded, images, labels, threat, queries).robust for queries in (1, 100))
    assert int(many.sum()) < int(few.sum())


class Rounded(nn.Module):
    """A model whose gradient is zero everywhere."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.model((255 * images).round() / 255)
        return logits


@pytest.mark.parametrize("threat", THREATS, ids=str)
def test_an_images_outcome_depends_on_its_place_and_seed_alone(
    standard: nn.Module, images: Tensor, labels: Tensor, threat: Threat
) -> None:
    whole = square(standard, images, labels, threat, 30, seed=3)
    small = square(standard, images, labels, threat, 30, seed=3, batch_size=7)
    rows = torch.arange(20, 40)
    part = square(standard, images[rows], labels[rows], threat, 30, seed=3, indices=rows)
    other = square(standard, images, labels, threat, 30, seed=4)
    torch.testing.assert_close(small.points, whole.points, atol=1e-5, rtol=0)
    torch.testing.assert_close(part.points, whole.points[rows], atol=1e-5, rtol=0)
    assert torch.equal(small.robust, whole.robust)
    assert not torch.equal(other.points, whole.points)


@settings(max_examples=60, deadline=None)
@given(
    threat=st.sampled_from(THREATS),
    channels=st.sampled_from([1, 3]),
    size=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    share=st.floats(0.002, 0.8),
    seed=st.integers(0, 10_000),
)
def test_every_proposal_is_feasible(
    threat: Threat, channels: int, size: tuple[int, int], share: float, seed: int
) -> None:
    images = torch.rand((4, channels, *size), generator=torch.Generator().manual_seed(seed))
    draws = Draws.of(images, 3, seed, torch.arange(4))
    points = first_points(images, threat, draws)
    assert_feasible(points, images, threat)
    for drawn in draws.proposals.unbind(1):
        points = proposal(points, images, threat, drawn, share)
        assert_feasible(points, images, threat)


def test_a_proposal_moves_what_it_may(images: Tensor) -> None:
    grey = torch.full_like(images, 0.5)
    draws = Draws.of(grey, 1, 0, torch.arange(len(grey)))
    for threat in THREATS:
        start = first_points(grey, threat, draws)
        points = proposal(start, grey, threat, draws.proposals[:, 0], 0.04)
        norms = lp_norm(points - grey, threat)
        # In l_1 the box may cut a peak.
        rtol = 0.05 if threat.norm == "L1" else 1e-3
        torch.testing.assert_close(norms, torch.full_like(norms, threat.eps), rtol=rtol, atol=0)
        changed = ((points - start).abs() > 1e-4).flatten(1).sum(1)
        assert bool((changed > 0).all())
        assert bool((changed <= 2 * 7 * 7).all())


def test_squares_shrink() -> None:
    shares = [share_covered(query, 1000) for query in range(1000)]
    assert shares == sorted(shares, reverse=True)
    assert [shares[0], shares[1], shares[2], shares[-1]] == [0.8, 0.8, 0.4, 0.8 / 512]


@pytest.mark.parametrize(("norm", "power"), [("L2", 2), ("L1", 1)])
@pytest.mark.parametrize("side", [1, 2, 3, 8, 25])
def test_bumps_have_norm_one_and_both_signs(norm: str, power: int, side: int) -> None:
    bumps = two_bumps(side, Threat.parse(f"{norm}:1").norm)
    assert float((bumps.abs() ** power).sum()) == pytest.approx(1)
    assert bool((bumps[: side // 2] > 0).all())
    assert bool((bumps[side // 2 :] < 0).all())


def test_refuses_what_cannot_be(standard: nn.Module, images: Tensor, labels: Tensor) -> None:
    for seed, queries in ((-1, 10), (0, 0)):
        with pytest.raises(ValueError, match="must not be negative and queries at least 1"):
            square(standard, images, labels, THREATS[0], queries, seed=seed)
