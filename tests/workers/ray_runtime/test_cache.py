"""The cache with a byte limit."""

from hypothesis import given
from hypothesis import strategies as st

from workers.ray_runtime.cache import ByteCache


def test_the_least_recently_used_goes_first() -> None:
    cache = ByteCache(30)
    for key in "abc":
        cache.put(key, key.upper(), 10)
    assert cache.get("a") == "A"
    cache.put("d", "D", 10)
    cache.trim()
    assert [key for key in "abcd" if key in cache] == ["a", "c", "d"]


def test_what_is_needed_stays_whatever_its_size() -> None:
    cache = ByteCache(5)
    cache.put("old", 0, 3)
    cache.put("stack", 1, 100)
    cache.put("images", 2, 100)
    cache.trim(keep={"stack", "images"})
    assert "old" not in cache
    assert (cache.get("stack"), cache.get("images")) == (1, 2)


def test_a_value_is_made_once() -> None:
    cache = ByteCache(10)
    made: list[int] = []

    def make() -> tuple[str, int]:
        made.append(1)
        return "value", 1

    assert [cache.get_or_make("key", make) for _ in range(3)] == ["value"] * 3
    assert len(made) == 1


@given(
    limit=st.integers(0, 100),
    puts=st.lists(st.tuples(st.sampled_from("abcdefgh"), st.integers(0, 60)), max_size=30),
    keep=st.sets(st.sampled_from("abcdefgh")),
)
def test_the_limit_holds_but_for_what_is_kept(limit: int, puts: list[tuple[str, int]], keep: set[str]) -> None:
    cache = ByteCache(limit)
    sizes = {}
    for key, size in puts:
        cache.put(key, None, size)
        sizes[key] = size
    cache.trim(keep)
    kept = sum(size for key, size in sizes.items() if key in keep)
    assert cache.nbytes <= max(limit, kept)
    assert all(key in cache for key in keep & sizes.keys())
