"""Commands over the Unix socket: for this user alone, whatever stands in the way."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
from pathlib import Path

import pytest

from sightline.config.groups import DatabaseOptions
from sightline.errors import ServerError
from sightline.supervisor import control_socket
from sightline.supervisor.control_socket import ControlSocket, ask, socket_folder, taking_commands


def refuse(name: str) -> None:
    raise LookupError(f"there is no {name}")


COMMANDS = {"add": lambda a, b: a + b, "refuse": refuse, "fail": lambda: 1 / 0}


def test_a_command_is_answered_and_what_it_refuses_is_told(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "spool.db.control"
    with taking_commands(folder, COMMANDS):
        assert (stat.S_IMODE(folder.stat().st_mode), stat.S_IMODE((folder / "socket").stat().st_mode)) == (
            0o700,
            0o600,
        )
        assert ask(folder, "add", a=1, b=2) == 3
        with pytest.raises(ServerError, match="there is no x"):
            ask(folder, "refuse", name="x")
        with pytest.raises(ServerError, match="there are: add, refuse, fail"):
            ask(folder, "shutdown")
        with pytest.raises(ServerError, match="ZeroDivisionError, see the log"):
            ask(folder, "fail")
    assert not folder.exists()
    with pytest.raises(FileNotFoundError):
        ask(folder, "add", a=1, b=2)


def test_a_path_longer_than_a_socket_may_have(tmp_path: Path) -> None:
    folder = tmp_path / ("long" * 30) / ("name" * 30)
    with taking_commands(folder, COMMANDS):
        assert ask(folder, "add", a=1, b=2) == 3


def test_what_a_killed_program_has_left_is_replaced(tmp_path: Path) -> None:
    folder = tmp_path / "control"
    killed = ControlSocket(folder, COMMANDS)
    killed.server_close()
    with pytest.raises(ConnectionRefusedError):
        ask(folder, "add", a=1, b=2)
    with taking_commands(folder, COMMANDS):
        assert ask(folder, "add", a=1, b=2) == 3


def test_a_folder_that_is_open_to_others_is_not_used(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "control"
    folder.mkdir()
    folder.chmod(0o755)
    with taking_commands(folder, COMMANDS):
        assert list(folder.iterdir()) == []
    assert "not this user's alone" in caplog.text
    with pytest.raises(ServerError, match="another user"):
        ask(folder, "add", a=1, b=2)


def test_another_user_is_not_answered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, user = tmp_path / "control", os.geteuid()
    with taking_commands(folder, COMMANDS), socket.socket(socket.AF_UNIX) as client:
        monkeypatch.setattr(control_socket.os, "geteuid", lambda: user + 1)
        client.settimeout(5)
        client.connect(str(folder / "socket"))
        with contextlib.suppress(ConnectionError):  # closed already
            client.sendall(b'{"command": "add", "a": 1, "b": 2}\n')
            assert client.recv(100) == b""
        monkeypatch.undo()


@pytest.mark.parametrize("line", [b"\n", b"[]\n", b"{}\n", b'{"command": []}\n', b"\xff\n", b"1\n"])
def test_nonsense_is_answered_with_what_there_is(tmp_path: Path, line: bytes) -> None:
    with taking_commands(tmp_path / "control", COMMANDS), socket.socket(socket.AF_UNIX) as client:
        client.settimeout(5)
        client.connect(str(tmp_path / "control" / "socket"))
        client.sendall(line)
        assert b"no command; there are: add, refuse, fail" in client.recv(1000)


def test_two_programs_with_a_spool_each_have_a_socket_each() -> None:
    paths = [socket_folder(DatabaseOptions(spool_path=Path(name))) for name in ("a/spool.db", "b/spool.db")]
    assert paths[0] != paths[1]
    assert paths[0] == Path.cwd() / "a" / "spool.db.control"
