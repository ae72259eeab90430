"""Loaders for data sets in the layouts they are distributed in, and how each is scored."""

from lab.data.layouts.cifar import load_cifar10_c
from lab.data.layouts.image_set import ImageSet
from lab.data.layouts.imagenet import (
    load_conflict_stimuli,
    load_imagenet,
    load_imagenet_a,
    load_imagenet_c,
    load_imagenet_r,
    load_imagenet_real,
    load_imagenet_v2,
)

__all__ = [
    "ImageSet",
    "load_cifar10_c",
    "load_conflict_stimuli",
    "load_imagenet",
    "load_imagenet_a",
    "load_imagenet_c",
    "load_imagenet_r",
    "load_imagenet_real",
    "load_imagenet_v2",
]
