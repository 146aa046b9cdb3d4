"""Who is let in by a program that runs: its own user, whom it knows, and nobody else."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import connect

from sightline.cli import main
from sightline.simulation import demo
from sightline.simulation.stack import SightlineProcess
from support.system import System
from support.waiting import until

CAMERAS = {name: {"url": f"rtsp://127.0.0.1:9/{name}"} for name in ("gate", "yard")}
AWAY = "127.0.0.1:9"


def ask(url: str, token: str = "", body: object = None) -> tuple[int, str]:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    data = None if body is None else json.dumps(body).encode()
    headers |= {"Content-Type": "application/json"} if data else {}
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data, headers), timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_a_token_sees_its_camera_until_it_is_revoked_and_stands_in_no_log(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with System(tmp_path, CAMERAS, triton_url=AWAY, cameras_per_worker=1) as system:
        until(lambda: len(json.loads(system.get("/api/v1/cameras")[1] or "[]")) == 2)
        base, config = f"http://127.0.0.1:{system.options['http']['port']}", str(tmp_path / "config.yml")
        assert ask(f"{base}/healthz") == (200, '{"ok":true}')
        assert [ask(base + path)[0] for path in ("/status", "/metrics", "/api/v1/cameras")] == [401] * 3
        assert main(["token", "create", "reports", "--cameras", "gate", "-c", config]) == 0
        token = capsys.readouterr().out.strip()
        status, body = ask(f"{base}/api/v1/cameras", token)
        assert (status, [item["source"] for item in json.loads(body)]) == (200, ["gate"])
        assert ask(f"{base}/metrics", token)[0] == 403
        assert main(["token", "revoke", "reports", "-c", config]) == 0
        assert ask(f"{base}/api/v1/cameras", token)[0] == 401
        assert main(["status", "-c", config]) == 0
        assert "yard" in capsys.readouterr().out
        system.stop()
        assert token not in system.log()
        assert "nobody has an account yet" in system.log()


@pytest.mark.long
def test_troubles_are_followed_over_a_kill_of_the_program_and_told_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with System(tmp_path, CAMERAS, triton_url=AWAY, cameras_per_worker=1) as system:
        until(lambda: len(json.loads(system.get("/api/v1/cameras")[1] or "[]")) == 2)
        base, config = f"ws://127.0.0.1:{system.options['http']['port']}/ws/events", tmp_path / "config.yml"
        assert main(["token", "create", "screen", "-c", str(config)]) == 0
        token = {"Authorization": f"Bearer {capsys.readouterr().out.strip()}"}

        def follow(after: str, number: int) -> list[dict[str, Any]]:
            with connect(f"{base}?after={after}", additional_headers=token) as socket:
                return [json.loads(socket.recv(timeout=90)) for _ in range(number + 1)]

        start, *begun = follow("0", 3)  # Triton is away, and both cameras
        assert start["resumed"]
        system.kill()
        system.write_config({"gate": CAMERAS["gate"]})
        system.start()
        until(lambda: system.get("/healthz")[0] == 200)
        start, ended = follow(begun[-1]["id"], 1)  # of the camera that is there no more
        assert (start["resumed"], ended["event"]["source"]) == (True, "yard")
        [before] = [item["event"] for item in begun if item["event"]["source"] == "yard"]
        assert before["end_time"] is None
        assert ended["event"] == {**before, "end_time": ended["event"]["end_time"]}
        assert ended["event"]["end_time"] > before["event_time"]


def test_the_demos_link_signs_in_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with SightlineProcess(tmp_path, CAMERAS, triton={"url": AWAY}) as sightline:
        until(lambda: not demo.why_not_ready(f"{sightline.url}/healthz?", sightline))
        demo.tell_ready(sightline, "http://127.0.0.1:8501", tmp_path)
        link = capsys.readouterr().out.partition("/auth/link?next=/#")[2].split()[0]
        status, body = ask(f"{sightline.url}/auth/link", body={"link": link})
        assert (status, json.loads(body)["person"]["role"]) == (200, "admin")
        assert ask(f"{sightline.url}/auth/link", body={"link": link})[0] == 401
        assert link not in sightline.log_path.read_text()
