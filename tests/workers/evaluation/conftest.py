"""Ingredients of both kinds: with batch normalisation and without."""

import pytest

from tests.workers.evaluation.images import resnet_stack, vit_stack
from workers.soups.stack import IngredientStack


@pytest.fixture(scope="module", params=[resnet_stack, vit_stack], ids=["resnet", "vit"])
def stack(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> IngredientStack:
    stack: IngredientStack = request.param(tmp_path_factory.mktemp("pantry"))
    return stack
