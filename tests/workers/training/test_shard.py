from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.training.shard import WHOLE, Shard


@given(st.integers(1, 8), st.integers(1, 50))
def test_equal_shares_cover_a_batch_once(count: int, size: int) -> None:
    rows = [row for rank in range(count) for row in range(count * size)[Shard(rank, count).rows(count * size)]]
    assert rows == list(range(count * size))


def test_a_batch_that_does_not_divide_is_refused() -> None:
    with pytest.raises(ValueError, match="batch_size 32 does not divide by 3 workers"):
        Shard(0, 3).rows(32)


@given(st.integers(0, 2**63 - 2), st.integers(2, 64))
def test_seeds_of_shares_differ(common: int, count: int) -> None:
    assert len({Shard(rank, count).seed(common) for rank in range(count)}) == count
    assert Shard(0, count).seed(common) == common


def test_a_process_without_a_group_trains_alone() -> None:
    assert Shard.of_this_process() == WHOLE
