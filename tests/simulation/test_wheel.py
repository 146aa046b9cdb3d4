"""The built wheel in an environment of its own, from an empty folder: nothing may need the checkout."""

import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from sightline.base.processes import terminate
from sightline.simulation.rtsp_server import free_port
from support.waiting import until

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.triton, pytest.mark.rtsp]
ROOT = Path(__file__).resolve().parents[2]
UV = Path(sys.executable).with_name("uv")
# What the bundled detector reaches is told by test_selftest_system; here it is enough that everything ran.
LOOSE = ["crossing_recall=0.5", "crossing_precision=0.5", "dwell_error_s=", "zone_recall=",
         "zone_precision=", "idf1=0.4", "hota=0.3", "row_p50_s=20", "row_p99_s=40",
         "frames_lost=0.5", "coverage=0.5"]  # fmt: skip


@pytest.fixture(scope="module")
def sightline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The command, installed with the extra that the README names."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run([UV, "build", "-q", "--wheel", "--out-dir", folder, ROOT], check=True)
    (wheel,) = folder.glob("*.whl")
    subprocess.run([UV, "venv", "-q", "--python", sys.executable, folder / "venv"], check=True)
    overrides = folder / "overrides.txt"
    overrides.write_text("opencv-python; python_version < '3'\n")  # as in pyproject.toml
    subprocess.run(
        [UV, "pip", "install", "-q", "--override", overrides, "--constraint", "requirements/dev.txt",
         f"sightline[demo] @ {wheel.as_uri()}"],
        check=True, cwd=ROOT, env={**os.environ, "VIRTUAL_ENV": str(folder / "venv")},
    )  # fmt: skip
    return folder / "venv" / "bin" / "sightline"


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty working folder, and no path to the checkout's package."""
    monkeypatch.delenv("PYTHONPATH", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_self_test_runs_from_a_wheel(sightline: Path, empty: Path) -> None:
    words = ["selftest", "--fps", "5", "--length", "15"]
    words += [word for bound in LOOSE for word in ("--require", bound)]
    done = subprocess.run([sightline, *words], capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "✓ IDF1" in done.stdout


def test_the_demo_starts_and_stops_from_a_wheel(sightline: Path, empty: Path) -> None:
    port = free_port()
    log = empty / "log"
    with log.open("wb") as output:
        demo = subprocess.Popen([sightline, "demo", "--cameras", "1", "--port", str(port)],
                                stdout=output, stderr=output, start_new_session=True)  # fmt: skip
    try:
        until(lambda: "demo: ready" in log.read_text() or demo.poll() is not None, 200)
        assert demo.poll() is None, log.read_text()
        for part in ("sign-in", "sign_in.js", "sign_in.css"):  # the supervisor's, by way of the console
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/auth/{part}", timeout=10) as answer:
                assert answer.status == 200
        demo.terminate()
        assert demo.wait(30) == 0
    finally:
        if demo.poll() is None:
            terminate(demo, 15.0)
    assert "everything is stopped" in log.read_text()


def test_the_sample_configuration_comes_with_the_wheel(sightline: Path, empty: Path) -> None:
    done = subprocess.run([sightline, "schema", "--example"], capture_output=True, text=True, check=True)
    assert done.stdout == (ROOT / "config.example.yml").read_text()


def test_a_repository_is_made_from_the_wheel(sightline: Path, empty: Path) -> None:
    network = ROOT / "models" / "sightline.onnx"
    subprocess.run([sightline, "model", "export", network, "--repository", "models"], check=True)
    assert (empty / "models" / "detector" / "config.pbtxt").is_file()
    assert list((empty / "models" / "yolo").glob("1/manifest.json"))
