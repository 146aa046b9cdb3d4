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


def test_a_signal_never_hangs_whoever_waits():
    subprocess.run([sys.executable, __file__], timeout=60, check=True)


if __name__ == "__main__":
    storm()
