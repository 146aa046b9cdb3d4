"""What ``sightline check --live`` and ``sightline snapshot`` try: all that a configuration names."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np

from sightline.analysis.classes import class_name
from sightline.base.network_cures import cure_for
from sightline.base.threads import SideThreads
from sightline.cli.outside_check import probes_of
from sightline.config import Camera, LoadedConfig, TritonOptions, unknown_alert_classes, unknown_classes
from sightline.entities import U8, ClockSource, Frame
from sightline.errors import (
    AdminError,
    ConfigError,
    ConfigErrors,
    DetectorError,
    DetectorUnavailable,
    OutputError,
    OutputRefused,
    SightlineError,
    SourceEnded,
    SourceNotFound,
    SourceStalled,
    SourceUnauthorized,
    SourceUnreachable,
    SourceUnusable,
    TritonAway,
)
from sightline.features.kept_files import write_private
from sightline.inference.client import TritonConnection
from sightline.models.registry.triton_admin import AWAY_CURE, TritonAdmin
from sightline.store import migrations
from sightline.store.read.readonly import Database, DatabaseState
from sightline.video import blur
from sightline.video.container import is_file
from sightline.video.live_encoder import LiveEncoder, codec_for
from sightline.video.picture import encode_jpeg, from_i420, full_range
from sightline.video.probe import CLOCK_S, StreamProbe, probe, tells_time
from sightline.video.rtsp_publisher import RtspPublisher

T = TypeVar("T")
AT_ONCE = 16  # parts tried at once
DEADLINE_S = 15.0  # for each of them
MAX_LISTED = 10  # names in a line
_CURES: dict[type[SightlineError], str] = {
    SourceUnauthorized: "check user name and password; it was tried once, since cameras lock accounts",
    SourceNotFound: "check what follows the host in the URL",
    SourceUnreachable: "check host and port, and that the camera is on and can be reached from here",
    SourceUnusable: "name a stream of H.264, H.265 or another video that FFmpeg decodes",
    SourceStalled: "look at the camera's load and its network, or try stream.rtsp_transport: tcp",
    SourceEnded: "look at the camera's load and at how many viewers it allows",
    OutputError: "check host, port and path, and that the media server takes H.264 there",
    OutputRefused: "name a user who may publish there, and the password",
}
_STREAMS = ("url", "sub_url")  # keys of a camera
#: Databases that are well, though nothing can be read of them yet.
_NOT_READY = {
    DatabaseState.MISSING: "not there yet; `sightline run` makes it",
    DatabaseState.EMPTY: "empty; `sightline run` makes its tables",
    DatabaseState.OLDER: "of an older Sightline; `sightline run` migrates it, after a copy of a SQLite file",
}
_CODECS = {"h264": "H.264", "hevc": "H.265", "mjpeg": "Motion JPEG"}


@dataclass(frozen=True, slots=True)
class Attempt:
    """One part to try; what is wrong is told of its key, and of its camera if it is one's."""

    call: Callable[[], str]  # gives the line that says what is there
    key: str
    camera: str | None = None


def attempts_of(config: LoadedConfig, stills: Path | None) -> Iterator[Attempt]:
    """Every enabled camera and its output, every detector, database, brokers, uploads and ways of alerts.

    Pictures are kept in ``stills``.
    """
    options = config.options
    cameras = [camera for camera in config.cameras.values() if camera.enabled]
    users: dict[str, list[Camera]] = {}
    for camera in cameras:
        look = partial(_try_camera, options.triton, camera, stills)
        yield Attempt(look, url_key(camera), camera.name)
        if camera.output_url:
            yield Attempt(partial(_try_output, camera), "output.url", camera.name)
        users.setdefault(camera.detect.model or options.triton.model, []).append(camera)
        if camera.shadow.model:
            users.setdefault(camera.shadow.model, [])
    if options.canary.enabled:
        users.setdefault(options.canary.model or options.triton.model, [])
    for model, of_model in users.items():
        yield Attempt(partial(_try_detector, config, model, of_model), "triton.url")
    yield Attempt(partial(_try_database, options.database.url.get_secret_value()), "database.url")
    for key, call in probes_of(options):
        yield Attempt(call, key)


def outcomes(attempts: Sequence[Attempt]) -> Iterator[str | ConfigError]:
    """What each attempt gave, in their order: a line, or what is wrong and the cure."""
    bound, threads = SideThreads("check", AT_ONCE), SideThreads("attempt", len(attempts))
    futures = [bound.submit(partial(_outcome, a.call, a.key, a.camera, threads)) for a in attempts]
    yield from (future.result() for future in futures)


def take_picture(camera: Camera) -> StreamProbe:
    """One picture of a camera; a ConfigError, with the cure, when there is none within the deadline."""
    take, threads = partial(probe, camera, only_picture=True), SideThreads("attempt", 1)
    outcome = _outcome(take, url_key(camera), camera.name, threads)
    if isinstance(outcome, ConfigError):
        raise outcome
    return outcome


def covered_picture(triton: TritonOptions, camera: Camera, seen: StreamProbe) -> U8:
    """The picture with what ``privacy.blur`` names covered, wherever the camera's detector finds it.

    Raises:
        ConfigError: no detector says what to cover.
    """
    if not camera.privacy.blur:
        return seen.picture
    picture = seen.picture.copy()
    frame = Frame(from_i420(picture), 0, 0.0, seen.capture_time, seen.clock_source, time.monotonic())
    with TritonConnection(triton, "snapshot") as connection:
        detector = connection.model(camera.detect.model or triton.model)
        try:
            names = detector.connect().class_names
            [future] = detector.submit([frame])
            boxes = future.result(DEADLINE_S)
        except (DetectorError, TimeoutError) as error:
            problem = f"nothing says what to cover in a picture, since no detector answers: {error}"
            raise ConfigError("privacy.blur", f"{problem}; start Triton", camera.name) from error
    names = boxes.model.class_names if boxes.model else names
    if problem := blur.why_not(camera.privacy.blur, boxes.model, names):
        raise ConfigError("privacy.blur", f"no picture can be shown: {problem}", camera.name)
    called = [class_name(names, class_id) for class_id in boxes.class_ids.tolist()]
    blur.hide(picture, camera.privacy.blur, boxes.xyxy, called)
    return picture


def url_key(camera: Camera) -> str:
    """Which of a camera's URLs is opened."""
    return "sub_url" if camera.sub_url else "url"


def _outcome(call: Callable[[], T], key: str, camera: str | None, threads: SideThreads) -> T | ConfigError:
    try:
        return threads.run(call, DEADLINE_S)
    except ConfigError as error:
        return error
    except TimeoutError:
        cure = _CURES[SourceUnreachable] if key in _STREAMS else "check its address and the network"
        return ConfigError(key, f"gave nothing within {DEADLINE_S:g} s; {cure}", camera)
    except SightlineError as error:
        cure = f"; {_CURES[type(error)]}" if type(error) in _CURES else ""
        return ConfigError(key, f"{error}{cure}", camera)
    except OSError as error:
        return ConfigError(key, f"{error}; {cure_for(str(error))}", camera)


def _try_camera(triton: TritonOptions, camera: Camera, stills: Path | None) -> str:
    seen = probe(camera)
    if stills is not None:
        picture = covered_picture(triton, camera, seen)
        write_private(stills / f"{camera.name}.jpg", encode_jpeg(full_range(picture)))
    facts = [f"{_CODECS.get(seen.codec, seen.codec)} {seen.size[0]}x{seen.size[1]}"]
    if seen.fps is not None:
        wanted = camera.stream.fps
        short = f" (stream.fps asks for {wanted:g})" if wanted and wanted > 1.2 * seen.fps else ""
        facts.append(f"{seen.fps:.1f} frames a second{short}")
    facts.append(_clock(camera, seen))
    if camera.stream.hardware_decoder:
        facts.append(f"decoder {seen.decoder}")
    if seen.decode_errors:
        facts.append(f"{seen.decode_errors} damaged pictures")
    return f"camera {camera.name!r}: ok: {', '.join(facts)}"


def _try_output(camera: Camera) -> str:
    """Publish a stream without a picture for a moment, unless there is video: it may be our own."""
    url, ca_file, side_px = camera.output_url, camera.output.tls_ca_file, camera.output.side_px
    line, codec = f"camera {camera.name!r}: output.url: ok", codec_for(camera.output.encoder)
    with closing(RtspPublisher(url, ca_file)) as reader:
        if reader.has_video():
            return f"{line}: there is video already"
    height = side_px * 9 // 16 // 2 * 2
    try:
        encoder = LiveEncoder("rtp", side_px, height, fps=5.0, codec=codec, begins=0.0)
        with closing(encoder):
            encoder.encode(np.full((height * 3 // 2, side_px), 128, np.uint8), 0.0)
    except ValueError as error:
        raise ConfigError("output.encoder", str(error), camera.name) from error
    with closing(RtspPublisher(url, ca_file)) as publisher:
        publisher.start(encoder.parameter_sets)
    return f"{line}: takes {codec} video"


def _clock(camera: Camera, seen: StreamProbe) -> str:
    """Where capture time comes from, and how far off the camera's clock is."""
    if is_file(camera.source_url):
        return "times of the recording"
    if seen.clock_source is ClockSource.ARRIVAL:
        return "capture time from arrival: the stream's own times cannot be used"
    if (skew_s := seen.clock_skew_s) is not None:
        off = f"{abs(skew_s):.2f} s {'behind' if skew_s < 0 else 'ahead of'} ours"
        if seen.clock_source is ClockSource.RTCP:
            return f"capture time from the camera's clock (RTCP), {off}"
        limit = f"more than stream.max_clock_skew_s ({camera.stream.max_clock_skew_s:g})"
        return f"capture time from the camera's clock, corrected: it is {off}, {limit}; set its time server"
    why = f": no RTCP sender report within {CLOCK_S:g} s" if tells_time(camera) else ""
    return f"capture time from arrival{why}"


def _try_detector(config: LoadedConfig, model: str, cameras: Sequence[Camera]) -> str:
    options, rules = config.options.triton, config.options.alerts.rules
    every = [camera.name for camera in config.cameras.values() if camera.enabled]
    with TritonConnection(options, "check") as connection:
        detector = connection.model(model)
        try:
            info = detector.connect()
        except DetectorUnavailable as error:
            raise _why_away(options.url, model, error) from error
        transport = ", ".join(filter(None, (detector.transport, detector.transport_message)))
    said = (info.version, info.class_names)
    problems = [p for camera in cameras for p in unknown_classes(camera, *said)]
    problems += unknown_alert_classes(rules, every, [camera.name for camera in cameras], *said)
    if problems:
        raise ConfigErrors.of(problems)
    names = ", ".join(info.class_names[:MAX_LISTED]) + (", …" if len(info.class_names) > MAX_LISTED else "")
    size = f"network {info.network_height}x{info.network_width}"
    return (
        f"triton {options.url}: ok: {model!r} is {info.version}, {info.precision}, {size}, over {transport}; "
        f"{len(info.class_names)} classes: {names}"
    )


def _why_away(url: str, model: str, error: DetectorError) -> ConfigError:
    """Whether it is the server that is away, or the model."""
    try:
        with TritonAdmin(url) as admin:
            states = admin.states()
    except TritonAway:
        return ConfigError("triton.url", f"{error}; {AWAY_CURE}")
    except AdminError:  # it lists its models to others
        return ConfigError("triton.model", str(error))
    ready = [name for name, versions in states.items() if "READY" in versions.values()]
    cure = f"ready there: {', '.join(sorted(ready)[:MAX_LISTED]) or 'none'}; see `sightline model list`"
    return ConfigError("triton.model", f"{error}; {cure}")


def _try_database(url: str) -> str:
    database = Database(url)
    try:
        condition = database.condition()
        if condition.state is DatabaseState.READY:
            found = f"schema {migrations.head()}, {database.owner()}"
        elif not (found := _NOT_READY.get(condition.state, "")):
            problem = f"{condition.problem} {condition.detail}".strip()
            raise ConfigError("database.url", f"{problem}; {condition.remedy}")
        if problem := database.write_problem():
            raise ConfigError("database.url", problem)
    finally:
        database.close()
    return f"database {database.label}: ok: {found}"
