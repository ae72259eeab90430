import json

import pytest

from benchmarks.vit_finetuning.run import main

SMALL = ["--batch-size", "4", "--steps", "2", "--image-size", "32"]
NETWORK = ["--set", "model.arguments={img_size: 32, embed_dim: 16, depth: 1, num_heads: 2}"]


@pytest.mark.parametrize("name", ["l2", "l1", "nominal"])
def test_the_benchmark_runs_on_a_machine_without_a_gpu(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--device", "cpu", "--name", name, *SMALL, *NETWORK]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["batch_size"], report["steps"], report["precision"]) == (4, 2, "bfloat16")
    assert (report["attack"] is None) == (name == "nominal")
    assert report["images_per_second"] > 0
    assert report["peak_memory_gib"] > 0
    assert report["hours_of_an_imagenet_epoch"] == pytest.approx(1_281_167 / report["images_per_second"] / 3600)
