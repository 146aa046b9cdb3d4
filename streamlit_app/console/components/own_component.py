"""How our components are made: a script, a style and an empty frame of HTML, never anybody's text."""

from functools import cache
from pathlib import Path
from typing import Any

import streamlit as st

from sightline.supervisor.http.sign_in_pages import PAGES

_FOLDERS = (Path(__file__).parent, PAGES)  # PAGES: what the supervisor's own pages have as well


@cache
def own_component(name: str, html: str, style: str, *scripts: str) -> Any:
    """The component of ``name.js``; ``scripts`` are read before it."""
    script = "".join(map(_text, (*scripts, f"{name}.js")))
    css = _text(style)
    return st.components.v2.component(f"sightline_{name}", html=html, css=css, js=script)


def _text(name: str) -> str:
    return next(path for folder in _FOLDERS if (path := folder / name).exists()).read_text(encoding="utf-8")
