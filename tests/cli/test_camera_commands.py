"""``sightline camera``: cameras of a running program switched on and off."""

from __future__ import annotations

from pathlib import Path

import pytest

from sightline.cli import main
from sightline.config import load_config
from sightline.supervisor.control import Control, Plan
from sightline.supervisor.control_socket import socket_folder, taking_commands


def test_a_camera_is_switched_and_what_cannot_be_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, plans = tmp_path / "config.yml", list[Plan]()
    path.write_text(
        f"database: {{spool_path: {tmp_path}/spool.db}}\n"
        "cameras:\n  gate:\n    url: rtsp://h/  # ours\n  yard: {url: 'ftp://u:hunter2@h/'}\n"
    )
    config = load_config(path)

    def call(word: str, camera: str) -> tuple[int, str]:
        status = main(["camera", word, "-c", str(path), camera])
        written = capsys.readouterr()
        return status, written.out + written.err

    assert call("disable", "gate") == (
        1,
        "sightline: nothing runs with this configuration; start `sightline run`\n",
    )
    commands = {"set_enabled": Control(path, config, plans.append).set_enabled}
    with taking_commands(socket_folder(config.options.database), commands):
        assert call("disable", "gate") == (0, "camera gate: disabled\n")
        assert "  gate:\n    url: rtsp://h/  # ours\n    enabled: false\n" in path.read_text()
        assert call("enable", "gate") == (0, "camera gate: enabled\n")
        assert [dict(plan.steps) for plan in plans] == [{"gate": "stop"}, {"gate": "start"}]
        assert call("enable", "gaet") == (1, "sightline: there is no camera 'gaet'; do you mean 'gate'?\n")
        status, problem = call("enable", "yard")
        assert (status, "scheme 'ftp' is not one of" in problem, "hunter2" in problem) == (1, True, False)
        path.chmod(0o444)
        status, problem = call("disable", "gate")
        assert (status, "cannot be written (it is read-only); nothing was changed" in problem) == (1, True)
