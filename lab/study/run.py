"""A study from its file to its report. Results computed earlier are not computed again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lab.study.checks import check_attackable, check_models
from lab.study.config import PantrySection, StudyConfig
from lab.study.inputs import set_arrays, set_part
from lab.study.jobs import StudyJob
from lab.study.plan import PantryPlan, plan_pantry
from lab.study.shifts import Preparation, ReadArchive, Shift, corrupted_shifts, idx_digest, stored_shift
from lab.study.store import Store
from search.evaluation import Outcome
from search.loop import Found
from workers.ray_runtime.task import Task
from workers.whole_file import make_output_folder

if TYPE_CHECKING:  # it imports Ray, which reads its environment at once: a private cluster sets that when it starts
    from lab.study.evaluators import Evaluators

CACHE = "cache"

OnStudyProgress = Callable[[str, int, int], None]
"""Called with the stage, and how much of how much is done: sets, or forward passes. Any thread may call it."""


@dataclass(frozen=True)
class StudyRun:
    """Computes what a study needs in ``out``/cache and keeps it there under names that depend on all its inputs.

    A run may be killed at any time: the next run of the same study computes only the jobs that have no file.
    Evaluators are started once something is to be evaluated; ``batch_size`` is that of their tasks.
    """

    config: StudyConfig
    out: Path
    evaluators: Evaluators
    read_archive: ReadArchive
    on_progress: OnStudyProgress
    batch_size: int = 256

    @property
    def store(self) -> Store:
        """The folder of the results."""
        return Store(self.out / CACHE)

    def compute(self) -> list[PantryPlan]:
        """Compute what is missing, and return the plans, whose results are then all in the store.

        Raises FileNotFoundError and ValueError if pantries or data are missing or do not fit together. Models and the
        output folder are checked before anything is computed.
        """
        check_models(self.config)
        make_output_folder(self.store.root, otherwise="give another folder for the results")
        self.store.clean()
        sets = self.prepare()
        plans = [plan_pantry(self.config, section, sets[section.name], self.store) for section in self.config.pantries]
        self.evaluate([job for plan in plans for job in plan.jobs])
        return plans

    def prepare(self) -> dict[str, dict[Shift, str]]:
        """Make the encoded sets that are missing, and return the names of all sets by pantry and shift."""
        first = next(iter(self.config.ingredients))
        preparations = {
            section.name: Preparation(self.config, section.folder / first, self.read_archive)
            for section in self.config.pantries
        }
        corrupted = self._corrupted(preparations)
        return {
            name: corrupted[name] | self._stored(preparation, place)
            for place, (name, preparation) in enumerate(preparations.items())
        }

    def _corrupted(self, preparations: dict[str, Preparation]) -> dict[str, dict[Shift, str]]:
        idx = self.config.data.idx
        digest = idx_digest(idx) if idx else ""
        named: dict[str, dict[Shift, str]] = {section.name: {} for section in self.config.pantries}
        wanted = [(section.name, shift) for section in self.config.pantries for shift in self._corruptions(section)]
        for number, (pantry, shift) in enumerate(wanted, start=1):
            name = preparations[pantry].corrupted_name(shift, digest)
            if not self.store.has(name):
                self.store.write(name, set_arrays(preparations[pantry].corrupted(shift)))
            named[pantry][shift] = name
            self.on_progress("preparing images", number, len(wanted))
        return named

    def _corruptions(self, section: PantrySection) -> list[Shift]:
        kept = section.severities
        shifts = corrupted_shifts(self.config.data)
        return [shift for shift in shifts if shift.severity is None or kept is None or shift.severity in kept]

    def _stored(self, preparation: Preparation, place: int) -> dict[Shift, str]:
        """The clean images first, as for idx images, so that bad ones are refused before any other set is read."""
        named = {}
        sets = sorted(self.config.data.sets, key=lambda each: not each.is_clean)
        for number, section in enumerate(sets, start=1 + place * len(sets)):
            name = preparation.stored_name(section)
            if not self.store.has(name):
                self.store.write(name, set_arrays(preparation.stored(section)))
            if section.is_clean and self.config.attacks is not None:
                check_attackable(self.config.attacks, set_part(self.store, name))
            named[stored_shift(section)] = name
            self.on_progress("reading sets", number, len(sets) * len(self.config.pantries))
        return named

    def evaluate(self, jobs: Sequence[StudyJob]) -> None:
        """Evaluate the jobs that have no file, if any, on evaluators that are started for this."""
        unique = {job.name: job for job in jobs}
        missing = [job for job in unique.values() if not self.store.has(job.name)]
        total = sum(len(job.weights) * job.passes for job in unique.values())
        progress = _Progress(self.on_progress, total, total - sum(len(job.weights) * job.passes for job in missing))
        progress.advance(0)
        if not missing:
            return
        with self.evaluators() as executor_of:
            for task, group in _by_task(missing, self.batch_size).items():
                files = _Files(self.store, group, progress)
                requests = [request for job in group for request in job.requests]
                executor_of(task, files.arrays_of).evaluate(requests, files.take)


def _by_task(jobs: Sequence[StudyJob], batch_size: int) -> dict[Task, list[StudyJob]]:
    groups: dict[Task, list[StudyJob]] = {}
    for job in jobs:
        groups.setdefault(job.task(batch_size), []).append(job)
    return groups


@dataclass
class _Progress:
    on_progress: OnStudyProgress
    total: int
    done: int

    def advance(self, passes: int) -> None:
        self.done += passes
        self.on_progress("scoring soups", self.done, self.total)


class _Files:
    """Supplies the data of ``jobs``, which have one task, and writes each job's file with its last outcome."""

    def __init__(self, store: Store, jobs: Sequence[StudyJob], progress: _Progress) -> None:
        self._store = store
        self._stack = jobs[0].stack
        self._progress = progress
        self._places = [(job, place) for job in jobs for place in range(len(job.weights))]
        self._found: dict[str, dict[int, Outcome]] = {job.name: {} for job in jobs}

    def arrays_of(self, key: str) -> dict[str, Any]:
        return self._stack.arrays() if key == self._stack.key else self._store.read(key, "images")

    def take(self, found: Found) -> None:
        for index, outcome in found:
            job, place = self._places[index]
            outcomes = self._found[job.name]
            outcomes[place] = outcome
            if len(outcomes) == len(job.weights):
                self._store.write(job.name, job.arrays([outcomes[each] for each in range(len(outcomes))]))
                outcomes.clear()
            self._progress.advance(job.passes)
