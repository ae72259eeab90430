"""Images a second of our trainer over those of a bare PyTorch loop: same network, images, attack, threads and steps.

    python -m benchmarks.training_speed.run

Both train for the same number of steps in turns. On a CPU the seconds are processor time, so that other work on the
machine does not count. Prints a Markdown table.
"""

import argparse
import time
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from lab.data.labelled_images import LabelledImages
from lab.training.images import ImagesInMemory
from lab.training.network import create_network
from lab.training.recipe import ModelRecipe, TrainingRecipe
from lab.training.trainer import Trainer
from workers.attacks.model import NormalizedModel
from workers.attacks.pgd import pgd
from workers.attacks.threat import Threat

MODEL = ModelRecipe(
    architecture="resnet18",
    arguments={"layers": [1, 1, 1, 1], "channels": [16, 32, 64, 128]},
    mean=(0.286,),
    std=(0.353,),
    label_names=tuple(map(str, range(10))),
    channels_last=True,
)
BATCH = 128
THREAT = Threat("Linf", 0.1)
ATTACK_STEPS = 2


def noise(count: int) -> LabelledImages:
    """Images (count, 1, 28, 28) of noise: speed does not depend on what they show."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (count, 1, 28, 28), generator=generator, dtype=torch.uint8)
    return LabelledImages(pixels.numpy(), torch.randint(10, (count,), generator=generator).numpy())


def recipe(steps: int, *, adversarial: bool) -> TrainingRecipe:
    """SGD on batches of 128, with a crop and a flip, nominal or against two steps of PGD in l_inf."""
    adversary = {"threats": [str(THREAT)], "steps": ATTACK_STEPS} if adversarial else None
    content = {"epochs": 1000, "max_steps": steps, "batch_size": BATCH, "adversary": adversary}
    return TrainingRecipe.model_validate(content | {"augmentation": {"crop_padding": 2, "flip": True}})


def ours(data: LabelledImages, steps: int, device: str, *, adversarial: bool) -> None:
    """Our trainer, without checkpoints."""
    network = create_network(MODEL, seed=0)
    chosen = recipe(steps, adversarial=adversarial)
    Trainer(network, MODEL, ImagesInMemory(data, {}), chosen, device=device).run(lambda _: None)


def bare(data: LabelledImages, steps: int, device: str, *, adversarial: bool) -> None:
    """The least that trains the same: tensors on the device, no augmentation, no order, no schedule, no log."""
    images = torch.split((torch.from_numpy(data.images).float() / 255).to(device), BATCH)
    labels = torch.split(torch.from_numpy(data.labels).to(device), BATCH)
    model = NormalizedModel(create_network(MODEL, seed=0).to(device), MODEL.mean, MODEL.std).to(device)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
    for step in range(steps):
        batch, targets = images[step % len(images)], labels[step % len(images)]
        if adversarial:
            batch = attacked(model, batch, targets)
        model.train()
        optimizer.zero_grad()
        functional.cross_entropy(model(batch), targets).backward()  # type: ignore[no-untyped-call]
        optimizer.step()


def attacked(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """The same attack as our trainer's."""
    model.eval()
    return pgd(model, images, labels, THREAT, ATTACK_STEPS)


def seconds(run: Callable[[], object], device: str) -> float:
    """Wall time on a GPU, processor time on a CPU."""
    if device == "cpu":
        started = time.process_time()
        run()
        return time.process_time() - started
    torch.cuda.synchronize(device)
    started = time.perf_counter()
    run()
    torch.cuda.synchronize(device)
    return time.perf_counter() - started


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    data = noise(BATCH * 20)
    print("| training | ours, images/s | bare loop, images/s | ours / bare |")
    print("| --- | --- | --- | --- |")
    for adversarial in (False, True):
        runs = [partial(run, data, options.steps, options.device, adversarial=adversarial) for run in (ours, bare)]
        for run in (partial(each, data, 3, options.device, adversarial=adversarial) for each in (ours, bare)):
            run()
        turns = [[seconds(run, options.device) for run in runs] for _ in range(options.repeats)]
        rates = [options.steps * BATCH / min(turn[number] for turn in turns) for number in (0, 1)]
        name = f"l_inf, {ATTACK_STEPS} steps of PGD" if adversarial else "nominal"
        print(f"| {name} | {rates[0]:.0f} | {rates[1]:.0f} | {rates[0] / rates[1]:.2f} |", flush=True)


if __name__ == "__main__":
    main()
