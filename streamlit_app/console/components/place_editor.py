"""Lines and zones, drawn on a camera's own picture."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from console.components.own_component import own_component
from console.texts import PICTURE_WORDS


@dataclass(frozen=True, slots=True)
class Beneath:
    """What lies under the drawing, besides the picture and the tracks."""

    #: Where places of a camera that was turned would have to be: ``kind``, ``name`` and ``points`` of each.
    proposed: Sequence[dict[str, Any]] = field(default_factory=tuple)
    #: Ways of tracks (``points``) that would be told besides (``added``) or no longer.
    ways: Sequence[dict[str, Any]] = field(default_factory=tuple)


def place_editor(
    camera: str,
    places: Sequence[dict[str, Any]],
    beneath: Beneath,
    *,
    version: str,
    fixed: bool,
    key: str,
) -> list[dict[str, Any]] | None:
    """The places as somebody has drawn them; None while they have changed nothing.

    Args:
        camera: whose picture lies below, and its tracks.
        places: each with ``kind`` (line, zone), ``name``, ``points``, ``classes``, ``loiter_s`` and
            ``max_occupancy``, as they are now.
        beneath: what else is shown.
        version: another one drops what was drawn.
        fixed: nothing can be changed.
        key: of the widget.
    """
    data: dict[str, Any] = {
        "id": f"{camera} {version}",
        "camera": camera,
        "places": list(places),
        "proposed": list(beneath.proposed),
        "ways": list(beneath.ways),
        "url": f"/live/{quote(camera, safe='')}.mjpg?size=large&overlay=0",
        "words": PICTURE_WORDS,
        "label": f"Lines and zones of {camera}",
        "fixed": fixed,
    }
    html = '<div class="editor"></div>'
    show = own_component("place_editor", html, "place_editor.css", "elements.js", "pictures.js", "tracks.js")
    draft = show(data=data, key=key, on_draft_change=lambda: None).draft
    if draft is None or draft["id"] != data["id"]:
        return None
    drawn: list[dict[str, Any]] = draft["places"]
    return drawn
