"""The corruptions of ImageNet-C and CIFAR-10-C with an explicit random generator, and a few shifts of our own."""

from lab.data.corruptions.catalogue import EXTRA_NAMES, NAMES, corrupt, corrupt_batch, parameters
from lab.data.corruptions.tables import TableName

__all__ = ["EXTRA_NAMES", "NAMES", "TableName", "corrupt", "corrupt_batch", "parameters"]
