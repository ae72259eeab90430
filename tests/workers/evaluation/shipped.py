"""The shipped pantries and sets: real checkpoints and real images."""

import io
import zipfile
from pathlib import Path

from PIL import Image

from workers.evaluation.preprocess import DataConfig, encode_images
from workers.evaluation.sets import EncodedSet
from workers.soups.stack import IngredientStack

EXAMPLES = Path(__file__).parents[3] / "examples"
NAMES = ("linf", "l2", "l1", "nominal")


def shipped_stack(pantry: str) -> IngredientStack:
    """The four ingredients of a shipped pantry."""
    return IngredientStack.from_folders([EXAMPLES / "pantries" / pantry / name for name in NAMES])


def labelled_images(archive: Path, label_names: list[str]) -> list[tuple[Image.Image, int]]:
    """The images of a zip of class folders."""
    with zipfile.ZipFile(archive) as members:
        names = sorted(name for name in members.namelist() if name.endswith(".png"))
        return [
            (Image.open(io.BytesIO(members.read(name))), label_names.index(Path(name).parent.name)) for name in names
        ]


def shipped_set(stack: IngredientStack, name: str, part: str = "adaptation") -> EncodedSet:
    """The adaptation or held-out images of a shipped set, as the models of ``stack`` take them."""
    images = labelled_images(EXAMPLES / "sets" / name / f"{part}.zip", stack.config["label_names"])
    encoded = encode_images([image for image, _ in images], DataConfig.of(stack.config))
    return EncodedSet.of_classes(encoded, [label for _, label in images], len(stack.config["label_names"]))
