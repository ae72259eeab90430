"""A cache with a byte limit."""

from collections import OrderedDict
from collections.abc import Callable, Collection
from typing import Any


class ByteCache:
    """Values by key; ``trim`` evicts those used least recently until their bytes are within ``limit``.

    A value may be evicted while it is still in use; its memory is then freed with its last reference.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._entries: OrderedDict[str, tuple[Any, int]] = OrderedDict()

    def __contains__(self, key: str) -> bool:
        return key in self._entries

    @property
    def nbytes(self) -> int:
        """Bytes of all values."""
        return sum(size for _, size in self._entries.values())

    def get(self, key: str) -> Any:
        """The value of ``key``, which becomes the most recently used. Raises KeyError."""
        self._entries.move_to_end(key)
        return self._entries[key][0]

    def put(self, key: str, value: Any, nbytes: int) -> None:
        """Keep a value of ``nbytes`` bytes."""
        self._entries[key] = (value, nbytes)
        self._entries.move_to_end(key)

    def get_or_make(self, key: str, make: Callable[[], tuple[Any, int]]) -> Any:
        """The value of ``key``; if it is missing, it is made, with its size in bytes."""
        if key not in self._entries:
            self.put(key, *make())
        return self.get(key)

    def trim(self, keep: Collection[str] = ()) -> None:
        """Evict the values used least recently, except those in ``keep``, until the rest is within the limit."""
        for key in [key for key in self._entries if key not in keep]:
            if self.nbytes <= self._limit:
                return
            del self._entries[key]
