"""What can end an attempt at a job, and what then becomes of the job: one table."""

import sys
from enum import IntEnum

import redis

from service.errors import FencedOut, SoupsearchError, StorageFull, Unavailable
from service.schemas.job import JobError
from workers.evaluation.errors import EvaluationMemoryError
from workers.soups.errors import IngredientError


class Fault(IntEnum):
    """Whose fault it is, by the exit code with which the process of an attempt tells its supervisor."""

    SUPERSEDED = 3
    """Nobody's: the job was given to another attempt."""
    CLUSTER = 4
    """Something that every job needs does not answer, or has no room: the job waits for it, however long."""
    ELSEWHERE = 5
    """The infrastructure lost the attempt: another goes on, until ``max_losses`` in a row have added no point."""
    BUG = 6
    """Nobody foresaw it: the job is tried ``max_attempts`` times in all."""
    USER = 7
    """The user can change it: the job ends as ``failed``, with ``job_error``."""


_TABLE: tuple[tuple[type[BaseException], str | None, Fault], ...] = (
    (FencedOut, None, Fault.SUPERSEDED),
    (Unavailable, "ray_unavailable", Fault.CLUSTER),
    (Unavailable, "no_evaluators", Fault.CLUSTER),
    (Unavailable, "evaluation_failed", Fault.BUG),
    (Unavailable, None, Fault.ELSEWHERE),
    (SoupsearchError, None, Fault.USER),
    (IngredientError, None, Fault.USER),
    (EvaluationMemoryError, None, Fault.USER),
    (redis.ConnectionError, None, Fault.CLUSTER),
    (redis.TimeoutError, None, Fault.CLUSTER),
    (redis.OutOfMemoryError, None, Fault.CLUSTER),
    (redis.ReadOnlyError, None, Fault.CLUSTER),
    (redis.ResponseError, "BUSY", Fault.CLUSTER),
    (redis.ResponseError, "MISCONF", Fault.CLUSTER),
    (MemoryError, None, Fault.ELSEWHERE),
    (OSError, None, Fault.ELSEWHERE),
)
"""Kinds of exception, those with a certain code first; the first row that fits counts."""


def fault_of(error: BaseException) -> Fault:
    """The fault that an exception stands for. An error of Ray's that wraps another stands for that one."""
    ray = sys.modules.get("ray.exceptions")  # where Ray was never imported, no error is Ray's
    if ray is not None and isinstance(error, ray.RayTaskError) and isinstance(error.cause, Exception):
        return fault_of(error.cause)
    code = _code_of(error)
    for kind, wanted, fault in _TABLE:
        if isinstance(error, kind) and wanted in (None, code):
            return fault
    is_lost = ray is not None and isinstance(error, ray.RayError) and not isinstance(error, ray.RayTaskError)
    return Fault.ELSEWHERE if is_lost else Fault.BUG


def fault_of_exit(exit_code: int) -> Fault:
    """The fault for which a process ended, by its exit code; 0 is none, since the job has ended then.

    A signal ended it, or Ray or Python did with a code of their own, when the code is no Fault's: the attempt was lost.
    """
    try:
        return Fault(exit_code)
    except ValueError:
        return Fault.ELSEWHERE


def job_error(error: BaseException) -> JobError:
    """What the job says of a fault of the user's. Raises ValueError for an error that is none."""
    if fault_of(error) is not Fault.USER:
        msg = f"{type(error).__name__} is no fault of the user's"
        raise ValueError(msg)
    if isinstance(error, SoupsearchError):
        retryable = isinstance(error, StorageFull)
        return JobError(code=error.code, message=error.detail, param=error.param, retryable=retryable)
    if isinstance(error, IngredientError):
        return JobError(code=error.code, message=str(error), param="pantry")
    return JobError(code="evaluation_out_of_memory", message=str(error), param="pantry", retryable=True)


def _code_of(error: BaseException) -> str | None:
    """The error's own code, or the word with which Redis begins its answer."""
    if isinstance(error, redis.ResponseError):
        return str(error).split(" ", 1)[0]
    return getattr(error, "code", None)
