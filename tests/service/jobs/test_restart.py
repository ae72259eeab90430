"""The queue when its server goes away for longer than a lease."""

from pathlib import Path

from service.connection import connect
from service.jobs.store import JobStore
from service.settings import Settings
from soupsearch.embedded.redis import EmbeddedRedis
from tests.service.jobs.samples import submit
from tests.waiting import wait_until

LEASE = 3.0


def test_a_lease_that_ran_out_while_the_server_was_away_can_be_renewed(settings: Settings, tmp_path: Path) -> None:
    with EmbeddedRedis(tmp_path / "own") as server:
        settings = settings.model_copy(update={"redis_url": server.url, "lease": LEASE})
        with connect(settings) as client:
            store = JobStore(client, settings)
            job_id = submit(store)
            claim = store.claim("here")
            assert claim is not None
            server.kill()
            store.redis.connection_pool.disconnect()
            server.start()
            store.redis.zadd(store.keys.leases, {job_id: 1})

            assert store.claim("another") is None
            assert store.renew(job_id, claim.attempt)

            store.redis.zadd(store.keys.leases, {job_id: 1})
            again = wait_until(lambda: store.claim("another"), timeout=30)
            assert (again.job_id, again.attempt) == (job_id, 2)
            assert store.get(job_id).error is None
