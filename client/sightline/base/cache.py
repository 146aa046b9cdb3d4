"""The one folder for what can be made or fetched again: the embedded Triton, go2rtc, copies of videos."""

import os
from pathlib import Path


def cache_folder() -> Path:
    """``$SIGHTLINE_CACHE``, else ``$XDG_CACHE_HOME/sightline``, else ``~/.cache/sightline``."""
    if own := os.environ.get("SIGHTLINE_CACHE"):
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sightline"
