"""From logits to right and wrong, and to negative log-likelihoods."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class ImageOutcomes:
    """Per image, shape (N,): ``prediction`` int32, the best column; ``finite`` bool.

    Labelled images have ``correct`` bool and ``log_probability`` float32, of the accepted labels together in nats.

    An image with a logit that is not finite has prediction -1, is wrong, and has log-probability -inf.
    """

    prediction: Tensor
    finite: Tensor
    correct: Tensor | None
    log_probability: Tensor | None


class LabelSpace:
    """The columns that a prediction chooses among, each one or several classes of the model.

    A column's score is the mean softmax over its classes, the prediction the best column; the likelihood of a column
    is its score divided by the sum over columns. With one column for each class this is the argmax of the logits and
    the cross-entropy; with single classes of a subset, the same over those logits alone.

    Raises ValueError if there are no columns, one is empty, or a class is out of range.
    """

    def __init__(self, columns: Sequence[Sequence[int]], num_classes: int) -> None:
        self.columns = tuple(tuple(column) for column in columns)
        self.num_classes = num_classes
        if not self.columns or not all(self.columns):
            raise ValueError("a label space needs at least one column, and each column at least one class")
        if not all(0 <= index < num_classes for column in self.columns for index in column):
            raise ValueError(f"columns name classes outside 0 to {num_classes - 1}")

    @classmethod
    def of_classes(cls, num_classes: int) -> "LabelSpace":
        """One column for each class of the model."""
        return cls([(index,) for index in range(num_classes)], num_classes)

    def __len__(self) -> int:
        return len(self.columns)

    @property
    def is_plain(self) -> bool:
        """Whether the columns are the model's classes in order."""
        return self.columns == tuple((index,) for index in range(self.num_classes))

    def mask(self, accepted: Sequence[Sequence[int]]) -> Tensor:
        """Accepted columns of each image, as bool of shape (N, columns).

        Raises ValueError if an image accepts none, or one that does not exist.
        """
        mask = torch.zeros(len(accepted), len(self), dtype=torch.bool)
        for row, labels in enumerate(accepted):
            if not labels or not all(0 <= label < len(self) for label in labels):
                raise ValueError(
                    f"image {row} accepts {list(labels)}: give one or more columns of 0 to {len(self) - 1}"
                )
            mask[row, list(labels)] = True
        return mask

    def log_scores(self, logits: Tensor) -> Tensor:
        """Logarithm of each column's score up to a constant of the image, float64 of shape (N, columns)."""
        wide = logits.double()
        if self.is_plain:
            return wide
        parts = [wide[:, list(column)] for column in self.columns]
        means = [part.logsumexp(dim=1) - torch.tensor(part.shape[1], dtype=torch.float64).log() for part in parts]
        return torch.stack(means, dim=1)

    def log_likelihood(self, logits: Tensor, accepted: Tensor) -> Tensor:
        """Log-probability of the accepted columns together, in nats, float64 (N,); the arguments of ``outcomes``."""
        return _likelihood(self.log_scores(logits), accepted)

    def attack_scores(self, logits: Tensor) -> Tensor:
        """What an attack takes for the logits of a model with one class a column, float32 of shape (N, columns).

        These are the logits of the columns, or for columns of several classes the logarithm of their mean softmax up
        to a constant: the argmax and the cross-entropy are those of ``outcomes``.
        """
        if self.is_plain:
            return logits
        if all(len(column) == 1 for column in self.columns):
            return logits[:, [index for (index,) in self.columns]]
        return self.log_scores(logits).float()

    def outcomes(self, logits: Tensor, accepted: Tensor | None) -> ImageOutcomes:
        """Read ``logits``, float32 (N, classes), against ``accepted`` of ``mask`` on the same device, None without."""
        finite = logits.isfinite().all(dim=1)
        scores = self.log_scores(logits)
        best = scores.argmax(dim=1, keepdim=True)
        prediction = torch.where(finite, best.squeeze(1), -1).to(torch.int32)
        if accepted is None:
            return ImageOutcomes(prediction, finite, None, None)
        correct = accepted.gather(1, best).squeeze(1) & finite
        likelihood = torch.where(finite, _likelihood(scores, accepted), -torch.inf).float()
        return ImageOutcomes(prediction, finite, correct, likelihood)


def _likelihood(scores: Tensor, accepted: Tensor) -> Tensor:
    likelihood = scores.masked_fill(~accepted, -torch.inf).logsumexp(dim=1) - scores.logsumexp(dim=1)
    return likelihood.clamp(max=0.0)
