import json
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from service.artifacts.folder import FolderStore
from service.errors import InvalidPantry, PantryExists
from service.pantries.checkpoint import check_finite, read_checkpoint
from service.pantries.config import read_config
from service.pantries.registry import PantryRegistry
from tests.limits import no_more_files
from tests.service.adaptation_sets.pictures import files_below
from tests.service.pantries.checkpoints import config, ingredient, pair, tensors

Values = dict[str, NDArray[Any]]


def accept(_: Path) -> None:
    """Whatever it is."""


def refused(registry: PantryRegistry, store: FolderStore, ingredients: Mapping[str, Path]) -> InvalidPantry:
    """The refusal of ``ingredients``, which must leave nothing behind."""
    with pytest.raises(InvalidPantry) as caught:
        registry.add("tiny", ingredients, accept)
    assert files_below(store.root) == []
    assert caught.value.status == 422
    return caught.value


def changed(change: Callable[[Values], object]) -> Values:
    values = tensors(1)
    change(values)
    return values


def put(name: str, value: NDArray[Any]) -> Callable[[Values], object]:
    return lambda values: values.__setitem__(name, value)


def poisoned(value: float, dtype: type = np.float32) -> Values:
    values = tensors(1)
    values["fc.weight"] = values["fc.weight"].copy()
    values["fc.weight"][1, 2] = value
    return {name: each.astype(dtype) if each.dtype == np.float32 else each for name, each in values.items()}


DIFFERENT_TENSORS: dict[str, tuple[Values, str, str]] = {
    "more": (changed(put("extra.weight", np.ones(2, np.float32))), "different_tensors", "extra.weight"),
    "fewer": (changed(lambda values: values.pop("fc.bias")), "different_tensors", "fc.bias"),
    "shape": (changed(put("fc.bias", np.zeros((3, 1), np.float32))), "different_shapes", "fc.bias"),
    "integer": (changed(put("bn.num_batches_tracked", np.array(7, np.int32))), "different_dtypes", "num_batches"),
    "half": (poisoned(1.0, np.float16), "different_dtypes", "F16"),
    "mixed": (changed(put("fc.bias", np.zeros(3, np.float64))), "mixed_dtypes", "F64"),
    "nan": (poisoned(np.nan), "not_finite", "fc.weight"),
    "infinite": (poisoned(-np.inf), "not_finite", "fc.weight"),
    "integers": ({"count": np.array(3)}, "no_parameters", "other"),
    "same": (tensors(0), "identical_ingredients", "linf"),
}


@pytest.mark.parametrize(("values", "code", "named"), DIFFERENT_TENSORS.values(), ids=DIFFERENT_TENSORS)
def test_other_tensors_than_the_firsts_are_refused(
    *, registry: PantryRegistry, store: FolderStore, tmp_path: Path, values: Values, code: str, named: str
) -> None:
    ingredients = pair(tmp_path) | {"other": ingredient(tmp_path / "other", values)}
    error = refused(registry, store, ingredients)
    assert error.code == code, error.detail
    assert named in error.detail
    assert "other" in error.detail


DIFFERENT_CONFIGS: dict[str, tuple[dict[str, Any], str]] = {
    "architecture": (config(architecture="resnet34"), "different_architecture"),
    "arguments": (config(model_args={"in_chans": 1, "act_layer": "gelu"}), "different_architecture"),
    "classes": (config(num_classes=4, label_names=None), "different_labels"),
    "order": (config(label_names=["dog", "cat", "yak"]), "different_labels"),
    "mean": (config(pretrained_cfg__mean=[0.4]), "different_preprocessing"),
    "mean_nearly": (config(pretrained_cfg__mean=[0.4998]), "different_preprocessing"),
    "mean_channels": (config(pretrained_cfg__mean=[0.5, 0.5]), "different_preprocessing"),
    "mean_huge": (config(pretrained_cfg__mean=[10**400]), "invalid_config"),
    "mean_not_a_number": (config(pretrained_cfg__mean=[float("nan")]), "invalid_config"),
    "mean_type": (config(pretrained_cfg__mean="half"), "invalid_config"),
    "mean_empty": (config(pretrained_cfg__mean=[]), "invalid_config"),
    "mean_of_text": (config(pretrained_cfg__mean=["0.5"]), "invalid_config"),
    "std_zero": (config(pretrained_cfg__std=[0]), "invalid_config"),
    "std_infinite": (config(pretrained_cfg__std=[float("inf")]), "invalid_config"),
    "std": (config(pretrained_cfg__std=[0.4]), "different_preprocessing"),
    "size": (config(pretrained_cfg__input_size=[1, 9, 8]), "different_preprocessing"),
    "resampling": (config(pretrained_cfg__interpolation="bicubic"), "different_preprocessing"),
    "crop": (config(pretrained_cfg__crop_pct=0.9), "different_preprocessing"),
    "label_count": (config(label_names=["cat", "dog"]), "invalid_config"),
    "label_type": (config(label_names=[1, 2, 3]), "invalid_config"),
    "no_architecture": (config(architecture=None), "invalid_config"),
    "no_classes": (config(num_classes=None), "invalid_config"),
    "classes_type": (config(num_classes="3"), "invalid_config"),
    "no_head": (config(num_classes=0), "invalid_config"),
    "size_type": (config(pretrained_cfg__input_size=8), "invalid_config"),
    "sides": (config(pretrained_cfg__input_size=[1, 100_000, 100_000]), "invalid_config"),
    "wide": (config(pretrained_cfg__input_size=[1, 1, 2**26 + 1]), "invalid_config"),
    "test_sides": (config(pretrained_cfg__test_input_size=[1, 100_000, 100_000]), "invalid_config"),
    "channels": (config(pretrained_cfg__input_size=[2**20, 8, 8], model_args={}), "invalid_config"),
    "channels_argument": (config(model_args={"in_chans": 2**20}), "invalid_config"),
    "image_argument": (
        config(model_args={"in_chans": 1, "img_size": 100_000}, pretrained_cfg__fixed_input_size=True),
        "invalid_config",
    ),
    "argument": (config(model_args={"in_chans": 1, "stages": [{"depth": 10**12}]}), "invalid_config"),
    "argument_infinite": (config(model_args={"in_chans": 1, "mlp_ratio": float("inf")}), "invalid_config"),
    "arguments_many": (config(model_args={"in_chans": 1, "layers": [1] * 5000}), "invalid_config"),
    "classes_many": (config(num_classes=10**9, label_names=None), "invalid_config"),
    "crop_zero": (config(pretrained_cfg__crop_pct=0), "invalid_config"),
    "crop_tiny": (config(pretrained_cfg__crop_pct=1e-4), "invalid_config"),
    "crop_of_large": (
        config(pretrained_cfg__input_size=[1, 1024, 1024], pretrained_cfg__test_crop_pct=0.1),
        "invalid_config",
    ),
    "crop_type": (config(pretrained_cfg__crop_pct="whole"), "invalid_config"),
    "crop_not_a_number": (config(pretrained_cfg__crop_pct=float("nan")), "invalid_config"),
    "section_type": (config(pretrained_cfg=[1]), "invalid_config"),
    "arguments_type": (config(model_args=3), "invalid_config"),
    "from_the_hub": (config(architecture="hf-hub:timm/resnet18"), "unsafe_config"),
    "from_a_path": (config(architecture="local-dir:/etc"), "unsafe_config"),
    "pretrained": (config(model_args={"pretrained": True}), "unsafe_config"),
    "pickled": (config(model_args={"checkpoint_path": "/tmp/x.pth"}), "unsafe_config"),
    "custom_load": (config(pretrained_cfg__custom_load=True), "unsafe_config"),
}


@pytest.mark.parametrize(("document", "code"), DIFFERENT_CONFIGS.values(), ids=DIFFERENT_CONFIGS)
def test_other_configurations_than_the_firsts_are_refused(
    registry: PantryRegistry, store: FolderStore, tmp_path: Path, document: dict[str, Any], code: str
) -> None:
    ingredients = pair(tmp_path) | {"other": ingredient(tmp_path / "other", tensors(5), document)}
    error = refused(registry, store, ingredients)
    assert error.code == code, error.detail
    assert "'other'" in error.detail


def test_a_normalisation_that_was_rounded_otherwise_is_the_same(registry: PantryRegistry, tmp_path: Path) -> None:
    rounded = config(pretrained_cfg__mean=[0.49995], pretrained_cfg__std=[0.25005])
    ingredients = pair(tmp_path) | {"other": ingredient(tmp_path / "other", tensors(5), rounded)}
    assert [each.name for each in registry.add("tiny", ingredients, accept).ingredients] == ["linf", "l2", "other"]


@pytest.mark.parametrize("size", [[3, 4096, 4096], [3, 4096, 1], [1024, 128, 128], [1, 8, 8]])
def test_large_images_are_taken_up_to_the_limit(tmp_path: Path, size: list[int]) -> None:
    document = config(model_args={}, pretrained_cfg__input_size=size, pretrained_cfg__crop_pct=0.875)
    path = ingredient(tmp_path / "linf", tensors(0), document) / "config.json"
    assert read_config(path, "linf").input_size == tuple(size)


BROKEN_FILES: dict[str, tuple[str, bytes | None, str]] = {
    "no_config": ("config.json", None, "missing_file"),
    "no_weights": ("model.safetensors", None, "missing_file"),
    "config_syntax": ("config.json", b"{", "invalid_config"),
    "config_list": ("config.json", b"[]", "invalid_config"),
    "config_bytes": ("config.json", b"\xff\xfe", "invalid_config"),
    "config_deep": ("config.json", b"[" * 200_000, "invalid_config"),
    "config_long": ("config.json", b'"' + b" " * 2**24 + b'"', "invalid_config"),
    "training_syntax": ("training.json", b"nope", "invalid_config"),
    "recipe_syntax": ("recipe.yaml", b"a: [", "invalid_config"),
    "recipe_list": ("recipe.yaml", b"[1]", "invalid_config"),
    "recipe_empty": ("recipe.yaml", b"", "invalid_config"),
    "recipe_two": ("recipe.yaml", b"a: 1\n---\nb: 1\n", "invalid_config"),
    "recipe_bytes": ("recipe.yaml", b"\xff\xfe\xff", "invalid_config"),
    "recipe_deep": ("recipe.yaml", b"a: " + b"[" * 60_000, "invalid_config"),
    "recipe_long": ("recipe.yaml", b"a: " + b"b" * 2**16, "invalid_config"),
    "empty": ("model.safetensors", b"", "invalid_safetensors"),
    "pickle": ("model.safetensors", b"\x80\x02}q\x00.", "invalid_safetensors"),
    "long_header": ("model.safetensors", struct.pack("<Q", 2**60) + b"{}", "invalid_safetensors"),
    "cut": ("model.safetensors", b"", "invalid_safetensors"),
}


@pytest.mark.parametrize(("file", "data", "code"), BROKEN_FILES.values(), ids=BROKEN_FILES)
def test_broken_files_are_refused(
    *, registry: PantryRegistry, store: FolderStore, tmp_path: Path, file: str, data: bytes | None, code: str
) -> None:
    ingredients = pair(tmp_path)
    target = ingredients["l2"] / file
    if data is None:
        target.unlink()
    else:
        target.write_bytes(data)
    error = refused(registry, store, ingredients)
    assert error.code == code, error.detail
    assert "'l2'" in error.detail


@pytest.mark.parametrize("kept", [4, 8, 100, -1])
def test_cut_weights_are_refused(registry: PantryRegistry, store: FolderStore, tmp_path: Path, kept: int) -> None:
    ingredients = pair(tmp_path)
    weights = ingredients["l2"] / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:kept])
    assert refused(registry, store, ingredients).code == "invalid_safetensors"


def header(dtype: str, shape: list[int], size: int) -> bytes:
    text = json.dumps({"w": {"dtype": dtype, "shape": shape, "data_offsets": [0, size]}}).encode()
    return struct.pack("<Q", len(text)) + text


@pytest.mark.parametrize("dtype", ["F8_E4M3", "F8_E5M2"])
def test_types_without_arithmetic_are_refused(
    registry: PantryRegistry, store: FolderStore, tmp_path: Path, dtype: str
) -> None:
    ingredients = pair(tmp_path)
    (ingredients["l2"] / "model.safetensors").write_bytes(header(dtype, [4], 4) + bytes(4))
    assert refused(registry, store, ingredients).code == "unsupported_dtype"


@pytest.mark.parametrize("count", [0, 1, 17])
def test_too_few_and_too_many_are_refused(
    registry: PantryRegistry, store: FolderStore, tmp_path: Path, count: int
) -> None:
    ingredients = {f"i{index}": tmp_path / "absent" for index in range(count)}
    error = refused(registry, store, ingredients)
    assert error.code == "ingredient_count"
    assert str(count) in error.detail


@pytest.mark.parametrize("name", ["", "..", ".hidden", "a/b", "x" * 65, "ä"])
def test_names_that_cannot_be_folders_are_refused(
    registry: PantryRegistry, store: FolderStore, tmp_path: Path, name: str
) -> None:
    sound = pair(tmp_path)
    assert refused(registry, store, {"linf": sound["linf"], name: sound["l2"]}).code == "invalid_name"
    with pytest.raises(InvalidPantry) as caught:
        registry.add(name, sound, accept)
    assert caught.value.code == "invalid_name"


def test_sixteen_ingredients_are_taken(registry: PantryRegistry, tmp_path: Path) -> None:
    ingredients = {f"i{seed:02}": ingredient(tmp_path / str(seed), tensors(seed)) for seed in range(16)}
    assert len(registry.add("wide", ingredients, accept).ingredients) == 16
    with pytest.raises(PantryExists):
        registry.add("wide", ingredients, accept)


BFLOAT16 = {1.0: 0x3F80, 3.3e38: 0x7F7F, np.inf: 0x7F80, -np.inf: 0xFF80, np.nan: 0x7FC1, -0.0: 0x8000}


@pytest.mark.parametrize("value", BFLOAT16)
def test_bfloat16_is_read_without_torch(tmp_path: Path, value: float) -> None:
    path = tmp_path / "model.safetensors"
    numbers = np.array([0, 0x3F80, BFLOAT16[value]], np.uint16)
    path.write_bytes(header("BF16", [3], 6) + numbers.tobytes())
    checkpoint = read_checkpoint(path, "half")
    assert checkpoint.dtype == "bfloat16"
    if np.isfinite(value):
        assert check_finite(checkpoint) is None  # type: ignore[func-returns-value]
        return
    with pytest.raises(InvalidPantry) as caught:
        check_finite(checkpoint)
    assert caught.value.code == "not_finite"


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("at", [0, 5, -1])
def test_a_nan_anywhere_is_found(tmp_path: Path, dtype: type, at: int) -> None:
    values: np.ndarray = np.ones(5_000_000 if at == -1 else 7, dtype)
    values[at] = np.nan
    folder = ingredient(tmp_path / "x", {"a": np.ones(3, dtype), "b": values})
    with pytest.raises(InvalidPantry) as caught:
        check_finite(read_checkpoint(folder / "model.safetensors", "x"))
    assert "'b'" in caught.value.detail


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_mutated_weights_are_read_or_refused(tmp_path: Path, data: st.DataObject) -> None:
    source = tmp_path / "sound" / "model.safetensors"
    if not source.exists():
        ingredient(source.parent, tensors(0))
    mutated = bytearray(source.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        mutated[data.draw(st.integers(0, len(mutated) - 1))] = data.draw(st.integers(0, 255))
    target = tmp_path / "mutated"
    target.write_bytes(mutated[: data.draw(st.integers(0, len(mutated)))] if data.draw(st.booleans()) else mutated)
    try:
        checkpoint = read_checkpoint(target, "mutated")
        check_finite(checkpoint)
    except InvalidPantry as error:
        refusal: InvalidPantry | None = error
    else:
        refusal = None
    assert refusal is None or refusal.detail


def test_a_machine_without_file_handles_does_not_make_weights_damaged(tmp_path: Path) -> None:
    path = ingredient(tmp_path / "linf", tensors(0)) / "model.safetensors"
    with no_more_files(), pytest.raises(OSError):  # noqa: PT011 - safetensors takes it for a missing file
        read_checkpoint(path, "linf")
