"""Seconds of our APGD over seconds of the authors' code: same model, images, threads and steps, taken in turns.

    python -m benchmarks.attack_speed.run

On a CPU the seconds are processor time, so that other work on the machine does not count. Prints a Markdown table.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn

from benchmarks.attack_parity.classifiers import fashion_mnist, train_classifier
from benchmarks.attack_parity.reference import reference_points
from workers.attacks.apgd import apgd
from workers.attacks.attack import Attack
from workers.attacks.threat import Threat

ATTACKS = [
    Attack(Threat("Linf", 0.1), loss="ce"),
    Attack(Threat("Linf", 0.1), loss="dlr"),
    Attack(Threat("Linf", 0.1), loss="targeted-dlr", targets=3),
    Attack(Threat("L2", 1.5), loss="ce"),
    Attack(Threat("L1", 12.0), loss="ce"),
    Attack(Threat("L1", 12.0), loss="ce", larger_radii=True),
]


def seconds(attack: Callable[[], object], device: torch.device) -> float:
    """Wall time on a GPU, processor time on a CPU."""
    if device.type == "cpu":
        started = time.process_time()
        attack()
        return time.process_time() - started
    torch.cuda.synchronize(device)
    started = time.perf_counter()
    attack()
    torch.cuda.synchronize(device)
    return time.perf_counter() - started


def measure(model: nn.Module, images: Tensor, labels: Tensor, attack: Attack, repeats: int) -> list[float]:
    """The least seconds of ``repeats`` turns: ours to the latest success, ours to the first, the reference."""
    latest = replace(attack, goal="latest_success")
    attacks = [
        lambda: apgd(model, images, labels, latest, batch_size=len(images)),
        lambda: apgd(model, images, labels, attack, batch_size=len(images)),
        lambda: reference_points(model, images, labels, attack, seed=0),
    ]
    turns = [[seconds(run, images.device) for run in attacks] for _ in range(repeats)]
    return [min(turn[number] for turn in turns) for number in range(len(attacks))]


def main() -> None:
    """Train, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    model = train_classifier(*fashion_mnist("train", 10000), Threat("Linf", 0.1), epochs=2).to(options.device)
    images, labels = (whole.to(options.device) for whole in fashion_mnist("test", options.images))
    print("| threat | loss | larger radii first | latest success / reference | first success / reference |")
    print("| --- | --- | --- | --- | --- |")
    for attack in ATTACKS:
        latest, first, reference = measure(model, images, labels, attack, options.repeats)
        larger = "yes" if attack.larger_radii else "no"
        print(
            f"| {attack.threat} | {attack.loss} | {larger} | {latest / reference:.2f} | {first / reference:.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
