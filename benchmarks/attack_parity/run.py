"""Robust accuracy by our APGD and by the authors' code, on the same models and images, seed by seed.

    python -m benchmarks.attack_parity.run --images 1000 --seeds 5

Rows already in the results file are not run again, so an interrupted run goes on. Prints a Markdown table.
"""

import argparse
import itertools
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.attack_parity.classifiers import subjects
from benchmarks.attack_parity.reference import reference_robust
from workers.attacks.apgd import apgd
from workers.attacks.attack import Attack, LossName
from workers.attacks.threat import Threat

THREATS = {"standard": ("Linf:0.05", "L2:0.75", "L1:5.0"), "robust": ("Linf:0.1", "L2:1.5", "L1:12.0")}
TARGETS = 3
RESULTS = Path(__file__).parent / "results.jsonl"


@dataclass(frozen=True)
class Case:
    """One row of the table: a model and the attack on it."""

    model: str
    attack: Attack

    def key(self) -> dict[str, Any]:
        """The row's name in the results file."""
        return {
            "model": self.model,
            "threat": str(self.attack.threat),
            "loss": self.attack.loss,
            "steps": self.attack.steps,
            "larger_radii": self.attack.larger_radii,
        }


def cases(models: Iterable[str], steps: list[int], losses: list[LossName]) -> Iterator[Case]:
    """Every combination, the cheap ones first; an ingredient meets the threats of the robust classifier."""
    for count, loss, model in itertools.product(steps, losses, models):
        for threat in map(Threat.parse, THREATS.get(model, THREATS["robust"])):
            for larger in (False, True) if threat.norm == "L1" else (False,):
                yield Case(model, Attack(threat, count, loss, targets=TARGETS, larger_radii=larger))


def compare(case: Case, model: nn.Module, images: Tensor, labels: Tensor, seeds: int) -> dict[str, Any]:
    """Robust accuracies by both, one a seed."""
    found: dict[str, list[float]] = {"ours": [], "reference": []}
    for seed in range(seeds):
        ours = apgd(model, images, labels, case.attack, seed=seed, batch_size=len(images)).robust
        reference = reference_robust(model, images, labels, case.attack, seed=seed)
        found["ours"].append(ours.double().mean().item())
        found["reference"].append(reference.double().mean().item())
    return case.key() | {"images": len(images)} | found


def table(rows: list[dict[str, Any]]) -> str:
    """Means and deviations over seeds in per cent, and the difference of the means."""
    head = "| model | threat | loss | steps | larger radii first | ours | reference | difference |"
    lines = [head, "|" + " --- |" * 8]
    for row in rows:
        ours, reference = (100 * np.array(row[name]) for name in ("ours", "reference"))
        cells = [row["model"], row["threat"], row["loss"], row["steps"], "yes" if row["larger_radii"] else "no"]
        cells += [f"{side.mean():.2f} ± {side.std():.2f}" for side in (ours, reference)]
        lines.append("| " + " | ".join(map(str, [*cells, f"{ours.mean() - reference.mean():+.2f}"])) + " |")
    return "\n".join(lines)


def main() -> None:
    """Run what is missing, print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, nargs="+", default=[40, 100])
    parser.add_argument("--losses", nargs="+", default=["ce", "dlr", "targeted-dlr"])
    parser.add_argument("--ingredient", type=Path, help="attack the network of this timm folder instead of the two")
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = [json.loads(line) for line in options.results.open()] if options.results.exists() else []
    rows = [row for row in rows if (row["images"], len(row["ours"])) == (options.images, options.seeds)]
    done = [{name: row[name] for name in ("model", "threat", "loss", "steps", "larger_radii")} for row in rows]
    models, images, labels = subjects(options.ingredient, options.images)
    rows = [row for row in rows if row["model"] in models]
    for case in cases(models, options.steps, options.losses):
        if case.key() not in done:
            rows.append(compare(case, models[case.model], images, labels, options.seeds))
            with options.results.open("a") as file:
                file.write(json.dumps(rows[-1]) + "\n")
    print(table(rows))


if __name__ == "__main__":
    main()
