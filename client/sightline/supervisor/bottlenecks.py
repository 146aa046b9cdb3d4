"""What holds cameras back: found in the figures that they report, said in words.

A state begins once the figures have shown it for some seconds, and ends once they have not for some more, so
that nothing flickers. The log says it at both ends and now and then between; status, metrics and the console
show it while it lasts.
"""

import logging
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from math import inf
from statistics import fmean

from sightline.entities import CameraState, CameraStatus

log = logging.getLogger(__name__)

LOOK_EVERY_S = 1.0
OTHERS_AGAIN_S = 30.0  # the log says a state again after so long if it is one of other cameras by then
#: Cameras in these states are not counted: nothing is expected of them.
_IDLE = {CameraState.MISCONFIGURED, CameraState.STOPPED, CameraState.ENDED}


class Cause(StrEnum):
    """Why a camera is held back. Where several hold, the first one is told: it may be why the others do."""

    TRITON = "triton"  # there is no detector
    DETECTOR = "detector"  # it answers too slowly
    DECODER = "decoder"  # decoding is too slow
    WORKER = "worker"  # what else the worker does is too slow
    BURSTS = "bursts"  # nothing is too slow, but frames come all at once
    CAMERA = "camera"  # it sends less than is asked for


@dataclass(frozen=True, slots=True)
class _Words:
    """How a cause is said; the texts are formatted with the figures of :func:`_figures`."""

    all_cameras: str
    one_camera: str  # empty: its status says it already
    over: str
    begins_s: float = 8.0  # meters look back for five seconds: what was before must be out of their sight
    ends_s: float = 15.0
    again_s: float = 600.0  # while it lasts, the log says it again


_ANALYSE = "{count} of {cameras} cameras analyse {fps:.1f} of {due:.1f} frames/s"
_WORDS = {
    Cause.TRITON: _Words(
        "waiting for Triton at {url} since {since}: {count} of {cameras} cameras have no detector "
        "({problem}); start it (`sightline triton serve`), load the model or correct triton.url",
        "",
        "no camera waits for Triton at {url} any more",
        begins_s=5.0,
        ends_s=0.0,
        again_s=60.0,
    ),
    Cause.DETECTOR: _Words(
        f"overload: {_ANALYSE}; the detector {{model}} takes {{infer}} for a frame, "
        "{model_fps:.1f} frames/s in all where {model_due:.1f} are due; what helps: a lower stream.fps, "
        "fewer cameras, more instances of the detector or a faster processor for it",
        "overload: {fps:.1f} of {due:.1f} frames/s are analysed: the detector is too slow",
        "the overload of the detector {model} is over",
    ),
    Cause.DECODER: _Words(
        "overload: {count} of {cameras} cameras fall behind; decoding takes {decode} a frame and "
        "goes on {decoder_busy:.0%} of the time, {due:.1f} frames/s come out of it; what helps: a smaller or "
        "slower stream of the camera, stream.skip_non_reference, stream.hardware_decoder, more cores",
        "overload: decoding is too slow: {decode} a frame, {due:.1f} frames/s",
        "the overload by decoding is over",
    ),
    Cause.WORKER: _Words(
        f"overload: {_ANALYSE}; their processes are at work {{worker_busy:.0%}} of the time, while the "
        "detector takes {infer} for a frame; what helps: a smaller cameras_per_worker, a lower "
        "stream.fps, more cores",
        "overload: {fps:.1f} of {due:.1f} frames/s are analysed: its worker is too slow",
        "the overload of workers is over",
    ),
    Cause.BURSTS: _Words(
        f"{_ANALYSE}, though neither detector nor processor is too slow: their frames come in bursts; what "
        "helps: a better network, another stream.rtsp_transport",
        "{fps:.1f} of {due:.1f} frames/s are analysed: the others come in bursts",
        "frames come in bursts no more",
    ),
    Cause.CAMERA: _Words(
        "{count} of {cameras} cameras send less than stream.fps asks for, {due:.1f} of {asked:.1f} frames/s; "
        "what helps: a higher rate in the camera's own settings, or a lower stream.fps here",
        "the camera sends {due:.1f} of the {asked:.1f} frames/s that stream.fps asks for",
        "cameras send what stream.fps asks for again",
    ),
}


@dataclass(frozen=True, slots=True)
class Notice:
    """What is said of some cameras together."""

    cause: Cause
    text: str
    since: float  # UTC epoch seconds
    cameras: tuple[str, ...]


@dataclass(slots=True)
class _Watched:
    """What the figures of one camera say."""

    cause: Cause | None = None  # in force
    shown: CameraStatus | None = None  # the newest figures that showed it
    newest: Cause | None = None  # by the last look
    since_s: float = 0.0  # when looks began to say that
    began_s: float = 0.0  # when what is in force began


@dataclass(slots=True)
class _Lasting:
    """A state that has been logged."""

    since_s: float
    since: float  # UTC epoch seconds
    logged_s: float = -inf
    cameras: tuple[str, ...] = ()  # as logged
    over: str = ""  # what is said when it ends


def cause_of(status: CameraStatus, *, lasting: bool = False) -> Cause | None:
    """What holds a camera back by its figures; ``lasting``: it is held back already, and recovers slowly."""
    online = status.state is CameraState.ONLINE and status.due_fps > 0
    drops = online and status.fps < (0.95 if lasting else 0.9) * status.due_fps
    infer_ms = status.stages_ms.get("infer", {}).get("mean")
    # By Little's law: how many of its frames are with the detector at any time.
    with_detector = infer_ms is None or infer_ms / 1e3 * max(status.fps, 1.0) >= 0.5
    asked = (0.85 if lasting else 0.7) * (status.asked_fps or 0.0)
    holds = {
        Cause.TRITON: bool(status.detector_message) and status.state not in _IDLE,
        Cause.DETECTOR: drops and with_detector,
        Cause.DECODER: online and status.decoder_busy >= (0.9 if lasting else 0.95),
        Cause.WORKER: drops and status.worker_busy >= 0.8,
        Cause.BURSTS: drops,
        Cause.CAMERA: online and status.due_fps < asked,
    }
    return next((cause for cause in Cause if holds[cause]), None)


class Bottlenecks:
    """Watches every camera's figures. The main thread looks; any thread may ask.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.notices: tuple[Notice, ...] = ()
        self._clock = clock
        self._next_look_s = 0.0
        self._watched: dict[str, _Watched] = {}
        self._lasting: dict[tuple[Cause, str], _Lasting] = {}  # by cause and, if it is a detector's, model
        self._own: dict[str, tuple[str, str]] = {}  # by camera: what is said of it, and of all of its kind

    def annotate(self, status: CameraStatus) -> CameraStatus:
        """The status with what is said of its camera."""
        own, notice = self._own.get(status.source, ("", ""))
        if not notice or status.state in _IDLE or (own and status.state is not CameraState.ONLINE):
            return status
        message = "; ".join(filter(None, (status.message, own)))
        warnings = (*status.warnings, own) if own else status.warnings
        return replace(status, message=message, warnings=warnings, notices=(notice,))

    def look(self, statuses: Iterable[CameraStatus], url: str) -> None:
        """Judge the newest figures, at most once a second; ``url``: where Triton should be."""
        now = self._clock()
        if now < self._next_look_s:
            return
        self._next_look_s = now + LOOK_EVERY_S
        statuses = [status for status in statuses if status.state not in _IDLE]
        self._watched = {status.source: self._judge(status, now) for status in statuses}
        # Texts tell the figures by which a cause was found: while it lasts, newer ones may show nothing.
        told = [self._watched[status.source].shown or status for status in statuses]
        groups: defaultdict[tuple[Cause, str], list[CameraStatus]] = defaultdict(list)
        for status in told:
            if (cause := self._watched[status.source].cause) is not None:
                groups[cause, status.model_version if cause is Cause.DETECTOR else ""].append(status)
        notices, own = [], {}
        for (cause, model), members in groups.items():
            notice = self._notice(cause, model, members, told, url)
            notices.append(notice)
            for status in members:
                text = _WORDS[cause].one_camera.format(**_figures([status], [status]))
                own[status.source] = (text, notice.text)
        for key in [key for key in self._lasting if key not in groups]:
            lasting = self._lasting.pop(key)
            log.info("%s, after %.0f s", lasting.over, now - lasting.since_s)
        self.notices, self._own = tuple(notices), own

    def _judge(self, status: CameraStatus, now: float) -> _Watched:
        watched = self._watched.get(status.source) or _Watched()
        cause = cause_of(status, lasting=watched.cause not in {None, Cause.TRITON})
        if cause is not watched.newest:
            watched.newest, watched.since_s = cause, now
        if cause is not None:
            patience_s = _WORDS[cause].begins_s
        else:  # a camera that has been lost since is held back by nothing else
            lost = watched.cause is None or status.state is not CameraState.ONLINE
            patience_s = 0.0 if lost else _WORDS[watched.cause or Cause.TRITON].ends_s
        if cause is not watched.cause and now - watched.since_s >= patience_s:
            watched.cause, watched.began_s = cause, watched.since_s
        if watched.cause is None:
            watched.shown = None
        elif watched.cause is cause:
            watched.shown = status
        return watched

    def _notice(
        self,
        cause: Cause,
        model: str,
        members: Sequence[CameraStatus],
        statuses: Sequence[CameraStatus],
        url: str,
    ) -> Notice:
        """What is said of ``members``; logged when that is due."""
        now = self._clock()
        began_s = min(self._watched[status.source].began_s for status in members)
        begun = _Lasting(began_s, time.time() - (now - began_s))
        lasting = self._lasting.setdefault((cause, model), begun)
        since = datetime.fromtimestamp(lasting.since, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        figures = _figures(members, statuses) | {"url": url, "since": since}
        words = _WORDS[cause]
        text, lasting.over = words.all_cameras.format(**figures), words.over.format(**figures)
        cameras = tuple(status.source for status in members)
        again_s = words.again_s if cameras == lasting.cameras else min(words.again_s, OTHERS_AGAIN_S)
        if now >= lasting.logged_s + again_s:
            lasting.logged_s, lasting.cameras = now, cameras
            log.warning("%s", text)
        return Notice(cause, text, lasting.since, cameras)


def _figures(members: Sequence[CameraStatus], statuses: Sequence[CameraStatus]) -> dict[str, object]:
    """The figures that texts name: of ``members`` means, of their detector the sums of all its cameras."""

    def stage(name: str, otherwise: str = "") -> str:
        means = [status.stages_ms[name]["mean"] for status in members if name in status.stages_ms]
        return f"{fmean(means):.0f} ms" if means else otherwise

    same = [status for status in statuses if status.model_version == members[0].model_version]
    return {
        "count": len(members),
        "cameras": len(statuses),
        "fps": fmean([status.fps for status in members]),
        "due": fmean([status.due_fps for status in members]),
        "asked": fmean([status.asked_fps or 0.0 for status in members]),
        "infer": stage("infer", "more than triton.deadline_s"),
        "decode": stage("decode"),
        "decoder_busy": fmean([status.decoder_busy for status in members]),
        "worker_busy": fmean([status.worker_busy for status in members]),
        "model": members[0].model_version,
        "model_fps": sum(status.fps for status in same),
        "model_due": sum(status.due_fps for status in same),
        "problem": members[0].detector_message,
    }
