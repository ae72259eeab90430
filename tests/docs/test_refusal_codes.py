import re
from pathlib import Path

import pytest

ARCHIVES = "service/archives"


@pytest.mark.parametrize(
    ("document", "folders"),
    [
        ("docs/adaptation-sets.md", [ARCHIVES, "service/adaptation_sets"]),
        ("docs/pantries.md", [ARCHIVES, "service/pantries"]),
    ],
)
def test_every_code_of_a_refusal_is_documented(document: str, folders: list[str]) -> None:
    sources = [path.read_text() for folder in folders for path in Path(folder).glob("*.py")]
    codes = {code for source in sources for code in re.findall(r'code="(\w+)"', source)}
    documented = set(re.findall(r"`(\w+)`", Path(document).read_text()))
    assert len(codes) > 20
    assert codes - documented == set()
