"""What a result's tables say."""

import pytest

from service.api.examples import RESULT, SUCCEEDED_JOB
from soupsearch.cli.tables import result_tables


@pytest.mark.parametrize(("images", "told"), [(60, "60"), (None, "100")])
def test_the_title_counts_the_images_that_the_score_is_of(images: int | None, told: str) -> None:
    result = RESULT.model_copy(update={"images": images})
    comparison, *_ = result_tables(SUCCEEDED_JOB.model_copy(update={"result": result}))
    assert comparison.title == f"pantry fashion, {told} images"
