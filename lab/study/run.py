"""A study from its file to its report. Results computed earlier are not computed again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from lab.study.checks import check_attackable, check_models
from lab.study.config import PantrySection, StudyConfig
from lab.study.executors import StudyExecutor
from lab.study.inputs import SetLabels, set_arrays
from lab.study.jobs import StudyJob
from lab.study.plan import PantryPlan, plan_pantry
from lab.study.shifts import Preparation, ReadArchive, Shift, corrupted_shifts, idx_digest, stored_shift
from lab.study.store import Store
from workers.whole_file import make_output_folder

CACHE = "cache"

OnStudyProgress = Callable[[str, int, int], None]
"""Called with the stage, and how much of how much is done: passes, or sets that are read."""


@dataclass(frozen=True)
class StudyRun:
    """Computes what a study needs in ``out``/cache and keeps it there under names that depend on all its inputs.

    A run may be killed at any time: the next run of the same study computes only the jobs that have no file.
    """

    config: StudyConfig
    out: Path
    executor: StudyExecutor
    read_archive: ReadArchive
    on_progress: OnStudyProgress

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
        plans = [self.plan(section, sets[section.name]) for section in self.config.pantries]
        self._run("scoring soups", [job for plan in plans for job in plan.jobs])
        return plans

    def prepare(self) -> dict[str, dict[Shift, str]]:
        """Make the encoded sets that are missing, and return the names of all sets by pantry and shift."""
        data = self.config.data
        digest = idx_digest(data.idx) if data.idx else ""
        first = next(iter(self.config.ingredients))
        named: dict[str, dict[Shift, str]] = {}
        jobs: list[StudyJob] = []
        for place, section in enumerate(self.config.pantries):
            preparation = Preparation(self.config, section.folder / first, self.read_archive)
            made = {shift: preparation.corrupted(shift, digest) for shift in self._corrupted(section)}
            jobs.extend(made.values())
            named[section.name] = {shift: job.name for shift, job in made.items()} | self._stored(preparation, place)
        self._run("preparing images", jobs)
        return named

    def _corrupted(self, section: PantrySection) -> list[Shift]:
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
                check_attackable(self.config.attacks, SetLabels.read(self.store.path(name)))
            named[stored_shift(section)] = name
            self.on_progress("reading sets", number, len(sets) * len(self.config.pantries))
        return named

    def plan(self, section: PantrySection, sets: dict[Shift, str]) -> PantryPlan:
        """Plan one pantry on ``sets``, which ``prepare`` has made."""
        counts = {shift: len(SetLabels.read(self.store.path(name)).accepted) for shift, name in sets.items()}
        return plan_pantry(self.config, section, sets, counts, self.store)

    def _run(self, stage: str, jobs: Sequence[StudyJob]) -> None:
        if not jobs:
            return
        unique = {job.name: job for job in jobs}
        total = sum(job.passes for job in unique.values())
        missing = [job for job in unique.values() if not self.store.has(job.name)]
        done = total - sum(job.passes for job in missing)
        self.on_progress(stage, done, total)
        for job, arrays in self.executor.run(missing):
            self.store.write(job.name, arrays)
            done += job.passes
            self.on_progress(stage, done, total)
