"""``sightline console``: what keeps it from starting is said in a line."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from sightline.cli import main
from support.certificates import make_certificate

pytest.importorskip("streamlit", reason="the console's packages are not installed")


def test_tls_needs_a_certificate_in_the_configuration(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "config.yml"
    path.write_text("cameras: {}\n")
    assert main(["console", "--tls", "--config", str(path)]) == 1
    assert capsys.readouterr().err == (
        "sightline: key 'http.tls_cert': names no certificate; --tls needs it, and http.tls_key\n"
    )


def test_a_proxy_is_an_address_or_a_network(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["console", "--trusted-proxy", "caddy"])
    assert "an address or a network is needed, such as 10.0.0.0/8" in capsys.readouterr().err


def test_a_port_or_a_certificate_that_cannot_be_had_is_told_with_its_cure(tmp_path: Path) -> None:
    path, certificate = tmp_path / "config.yml", make_certificate(tmp_path)
    path.write_text(f"http: {{tls_cert: {certificate['tls_cert']}, tls_key: {certificate['tls_key']}}}\n")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        command = [sys.executable, "-m", "sightline", "console", "-c", str(path), f"--port={port}", "--tls"]
        first = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        Path(certificate["tls_key"]).write_text("nothing")
        second = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (first.returncode, first.stderr) == (
        1,
        f"sightline: cannot listen on 127.0.0.1:{port} (Address already in use); "
        "choose another --address of this machine, or another --port\n",
    )
    assert second.returncode == 1
    assert "TLS cannot be offered" in second.stderr
    assert "http.tls_key its key without a password" in second.stderr
