from __future__ import annotations

import pytest
import torch

from workers.training.precision import autocast, gradient_scaler, overflows

CPU = torch.device("cpu")


@pytest.mark.parametrize(("precision", "dtype"), [("float32", torch.float32), ("bfloat16", torch.bfloat16)])
def test_products_are_computed_in_the_precision(precision: str, dtype: torch.dtype) -> None:
    layer = torch.nn.Linear(4, 2)
    with autocast(CPU, precision):  # type: ignore[arg-type]
        assert layer(torch.rand(3, 4)).dtype == dtype
    assert layer.weight.dtype == torch.float32


def test_float16_is_for_gpus() -> None:
    with pytest.raises(ValueError, match="use bfloat16 or float32"):
        autocast(CPU, "float16")
    assert not gradient_scaler(CPU, "bfloat16").is_enabled()


def test_gradients_that_overflow_at_every_scale_are_told_from_some_that_do() -> None:
    weight = torch.nn.Parameter(torch.ones(1))
    optimizer = torch.optim.SGD([weight])
    scaler = torch.amp.GradScaler("cpu")

    def train(steps: int, gradient: float) -> bool:
        for _ in range(steps):
            weight.grad = torch.full((1,), gradient)
            scaler.scale(torch.ones(1))  # type: ignore[no-untyped-call]
            scaler.step(optimizer)
            scaler.update()
        return overflows(scaler)

    assert not train(10, torch.inf)
    assert not train(1, 1.0)
    assert weight.item() != 1
    assert train(20, torch.inf)
    assert not overflows(gradient_scaler(CPU, "float32"))
