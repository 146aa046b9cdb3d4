"""Where cameras of the big makers have their other streams: addresses that differ in a word or a number.

From the makers' documents; only simulated cameras have been asked.
"""

import re
from urllib.parse import urlsplit

#: By maker, what a path with its query is like, and what others may stand instead.
_PATTERNS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    (
        "Hikvision",
        r"(.*/Streaming/Channels/\d*?)0[1-9](/?(?:\?.*)?)",
        (r"\g<1>02\2", r"\g<1>01\2", r"\g<1>03\2"),
    ),
    ("Hikvision", r"(.*/ch\d+/)(?:main|sub)(/av_stream.*)", (r"\1sub\2", r"\1main\2")),
    ("Dahua", r"(.*[?&]subtype=)\d(.*)", (r"\g<1>1\2", r"\g<1>0\2", r"\g<1>2\2")),
    ("Reolink", r"(/(?:h26[45])?Preview_\d+_)(?:main|sub)(.*)", (r"\1sub\2", r"\1main\2")),
    ("Reolink", r"/h265(Preview_\d+_)main(.*)", (r"/h264\1sub\2",)),
    ("Reolink", r"/h264(Preview_\d+_)sub(.*)", (r"/h265\1main\2",)),
    (
        "Axis",
        r"(/axis-media/media\.amp)(?:\?(?!.*resolution=).*)?",
        (r"\1?resolution=640x360", r"\1?resolution=640x480"),
    ),
    ("Axis", r"(/axis-media/media\.amp)\?.*resolution=.*", (r"\1",)),
    ("UniFi", r"(/s)[0-2]", (r"\g<1>2", r"\g<1>1", r"\g<1>0")),
    ("UniFi", r"(/\w{12,}_)[0-2]", (r"\g<1>2", r"\g<1>1", r"\g<1>0")),
    ("TP-Link", r"(/stream)[12]", (r"\g<1>2", r"\g<1>1")),
    ("Uniview", r"(/media/video)[1-3]", (r"\g<1>2", r"\g<1>1")),
)


def other_streams(url: str) -> tuple[str, list[str]]:
    """The maker, and URLs that other streams of the same camera have there; "" and none: none is known."""
    parts = urlsplit(url)
    place = f"{parts.path}?{parts.query}" if parts.query else parts.path
    maker, found = "", dict[str, None]()
    for name, pattern, others in _PATTERNS:
        if match := re.fullmatch(pattern, place, re.I):
            maker = name
            found |= dict.fromkeys(match.expand(other) for other in others)
    start = f"{parts.scheme}://{parts.netloc}"
    return maker, [start + other for other in found if other.lower() != place.lower()]
