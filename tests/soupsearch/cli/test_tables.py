"""What a result's tables say."""

import pytest

from service.api.examples import RESULT, SET_ID, SUCCEEDED_JOB
from service.schemas.result import ImageToLabel, LabelFreeChoice
from soupsearch.cli.tables import label_table, result_tables


@pytest.mark.parametrize(("images", "told"), [(60, "60"), (None, "100")])
def test_the_title_counts_the_images_that_the_score_is_of(images: int | None, told: str) -> None:
    result = RESULT.model_copy(update={"images": images})
    comparison, *_ = result_tables(SUCCEEDED_JOB.model_copy(update={"result": result}))
    assert comparison.title == f"pantry fashion, {told} images"


def test_top_soups_are_listed_with_the_number_by_which_each_is_downloaded() -> None:
    _, top, *_ = result_tables(SUCCEEDED_JOB)
    assert top.title == f"top soups: soupsearch download {SUCCEEDED_JOB.id} --point POINT --out DIR"
    assert (top.columns[0].header, list(top.columns[0].cells)) == ("point", ["317", "62"])
    older = RESULT.model_copy(update={"top": [each.model_copy(update={"point": None}) for each in RESULT.top]})
    _, top, *_ = result_tables(SUCCEEDED_JOB.model_copy(update={"result": older}))
    assert list(top.columns[0].cells) == ["", ""]


def test_images_to_label_are_listed_with_the_classes_that_soups_predict() -> None:
    images = [ImageToLabel(set=SET_ID, image="unlabelled/7.png", votes={"bag": 5, "shoe": 2}, information=0.5)]
    result = RESULT.model_copy(update={"label_next": images})
    table = label_table(result)
    assert [list(column.cells) for column in table.columns] == [["unlabelled/7.png"], ["bag 5, shoe 2"]]
    tables = result_tables(SUCCEEDED_JOB.model_copy(update={"result": result}))
    assert tables[-1].title == "images to label next"
    other = images[0].model_copy(update={"set": "0" * 64})
    apart = label_table(result.model_copy(update={"label_next": [*images, other]}))
    assert list(apart.columns[0].cells) == [SET_ID[:12], "0" * 12]


def test_the_title_counts_images_with_and_without_a_label() -> None:
    choice = LabelFreeChoice(labelled=10, unlabelled=90, weight=1.0, doubts=[])
    result = RESULT.model_copy(update={"metric": "mutual_information", "score": 1.25, "label_free": choice})
    comparison, *_ = result_tables(SUCCEEDED_JOB.model_copy(update={"result": result}))
    assert comparison.title == "pantry fashion, 10 images with a label, 90 without"
    assert next(iter(comparison.columns[1].cells)) == "1.250"
