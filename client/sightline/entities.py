"""What travels through Sightline: the words of the design as frozen, slotted values.

Arrays are struct-of-arrays; each field says shape, dtype and frame of reference. They are checked
where they enter (:func:`check_detections`), never in the hot loop. Times named ``*_time`` are seconds
since the Unix epoch, UTC, as float64; times named ``*_s`` are seconds on the clock that the docstring
names.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]
I32 = NDArray[np.int32]
I64 = NDArray[np.int64]
U8 = NDArray[np.uint8]
KEY_SEPARATOR = "\x1f"  # between the parts of a row's key
Box = tuple[int, int, int, int]  # left, top, width, height of a part of a picture, in pixels, all even


class ClockSource(StrEnum):
    """Where a frame's capture time came from, best first."""

    RTCP = "rtcp"  # the camera's own clock, from RTCP sender reports
    RTCP_CORRECTED = "rtcp_corrected"  # the same, shifted to our UTC: it is too far off
    PTS = "pts"  # media time anchored to the arrival clock, jitter filtered out
    ARRIVAL = "arrival"  # the moment the packet arrived here


class CameraState(StrEnum):
    """What a camera is doing, as shown to operators."""

    STARTING = "starting"
    CONNECTING = "connecting"
    ONLINE = "online"
    OFFLINE = "offline"
    UNAUTHORIZED = "unauthorized"
    NOT_FOUND = "not_found"
    UNUSABLE = "unusable"
    NO_DETECTOR = "no_detector"  # frames arrive, Triton does not answer
    ENDED = "ended"  # a file played to its end
    MISCONFIGURED = "misconfigured"
    STOPPED = "stopped"


#: How a file that is played once may end: to its end, or never having begun.
ENDINGS = frozenset(
    {CameraState.ENDED, CameraState.UNAUTHORIZED, CameraState.NOT_FOUND, CameraState.UNUSABLE}
)


class EventKind(StrEnum):
    """What a rule saw, or what troubles the system itself."""

    CROSSING = "crossing"  # of a line
    ENTER = "enter"  # of a zone
    LEAVE = "leave"
    LOITER = "loiter"
    OCCUPANCY = "occupancy"
    CAMERA_OFFLINE = "camera_offline"
    TRITON_AWAY = "triton_away"
    DATABASE_AWAY = "database_away"
    SPOOL_FILLING = "spool_filling"
    OVERLOAD = "overload"
    CLOCK_STEP = "clock_step"  # the only trouble that is a moment
    DELIVERY_FAILED = "delivery_failed"
    UPLOAD_FAILED = "upload_failed"
    CLIPS_FAILED = "clips_failed"  # a camera's cannot be written
    OUTPUT_FAILED = "output_failed"  # a media server does not take a camera's annotated video
    VIEW_COVERED = "view_covered"  # something is before the camera, or it sees nothing
    VIEW_FROZEN = "view_frozen"  # frames come, and all show the same
    VIEW_DEFOCUSED = "view_defocused"
    VIEW_MOVED = "view_moved"  # the camera was turned


#: What rules see. Every other kind is a trouble of the system's own, of a camera or (source "") the program.
RULE_KINDS = frozenset(
    {EventKind.CROSSING, EventKind.ENTER, EventKind.LEAVE, EventKind.LOITER, EventKind.OCCUPANCY}
)
#: What keeps a camera from seeing what it was set up to see.
VIEW_KINDS = frozenset(
    {EventKind.VIEW_COVERED, EventKind.VIEW_FROZEN, EventKind.VIEW_DEFOCUSED, EventKind.VIEW_MOVED}
)
_LASTING = frozenset(EventKind) - RULE_KINDS - {EventKind.CLOCK_STEP} | {EventKind.ENTER, EventKind.LOITER}


def lasts(kind: str, direction: str | None) -> bool:
    """Whether such an event goes on until its :class:`EventEnd`; others are moments."""
    return kind in _LASTING or direction == "above"


class Picture(Protocol):
    """A decoded picture that can scale itself into memory that somebody else owns."""

    scale_s: float  # what the last write_i420 spent scaling, for the profile

    @property
    def width(self) -> int:
        """Width in square pixels, as shown."""

    @property
    def height(self) -> int:
        """Height in square pixels, as shown."""

    def write_i420(self, out: U8, box: Box | None = None) -> None:
        """Scale to the size of ``box`` and write it there.

        Args:
            out: uint8 [3/2·height, width], C-contiguous, both sides even. I420: the Y plane, then the
                U and V planes at half size, limited-range BT.601 as cameras send it.
            box: the part of ``out`` that the picture fills, the rest is left as it is; by default all of it.
        """


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture and its times."""

    picture: Picture
    index: int  # 0, 1, 2, … of the frames handed on by this source since it was opened
    media_s: float  # seconds on the stream's own clock (PTS), or of arrival where that means nothing
    capture_time: float  # UTC epoch seconds, on the best clock there was; never goes back
    clock_source: ClockSource
    received_s: float  # time.monotonic() when its packet had arrived; for watchdogs and latency only
    decode_s: float = 0.0  # seconds spent decoding it
    coded_end: bytes = b""  # last bytes of its packet, by which another player of the stream knows it
    keys_seen: int = 0  # key frames of the source so far, this one and those that were not due included


@dataclass(frozen=True, slots=True)
class Detections:
    """Boxes of one frame, as the detector gave them."""

    xyxy: F32  # float32 [N, 4], left, top, right, bottom in 0..1 of the picture
    scores: F32  # float32 [N], 0..1, descending not guaranteed
    class_ids: I32  # int32 [N], index into the model's class names
    model: "ModelInfo | None" = None  # the version that made the boxes, when it is known

    def __len__(self) -> int:
        return len(self.scores)

    def take(self, which: NDArray[Any]) -> "Detections":
        """The rows that ``which`` (bool [N] or int [M]) selects."""
        return Detections(self.xyxy[which], self.scores[which], self.class_ids[which], self.model)

    @staticmethod
    def empty() -> "Detections":
        """No boxes at all."""
        return Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int32))


@dataclass(frozen=True, slots=True)
class Tracks:
    """The tracks seen in one frame (matched to a box of this frame)."""

    ids: I64  # int64 [N], unique within the camera for ever
    xyxy: F32  # float32 [N, 4] in 0..1 of the picture; the filtered position
    scores: F32  # float32 [N], score of the matched box
    class_ids: I32  # int32 [N], the track's class by vote so far (may change while the track is young)
    first_times: NDArray[np.float64]  # float64 [N], capture time of the track's first box
    confirmed: NDArray[np.bool_]  # bool [N], the track has lasted long enough to count

    def __len__(self) -> int:
        return len(self.ids)

    @staticmethod
    def empty() -> "Tracks":
        """No tracks at all."""
        none = Detections.empty()
        ids, times, flags = np.zeros(0, np.int64), np.zeros(0), np.zeros(0, np.bool_)
        return Tracks(ids, none.xyxy, none.scores, none.class_ids, times, flags)


@dataclass(frozen=True, slots=True)
class CountWindow:
    """Distinct confirmed tracks of one class seen in [window_start, window_end)."""

    source: str
    item_class: str
    count: int
    window_start: float  # UTC epoch seconds
    window_end: float
    arrivals: int | None = None  # of the count, those first counted in this window; None: not known
    coverage: float | None = None  # 0..1 of the window's length, where the model lacked the class for a time


@dataclass(frozen=True, slots=True)
class SourceWindow:
    """How much of a window was really watched."""

    source: str
    window_start: float
    window_end: float
    coverage: float  # 0..1 of the window's length
    effective_fps: float  # frames detected and tracked per watched second
    dropped_frames: int
    clock_source: str
    model_version: str
    config_hash: str


@dataclass(frozen=True, slots=True)
class Event:
    """Something a rule saw of a confirmed track, or of a zone, or a trouble of the system itself.

    ``docs/rules.md`` and ``docs/monitoring.md`` have the exact meaning. An event never changes once it has
    been made. ``source``, ``kind``, ``place``, ``track_id``, ``first_time`` and ``ordinal`` name it, so that
    a retry or a replay makes the same row.
    """

    source: str  # the camera; empty: the program itself
    kind: EventKind
    place: str  # the line's or the zone's name; of some troubles, what is troubled
    track_id: int  # whose; 0 for occupancy and troubles
    item_class: str  # the track's class when the event was made; empty for occupancy and troubles
    event_time: float  # when it happened, between two frames where it fell between them
    # Capture time of the frame after which the event was certain; never before event_time while the camera's
    # clock goes on.
    confirmed_time: float
    # Crossing: forward (from the right to the left of the line, seen from its first point on) or backward.
    # Occupancy: above, or below again. Else None.
    direction: str | None = None
    # Leave: dwell in seconds. Loiter: ``loiter_s``. Occupancy: how many are there. Clock step: the seconds by
    # which the clock was set forward. Trouble of several cameras: how many. Spool filling: the share.
    # Delivery or upload failed: how many were given up, if any.
    # Else None.
    value: float | None = None
    x: float | None = None  # the anchor at that moment, shares of the picture; None for occupancy
    y: float | None = None
    # The passage itself was not seen: the track began in the zone (enter), was lost in it (leave), or passed
    # while it was out of sight for more than a second.
    unseen: bool = False
    first_time: float = 0.0  # capture time of the track's first box; event_time where there is no track
    ordinal: int = 0  # 0, 1, 2, … of this track at this place
    media_s: float | None = None  # event_time on the stream's own clock; None: before the stream was opened

    @property
    def key(self) -> str:
        """What sinks, alerts and clips call it: the key of its row in the outbox."""
        names = (self.source, self.kind, self.place, self.track_id, self.first_time, self.ordinal)
        return KEY_SEPARATOR.join(map(str, ("event", *names)))


@dataclass(frozen=True, slots=True)
class EventEnd:
    """An event that lasted is over. Written over the event's own row, of which it changes nothing else."""

    event: Event
    end_time: float  # capture time

    @property
    def source(self) -> str:
        """The camera."""
        return self.event.source


@dataclass(frozen=True, slots=True)
class DriftWindow:
    """One hour of one camera and one version of the model in numbers; ``docs/drift.md`` names the figures."""

    source: str
    window_start: float  # UTC epoch seconds, a whole hour
    window_end: float
    model_version: str
    frames: int
    boxes: int  # with at least the least score of a track
    pictures: int  # whose look was measured
    figures: Mapping[str, Any]  # JSON-able


@dataclass(frozen=True, slots=True)
class ClockWindow:
    """An hour of the clock that sender reports tell: the camera's, or that of what passes its stream on."""

    source: str
    window_start: float  # our UTC, epoch seconds, a whole hour
    offset_s: float  # that clock less ours, as last read in the hour; the least delay makes it smaller
    drift_ppm: float | None  # how much faster than ours it runs; None: read for less than ten minutes
    jitter_s: float  # standard deviation of the readings about offset and drift
    reports: int  # sender reports that told something new
    steps: int  # times it was set
    clock_source: str  # that capture times came from at the last reading


PATH_PIECE_S = 600.0
PATH_UNIT = 10_000  # so many are the picture's width, or height, in points of a path


@dataclass(frozen=True, slots=True)
class TrackPath:
    """Where a confirmed track has been, thinned to a few points, in pieces of at most :data:`PATH_PIECE_S`.

    The newest row of a piece holds. Straight lines between its points, in time, are within a twentieth of the
    box of where it was, unless that takes too many of them.
    """

    source: str
    track_id: int
    first_time: float  # capture time of the track's first box
    start_time: float  # of the piece's first point, and of its last
    end_time: float
    item_class: str
    score: float  # that two fifths of the track's boxes so far have at least
    # Milliseconds since start_time; bottom centre x and y, width, height in 1/PATH_UNIT of the picture.
    points: tuple[tuple[int, ...], ...]
    places: tuple[str, ...]  # lines and zones that have made events of it so far


@dataclass(frozen=True, slots=True)
class CameraView:
    """Whether a camera shows what it was set up to show; the newest row holds."""

    source: str  # the camera
    state: str  # learning, in_place, or the kind of event that goes on
    since: float  # capture time since when it is that
    fits: bool  # its lines and zones lie where they were drawn
    lights: Mapping[str, float]  # by light, capture time at which its reference view was renewed last
    #: Of a camera that was turned: ``rules`` as they should be now, their ``text`` for ``config.yml``, names
    #: that are ``gone``, the homography ``warp`` and the ``agreement`` by it. None: nothing is known to fit.
    proposal: Mapping[str, Any] | None = None


class Role(StrEnum):
    """What a person or a program may do, least first: each may do what those before it may."""

    DISPLAY = "display"  # of tokens alone: a wall display
    VIEWER = "viewer"
    OPERATOR = "operator"
    ENGINEER = "engineer"
    ADMIN = "admin"

    @property
    def rank(self) -> int:
        """0 for the least."""
        return list(Role).index(self)


#: Those that an account may have.
PERSON_ROLES = tuple(role for role in Role if role is not Role.DISPLAY)


class AlertState(StrEnum):
    """What has become of an alert."""

    WAITING = "waiting"  # what it is about has not lasted long enough yet; nobody has been told
    NEW = "new"
    ACKNOWLEDGED = "acknowledged"
    RESOLVED = "resolved"  # over, or somebody said so
    FALSE_ALARM = "false_alarm"
    PASSED = "passed"  # was over before it had lasted long enough
    JOINED = "joined"  # has lasted long enough, and is a part of the alert of a moment ago


@dataclass(frozen=True, slots=True)
class Alert:
    """What one rule makes of an event, or of several that come soon after another; the newest row holds."""

    alert_id: str  # a UUID made of the rule and the first event's key: the same at every replay
    rule: str
    source: str  # the camera; empty for the program itself
    kind: str  # of its events
    place: str
    item_class: str  # of the first event
    value: float | None  # of the first event
    severity: str
    state: AlertState
    event_time: float  # of the first event
    opened_time: float  # our clock when the alert was made, or when what waited had lasted long enough
    changed_time: float  # our clock when this row was made
    end_time: float | None = None  # of the event that ended last; None while one goes on
    count: int = 1  # events
    muted: bool = False  # nobody is told
    escalated: bool = False  # the next ones were told since nobody acknowledged
    notifications: int = 0  # made so far
    told: int = 0  # events that the newest notification knows of
    who: str = ""  # acknowledged, resolved or called it false
    comment: str = ""
    events: tuple[str, ...] = ()  # keys of its newest events, so that none counts twice
    open_events: tuple[str, ...] = ()  # keys of those that go on
    failed_routes: tuple[str, ...] = ()  # routes by which something of it was given up

    @property
    def is_over_unseen(self) -> bool:
        """Whether it is over by itself, and nobody has said anything of it."""
        return self.state is AlertState.RESOLVED and not self.who


@dataclass(frozen=True, slots=True)
class Notification:
    """One thing to be told about an alert, to each of its routes. It never changes."""

    alert_id: str
    ordinal: int  # 0, 1, 2, … of the alert
    transition: str  # opened, more, escalated, acknowledged, resolved, false_alarm
    routes: tuple[str, ...]  # their names
    notification_time: float  # our clock
    source: str
    severity: str
    title: str  # one line
    text: str
    link: str  # to the console; empty without public_url
    alert: Mapping[str, Any]  # the alert's fields then


@dataclass(frozen=True, slots=True)
class Mute:
    """Nobody is told of a camera's alerts, or a rule's, until then. The newest row of the two holds."""

    source: str  # the camera; empty: every camera
    rule: str  # empty: every rule
    until: float  # UTC epoch seconds; in the past: no longer
    who: str = ""

    def touches(self, other: "Mute") -> bool:
        """Whether there may be alerts that both are of."""
        pairs = ((self.source, other.source), (self.rule, other.rule))
        return all("" in pair or pair[0] == pair[1] for pair in pairs)


class Variant(StrEnum):
    """What can be seen live of a camera: pictures in two sizes, with or without overlay, boxes, and video."""

    SMALL = "small"
    SMALL_OVERLAY = "small-overlay"
    LARGE = "large"
    LARGE_OVERLAY = "large-overlay"
    DETECTIONS = "detections"  # JSON
    VIDEO = "video"  # H.264 with overlay, as pieces of MPEG-TS that belong one behind the other

    @property
    def feature(self) -> str:
        """The feature that shows it."""
        return "annotated" if self is Variant.VIDEO else "live"

    @property
    def side_px(self) -> int:
        """No side of such a picture is longer."""
        return 640 if self.value.startswith("small") else 1280

    @property
    def has_overlay(self) -> bool:
        """Whether boxes, places and the like are drawn on it."""
        return self.value.endswith("-overlay")


@dataclass(frozen=True, slots=True)
class Watch:
    """Asks a camera to be shown for a while; ask again before that is over."""

    variants: frozenset[Variant]
    seconds: float


def picture_name(event_key: str) -> str:
    """The file name of an event's picture, which lies beside its clip."""
    return f"event-{hashlib.sha256(event_key.encode()).hexdigest()[:20]}.jpg"


class ClipState(StrEnum):
    """What has become of a clip."""

    RECORDING = "recording"
    FINISHED = "finished"
    LOST = "lost"  # nothing of it could be read after a crash


@dataclass(frozen=True, slots=True)
class Clip:
    """The video around one event, or several that overlap; the newest row holds.

    The frame of an event is at ``event.media_s - media_start_s`` seconds in the file.
    """

    source: str  # the camera
    start_time: float  # capture time of its first frame
    end_time: float  # of its last frame so far
    media_start_s: float  # the first frame on the stream's own clock
    state: ClipState
    path: str  # of the MP4 file; the tracks are beside it as .json; empty: it is gone
    thumbnail: str  # path of a JPEG; empty: there is none
    codec: str  # as FFmpeg names it: h264, hevc
    bytes: int  # of the MP4 file, and of its copy
    truncated: bool  # its end, or a part, is missing: the program was killed, the disk was full
    events: tuple[str, ...]  # Event.key of each
    url: str = ""  # where it has been uploaded to
    h264_path: str = ""  # of its copy in H.264; empty: there is none


#: A row on its way to the database. ``store/kinds.py`` declares for each how it is keyed, merged and stored.
Result = (
    CountWindow
    | SourceWindow
    | Event
    | EventEnd
    | DriftWindow
    | ClockWindow
    | CameraView
    | Alert
    | Notification
    | Mute
    | Clip
    | TrackPath
)


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """What the served detector says of itself; a client needs no copy of it."""

    name: str
    version: str  # of the network behind the ensemble, as the manifest names it
    class_names: tuple[str, ...]
    network_height: int
    network_width: int
    precision: str
    score_floor: float
    max_batch: int = 1  # pictures in one request
    answers_later: bool = False  # from threads of its own: Triton's compute time is not that of the network


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a camera hands to the writer once a second, and what its successor resumes from.

    Rows and resume state are committed together, so a restart neither loses nor doubles a track.
    """

    source: str
    rows: tuple[Result, ...]  # new or changed since the checkpoint before
    resume: Mapping[str, Any]  # JSON-able; opaque to everything but the worker


@dataclass(frozen=True, slots=True)
class ResumeState:
    """What a camera's worker goes on from; always written together with the rows of its checkpoint."""

    source: str
    resume: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Figure:
    """A number about an observer's work, for ``/metrics``, ``/status`` and the console, which know no names.

    ``name`` is in snake_case, with its unit, and begins with the observer's; ``/metrics`` puts ``sightline_``
    before it. One that ends in ``_total`` only grows, from 0 when the observer starts.
    """

    name: str
    value: float
    labels: Mapping[str, str] = field(default_factory=dict)  # what of, beside the camera; the same for a name
    help: str = ""  # one sentence
    trouble: EventKind | None = None  # of the camera, for as long as the value is not 0
    since: float | None = None  # UTC epoch seconds at which that trouble began; None: when it is first seen


#: The stages of a frame that are timed, in order. ``receive`` is the idle wait for the camera's next packet.
STAGES = ("receive", "decode", "queue", "scale", "write", "infer", "track", "rules", "windows", "total")
#: Triton's own share of ``infer``, means that the server reports.
SERVER_STAGES = ("triton_queue", "triton_compute")


@dataclass(frozen=True, slots=True)
class CameraStatus:
    """A camera's live status, sent once a second."""

    source: str
    state: CameraState
    message: str  # why it is not online and its warnings, without credentials; empty when all is well
    status_time: float
    last_frame_time: float | None = None  # capture time of the last frame that was tracked
    fps: float = 0.0  # frames tracked per second, over the last seconds
    due_fps: float = 0.0  # frames per second that were to be tracked, over the same seconds
    asked_fps: float | None = None  # stream.fps, where the camera alone decides whether as many come
    decoder_busy: float = 0.0  # share of the last seconds in which its decode thread did not wait for packets
    worker_busy: float = 0.0  # share in which its worker's main thread did not wait
    frames_total: int = 0
    dropped_total: int = 0
    gate_skipped_total: int = 0
    decode_errors_total: int = 0
    reconnects_total: int = 0
    queue_depth: int = 0
    coverage: float = 0.0  # of the window that is open
    latency_p50_ms: float | None = None  # a packet's arrival to its tracks
    latency_p99_ms: float | None = None
    transport: str = ""
    transport_message: str = ""  # why it is not a better one; empty when it is the best, or as configured
    decoder: str = ""  # cpu, cuda, …; after a colon, why it is not the one asked for
    clock_source: str = ""
    clock_offset_s: float | None = None  # the camera's clock less ours; None: it has not told it
    clock_drift_ppm: float | None = None  # how much faster than ours it runs; None: not known yet
    model_version: str = ""
    batch_size: float | None = None  # pictures that the detector takes at once, mean of the last seconds
    detector_message: str = ""  # why there is no detector; empty while connected
    warnings: tuple[str, ...] = ()  # what goes wrong while it is online; in the message as well
    notices: tuple[str, ...] = ()  # what the supervisor says of this and other cameras together
    stages_ms: Mapping[str, Mapping[str, float]] = field(default_factory=dict)  # stage -> mean, p50, p99
    lines: tuple[str, ...] = ()  # their names
    occupancy: Mapping[str, int] = field(default_factory=dict)  # by zone, the confirmed tracks in it now


def check_detections(detections: Detections) -> Detections:
    """Check shapes and dtypes where detections enter; ValueError: not as :class:`Detections` promises."""
    n = len(detections.scores)
    for name, shape, dtype in (
        ("xyxy", (n, 4), np.float32),
        ("scores", (n,), np.float32),
        ("class_ids", (n,), np.int32),
    ):
        array = getattr(detections, name)
        if array.shape != shape or array.dtype != dtype:
            problem = f"found {array.dtype} {list(array.shape)}"
            raise ValueError(f"{name} must be {np.dtype(dtype)} {list(shape)}, {problem}")
    return detections
