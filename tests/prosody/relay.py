"""Stands between a Prosody and its daemon. Must not know what the lines are about."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

#: Sees a line, without changing it; the line goes on when it returns.
See = Callable[[bytes], Awaitable[None]]


async def pass_on(_: bytes) -> None:
    """Sees nothing."""


@contextlib.asynccontextmanager
async def relay(path: Path, daemon: Path, *, to_daemon: See = pass_on, to_prosody: See = pass_on) -> AsyncIterator[None]:
    """Listens at `path` for the daemon that listens at `daemon`."""

    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, see: See) -> None:
        with contextlib.suppress(ConnectionError):
            while line := await reader.readline():
                await see(line)
                writer.write(line)
                await writer.drain()
        writer.close()

    async def accept(of_prosody: asyncio.StreamReader, prosody: asyncio.StreamWriter) -> None:
        of_daemon, beyond = await asyncio.open_unix_connection(daemon, limit=2**24)
        await asyncio.gather(forward(of_prosody, beyond, to_daemon), forward(of_daemon, prosody, to_prosody))

    server = await asyncio.start_unix_server(accept, path, limit=2**24)
    try:
        yield
    finally:
        server.close()
