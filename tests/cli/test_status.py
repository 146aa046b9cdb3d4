"""``sightline status`` as people read it, and ports of the commands that cannot be."""

import io
import json
from pathlib import Path

import pytest

from sightline.cli.main import main
from sightline.simulation.rtsp_server import free_port

WRITER = {"state": "memory", "owner": "", "last_error": "OperationalError: database or disk is full"}


def test_why_results_are_not_in_the_database_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "config.yml").write_text("cameras: {door: {url: rtsp://localhost/door}}")
    status = {"cameras": [], "notices": [], "writer": WRITER}
    answer = io.BytesIO(json.dumps(status).encode())
    monkeypatch.setattr("urllib.request.urlopen", lambda *_, **__: answer)
    assert main(["status", "-c", str(tmp_path / "config.yml")]) == 0
    assert "results: memory; owner: not known\nOperationalError: database or disk is full\n" in (
        capsys.readouterr().out
    )


def test_a_program_that_is_not_there_is_told_in_words(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = f"http: {{port: {free_port()}}}\ncameras: {{door: {{url: rtsp://localhost/door}}}}\n"
    (tmp_path / "config.yml").write_text(config)
    assert main(["status", "-c", str(tmp_path / "config.yml")]) == 1
    assert "/status gives no answer (Connection refused); is `sightline run` up" in capsys.readouterr().err


@pytest.mark.parametrize("port", ["65536", "-1", "http"])
@pytest.mark.parametrize(
    "command",
    ["console --port", "demo --port", "simulate x.mp4 --port", "triton serve --grpc-port"],
)
def test_a_port_that_cannot_be_is_refused(
    command: str, port: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main([*command.split(), port])
    assert "a port is a number from 0 to 65535" in capsys.readouterr().err
