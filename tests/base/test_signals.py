"""Signals while the main thread holds the very lock that the action takes."""

import os
import signal
import subprocess
import sys
import threading
import time

from sightline.base.signals import on_signals

STORM = 1000


def storm() -> None:
    """Set an event by signals, thousands of times, while the main thread is busy with its lock."""
    event, over = threading.Event(), threading.Event()
    on_signals({signal.SIGUSR1: event.set, signal.SIGTERM: over.set})

    def send() -> None:
        for _ in range(STORM):
            os.kill(os.getpid(), signal.SIGUSR1)
            time.sleep(0.0003)  # lets the main thread run, or all would come as one
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=send).start()
    while not over.is_set():
        event.wait(0)
        event.clear()


def stumble() -> None:
    """End by SIGTERM although the action of the signal before has failed."""
    over = threading.Event()
    on_signals({signal.SIGHUP: lambda: {}["missing"], signal.SIGTERM: over.set})
    os.kill(os.getpid(), signal.SIGHUP)
    os.kill(os.getpid(), signal.SIGTERM)
    sys.exit(0 if over.wait(10) else 1)


def test_a_signal_never_hangs_whoever_waits():
    subprocess.run([sys.executable, __file__, "storm"], timeout=60, check=True)


def test_a_signal_is_served_after_the_action_of_another_has_failed():
    ended = subprocess.run(
        [sys.executable, __file__, "stumble"], timeout=60, check=True, capture_output=True, text=True
    )
    assert "SIGHUP" in ended.stderr
    assert "KeyError" in ended.stderr


if __name__ == "__main__":
    {"storm": storm, "stumble": stumble}[sys.argv[1]]()
