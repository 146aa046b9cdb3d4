"""A TCP port on loopback for the programs of this user, in front of a server that listens on a Unix socket.

A socket in a private folder is guarded by the kernel; a port is open to every user of the machine, and Triton
knows no keys that perf_analyzer could send. So whoever connects here is looked up by the kernel's own table.
"""

import asyncio
import os
import socket
import threading
from pathlib import Path

from sightline.errors import ServerError

HOST = "127.0.0.1"
_ESTABLISHED = "01"
_CHUNK = 1 << 18


def bind(port: int, name: str) -> socket.socket:
    """A socket bound to a port of loopback; a ServerError that names the port when it is taken."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((HOST, port))
    except OSError as error:
        listener.close()
        raise ServerError(
            f"port {port} for Triton's {name} is taken or not allowed ({error.strerror}): "
            "stop what listens there, or choose another (0: no port)"
        ) from error
    return listener


class OwnersPort:
    """Hands connections on to ``target``, a Unix socket, from a thread of its own, until it is closed."""

    def __init__(self, listener: socket.socket, target: Path) -> None:
        self._listener = listener
        self._port = listener.getsockname()[1]
        self._target = target
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name=f"port {self._port}", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Close the port and every connection."""
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        async with await asyncio.start_server(self._connected, sock=self._listener):
            await self._stop.wait()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if owner_of(writer.get_extra_info("peername")[1], self._port) == os.getuid():
                inner_reader, inner_writer = await asyncio.open_unix_connection(self._target)
                await asyncio.gather(_copy(reader, inner_writer), _copy(inner_reader, writer))
        except OSError:  # one end is gone, so the other is closed: its program sees that
            return
        finally:
            writer.transport.abort()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(_CHUNK):
            writer.write(data)
            await writer.drain()
    finally:
        writer.close()


def owner_of(peer_port: int, our_port: int) -> int | None:
    """The user id of whoever holds the other end of a connection on loopback; None when it is gone."""
    ends = f"0100007F:{peer_port:04X}", f"0100007F:{our_port:04X}"  # an IPv6 socket's mapped address ends so
    for table in ("tcp", "tcp6"):
        for line in Path("/proc/net", table).read_text().splitlines()[1:]:
            _, local, remote, state, _, _, _, uid, *_ = line.split()
            if local.endswith(ends[0]) and remote.endswith(ends[1]) and state == _ESTABLISHED:
                return int(uid)
    return None
