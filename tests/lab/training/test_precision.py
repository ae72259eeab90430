from __future__ import annotations

import pytest
import torch

from lab.training.precision import autocast, gradient_scaler, update_scale

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


def test_an_update_tells_a_skipped_step_from_one_that_was_taken() -> None:
    weight = torch.nn.Parameter(torch.ones(1))
    optimizer = torch.optim.SGD([weight])
    scaler = torch.amp.GradScaler("cpu", growth_interval=1)

    def skips(gradient: float) -> bool:
        weight.grad = torch.full((1,), gradient)
        scaler.scale(torch.ones(1))
        scaler.step(optimizer)
        return update_scale(scaler)

    assert [skips(gradient) for gradient in (torch.inf, 1.0, torch.nan, 1.0)] == [True, False, True, False]
    assert not update_scale(gradient_scaler(CPU, "float32"))
