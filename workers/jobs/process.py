"""``python -m workers.jobs.process --job ID --attempt N``: the disposable process of one attempt.

One process runs one ``ray.init`` and one ``Tuner.fit``. Exit code 0: the job has ended. Any other: the attempt failed,
and the supervisor decides what becomes of the job.
"""

import argparse
import logging
import signal
import sys

from workers.parent_death import die_with_parent

SUPERSEDED = 3
"""Exit code when the job was given to another attempt."""


def main(arguments: list[str] | None = None) -> int:
    """Run the attempt named by the arguments, with the settings of the environment."""
    parser = argparse.ArgumentParser(description="Run one attempt at a job.")
    parser.add_argument("--job", required=True)
    parser.add_argument("--attempt", type=int, required=True)
    parser.add_argument("--parent", type=int, help="process id to end with")
    options = parser.parse_args(arguments)
    if options.parent is not None:
        die_with_parent(options.parent, signal.SIGKILL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    return run_attempt(options.job, options.attempt)


def run_attempt(job_id: str, attempt: int) -> int:
    """Run one attempt and return the exit code; what it raises is for the log."""
    from service.connection import connect
    from service.errors import FencedOut
    from service.jobs.queue import Claim
    from service.jobs.store import JobStore
    from service.settings import get_settings
    from workers.jobs.attempt import Attempt

    settings = get_settings()
    logging.basicConfig(stream=sys.stderr, level=settings.log_level.upper())
    with connect(settings) as client:
        try:
            Attempt(Claim(job_id, attempt), JobStore(client, settings), settings).run()
        except FencedOut as error:
            logging.getLogger(__name__).warning("%s", error)
            return SUPERSEDED
    return 0


if __name__ == "__main__":
    sys.exit(main())
