"""One batch of requests as a Tune trial."""

from typing import Any

from ray import tune

from workers.ray_runtime.actor import Reports

REPORT = "report"
_CPUS = 0.001


class BatchTrainable(tune.Trainable):  # type: ignore[misc]
    """Sends a batch to an evaluator, and reports to Tune whenever the evaluator reports.

    The evaluator does the work and a trial only waits, so two trials per evaluator keep it busy. An evaluator's errors
    are reported as a Failure, not raised, so that the trial's process is kept for the next batch.
    """

    @classmethod
    def default_resource_request(cls, config: dict[str, Any]) -> tune.PlacementGroupFactory:
        """Next to nothing."""
        del config
        return tune.PlacementGroupFactory([{"CPU": _CPUS}])

    def setup(self, config: dict[str, Any]) -> None:
        """Ask the evaluator for the batch."""
        self._reports = Reports(config["evaluator"], config["order"])

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take the next batch."""
        self.setup(new_config)
        return True

    def step(self) -> dict[str, Any]:
        """Wait for the evaluator's next report."""
        report = self._reports.next()
        return {REPORT: report, "done": report.last}
