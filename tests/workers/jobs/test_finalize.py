"""What a result can do without."""

from pathlib import Path

import pytest

from service.jobs.store import JobStore
from service.settings import Settings
from tests.workers.jobs.conftest import Bench
from workers.evaluation.errors import EvaluationMemoryError
from workers.jobs.finalize import Finalizer
from workers.jobs.material import Material
from workers.jobs.scoring import Scoring


class FullPool:
    """Evaluators that have no memory for ensembles."""

    def ensembles(self, *_: object) -> None:
        raise EvaluationMemoryError("not even one image fits")


@pytest.fixture
def finalizer(settings: Settings, job_store: JobStore, tmp_path: Path) -> Finalizer:
    bench = Bench(settings, job_store, tmp_path)
    bench.add_pantry()
    material = Material(bench.store.get(bench.submit()).request, settings)
    scoring = Scoring(material.request, material.echo.adaptation_sets)
    return Finalizer(material, scoring, FullPool(), bench.artifacts, "token")


def test_ensembles_without_memory_for_them_do_not_fail_a_job_whose_search_is_done(finalizer: Finalizer) -> None:
    assert finalizer._held_out_ensembles(finalizer.material.held_out()) == {}
