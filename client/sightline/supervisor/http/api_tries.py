"""The API that tries what is not configured yet: a camera's URL, and those of its other streams."""

import time
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from urllib.parse import urlsplit

from pydantic import Field, SecretStr

from sightline.access.audit import Action, record_alone
from sightline.access.rights import Right
from sightline.base.redact import redact
from sightline.base.threads import SideThreads
from sightline.config import Camera
from sightline.config.camera import url_problem
from sightline.errors import ConfigError, SourceError, SourceUnauthorized, SourceUnreachable
from sightline.store.access_store import AccessStore
from sightline.supervisor.control import Control
from sightline.supervisor.http.endpoint import Call, Endpoint, Taken

DEADLINE_S = 15.0
AT_ONCE = 2
PICTURE_PX = 640  # its width at most
#: Other streams of a camera: how many are tried, how long each, all, and what it tells by ONVIF.
MAX_OTHERS, OTHER_S, OTHERS_S, ONVIF_S = 4, 8.0, 25.0, 10.0
GOOD_PX = 640  # a stream of this width is enough to be analysed


class UrlToTry(Taken):
    """A camera's URL, as the configuration would have it."""

    url: SecretStr = Field(max_length=2000)


@dataclass(frozen=True, slots=True)
class TriedUrl:
    """What a stream sends."""

    codec: str  # as FFmpeg names it
    width: int  # as shown, in square pixels
    height: int
    fps: float | None  # frames a second that came; null: too few to tell
    decode_errors: int
    picture: str  # a JPEG, base64; at most PICTURE_PX wide


@dataclass(frozen=True, slots=True)
class TriedStream:
    """One of a camera's streams."""

    url: str  # without user and password; "": the one that was sent
    stream: TriedUrl


@dataclass(frozen=True, slots=True)
class TriedStreams:
    """A camera's streams, the one that was sent first."""

    how: str  # by which others were found: onvif, the maker whose URLs are like that; "": none was
    streams: list[TriedStream]
    main: int  # place of the largest in ``streams``
    analysis: int  # of the one to be analysed: the smallest that is large enough


class TriesApi:
    """Tries URLs, a few at once.

    Args:
        store: where it is kept who tried what.
        control: of the configuration, which says what a URL may be.
    """

    def __init__(self, store: AccessStore, control: Control) -> None:
        self._store, self._control = store, control
        self._threads = SideThreads("probe", AT_ONCE)

    def endpoints(self) -> list[Endpoint]:
        """All of them."""
        post = partial(Endpoint, "POST", right=Right.PROBE, takes=UrlToTry, long=True)
        return [
            post("/api/v1/probe", handler=self._try, gives=TriedUrl),
            post("/api/v1/probe/streams", handler=self._try_all, gives=TriedStreams),
        ]

    def _try(self, call: Call) -> TriedUrl:
        """Open a URL, of the schemes that a camera may have, and look at it for some seconds."""
        return self._look(self._url_of(call), DEADLINE_S)

    def _try_all(self, call: Call) -> TriedStreams:
        """As a probe of a URL, and of the other streams that the same camera has, if it can be told."""
        url = self._url_of(call)
        streams = [TriedStream("", self._look(url, DEADLINE_S))]
        how, others = self._others(url)
        for other in self._tried(others):  # of one size there is one: some cameras take any address
            sizes = {(item.stream.width, item.stream.height) for item in streams}
            streams += [other] if (other.stream.width, other.stream.height) not in sizes else []
        areas = [item.stream.width * item.stream.height for item in streams]
        by_area = sorted(range(len(streams)), key=lambda place: areas[place])
        good = [place for place in by_area if streams[place].stream.width >= GOOD_PX]
        return TriedStreams(how if len(streams) > 1 else "", streams, by_area[-1], (good or by_area[-1:])[0])

    def _url_of(self, call: Call) -> str:
        """The URL that is sent, if a camera may have it; that it is tried is kept, before: it takes long."""
        url: str = call.taken.url.get_secret_value()
        if problem := url_problem(url, self._control.config.options.allow):
            raise ConfigError("url", problem)
        record_alone(self._store, Action.PROBE, redact(url), call.caller)
        return url

    def _look(self, url: str, timeout_s: float) -> TriedUrl:
        # The decoders, which nothing else here needs.
        from sightline.video.picture import encode_jpeg, from_i420, full_range, written  # noqa: PLC0415
        from sightline.video.probe import probe  # noqa: PLC0415

        options = {"name": "probe", "url": url, "stream": self._control.config.options.stream}
        camera = Camera.model_validate(options)
        try:
            seen = self._threads.run(partial(probe, camera, clock=False), timeout_s)
        except TimeoutError:
            raise SourceUnreachable(f"gives no picture within {timeout_s:g} s") from None
        except SourceError as error:
            raise type(error)(redact(error)) from None
        width, height = seen.size
        wide = min(PICTURE_PX, width) // 2 * 2
        small = written(from_i420(seen.picture), wide, round(height * wide / width / 2) * 2)
        picture = b64encode(encode_jpeg(full_range(small))).decode()
        return TriedUrl(seen.codec, width, height, seen.fps, seen.decode_errors, picture)

    def _others(self, url: str) -> tuple[str, list[str]]:
        """How a camera's other streams were found, and their URLs: as it tells, or as its maker has them."""
        from sightline.video.onvif import onvif_streams  # noqa: PLC0415  as above
        from sightline.video.stream_patterns import other_streams  # noqa: PLC0415

        if not urlsplit(url).scheme.lower().startswith("rtsp"):
            return "", []
        try:
            told = self._threads.run(partial(onvif_streams, url), ONVIF_S)
        except TimeoutError:
            told = []
        if others := [other for other in told if _bare(other) != _bare(url)]:
            return "onvif", others
        return other_streams(url)

    def _tried(self, urls: list[str]) -> Iterator[TriedStream]:
        """Those that give pictures. A camera that refuses is not asked again: it may lock the account."""
        until_s, allow = time.monotonic() + OTHERS_S, self._control.config.options.allow
        for url in urls[:MAX_OTHERS]:
            left_s = min(OTHER_S, until_s - time.monotonic())
            if left_s <= 0:
                return
            if url_problem(url, allow):
                continue
            try:
                yield TriedStream(_bare(url), self._look(url, left_s))
            except SourceUnauthorized:
                return
            except SourceError:  # that camera has no such stream
                continue


def _bare(url: str) -> str:
    """A URL without user and password."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
