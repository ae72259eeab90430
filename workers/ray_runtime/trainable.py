"""One batch of points as a Tune trial."""

from typing import Any

import ray
from ray import tune
from ray.exceptions import GetTimeoutError, RayActorError, RayError

from workers.ray_runtime.connection import NAMESPACE
from workers.ray_runtime.task import EVALUATION_FAILED, Problem, Report

REPORT = "report"
_CPUS = 0.001


class BatchTrainable(tune.Trainable):  # type: ignore[misc]
    """Has an evaluator score a batch, and reports to Tune each time the evaluator does.

    The work is the evaluator's; a trial only waits, so that two of them for each evaluator keep it busy. What goes
    wrong with an evaluator is reported as a Problem, not raised: the trial's process is kept for the next batch.
    """

    @classmethod
    def default_resource_request(cls, config: dict[str, Any]) -> tune.PlacementGroupFactory:
        """Next to nothing."""
        del config
        return tune.PlacementGroupFactory([{"CPU": _CPUS}])

    def setup(self, config: dict[str, Any]) -> None:
        """Ask the evaluator for the batch."""
        self._reports: Any = None
        self._start(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take the next batch."""
        self._start(new_config)
        return True

    def step(self) -> dict[str, Any]:
        """Wait for the evaluator's next report."""
        report = self._next_report()
        return {REPORT: report, "done": report.last}

    def _start(self, config: dict[str, Any]) -> None:
        try:
            actor = ray.get_actor(config["evaluator"], namespace=NAMESPACE)
            self._reports = actor.evaluate.remote(config["token"], config["task"], config["weights"])
        except (ValueError, RayError) as error:
            self._reports = iter([_lost(error)])

    def _next_report(self) -> Report:
        try:
            reference = next(self._reports)
            report: Report = reference if isinstance(reference, Report) else ray.get(reference)
        except (RayActorError, GetTimeoutError, StopIteration) as error:
            return _lost(error)
        except RayError as error:
            return Report((), last=True, problem=Problem(EVALUATION_FAILED, str(error), retryable=True))
        return report


def _lost(error: Exception) -> Report:
    message = f"an evaluator was lost: {error or type(error).__name__}"
    return Report((), last=True, problem=Problem("evaluator_lost", message, retryable=True))
