"""What one camera's worker does about clips: coded video in a ring, and files of it around events.

The decode thread fills the ring. The main thread says what happened and hands results out. All work on the
disk is done by a thread of the camera's own, which looks whenever the main thread has something for it.
"""

import logging
import math
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Future, wait
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from itertools import takewhile
from pathlib import Path
from typing import Any

from sightline.analysis.observer import JSON, Observation, Observer
from sightline.analysis.saved import from_json
from sightline.base.letterbox import split_i420
from sightline.base.logs import WarnOnce
from sightline.base.threads import SideThreads
from sightline.config.groups import Blurred, ClipOptions
from sightline.entities import U8, Clip, ClipState, Event, EventEnd, EventKind, Figure, picture_name
from sightline.errors import SightlineError
from sightline.features.clips.clip_finisher import ClipFinisher
from sightline.features.clips.clip_stream import (
    LATE_S,
    MAX_SHIFT_CHANGE_S,
    SILENT_S,
    ClipStream,
    MainStream,
)
from sightline.features.clips.clip_writer import (
    EPSILON_S,
    GrowingClip,
    SeenFrame,
    box_of,
)
from sightline.features.clips.hidden_clip import Hiding
from sightline.features.feature import FeatureContext
from sightline.features.hidden_frames import hidden_in
from sightline.features.kept_files import make_private_folder, write_private
from sightline.video import transcoder
from sightline.video.blur import cover, why_not
from sightline.video.hidden_areas import HiddenAreas
from sightline.video.packets import CodedPacket
from sightline.video.picture import YuvPicture, draw_edges, encode_jpeg, full_range, written

log = logging.getLogger(__name__)

WORK_EVERY_S = 1.0  # what grows is written; events are handled at once
EVENT_EVERY_S, EVENT_WRITTEN_S = 0.5, 2.0  # more often for a while, until the disk has what an event showed
STUCK_S = 10.0  # a disk that takes longer is a failure
BEHIND_S = 3.0  # a picture is waited for so long to be analysed, by those that follow it
MAIN_SLACK_S = 0.2  # the clocks of two streams of a camera agree to within that
MAX_WAITING, MAX_PICTURES = 64, 4  # events that the disk has not come to yet; frames for pictures of them
END_S, END_RECORDED_S, CLOSE_S = 0.5, 10.0, 2.0
_RED = (81, 90, 240)  # Y, U, V
HELP = {
    "clips_ring_bytes": "Coded video that waits in memory for an event.",
    "clips_ring_s": "Seconds of coded video that wait in memory for an event.",
    "clips_ring_given_up_total": "Times that the pictures since one key frame were more than max_bytes.",
    "clips_finished_total": "Clips that were finished.",
    "clips_missed_events_total": "Events that got no clip: the disk did not take it, or no key frame came.",
    "clips_failing": "1 while clips cannot be written: the disk is full, slow or gone.",
    "clips_main_online": "1 while the main stream sends, of which clips are made.",
    "clips_main_reconnects_total": "Times that the main stream was lost, or could not be opened.",
    "clips_main_ring_bytes": "Coded video of the main stream that waits in memory for an event.",
    "clips_main_ring_s": "Seconds of it.",
    "clips_fell_back_total": "Clips of the analysed stream, since the main one did not have the moment.",
    "clips_without_copy_total": "Clips that were to have a copy in H.264, and have none.",
    "clips_without_picture_total": "Events that got no picture: the disk did not take it in time.",
}


@dataclass(frozen=True, slots=True)
class _Occurrence:
    """An event, and what the frame that made it certain showed."""

    event: Event
    media_s: float  # when it happened
    offset_s: float  # capture time less media time
    picture: YuvPicture | U8 | None
    shown_s: float  # media time of the picture
    path: str = ""  # of the picture, once it has been written


class ClipRecorder(Observer):
    """The clips of one camera."""

    name = "clips"

    def __init__(
        self,
        camera: str,
        options: ClipOptions,
        state: Mapping[str, Any] | None = None,
        *,
        lossless: bool = False,
        main: MainStream | None = None,  # that clips are made of, as far as it is there
        blur: Collection[Blurred] = (),
    ) -> None:
        self._camera, self._options, self._lossless, self._blur = camera, options, lossless, blur
        self._folder = (options.folder / camera).resolve()
        self._analysed, self._main = ClipStream(options, timed=main is not None), main
        self._rows: deque[Clip] = deque()  # for the main thread
        self._open = {
            clip.start_time: clip for clip in _known(camera, state)
        }  # whose last row says they grow
        self._inbox: queue.SimpleQueue[_Occurrence | tuple[str, float] | None] = queue.SimpleQueue()
        self._lock = threading.Lock()  # guards the two below
        self._frames: deque[SeenFrame] = deque()  # of the ring's seconds
        self._undrawn: set[float] = set()  # media times of frames that wait to be drawn for their events
        self._names: tuple[str, ...] = ()
        self._clip: GrowingClip | None = None  # this and the rest: of the clip thread
        self._stream = self._analysed  # that the clip is made of
        self._shift_s = 0.0  # its media time less that of the frames
        self._pending: list[_Occurrence] = []  # events that wait for a key frame
        self._unseen: list[_Occurrence] = []  # events of the clip that it does not show yet
        self._waiting: list[CodedPacket] = []  # of pictures that have not been analysed
        about = camera, self._folder, options, self._open.values(), self._rows
        self._finisher = ClipFinisher(*about, lossless=lossless, blurred=bool(blur))
        self._worked_s = self._event_s = 0.0
        self._warnings = WarnOnce(log)
        self.missed = self.without_picture = self.fell_back = 0
        self._thread = SideThreads("clips", 1)
        self._job: Future[None] = self._submit(self._start)

    # -- the decode thread ------------------------------------------------------------------------------

    def packet(self, packet: CodedPacket) -> None:
        """Keep a packet of the analysed stream for a while."""
        self._analysed.packet(packet)

    # -- the main thread --------------------------------------------------------------------------------

    def observe(self, seen: Observation) -> list[Clip]:
        """Take note of tracks and events."""
        frame, self._names = seen.frame, seen.classes.names
        offset_s = frame.capture_time - frame.media_s
        hidden = hidden_in(seen, self._blur) if self._blur else []
        with self._lock:
            self._frames.append((frame.media_s, seen.tracks, hidden))
            while not 0 <= frame.media_s - self._frames[0][0] <= self._options.pre_s + 2 * LATE_S:
                self._frames.popleft()
        for result in seen.results:
            if isinstance(result, EventEnd) and self._inbox.qsize() < 10 * MAX_WAITING:
                self._inbox.put((result.event.key, result.end_time - offset_s))
        events = [result for result in seen.results if isinstance(result, Event)]
        if events := [event for event in events if event.kind in self._options.kinds]:
            self._offer(events, seen, offset_s)
        return self._advance()

    def tick(self, now: float, silent: bool) -> list[Clip]:
        """Time passes."""
        return self._advance()

    def end(self, time: float) -> list[Clip]:
        """What grows ends here; it is waited for, but not for long."""
        self._inbox.put(None)
        self._job = self._submit(self._work)
        wait([self._job], END_RECORDED_S if self._lossless else END_S)
        if self._lossless:
            self._finisher.wait(END_RECORDED_S)
        return self._advance()

    def snapshot(self) -> JSON:
        """The clips whose rows say that they grow."""
        return {"open": [asdict(clip) for clip in self._open.values()]} if self._open else {}

    def figures(self) -> list[Figure]:
        """Of ring and files."""
        values = {
            "clips_ring_bytes": self._analysed.ring.bytes,
            "clips_ring_s": self._analysed.ring.seconds,
            "clips_ring_given_up_total": self._analysed.ring.given_up,
            "clips_finished_total": self._finisher.finished,
            "clips_missed_events_total": self.missed,
            "clips_without_picture_total": self.without_picture,
        }
        if self._options.h264_copy:
            values["clips_without_copy_total"] = self._finisher.without_copy
        if (main := self._main) is not None:
            values |= {
                "clips_main_online": float(main.feed.online),
                "clips_main_reconnects_total": main.feed.reconnects,
                "clips_main_ring_bytes": main.ring.bytes,
                "clips_main_ring_s": main.ring.seconds,
                "clips_fell_back_total": self.fell_back,
            }
        is_stuck = not self._job.done() and time.monotonic() - self._submitted_s > STUCK_S
        name, failing = "clips_failing", float(self._finisher.failing or is_stuck)
        return [
            *(Figure(name, value, help=HELP[name]) for name, value in values.items()),
            Figure(name, failing, help=HELP[name], trouble=EventKind.CLIPS_FAILED),
        ]

    def problem(self) -> str:
        """Why clips are not of the main stream."""
        return f"main stream: {problem}" if self._main and (problem := self._main.feed.problem) else ""

    def close(self) -> None:
        """Finish what grows."""
        if self._main is not None:
            self._main.feed.stop()
        self._inbox.put(None)
        wait([self._thread.submit(self._work)], CLOSE_S)
        self._thread.close()

    def _offer(self, events: Sequence[Event], seen: Observation, offset_s: float) -> None:
        """Hand a frame's events to the clip thread, as many as it takes: it may have come to a halt."""
        if problem := why_not(self._blur, seen.model, seen.classes.names):
            self._warnings.warn_once(f"camera {self._camera}: no clips are kept: privacy.{problem}")
            self.missed += len(events)
            return
        taken = events[: max(0, MAX_WAITING - self._inbox.qsize())]
        self.missed += len(events) - len(taken)
        shown, shown_s = seen.frame.picture, seen.frame.media_s
        picture: YuvPicture | U8 | None = None
        with self._lock:
            if taken and len(self._undrawn) < MAX_PICTURES:
                self._undrawn.add(shown_s)
                # A source's picture may be copied by any thread, another by this one alone.
                picture = shown if isinstance(shown, YuvPicture) else written(shown)
        for event in taken:
            media_s = event.event_time - offset_s if event.media_s is None else event.media_s
            self._inbox.put(_Occurrence(event, media_s, offset_s, picture, shown_s))

    def _submit(self, work: Callable[[], None]) -> Future[None]:
        self._submitted_s = time.monotonic()
        return self._thread.submit(work)

    def _advance(self) -> list[Clip]:
        """Let the clip thread look where it has something to do; the rows that it has made."""
        has_more, now = not self._inbox.empty(), time.monotonic()
        self._event_s = now if has_more else self._event_s
        every_s = EVENT_EVERY_S if now - self._event_s < EVENT_WRITTEN_S else WORK_EVERY_S
        if (has_more or self._lossless or now - self._worked_s >= every_s) and self._job.done():
            self._job.result()  # a fault of ours is shown, and the feature switched off
            self._worked_s = now
            finisher = self._finisher
            if has_more or self._clip or self._pending or finisher.waiting or finisher.failing:
                self._job = self._submit(self._work)
        if self._lossless:  # a recording is read faster than the ring's seconds pass
            wait([self._job])
        if not self._rows:
            return []
        rows = [self._rows.popleft() for _ in range(len(self._rows))]
        for clip in rows:
            self._open.pop(clip.start_time, None)
            if clip.state is ClipState.RECORDING:
                self._open[clip.start_time] = clip
        return rows

    # -- the clip thread --------------------------------------------------------------------------------

    def _start(self) -> None:
        self._finisher.find_leftovers()
        self._work()

    def _work(self) -> None:
        try:
            while not self._inbox.empty():  # first, since alerts wait for pictures
                self._handle(self._inbox.get())
            self._finisher.advance(self._analysed.ring.bytes)
            self._grow()
        except (OSError, ValueError) as error:
            self._fail(error)

    def _handle(self, item: _Occurrence | tuple[str, float] | None) -> None:
        if item is None:
            self._grow(ends=True)
            self._finish()
            return
        if isinstance(item, tuple):
            if self._clip:
                self._clip.end_event(*item, self._options.post_s)
            return
        clip = self._clip
        is_over = clip is not None and item.media_s + self._options.post_s > clip.longest_s
        is_listed = clip is None or is_over or clip.lists_more
        path = self._draw(item) if is_listed else ""
        self.without_picture += is_listed and not path
        with self._lock:
            self._undrawn.discard(item.shown_s)
        item = replace(item, picture=None, path=path)
        if is_over:
            self._finish()  # it has no room for this one
        if self._clip:
            self._clip.add_event(item.event, item.media_s, self._options.post_s, item.path)
            self._unseen.append(item)
            return
        if not self._pending:
            self._follow(item.media_s)
        self._pending.append(item)
        self._grow()

    def _follow(self, media_s: float) -> None:
        """Choose the stream of the next clip: the main one if it has that moment."""
        self._stream, self._shift_s = self._analysed, 0.0
        if self._main is not None:
            shift_s = self._main.shift_at(media_s, self._analysed.clock)
            if shift_s is None:
                self.fell_back += 1
            else:
                self._stream, self._shift_s = self._main, shift_s
        self._stream.ring.follow(media_s - self._options.pre_s + self._shift_s)
        self._waiting.clear()

    def _has_lost_main(self) -> bool:
        """Whether the clip is to be of the main stream, and that is gone."""
        main = self._main if self._stream is self._main else None
        return main is not None and main.is_lost(self._shift_s, self._analysed.clock)

    def _let_wait(self, packets: list[CodedPacket], ends: bool) -> list[CodedPacket]:
        """Those that may be written: of the others, what is to be covered is not known yet."""
        packets = self._waiting + packets
        with self._lock:
            seen_s = self._frames[-1][0] if self._frames else -math.inf
        newest_s = max((packet.media_s for packet in packets), default=-math.inf)
        until_s = math.inf if ends else max(seen_s, newest_s - BEHIND_S) + EPSILON_S
        at = next((at for at, packet in enumerate(packets) if packet.media_s > until_s), len(packets))
        self._waiting = packets[at:]
        return packets[:at]

    def _grow(self, *, ends: bool = False) -> None:
        """Write what has come; begin where events wait, and end what is complete."""
        lost = self._has_lost_main()
        begins = self._clip is None and bool(self._pending)
        if begins and lost:
            self._stream.ring.release()
            self._follow(self._pending[0].media_s)
            lost = False
        silent = not self._lossless and self._stream.silent_s > SILENT_S
        overflowed = self._stream.ring.overflowed
        packets = [packet.later(-self._shift_s) for packet in self._stream.ring.take()]
        if self._blur:
            packets = self._let_wait(packets, ends or silent or overflowed or lost)
        if begins:
            first = next((at for at, packet in enumerate(packets) if packet.is_key), None)
            if first is None:
                self._wait_for_key(packets)
                return
            self._begin(packets[first])
            packets = packets[first + 1 :]
        if self._clip is None:
            return
        if lost:  # what comes after a jump has no place in it
            until_s = self._clip.newest_s + MAX_SHIFT_CHANGE_S
            packets = [packet for packet in packets if packet.media_s < until_s]
        over = not all(map(self._clip.write, packets))
        written_s = self._clip.tracks_s
        with self._lock:
            frames = [*takewhile(lambda frame: frame[0] > written_s, reversed(self._frames))]
        self._clip.write_tracks(reversed(frames), self._names)
        if begins:
            self._rows.append(self._clip.clip)
        self._unseen = [item for item in self._unseen if item.media_s > self._clip.newest_s]
        if over or silent or overflowed or lost:
            self._finish(truncated=overflowed or lost)
            if self._unseen and self._stream is self._main:  # it had stopped before them
                self._pending, self._unseen = self._unseen, []
                self._follow(self._pending[0].media_s)

    def _begin(self, first: CodedPacket) -> None:
        """Open a clip for the events that wait."""
        make_private_folder(self._folder)
        offset_s = self._pending[0].offset_s
        hiding = Hiding(MAIN_SLACK_S if self._stream is self._main else 0.0) if self._blur else None
        self._clip = GrowingClip(
            self._folder,
            self._camera,
            first,
            offset_s=offset_s,
            max_s=self._options.max_s,
            hiding=hiding,
        )
        for item in self._pending:
            self._clip.add_event(item.event, item.media_s, self._options.post_s, item.path)
        self._unseen = self._pending.copy()
        self._pending.clear()

    def _wait_for_key(self, packets: Sequence[CodedPacket]) -> None:
        """Give up events that are over before a key frame has come."""
        now_s = packets[-1].media_s if packets else -math.inf
        self._miss([item for item in self._pending if item.media_s + self._options.post_s < now_s])
        self._miss(self._pending[:-MAX_WAITING])

    def _miss(self, items: list[_Occurrence]) -> None:
        """Events that get no clip, and so no picture."""
        self.missed += len(items)
        self._pending = [item for item in self._pending if item not in items]
        for item in items:
            if item.path:
                with suppress(OSError):
                    Path(item.path).unlink(missing_ok=True)

    def _draw(self, item: _Occurrence) -> str:
        """Write the picture of an event, with the box of its track; its path, empty where there is none.

        It is there before anything else of the clip is written: alerts wait for it.
        """
        if item.picture is None:
            self._warnings.warn_once(f"camera {self._camera}: events have no pictures: the disk is too slow")
            return ""
        with self._lock:
            frames = list(self._frames)
        path = self._folder / picture_name(item.event.key)
        try:
            picture = (
                item.picture.copy_full_range()
                if isinstance(item.picture, YuvPicture)
                else full_range(item.picture)
            )
            if self._blur:
                for area in HiddenAreas((time_s, rows) for time_s, _, rows in frames).at(item.shown_s):
                    cover(picture, area)
            thick_px = max(2, len(picture) // 300 * 2)
            draw_edges(split_i420(picture), box_of(item.event, frames), _RED, thick_px)
            make_private_folder(self._folder)
            write_private(path, encode_jpeg(picture))
        except (OSError, ValueError) as error:  # the clip itself may still be kept
            self._finisher.warn(error)
            return ""
        return str(path)

    def _finish(self, *, truncated: bool = False) -> None:
        """Close what grows and settle it."""
        clip, self._clip = self._clip, None
        self._stream.ring.release()
        self._waiting.clear()
        if clip is None:
            self._miss(self._pending)
            return
        self._finisher.waiting[clip.stem] = clip.clip
        clip.close(whole=not truncated)
        self._finisher.finish(clip.stem)

    def _fail(self, error: OSError | ValueError) -> None:
        """The camera goes on without this clip; what there is of it is settled once the disk takes it."""
        self._finisher.warn(error)
        self._miss(self._pending)
        self._stream.ring.release()
        clip, self._clip = self._clip, None
        if clip is not None:
            self._finisher.waiting[clip.stem] = clip.clip
            with suppress(OSError):
                clip.close()


def make(context: FeatureContext) -> ClipRecorder | None:
    """What a camera's ``clips`` asks for."""
    options = context.camera.clips
    if not options.enabled:
        return None
    blur, lossless = context.camera.privacy.blur, context.lossless
    if blur and not transcoder.has_encoder():
        raise SightlineError(
            "clips with privacy.blur are coded as H.264, and this PyAV has no libx264: "
            "install its wheel, or set clips.enabled: false for this camera"
        )
    live = context.camera.has_clip_stream and not lossless
    main = MainStream(context.camera, context.gate) if live else None
    return ClipRecorder(context.camera.name, options, context.state, lossless=lossless, main=main, blur=blur)


def _known(camera: str, state: Mapping[str, Any] | None) -> list[Clip]:
    """The clips that a snapshot says were growing."""
    try:
        return [from_json(Clip, clip) for clip in (state or {}).get("open", ())]
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        log.warning("camera %s: its open clips cannot be read from its saved state: %s", camera, error)
        return []
