"""The evaluator as Ray knows it."""

import subprocess
import sys


def test_trials_know_the_actor_without_pytorch() -> None:
    """Each trial's process would spend seconds on the import."""
    program = (
        "import sys, workers.ray_runtime.actor, workers.ray_runtime.trainable; "
        "print({'torch', 'timm'} & set(sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "set()"
