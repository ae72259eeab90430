"""Images a second and memory of adversarial fine-tuning of ViT-B/16 on synthetic images, by our trainer.

    python -m benchmarks.vit_finetuning.run

As the shipped recipe ``imagenet-vit-b16`` fine-tunes: its network, batch size, precision, optimizer and attack, on
noise in memory instead of image files, so that reading is left out. What images show changes neither speed nor memory.
"""

import argparse
import json
import resource
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from lab.data.labelled_images import LabelledImages
from lab.training.images import ImagesInMemory
from lab.training.network import check_network, create_network
from lab.training.progress import TrainingProgress
from lab.training.recipe import IngredientRecipe, TrainingRecipe
from lab.training.recipe_file import read_pantry_recipe
from lab.training.trainer import Trainer

RECIPE = Path(__file__).parents[2] / "examples/recipes/imagenet-vit-b16.yaml"
IMAGENET = 1_281_167
IMAGE_SIZE = 224
WARM_UP = 2
"""Steps that are not timed: libraries choose their algorithms in the first ones."""


def noise(count: int, size: int, classes: int) -> LabelledImages:
    """Images (count, 3, size, size) of noise."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (count, 3, size, size), generator=generator, dtype=torch.uint8)
    return LabelledImages(pixels.numpy(), torch.randint(classes, (count,), generator=generator).numpy())


def shortened(training: TrainingRecipe, steps: int) -> TrainingRecipe:
    """The same training over so many steps, with the flips that images in memory can have."""
    content = training.model_dump() | {"epochs": steps, "max_steps": steps, "augmentation": {"flip": True}}
    return TrainingRecipe.model_validate(content)


def measure(recipe: IngredientRecipe, size: int, steps: int, device: str) -> dict[str, object]:
    """Train ``steps`` steps and ``WARM_UP`` before; the trainer reads each step's loss, which waits for the device."""
    check_network(recipe.model, (size, size))
    training = shortened(recipe.training, steps + WARM_UP)
    images = ImagesInMemory(noise(2 * training.batch_size, size, len(recipe.model.label_names)), {})
    network = create_network(recipe.model, training.seed)
    times: list[float] = []

    def note(_: TrainingProgress) -> None:
        times.append(time.perf_counter())

    Trainer(network, recipe.model, images, training, device=device).run(note)
    timed = len(times) - WARM_UP
    rate = timed * training.batch_size / (times[-1] - times[WARM_UP - 1])
    return {
        "device": torch.cuda.get_device_name(device) if device.startswith("cuda") else "cpu",
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "batch_size": training.batch_size,
        "precision": training.precision,
        "attack": None if training.adversary is None else training.adversary.model_dump(mode="json"),
        "steps": timed,
        "images_per_second": rate,
        "hours_of_an_imagenet_epoch": IMAGENET / rate / 3600,
        "peak_memory_gib": peak_memory(device) / 2**30,
    }


def peak_memory(device: str) -> int:
    """Bytes: on a GPU the most that tensors took at once, on a CPU the most that this process had."""
    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated(device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print JSON."""
    options = _parser().parse_args(arguments)
    overrides = [f"fine_tunes.{options.name}.batch_size={options.batch_size}"] if options.batch_size else []
    pantry = read_pantry_recipe(RECIPE, [*overrides, *options.overrides])
    size = options.image_size or pantry.data.image_size or IMAGE_SIZE
    print(json.dumps(measure(pantry.ingredient(options.name), size, options.steps, options.device), indent=2))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--name", default="l2", help="the fine-tune of the recipe: l2, l1 or nominal")
    parser.add_argument("--steps", type=int, default=20, help="steps that are timed")
    parser.add_argument("--batch-size", type=int, help="instead of the recipe's 128")
    parser.add_argument("--image-size", type=int, help="instead of the recipe's 224")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--set", dest="overrides", action="append", default=[], metavar="KEY=VALUE")
    return parser


if __name__ == "__main__":
    sys.exit(main())
