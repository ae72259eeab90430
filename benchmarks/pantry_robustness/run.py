"""Clean and robust accuracy of shipped ingredients, by APGD on cross-entropy, then targeted, then Square attack.

    python -m benchmarks.pantry_robustness.run --images 1000

Each attack meets the images that withstood those before it. Rows already in the results file are not run again, so an
interrupted run goes on. Prints a Markdown table.
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
from workers.attacks.apgd import apgd
from workers.attacks.attack import LossName, attacks_on
from workers.attacks.model import NormalizedModel, exact_arithmetic
from workers.attacks.square import square
from workers.attacks.threat import Threat

PANTRIES = Path("examples/pantries")
INGREDIENTS = ("linf", "l2", "l1", "nominal")
THREATS = tuple(map(Threat.parse, ("Linf:0.1", "L2:1.5", "L1:12")))
LOSSES: tuple[LossName, ...] = ("ce", "targeted-dlr")
QUERIES = 1000
BATCH = 250
RESULTS = Path(__file__).parent / "results.jsonl"


def folders(pantries: list[str]) -> Iterator[Path]:
    """The shipped ingredients, pantry by pantry."""
    for pantry in pantries:
        yield from (PANTRIES / pantry / ingredient for ingredient in INGREDIENTS)


def load(folder: Path) -> NormalizedModel:
    """The ingredient as an attack sees it."""
    network = timm.create_model(f"local-dir:{folder}", pretrained=True).to(memory_format=torch.channels_last)
    return NormalizedModel.from_data_config(network, network.pretrained_cfg).eval()


def about(folder: Path, images: int, steps: int) -> dict[str, Any]:
    """What a row is of: it holds as long as this is the same."""
    with (folder / "model.safetensors").open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    attacks = [*LOSSES, f"square {QUERIES}"]
    name = f"{folder.parent.name}/{folder.name}"
    return {"ingredient": name, "weights": digest, "attacks": attacks, "images": images, "steps": steps}


def measure(folder: Path, images: Tensor, labels: Tensor, steps: int) -> dict[str, Any]:
    """One row: clean accuracy, and for each threat, and their union, what withstands the attacks so far."""
    model = load(folder)
    with exact_arithmetic():
        stages = [withstood(model, images, labels, threat, steps) for threat in THREATS]
    union = torch.stack(stages).all(0)
    named = zip([*map(str, THREATS), "union"], [*stages, union], strict=True)
    shares = {name: stage[1:].double().mean(1).tolist() for name, stage in named}
    return about(folder, len(labels), steps) | {"clean": stages[0][0].double().mean().item()} | shares


def withstood(model: NormalizedModel, images: Tensor, labels: Tensor, threat: Threat, steps: int) -> Tensor:
    """(4, N) bool: right without attack, after CE, after CE and targeted, after these and Square."""
    rows = torch.arange(len(labels))
    stages: list[Tensor] = []
    for attack in attacks_on([threat], LOSSES, steps=steps, larger_radii=True):
        found = apgd(model, images[rows], labels[rows], attack, indices=rows, batch_size=BATCH)
        if not stages:
            stages.append(found.clean)
        rows = rows[found.robust]
        stages.append(among(rows, len(labels)))
    found = square(model, images[rows], labels[rows], threat, QUERIES, indices=rows, batch_size=BATCH)
    return torch.stack([*stages, among(rows[found.robust], len(labels))])


def among(rows: Tensor, count: int) -> Tensor:
    """Which of ``count`` places (count,) are in ``rows``."""
    return torch.zeros(count, dtype=torch.bool).index_fill(0, rows, value=True)


def table(rows: list[dict[str, Any]]) -> str:
    """Accuracies in per cent: CE / and targeted / and Square."""
    columns = [*map(str, THREATS), "union"]
    lines = ["| ingredient | clean | " + " | ".join(columns) + " |", "|" + " --- |" * (2 + len(columns))]
    for row in rows:
        cells = [" / ".join(f"{100 * value:.1f}" for value in row[column]) for column in columns]
        lines.append(f"| {row['ingredient']} | {100 * row['clean']:.1f} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Run what is missing, print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pantries", nargs="+", default=["fashion-resnet", "fashion-vit"])
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    known = [json.loads(line) for line in options.results.open()] if options.results.exists() else []
    images, labels = fashion_mnist("test", options.images)
    rows = []
    for folder in folders(options.pantries):
        wanted = about(folder, options.images, options.steps)
        row = next((row for row in known if wanted.items() <= row.items()), None)
        if row is None:
            row = measure(folder, images.contiguous(memory_format=torch.channels_last), labels, options.steps)
            with options.results.open("a") as file:
                file.write(json.dumps(row) + "\n")
        rows.append(row)
    print(table(rows))


if __name__ == "__main__":
    main()
