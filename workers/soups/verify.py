"""Checks of an ingredient's folder against the architecture it names."""

from pathlib import Path

from safetensors import SafetensorError, safe_open

from workers.soups.errors import IngredientError
from workers.soups.layout import Layout
from workers.soups.model import WEIGHTS_FILE, build_model, read_config

_LISTED = 3
_OPTIONAL = "num_batches_tracked"


def verify_folder(folder: Path) -> None:
    """Check that timm knows the architecture and that keys and shapes of ``model.safetensors`` are exactly its own.

    The model is built without memory for its weights, and only the file's header is read. Raises IngredientError with
    code ``config_missing``, ``config_malformed``, ``unknown_architecture``, ``model_not_buildable``,
    ``weights_unreadable``, ``missing_keys``, ``unexpected_keys`` or ``shape_mismatch``.
    """
    config = read_config(folder)
    model = build_model(config, "meta")
    expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    stored = _stored_shapes(folder)
    _check_keys(Layout.of(model), expected, stored, folder)
    for name, shape in stored.items():
        if shape != expected[name]:
            message = f"{folder}: {name} has shape {shape}, {config['architecture']} has {expected[name]} there"
            raise IngredientError("shape_mismatch", f"{message}: num_classes or model_args in config.json may be wrong")


def _stored_shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    path = folder / WEIGHTS_FILE
    if not path.is_file():
        raise IngredientError("weights_unreadable", f"{folder} has no {WEIGHTS_FILE}")
    try:
        with safe_open(path, framework="pt") as file:
            return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118 - no iterator
    except SafetensorError as error:
        raise IngredientError("weights_unreadable", f"{path} cannot be read as safetensors: {error}") from error


def _check_keys(
    layout: Layout, expected: dict[str, tuple[int, ...]], stored: dict[str, tuple[int, ...]], folder: Path
) -> None:
    unexpected = sorted(stored.keys() - expected.keys())
    if unexpected:
        message = f"{folder / WEIGHTS_FILE} has tensors that the model lacks: {_some(unexpected)}"
        raise IngredientError("unexpected_keys", message)
    missing = [slot.names[0] for slot in layout.slots if not any(name in stored for name in slot.names)]
    missing += [name for name in layout.integer_names if name not in stored and not name.endswith(_OPTIONAL)]
    if missing:
        message = f"{folder / WEIGHTS_FILE} lacks tensors of the model: {_some(missing)}"
        raise IngredientError("missing_keys", message)


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more
