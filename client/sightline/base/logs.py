"""One format for every process, and no credentials in any line."""

from __future__ import annotations

import logging

from sightline.base.redact import redact

_FORMAT = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"


class _RedactingFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record))


def setup_logging(level: str) -> None:
    """Log to standard error at ``level`` (debug, info, warning or error)."""
    handler = logging.StreamHandler()
    handler.setFormatter(_RedactingFormatter(_FORMAT))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    for noisy in ("alembic", "uvicorn"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    # FFmpeg says a line for each damaged packet, some with the URL; the source counts them and says it once.
    logging.getLogger("libav").setLevel(logging.CRITICAL + 1)
