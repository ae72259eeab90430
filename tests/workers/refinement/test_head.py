"""The refitted last layer, against SciPy and against what must hold."""

import numpy as np
import pytest
import timm
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from torch import Tensor, nn

from workers.refinement.head import STRENGTHS, HeadRegression, last_layer


class Problem:
    """Random features of random classes, and a random layer."""

    def __init__(self, images: int, features: int, classes: int, seed: int = 0, accepted: int = 1) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.features = torch.randn(images, features, generator=generator) + 1
        self.layer = nn.Linear(features, classes)
        with torch.no_grad():
            self.layer.weight.copy_(torch.randn(classes, features, generator=generator) / features**0.5)
            self.layer.bias.copy_(torch.randn(classes, generator=generator))
            self.logits = self.layer(self.features)
        scores = torch.rand(images, classes, generator=generator)
        self.accepted = torch.zeros(images, classes, dtype=torch.bool).scatter_(1, scores.argsort()[:, :accepted], 1)

    def regression(self) -> HeadRegression:
        return HeadRegression(self.features, self.logits, self.accepted)

    def cost(self, weight: Tensor, bias: Tensor, training: Tensor, ridge: float) -> Tensor:
        """The cost of a changed layer, from its definition."""
        logits = self.logits.double() + self.features.double() @ weight.t() + bias
        likelihood = logits.log_softmax(1).masked_fill(~self.accepted, -torch.inf).logsumexp(1)
        cost: Tensor = -likelihood[training].sum() + ridge / 2 * (weight.square().sum() + bias.square().sum())
        return cost

    def gradient(self, weight: Tensor, bias: Tensor, training: Tensor, ridge: float) -> Tensor:
        weight, bias = weight.clone().requires_grad_(), bias.clone().requires_grad_()
        parts = torch.autograd.grad(self.cost(weight, bias, training, ridge), [weight, bias])
        return torch.cat([part.flatten() for part in parts])


problems = st.builds(
    Problem,
    images=st.integers(2, 30),
    features=st.integers(1, 40),
    classes=st.integers(2, 6),
    seed=st.integers(0, 10_000),
)


@settings(max_examples=40, deadline=None)
@given(problem=problems, strength=st.sampled_from(STRENGTHS))
def test_the_layer_is_the_optimum_that_scipy_finds(problem: Problem, strength: float) -> None:
    regression = problem.regression()
    images, classes = problem.accepted.shape
    training = torch.rand(images, generator=torch.Generator().manual_seed(7)) < 0.8
    training[0] = True
    ridge = strength * regression.scale
    [(_, changes)] = regression.path(training[:, None], [strength])
    weight, bias = (part[0] for part in regression.layer(changes))

    def cost(values: np.ndarray) -> tuple[float, np.ndarray]:
        both = torch.from_numpy(values).view(classes, -1).requires_grad_()
        value = problem.cost(both[:, :-1], both[:, -1], training, ridge)
        [gradient] = torch.autograd.grad(value, both)
        return value.item(), gradient.numpy().ravel()

    start = np.zeros(classes * (problem.features.shape[1] + 1))
    found = minimize(cost, start, jac=True, method="L-BFGS-B", options={"maxiter": 5000, "gtol": 1e-9, "ftol": 0})
    assert problem.cost(weight, bias, training, ridge).item() <= found.fun + 1e-6
    optimum = torch.from_numpy(found.x).view(classes, -1)
    distance = (torch.cat([weight, bias[:, None]], 1) - optimum).square().sum()
    assert distance.item() <= 4 * 1e-7 * 2 / ridge + 1e-9
    bound = (2 * ridge * 1e-7) ** 0.5
    assert problem.gradient(weight, bias, training, ridge).norm().item() <= bound * 1.01


def test_changes_are_those_of_the_layer() -> None:
    problem = Problem(20, 50, 4)
    regression = problem.regression()
    training = torch.arange(20)[:, None] % 3 != torch.arange(3)
    for _, changes in regression.path(training, STRENGTHS):
        weights, biases = regression.layer(changes)
        for place in range(3):
            layer = nn.Linear(50, 4, dtype=torch.float64)
            with torch.no_grad():
                layer.weight.copy_(problem.layer.weight + weights[place])
                layer.bias.copy_(problem.layer.bias + biases[place])
                found = layer(problem.features.double())
            torch.testing.assert_close(found, regression.logits(changes)[:, place], rtol=1e-5, atol=1e-5)


def test_labels_of_images_left_out_change_no_bit_of_a_fit_solved_with_others() -> None:
    problem, other = Problem(40, 12, 3), Problem(40, 12, 3)
    training = torch.arange(40)[:, None] % 4 != torch.arange(4)
    other.accepted[::4] = other.accepted[::4].roll(1, dims=1)
    for (_, one), (_, two) in zip(
        problem.regression().path(training, STRENGTHS), other.regression().path(training, STRENGTHS), strict=True
    ):
        assert torch.equal(one[:, 0], two[:, 0])
        assert not torch.equal(one[:, 1], two[:, 1])


def test_strengths_do_not_depend_on_the_unit_of_features() -> None:
    problem = Problem(30, 8, 3)
    everything = torch.ones(30, 1, dtype=torch.bool)
    # The bias has no part in this: it is beside features that are large in either unit.
    one, other = (HeadRegression(problem.features * unit, problem.logits, problem.accepted) for unit in (1e3, 1e5))
    for (_, ours), (_, theirs) in zip(one.path(everything, STRENGTHS), other.path(everything, STRENGTHS), strict=True):
        torch.testing.assert_close(one.logits(ours), other.logits(theirs), rtol=1e-3, atol=1e-3)


def test_weaker_ridges_fit_better_and_go_farther() -> None:
    problem = Problem(30, 8, 3)
    everything = torch.ones(30, dtype=torch.bool)
    regression = problem.regression()
    costs, distances = [], []
    for strength, changes in regression.path(everything[:, None], [0.01, 1.0, 100.0]):
        weight, bias = (part[0] for part in regression.layer(changes))
        costs.append(problem.cost(weight, bias, everything, 0.0).item())
        distances.append(changes.norm().item())
        assert strength in {0.01, 1.0, 100.0}
    assert costs == sorted(costs, reverse=True)
    assert distances == sorted(distances)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), strength=st.sampled_from(STRENGTHS))
def test_with_several_accepted_classes_the_cost_falls_to_a_stationary_point(seed: int, strength: float) -> None:
    problem = Problem(25, 6, 5, seed, accepted=2)
    regression = problem.regression()
    training = torch.ones(25, dtype=torch.bool)
    ridge = strength * regression.scale
    [(_, changes)] = regression.path(training[:, None], [strength])
    weight, bias = (part[0] for part in regression.layer(changes))
    still = torch.zeros_like(weight), torch.zeros_like(bias)
    assert problem.cost(weight, bias, training, ridge) < problem.cost(*still, training, ridge)
    before = problem.gradient(*still, training, ridge).norm()
    assert problem.gradient(weight, bias, training, ridge).norm() < 1e-3 * before


@pytest.mark.parametrize(
    ("name", "arguments", "found"),
    [("test_convnext", {"num_classes": 0}, "Identity"), ("test_byobnet", {"num_classes": 0}, "Identity")],
)
def test_other_last_layers_are_refused(name: str, arguments: dict[str, int], found: str) -> None:
    with pytest.raises(ValueError, match=f'is {found}, not one linear layer with a bias: ask for head "keep"'):
        last_layer(timm.create_model(name, **arguments))


def test_a_last_layer_without_bias_is_refused() -> None:
    model = timm.create_model("test_vit", num_classes=3)
    assert last_layer(model) is model.head
    model.head = nn.Linear(model.head.in_features, 3, bias=False)
    with pytest.raises(ValueError, match="with a bias"):
        last_layer(model)
