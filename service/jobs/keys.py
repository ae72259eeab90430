"""The names of all keys in Redis, and of soup weights inside them."""

import hashlib
from dataclasses import dataclass


@dataclass(frozen=True)
class Keys:
    """Key names under one prefix. The Lua scripts build the same names.

    On a Redis cluster the prefix must be a hash tag, such as ``{soupsearch}``: a script touches several keys.
    """

    prefix: str

    @property
    def queue(self) -> str:
        """Stream of waiting jobs, one entry each; claiming a job removes its entry."""
        return f"{self.prefix}:queue"

    @property
    def returned(self) -> str:
        """List of jobs returned after an attempt; they go before those that never ran."""
        return f"{self.prefix}:returned"

    @property
    def jobs(self) -> str:
        """Sorted set of all jobs by creation, in ms since the epoch."""
        return f"{self.prefix}:jobs"

    @property
    def leases(self) -> str:
        """Sorted set of claimed jobs by the end of their lease, in ms since the epoch."""
        return f"{self.prefix}:leases"

    @property
    def expiries(self) -> str:
        """Sorted set of ended jobs by the time of their removal, in ms since the epoch."""
        return f"{self.prefix}:expiries"

    @property
    def deletions(self) -> str:
        """Sorted set of deleted artifacts, ``kind:digest``, by the latest time they may have been deleted, in ms."""
        return f"{self.prefix}:deletions"

    @property
    def supervisors(self) -> str:
        """Sorted set of supervisors by the time of their last sign of life."""
        return f"{self.prefix}:supervisors"

    @property
    def checks(self) -> str:
        """List of uploaded pantries that a worker should check."""
        return f"{self.prefix}:checks"

    @property
    def merges(self) -> str:
        """List of soups that a worker should merge."""
        return f"{self.prefix}:merges"

    def references(self, kind: str) -> str:
        """Hash of the artifacts of one kind that jobs refer to: digest to the number of jobs."""
        return f"{self.prefix}:references:{kind}"

    def status(self, status: str) -> str:
        """Sorted set of the jobs in one status, by creation."""
        return f"{self.prefix}:status:{status}"

    def job(self, job_id: str) -> str:
        """Hash of one job."""
        return f"{self.prefix}:job:{job_id}"

    def points(self, job_id: str) -> str:
        """Hash of a job's points: weights key to document."""
        return f"{self.prefix}:job:{job_id}:points"

    def order(self, job_id: str) -> str:
        """Sorted set of a job's points: weights key by index."""
        return f"{self.prefix}:job:{job_id}:order"

    def earlier(self, job_id: str) -> str:
        """Soups of an earlier job from which a job goes on, as JSON."""
        return f"{self.prefix}:job:{job_id}:earlier"

    def job_models(self, job_id: str) -> str:
        """Hash of the models merged for a job on demand: index of the point to document."""
        return f"{self.prefix}:job:{job_id}:models"

    def events(self, job_id: str) -> str:
        """Stream of a job's events."""
        return f"{self.prefix}:job:{job_id}:events"

    def expired(self, job_id: str) -> str:
        """Exists while a removed job answers 410 rather than 404."""
        return f"{self.prefix}:expired:{job_id}"

    def idempotency(self, name: str) -> str:
        """Hash of one idempotency key by its ``idempotency_name``: its job and the digest of the body."""
        return f"{self.prefix}:idempotency:{name}"

    def journal(self, scope: str) -> str:
        """Hash of all finished points of one scope: weights key to document."""
        return f"{self.prefix}:journal:{scope}"

    def speed(self, kind_of_work: str) -> str:
        """Forward passes of one image a second, in the last search of its kind."""
        return f"{self.prefix}:speed:{kind_of_work}"

    def merge(self, merge_id: str) -> str:
        """List that receives the answer to one request to merge."""
        return f"{self.prefix}:merge:{merge_id}"

    def check(self, check_id: str) -> str:
        """List that receives the answer to one check of a pantry."""
        return f"{self.prefix}:check:{check_id}"


def idempotency_name(key: str) -> str:
    """Short name, of fixed length, of a user's Idempotency-Key."""
    return hashlib.sha256(key.encode()).hexdigest()
