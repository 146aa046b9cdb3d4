"""One clip while it grows: the fragmented video, the tracks beside it, and the files that they become.

``STEM.part.mp4`` and ``STEM.part.jsonl`` grow, and are locked while they do. :func:`settle` makes
``STEM.mp4`` and ``STEM.json`` of them, at the end of a clip or after a crash, and ``STEM.h264.mp4`` where a
copy is wanted. Beside them lies a picture of each event, from that event on.

The first line of ``STEM.part.jsonl`` says whether the video may be shown as it is. A video of which that
line cannot be read never is.
"""

import contextlib
import fcntl
import json
import logging
import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from sightline.analysis.saved import from_json
from sightline.base.file_times import stamp
from sightline.entities import Clip, ClipState, Event, Tracks, lasts, picture_name
from sightline.features.clips.hidden_clip import PART, Hiding, covered, remove_raw
from sightline.features.clips.packet_ring import follows
from sightline.features.kept_files import to_columns, write_private
from sightline.video.clip_file import FragmentFile, finish
from sightline.video.hidden_areas import EVERYTHING, NO_TRACK, HiddenRow
from sightline.video.packets import CodedPacket
from sightline.video.transcoder import transcode

log = logging.getLogger(__name__)

MAX_TRACKS_BYTES = 4_000_000  # of one clip; later frames have no tracks in it
EPSILON_S = 1e-3  # times of packets and frames are rounded each in its way
MAX_EVENTS = 500  # of one clip; later ones are not listed
_LATER: dict[str, Any] = {"thumbnail": str, "classes": list[str], "seconds": float}  # known once it grows
_DAMAGED = (ValueError, LookupError, TypeError, AttributeError)  # what a line that a disk has spoilt raises
#: Of an analysed frame its media time, its tracks, and what is to be covered in it.
SeenFrame = tuple[float, Tracks, list[HiddenRow]]


_to_json = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode


class GrowingClip:
    """A camera's open clip, for one thread; every method may raise OSError.

    Args:
        folder: of the camera's clips.
        source: the camera.
        first: the key frame that it begins with; ValueError: it cannot be put into an MP4 file.
        offset_s: capture time less media time.
        max_s: no clip is longer.
        hiding: what the frames say is to be covered in it; None: nothing.
    """

    def __init__(
        self,
        folder: Path,
        source: str,
        first: CodedPacket,
        *,
        offset_s: float,
        max_s: float,
        hiding: Hiding | None = None,
    ) -> None:
        start_time = round(first.media_s + offset_s, 3)
        self.stem = folder / f"{stamp(start_time)}Z-{source}"
        while any(Path(f"{self.stem}{suffix}").exists() for suffix in (".mp4", PART)):  # of another stream
            start_time = round(start_time + 0.001, 3)
            self.stem = folder / f"{stamp(start_time)}Z-{source}"
        self._newest = first
        self.start_s, self.longest_s = first.media_s, first.media_s + max_s
        self._until_s: dict[str, float] = {}  # by event: media time that it is to be shown to
        self._events: list[str] = []
        self._tracks_s = -math.inf  # media time of the newest tracks
        self._names: Sequence[str] = ()
        self._left_bytes = MAX_TRACKS_BYTES
        self._hides = hiding is not None
        self._clip = Clip(
            source=source,
            start_time=start_time,
            end_time=start_time,
            media_start_s=first.media_s,
            state=ClipState.RECORDING,
            path=f"{self.stem}.mp4",
            thumbnail="",
            codec=first.stream.codec,
            bytes=0,
            truncated=False,
            events=(),
        )
        parts = Path(f"{self.stem}{PART}"), Path(f"{self.stem}.part.mp4")
        descriptor = os.open(parts[0], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        self._lines = os.fdopen(descriptor, "w", encoding="utf-8")
        try:
            fcntl.flock(self._lines, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._write_line({"clip": asdict(self._clip), "hiding": hiding and asdict(hiding)})
            self._lines.flush()
            os.fsync(descriptor)  # a video whose first line a power cut has taken is lost
            self._video = FragmentFile(parts[1], first)
        except BaseException:
            for path in parts:
                path.unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                self._lines.close()
            raise

    @property
    def clip(self) -> Clip:
        """Its row as it is now."""
        now_s = self._video.media_s - self.start_s
        return replace(self._clip, end_time=self._clip.start_time + now_s, events=tuple(self._events))

    @property
    def tracks_s(self) -> float:
        """Tracks of frames up to this media time have been written, or do not belong into it."""
        return max(self._tracks_s, self.start_s - EPSILON_S)

    @property
    def newest_s(self) -> float:
        """Media time of its newest picture."""
        return self._video.media_s

    @property
    def limit_s(self) -> float:
        """Media time at which it ends; infinite while an event goes on and there is room."""
        return min(max(self._until_s.values(), default=-math.inf), self.longest_s)

    @property
    def lists_more(self) -> bool:
        """Whether it lists one more event."""
        return len(self._events) < MAX_EVENTS

    def add_event(self, event: Event, media_s: float, post_s: float, picture: str = "") -> None:
        """It is to show an event, of that media time, and what follows; ``picture``: the path of its JPEG."""
        until_s = math.inf if lasts(event.kind, event.direction) else media_s + post_s
        self._until_s[event.key] = until_s
        if not self.lists_more:
            return
        self._events.append(event.key)
        about = {name: getattr(event, name) for name in ("kind", "place", "track_id", "item_class")}
        about |= {"key": event.key, "event_time": event.event_time, "picture": Path(picture).name}
        self._write_line({"event": about | {"position_s": round(media_s - self.start_s, 4)}})
        if picture and not self._clip.thumbnail:
            self._clip = replace(self._clip, thumbnail=picture)
            self._write_line({"thumbnail": picture})

    def end_event(self, key: str, media_s: float, post_s: float) -> None:
        """An event that lasted is over; one that is in no clip changes nothing."""
        if key in self._until_s:
            self._until_s[key] = media_s + post_s
            self._write_line({"event_end": {"key": key, "end_position_s": round(media_s - self.start_s, 4)}})

    def write(self, packet: CodedPacket) -> bool:
        """Add the stream's next packet; False: not this one, the clip shows all that it is to show.

        Pictures that were sent after one that follows them still come, so none is missing before the last.
        """
        if packet.is_sound:
            self._video.write(packet)
            return True
        if not follows(packet, self._newest) or packet.media_s > self._video.media_s >= self.limit_s:
            return False
        self._newest = packet
        self._video.write(packet)
        return True

    def write_tracks(self, frames: Iterable[SeenFrame], names: Sequence[str]) -> None:
        """Add tracks of frames, by media time, but for those that it has; ``names``: of the classes."""
        if len(names) > len(self._names):
            self._names = tuple(names)
            self._write_line({"classes": self._names})
        newest_s, begin_s = self._video.media_s + EPSILON_S, self.tracks_s
        for media_s, tracks, hidden in frames:
            if not begin_s < media_s <= newest_s:
                continue
            self._tracks_s = media_s
            position_s = round(media_s - self.start_s, 4)
            if self._left_bytes > 0:
                self._left_bytes -= self._write_line([position_s, tracks.ids.tolist(), *to_columns(tracks)])
            if self._hides:
                rows = [(track, *(round(side, 4) for side in area)) for track, *area in hidden]
                self._write_line({"hidden": [position_s, rows]})
        self._lines.flush()

    def close(self, *, whole: bool = False) -> None:
        """Write what is left, and let :func:`settle` have it; ``whole``: nothing of it is missing."""
        with self._lines:
            self._lines.flush()
            self._video.close()
            if whole:  # if all of it has reached the disk, which FFmpeg does not always know
                self._write_line({"seconds": round(self._video.media_s - self.start_s, 4)})

    def _write_line(self, value: object) -> int:
        return self._lines.write(_to_json(value) + "\n")


def settle(stem: Path, known: Clip | None = None, *, h264_copy: bool = False) -> Clip | None:
    """Make the clip's files of its parts, and its row; OSError: not now.

    Args:
        stem: path of the clip's files without their suffixes.
        known: the row that says it is growing; its parts may be gone, or may have been settled already.
        h264_copy: make one, unless it is in H.264; a clip that cannot be copied goes without.

    Returns:
        None: it still grows, or nothing is known of it.
    """
    part, video, sidecar = (Path(f"{stem}{suffix}") for suffix in (PART, ".part.mp4", ".json"))
    with contextlib.ExitStack() as stack:
        try:
            lines = stack.enter_context(part.open(encoding="utf-8", errors="replace"))
            fcntl.flock(lines, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return None
        except FileNotFoundError:
            remove_raw(stem)
            return _settled(sidecar) or (known and _lost(known, sidecar.parent))
        head, frames = _read(lines)
        clip: Clip | None = head.pop("clip")
        hiding, hidden = head.pop("hiding"), head.pop("hidden")
        finished, target = None, Path(f"{stem}.mp4")
        if clip:
            events = tuple(event["key"] for event in head["events"])
            clip = replace(clip, events=events or (known or clip).events)
            finished = covered(video, target, hiding, hidden) if hiding else finish(video, target)
        else:  # whether it is to be covered is not known either
            log.error("the clip %s is lost: the first line of %s cannot be read", target, part.name)
            clip = known
        if clip and finished:
            copy = Path(f"{stem}.h264.mp4")
            copy_bytes = _copy(clip, copy) if h264_copy and finished.codec != "h264" else 0
            clip = replace(
                clip,
                state=ClipState.FINISHED,
                truncated=finished.seconds < head.pop("seconds") - EPSILON_S,
                codec=finished.codec,
                bytes=finished.bytes + copy_bytes,
                h264_path=str(copy) if copy_bytes else "",
                end_time=clip.start_time + finished.seconds,
                thumbnail=head.pop("thumbnail"),
            )
            text = json.dumps({"version": 1, "clip": asdict(clip), **head}, separators=(",", ":"))
            write_private(sidecar, f'{text[:-1]},"frames":[{",".join(frames)}]}}\n'.encode())
        elif clip:
            clip = _lost(clip, sidecar.parent)
        remove_raw(stem)
        part.unlink(missing_ok=True)
        return clip


def discard(stem: Path, known: Clip | None) -> Clip | None:
    """Delete the parts of a clip of which nothing is to be shown; its row, if it is known."""
    part = Path(f"{stem}{PART}")
    with contextlib.suppress(FileNotFoundError), part.open(encoding="utf-8", errors="replace") as lines:
        head, _ = _read(lines)
        if head["clip"]:
            known = replace(head["clip"], events=tuple(event["key"] for event in head["events"]))
    remove_raw(stem)
    part.unlink(missing_ok=True)
    return known and _lost(known, stem.parent)


def box_of(event: Event, frames: Sequence[SeenFrame]) -> Any:
    """The newest box of an event's track, float32 [1, 4]; [0, 4]: none has been seen."""
    for _, tracks, _ in reversed(frames):
        if (at := np.flatnonzero(tracks.ids == event.track_id)).size:
            return tracks.xyxy[at[:1]]
    return np.zeros((0, 4), np.float32)


def _copy(clip: Clip, target: Path) -> int:
    """Write the copy in H.264; its bytes, 0 where there is none."""
    try:
        return transcode(Path(clip.path), target).bytes
    except (OSError, ValueError) as error:
        log.warning("camera %s: the clip %s has no copy in H.264: %s", clip.source, clip.path, error)
        return 0


def _lost(clip: Clip, folder: Path) -> Clip:
    for key in clip.events:
        (folder / picture_name(key)).unlink(missing_ok=True)
    return replace(clip, state=ClipState.LOST, path="", thumbnail="", bytes=0, truncated=True)


def _settled(sidecar: Path) -> Clip | None:
    """The row of a clip that has its files; None: it has none."""
    try:
        clip: Clip = from_json(Clip, json.loads(sidecar.read_bytes())["clip"])
        return clip
    except (FileNotFoundError, ValueError, LookupError, TypeError):
        return None


def _read(lines: Iterable[str]) -> tuple[dict[str, Any], list[str]]:
    """What the sidecar says, and its frames as they stand there; ``clip`` None: its first line is damaged.

    The last line may have been cut off. What another damaged line has said was perhaps to be covered, so
    everything is, from the frame before it to the one after.
    """
    head: dict[str, Any] = {"clip": None, "thumbnail": "", "classes": [], "seconds": math.inf}
    head |= {"hiding": None, "hidden": []}
    events: dict[str, dict[str, Any]] = {}
    frames: list[str] = []
    for number, line in enumerate(lines):
        if not line.endswith("\n"):
            break
        try:
            value = json.loads(line)
            if number == 0:
                head["hiding"] = from_json(Hiding | None, value["hiding"])
                head["clip"] = from_json(Clip, value["clip"])
            elif isinstance(value, list):
                frames.append(line[:-1])
            else:
                _take(value, head, events)
        except _DAMAGED:
            if hidden := head["hidden"]:  # before the first frame all is covered as it is
                hidden.append((hidden[-1][0], [(NO_TRACK, *EVERYTHING)]))
    return head | {"events": list(events.values())}, frames


def _take(value: dict[str, Any], head: dict[str, Any], events: dict[str, dict[str, Any]]) -> None:
    """Take over what a line says; one of :data:`_DAMAGED`: it is none of ours."""
    if "event" in value:
        events[from_json(str, value["event"]["key"])] = value["event"]
    elif "event_end" in value:
        events.get(value["event_end"]["key"], {}).update(value["event_end"])
    elif "hidden" in value:
        time_s, rows = from_json(tuple[float, list[HiddenRow]], value["hidden"])
        if head["hidden"] and time_s < head["hidden"][-1][0]:
            raise ValueError("the times of frames rise")
        head["hidden"].append((time_s, rows))
    else:
        [(name, said)] = value.items()
        head[name] = from_json(_LATER[name], said)
