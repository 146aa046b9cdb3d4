"""One format for every process, and no credentials in any line."""

import logging
import time

from sightline.base.redact import redact


class _RedactingFormatter(logging.Formatter):
    """What others say forges no line and steers no terminal: lines that follow are indented."""

    def format(self, record: logging.LogRecord) -> str:
        text = redact(super().format(record))
        if text.isprintable():
            return text
        return "".join(
            "\n    " if sign == "\n" else sign if sign.isprintable() else ascii(sign)[1:-1] for sign in text
        )


def setup_logging(level: str) -> None:
    """Log to standard error at ``level`` (debug, info, warning or error)."""
    handler = logging.StreamHandler()
    handler.setFormatter(_RedactingFormatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s"))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    for noisy in ("alembic", "uvicorn"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    # FFmpeg says a line for each damaged packet, some with the URL; the source counts them and says it once.
    logging.getLogger("libav").setLevel(logging.CRITICAL + 1)


class WarnOnce:
    """Repeated warnings: each at once, then at most every ``again_after_s`` with its number. One thread."""

    def __init__(self, log: logging.Logger, again_after_s: float = 60.0) -> None:
        self._log, self._again_after_s = log, again_after_s
        self._logged: dict[str, float] = {}  # time.monotonic() by text; bounded below
        self._held_back: dict[str, int] = {}

    def warn_once(self, text: str) -> None:
        """Log ``text``, or count it for the next line that says the same."""
        now = time.monotonic()
        if now - self._logged.get(text, float("-inf")) < self._again_after_s:
            self._held_back[text] = self._held_back.get(text, 0) + 1
            return
        if len(self._logged) >= 100:  # texts with changing numbers in them
            self._logged.clear()
            self._held_back.clear()
        self._logged[text] = now
        more = self._held_back.pop(text, 0)
        self._log.warning("%s%s", text, f" (and {more} times before)" if more else "")
