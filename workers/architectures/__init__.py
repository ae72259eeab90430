"""Architectures that timm lacks; importing this package makes them known to ``timm.create_model``."""

from workers.architectures.wide_resnet import WideResNet

__all__ = ["WideResNet"]
