"""Live pictures on a page: many cameras as tiles, or one of them large."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from urllib.parse import quote

from console.components.own_component import own_component
from console.texts import PICTURE_WORDS


@dataclass(frozen=True, slots=True)
class Tile:
    """What a tile says of its camera besides the picture."""

    name: str
    word: str
    tone: str  # good, warn, bad, idle
    why: str  # that tone
    note: str


def live_tiles(
    tiles: Sequence[Tile], *, overlay: bool, least_px: int, wall: bool = False, key: str
) -> str | None:
    """The cameras' pictures, by one stream; the name of the one that was just chosen, "": the wall is left.

    Args:
        tiles: at most as many as a grid of the HTTP port may have.
        overlay: with boxes and places.
        least_px: a tile's least width.
        wall: over the whole window.
        key: of the widget.
    """
    leave = '<button class="leave" type="button" hidden>Leave the wall</button>'
    html = f'<div class="tiles" role="group" aria-label="Cameras">{leave}</div>'
    show = own_component("live_tiles", html, "tiles.css", "elements.js", "pictures.js", "tiles.js")
    data = {"tiles": [asdict(tile) for tile in tiles], "overlay": overlay, "least_px": least_px, "wall": wall}
    chosen: str | None = show(data=data, key=key, on_open_change=lambda: None).open
    return chosen


def live_picture(camera: str, *, overlay: bool, zone: str, key: str) -> None:
    """One camera's pictures, with the time at which each was taken."""
    html = '<div class="single"><canvas role="img"></canvas><span class="age"></span></div>'
    url = f"/live/{quote(camera, safe='')}.mjpg?size=large&overlay={int(overlay)}"
    data = {"url": url, "label": f"{camera}, live", "zone": zone, "words": PICTURE_WORDS}
    own_component("live_picture", html, "live.css", "pictures.js")(data=data, key=key)
