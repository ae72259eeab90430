import json
from pathlib import Path

import pytest

from benchmarks.gpu_evaluation.run import main


def test_the_benchmark_runs_on_a_machine_without_a_gpu(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "report.json"
    small = ["--architecture", "test_vit", "--image-size", "32", "--images", "6", "--batch-size", "4", "--limit", "8"]
    assert main(["--device", "cpu", "--out", str(out), *small]) == 0
    report = json.loads(out.read_text())
    assert [row["precision"] for row in report["throughput"]] == ["float32", "bfloat16"]
    assert all(row["soups"] > 0 and row["bare"] > 0 for row in report["throughput"])
    assert len(report["agreement"]) == 3 * 4 * 8
    assert all(row["predictions_that_differ"] == row["logit_difference"] == 0 for row in report["agreement"])
    assert "greatest logit_difference: 0.0" in capsys.readouterr().out
