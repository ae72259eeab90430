"""Folders of timm: ``config.json`` and ``model.safetensors``."""

import json
import struct
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from workers.soups.model import CONFIG_FILE, WEIGHTS_FILE, TimmConfig
from workers.whole_file import whole_file

_DTYPE_NAMES = {torch.float32: "F32", torch.int64: "I64", torch.int32: "I32", torch.uint8: "U8", torch.bool: "BOOL"}
_DTYPE_NAMES |= {
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.float64: "F64",
    torch.int16: "I16",
    torch.int8: "I8",
}
_PLACES = ("url", "file", "hf_hub_id", "hf_hub_filename", "source", "state_dict", "tag")
_MODEL_KEYS = (
    "architecture",
    "num_classes",
    "num_features",
    "global_pool",
    "label_names",
    "label_descriptions",
    "model_args",
    "pretrained_cfg",
)


def soup_config(config: TimmConfig) -> TimmConfig:
    """The ``config.json`` of a soup: an ingredient's, without where its weights came from and how it was trained."""
    kept: TimmConfig = {key: config[key] for key in _MODEL_KEYS if key in config}
    if isinstance(kept.get("pretrained_cfg"), dict):
        kept["pretrained_cfg"] = {key: value for key, value in kept["pretrained_cfg"].items() if key not in _PLACES}
    return kept


def save_model(folder: Path, tensors: Mapping[str, Tensor], config: TimmConfig, metadata: Mapping[str, str]) -> Path:
    """Write a folder that ``timm.create_model("local-dir:...", pretrained=True)`` loads; returns the weights' path.

    Equal arguments give equal bytes. Each file appears whole, by a rename: a process that has the former file mapped
    keeps reading it. Raises OSError, with what to do, on a full disk, and then leaves the former files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / CONFIG_FILE, [(json.dumps(config, indent=2) + "\n").encode()])
    return _write(folder / WEIGHTS_FILE, _parts(tensors, metadata))


def _write(path: Path, parts: Iterable[bytes]) -> Path:
    with whole_file(path) as file:
        file.writelines(parts)
    return path


def model_file_bytes(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> bytes:
    """The bytes of the ``model.safetensors`` that ``save_model`` writes."""
    return b"".join(_parts(tensors, metadata))


def load_tensors(folder: Path) -> dict[str, Tensor]:
    """All tensors of a folder's ``model.safetensors``, on the CPU, as stored, mapped from the file."""
    return load_file(folder / WEIGHTS_FILE)


def _parts(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> Iterator[bytes]:
    """The safetensors format: length of the header, header, data. The library's own writer orders metadata randomly."""
    names = sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))
    header: dict[str, Any] = {"__metadata__": {"format": "pt", **dict(sorted(metadata.items()))}}
    end = 0
    for name in names:
        start, end = end, end + tensors[name].nbytes
        header[name] = {
            "dtype": _DTYPE_NAMES[tensors[name].dtype],
            "shape": list(tensors[name].shape),
            "data_offsets": [start, end],
        }
    encoded = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    encoded += b" " * (-len(encoded) % 8)
    yield struct.pack("<Q", len(encoded))
    yield encoded
    for name in names:
        yield tensors[name].detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
