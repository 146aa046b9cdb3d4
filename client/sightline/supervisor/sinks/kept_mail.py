"""E-mails that follow each other go over one connection, and each goes to each recipient once.

Apprise connects anew for each, and reads all certificates of the system before: 20 ms of a processor, and
with TLS and a password more journeys to the server than the e-mail itself. Import this only where Apprise is.
"""

import contextlib
import logging
import smtplib
import ssl
import threading
import time
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from apprise.plugins.email import base
from apprise.plugins.email.smtp import AppriseSMTPController, SMTPSecureMode

from sightline.base.deadline import Deadline

log = logging.getLogger("apprise")  # where reasons are read from

KEEP_S = 20.0  # a connection that is not used for so long is closed
QUIT_S = 2.0  # so long a server may take to say good-bye
MAX_MAILS = 50  # over one connection: servers count
_ERRORS = (OSError, smtplib.SMTPException)
Server = tuple[Any, ...]


class KeptConnections:
    """Those that nobody uses just now. Any thread may call every method."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards the one below
        self._idle: list[tuple[Server, smtplib.SMTP, int, float]] = []  # with e-mails sent, and unused since

    def take(self, server: Server, deadline: Deadline) -> tuple[smtplib.SMTP | None, int]:
        """One to this server that still answers, and how many e-mails it has carried; it is yours."""
        with self._lock:
            found = next((one for one in self._idle if one[0] == server), None)
            if found is not None:
                self._idle.remove(found)
        if found is None:
            return None, 0
        _, connection, mails, _ = found
        with contextlib.suppress(*_ERRORS):
            if connection.sock is not None:
                deadline.watch(connection.sock)
            if connection.noop()[0] == 250:
                return connection, mails
        connection.close()
        return self.take(server, deadline)

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
    with contextlib.suppress(*_ERRORS), Deadline(QUIT_S) as deadline:
        if connection.sock is not None:
            deadline.watch(connection.sock)
        connection.quit()


@dataclass(slots=True)
class Receipt:
    """What has come of a notification so far, over all attempts."""

    told: set[Any] = field(default_factory=set)  # targets of other services, by Apprise's own names
    served: set[str] = field(default_factory=set)  # addresses of e-mails
    refused: dict[str, str] = field(default_factory=dict)  # for good; by address, the server's words
    with_picture: bool = False  # this attempt
    is_answered: bool = False  # in this attempt the server has refused the e-mail, and nobody's address


RECEIPT: ContextVar[Receipt] = ContextVar("receipt")  # of the notification that is being sent


class _Watched(smtplib.SMTP):
    deadline: Deadline

    def _get_socket(self, host: str, port: int, timeout: float) -> Any:
        made = super()._get_socket(host, port, timeout)  # type: ignore[misc]
        self.deadline.watch(made)
        return made


class _WatchedTls(smtplib.SMTP_SSL, _Watched):
    """TLS from the first byte, over the socket of the other base."""


class Controller(AppriseSMTPController):
    """A connection, logged in, while e-mails are sent; all of that within its time-out."""

    _socket: Any

    def __enter__(self) -> "Controller":
        names = ("host", "port", "secure_mode", "user", "password", "verify_certificate")
        self._server = tuple(getattr(self, name) for name in names)
        with contextlib.ExitStack() as ends:
            self._deadline = ends.enter_context(Deadline(self.socket_connect_timeout))
            self._socket, self._mails = CONNECTIONS.take(self._server, self._deadline)
            if self._socket is None:
                self._socket = self._connect()
            self._ends = ends.pop_all()
        return self

    def _connect(self) -> smtplib.SMTP:
        context = ssl.create_default_context()
        if not self.verify_certificate:
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        made: _Watched = (
            _WatchedTls(timeout=self.socket_connect_timeout, context=context)
            if self.secure_mode == SMTPSecureMode.SSL
            else _Watched(timeout=self.socket_connect_timeout)
        )
        made.deadline = self._deadline
        vars(made)["_host"] = self.host  # whose certificate it is to be
        try:
            code, text = made.connect(self.host, self.port)
            if code != 220:
                raise smtplib.SMTPConnectError(code, text)
            if self.secure_mode == SMTPSecureMode.STARTTLS:
                made.starttls(context=context)
            if self.user and self.password:
                made.login(self.user, self.password)
        except BaseException:
            _quit(made)
            raise
        return made

    def sendmail(self, from_addr: str, to_addrs: list[str], message: str) -> bool:
        """Send to those who have not had it; whether nobody is to get it later."""
        receipt = RECEIPT.get()
        left = [one for one in to_addrs if one not in receipt.served and one not in receipt.refused]
        if not left:
            return True
        try:
            answers = self._socket.sendmail(from_addr, left, message)
            receipt.served.update(one for one in left if one not in answers)
        except smtplib.SMTPRecipientsRefused as error:
            answers = error.recipients  # after a 421 not of all
        except smtplib.SMTPResponseException as error:
            receipt.is_answered = True
            is_final = isinstance(error, smtplib.SMTPDataError) and error.smtp_code >= 500
            answers = dict.fromkeys(left, (error.smtp_code, error.smtp_error))
            if receipt.with_picture or not is_final:
                log.warning("%s", _words(*answers[left[0]]))
                return False
        except _ERRORS as error:
            late = f"no answer within {self.socket_connect_timeout:g} s"
            log.debug("Socket Exception: %s", late if self._deadline.is_over else error)
            return False
        for one, answer in answers.items():
            if answer[0] >= 500 and answer[0] != 530:  # which asks us to log in, or for TLS
                receipt.refused[one] = _words(*answer)
            else:
                log.warning("%s: %s", one, _words(*answer))
        return all(one in receipt.served or one in receipt.refused for one in left)

    def __exit__(self, error: object, *others: Any) -> None:
        with self._ends:
            if error is None:
                CONNECTIONS.give(self._server, self._socket, self._mails + 1)
            else:
                _quit(self._socket)


def _words(code: int, text: bytes | str) -> str:
    return f"{code} {text.decode(errors='replace') if isinstance(text, bytes) else text}"


CONNECTIONS = KeptConnections()  # of the program: Apprise has one class for all of its services
vars(base)["AppriseSMTPController"] = Controller
