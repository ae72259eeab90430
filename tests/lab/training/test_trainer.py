from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from lab.training.checkpoint import CheckpointMismatchError
from lab.training.network import create_network
from lab.training.progress import TrainingProgress
from lab.training.recipe import OptimizerRecipe, TrainingRecipe
from lab.training.trainer import Trainer, learning_rate
from tests.lab.training.recipes import images, tiny_model, training
from tests.waiting import wait_until

ADVERSARIES: list[dict[str, Any] | None] = [
    None,
    {"threats": ["Linf:0.1"], "steps": 1, "random_start": True},
    {"mode": "eat", "threats": ["Linf:0.1", "L2:1.5"], "steps": 1},
]
SCRIPT = """
import sys, time
from pathlib import Path
import torch
from tests.lab.training.recipes import fashion, images, tiny_model, training
from lab.training.network import create_network
from lab.training.trainer import Trainer
torch.set_num_threads(1)
folder, stop_at = Path(sys.argv[1]), int(sys.argv[2])
recipe = training(adversary={"mode": "eat", "threats": ["Linf:0.1", "L1:12"], "steps": 1}, ema_decay=0.9)
def on_progress(progress):
    if progress.step == stop_at:
        (folder / "reached").touch()
        time.sleep(600)
trainer = Trainer(create_network(tiny_model(), 0), tiny_model(), images(320), recipe,
                  checkpoint=folder / "checkpoint", checkpoint_seconds=0)
torch.save(trainer.run(on_progress).state_dict(), folder / "result")
"""


class Interruption(Exception):
    """Stops a run where a kill would."""


def train(recipe: TrainingRecipe, **options: Any) -> dict[str, Tensor]:
    trainer = Trainer(create_network(tiny_model(), 0), tiny_model(), images(320), recipe, **options)
    return trainer.run().state_dict()


def equal(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize("adversary", ADVERSARIES, ids=["nominal", "single", "eat"])
def test_equal_seeds_train_alike(adversary: dict[str, Any] | None) -> None:
    recipe = training(adversary=adversary)
    first = train(recipe)
    torch.rand(3)
    assert equal(first, train(recipe))
    assert not equal(first, train(training(adversary=adversary, seed=6)))


@pytest.mark.parametrize("adversary", ADVERSARIES, ids=["nominal", "single", "eat"])
@pytest.mark.parametrize("ema_decay", [None, 0.9])
def test_an_interrupted_run_ends_as_an_uninterrupted_one(
    tmp_path: Path, adversary: dict[str, Any] | None, ema_decay: float | None
) -> None:
    recipe = training(adversary=adversary, ema_decay=ema_decay, optimizer={"name": "adamw", "learning_rate": 0.01})

    def stop(progress: TrainingProgress) -> None:
        if progress.step == 6:
            raise Interruption

    checkpoint = tmp_path / "checkpoint"
    trainer = Trainer(
        create_network(tiny_model(), 0), tiny_model(), images(320), recipe, checkpoint=checkpoint, checkpoint_seconds=0
    )
    with pytest.raises(Interruption):
        trainer.run(stop)
    assert checkpoint.is_file()
    assert equal(train(recipe, checkpoint=checkpoint), train(recipe))


@pytest.mark.slow
def test_a_killed_process_ends_as_an_undisturbed_one(tmp_path: Path) -> None:
    killed, undisturbed = tmp_path / "killed", tmp_path / "undisturbed"
    for folder in (killed, undisturbed):
        folder.mkdir()
    with _start(killed, stop_at=6) as process:
        wait_until((killed / "reached").is_file, timeout=60)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    for folder in (killed, undisturbed):
        with _start(folder, stop_at=-1) as process:
            assert process.wait(timeout=60) == 0
    first, second = (torch.load(folder / "result", weights_only=True) for folder in (killed, undisturbed))
    assert equal(first, second)


def _start(folder: Path, stop_at: int) -> subprocess.Popen[bytes]:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path.cwd())}
    return subprocess.Popen([sys.executable, "-c", SCRIPT, str(folder), str(stop_at)], env=environment)


def test_progress_counts_every_step() -> None:
    seen: list[TrainingProgress] = []
    recipe = training(epochs=1.5)
    Trainer(create_network(tiny_model(), 0), tiny_model(), images(320), recipe).run(seen.append)
    assert [progress.step for progress in seen] == list(range(1, 16))
    assert {progress.steps for progress in seen} == {15}
    assert all(progress.images_per_second > 0 and 0 <= progress.accuracy <= 1 for progress in seen)


def test_training_lowers_the_loss() -> None:
    seen: list[TrainingProgress] = []
    recipe = training(adversary=None, epochs=8, batch_size=64, optimizer={"learning_rate": 0.1})
    Trainer(create_network(tiny_model(), 0), tiny_model(), images(640), recipe).run(seen.append)
    assert seen[-1].loss < 0.6 * seen[0].loss


def test_a_checkpoint_of_another_recipe_is_refused(tmp_path: Path) -> None:
    checkpoint = tmp_path / "checkpoint"
    train(training(adversary=None), checkpoint=checkpoint, checkpoint_seconds=0)
    with pytest.raises(CheckpointMismatchError):
        train(training(adversary=None, seed=6), checkpoint=checkpoint)


def test_the_schedule_runs_over_the_steps_that_there_are() -> None:
    seen: list[TrainingProgress] = []
    recipe = training(epochs=5, max_steps=6, optimizer={"schedule": "thirds", "learning_rate": 1.0})
    Trainer(create_network(tiny_model(), 0), tiny_model(), images(320), recipe).run(seen.append)
    assert [round(progress.learning_rate, 4) for progress in seen] == [1, 1, 0.1, 0.1, 0.01, 0.01]


@pytest.mark.parametrize("ema_decay", [None, 0.9])
def test_a_training_that_diverges_is_told_and_not_kept(tmp_path: Path, ema_decay: float | None) -> None:
    seen: list[TrainingProgress] = []
    recipe = training(optimizer={"learning_rate": 1e30, "warmup": 0}, ema_decay=ema_decay, adversary=None)
    checkpoint = tmp_path / "checkpoint"
    trainer = Trainer(
        create_network(tiny_model(), 0), tiny_model(), images(320), recipe, checkpoint=checkpoint, checkpoint_seconds=0
    )
    with pytest.raises(ValueError, match=r"its loss is (nan|inf) at step \d of 10: lower optimizer\.learning_rate"):
        trainer.run(seen.append)
    assert len(seen) < 10
    if checkpoint.is_file():
        state = torch.load(checkpoint, weights_only=True)["state"]["network"]
        assert all(torch.isfinite(tensor).all() for tensor in state.values())


@pytest.mark.parametrize(("steps", "told_at"), [(40, 30), (2, 2)])
def test_a_training_that_skips_its_steps_is_told(monkeypatch: pytest.MonkeyPatch, steps: int, told_at: int) -> None:
    monkeypatch.setattr("lab.training.trainer.gradient_scaler", lambda *_: torch.amp.GradScaler("cpu"))
    network = create_network(tiny_model(), 0)
    before = {name: parameter.detach().clone() for name, parameter in network.named_parameters()}
    weight = network.get_parameter("fc.weight")
    weight.register_hook(lambda gradient: gradient * torch.inf)  # type: ignore[no-untyped-call]
    recipe = training(epochs=4, max_steps=steps, adversary=None)
    with pytest.raises(ValueError, match=rf"overflow float16 up to step {told_at}, which bfloat16 might not"):
        Trainer(network, tiny_model(), images(320), recipe).run()
    assert all(torch.equal(parameter, before[name]) for name, parameter in network.named_parameters())


def test_steps_that_are_skipped_now_and_then_are_no_divergence(monkeypatch: pytest.MonkeyPatch) -> None:
    scaler = torch.amp.GradScaler("cpu")
    monkeypatch.setattr("lab.training.trainer.gradient_scaler", lambda *_: scaler)
    network = create_network(tiny_model(), 0)
    calls = iter(range(100))
    overflow = [torch.inf] * 29 + [1.0]
    weight = network.get_parameter("fc.weight")
    weight.register_hook(lambda gradient: gradient * overflow[next(calls) % 30])  # type: ignore[no-untyped-call]
    recipe = training(epochs=8, max_steps=70, adversary=None)
    Trainer(network, tiny_model(), images(320), recipe).run()
    assert scaler.get_scale() < 2.0**-48


def test_weights_that_the_last_step_broke_are_not_returned(tmp_path: Path) -> None:
    checkpoint = tmp_path / "checkpoint"
    network = create_network(tiny_model(), 0)
    recipe = training(max_steps=2, adversary=None)
    trainer = Trainer(network, tiny_model(), images(320), recipe, checkpoint=checkpoint, checkpoint_seconds=0)

    def spoil(progress: TrainingProgress) -> None:
        if progress.step == 2:
            network.state_dict()["fc.weight"].fill_(torch.nan)

    with pytest.raises(ValueError, match=r"its fc\.weight is not finite after step 2 of 2"):
        trainer.run(spoil)
    assert torch.load(checkpoint, weights_only=True)["state"]["step"] == 1


def test_an_infinite_loss_is_told_at_once_where_gradients_are_scaled_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """The scale is the gradients': the loss is that of the forward pass, which no lower scale would mend."""
    monkeypatch.setattr("lab.training.trainer.gradient_scaler", lambda *_: torch.amp.GradScaler("cpu"))
    network = create_network(tiny_model(), 0)
    trainer = Trainer(network, tiny_model(), images(320), training(adversary=None))

    def spoil(progress: TrainingProgress) -> None:
        if progress.step == 3:
            network.state_dict()["fc.weight"].fill_(torch.inf)

    with pytest.raises(ValueError, match=r"its loss is (nan|inf) at step 4 of 10"):
        trainer.run(spoil)


@pytest.mark.parametrize("ema_decay", [None, 0.9])
def test_running_statistics_that_broke_are_told_where_a_checkpoint_is_due(
    tmp_path: Path, ema_decay: float | None
) -> None:
    """No loss shows them: BatchNorm trains on the statistics of the batch."""
    seen: list[TrainingProgress] = []
    checkpoint = tmp_path / "checkpoint"
    network = create_network(tiny_model(), 0)
    recipe = training(adversary=None, ema_decay=ema_decay)
    trainer = Trainer(network, tiny_model(), images(320), recipe, checkpoint=checkpoint, checkpoint_seconds=0)

    def spoil(progress: TrainingProgress) -> None:
        seen.append(progress)
        if progress.step == 4:
            network.state_dict()["bn1.running_var"].fill_(torch.inf)

    with pytest.raises(ValueError, match=r"its bn1\.running_var is not finite after step 4 of 10"):
        trainer.run(spoil)
    assert len(seen) == 4
    assert torch.load(checkpoint, weights_only=True)["state"]["step"] == 3


def test_half_precision_trains_and_float16_asks_for_a_gpu() -> None:
    seen: list[TrainingProgress] = []
    recipe = training(adversary=None, epochs=2, optimizer={"learning_rate": 0.1}, precision="bfloat16")
    network = Trainer(create_network(tiny_model(), 0), tiny_model(), images(320), recipe).run(seen.append)
    assert seen[-1].loss < 0.9 * seen[0].loss
    assert {parameter.dtype for parameter in network.parameters()} == {torch.float32}
    with pytest.raises(ValueError, match="float16 needs a GPU"):
        train(training(precision="float16"))


@pytest.mark.parametrize("schedule", ["one_cycle", "cosine"])
def test_rises_to_the_peak_and_falls_to_zero(schedule: str) -> None:
    recipe = OptimizerRecipe.model_validate({"schedule": schedule, "learning_rate": 0.4, "warmup": 0.25})
    rates = [learning_rate(recipe, step / 1000) for step in range(1000)]
    assert rates[:250] == sorted(rates[:250])
    assert rates[250:] == sorted(rates[250:], reverse=True)
    assert rates[250] == pytest.approx(0.4)
    assert 0 < rates[-1] < 0.001


def test_thirds_divide_by_ten() -> None:
    recipe = OptimizerRecipe(schedule="thirds", learning_rate=0.05)
    rates = [learning_rate(recipe, progress) for progress in (0.0, 0.33, 0.34, 0.66, 0.67, 0.99)]
    assert rates == pytest.approx([0.05, 0.05, 0.005, 0.005, 0.0005, 0.0005])


@given(
    schedule=st.sampled_from(["one_cycle", "cosine", "thirds"]), warmup=st.floats(0, 0.9), progress=st.floats(0, 0.999)
)
def test_rates_stay_within_the_peak(schedule: str, warmup: float, progress: float) -> None:
    recipe = OptimizerRecipe.model_validate({"schedule": schedule, "learning_rate": 0.1, "warmup": warmup})
    assert 0 < learning_rate(recipe, progress) <= 0.1
