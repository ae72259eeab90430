"""Requests as the command line writes them."""

from pathlib import Path
from typing import Any

import pytest

from service.schemas.request import AdaptRequest
from soupsearch.cli.requests import AskedRequest, search_fields

ID, OTHER = "a" * 64, "b" * 64


class Storing:
    """A client that stores every archive under an id."""

    def __init__(self) -> None:
        self.stored: list[tuple[str, Any]] = []

    def add_set(self, archive: Path, label_map: Any) -> Any:
        self.stored.append((archive.name, label_map))
        return type("Stored", (), {"id": OTHER})


@pytest.fixture
def archive(tmp_path: Path) -> str:
    path = tmp_path / "clean.zip"
    path.write_bytes(b"zip")
    return str(path)


def test_only_options_that_were_given_are_sent() -> None:
    left_out = {"lower": None, "prune": False, "step": 0.0}
    assert search_fields(left_out, {"between": None}, {"seconds": None}) == {"step": 0.0}
    curve = search_fields({"strategy": "curve"}, {"between": "l2,linf", "among": None}, {})
    assert curve == {"strategy": "curve", "between": ["l2", "linf"]}
    limited = search_fields({"strategy": "bayes"}, {}, {"evaluations": 9, "interval": None})
    assert limited == {"strategy": "bayes", "budget": {"evaluations": 9}}
    assert AdaptRequest.model_validate({"pantry": "fashion", "search": limited}).search.strategy == "bayes"


def test_one_archive_is_sent_with_the_request(archive: str) -> None:
    client = Storing()
    asked = AskedRequest({"pantry": "fashion"}, {"objective": {"metric": "nll"}}, {archive: {"worn": [1]}})
    fields, path = asked.send(client, lambda *sent: sent)
    assert fields == {"pantry": "fashion", "objective": {"metric": "nll"}, "label_map": {"worn": [1]}}
    assert (path, client.stored) == (Path(archive), [])


def test_several_sets_are_stored_first_and_named_by_their_ids(archive: str) -> None:
    client = Storing()
    on_archive = {"constraints": [{"at_least": 0.5, "adaptation_sets": [archive]}]}
    asked = AskedRequest({"pantry": "fashion"}, on_archive, {ID: None, archive: {"worn": [1]}})
    (fields,) = asked.send(client, lambda *sent: sent)
    assert client.stored == [("clean.zip", {"worn": [1]})]
    assert fields["adaptation_sets"] == [ID, OTHER]
    assert fields["constraints"] == [{"at_least": 0.5, "adaptation_sets": [OTHER]}]
