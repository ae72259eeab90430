import pytest
import torch

from benchmarks.study_speed.run import VARIANTS, main


def test_the_benchmark_tells_the_speed_of_each_variant(capsys: pytest.CaptureFixture[str]) -> None:
    before = torch.get_num_threads()
    try:
        main(["--images", "20", "--repeats", "1"])
    finally:
        torch.set_num_threads(before)
    lines = capsys.readouterr().out.splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]
    asked = [[f"fashion-{name}", kind, str(size)] for name in ("resnet", "vit") for kind, size in VARIANTS]
    assert [row[:3] for row in rows] == asked
    assert all(float(row[3]) > 0 for row in rows)
    for first in (0, len(VARIANTS)):
        for row in rows[first : first + len(VARIANTS)]:
            assert float(row[4]) == pytest.approx(float(row[3]) / float(rows[first][3]), abs=0.02)
