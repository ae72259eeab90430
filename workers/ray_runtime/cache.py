"""A cache with a byte limit."""

from collections import OrderedDict
from collections.abc import Callable, Collection
from typing import Any


class ByteCache:
    """Values by key; ``trim`` puts out those used least recently until their bytes are within ``limit``.

    A value may be put out while someone still uses it; its memory then comes free with its last reference.
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
        """The value of ``key``, which is now the one used last. Raises KeyError."""
        self._entries.move_to_end(key)
        return self._entries[key][0]

    def put(self, key: str, value: Any, nbytes: int) -> None:
        """Keep a value of ``nbytes`` bytes."""
        self._entries[key] = (value, nbytes)
        self._entries.move_to_end(key)

    def get_or_make(self, key: str, make: Callable[[], tuple[Any, int]]) -> Any:
        """The value of ``key``, made (with its bytes) when it is not here."""
        if key not in self._entries:
            self.put(key, *make())
        return self.get(key)

    def trim(self, keep: Collection[str] = ()) -> None:
        """Put out the values used least recently, but for those of ``keep``, until the limit holds."""
        for key in [key for key in self._entries if key not in keep]:
            if self.nbytes <= self._limit:
                return
            del self._entries[key]
