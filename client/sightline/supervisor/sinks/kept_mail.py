"""E-mails that follow each other go over one connection.

Apprise connects anew for each, and reads all certificates of the system before: 20 ms of a processor, and
with TLS and a password more journeys to the server than the e-mail itself. Import this only where Apprise is.
"""

import contextlib
import smtplib
import threading
import time
from typing import Any

from apprise.plugins.email import base
from apprise.plugins.email.smtp import AppriseSMTPController

KEEP_S = 20.0  # a connection that is not used for so long is closed
MAX_MAILS = 50  # over one connection: servers count
_ERRORS = (OSError, smtplib.SMTPException)
Server = tuple[Any, ...]


class KeptConnections:
    """Those that nobody uses just now. Any thread may call every method."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards the one below
        self._idle: list[tuple[Server, smtplib.SMTP, int, float]] = []  # with e-mails sent, and unused since

    def take(self, server: Server) -> tuple[smtplib.SMTP | None, int]:
        """One to this server that still answers, and how many e-mails it has carried; it is yours."""
        with self._lock:
            found = next((one for one in self._idle if one[0] == server), None)
            if found is not None:
                self._idle.remove(found)
        if found is None:
            return None, 0
        _, connection, mails, _ = found
        with contextlib.suppress(*_ERRORS):
            if connection.noop()[0] == 250:
                return connection, mails
        connection.close()
        return self.take(server)

    def give(self, server: Server, connection: smtplib.SMTP, mails: int) -> None:
        """Keep one for the e-mails that follow."""
        if mails >= MAX_MAILS:
            _quit(connection)
            return
        with self._lock:
            self._idle.append((server, connection, mails, time.monotonic()))

    def close(self, unused_s: float = 0.0) -> None:
        """Close those that nobody has used for so long."""
        now = time.monotonic()
        with self._lock:
            old = [one for one in self._idle if now - one[3] >= unused_s]
            self._idle = [one for one in self._idle if one not in old]
        for _, connection, _, _ in old:
            _quit(connection)


def _quit(connection: smtplib.SMTP) -> None:
    with contextlib.suppress(*_ERRORS):
        connection.quit()


class _Controller(AppriseSMTPController):
    _socket: Any

    def __enter__(self) -> "_Controller":
        names = ("host", "port", "secure_mode", "user", "password", "verify_certificate")
        self._server = tuple(getattr(self, name) for name in names)
        self._socket, self._mails = CONNECTIONS.take(self._server)
        if self._socket is None:
            super().__enter__()
        return self

    def __exit__(self, error: object, *_: object) -> None:
        if self._socket is not None and error is None:
            CONNECTIONS.give(self._server, self._socket, self._mails + 1)
        else:
            super().__exit__(error, None, None)


CONNECTIONS = KeptConnections()  # of the program: Apprise has one class for all of its services
vars(base)["AppriseSMTPController"] = _Controller
