"""Multipart bodies, streamed part by part: small fields to memory, files to disk."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import anyio.to_thread
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request

from service.errors import MalformedBody, TooLarge

WRITE_SIZE = 2**20
FIELD_LIMIT = 2**20
OVERHEAD = 2**16
"""Bytes that the boundaries and headers of the parts may take."""


Reserve = Callable[[int], None]
"""Raises StorageFull if this many more bytes would leave too little space on the disk."""


@dataclass(frozen=True)
class ReceivedFile:
    """A file part on disk."""

    path: Path
    size: int


@dataclass(frozen=True)
class Form:
    """A multipart body: its fields in memory, its files on disk."""

    fields: Mapping[str, bytes]
    files: Mapping[str, ReceivedFile]


@dataclass
class _Part:
    """One part as it arrives; ``target`` is None for a field."""

    name: str
    limit: int
    target: IO[bytes] | None
    path: Path | None
    reserve: Reserve
    chunks: list[bytes] = field(default_factory=list)
    waiting: int = 0
    size: int = 0

    def take(self, data: bytes) -> None:
        self.size += len(data)
        self.waiting += len(data)
        if self.size > self.limit:
            raise TooLarge(f"Part {self.name!r} is longer than {self.limit} bytes. Send less.", param=self.name)
        self.chunks.append(data)

    def flush(self) -> None:
        """Write the buffered data; called in a thread because a disk may stall."""
        if self.target is None:
            return
        data = b"".join(self.chunks)
        self.chunks.clear()
        self.waiting = 0
        self.reserve(len(data))
        self.target.write(data)

    def close(self) -> None:
        if self.target is not None:
            self.target.close()


class _Receiver:
    """The parser's callbacks: opens a part for each set of headers and passes it its data."""

    def __init__(self, folder: Path, fields: Mapping[str, int], files: Mapping[str, int], reserve: Reserve) -> None:
        self.folder = folder
        self.reserve = reserve
        self.fields = fields
        self.files = files
        self.parts: dict[str, _Part] = {}
        self.current: _Part | None = None
        self.ended = False
        self.headers: dict[bytes, bytes] = {}
        self.header: list[bytes] = [b"", b""]

    def on_part_begin(self) -> None:
        self.headers = {}

    def on_header_field(self, data: bytes, start: int, end: int) -> None:
        self.header[0] += data[start:end]

    def on_header_value(self, data: bytes, start: int, end: int) -> None:
        self.header[1] += data[start:end]

    def on_header_end(self) -> None:
        self.headers[self.header[0].lower()] = self.header[1]
        self.header = [b"", b""]

    def on_headers_finished(self) -> None:
        _, options = parse_options_header(self.headers.get(b"content-disposition"))
        name = options.get(b"name", b"").decode("utf-8", "replace")
        if name in self.parts:
            raise MalformedBody(f"Part {name!r} is there twice. Send it once.", param=name)
        self.current = self.parts[name] = self._open(name)

    def _open(self, name: str) -> _Part:
        if name in self.fields:
            return _Part(name, self.fields[name], None, None, self.reserve)
        if name in self.files:
            path = self.folder / f"{name}.part"
            return _Part(name, self.files[name], path.open("xb"), path, self.reserve)
        known = ", ".join(repr(known) for known in [*self.fields, *self.files])
        raise MalformedBody(f"Part {name!r} is not taken here. The parts are {known}.", param=name or None)

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self.current is not None:
            self.current.take(data[start:end])

    def on_end(self) -> None:
        self.ended = True

    async def flush(self, least: int) -> None:
        for part in self.parts.values():
            if part.target is not None and part.waiting >= least:
                await anyio.to_thread.run_sync(part.flush)

    def close(self) -> None:
        for part in self.parts.values():
            part.close()

    def form(self) -> Form:
        fields = {part.name: b"".join(part.chunks) for part in self.parts.values() if part.path is None}
        files = {part.name: ReceivedFile(part.path, part.size) for part in self.parts.values() if part.path is not None}
        return Form(fields, files)


def check_length(request: Request, limit: int, param: str | None = None) -> int:
    """The length in the Content-Length header, 0 without one; a bad one is refused before the body is read.

    Raises:
        MalformedBody: the header is not a number.
        TooLarge: it is more than ``limit`` bytes.
    """
    length = request.headers.get("content-length", "0")
    if not length.isdecimal():
        raise MalformedBody("Content-Length is not a number.", param="Content-Length")
    if int(length) > limit:
        raise TooLarge(f"The body has {length} bytes; the limit is {limit}. Send less.", param=param)
    return int(length)


async def read_limited(request: Request, limit: int = FIELD_LIMIT) -> bytes:
    """The whole body, up to ``limit`` bytes.

    Raises:
        TooLarge: it is longer.
    """
    check_length(request, limit)
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise TooLarge(f"The body is longer than {limit} bytes. Send less.")
    return bytes(body)


async def read_form(
    request: Request, folder: Path, fields: Mapping[str, int], files: Mapping[str, int], reserve: Reserve
) -> Form:
    """Receive a multipart body whose parts may come in any order.

    Args:
        request: the request, its body not yet read.
        folder: where files go; the caller removes it if this raises.
        fields: the parts kept in memory and their limits in bytes.
        files: the parts written to ``folder`` and their limits in bytes.
        reserve: called with the whole announced length, and again before each write.

    Raises:
        TooLarge: a part or the whole exceeds its limit.
        MalformedBody: the body is not multipart, ends early, or has an unknown or repeated part.
        StorageFull: ``reserve`` raised it.
    """
    limit = sum(fields.values()) + sum(files.values()) + OVERHEAD
    length = check_length(request, limit, next(iter(files), None))
    await anyio.to_thread.run_sync(reserve, length)
    _, options = parse_options_header(request.headers.get("content-type"))
    receiver = _Receiver(folder, fields, files, reserve)
    try:
        parser = _make_parser(options.get(b"boundary", b""), receiver)
        await _receive(request, parser, receiver, limit)
    except FormParserError as error:
        raise MalformedBody(f"The multipart body cannot be parsed: {error}.") from error
    finally:
        receiver.close()
    return receiver.form()


def _make_parser(boundary: bytes, receiver: _Receiver) -> MultipartParser:
    if not boundary:
        raise MalformedBody("The Content-Type has no boundary. Let the HTTP client write it.", param="Content-Type")
    return MultipartParser(
        boundary,
        {
            "on_part_begin": receiver.on_part_begin,
            "on_header_field": receiver.on_header_field,
            "on_header_value": receiver.on_header_value,
            "on_header_end": receiver.on_header_end,
            "on_headers_finished": receiver.on_headers_finished,
            "on_part_data": receiver.on_part_data,
            "on_end": receiver.on_end,
        },
    )


async def _receive(request: Request, parser: MultipartParser, receiver: _Receiver, limit: int) -> None:
    received = 0
    async for chunk in request.stream():
        received += len(chunk)
        if received > limit:
            raise TooLarge(f"The body is longer than {limit} bytes. Send less.")
        parser.write(chunk)
        await receiver.flush(WRITE_SIZE)
    if not receiver.ended:
        raise MalformedBody("The multipart body ends before its last boundary. Send it whole.")
    await receiver.flush(0)
