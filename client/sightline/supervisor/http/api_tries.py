"""The API that tries what is not configured yet: a camera's URL."""

from base64 import b64encode
from dataclasses import dataclass
from functools import partial

from pydantic import Field, SecretStr

from sightline.access.audit import Action, record_alone
from sightline.access.rights import Right
from sightline.base.redact import redact
from sightline.base.threads import SideThreads
from sightline.config import Camera
from sightline.config.camera import url_problem
from sightline.errors import ConfigError, SourceError, SourceUnreachable
from sightline.store.access_store import AccessStore
from sightline.supervisor.control import Control
from sightline.supervisor.http.endpoint import Call, Endpoint, Taken

DEADLINE_S = 15.0
AT_ONCE = 2
PICTURE_PX = 640  # its width at most


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
        """The one there is."""
        return [
            Endpoint(
                "POST", "/api/v1/probe", Right.PROBE, self._try, takes=UrlToTry, gives=TriedUrl, long=True
            )
        ]

    def _try(self, call: Call) -> TriedUrl:
        """Open a URL, of the schemes that a camera may have, and look at it for some seconds."""
        url: str = call.taken.url.get_secret_value()
        options = self._control.config.options
        if problem := url_problem(url, options.allow):
            raise ConfigError("url", problem)
        record_alone(self._store, Action.PROBE, redact(url), call.caller)  # before: it takes long
        # The decoders, which nothing else here needs.
        from sightline.video.picture import encode_jpeg, from_i420, full_range, written  # noqa: PLC0415
        from sightline.video.probe import probe  # noqa: PLC0415

        camera = Camera.model_validate({"name": "probe", "url": url, "stream": options.stream})
        try:
            seen = self._threads.run(partial(probe, camera), DEADLINE_S)
        except TimeoutError:
            raise SourceUnreachable(f"gives no picture within {DEADLINE_S:g} s") from None
        except SourceError as error:
            raise type(error)(redact(error)) from None
        width, height = seen.size
        wide = min(PICTURE_PX, width) // 2 * 2
        small = written(from_i420(seen.picture), wide, round(height * wide / width / 2) * 2)
        picture = b64encode(encode_jpeg(full_range(small))).decode()
        return TriedUrl(seen.codec, width, height, seen.fps, seen.decode_errors, picture)
