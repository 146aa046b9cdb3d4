"""Signals, handed to a thread that may take locks.

A Python signal handler runs in the main thread between two of its instructions, perhaps while it holds the
very lock that the handler's work needs: ``Event.set()`` in a handler hangs for ever when the main thread is
just entering ``Event.wait()``. So handlers only put the signal's number into a queue, which is made for that.
"""

import logging
import signal
import threading
from collections.abc import Callable, Mapping
from queue import SimpleQueue

log = logging.getLogger(__name__)


def on_signals(actions: Mapping[signal.Signals, Callable[[], None]]) -> None:
    """From now on each signal calls its action, in a thread of its own. Call it in the main thread.

    An action that raises is logged; the signals after it are still served.
    """
    inbox: SimpleQueue[int] = SimpleQueue()

    def act() -> None:
        while True:
            number = signal.Signals(inbox.get())
            try:
                actions[number]()
            except Exception:
                log.exception("what %s asks for has failed", number.name)

    threading.Thread(target=act, name="signals", daemon=True).start()
    for number in actions:
        signal.signal(number, lambda number, _frame: inbox.put(number))


def stop_on_signals() -> threading.Event:
    """An event that Ctrl-C or SIGTERM sets. Call it in the main thread."""
    stop = threading.Event()
    on_signals({signal.SIGINT: stop.set, signal.SIGTERM: stop.set})
    return stop
