"""What a probe has seen of a camera's streams, and which of them is watched."""

from base64 import b64decode
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import streamlit as st

from console import theme
from console.texts import plain
from console.viewer import Viewer

TIMEOUT_S = 75.0  # the first stream, what the camera tells of others, and these
_FOUND = "found_streams"  # the URL that was tried, and the answer


def show_tried(label: str, seen: Mapping[str, Any], *, width: int = 480) -> None:
    """One stream: its facts and a picture."""
    facts = _facts(seen)
    if errors := seen["decode_errors"]:
        facts += f", {errors} decode errors"
    st.success(plain(f"{label}: {facts}"), icon=":material/check_circle:")
    st.image(b64decode(seen["picture"]), width=width, alt=f"{label}: what the camera sees")


def offer_streams(viewer: Viewer, url: str, *, look: bool, main_key: str, sub_key: str) -> None:
    """With ``look``, look for a camera's streams; those that were seen, and a choice of two.

    The choice goes into the text fields with these keys, with the user and password of ``url``.
    """
    if look:
        st.session_state.pop(_FOUND, None)
        with theme.trying(), st.spinner("URL: looking at the stream, and for others of the camera …"):
            st.session_state[_FOUND] = (
                url,
                viewer.api.post("/api/v1/probe/streams", {"url": url}, timeout_s=TIMEOUT_S),
            )
    tried, answer = st.session_state.get(_FOUND, ("", None))
    if answer is None or tried != url:
        return
    streams = answer["streams"]
    if len(streams) == 1:
        show_tried("URL", streams[0]["stream"])
        st.caption("No other stream of this camera was found; one that you know can be written above.")
        return
    how = "as the camera says" if answer["how"] == "onvif" else f"by addresses as {answer['how']} has them"
    st.markdown(f"**{len(streams)} streams** of this camera, found {how}")
    labels = ["URL", *(f"Stream {number}" for number in range(2, len(streams) + 1))]
    row = st.container(horizontal=True, gap="medium")
    for label, item in zip(labels, streams, strict=True):
        with row.container(width=340):
            show_tried(label, item["stream"], width=320)
            st.caption(plain(item["url"] or "as it is written above"))
    names = [f"{label}: {_facts(item['stream'])}" for label, item in zip(labels, streams, strict=True)]
    places = range(len(streams))
    line = st.container(horizontal=True, vertical_alignment="bottom", gap="small")
    text = "The smaller one costs less; 640 pixels are enough."
    analysis = line.selectbox(
        "Watched", places, answer["analysis"], format_func=names.__getitem__, key="found_sub", help=text
    )
    main = line.selectbox(
        "Main stream, for clips and video",
        places,
        answer["main"],
        format_func=names.__getitem__,
        key="found_main",
    )

    def use() -> None:
        urls = [_as_typed(item["url"], url) for item in streams]
        st.session_state[main_key] = urls[main]
        st.session_state[sub_key] = urls[analysis] if analysis != main else ""

    line.button("Use these", icon=":material/done_all:", key="use_streams", on_click=use)


def _facts(seen: Mapping[str, Any]) -> str:
    rate = f"{seen['fps']:.1f} frames a second" if seen["fps"] else "too few frames to tell the rate"
    return f"{seen['codec']}, {seen['width']} x {seen['height']}, {rate}"


def _as_typed(bare: str, typed: str) -> str:
    """A URL with the user and the password of another; "": that one."""
    if not bare:
        return typed
    userinfo, at, _ = urlsplit(typed).netloc.rpartition("@")
    parts = urlsplit(bare)
    return parts._replace(netloc=f"{userinfo}{at}{parts.netloc}").geturl()
