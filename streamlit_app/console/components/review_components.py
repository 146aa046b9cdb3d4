"""What the page Review is made of: the queue, a clip, and the strip of every page while something is new."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from console.components.own_component import own_component
from console.texts import CLIP_WORDS
from sightline.entities import Clip


@dataclass(frozen=True, slots=True)
class QueueRow:
    """One alert of the queue."""

    id: str
    group: str
    title: str
    note: str
    state: str  # for its look
    word: str  # for the state
    thumb: str  # URL of a picture; "": none


def alert_queue(rows: Sequence[QueueRow], chosen: str) -> str | None:
    """The alerts, one below the other; the id of the one that was just chosen."""
    html = '<div class="queue" role="group"></div>'
    show = own_component("alert_queue", html, "review.css", "elements.js")
    data = {"rows": [asdict(row) for row in rows], "chosen": chosen}
    picked: str | None = show(data=data, key="alert_queue", on_choose_change=lambda: None).choose
    return picked


def clip_player(clip: Clip, base: str, events: Sequence[str], label: str) -> None:
    """A clip that begins at the first of ``events`` (keys) that it knows.

    ``base``: of the URLs of its files.
    """
    html = (
        '<div class="clip"><video controls muted playsinline preload="auto"></video><canvas></canvas>'
        '<span class="note" role="status"></span></div>'
    )
    video = "h264" if clip.h264_path and clip.codec != "h264" else "video"
    data = {
        "video": f"{base}/{video}",
        "tracks": f"{base}/tracks",
        "poster": f"{base}/thumbnail" if clip.thumbnail else "",
        "events": list(events),
        "label": label,
        "words": CLIP_WORDS,
    }
    own_component("clip_player", html, "review.css")(data=data, key="clip_player")


def alarm_strip(count: int, text: str, newest: str, *, sound: bool) -> None:
    """The strip: how many are new, in words, and the id of the newest."""
    html = '<div class="alarm" role="status" aria-live="polite" hidden><a href="/review"></a></div>'
    data = {"count": count, "text": text, "newest": newest, "sound": sound}
    own_component("alarm_strip", html, "review.css")(data=data, key="alarm_strip")
