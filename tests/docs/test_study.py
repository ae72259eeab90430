"""What the documentation says was measured is what its study files say."""

import json
from pathlib import Path

import pytest

from workers.study.config import StudyConfig
from workers.study.documents import numbers_json

STUDIES = sorted((Path(__file__).parents[2] / "docs/study").rglob("study.yaml"))


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.parent.name)
def test_numbers_were_measured_with_the_study_file_beside_them(path: Path) -> None:
    config = StudyConfig.load(path)
    numbers = json.loads((path.parent / "numbers.json").read_text())
    assert numbers["study"] == json.loads(numbers_json(config, {}))["study"]
    measured = {(row["pantry"], row["severity"]) for row in numbers["shifts"] if row["corruption"]}
    every = config.data.severities
    assert measured == {(each.name, severity) for each in config.pantries for severity in each.severities or every}
