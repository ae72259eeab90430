"""The ingredients of a pantry as one matrix."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from torch import Tensor

from search.evaluation import LayerWeights
from workers.soups.errors import IngredientError
from workers.soups.layout import Layout, Slot
from workers.soups.model import WEIGHTS_FILE, TimmConfig, build_model, read_config

SoupWeights = Sequence[float] | NDArray[np.floating[Any]] | LayerWeights
"""The weights of a soup: one for each ingredient, or for each ingredient in every layer."""
MIN_INGREDIENTS = 2
MAX_INGREDIENTS = 16


@dataclass(frozen=True)
class IngredientStack:
    """The n ingredients of one architecture, each one row of a matrix.

    ``weights`` is float32 of shape (n, P), contiguous by rows: row i holds every parameter and floating-point buffer of
    ingredient i where ``layout`` says; half-precision checkpoints are widened. ``integers`` are the integer buffers of
    the first ingredient, which no soup averages. ``config`` is the first ingredient's ``config.json``.

    The arrays are never written to, so they may be read-only and shared between processes.
    """

    names: tuple[str, ...]
    config: TimmConfig
    layout: Layout
    weights: NDArray[np.float32]
    integers: Mapping[str, NDArray[Any]]

    @classmethod
    def from_folders(cls, folders: Sequence[Path], names: Sequence[str] | None = None) -> "IngredientStack":
        """Read timm folders (``config.json`` and ``model.safetensors``) in the order given.

        ``names`` are the folders' own unless given. Raises IngredientError (``ingredient_count``, ``duplicate_name``,
        ``tied_weights_differ``, and those of ``verify_folder`` when a folder was never verified).
        """
        names = tuple(names) if names is not None else tuple(folder.name for folder in folders)
        _check_names(names, len(folders))
        config = read_config(folders[0])
        layout = Layout.of(build_model(config, "meta"))
        weights = np.zeros((len(folders), layout.size), dtype=np.float32)
        for row, folder in zip(weights, folders, strict=True):
            _read_floats(folder, layout, row)
        return cls(names, config, layout, weights, _read_integers(folders[0], layout))

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Any]) -> "IngredientStack":
        """The inverse of ``arrays``; nothing is copied."""
        return cls(**arrays)

    def arrays(self) -> dict[str, Any]:
        """Everything as NumPy arrays and plain values, for an object store that shares arrays without copying."""
        return {
            "names": self.names,
            "config": self.config,
            "layout": self.layout,
            "weights": self.weights,
            "integers": dict(self.integers),
        }

    def __len__(self) -> int:
        return len(self.names)

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        return self.weights.nbytes + sum(array.nbytes for array in self.integers.values())

    def soup_weights(self, weights: SoupWeights) -> NDArray[np.float64]:
        """``weights`` as float64 of shape (n,), of a layer-wise soup (layers, n).

        Raises ValueError when their number is wrong or one is not finite.
        """
        if isinstance(weights, LayerWeights):
            if len(weights.vectors) != self.layout.layers:
                raise ValueError(f"there are {self.layout.layers} layers, and weights for {len(weights.vectors)}")
            return np.stack([self.soup_weights(vector) for vector in weights.vectors])
        found = np.asarray(weights, dtype=np.float64)
        if found.shape != (len(self),):
            raise ValueError(f"{len(self)} ingredients take {len(self)} soup weights, not shape {found.shape}")
        if not np.isfinite(found).all():
            raise ValueError(f"soup weights must be finite, not {found.tolist()}")
        return found


def _check_names(names: tuple[str, ...], folders: int) -> None:
    if not MIN_INGREDIENTS <= folders <= MAX_INGREDIENTS:
        message = f"a pantry has {MIN_INGREDIENTS} to {MAX_INGREDIENTS} ingredients, not {folders}"
        raise IngredientError("ingredient_count", message)
    if len(names) != folders:
        raise IngredientError("ingredient_count", f"{folders} ingredients need {folders} names, not {len(names)}")
    if len(set(names)) != folders:
        raise IngredientError("duplicate_name", f"ingredients need different names, not {', '.join(names)}")


def _read_floats(folder: Path, layout: Layout, row: NDArray[np.float32]) -> None:
    path = folder / WEIGHTS_FILE
    try:
        with safe_open(path, framework="pt") as file:
            stored = frozenset(file.keys())
            for slot in layout.slots:
                slot.write(row, _read_slot(file, slot, stored, path))
    except SafetensorError as error:
        raise IngredientError("weights_unreadable", f"{path} cannot be read as safetensors: {error}") from error


def _read_slot(file: Any, slot: Slot, stored: frozenset[str], path: Path) -> Tensor:
    names = [name for name in slot.names if name in stored]
    if not names:
        raise IngredientError("missing_keys", f"{path} lacks {slot.names[0]}")
    tensors: list[Tensor] = [file.get_tensor(name) for name in names]
    if tuple(tensors[0].shape) != slot.shape:
        message = f"{path}: {names[0]} has shape {tuple(tensors[0].shape)}, not {slot.shape}"
        raise IngredientError("shape_mismatch", message)
    if not all(torch.equal(tensors[0], other) for other in tensors[1:]):
        message = f"{path}: {' and '.join(names)} are one tensor in this architecture but differ here"
        raise IngredientError("tied_weights_differ", f"{message}: save the model with its weights tied")
    return tensors[0]


def _read_integers(folder: Path, layout: Layout) -> dict[str, NDArray[Any]]:
    with safe_open(folder / WEIGHTS_FILE, framework="pt") as file:
        stored = set(file.keys())
        return {name: file.get_tensor(name).clone().numpy() for name in layout.integer_names if name in stored}


def single_model(folder: Path) -> dict[str, Any]:
    """The model in a timm folder as the arrays of a stack of one ingredient: its soup of weight 1 is the model."""
    twice = IngredientStack.from_folders([folder, folder], ["model", "same"])
    return {**twice.arrays(), "names": ("model",), "weights": twice.weights[:1].copy()}
