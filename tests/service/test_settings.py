"""Settings on their way to other processes."""

from pathlib import Path

import pytest

from service.settings import Settings


def test_another_process_has_the_same_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    settings = Settings(_env_file=None, data_dir=tmp_path / "a b", lease=2.5, evaluator_device="cpu", port=0)
    for name, value in settings.environment().items():
        monkeypatch.setenv(name, value)
    assert Settings(_env_file=None) == settings
