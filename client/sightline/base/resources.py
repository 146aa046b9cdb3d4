"""Files beside the package: the bundled detector, the model repository's skeleton, the console, the sample.

In a checkout they are where people work on them; a wheel carries them in ``sightline/_bundle``. What can be
made or fetched again is in one cache folder: the embedded Triton, go2rtc, copies of videos.
"""

import os
from pathlib import Path

from sightline.errors import SightlineError

_PACKAGE = Path(__file__).resolve().parents[1]
BUNDLE = _PACKAGE / "_bundle"


def resource(name: str) -> Path:
    """The file or folder ``name``, relative to the checkout; SightlineError: this installation lacks it."""
    path = (BUNDLE if BUNDLE.is_dir() else _PACKAGE.parents[1]) / name
    if not path.exists():
        raise SightlineError(f"{path} is missing; install the wheel again, or restore it in the checkout")
    return path


def cache_folder() -> Path:
    """``$SIGHTLINE_CACHE``, else ``$XDG_CACHE_HOME/sightline``, else ``~/.cache/sightline``."""
    if own := os.environ.get("SIGHTLINE_CACHE"):
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sightline"
