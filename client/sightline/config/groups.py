"""The groups of options in ``config.yml``; those of a camera may stand at the top, as its defaults."""

import re
from enum import StrEnum
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, SecretStr, field_validator, model_validator
from pydantic_core import PydanticCustomError

from sightline.config.access_options import AccessOptions
from sightline.config.alerts import AlertOptions
from sightline.config.media_options import MediaOptions
from sightline.config.option_group import OptionGroup, hot, reopens, restarts
from sightline.config.recording_options import RecordingOptions
from sightline.config.streams import ResultStreamsOptions
from sightline.config.upload_options import UploadOptions
from sightline.config.zones import MAX_PLACES, Line, PlaceName, Zone
from sightline.entities import RULE_KINDS, VIEW_KINDS, EventKind, Variant

DAY_S = 86_400
MAX_PORT = 65_535
BRACES = (
    "has braces; a placeholder is written {SIGHTLINE_NAME}, in capitals, and in a password { is %7B, } is %7D"
)
#: The canary's camera: its name in the database, in metrics and in status. No other camera may have it.
SOURCE = "sightline-canary"


class StreamOptions(OptionGroup):
    """``stream``: how a camera's pictures are fetched and decoded."""

    fps: float | None = hot(
        None, "Frames a second to analyse, gated on media time; null takes every frame.", gt=0, le=120
    )
    rtsp_transport: Literal["tcp", "udp"] = reopens("tcp", "How RTP travels: tcp or udp.")
    verify_tls: bool = reopens(True, "rtsps and https: check the server's certificate.")
    tls_ca_file: Path | None = reopens(None, "rtsps: certificate authorities to trust (PEM).")
    open_timeout_s: float = reopens(10.0, "Give up opening a stream after this long.", gt=0, le=60)
    stall_timeout_s: float = reopens(
        8.0, "A stream that sends nothing for this long is reopened.", gt=0, le=60
    )
    skip_non_reference: bool = reopens(
        False, "Do not decode frames that no other frame needs: cheaper, fewer frames."
    )
    hardware_decoder: str | None = reopens(
        None, "auto (an NVIDIA GPU where there is one), cuda, vaapi, …; null decodes on the CPU."
    )
    pixel_aspect: float | None = reopens(
        None,
        "Width of a pixel by its height, where a recorder does not tell it; null: as the stream says.",
        ge=0.25,
        le=4,
    )
    max_clock_skew_s: float = reopens(
        10.0, "A camera clock that differs from ours by more than this is corrected by the difference.", gt=0
    )


class DetectOptions(OptionGroup):
    """``detect``: which detector, and which of its boxes are taken."""

    model: str | None = reopens(None, "Served detector of the camera; null: triton.model.")
    min_score: float = hot(0.25, "A track starts only from a box with at least this score.", ge=0, le=1)
    dedupe_iou: float = hot(
        0.6,
        "A box that overlaps one of its class with a higher score by this IoU is a duplicate.",
        gt=0,
        le=1,
    )


class TrackOptions(OptionGroup):
    """``track``: when a track counts, and when it ends."""

    confirm_s: float = hot(0.5, "A track counts once it has been seen for this long.", ge=0, le=60)
    max_lost_s: float = hot(3.0, "A track not seen for this long, while watched, has ended.", gt=0, le=60)
    max_gap_s: float = hot(10.0, "After a longer gap in the stream all tracks end.", gt=0, le=3600)


class CountOptions(OptionGroup):
    """``count``: what is counted, and in which windows."""

    window_s: int = hot(
        60, "Length of a counting window in seconds; a divisor of a day, aligned to UTC.", ge=1, le=DAY_S
    )
    classes: tuple[str, ...] | None = hot(
        None, "Class names to count, as the model names them; null counts every class."
    )

    @field_validator("window_s")
    @classmethod
    def _check_window(cls, window_s: int) -> int:
        if DAY_S % window_s:
            raise PydanticCustomError("window", f"{window_s} does not divide a day (86400 s)")
        return window_s


class RulesOptions(OptionGroup):
    """``rules``: places in the picture where events are made."""

    lines: dict[PlaceName, Line] = hot(
        {}, "Lines by name; crossing one makes an event.", max_length=MAX_PLACES
    )
    zones: dict[PlaceName, Zone] = hot(
        {}, "Zones by name; entering, leaving or staying in one makes an event.", max_length=MAX_PLACES
    )


class TrackLogOptions(OptionGroup):
    """``track_log``: tracks kept, frame by frame or as ways."""

    folder: Path | None = reopens(None, "Where to keep what the tracker saw, frame by frame; null: nowhere.")
    max_bytes: int = reopens(
        200_000_000, "Limit of a camera's kept tracks; the older half is deleted first.", ge=100_000
    )
    time_code: bool = reopens(False, "Also keep the time code in the pictures of a simulated camera.")
    paths: bool = reopens(True, "Keep the way of each confirmed track, in a few points, in the database.")


class Blurred(StrEnum):
    """What is made unrecognisable in a picture, as far as the detector found it."""

    FACES = "faces"  # the upper part of every box of a person
    PLATES = "plates"  # the lower part of every box of a vehicle
    PERSONS = "persons"  # every box of a person, whole
    VEHICLES = "vehicles"  # every box of a vehicle, whole
    BOXES = "boxes"  # every box, whole


class PrivacyOptions(OptionGroup):
    """``privacy``: what is unrecognisable in every picture and clip of a camera."""

    blur: tuple[Blurred, ...] = reopens(
        (),
        "What is blurred in pictures and clips: faces, plates, persons, vehicles, boxes; empty: nothing.",
    )


class DriftOptions(OptionGroup):
    """``drift``: consent to keep pictures, how many, how long, and what is blurred."""

    consent: bool = reopens(
        False, "True, in a camera: its pictures may be kept. Withdrawn: kept ones are deleted."
    )
    signals: bool = reopens(True, "Keep numbers of boxes, scores and light for each hour; no pictures.")
    folder: Path = reopens(Path("drift"), "Where sampled pictures are kept, a folder for each camera.")
    every_s: float = reopens(
        600,
        "Each kind of frame (no boxes, weak, crowded, others) is offered once in this time.",
        gt=0,
        le=86_400,
    )
    per_stratum: int = reopens(
        4, "Pictures kept of a day, for each kind of frame and level of light.", ge=1, le=1000
    )
    retention_days: float = reopens(
        30, "Older pictures are deleted, also those of cameras that no longer run.", gt=0, le=3650
    )
    max_bytes: int = reopens(
        500_000_000, "Limit of a camera's pictures; the oldest are deleted first.", ge=10_000
    )
    blur: tuple[Blurred, ...] = reopens(
        (Blurred.FACES, Blurred.PLATES),
        "What is blurred before a picture is written: faces, plates, persons, vehicles, boxes.",
    )
    seed: int = reopens(0, "The same seed chooses the same frames.", ge=0)


def _check_clip_kind(kind: EventKind) -> EventKind:
    if kind not in RULE_KINDS:
        raise PydanticCustomError("kind", "has no clips; crossing, enter, leave, loiter and occupancy have")
    return kind


class ClipOptions(OptionGroup):
    """``clips``: the video around events, kept as files."""

    enabled: bool = reopens(False, "Keep the video around events as files.")
    folder: Path = reopens(Path("clips"), "Where clips are kept, a folder for each camera.")
    pre_s: float = reopens(5, "Seconds before an event that its clip shows, at least.", ge=0, le=60)
    post_s: float = reopens(5, "Seconds after an event, or after its end.", ge=0, le=60)
    max_s: float = reopens(120, "A clip that has grown this long ends.", ge=5, le=3600)
    max_bytes: int = reopens(
        32_000_000, "Limit of the video that waits in memory, for each stream.", ge=1_000_000
    )
    stream: Literal["analysed", "main"] = reopens(
        "analysed", "Which stream: the one that is analysed, or the camera's main one (url) beside it."
    )
    audio: bool = reopens(False, "With the camera's sound: AAC, or G.711, which becomes AAC.")
    h264_copy: bool = reopens(
        False, "Make a copy in H.264 of each clip that is coded with anything else, such as H.265."
    )
    kinds: tuple[Annotated[EventKind, AfterValidator(_check_clip_kind)], ...] = reopens(
        (EventKind.CROSSING, EventKind.ENTER, EventKind.LOITER, EventKind.OCCUPANCY),
        "Kinds of events that have clips: crossing, enter, leave, loiter, occupancy.",
        min_length=1,
    )

    @model_validator(mode="after")
    def _check_room(self) -> Self:
        if self.max_s <= self.pre_s + self.post_s:
            text = f"max_s: {self.max_s:g} leaves no room for pre_s + post_s ({self.pre_s + self.post_s:g})"
            raise PydanticCustomError("room", text)
        return self


def _check_view_kind(kind: EventKind) -> EventKind:
    if kind not in VIEW_KINDS:
        raise PydanticCustomError("kind", f"is none of a view; {', '.join(sorted(VIEW_KINDS))} are")
    return kind


class ViewOptions(OptionGroup):
    """``view``: is it told when a camera no longer shows what it was set up to show."""

    enabled: bool = reopens(True, "Tell a view that is covered, frozen, out of focus or moved.")
    kinds: tuple[Annotated[EventKind, AfterValidator(_check_view_kind)], ...] = hot(
        (EventKind.VIEW_COVERED, EventKind.VIEW_FROZEN, EventKind.VIEW_DEFOCUSED, EventKind.VIEW_MOVED),
        "Which of them: view_covered, view_frozen, view_defocused, view_moved.",
    )
    every_s: float = hot(3, "Seconds between two looks at the picture.", gt=0, le=20)
    hold_s: float = hot(
        36, "What has lasted so long is told: longer than a lorry stands there.", ge=5, le=600
    )
    accepted: str | None = hot(
        None, "Another word here, such as the date: what the camera shows now is right.", max_length=100
    )
    folder: Path = reopens(
        Path(".sightline/views"), "Where reference views are kept: one file of small grey pictures a camera."
    )


class ShadowOptions(OptionGroup):
    """``shadow``: which candidate sees a sample of the frames, and how much it may cost."""

    model: str | None = reopens(
        None, "Served detector that is compared with the live one, as detector-2; null: none."
    )
    share: float = reopens(
        0.1, "Budget: share of a camera's time whose frames the candidate sees too.", ge=0.01, le=1
    )
    episode_s: float = reopens(30, "Length of an episode; within one, both see every frame.", ge=2, le=600)
    most_dropped: float = reopens(
        0.1, "An episode of which a larger share had to be left out is not compared.", ge=0, lt=1
    )
    pictures: int = reopens(
        2, "Pictures of the largest differences kept of an episode, where drift.consent allows.", ge=0, le=20
    )
    folder: Path = reopens(Path("shadow"), "Where episodes are kept, a folder for each camera.")
    retention_days: float = reopens(30, "Older episodes are deleted, with their pictures.", gt=0, le=3650)
    max_bytes: int = reopens(
        200_000_000, "Limit of a camera's folder; the oldest episodes are deleted first.", ge=100_000
    )
    seed: int = reopens(0, "The same seed chooses the same episodes.", ge=0)


class ModelsOptions(OptionGroup):
    """``models``: the versions of the network that detectors may serve."""

    repository: Path = hot(
        Path("model_repository"), "The model repository that Triton serves, for the console's page Models."
    )


class Layer(StrEnum):
    """What is drawn on live pictures."""

    BOXES = "boxes"
    IDS = "ids"
    CLASSES = "classes"
    PLACES = "places"  # zones with how many are in them, lines with how many crossed them in this window
    TRAILS = "trails"
    CLOCK = "clock"  # capture time
    LATENCY = "latency"  # from the packet's arrival to the picture


class LiveOptions(OptionGroup):
    """``live``: pictures for those who watch; while nobody does they cost nothing."""

    fps: float = hot(10, "Pictures, and messages of boxes, a second at most.", gt=0, le=30)
    layers: tuple[Layer, ...] = hot(
        tuple(Layer),
        "What is drawn where an overlay is asked for: boxes, ids, classes, places, trails, clock, latency.",
    )
    video: Literal["off", "analysed", "main"] = hot(
        "analysed",
        "Its own video, where there is a media server: the stream that is analysed, main (url), or off.",
    )


class OutputOptions(OptionGroup):
    """``output``: a camera's video with its overlay, back to a media server."""

    url: SecretStr | None = reopens(
        None, "rtsp(s)://USER:PASSWORD@HOST/PATH to push it to, {camera} being the name; null: nowhere."
    )
    size: Literal["small", "large"] = reopens("large", "640 or 1280 pixels at most.")
    encoder: Literal["auto", "libx264", "h264_nvenc"] = reopens(
        "auto", "auto: an NVIDIA GPU's where there is one, else the CPU's."
    )
    tls_ca_file: Path | None = reopens(None, "rtsps: certificate authorities to trust (PEM).")

    @property
    def side_px(self) -> int:
        """No side of the picture is longer."""
        return Variant(self.size).side_px


class CameraOptions(OptionGroup):
    """Groups that may stand at the top as defaults and in a camera as its own, laid over them key by key."""

    stream: StreamOptions = Field(StreamOptions(), description="Fetching and decoding pictures.")
    detect: DetectOptions = Field(DetectOptions(), description="The detector and its boxes.")
    track: TrackOptions = Field(TrackOptions(), description="When tracks count and when they end.")
    count: CountOptions = Field(CountOptions(), description="What is counted, in which windows.")
    rules: RulesOptions = Field(RulesOptions(), description="Lines and zones that make events.")
    track_log: TrackLogOptions = Field(
        TrackLogOptions(), description="Tracks kept, frame by frame or as ways."
    )
    drift: DriftOptions = Field(
        DriftOptions(),
        description="Numbers and, by consent, pictures that tell whether the detector gets worse.",
    )
    shadow: ShadowOptions = Field(
        ShadowOptions(), description="A candidate that sees a sample of the live frames, for comparison."
    )
    clips: ClipOptions = Field(ClipOptions(), description="The video around events, kept as files.")
    view: ViewOptions = Field(
        ViewOptions(), description="Does the camera still show what it was set up to show."
    )
    privacy: PrivacyOptions = Field(
        PrivacyOptions(), description="What is blurred in every picture and clip."
    )
    live: LiveOptions = Field(LiveOptions(), description="Pictures for those who watch.")
    output: OutputOptions = Field(
        OutputOptions(), description="The video with its overlay, to a media server."
    )


class Transport(StrEnum):
    """How pictures reach Triton."""

    AUTO = "auto"  # cuda, else system, else grpc: the first that client and server can share
    CUDA = "cuda"
    SYSTEM = "system"
    GRPC = "grpc"


def _check_address(url: str) -> str:
    parts = re.fullmatch(r"(?:\[[^\]/\s]+\]|[^:/\s]+):([0-9]{1,5})", url)
    is_port = parts is not None and 0 < int(parts[1]) <= MAX_PORT
    if not is_port and not re.fullmatch(r"unix:/\S+", url):
        raise PydanticCustomError(
            "address",
            "must be HOST:PORT of Triton's gRPC, as 127.0.0.1:8001, without a scheme; or unix:/PATH",
        )
    return url


class TritonOptions(OptionGroup):
    """``triton``: where detectors are, and how pictures get there. A change reconnects every camera."""

    url: Annotated[str, AfterValidator(_check_address)] = reopens(
        "127.0.0.1:8001", "host:port of Triton's gRPC, without a scheme; or unix:/PATH."
    )
    model: str = reopens("detector", "Served detector of every camera that names none.")
    transport: Transport = reopens(Transport.AUTO, "How pictures reach Triton.")
    deadline_s: float = reopens(2.0, "A frame without an answer after this long is dropped.", gt=0, le=60)
    in_flight: int = reopens(
        3, "Requests in flight for a camera; one more than the engine works on at once.", ge=1, le=8
    )
    priority: int = reopens(0, "Triton's queue priority; 0: default.", ge=0, le=2)


def _check_url(url: SecretStr) -> SecretStr:
    text = url.get_secret_value()
    sqlite, postgres = r"sqlite(\+pysqlite)?:///(?!:memory:)\S", r"postgres(ql)?(\+psycopg)?://"
    # As SQLAlchemy reads it: a password ends at the first @, whatever else it holds.
    host = re.split("[/?]", re.sub(r"^[^:/]*(:[^@]*)?@", "", text.partition("://")[2]))[0]
    problem = ""
    if not re.match(f"{sqlite}|{postgres}", text):
        problem = "must be sqlite:///FILE or postgresql://USER:PASSWORD@HOST/NAME"
    elif "{" in text or "}" in text:
        problem = BRACES
    elif "@" in host:
        problem = "has two '@'; in a user name or password it is written %40"
    elif re.search(r":(?!\d{1,5}(,|$))[^\]]*$", host):
        problem = "has a port that is no number"
    if problem:
        raise PydanticCustomError("database", problem)
    return url


class DatabaseOptions(OptionGroup):
    """``database``: where results go."""

    url: Annotated[SecretStr, AfterValidator(_check_url)] = restarts(
        SecretStr("sqlite:///sightline.db"), "sqlite:///FILE or postgresql://USER:…@HOST/NAME."
    )
    spool_path: Path = restarts(
        Path("sightline-spool.db"), "Keeps results on disk while the database is away."
    )
    spool_max_bytes: int = restarts(
        256_000_000,
        "Limit of that file; when it is full, the oldest windows are dropped and counted.",
        ge=1_000_000,
    )
    standby: bool = restarts(
        False, "While another program owns the database, wait and take over when it ends or dies."
    )


class RetentionOptions(OptionGroup):
    """``retention``: for how many days rows stay in the database; null: for ever."""

    windows_days: float | None = hot(
        None, "Windows, once their hours and days are summed, which stay.", ge=1, le=36_500
    )
    events_days: float | None = hot(None, "Events that have ended.", ge=1, le=36_500)
    alerts_days: float | None = hot(
        None, "Alerts, from when they changed last, and what was told of them.", ge=1, le=36_500
    )
    drift_days: float | None = hot(None, "Hours of the drift watch.", ge=1, le=36_500)
    clocks_days: float | None = hot(None, "Hours of the cameras' clocks.", ge=1, le=36_500)
    audit_days: float | None = hot(None, "Who did what.", ge=1, le=36_500)
    paths_days: float | None = hot(14, "Ways of tracks.", ge=1, le=36_500)
    paths_rows: int | None = hot(20_000, "Limit of a camera's ways of tracks; the oldest go first.", ge=100)
    clips_days: float | None = hot(
        None, "Files of clips; their rows stay as long as events.", ge=1, le=36_500
    )
    clips_bytes: int | None = hot(None, "Limit of all clips' videos; the oldest go first.", ge=1_000_000)


def _check_network(text: str) -> str:
    try:
        ip_network(text)
    except ValueError:
        raise PydanticCustomError("network", "must be an address or a network, as 10.0.0.0/8") from None
    return text


class HttpOptions(OptionGroup):
    """``http``: the address of health, status, metrics and the API."""

    host: str = hot("127.0.0.1", "Address to listen on; 0.0.0.0: on every one.", min_length=1)
    port: int = hot(8080, "Port; 0 picks a free one.", ge=0, le=MAX_PORT)
    allowed_hosts: list[str] = hot([], "Names besides loopback by which browsers and Prometheus may ask.")
    tls_cert: Path | None = hot(None, "Certificate with its chain (PEM); null: no TLS.")
    tls_key: Path | None = hot(None, "Its key (PEM), without a password.")
    trusted_proxies: list[Annotated[str, AfterValidator(_check_network)]] = hot(
        [], "Addresses or networks of proxies whose X-Forwarded-For and -Proto are believed."
    )

    @model_validator(mode="after")
    def _check_tls(self) -> Self:
        if (self.tls_cert is None) is not (self.tls_key is None):
            raise PydanticCustomError("tls", "tls_cert and tls_key are given together, or neither of them")
        return self

    @property
    def url(self) -> str:
        """Where this machine asks it."""
        return f"{'http' if self.tls_cert is None else 'https'}://{self.address}"

    @property
    def address(self) -> str:
        """HOST:PORT at which this machine asks it, also when it listens at all addresses."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)  # noqa: S104  nothing is bound
        return f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"


class AllowOptions(OptionGroup):
    """``allow``: what camera URLs may be besides rtsp and rtsps."""

    files: bool = hot(False, "Allow paths and file:// URLs.")
    http: bool = hot(False, "Allow http:// and https:// URLs.")


class CanaryOptions(OptionGroup):
    """A simulated camera that runs beside the real ones, and is judged against its truth all the time."""

    enabled: bool = restarts(False, "Run the canary.")
    scene: Literal["street", "factory", "shop"] = restarts("street", "What it sees.")
    seed: int = restarts(1, "Seed of everything that happens in it.", ge=0)
    light: Literal["day", "dusk", "night"] = restarts("day", "Time of day.")
    weather: Literal["clear", "rain"] = restarts("clear", "clear or rain.")
    fps: float = restarts(5.0, "Frames a second.", gt=0, le=30)
    length_s: float = restarts(88.0, "Length of the loop in seconds; each pass is judged.", ge=20, le=3600)
    model: str | None = restarts(None, "Served detector that knows the scene; null: triton.model.")
    folder: Path = restarts(Path(".sightline/canary"), "Keeps its video, its truth and its tracks.")


class Config(CameraOptions):
    """The whole file but its cameras. :func:`load_config` returns the checked form."""

    triton: TritonOptions = Field(TritonOptions(), description="Where the detectors are served.")
    models: ModelsOptions = Field(ModelsOptions(), description="Versions of the network.")
    database: DatabaseOptions = Field(DatabaseOptions(), description="Where results go.")
    retention: RetentionOptions = Field(RetentionOptions(), description="How long rows stay there.")
    http: HttpOptions = Field(HttpOptions(), description="Health, status, metrics and the API.")
    access: AccessOptions = Field(AccessOptions(), description="Who may look, and do what.")
    media: MediaOptions = Field(MediaOptions(), description="What passes the cameras' own video on.")
    allow: AllowOptions = Field(AllowOptions(), description="What a camera's url may be.")
    alerts: AlertOptions = Field(AlertOptions(), description="Who is told of which events.")
    streams: ResultStreamsOptions = Field(
        ResultStreamsOptions(), description="Brokers that are given every result."
    )
    uploads: UploadOptions = Field(UploadOptions(), description="Where finished clips are copied to.")
    recording: RecordingOptions = Field(
        RecordingOptions(), description="Continuous recordings, made by MediaMTX, and links to them."
    )
    canary: CanaryOptions = Field(
        CanaryOptions(), description="A simulated camera beside the real ones, judged all the time."
    )
    cameras_per_worker: int = restarts(16, "Cameras that share one process.", ge=1, le=256)
    open_limit: int = hot(8, "Cameras that may be opening at once.", ge=1)
    log_level: Literal["debug", "info", "warning", "error"] = hot("info", "How much to log.")
