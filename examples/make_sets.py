"""Make the shipped adaptation sets again, byte for byte, from the IDX files of Fashion-MNIST.

python examples/make_sets.py [--data FOLDER] [--out FOLDER]
"""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path

from lab.data.fashion_mnist import CLASS_NAMES
from lab.data.idx import load_idx_folder
from lab.data.shifted_sets import write_shifted_sets


def main() -> None:
    """Write the sets and print the sha256 of each."""
    parser = argparse.ArgumentParser(description="Make the shipped adaptation sets from Fashion-MNIST's test images.")
    parser.add_argument(
        "--data",
        type=Path,
        default=Path("/usr/share/datasets/fashion-mnist"),
        help="folder of the IDX files (default: where Debian's package dataset-fashion-mnist puts them)",
    )
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "sets", help="folder to write to")
    arguments = parser.parse_args()
    for path in write_shifted_sets(load_idx_folder(arguments.data, "test"), CLASS_NAMES, arguments.out):
        print(hashlib.sha256(path.read_bytes()).hexdigest(), path)


if __name__ == "__main__":
    main()
