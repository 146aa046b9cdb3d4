"""Libraries that only some installations have: what to install where one is asked for."""

from importlib.util import find_spec

from sightline.errors import SightlineError


def require_extra(module: str, purpose: str, extra: str) -> None:
    """Raise :class:`SightlineError`, ``purpose`` and its cure, unless the module of an extra is installed."""
    if find_spec(module) is None:
        raise SightlineError(f"{purpose}: pip install 'sightline[{extra}]'")
