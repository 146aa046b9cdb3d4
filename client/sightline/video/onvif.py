"""The streams that a camera offers, as it tells by ONVIF: four small SOAP requests.

Profile S, ``media`` version 1, signed by WS-UsernameToken; written by its documents and tried with a
simulated camera only. Whatever a camera answers, nobody but itself is asked.
"""

import base64
import hashlib
import os
from datetime import UTC, datetime, timedelta
from urllib.parse import unquote, urlsplit, urlunsplit
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from sightline.base.http_request import send_request

PORTS = (80, 8000, 8080, 2020, 8899)  # one after the other
REQUEST_S, FIND_S = 3.0, 1.0
MAX_ANSWER = 262_144
MAX_PROFILES = 6
_WSS = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss"
_DEVICE, _MEDIA, _SCHEMA = (
    f"http://www.onvif.org/ver10/{name}" for name in ("device/wsdl", "media/wsdl", "schema")
)


def onvif_streams(url: str) -> list[str]:
    """RTSP URLs of a camera's media profiles, with the credentials of the URL that is known of it.

    None where the camera does not speak ONVIF, or not to these credentials.
    """
    parts = urlsplit(url)
    start = parts.netloc.removesuffix(f":{parts.port}")
    found: dict[str, None] = {}
    try:
        camera = _Camera(parts.hostname or "", unquote(parts.username or ""), unquote(parts.password or ""))
        for place in map(urlsplit, camera.stream_places()):
            if place.scheme == parts.scheme:  # never less safe than that; and at the host that is known
                port = f":{place.port}" if place.port else ""
                found[urlunsplit((parts.scheme, f"{start}{port}", place.path, place.query, ""))] = None
    except (OSError, ValueError, ElementTree.ParseError):  # it need not tell any; the URL that is known stays
        return []
    return list(found)


class _Camera:
    """One that speaks ONVIF. OSError, ValueError and ParseError: it does not, or not to us."""

    def __init__(self, host: str, user: str, password: str) -> None:
        self._host = f"[{host}]" if ":" in host else host
        self._user, self._password = user, password
        self._ahead = timedelta()  # its clock
        self._port, self._device = 0, "/onvif/device_service"

    def stream_places(self) -> list[str]:
        """The URLs that it tells."""
        self._find()
        what = f'<GetCapabilities xmlns="{_DEVICE}"><Category>Media</Category></GetCapabilities>'
        media = urlsplit(self._ask(self._device, what).findtext(".//{*}Media/{*}XAddr") or "")
        self._port = media.port or self._port
        path = media.path or "/onvif/Media"
        profiles = self._ask(path, f'<GetProfiles xmlns="{_MEDIA}"/>').findall(".//{*}Profiles")
        setup = (
            f'<StreamSetup><Stream xmlns="{_SCHEMA}">RTP-Unicast</Stream>'
            f'<Transport xmlns="{_SCHEMA}"><Protocol>RTSP</Protocol></Transport></StreamSetup>'
        )
        places = []
        for profile in profiles[:MAX_PROFILES]:
            token = f"<ProfileToken>{escape(profile.get('token', ''))}</ProfileToken>"
            answer = self._ask(path, f'<GetStreamUri xmlns="{_MEDIA}">{setup}{token}</GetStreamUri>')
            places.append((answer.findtext(".//{*}Uri") or "").strip())
        return places

    def _find(self) -> None:
        """Its port, and its clock: what is signed by another time is refused."""
        what = f'<GetSystemDateAndTime xmlns="{_DEVICE}"/>'
        for self._port in PORTS:
            try:
                answer = self._ask(self._device, what, FIND_S, signed=False)
                break
            except (OSError, ElementTree.ParseError):  # the next one
                continue
        else:
            raise OSError("no ONVIF")
        if (there := answer.find(".//{*}UTCDateTime")) is not None:
            names = ("Year", "Month", "Day", "Hour", "Minute", "Second")
            numbers = [int(there.findtext(f".//{{*}}{name}") or 0) for name in names]
            year, month, day, hour, minute, second = numbers
            self._ahead = datetime(year, month, day, hour, minute, second, tzinfo=UTC) - datetime.now(UTC)

    def _ask(
        self, path: str, what: str, timeout_s: float = REQUEST_S, *, signed: bool = True
    ) -> ElementTree.Element:
        head = self._signature() if signed and self._user else ""
        body = (
            '<?xml version="1.0" encoding="utf-8"?>'
            '<s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope">'
            f"<s:Header>{head}</s:Header><s:Body>{what}</s:Body></s:Envelope>"
        )
        headers = {"Content-Type": "application/soap+xml; charset=utf-8"}
        answer = send_request(
            f"http://{self._host}:{self._port}{path}",
            body.encode(),
            headers,
            timeout_s=timeout_s,
            max_answer=MAX_ANSWER,
        )
        if b"<!" in answer:
            raise ValueError("an answer that defines entities")
        return ElementTree.fromstring(answer)  # noqa: S314  without entities, and bounded

    def _signature(self) -> str:
        created = (datetime.now(UTC) + self._ahead).strftime("%Y-%m-%dT%H:%M:%SZ")
        nonce = os.urandom(16)
        digest = hashlib.sha1(nonce + created.encode() + self._password.encode()).digest()  # noqa: S324  its way
        return (
            f'<Security xmlns="{_WSS}-wssecurity-secext-1.0.xsd" s:mustUnderstand="1"><UsernameToken>'
            f"<Username>{escape(self._user)}</Username>"
            f'<Password Type="{_WSS}-username-token-profile-1.0#PasswordDigest">'
            f"{base64.b64encode(digest).decode()}</Password>"
            f'<Nonce EncodingType="{_WSS}-soap-message-security-1.0#Base64Binary">'
            f"{base64.b64encode(nonce).decode()}</Nonce>"
            f'<Created xmlns="{_WSS}-wssecurity-utility-1.0.xsd">{created}</Created>'
            "</UsernameToken></Security>"
        )
