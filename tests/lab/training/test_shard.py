from __future__ import annotations

import os
import re
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import distributed
from torch.multiprocessing.spawn import spawn

from lab.training.network import create_network
from lab.training.progress import TrainingProgress
from lab.training.recipe import Precision
from lab.training.shard import WHOLE, Shard
from lab.training.trainer import Trainer
from tests.lab.training.recipes import images, tiny_model, training

COUNT = 2
BFLOAT16_ROUNDING = 2**-9
"""The most that rounding to bfloat16 moves a number of size 1, as logits and normalised activations are."""
ROUNDINGS = 24
"""On the way from an image to a logit of the tiny model: products, normalisations, sums. Losses move twice as much."""
RECIPE = training(
    max_steps=6,
    ema_decay=0.9,
    adversary={"threats": ["Linf:0.1", "L2:1.5", "L1:12"], "mode": "eat", "steps": 1, "random_start": True},
)


@given(st.integers(1, 8), st.integers(1, 50))
def test_equal_shares_cover_a_batch_once(count: int, size: int) -> None:
    rows = [row for rank in range(count) for row in range(count * size)[Shard(rank, count).rows(count * size)]]
    assert rows == list(range(count * size))


def test_a_batch_that_does_not_divide_is_refused() -> None:
    with pytest.raises(ValueError, match="batch_size 32 does not divide by 3 workers"):
        Shard(0, 3).rows(32)


@given(st.integers(0, 2**63 - 2), st.integers(2, 64))
def test_seeds_of_shares_differ(common: int, count: int) -> None:
    assert len({Shard(rank, count).seed(common) for rank in range(count)}) == count
    assert Shard(0, count).seed(common) == common


def test_a_process_without_a_group_trains_alone() -> None:
    assert Shard.of_this_process() == WHOLE


def test_processes_that_share_batches_keep_the_same_weights(tmp_path: Path) -> None:
    """With BatchNorm, whose statistics each takes from its share, and a moving average."""
    first, second = run_in_group(tmp_path, checkpoints=("both", "both"))
    assert first["losses"] == second["losses"]
    assert len(first["losses"]) == 6
    for name, tensor in first["parameters"].items():
        assert torch.equal(tensor, second["parameters"][name])
    assert (tmp_path / "both").is_file()
    resumed, _ = run_in_group(tmp_path, checkpoints=("both", "both"))
    assert resumed["losses"] == []


def test_processes_that_see_different_checkpoints_are_refused(tmp_path: Path) -> None:
    run_in_group(tmp_path, checkpoints=("here", "here"))
    for told in run_in_group(tmp_path, checkpoints=("here", "nowhere")):
        assert "on storage that all share" in told["error"]


def test_in_mixed_precision_they_keep_the_same_weights_too(tmp_path: Path) -> None:
    first, second = run_in_group(tmp_path, checkpoints=("both", "both"), precision="bfloat16")
    exact, _ = run_in_group(tmp_path, checkpoints=("other", "other"))
    for name, tensor in first["parameters"].items():
        assert tensor.dtype == torch.float32
        assert torch.equal(tensor, second["parameters"][name])
    assert first["losses"] == second["losses"]
    assert first["losses"] != exact["losses"]
    # Later steps start from weights that rounding has moved apart, by how much depends on the CPU.
    assert first["losses"][0] == pytest.approx(exact["losses"][0], abs=2 * ROUNDINGS * BFLOAT16_ROUNDING)


def test_what_breaks_in_one_process_ends_all_where_the_first_one_saves(tmp_path: Path) -> None:
    """The others' clocks, by which nothing is due here, do not count."""
    first, second = run_in_group(tmp_path, checkpoints=("both", "both"), broken=1, seconds=(0, 1e9))
    assert "its state in another worker is not finite after step 3 of 6" in first["error"]
    assert re.search(r"its \S+running_var is not finite after step 3 of 6", second["error"])
    assert torch.load(tmp_path / "both", weights_only=True)["state"]["step"] == 2


def run_in_group(
    folder: Path,
    checkpoints: tuple[str, ...],
    precision: Precision = "float32",
    *,
    broken: int | None = None,
    seconds: tuple[float, ...] = (0, 0),
) -> list[dict[str, Any]]:
    """What each of two processes tells of training together, with the checkpoint of its own name.

    The running statistics of the process ``broken`` become infinite in its third step.
    """
    (folder / "store").unlink(missing_ok=True)
    arguments = (folder, checkpoints, seconds)
    share = partial(train_share, precision=precision, broken=broken)
    spawn(share, args=arguments, nprocs=COUNT)  # type: ignore[no-untyped-call]
    return [torch.load(folder / f"told-{rank}", weights_only=True) for rank in range(COUNT)]


def train_share(
    rank: int,
    folder: Path,
    checkpoints: tuple[str, ...],
    seconds: tuple[float, ...],
    *,
    precision: Precision,
    broken: int | None,
) -> None:
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=COUNT)
    network = create_network(tiny_model(), seed=rank)
    trainer = Trainer(
        network,
        tiny_model(),
        images(320),
        RECIPE.model_copy(update={"precision": precision}),
        checkpoint=folder / checkpoints[rank],
        checkpoint_seconds=seconds[rank],
        shard=Shard.of_this_process(),
    )
    told: dict[str, Any] = {"losses": []}

    def note(progress: TrainingProgress) -> None:
        told["losses"].append(progress.loss)
        if rank == broken and progress.step == 3:
            network.state_dict()["bn1.running_var"].fill_(torch.inf)

    try:
        trained = trainer.run(note)
        told["parameters"] = {name: tensor.detach() for name, tensor in trained.named_parameters()}
    except ValueError as error:
        told["error"] = str(error)
    torch.save(told, folder / f"told-{rank}")
    distributed.destroy_process_group()
