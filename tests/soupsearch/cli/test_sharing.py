"""How the workers of a training share a machine."""

import pytest

from soupsearch.cli.sharing import own_device, threads_of_workers


@pytest.mark.parametrize(
    ("workers", "at_once", "threads", "expected"),
    [(4, 3, 0, (4, 1)), (2, 2, 0, (8, 4)), (4, 1, 0, (4, 4)), (32, 2, 0, (1, 1)), (4, 3, 2, (2, 2))],
)
def test_a_base_has_all_cores_and_fine_tunes_share_them(
    workers: int, at_once: int, threads: int, expected: tuple[int, int]
) -> None:
    assert threads_of_workers(16, workers, at_once, threads) == expected


def test_what_no_worker_computes_runs_on_the_chosen_device_where_there_is_one() -> None:
    def elsewhere(*_: object) -> None: ...

    assert [own_device(each, None) for each in ("auto", "cpu", "cuda:1")] == ["auto", "cpu", "cuda:1"]
    assert [own_device(each, elsewhere) for each in ("auto", "cpu", "cuda")] == ["auto", "cpu", "auto"]
