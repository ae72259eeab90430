"""Files that refuse reads no honest archive needs, so that an archive cannot make a parser exhaust memory or time."""

import io
from typing import BinaryIO

from service.archives.members import CHUNK_BYTES, ByteBudget

LARGEST_READ = 4 * CHUNK_BYTES


class OversizedRead(ValueError):
    """A header made the parser ask for more than any sound header needs."""


class GuardedFile(io.BufferedReader):
    """A file that refuses single reads of more than ``largest_read`` bytes, before it allocates them."""

    def __init__(self, raw: io.RawIOBase, largest_read: int) -> None:
        super().__init__(raw)
        self._largest_read = largest_read

    def read(self, size: int | None = -1, /) -> bytes:
        """Up to ``size`` bytes. Raises OversizedRead when that is more than allowed."""
        if size is None or size < 0:
            size = self._largest_read
        if size > self._largest_read:
            raise OversizedRead(f"a header asks for {size} bytes at once")
        return super().read(size)


class ForwardStream:
    """A decompressed stream with the part of ``seek`` that tarfile needs: forward, or back by one byte.

    A gzip stream restarts from its beginning to go back, and a hostile archive could cause that at every member.
    All bytes read count against ``budget``.
    """

    def __init__(self, source: BinaryIO, budget: ByteBudget) -> None:
        self._source = source
        self._budget = budget
        self._position = 0
        self._pending = b""
        self.last_read = b""

    def tell(self) -> int:
        """Bytes passed so far."""
        return self._position - len(self._pending)

    def read(self, size: int) -> bytes:
        """Up to ``size`` bytes, fewer only at the end. Raises OversizedRead for more than a few chunks."""
        if not 0 <= size <= LARGEST_READ:
            raise OversizedRead(f"a header asks for {size} bytes at once")
        data, self._pending = self._pending[:size], self._pending[size:]
        data += self._pull(size - len(data))
        self.last_read = data or self.last_read
        return data

    def seek(self, position: int) -> int:
        """Move forward to ``position``, or back by one byte. Raises OversizedRead for any other move back."""
        if position == self._position - 1 and self.last_read:
            self._pending = self.last_read[-1:]
            return position
        if position < self.tell():
            raise OversizedRead("a header asks to go back in the stream")
        while (missing := position - self.tell()) > 0 and self.read(min(missing, CHUNK_BYTES)):
            pass
        return self.tell()

    def drain(self) -> None:
        """Read to the end, so that checksums are verified. Raises the decompressor's errors."""
        while self.read(CHUNK_BYTES):
            pass

    def _pull(self, size: int) -> bytes:
        parts = []
        while size > 0 and (part := self._source.read(size)):
            self._budget.spend(len(part))
            parts.append(part)
            size -= len(part)
            self._position += len(part)
        return b"".join(parts)
