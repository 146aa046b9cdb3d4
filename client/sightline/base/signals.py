"""Signals, handed to a thread that may take locks.

A Python signal handler runs in the main thread between two of its instructions, perhaps while it holds the
very lock that the handler's work needs: ``Event.set()`` in a handler hangs for ever when the main thread is
just entering ``Event.wait()``. So handlers only put the signal's number into a queue, which is made for that.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Mapping
from queue import SimpleQueue


def on_signals(actions: Mapping[signal.Signals, Callable[[], None]]) -> None:
    """From now on each signal has its action called, in a thread of its own. Call it in the main thread."""
    inbox: SimpleQueue[int] = SimpleQueue()

    def act() -> None:
        while True:
            actions[signal.Signals(inbox.get())]()

    threading.Thread(target=act, name="signals", daemon=True).start()
    for number in actions:
        signal.signal(number, lambda number, _frame: inbox.put(number))


def stop_on_signals() -> threading.Event:
    """An event that Ctrl-C or SIGTERM sets. Call it in the main thread."""
    stop = threading.Event()
    on_signals({signal.SIGINT: stop.set, signal.SIGTERM: stop.set})
    return stop
