"""Whether the tests' own process stood still, which fails tests of whatever has a time limit, and why."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime
from typing import Any

import pytest

LEAST_S = 1.5
_BEAT_S = 0.2


class Standstills:
    """A plugin: at the end, and beside a failure, it is said when no thread of this process went on.

    The processor time that passed meanwhile tells a thread that holds the interpreter's lock from a machine
    that gave the process nothing.
    """

    def __init__(self) -> None:
        self._seen: list[str] = []  # of this process
        self._of_all: list[str] = []
        self._test, self._before = "", 0
        threading.Thread(target=self._beat, daemon=True, name="standstills").start()

    def _beat(self) -> None:
        last_s, last_wall_s, last_used_s = time.monotonic(), time.time(), time.process_time()
        while True:
            time.sleep(_BEAT_S)
            now_s, wall_s, used_s = time.monotonic(), time.time(), time.process_time()
            stood_s = max(now_s - last_s, wall_s - last_wall_s) - _BEAT_S
            if stood_s > LEAST_S:
                clocks = f"{now_s - last_s:.1f} s (by the wall clock {wall_s - last_wall_s:.1f} s)"
                used = f"{used_s - last_used_s:.1f} s of processor time"
                self._seen.append(f"{datetime.now(UTC):%H:%M:%S}: {clocks}, {used}; {self._test}")
            last_s, last_wall_s, last_used_s = now_s, wall_s, used_s

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self._test, self._before = nodeid, len(self._seen)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self) -> Any:
        report = yield
        if report.failed and (stood := self._seen[self._before :]):
            report.sections.append(("this process stood still", "\n".join(stood)))
        return report

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        output = getattr(session.config, "workeroutput", None)
        if output is not None:  # one of several processes tells the first one
            output["standstills"] = self._seen

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        self._of_all += getattr(node, "workeroutput", {}).get("standstills", [])

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if stood := sorted({*self._of_all, *self._seen}):
            terminalreporter.section("a process stood still")
            for line in stood:
                terminalreporter.write_line(line)
