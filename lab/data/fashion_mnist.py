"""The label space of Fashion-MNIST, in the order of its label files."""

from __future__ import annotations

CLASS_NAMES: tuple[str, ...] = (
    "t_shirt_top",
    "trouser",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "ankle_boot",
)
"""Names of the classes 0 to 9; `T-shirt/top` without its slash, so that each name can be a folder."""
