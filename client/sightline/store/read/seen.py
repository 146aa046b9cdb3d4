"""Rights in queries: every one that somebody asks for takes the cameras which they may see."""

from collections.abc import Iterable

#: The cameras that somebody may see; None: all of them, and what is the program's own (source "").
Cameras = frozenset[str] | None


def seen(cameras: Cameras, sources: Iterable[str]) -> list[str]:
    """Those of ``sources`` that may be seen."""
    return [source for source in sources if cameras is None or source in cameras]
