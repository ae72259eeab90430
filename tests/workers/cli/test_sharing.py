"""How the workers of a training share a machine."""

import pytest

from workers.cli.sharing import threads_of_workers


@pytest.mark.parametrize(
    ("workers", "at_once", "threads", "expected"),
    [(4, 3, 0, (4, 1)), (2, 2, 0, (8, 4)), (4, 1, 0, (4, 4)), (32, 2, 0, (1, 1)), (4, 3, 2, (2, 2))],
)
def test_a_base_has_all_cores_and_fine_tunes_share_them(
    workers: int, at_once: int, threads: int, expected: tuple[int, int]
) -> None:
    assert threads_of_workers(16, workers, at_once, threads) == expected
