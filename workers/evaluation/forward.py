"""Forward passes: precision, memory layout and running out of memory."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import TypeVar

import torch
from torch import Tensor, nn

from workers.attacks.model import exact_arithmetic
from workers.evaluation.errors import EvaluationMemoryError
from workers.soups.resident import Precision

Result = TypeVar("Result")
_CPU_MESSAGES = ("DefaultCPUAllocator", "not enough memory", "could not create a memory object")


@contextmanager
def forward_context(device: torch.device, precision: Precision) -> Iterator[None]:
    """No gradients; IEEE float32 (TF32 is off), or bfloat16 autocast of the forward passes."""
    with (
        torch.inference_mode(),
        # Its flags are the whole process's: threads that score on a CPU would restore each other's.
        exact_arithmetic() if device.type == "cuda" else nullcontext(),
        torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bfloat16"),
    ):
        yield


class ForwardPass:
    """Logits of batches, in smaller parts once memory has run out.

    ``part_size`` is the number of images in one forward pass; it halves when memory runs out and stays so. Several
    threads may call one ForwardPass.
    """

    def __init__(self, model: nn.Module, device: torch.device, precision: Precision, part_size: int) -> None:
        self.model = model
        self.device = device
        self.precision = precision
        self.part_size = part_size

    def __call__(self, inputs: Tensor) -> Tensor:
        """Logits of ``inputs``, float32 (N, C, H, W), as float32 (N, classes).

        Raises EvaluationMemoryError when not even one image fits.
        """
        with forward_context(self.device, self.precision):
            return torch.cat(self.in_parts(inputs, lambda rows: self.model(inputs[rows]).float()))

    def in_parts(self, inputs: Tensor, read: Callable[[slice], Result]) -> list[Result]:
        """What ``read`` returns for each part of the rows of ``inputs``, in order; all parts again with smaller ones.

        Raises EvaluationMemoryError when not even one image fits.
        """
        while True:
            size = min(self.part_size, len(inputs))
            try:
                return [read(slice(first, first + size)) for first in range(0, len(inputs), max(1, size))]
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                self._halve(size, inputs, error)

    def _halve(self, size: int, inputs: Tensor, error: Exception) -> None:
        if size <= 1:
            raise EvaluationMemoryError(
                f"one image of {tuple(inputs.shape[1:])} does not fit into the memory of {self.device} beside the "
                "ingredients: use precision bfloat16, fewer ingredients, or a device with more memory"
            ) from error
        # Other threads may have run out of memory with the same size: they halve it once.
        self.part_size = min(self.part_size, size // 2)
        if self.device.type == "cuda":
            torch.cuda.empty_cache()


def is_out_of_memory(error: Exception) -> bool:
    """Whether PyTorch ran out of memory, on a GPU or on the CPU."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return any(words in str(error) for words in _CPU_MESSAGES)
