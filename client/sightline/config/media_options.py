"""``media``: the media server that passes the cameras' own video on to browsers."""

from enum import StrEnum
from typing import Annotated, Self

from pydantic import SecretStr, model_validator
from pydantic_core import PydanticCustomError

from sightline.config.option_group import OptionGroup, matching, restarts

Address = Annotated[
    str,
    matching(r"http://[^/@?#\s]+|unix:/\S+", "must be http://HOST:PORT, without a path, or unix:/PATH"),
]
StunUrl = Annotated[str, matching(r"stuns?:[^\s@]+", "must be stun:HOST:PORT")]
TurnUrl = Annotated[str, matching(r"turns?:[^\s@]+", "must be turn:HOST:PORT, if wanted with ?transport=tcp")]


class MediaServerKind(StrEnum):
    """Which program it is."""

    MEDIAMTX = "mediamtx"
    GO2RTC = "go2rtc"


class TurnOptions(OptionGroup):
    """``media.turn``: a relay for browsers that cannot reach the media server; each gets its own password."""

    urls: tuple[TurnUrl, ...] = restarts(..., "Where browsers find it: turn:HOST:3478.", min_length=1)
    secret: SecretStr = restarts(..., "The secret that it shares with us (coturn: static-auth-secret).")
    valid_s: int = restarts(3600, "A viewer's password opens no relay after this long.", ge=60, le=86_400)


class MediaOptions(OptionGroup):
    """``media``: a media server whose own ports are on loopback or an inner network, for us alone."""

    kind: MediaServerKind = restarts(MediaServerKind.MEDIAMTX, "mediamtx or go2rtc.")
    url: Address | None = restarts(
        None, "http://HOST:PORT of its WHEP (go2rtc: of its API, or unix:/PATH); null: none."
    )
    api_url: Address | None = restarts(None, "MediaMTX: http://HOST:PORT of its API.")
    hls_url: Address | None = restarts(None, "MediaMTX: http://HOST:PORT of its HLS; null: no HLS.")
    stun_urls: tuple[StunUrl, ...] = restarts((), "What tells browsers their own address: stun:HOST:PORT.")
    turn: TurnOptions | None = restarts(None, "A relay for browsers behind NAT; null: none.")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.kind is MediaServerKind.MEDIAMTX and (self.url is None) is not (self.api_url is None):
            raise PydanticCustomError("media", "url and api_url of MediaMTX are given together")
        return self
