"""How the machine does: disks by what they hold, GPUs as nvidia-smi tells them; nobody waits for either."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from sightline.base import machine
from sightline.config import Config
from sightline.supervisor import machine_watch
from sightline.supervisor.machine_watch import MachineWatch, disks_of, folders_of
from support.waiting import until


def test_what_lies_on_one_disk_is_told_together_also_before_it_is_made(tmp_path: Path) -> None:
    folders = {"clips": tmp_path / "not" / "yet", "the database": tmp_path / "a.db"}
    [room] = disks_of(folders)
    assert (room.holds, room.path) == (("clips", "the database"), str(tmp_path))
    usage = os.statvfs(tmp_path)
    assert room.total_bytes == usage.f_blocks * usage.f_frsize
    assert 0 < room.free_bytes <= room.total_bytes


def test_what_is_kept_elsewhere_is_not_looked_for_here() -> None:
    options = Config.model_validate({"database": {"url": "postgresql://u:p@h/x", "spool_path": "s.db"}})
    assert folders_of(options) == {"results that wait": Path("s.db")}
    options = Config.model_validate({"database": {"url": "sqlite:///a.db"}, "clips": {"enabled": True}})
    assert folders_of(options)["clips"] == Path("clips")
    assert folders_of(options)["the database"] == Path("a.db")


def test_a_disk_that_does_not_answer_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine_watch, "FIRST_S", 0.05)
    monkeypatch.setattr(machine_watch, "FRESH_S", 0.05)
    answers = threading.Event()

    def folders() -> dict[str, Path]:
        answers.wait(20)
        return {"clips": Path("/")}

    watch = MachineWatch(folders)
    began = time.monotonic()
    assert [watch.newest() for _ in range(3)] == [None] * 3
    assert time.monotonic() - began < 5
    assert sum(thread.name == "machine" for thread in threading.enumerate()) == 1
    answers.set()
    until(lambda: watch.newest() is not None, 10)
    found = watch.newest()
    assert found is not None
    assert (found.disks[0].path, found.cores > 0, found.load >= 0) == ("/", True, True)


@pytest.fixture
def nvidia_smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program that says what a test writes into ``says``."""
    program = tmp_path / "nvidia-smi"
    program.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/asked\ncat {tmp_path}/says\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return tmp_path / "says"


def test_gpus_are_told_in_bytes_and_shares_and_what_is_not_known_is_none(nvidia_smi: Path) -> None:
    nvidia_smi.write_text("NVIDIA H200, 37, 2048, 143771, 41\nNVIDIA A2, rev, [N/A], 1, 2, [N/A]\n")
    first, second = machine.gpus()
    assert first == machine.Gpu("NVIDIA H200", 0.37, 2048 * 2**20, 143771 * 2**20, 41.0)
    assert second == machine.Gpu("NVIDIA A2, rev", None, 2**20, 2 * 2**20, None)
    asked = nvidia_smi.with_name("asked").read_text()
    assert "--query-gpu=name,utilization.gpu,memory.used,memory.total,temperature.gpu" in asked
    assert "nounits" in asked
    assert machine.gpu("name") == "NVIDIA H200, 37, 2048, 143771, 41"


def test_a_machine_without_a_gpu_has_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert machine.gpus() == []
    assert machine.gpu() is None
