"""Live pictures on a page: many cameras as tiles, or one of them large."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

import streamlit as st

from console.texts import PICTURE_WORDS

_FOLDER = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Tile:
    """What a tile says of its camera besides the picture."""

    name: str
    word: str
    tone: str  # good, warn, bad, idle
    why: str  # that tone
    note: str


@cache
def _component(name: str, html: str) -> Any:
    script = "".join((_FOLDER / file).read_text(encoding="utf-8") for file in ("pictures.js", f"{name}.js"))
    css = (_FOLDER / "live.css").read_text(encoding="utf-8")
    return st.components.v2.component(f"sightline_{name}", html=html, css=css, js=script)


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
    html = '<div class="tiles"><button class="leave" type="button" hidden>Leave the wall</button></div>'
    show = _component("live_tiles", html)
    data = {"tiles": [asdict(tile) for tile in tiles], "overlay": overlay, "least_px": least_px, "wall": wall}
    chosen: str | None = show(data=data, key=key, on_open_change=lambda: None).open
    return chosen


def live_picture(camera: str, *, overlay: bool, zone: str, key: str) -> None:
    """One camera's pictures, with the time at which each was taken."""
    html = '<div class="single"><canvas role="img"></canvas><span class="age"></span></div>'
    url = f"/live/{quote(camera, safe='')}.mjpg?size=large&overlay={int(overlay)}"
    data = {"url": url, "label": f"{camera}, live", "zone": zone, "words": PICTURE_WORDS}
    _component("live_picture", html)(data=data, key=key)
