"""Credentials out of every text that people or programs may read."""

import re
from collections.abc import Iterable

MAX_OUTSIDE = 200  # characters of what another program says that are shown

#: Up to the last '@' of the host's part; where it has none, a slash, '?' or '#' may stand in a password.
#: That one is bounded, so that no text takes long.
_USERINFO = re.compile(
    r"(?P<scheme>[a-zA-Z][a-zA-Z0-9+.-]{0,20}://)(?:[^/\s?#]*@|[^/\s?#:]{0,200}:[^\s@]{0,500}@)"
)
#: Wherever it stands: some cameras have it in the path (/user=admin_password=x).
_SECRET_PARAM = re.compile(
    r"(?i)(?P<name>(?:pass(?:w(?:or)?d)?|pwd|token|auth|key|secret|sig(?:nature)?|user(?:name)?|usr)=)[^&;\s]*"
)


def redact(text: object) -> str:
    """Replace user info and secret query values of every URL in ``text`` by ``***``.

    >>> redact("rtsp://admin:p@ss@10.0.0.9/live?token=abc failed")
    'rtsp://***@10.0.0.9/live?token=*** failed'
    """
    masked = _USERINFO.sub(r"\g<scheme>***@", str(text))
    return _SECRET_PARAM.sub(r"\g<name>***", masked)


def outside_text(text: object, secrets: Iterable[str] = (), limit: int = MAX_OUTSIDE) -> str:
    """What another program says, in one printable line of at most ``limit`` characters, without secrets.

    They are masked before it is cut: the beginning of one would pass for a word.

    >>> outside_text("500 no T0KEN\\r\\n\\x1b[2Jall is well", ["T0KEN"])
    '500 no *** [2Jall is well'
    """
    line = redact("".join(filter(str.isprintable, " ".join(str(text).split()))))
    for secret in secrets:
        line = line.replace(secret, "***")
    return line if len(line) <= limit else f"{line[: limit - 1]}…"
