"""Limits of the system are raised where that is allowed, and read where they are set."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import pytest

from sightline.base import limits

RAISE = """
import resource, sys
from sightline.base import limits
resource.setrlimit(resource.RLIMIT_NOFILE, (64, int(sys.argv[1])))
print(limits.raise_to(resource.RLIMIT_NOFILE, int(sys.argv[2])), *resource.getrlimit(resource.RLIMIT_NOFILE))
"""


@pytest.mark.parametrize(
    ("hard", "needed", "then"),
    [(512, 50, "64 64 512"), (512, 300, "300 300 512"), (512, 600, "512 512 512")],
)
def test_a_soft_limit_is_raised_to_what_is_needed_at_most_to_the_hard_one(
    hard: int, needed: int, then: str
) -> None:
    command = [sys.executable, "-c", RAISE, str(hard), str(needed)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == then


def test_no_limit_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert limits.raise_to(resource.RLIMIT_NOFILE, 10**9) is None


@pytest.mark.parametrize(("controller", "line"), [("", "0::/a/b"), ("pids", "7:pids:/a/b")])
def test_a_control_groups_limit_is_that_of_all_around_it(tmp_path: Path, controller: str, line: str) -> None:
    (tmp_path / "cgroup").write_text(f"3:cpu,cpuacct:/a\n{line}\n")
    place = tmp_path / controller / "a" / "b"
    place.mkdir(parents=True)
    (place / "pids.max").write_text("max\n")
    assert [*limits._cgroup_limits(tmp_path / "cgroup", tmp_path)] == []
    (place / "pids.max").write_text("300\n")
    (place.parent / "pids.max").write_text("200\n")
    assert [*limits._cgroup_limits(tmp_path / "cgroup", tmp_path)] == [300, 200]
    assert [*limits._cgroup_limits(tmp_path / "none", tmp_path)] == []
