"""What to do about errors of the network: by their texts, since of some libraries there is nothing else."""

import re

_NAME = r"not known|name resolution|No address associated|failed to resolve|getaddrinfo"
_TLS = (
    r"wrong.version|record.layer|unexpected.eof|handshake|STARTTLS|(?:PLAINTEXT broker|SSL) listener"
    r"|InvalidMessage|brokers are down"
)
_LOGIN = (
    r"not authori[sz]ed|bad user ?name|authentication|\b53[0458]\b|\b40[137]\b|unauthori[sz]ed"
    r"|InvalidAccessKeyId|SignatureDoesNotMatch|AccessDenied"
)
#: The first pattern that is found says what to do.
_CURES = (
    (_NAME, "the name does not resolve: check how it is written, and the name server"),
    (
        r"certificate required|bad certificate",
        "the other side asks for a certificate of ours, or refuses the one that it has got",
    ),
    (
        r"certificate|unknown ca\b",
        "its certificate is not trusted: check name and authority, and the clock of this machine",
    ),
    (_TLS, "the two sides do not agree on TLS: check the port, and whether TLS is spoken there"),
    (r"connection refused", "nothing listens there: check host and port, and that it runs"),
    (_LOGIN, "check user name and password, and what they may do there"),
    (r"no answer|timed out|no acknowledgement|timeout", "check the address, and firewalls on the way"),
    (r"unreachable|no route", "check the network of this machine"),
    (r"\b30[1278]\b", "a redirect is not followed: write the address that it leads to"),
)
ELSEWHERE = "check the address, and what the other side's log says"


def cure_for(problem: str) -> str:
    """What to do about an error with this text."""
    cures = (cure for pattern, cure in _CURES if re.search(pattern, problem, re.IGNORECASE))
    return next(cures, ELSEWHERE)
