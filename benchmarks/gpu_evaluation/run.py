"""Command line of the benchmark: ``python -m benchmarks.gpu_evaluation.run --help``."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import timm
import torch

from benchmarks.gpu_evaluation.agreement import compare_devices
from benchmarks.gpu_evaluation.throughput import measure

UNWANTED = ("ray", "redis", "fastapi", "service")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run both parts, print a summary and write everything as JSON."""
    options = _parser().parse_args(arguments)
    report = {
        "torch": torch.__version__,
        "timm": timm.__version__,
        "device": torch.cuda.get_device_name() if options.device == "cuda" else "cpu",
        "throughput": measure(
            options.device,
            options.architecture,
            image_size=options.image_size,
            images=options.images,
            batch_size=options.batch_size,
        ),
        "agreement": compare_devices(options.device, options.limit),
        "unwanted_modules": [name for name in UNWANTED if name in sys.modules],
    }
    options.out.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    _summarise(report)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Evaluation on a GPU against the CPU and bare forward passes.")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--architecture", default="vit_base_patch16_224", help="a timm model that takes img_size")
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--images", type=int, default=2048, help="images of one soup in the throughput part")
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--limit", type=int, default=500, help="images of each shipped set in the agreement part")
    parser.add_argument("--out", type=Path, default=Path("gpu_evaluation.json"))
    return parser


def _summarise(report: dict[str, object]) -> None:
    rows = report["agreement"]
    assert isinstance(rows, list)
    print(json.dumps(report["throughput"], indent=2))
    print(f"{len(rows)} scores of shipped pantries")
    for key in ("predictions_that_differ", "logit_difference", "nll_difference"):
        print(f"  greatest {key}: {max(row[key] for row in rows)}")
    print(f"modules that should not be needed: {report['unwanted_modules'] or 'none'}")


if __name__ == "__main__":
    sys.exit(main())
