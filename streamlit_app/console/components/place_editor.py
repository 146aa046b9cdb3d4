"""Lines and zones, drawn on a camera's own picture."""

from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from console.components.own_component import own_component
from console.texts import PICTURE_WORDS


def place_editor(
    camera: str, places: Sequence[dict[str, Any]], *, version: str, fixed: bool, key: str
) -> list[dict[str, Any]] | None:
    """The places as somebody has drawn them; None while they have changed nothing.

    Args:
        camera: whose picture lies below.
        places: each with ``kind`` (line, zone), ``name``, ``points``, ``classes``, ``loiter_s`` and
            ``max_occupancy``, as they are now.
        version: another one drops what was drawn.
        fixed: nothing can be changed.
        key: of the widget.
    """
    url = f"/live/{quote(camera, safe='')}.mjpg?size=large&overlay=0"
    data: dict[str, Any] = {
        "id": f"{camera} {version}",
        "places": list(places),
        "url": url,
        "words": PICTURE_WORDS,
    }
    data |= {"label": f"Lines and zones of {camera}", "fixed": fixed}
    html = '<div class="editor"></div>'
    show = own_component("place_editor", html, "place_editor.css", "elements.js", "pictures.js")
    draft = show(data=data, key=key, on_draft_change=lambda: None).draft
    if draft is None or draft["id"] != data["id"]:
        return None
    drawn: list[dict[str, Any]] = draft["places"]
    return drawn
