"""What a registry asks before it deletes."""

from contextlib import AbstractContextManager, nullcontext

from service.artifacts.store import Kind
from service.errors import InUse


def allowed(_kind: Kind, _digest: str) -> AbstractContextManager[None]:
    return nullcontext()


def refused(kind: Kind, digest: str) -> AbstractContextManager[None]:
    raise InUse(f"a job needs {kind} {digest}")
