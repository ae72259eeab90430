"""Wide residual networks for small images (Zagoruyko and Komodakis, "Wide residual networks", BMVC 2016)."""

from collections import OrderedDict
from typing import Any

from timm.layers import BatchNormAct2d, create_conv2d
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from timm.models.resnetv2 import ResNetV2
from torch import nn

__all__ = ["WideResNet"]

_STEM_CHANNELS = 16
_GROUPS = 3


class WideResNet(ResNetV2):  # type: ignore[misc]
    """timm's pre-activation ResNet of basic blocks behind one 3 x 3 convolution, with neither stride nor pooling.

    ``blocks`` basic blocks in each of three groups of 16, 32 and 64 times ``width`` channels: WRN-28-10 is
    ``blocks=4, width=10`` and has 36,479,194 parameters for 10 classes of colour images. Other arguments are those of
    timm's ``ResNetV2``, whose own stem leaves a quarter of the width and height of such images to the first block.
    """

    def __init__(self, blocks: int = 4, width: int = 10, in_chans: int = 3, **arguments: Any) -> None:
        super().__init__(
            layers=[blocks] * _GROUPS,
            channels=tuple(_STEM_CHANNELS * width * 2**group for group in range(_GROUPS)),
            in_chans=in_chans,
            stem_chs=_STEM_CHANNELS,
            basic=True,
            bottle_ratio=1.0,
            conv_layer=create_conv2d,
            norm_layer=BatchNormAct2d,
            **arguments,
        )
        stem = create_conv2d(in_chans, _STEM_CHANNELS, 3)
        nn.init.kaiming_normal_(stem.weight, mode="fan_out", nonlinearity="relu")
        self.stem = nn.Sequential(OrderedDict(conv=stem))
        for place, info in enumerate(self.feature_info):
            info["reduction"] = 2 ** max(place - 1, 0)


default_cfgs = generate_default_cfgs(
    {
        "wide_resnet28_10": {
            "url": "",
            "num_classes": 10,
            "input_size": (3, 32, 32),
            "pool_size": (8, 8),
            "crop_pct": 1.0,
            "interpolation": "bicubic",
            "mean": (0.4914, 0.4822, 0.4465),
            "std": (0.2471, 0.2435, 0.2616),
            "first_conv": "stem.conv",
            "classifier": "head.fc",
        }
    }
)


@register_model  # type: ignore[untyped-decorator]
def wide_resnet28_10(pretrained: bool = False, **arguments: Any) -> nn.Module:
    """WRN-28-10, the network of the literature on robustness on CIFAR-10; ``blocks`` and ``width`` make others."""
    model: nn.Module = build_model_with_cfg(
        WideResNet,
        "wide_resnet28_10",
        pretrained,
        feature_cfg={"flatten_sequential": True, "out_indices": (0, 1, 2, 3)},
        **arguments,
    )
    return model
