"""``python -m workers.supervisor.merging --job ID --point N``: merges a soup in a process of its own.

Prints ``{"code": ..., "detail": ..., "status": ...}`` when it cannot, and exits with 1. Torch goes with the process.
"""

import argparse
import json
import os
import signal
import subprocess
import sys

from service.artifacts import open_store
from service.connection import connect
from service.errors import InvalidRequest, SoupsearchError
from service.jobs.documents import job_urls
from service.jobs.merging import document_of, error_of
from service.jobs.store import JobStore
from service.parent_death import die_with_parent
from service.settings import Settings, get_settings

TIMEOUT = 600.0


def merge_in_process(settings: Settings, job_id: str, point: int) -> None:
    """Run this module in a child process, unless the soup is merged already.

    Raises the child's error (``error_of``), RuntimeError when it fails otherwise.
    """
    with connect(settings) as client:
        model = JobStore(client, settings).merged_model(job_id, point)
    if model is not None and open_store(settings).exists("models", model.sha256):
        return
    command = [sys.executable, "-P", "-m", "workers.supervisor.merging", "--job", job_id, "--point", str(point)]
    command += ["--parent", str(os.getpid())]
    environment = os.environ | settings.environment()
    run = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=TIMEOUT, check=False)
    if run.returncode == 0:
        return
    try:
        refusal = json.loads(run.stdout)
    except ValueError:
        raise RuntimeError(run.stderr[-2000:]) from None
    raise error_of(refusal)


def merge_point(settings: Settings, job_id: str, index: int) -> None:
    """Merge the soup of a point as the winner was merged, store it and name it in the job.

    Raises JobNotFound, Expired, NotFound (``point_not_found``), PantryNotFound, InvalidRequest (``pantry_changed``,
    ``not_refinable``), StorageFull; and SetNotFound where the soup is refined.
    """
    from workers.jobs.material import Ingredients, Material
    from workers.jobs.soup_file import write_soup

    store = open_store(settings)
    with connect(settings) as client, store.staging() as folder:
        jobs = JobStore(client, settings)
        echo, point = jobs.get(job_id).request, jobs.point(job_id, index)
        ingredients, sets = Ingredients(echo, settings), []
        if point.refinement.changes_anything:
            material = Material(echo, settings)
            ingredients, sets = material, material.encoded_sets
        store.reserve(max(each.bytes for each in ingredients.pantry.ingredients))
        try:
            merged = write_soup(ingredients, point, sets, folder)
        except ValueError as error:
            raise InvalidRequest(str(error), param="point", code="not_refinable") from error
        url = f"{job_urls(job_id, settings).model}?point={index}"
        jobs.keep_model(job_id, point, merged.commit(store, url))


def main() -> int:
    """Merge the soup named on the command line, with the settings of the environment."""
    parser = argparse.ArgumentParser(description="Merge one soup of a job.")
    parser.add_argument("--job", required=True)
    parser.add_argument("--point", type=int, required=True)
    parser.add_argument("--parent", type=int, help="process id to end with")
    options = parser.parse_args()
    if options.parent is not None:
        die_with_parent(options.parent, signal.SIGKILL)
    try:
        merge_point(get_settings(), options.job, options.point)
    except SoupsearchError as error:
        sys.stdout.write(json.dumps(document_of(error)))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
