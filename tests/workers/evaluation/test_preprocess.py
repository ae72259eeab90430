from typing import Any

import numpy as np
import pytest
import timm.data
import torch
from numpy.typing import NDArray
from PIL import Image

from tests.workers.evaluation.images import random_images
from tests.workers.soups.folders import RESNET, VIT, config_of
from workers.evaluation.preprocess import DataConfig, Normaliser, encode_images

GREY = DataConfig((1, 28, 28), (0.286,), (0.353,), "bicubic", 1.0, "center")
COLOUR = DataConfig((3, 32, 48), (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), "bilinear", 0.9, "center")


def picture(mode: str, size: tuple[int, int] = (61, 47)) -> Image.Image:
    values = np.random.default_rng(3).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(values).convert(mode)


def by_timm(image: Image.Image, config: DataConfig) -> torch.Tensor:
    transform: Any = timm.data.create_transform(
        input_size=config.input_size,
        mean=config.mean,
        std=config.std,
        interpolation=config.interpolation,
        crop_pct=config.crop_pct,
        crop_mode=config.crop_mode,
    )
    inputs: torch.Tensor = transform(image.convert("L" if config.input_size[0] == 1 else "RGB"))
    return inputs


@pytest.mark.parametrize("config", [GREY, COLOUR])
@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P", "1", "CMYK", "LA"])
def test_inputs_equal_those_of_timms_transform_bit_for_bit(config: DataConfig, mode: str) -> None:
    image = picture(mode)
    encoded = encode_images([image], config)
    assert encoded.dtype == np.uint8
    inputs = Normaliser(config, "cpu")(torch.from_numpy(encoded))
    assert torch.equal(inputs[0], by_timm(image, config))


@pytest.mark.parametrize("crop_mode", ["squash", "border"])
def test_other_crops_equal_timms(crop_mode: str) -> None:
    config = DataConfig((3, 32, 32), (0.5,) * 3, (0.5,) * 3, "bicubic", 0.875, crop_mode)
    image = picture("RGB")
    inputs = Normaliser(config, "cpu")(torch.from_numpy(encode_images([image], config)))
    assert torch.equal(inputs[0], by_timm(image, config))


def test_images_of_the_right_size_are_not_resampled() -> None:
    images = random_images(3)
    assert np.array_equal(encode_images(images[:, 0], GREY), images)
    assert np.array_equal(encode_images(images.transpose(0, 2, 3, 1), GREY), images)


@pytest.mark.parametrize("crop_mode", ["center", "squash", "border"])
def test_precropped_images_keep_their_border(crop_mode: str) -> None:
    config = DataConfig((1, 28, 28), (0.3,), (0.4,), "bicubic", 0.875, crop_mode)
    images = random_images(3)
    assert np.array_equal(encode_images(images[:, 0], config, precropped=True), images)
    assert not np.array_equal(encode_images(images[:, 0], config), images)


def test_grey_images_are_repeated_for_colour_models() -> None:
    config = DataConfig((3, 28, 28), (0.5,) * 3, (0.5,) * 3, "bicubic", 1.0, "center")
    encoded = encode_images(random_images(2)[:, 0], config)
    assert np.array_equal(encoded, np.repeat(random_images(2), 3, axis=1))


def test_other_numbers_of_channels_go_plane_by_plane() -> None:
    config = DataConfig((2, 10, 10), (0.5, 0.4), (0.5, 0.3), "bilinear", 1.0, "center")
    image = np.random.default_rng(0).integers(0, 256, (20, 20, 2), dtype=np.uint8)
    one = DataConfig((1, 10, 10), (0.5,), (0.5,), "bilinear", 1.0, "center")
    expected = np.concatenate([encode_images([image[:, :, channel]], one)[0] for channel in range(2)])
    assert np.array_equal(encode_images([image], config)[0], expected)
    with pytest.raises(ValueError, match="2 channels"):
        encode_images([image[:, :, 0]], config)


@pytest.mark.parametrize("array", [np.zeros((4, 4)), np.zeros((4, 4, 2), np.uint8), np.zeros(4, np.uint8)])
def test_other_arrays_are_refused(array: NDArray[Any]) -> None:
    with pytest.raises(ValueError, match="uint8"):
        encode_images([array], GREY)


def test_no_images_are_an_empty_array() -> None:
    assert encode_images([], COLOUR).shape == (0, 3, 32, 48)


def test_the_configuration_is_timms() -> None:
    assert DataConfig.of(config_of(VIT)) == DataConfig((1, 28, 28), (0.3,), (0.4,), "bicubic", 1.0, "center")
    config = config_of(RESNET)
    config["pretrained_cfg"]["mean"] = [0.1, 0.2, 0.3]
    assert DataConfig.of(config).mean == pytest.approx((0.2,))
