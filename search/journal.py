"""How a journal keeps outcomes: under which name, and as what text."""

import json
import math
import zlib
from base64 import b64decode, b64encode
from collections.abc import Sequence
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from search.evaluation import EvaluationRequest, Flags, Outcome, Passes, SetOutcome, Status, weights_key


def journal_key(request: EvaluationRequest) -> str | None:
    """The name under which a journal keeps the outcome of ``request``; None where it does not."""
    if isinstance(request.model, str) or request.blocks is not None or not request.attacked:
        return None
    refined = request.refinement
    marks = {
        "adapted": refined.statistics == "adapted",
        "refit": refined.head == "refit",
        "temperature": refined.temperature,
        "logits": request.keep_logits,
        "gradient": request.gradient,
    }
    visit = [] if request.visit is None else [f"visit {request.visit.digest}"]
    return " ".join([weights_key(request.model), *(mark for mark, applies in marks.items() if applies), *visit])


def packed(outcome: Outcome) -> str:
    """A whole outcome as ASCII text: about 6 bytes per image, less after compression, and 5 for each logit it keeps.

    A gradient takes about 11 bytes for each of its numbers.
    """
    header = {
        "status": outcome.status,
        "passes": [outcome.passes.forward, outcome.passes.backward],
        "floored_channels": outcome.floored_channels,
        "seconds": outcome.seconds,
        "sets": [
            [
                each.total,
                each.seen,
                each.correct is not None,
                None if each.robust is None else len(each.robust),
                None if each.logits is None else each.logits.shape[1],
                None if each.gradients is None else each.gradients.shape,
            ]
            for each in outcome.sets
        ],
    }
    arrays = [part for each in outcome.sets for part in _bytes(each)]
    return b64encode(zlib.compress(b"".join([json.dumps(header).encode(), b"\n", *arrays]), level=1)).decode()


def _bytes(each: SetOutcome) -> list[bytes]:
    likelihoods = [] if each.log_probability is None else [each.log_probability.astype("<f4")]
    flags = [np.packbits(flag) for flag in (each.correct, each.robust) if flag is not None]
    logits = [] if each.logits is None else [each.logits.astype("<f4")]
    gradients = [] if each.gradients is None else [each.gradients.astype("<f8")]
    return [array.tobytes() for array in (each.prediction.astype("<i4"), *likelihoods, *flags, *logits, *gradients)]


def unpacked(text: str) -> Outcome:
    """The inverse of ``packed``. Raises ValueError for anything else."""
    try:
        head, _, body = zlib.decompress(b64decode(text, validate=True)).partition(b"\n")
        header = json.loads(head)
        if header["status"] not in get_args(Status):
            raise ValueError(f"{header['status']!r} is not a status")
        place = _Reader(body)
        outcome = Outcome(
            status=header["status"],
            sets=tuple(_set(place, shape) for shape in header["sets"]),
            passes=Passes(*header["passes"]),
            floored_channels=header["floored_channels"],
            seconds=header["seconds"],
        )
        place.end()
    except (zlib.error, LookupError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise ValueError(f"this is not a packed outcome: {error}") from error
    return outcome


class _Reader:
    def __init__(self, body: bytes) -> None:
        self._body = body
        self._place = 0

    def array(self, kind: str, count: int) -> NDArray[Any]:
        if count == 0:
            return np.zeros(0, dtype=kind)
        if count < 0:
            raise ValueError(f"an array cannot have {count} values")
        values = np.frombuffer(self._body, kind, count, self._place)
        self._place += values.nbytes
        return values

    def flags(self, *shape: int) -> Flags:
        count = math.prod(shape)
        bits = self.array("u1", -(-count // 8))
        return np.unpackbits(bits, count=count).astype(np.bool_).reshape(shape)

    def end(self) -> None:
        if self._place != len(self._body):
            raise ValueError(f"{len(self._body) - self._place} bytes are left over")


def _set(place: _Reader, shape: Sequence[Any]) -> SetOutcome:
    total, seen, is_labelled, threats, classes, parts = shape
    prediction = place.array("<i4", seen)
    log_probability = place.array("<f4", seen) if is_labelled else None
    correct = place.flags(seen) if is_labelled else None
    robust = None if threats is None else place.flags(threats, seen)
    logits = None if classes is None else place.array("<f4", seen * classes).reshape(seen, classes)
    gradients = None if parts is None else _gradients(place, *parts)
    return SetOutcome(total, prediction, correct, log_probability, robust, logits, gradients)


def _gradients(place: _Reader, parts: int, groups: int, size: int) -> NDArray[np.float64]:
    return place.array("<f8", parts * groups * size).reshape(parts, groups, size)
