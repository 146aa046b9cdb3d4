"""Programs that we start get nothing that is not theirs, and show nothing to other users."""

import os
import sys
from pathlib import Path

import pytest

from sightline.base.processes import ignore_fchmod, spawn

MAKE_A_FILE = "import os, sys; os.fchmod(os.open(sys.argv[1], os.O_CREAT | os.O_RDWR, 0o644), 0o644)"


@pytest.mark.parametrize(("prepare", "mode"), [(lambda: None, 0o644), (ignore_fchmod, 0o600)])
def test_its_files_are_its_users_alone(tmp_path, prepare, mode):
    with spawn([sys.executable, "-c", MAKE_A_FILE, str(tmp_path / "file")], 2, prepare=prepare) as child:
        assert child.wait(30) == 0
    assert (tmp_path / "file").stat().st_mode & 0o777 == mode


def test_it_has_no_secret_of_a_configuration(tmp_path, monkeypatch):
    monkeypatch.setenv("SIGHTLINE_DB_PASSWORD", "hunter2")
    monkeypatch.setenv("SIGHTLINE_CACHE", str(tmp_path))
    with (tmp_path / "environ").open("wb") as output, spawn(["cat", "/proc/self/environ"], output) as child:
        assert child.wait(30) == 0
    environment = (tmp_path / "environ").read_text()
    assert "hunter2" not in environment
    assert f"SIGHTLINE_CACHE={tmp_path}" in environment
    assert os.environ["PATH"] in environment
    assert Path("/proc/self/environ").stat().st_mode & 0o077 == 0  # ours holds it: for our user alone
