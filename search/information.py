"""How much predictions tell about classes without any label: mutual information between images and classes."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

Array = NDArray[np.float64]
FULL_WEIGHT, NO_WEIGHT = 20, 50
"""Up to so many labelled images the mutual information of the others counts whole, and from so many on not at all."""


def weight_beside(labelled: int) -> float:
    """What the mutual information of images without a label counts beside so many labelled images, from 1 to 0.

    1 up to ``FULL_WEIGHT`` of them, 0 from ``NO_WEIGHT``, linear between.
    """
    return min(1.0, max(0.0, (NO_WEIGHT - labelled) / (NO_WEIGHT - FULL_WEIGHT)))


@dataclass(frozen=True)
class UnlabelledSet:
    """A set whose images have no label: its ``place`` among a task's sets, and how its predictions are read.

    ``columns`` holds the model's classes of each column that competes, None where these are the model's classes;
    ``prior`` how likely each column is among the images, None where all are equally likely.
    """

    place: int
    columns: tuple[tuple[int, ...], ...] | None = None
    prior: tuple[float, ...] | None = None

    def log_probabilities(self, logits: NDArray[np.floating]) -> Array:
        """Of the columns, shape (..., columns), from logits (..., classes); a column is the mean of its softmax."""
        scores = np.asarray(logits, dtype=np.float64)
        if self.columns is not None:
            parts = [scores[..., list(column)] for column in self.columns]
            scores = np.stack([logsumexp(part, axis=-1) - np.log(part.shape[-1]) for part in parts], axis=-1)
        return np.asarray(scores - logsumexp(scores, axis=-1, keepdims=True))

    def mutual_information(self, logits: NDArray[np.floating]) -> Array:
        """Between images and columns, in nats, shape (...), from logits (..., images, classes).

        It is H(mean of p) - mean of H(p), where p are the probabilities of an image (Bridle, Heading and MacKay,
        Unsupervised classifiers, mutual information and phantom targets, NIPS 1991). With a ``prior`` the first term is
        log(columns) - KL(mean of p || prior), which for equally likely columns is the same.
        """
        logs = self.log_probabilities(logits)
        shares = np.exp(logs)
        entropies = -(shares * np.where(shares > 0, logs, 0.0)).sum(axis=-1)
        mean = shares.mean(axis=-2)
        prior = 1 / mean.shape[-1] if self.prior is None else np.array(self.prior)
        divergence = (mean * (np.log(np.maximum(mean, 1e-300)) - np.log(prior))).sum(axis=-1)
        return np.asarray(np.log(mean.shape[-1]) - divergence - entropies.mean(axis=-1))
