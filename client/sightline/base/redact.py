"""Credentials out of every text that people or programs may read."""

import re

#: To the last @: a password may hold a slash that should have been written %2F.
_USERINFO = re.compile(r"(?P<scheme>[a-zA-Z][a-zA-Z0-9+.-]*://)[^\s'\"]*@")
_SECRET_PARAM = re.compile(
    r"(?i)(?P<name>[?&;](?:pass(?:word|wd)?|pwd|token|auth|key|secret|user(?:name)?)=)[^&;\s'\"]*"
)


def redact(text: object) -> str:
    """Replace user info and secret query values of every URL in ``text`` by ``***``.

    >>> redact("rtsp://admin:p@ss@10.0.0.9/live?token=abc failed")
    'rtsp://***@10.0.0.9/live?token=*** failed'
    """
    masked = _USERINFO.sub(r"\g<scheme>***@", str(text))
    return _SECRET_PARAM.sub(r"\g<name>***", masked)
