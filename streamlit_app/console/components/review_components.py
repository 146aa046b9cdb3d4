"""What the page Review is made of: the queue, a clip, and the strip of every page while something is new."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from urllib.parse import quote

from console import theme
from console.components.own_component import own_component
from console.texts import CLIP_WORDS
from sightline.entities import Clip, ClipState


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
    hint: str = ""  # said on hover


def alert_queue(rows: Sequence[QueueRow], chosen: str, *, key: str = "alert_queue") -> str | None:
    """Alerts or events, one below the other; the id of the one that was just chosen."""
    html = '<div class="queue" role="group"></div>'
    show = own_component("alert_queue", html, "review.css", "elements.js")
    data = {"rows": [asdict(row) for row in rows], "chosen": chosen}
    picked: str | None = show(data=data, key=key, on_choose_change=lambda: None).choose
    return picked


def files_of(clip: Clip) -> str:
    """Where the files of a clip are asked for."""
    return f"/api/v1/cameras/{quote(clip.source, safe='')}/clips/{clip.start_time!r}"


def thumbnail_of(clip: Clip | None) -> str:
    """Where a picture of a clip is asked for; "": there is none."""
    return f"{files_of(clip)}/thumbnail" if clip and clip.thumbnail else ""


def show_clip(clip: Clip | None, events: Sequence[str], label: str, *, key: str) -> None:
    """A clip that begins at the first of ``events`` (keys) that it knows, or why there is none to see."""
    if clip is None or clip.state is not ClipState.FINISHED:
        growing = clip is not None and clip.state is ClipState.RECORDING
        problem = "The clip is still being recorded." if growing else "There is no clip of it."
        remedy = "It appears here by itself." if growing else "Clips are kept where clips.enabled is set."
        theme.state(problem, remedy, icon="movie" if growing else "videocam_off")
        return
    base = files_of(clip)
    html = (
        '<div class="clip"><video controls muted playsinline preload="auto"></video><canvas></canvas>'
        '<span class="note" role="status"></span></div>'
    )
    video = "h264" if clip.h264_path and clip.codec != "h264" else "video"
    data = {
        "video": f"{base}/{video}",
        "tracks": f"{base}/tracks",
        "poster": thumbnail_of(clip),
        "events": list(events),
        "label": label,
        "words": CLIP_WORDS,
    }
    own_component("clip_player", html, "review.css")(data=data, key=key)


def alarm_strip(count: int, text: str, newest: str, *, sound: bool) -> None:
    """The strip: how many are new, in words, and the id of the newest."""
    html = '<div class="alarm" role="status" aria-live="polite" hidden><a href="/review"></a></div>'
    data = {"count": count, "text": text, "newest": newest, "sound": sound}
    own_component("alarm_strip", html, "review.css")(data=data, key="alarm_strip")
