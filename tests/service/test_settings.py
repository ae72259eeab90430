"""Settings on their way to other processes."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from service.settings import Settings


def test_another_process_has_the_same_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    settings = Settings(_env_file=None, data_dir=tmp_path / "a b", lease=2.5, evaluator_device="cpu", port=0)
    for name, value in settings.environment().items():
        monkeypatch.setenv(name, value)
    assert Settings(_env_file=None) == settings


@pytest.mark.parametrize("hosts", ["http://soup.lan", "soup.lan:8000", "soup.lan/", "[::1]", "*.lan", "soup lan"])
def test_what_is_no_name_of_a_host_is_refused(hosts: str) -> None:
    with pytest.raises(ValidationError, match="leave out scheme, port, path and brackets"):
        Settings(_env_file=None, allowed_hosts=f"localhost,{hosts}")
