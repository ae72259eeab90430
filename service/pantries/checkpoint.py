"""Reads and checks safetensors files without torch."""

import json
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from service.errors import InvalidPantry

FLOATS: dict[str, np.dtype[Any]] = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype("<u2"),
}
INTEGERS = frozenset({"BOOL", "U8", "I8", "U16", "I16", "U32", "I32", "U64", "I64"})
DTYPE_NAMES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}

_BLOCK_BYTES = 2**24
_BF16_EXPONENT = 0x7F80


@dataclass(frozen=True)
class TensorHeader:
    """A tensor's place in its file: bytes ``begin`` to ``end``."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int

    @property
    def is_float(self) -> bool:
        """Whether soups average this tensor; integer buffers are not averaged."""
        return self.dtype in FLOATS


@dataclass(frozen=True)
class Checkpoint:
    """The tensors of one ``model.safetensors``; ``name`` is its ingredient's."""

    name: str
    path: Path
    tensors: Mapping[str, TensorHeader]

    @property
    def dtype(self) -> str:
        """The type of the floating-point tensors, as torch names it."""
        return DTYPE_NAMES[next(tensor.dtype for tensor in self.tensors.values() if tensor.is_float)]

    @property
    def parameters(self) -> int:
        """Floating-point numbers in the file."""
        return sum(prod(tensor.shape) for tensor in self.tensors.values() if tensor.is_float)

    @property
    def batch_norm(self) -> bool:
        """Whether there are BatchNorm statistics."""
        return any(name.rpartition(".")[2] == "running_var" for name in self.tensors)


def read_checkpoint(path: Path, name: str) -> Checkpoint:
    """The header of the safetensors file at ``path``.

    Raises InvalidPantry naming the ingredient ``name``: ``invalid_safetensors``, ``unsupported_dtype``,
    ``mixed_dtypes``, ``no_parameters``. OSError and MemoryError come from the machine: safetensors raises neither
    for the contents of a file.
    """
    try:
        with safe_open(path, framework="np"):
            tensors = _read_header(path)
    except (SafetensorError, ValueError, RecursionError) as error:
        raise InvalidPantry(
            f"model.safetensors of ingredient {name!r} is damaged ({error}): save and send it again",
            code="invalid_safetensors",
        ) from error
    _check_dtypes(tensors, name)
    return Checkpoint(name, path, tensors)


def _read_header(path: Path) -> dict[str, TensorHeader]:
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header: dict[str, Any] = json.loads(file.read(length))
    header.pop("__metadata__", None)
    start = 8 + length
    return {name: _entry(entry, start) for name, entry in sorted(header.items())}


def _entry(entry: dict[str, Any], start: int) -> TensorHeader:
    begin, end = entry["data_offsets"]
    return TensorHeader(entry["dtype"], tuple(entry["shape"]), start + begin, start + end)


def _check_dtypes(tensors: Mapping[str, TensorHeader], name: str) -> None:
    for tensor_name, tensor in tensors.items():
        if not tensor.is_float and tensor.dtype not in INTEGERS:
            raise InvalidPantry(
                f"tensor {tensor_name!r} of ingredient {name!r} is of type {tensor.dtype}: convert it to float32",
                code="unsupported_dtype",
            )
    floats = sorted({tensor.dtype for tensor in tensors.values() if tensor.is_float})
    if not floats:
        raise InvalidPantry(f"ingredient {name!r} has no floating-point tensors", code="no_parameters")
    if len(floats) > 1:
        raise InvalidPantry(
            f"ingredient {name!r} mixes the types {', '.join(floats)}: convert all of it to one", code="mixed_dtypes"
        )


def check_same_tensors(first: Checkpoint, other: Checkpoint) -> None:
    """Raise InvalidPantry unless ``other`` has the tensors of ``first``, of the same shapes and types.

    Codes: ``different_tensors``, ``different_shapes``, ``different_dtypes``.
    """
    pair = f"ingredients {first.name!r} and {other.name!r}"
    if only := sorted(first.tensors.keys() ^ other.tensors.keys()):
        owner = first.name if only[0] in first.tensors else other.name
        raise InvalidPantry(
            f"{pair} differ in {len(only)} tensors; {only[0]!r} is only in {owner!r}: "
            "all ingredients must be of one architecture",
            code="different_tensors",
        )
    for name, tensor in first.tensors.items():
        twin = other.tensors[name]
        if tensor.shape != twin.shape:
            raise InvalidPantry(
                f"{pair} differ in tensor {name!r}: shapes {list(tensor.shape)} and {list(twin.shape)}: "
                "all ingredients must be of one architecture",
                code="different_shapes",
            )
        if tensor.dtype != twin.dtype:
            raise InvalidPantry(
                f"{pair} differ in tensor {name!r}: types {tensor.dtype} and {twin.dtype}: convert them to one",
                code="different_dtypes",
            )


def check_finite(checkpoint: Checkpoint) -> None:
    """Raise InvalidPantry (``not_finite``) if a tensor has a NaN or an infinity. Reads the file once, in blocks."""
    data: NDArray[np.uint8] = np.memmap(checkpoint.path, dtype=np.uint8, mode="r")
    for name, tensor in checkpoint.tensors.items():
        if tensor.is_float and not all(_is_finite(block, tensor.dtype) for block in _blocks(data, tensor)):
            raise InvalidPantry(
                f"tensor {name!r} of ingredient {checkpoint.name!r} has NaN or infinite values: "
                "leave this ingredient out or train it again",
                code="not_finite",
            )


def _blocks(data: NDArray[np.uint8], tensor: TensorHeader) -> Iterator[NDArray[np.uint8]]:
    for begin in range(tensor.begin, tensor.end, _BLOCK_BYTES):
        yield data[begin : min(begin + _BLOCK_BYTES, tensor.end)]


def _is_finite(block: NDArray[np.uint8], dtype: str) -> bool:
    values = block.view(FLOATS[dtype])
    if dtype == "BF16":
        return not bool(((values & _BF16_EXPONENT) == _BF16_EXPONENT).any())
    return bool(np.isfinite(values).all())
