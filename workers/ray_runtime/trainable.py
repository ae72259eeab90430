"""One batch of requests as a Tune trial."""

from typing import Any

from ray import tune

from workers.ray_runtime.actor import Reports

REPORT = "report"
_CPUS = 0.001


class BatchTrainable(tune.Trainable):  # type: ignore[misc]
    """Has an evaluator answer a batch, and reports to Tune each time the evaluator does.

    The work is the evaluator's; a trial only waits, so that two of them for each evaluator keep it busy. What goes
    wrong with an evaluator is reported as a Failure, not raised: the trial's process is kept for the next batch.
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
