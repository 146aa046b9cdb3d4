"""A media server of a few lines: takes one publisher after the other by RTSP, and says what it was told."""

from __future__ import annotations

import contextlib
import re
import socket
import ssl
import threading
from types import TracebackType


class MediaServer:
    """Answers as it is told to; a context manager. Keeps requests, and RTP packets by their channels."""

    def __init__(
        self,
        *,
        challenges: tuple[str, ...] = (),
        refuse: dict[str, int] | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.challenges, self.refuse, self._tls = challenges, refuse or {}, tls
        self.requests: list[tuple[str, str, dict[str, str], str]] = []
        self.packets: list[tuple[int, bytes]] = []
        self.ended = 0  # connections
        self.answers_nothing = self.reads_nothing = False
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self._lines: list[socket.socket] = []
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> MediaServer:
        self._thread.start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self.hang_up()
        self._thread.join(5)

    def hang_up(self) -> None:
        """End every connection."""
        for line in self._lines:
            with contextlib.suppress(OSError):
                line.shutdown(socket.SHUT_RDWR)

    @property
    def methods(self) -> list[str]:
        return [method for method, *_ in self.requests]

    def _serve(self) -> None:
        while True:
            try:
                line, _ = self._socket.accept()
            except OSError:
                return
            with contextlib.suppress(OSError, ValueError):
                if self._tls is not None:
                    line = self._tls.wrap_socket(line, server_side=True)
                self._lines.append(line)
                self._talk(line)
            self.ended += 1

    def _talk(self, line: socket.socket) -> None:
        with line, line.makefile("rb") as reader:
            while first := reader.read(1):
                while self.reads_nothing:
                    if threading.Event().wait(0.05) or self._socket.fileno() < 0:
                        return
                if first == b"$":
                    channel, length = reader.read(1)[0], int.from_bytes(reader.read(2), "big")
                    self.packets.append((channel, reader.read(length)))
                    continue
                method, url, _ = (first + reader.readline()).decode().split()
                headers: dict[str, str] = {}
                while text := reader.readline().strip().decode():
                    name, _, value = text.partition(": ")
                    headers[name] = value
                body = reader.read(int(headers.get("Content-Length", 0))).decode()
                self.requests.append((method, url, headers, body))
                if not self.answers_nothing:
                    line.sendall(self._answer(method, headers).encode())

    def _answer(self, method: str, headers: dict[str, str]) -> str:
        status, more = self.refuse.get(method, 200), ""
        if self.challenges and "Authorization" not in headers:
            status = 401
            more = "".join(f"WWW-Authenticate: {challenge}\r\n" for challenge in self.challenges)
        if method == "SETUP":
            more += f"Transport: {headers['Transport']}\r\nSession: 4711;timeout=60\r\n"
        return f"RTSP/1.0 {status} Text\r\nCSeq: {headers['CSeq']}\r\n{more}\r\n"


def fields_of(authorization: str) -> dict[str, str]:
    """What an answer to a digest challenge says."""
    return dict(re.findall(r'(\w+)="?([^",]*)', authorization.partition(" ")[2]))
