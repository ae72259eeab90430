"""Random starts that depend on the seed and the image alone, never on the batch around it or on the device."""

import numpy as np
import torch
from torch import Tensor

from workers.attacks.directions import ascent_direction
from workers.attacks.projection import project
from workers.attacks.threat import Norm, Threat


def random_start(images: Tensor, threat: Threat, seed: int, indices: Tensor, draw: int = 0) -> Tensor:
    """A random point (N, ...) of the ball around each of ``images`` (N, ...) and of the box.

    l_inf and l_2: on the sphere, then clamped; l_1: normal noise, projected. ``indices`` (N,) are the images'
    indices in their set; ``draw`` counts the starts of one image.
    """
    noise = image_noise(images, threat.norm, seed, indices, draw)
    if threat.norm == "L1":
        return project(images + noise, images, threat)
    if threat.norm == "Linf":
        unit = noise / (noise.flatten(1).abs().amax(1).view(-1, *(1,) * (images.dim() - 1)) + 1e-12)
    else:
        unit = ascent_direction(noise, threat, 1.0)
    return (images + threat.eps * unit).clamp_(0, 1)


def image_noise(images: Tensor, norm: Norm, seed: int, indices: Tensor, draw: int) -> Tensor:
    """Noise like ``images`` (N, ...): uniform in [-1, 1] for l_inf, standard normal otherwise."""
    size = images[0].numel()
    rows = np.empty((len(images), size), dtype=np.float32)
    for row, index in zip(rows, indices.tolist(), strict=True):
        generator = np.random.Generator(np.random.Philox(key=[seed, index], counter=[0, 0, draw, 0]))
        if norm == "Linf":
            row[:] = 2 * generator.random(size, dtype=np.float32) - 1
        else:
            generator.standard_normal(dtype=np.float32, out=row)
    return torch.from_numpy(rows).view(images.shape).to(images)
