"""Credentials out of every text that people or programs may read."""

import re

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
