import json
import time

import pytest

from benchmarks.vit_finetuning.run import main

SMALL = ["--batch-size", "4", "--steps", "2", "--image-size", "32"]
NETWORK = ["--set", "model.arguments={img_size: 32, embed_dim: 16, depth: 1, num_heads: 2}"]
PARAMETERS = 12_304 + 16 + 80 + 3_280 + 32 + 17_000
"""Of the patches of 16 x 16 pixels, the class token, five positions, the block, the last norm and 1000 classes."""


@pytest.mark.parametrize("name", ["l2", "l1", "nominal"])
def test_the_benchmark_runs_on_a_machine_without_a_gpu(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    start = time.perf_counter()
    assert main(["--device", "cpu", "--name", name, *SMALL, *NETWORK]) == 0
    elapsed = time.perf_counter() - start
    report = json.loads(capsys.readouterr().out)
    assert (report["batch_size"], report["steps"], report["precision"]) == (4, 2, "bfloat16")
    assert (report["attack"] is None) == (name == "nominal")
    assert report["parameters"] == PARAMETERS
    assert 2 * 4 / report["images_per_second"] < elapsed
