"""Credentials out of every text that people or programs may read, and what steers how it is shown."""

import re
from collections.abc import Iterable

MAX_OUTSIDE = 200  # characters of what another program says that are shown
#: In brackets of an expression: what breaks a line or turns its direction, and control characters. Marks that
#: texts in right-to-left scripts need, and joiners, are none of them.
STEERING = r"\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069"

#: Up to the last '@' of the host's part; where it has none, a slash, '?' or '#' may stand in a password.
#: That one is bounded, so that no text takes long.
_USERINFO = re.compile(
    r"(?P<scheme>[a-zA-Z][a-zA-Z0-9+.-]{0,20}://)(?:[^/\s?#]*@|[^/\s?#:]{0,200}:[^\s@]{0,500}@)"
)
_BREAKS = re.compile(r"\r\n|[\r\v\f\x85\u2028\u2029]")
_STEERS = re.compile(rf"(?![\t\n])[{STEERING}]")
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


def harmless(text: object) -> str:
    """``text`` without control characters and overrides of its direction, which steer how it is shown.

    Text of any script stays as it is, as do tabs and line breaks, of which there is one kind then.

    >>> harmless("seen by \\u202ereganam, \\x1b[2J\\r\\nall is well")
    'seen by reganam, [2J\\nall is well'
    """
    return _STEERS.sub("", _BREAKS.sub("\n", str(text)))


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
