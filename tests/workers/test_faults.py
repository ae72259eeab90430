"""The table of faults."""

import errno
import signal

import pytest
import ray.exceptions
import redis

from service.errors import (
    FencedOut,
    InvalidPantry,
    InvalidRequest,
    PantryNotFound,
    SetNotFound,
    StorageFull,
    Unavailable,
)
from service.schemas.job import JobError
from workers.evaluation.errors import EvaluationMemoryError
from workers.faults import Fault, fault_of, fault_of_exit, job_error
from workers.soups.errors import IngredientError


def task_error(cause: Exception) -> ray.exceptions.RayTaskError:
    """As ``ray.get`` raises what a task raised."""
    return ray.exceptions.RayTaskError("evaluate", "Traceback", cause).as_instanceof_cause()


@pytest.mark.parametrize(
    ("error", "fault"),
    [
        (FencedOut("another holds it"), Fault.SUPERSEDED),
        (SetNotFound("no such set"), Fault.USER),
        (PantryNotFound("no such pantry"), Fault.USER),
        (InvalidRequest("one class"), Fault.USER),
        (IngredientError("other_keys", "other keys"), Fault.USER),
        (EvaluationMemoryError("use smaller images"), Fault.USER),
        (StorageFull("the disk is full"), Fault.USER),
        (Unavailable("no Ray", code="ray_unavailable"), Fault.CLUSTER),
        (Unavailable("no room", code="no_evaluators"), Fault.CLUSTER),
        (Unavailable("lost 3 times", code="evaluator_lost"), Fault.ELSEWHERE),
        (Unavailable("Tune ended", code="search_interrupted"), Fault.ELSEWHERE),
        (Unavailable("CUDA error", code="evaluation_failed"), Fault.BUG),
        (redis.ConnectionError("refused"), Fault.CLUSTER),
        (redis.TimeoutError("silent"), Fault.CLUSTER),
        (redis.BusyLoadingError("loading"), Fault.CLUSTER),
        (redis.OutOfMemoryError("used memory > maxmemory"), Fault.CLUSTER),
        (redis.ResponseError("MISCONF Errors writing to the AOF file: No space left on device"), Fault.CLUSTER),
        (redis.ResponseError("BUSY Redis is busy running a script"), Fault.CLUSTER),
        (redis.ResponseError("WRONGTYPE Operation against a key"), Fault.BUG),
        (MemoryError(), Fault.ELSEWHERE),
        (OSError(errno.EIO, "I/O error"), Fault.ELSEWHERE),
        (ConnectionResetError(), Fault.ELSEWHERE),
        (ray.exceptions.RayActorError(), Fault.ELSEWHERE),
        (ray.exceptions.NodeDiedError("node"), Fault.ELSEWHERE),
        (ray.exceptions.OutOfMemoryError("killed"), Fault.ELSEWHERE),
        (task_error(KeyError("bug")), Fault.BUG),
        (task_error(EvaluationMemoryError("use smaller images")), Fault.USER),
        (task_error(OSError(errno.ENOSPC, "full")), Fault.ELSEWHERE),
        (ray.exceptions.RayTaskError("evaluate", "Traceback", None), Fault.BUG),
        (KeyError("weights"), Fault.BUG),
        (ValueError("weights"), Fault.BUG),
        (AssertionError(), Fault.BUG),
    ],
    ids=repr,
)
def test_each_exception_has_one_fault(error: Exception, fault: Fault) -> None:
    assert fault_of(error) is fault


@pytest.mark.parametrize(
    ("exit_code", "fault"),
    [
        *((int(fault), fault) for fault in Fault),
        (-signal.SIGKILL, Fault.ELSEWHERE),
        (-signal.SIGSEGV, Fault.ELSEWHERE),
        (1, Fault.ELSEWHERE),
        (137, Fault.ELSEWHERE),
    ],
)
def test_an_exit_code_tells_the_fault(exit_code: int, fault: Fault) -> None:
    assert fault_of_exit(exit_code) is fault


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (
            InvalidPantry("add it again", code="pantry_changed", param="pantry"),
            JobError(code="pantry_changed", message="add it again", param="pantry"),
        ),
        (StorageFull("free some space"), JobError(code="storage_full", message="free some space", retryable=True)),
        (
            IngredientError("other_keys", "other keys"),
            JobError(code="other_keys", message="other keys", param="pantry"),
        ),
        (
            EvaluationMemoryError("use smaller images"),
            JobError(code="evaluation_out_of_memory", message="use smaller images", param="pantry", retryable=True),
        ),
    ],
    ids=repr,
)
def test_the_user_learns_what_to_change(error: Exception, told: JobError) -> None:
    assert job_error(error) == told


def test_what_is_no_fault_of_the_users_is_not_put_as_one() -> None:
    with pytest.raises(ValueError, match="KeyError is no fault of the user's"):
        job_error(KeyError("weights"))
