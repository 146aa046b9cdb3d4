"""Commands for the running program from other programs of its user: JSON lines over a Unix socket.

A request is one line, ``{"command": NAME, ARGUMENT: …}``, and so is its answer: ``{"answer": …}`` or
``{"error": TEXT}``. The socket stands in a folder of its own beside the spool, which belongs to one program
at a time. Other users cannot enter that folder, and are not answered.
"""

import json
import logging
import os
import socket
import stat
import struct
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from socketserver import StreamRequestHandler, ThreadingUnixStreamServer
from typing import Any

from sightline.base.redact import redact
from sightline.config.groups import DatabaseOptions
from sightline.errors import ServerError, SightlineError

log = logging.getLogger(__name__)

MAX_LINE_BYTES = 1 << 20
IDLE_S = 5.0  # a client that says nothing for so long is left
ANSWER_S = 60.0
_NAME = "socket"
Command = Callable[..., Any]  # of the request's other values; gives what JSON can say


def socket_folder(options: DatabaseOptions) -> Path:
    """Where the socket of the program with this database and spool is."""
    path = options.spool_path.absolute()
    return path.with_name(f"{path.name}.control")


class ControlSocket(ThreadingUnixStreamServer):
    """Answers commands, each client in a thread of its own.

    Args:
        folder: made for this user alone; it must be nobody else's.
        commands: by name. A LookupError or SightlineError of one is an answer.

    Raises:
        ServerError: there can be no socket.
    """

    daemon_threads, block_on_close = True, False

    def __init__(self, folder: Path, commands: Mapping[str, Command]) -> None:
        self.commands = commands
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with _entered(folder) as place:
                with suppress(FileNotFoundError):
                    (place / _NAME).unlink()  # of a program that was killed
                super().__init__(str(place / _NAME), _Conversation)
                (place / _NAME).chmod(0o600)
        except OSError as error:
            raise ServerError(f"no commands can be taken at {folder}: {error.strerror or error}") from error
        self._folder = folder
        self._thread = threading.Thread(target=self.serve_forever, name="control-socket", daemon=True)

    def start(self) -> None:
        """Start answering."""
        self._thread.start()

    def stop(self) -> None:
        """Stop answering, and take the socket away."""
        self.shutdown()
        self.server_close()
        with suppress(OSError):
            (self._folder / _NAME).unlink()
            self._folder.rmdir()

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Whether the client is this user's."""
        size = struct.calcsize("3i")
        _, user, _ = struct.unpack("3i", request.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))
        return bool(user == os.geteuid())

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away, or is silent, is nothing to tell of."""


class _Conversation(StreamRequestHandler):
    server: ControlSocket
    timeout = IDLE_S

    def handle(self) -> None:
        while line := self.rfile.readline(MAX_LINE_BYTES):
            self.wfile.write(json.dumps(self._answer(line)).encode() + b"\n")

    def _answer(self, line: bytes) -> dict[str, Any]:
        try:
            request = json.loads(line)
            command = self.server.commands[request.pop("command")]
        except (ValueError, LookupError, AttributeError, TypeError):
            return {"error": f"no command; there are: {', '.join(self.server.commands)}"}
        try:
            return {"answer": command(**request)}
        except LookupError as error:
            return {"error": str(error.args[0] if error.args else error)}
        except SightlineError as error:
            return {"error": redact(error)}
        except Exception as error:
            log.exception("a command failed")
            return {"error": f"{type(error).__name__}, see the log of the running program"}


@contextmanager
def taking_commands(folder: Path, commands: Mapping[str, Command]) -> Iterator[None]:
    """Answer commands meanwhile; where there can be no socket, that is said, and the program runs without."""
    try:
        control = ControlSocket(folder, commands)
    except ServerError as error:
        log.error("%s; `sightline alerts` can only list them, and `sightline camera` do nothing", error)
        yield
        return
    control.start()
    try:
        yield
    finally:
        control.stop()


def ask(folder: Path, command: str, **values: Any) -> Any:
    """What the running program answers.

    Raises:
        FileNotFoundError, ConnectionRefusedError: none runs.
        ServerError: it is another user's, or its answer is an error.
    """
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(ANSWER_S)
        try:
            with _entered(folder) as place:
                client.connect(str(place / _NAME))
        except PermissionError as error:
            raise ServerError(f"the program of {folder} runs as another user; ask as that one") from error
        client.sendall(json.dumps({"command": command, **values}).encode() + b"\n")
        with client.makefile() as lines:
            line = lines.readline()
    if not line:
        raise ServerError("the running program gives no answer; its log may say why")
    reply = json.loads(line)
    if "error" in reply:
        raise ServerError(reply["error"])
    return reply["answer"]


@contextmanager
def _entered(folder: Path) -> Iterator[Path]:
    """The folder by a short path, since a socket's has at most 107 bytes; it must be ours alone.

    Raises:
        PermissionError: it is another user's, or open to others.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        found = os.fstat(descriptor)
        if found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o077:
            raise PermissionError(None, "the folder is not this user's alone")
        yield Path(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)
