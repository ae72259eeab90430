"""Questions from the API to a worker and their answers, over two kinds of lists in Redis."""

import json
import logging
import time
import uuid
from collections.abc import Callable
from typing import Any, cast

from redis import Redis

from service.errors import Unavailable

_SLICE = 1.0
_ANSWER_TTL = 60

_log = logging.getLogger(__name__)

Document = dict[str, Any]


class Exchange:
    """Questions wait in the list ``questions``; the answer to one goes to the list that ``answers`` names by its id.

    ``redis`` must decode responses. Questions and answers are JSON objects.
    """

    def __init__(self, redis: Redis, questions: str, answers: Callable[[str], str]) -> None:
        self._redis = redis
        self._questions = questions
        self._answers = answers

    def ask(
        self, question: Document, timeout: float, is_stopping: Callable[[], bool] = lambda: False
    ) -> Document | None:
        """Get a worker's answer. After ``timeout`` seconds without one, withdraw the question and return None.

        Raises Unavailable (``stopping``) within about a second once ``is_stopping()``, to not delay a shutdown.
        """
        question_id = uuid.uuid4().hex
        text = json.dumps(question | {"id": question_id})
        self._redis.lpush(self._questions, text)
        try:
            return self._wait(self._answers(question_id), timeout, is_stopping)
        finally:
            self._redis.lrem(self._questions, 0, text)

    def answer_next(self, answer: Callable[[Document], Document], timeout: float) -> bool:
        """Answer the oldest question that comes within ``timeout`` seconds; returns whether there was one.

        An invalid entry is logged and dropped, since nobody waits for its answer.
        """
        popped = cast("list[Any] | None", self._redis.brpop([self._questions], timeout=timeout))
        if popped is None:
            return False
        try:
            question = json.loads(popped[1])
            key = self._answers(question["id"])
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            _log.warning(
                "dropped an entry of %s, which is not a question (%r): %.200s", self._questions, error, popped[1]
            )
            return True
        text = json.dumps(answer(question))
        with self._redis.pipeline() as pipeline:
            pipeline.lpush(key, text)
            pipeline.expire(key, _ANSWER_TTL)
            pipeline.execute()
        return True

    def _wait(self, key: str, timeout: float, is_stopping: Callable[[], bool]) -> Document | None:
        deadline = time.monotonic() + timeout
        while (left := deadline - time.monotonic()) > 0:
            if is_stopping():
                raise Unavailable("The service is stopping. Ask again once it is back.", code="stopping")
            popped = cast("list[Any] | None", self._redis.blpop([key], timeout=min(_SLICE, left)))
            if popped is not None:
                return cast("Document", json.loads(popped[1]))
        return None
