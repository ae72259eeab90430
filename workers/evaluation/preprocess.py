"""Images as the pantry's models take them: timm's evaluation transform, split between the CPU and the device."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import timm.data
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from workers.soups.model import TimmConfig, build_model

AnyImage = Image.Image | NDArray[np.uint8]

_MODES = {1: "L", 3: "RGB", 4: "RGBA"}


@dataclass(frozen=True)
class DataConfig:
    """How images become inputs: timm's data configuration.

    ``input_size`` is (channels, height, width); ``mean`` and ``std`` have one number for each channel, in units of
    the pixel range [0, 1].
    """

    input_size: tuple[int, int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str
    crop_pct: float
    crop_mode: str

    @classmethod
    def of(cls, config: TimmConfig) -> "DataConfig":
        """The data configuration of an ingredient's ``config.json``."""
        return cls.of_model(build_model(config, "meta"))

    @classmethod
    def of_model(cls, model: nn.Module) -> "DataConfig":
        """The data configuration of a model that timm built."""
        values: Mapping[str, Any] = timm.data.resolve_data_config({}, model=model)
        channels, height, width = values["input_size"]
        return cls(
            input_size=(channels, height, width),
            mean=_per_channel(values["mean"], channels),
            std=_per_channel(values["std"], channels),
            interpolation=values["interpolation"],
            crop_pct=values["crop_pct"],
            crop_mode=values["crop_mode"],
        )


def _per_channel(values: Iterable[float], channels: int) -> tuple[float, ...]:
    """As timm's loaders do: one number serves all channels, and three for another number of channels are averaged."""
    numbers = tuple(float(value) for value in values)
    if len(numbers) == channels:
        return numbers
    return (sum(numbers) / len(numbers),) * channels


def encode_images(images: Iterable[AnyImage], config: DataConfig, *, precropped: bool = False) -> NDArray[np.uint8]:
    """Resize, crop and convert ``images`` to uint8 of shape (N, C, H, W) by timm's evaluation transform.

    An image is a PIL image of any mode, or uint8 of shape (H, W) or (H, W, C). Grey and colour are converted to what
    the model takes; an image of the right size is not resampled when the crop fraction is 1. It is taken as 1 for
    ``precropped`` images, those that a model's crop has left already.

    Raises ValueError for an array of another shape or type.
    """
    config = replace(config, crop_pct=1.0) if precropped else config
    channels, height, width = config.input_size
    groups = [slice(None)] if channels in _MODES else [slice(channel, channel + 1) for channel in range(channels)]
    transforms = [_transform(config, group) for group in groups]
    encoded = [_encode(image, channels, transforms) for image in images]
    return np.stack(encoded) if encoded else np.zeros((0, channels, height, width), dtype=np.uint8)


def _transform(config: DataConfig, channels: slice) -> Any:
    return timm.data.create_transform(
        input_size=config.input_size,
        interpolation=config.interpolation,
        mean=config.mean[channels],
        std=config.std[channels],
        crop_pct=config.crop_pct,
        crop_mode=config.crop_mode,
        use_prefetcher=True,
    )


def _encode(image: AnyImage, channels: int, transforms: list[Any]) -> NDArray[np.uint8]:
    planes = _planes(image, channels)
    parts = [np.asarray(transform(plane), dtype=np.uint8) for transform, plane in zip(transforms, planes, strict=True)]
    return np.concatenate(parts)


def _planes(image: AnyImage, channels: int) -> list[Image.Image]:
    if channels in _MODES:
        return [as_pil(image).convert(_MODES[channels])]
    array = np.asarray(image)
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != channels:
        raise ValueError(f"this model takes {channels} channels: give uint8 of (H, W, {channels}), not {array.shape}")
    return [Image.fromarray(array[:, :, channel]) for channel in range(channels)]


def as_pil(image: AnyImage) -> Image.Image:
    """The image as PIL holds it. Raises ValueError unless it is one, or uint8 of (H, W), (H, W, 1), 3 or 4 channels."""
    if isinstance(image, Image.Image):
        return image
    if image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 1:
        return Image.fromarray(image[:, :, 0])
    if image.dtype == np.uint8 and (image.ndim == 2 or (image.ndim == 3 and image.shape[2] in (3, 4))):
        return Image.fromarray(image)
    raise ValueError(f"an image is uint8 of (H, W) or (H, W, C), not {image.dtype} of {image.shape}")


class Normaliser:
    """The rest of timm's evaluation transform, on the device: uint8 to (x / 255 - mean) / std in float32.

    The operations and their order are those of torchvision's ``ToTensor`` and ``Normalize``: results
    are equal bit for bit.
    """

    def __init__(self, config: DataConfig, device: torch.device | str) -> None:
        self.mean = torch.tensor(config.mean, device=device).view(-1, 1, 1)
        self.std = torch.tensor(config.std, device=device).view(-1, 1, 1)

    def __call__(self, images: Tensor) -> Tensor:
        """Normalise ``images``, uint8 (N, C, H, W) on the device, to float32 of the same shape, channels last."""
        inputs = images.to(torch.float32, memory_format=torch.channels_last)
        return inputs.div_(255).sub_(self.mean).div_(self.std)
