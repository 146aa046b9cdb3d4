"""Changes of the configuration: kept for people, and undone."""

import difflib
import logging
import time
from collections import deque

from sightline.base.redact import redact
from sightline.errors import StoreError
from sightline.store.access_store import AccessRows, AccessStore, ConfigChange

log = logging.getLogger(__name__)

MAX_WAITING = 20
UNSEEN = "unseen: while the program did not run, or as it was killed"


class ConfigHistory:
    """Keeps changes in the database; those that it does not take wait for the next one.

    Args:
        store: of the database.
    """

    def __init__(self, store: AccessStore) -> None:
        self._store = store
        self._waiting: deque[ConfigChange] = deque(maxlen=MAX_WAITING)

    def keep(self, change: ConfigChange) -> None:
        """Keep one; only one thread at a time may do so."""
        self._waiting.append(change)
        try:
            with self._store.writing() as rows:
                for waiting in self._waiting:
                    _fill_gap(rows, waiting.before, waiting.time)
                    rows.add_change(waiting)
            self._waiting.clear()
        except StoreError as error:
            log.warning("configuration: the change is not in its history yet: %s", redact(error))

    def catch_up(self, text: str) -> None:
        """Keep what has become of the file since the last change, if it is another one by now."""
        try:
            with self._store.writing() as rows:
                _fill_gap(rows, text, time.time())
        except StoreError as error:
            log.warning("configuration: its history has not been compared with it: %s", redact(error))


def _fill_gap(rows: AccessRows, text: str, now: float) -> None:
    """Keep a change between what the last one left and what is there: nobody has seen it being made."""
    last = rows.changes(1)
    if last and last[0].after != text:
        rows.add_change(ConfigChange(time=now, who=UNSEEN, changes="", before=last[0].after, after=text))


def difference(before: str, after: str) -> str:
    """Of two texts, as ``diff -u`` writes it."""
    old, new = before.splitlines(keepends=True), after.splitlines(keepends=True)
    return "".join(difflib.unified_diff(old, new, "before", "after"))


def undone(change: ConfigChange, now: str) -> str | None:
    """The text of ``now`` without what a change did; None where that has been changed since."""
    before, after, lines = (text.splitlines(keepends=True) for text in (change.before, change.after, now))
    place = {-1: -1}  # of each line that is still there, and of what comes before the first
    for block in difflib.SequenceMatcher(None, after, lines, autojunk=False).get_matching_blocks():
        place |= {block.a + offset: block.b + offset for offset in range(block.size)}
    steps = difflib.SequenceMatcher(None, after, before, autojunk=False).get_opcodes()
    for kind, start, end, first, last in reversed(steps):
        if kind != "equal":
            gone = range(start, end) if start < end else range(start - 1, start)
            here = [place[number] for number in gone if number in place]
            if len(here) < len(gone) or here[-1] - here[0] != len(gone) - 1:
                return None
            lines[here[-1] + 1 - (end - start) : here[-1] + 1] = before[first:last]
    return "".join(lines)
