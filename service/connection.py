"""Connections to Redis that survive its restarts."""

import redis
import redis.asyncio
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import ExponentialWithJitterBackoff
from redis.retry import Retry

from service.settings import Settings

RETRIES = 14
"""With the backoff below, about ten seconds of trying before ConnectionError."""
SOCKET_TIMEOUT = 30.0
"""Seconds without an answer before redis.TimeoutError; the store's own blocking reads wait ten at most."""


def _backoff() -> ExponentialWithJitterBackoff:
    return ExponentialWithJitterBackoff(cap=1.0, base=0.05)


def connect(settings: Settings) -> redis.Redis:
    """A client that decodes text and, while Redis restarts, retries for about ten seconds.

    Its calls raise redis.ConnectionError if Redis is away longer, and redis.TimeoutError if it is connected but
    silent. All scripts of the job store may be repeated without harm.
    """
    return redis.Redis.from_url(
        settings.redis_url,
        decode_responses=True,
        protocol=2,
        retry=Retry(_backoff(), RETRIES, (redis.ConnectionError,)),
        socket_timeout=SOCKET_TIMEOUT,
        socket_connect_timeout=5,
    )


def connect_async(settings: Settings, connections: int) -> redis.asyncio.Redis:
    """Like ``connect``, but for asyncio and with a limit on connections; one more raises redis.MaxConnectionsError."""
    return redis.asyncio.Redis.from_url(
        settings.redis_url,
        decode_responses=True,
        protocol=2,
        max_connections=connections,
        retry=AsyncRetry(_backoff(), RETRIES, (redis.ConnectionError,)),
        socket_timeout=SOCKET_TIMEOUT,
        socket_connect_timeout=5,
    )
