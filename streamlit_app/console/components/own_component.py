"""How our components are made: a script, a style and an empty frame of HTML, never anybody's text."""

from functools import cache
from pathlib import Path
from typing import Any

import streamlit as st

_FOLDER = Path(__file__).parent


@cache
def own_component(name: str, html: str, style: str, *scripts: str) -> Any:
    """The component of ``name.js``; ``scripts`` are read before it."""
    files = (*scripts, f"{name}.js")
    script = "".join((_FOLDER / file).read_text(encoding="utf-8") for file in files)
    css = (_FOLDER / style).read_text(encoding="utf-8")
    return st.components.v2.component(f"sightline_{name}", html=html, css=css, js=script)
