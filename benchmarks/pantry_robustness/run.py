"""Clean and robust accuracy of each shipped ingredient, by APGD on cross-entropy and by targeted APGD.

    python -m benchmarks.pantry_robustness.run --images 1000

Rows already in the results file are not run again, so an interrupted run goes on. Prints a Markdown table.
"""

import argparse
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import timm
import torch
from torch import Tensor

from benchmarks.attack_parity.classifiers import fashion_mnist
from workers.attacks.attack import LossName, attacks_on
from workers.attacks.model import NormalizedModel
from workers.attacks.robustness import RobustAccuracy, robust_accuracy
from workers.attacks.threat import Threat

PANTRIES = Path("examples/pantries")
INGREDIENTS = ("linf", "l2", "l1", "nominal")
THREATS = tuple(map(Threat.parse, ("Linf:0.1", "L2:1.5", "L1:12")))
LOSSES: tuple[LossName, ...] = ("ce", "targeted-dlr")
BATCH = 250
RESULTS = Path(__file__).parent / "results.jsonl"


def folders() -> Iterator[Path]:
    """The shipped ingredients, pantry by pantry."""
    for pantry in ("fashion-resnet", "fashion-vit"):
        yield from (PANTRIES / pantry / ingredient for ingredient in INGREDIENTS)


def load(folder: Path) -> NormalizedModel:
    """The ingredient as an attack sees it."""
    network = timm.create_model(f"local-dir:{folder}", pretrained=True).to(memory_format=torch.channels_last)
    return NormalizedModel.from_data_config(network, network.pretrained_cfg).eval()


def measure(folder: Path, images: Tensor, labels: Tensor, steps: int) -> dict[str, Any]:
    """One row: clean accuracy, and for each threat, and their union, robust accuracy by CE and by both attacks."""
    attacks = attacks_on(THREATS, LOSSES, steps=steps, larger_radii=True)
    found = robust_accuracy(load(folder), images, labels, attacks, batch_size=BATCH)
    return about(folder, len(labels), steps) | {"clean": share(found.clean)} | by_threat(found)


def about(folder: Path, images: int, steps: int) -> dict[str, Any]:
    """What a row is of: it holds as long as this is the same."""
    with (folder / "model.safetensors").open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    name = f"{folder.parent.name}/{folder.name}"
    attacks = [f"{threat} {loss}" for threat in THREATS for loss in LOSSES]
    return {"ingredient": name, "weights": digest, "attacks": attacks, "images": images, "steps": steps}


def by_threat(found: RobustAccuracy) -> dict[str, list[float]]:
    """For each threat and the union: accuracy under APGD-CE, under targeted APGD, and under both."""
    withstood = torch.stack([result.robust[0] for result in found.threats]).reshape(len(THREATS), len(LOSSES), -1)
    withstood = torch.cat([withstood, withstood.all(0, keepdim=True)])
    names = [*map(str, THREATS), "union"]
    return {name: [*map(share, losses), share(losses.all(0))] for name, losses in zip(names, withstood, strict=True)}


def share(right: Tensor) -> float:
    """The mean of a bool tensor."""
    return right.double().mean().item()


def table(rows: list[dict[str, Any]]) -> str:
    """Accuracies in per cent: CE / targeted / both."""
    columns = [*map(str, THREATS), "union"]
    lines = ["| ingredient | clean | " + " | ".join(columns) + " |", "|" + " --- |" * (2 + len(columns))]
    for row in rows:
        cells = [" / ".join(f"{100 * value:.1f}" for value in row[column]) for column in columns]
        lines.append(f"| {row['ingredient']} | {100 * row['clean']:.1f} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Run what is missing, print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = [json.loads(line) for line in options.results.open()] if options.results.exists() else []
    wanted = [about(folder, options.images, options.steps) for folder in folders()]
    rows = [row for row in rows if any(each.items() <= row.items() for each in wanted)]
    images, labels = fashion_mnist("test", options.images)
    for folder in folders():
        if f"{folder.parent.name}/{folder.name}" not in {row["ingredient"] for row in rows}:
            rows.append(measure(folder, images.contiguous(memory_format=torch.channels_last), labels, options.steps))
            with options.results.open("a") as file:
                file.write(json.dumps(rows[-1]) + "\n")
    print(table(rows))


if __name__ == "__main__":
    main()
