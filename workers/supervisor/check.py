"""``python -m workers.supervisor.check FOLDER PARENT``: checks an ingredient in a process of its own.

Prints ``{"code": ..., "message": ...}`` when it refuses, and exits with 1. Torch goes with the process.
"""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from service.errors import InvalidPantry
from service.parent_death import die_with_parent

TIMEOUT = 300.0


def check_in_process(folder: Path) -> None:
    """Run this module on ``folder`` in a child process.

    Raises InvalidPantry with the refusal, RuntimeError when the check itself fails.
    """
    command = [sys.executable, "-P", "-m", "workers.supervisor.check", str(folder), str(os.getpid())]
    run = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=False)
    if run.returncode == 0:
        return
    try:
        refusal = json.loads(run.stdout)
    except ValueError:
        raise RuntimeError(run.stderr[-2000:]) from None
    raise InvalidPantry(refusal["message"], code=refusal["code"])


def main() -> int:
    """Check the folder named on the command line; end with the process whose id follows."""
    die_with_parent(int(sys.argv[2]), signal.SIGKILL)
    from workers.soups.errors import IngredientError
    from workers.soups.verify import verify_folder

    try:
        verify_folder(Path(sys.argv[1]))
    except IngredientError as error:
        sys.stdout.write(json.dumps({"code": error.code, "message": str(error)}))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
