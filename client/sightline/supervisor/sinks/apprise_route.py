"""E-mail, SMS, chat and more: all that Apprise knows."""

import ipaddress
import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sightline.base.extras import require_extra
from sightline.base.http_request import reach_server
from sightline.config.alerts import AlertRoute, Severity
from sightline.errors import ConfigError
from sightline.supervisor.sinks.route import DeliveryRefused, NotTaken, Route, key_of

#: Libraries of Apprise's services.
_TALKATIVE = ("urllib3", "requests", "requests_oauthlib", "oauthlib", "slixmpp", "gntp", "markdown")
#: The reason in a line of Apprise's; a URL that stands before it is left out.
_REASON = re.compile(r"(?:Socket|I/O) Exception: (?:.*\(Caused by )?(.*)", re.DOTALL)
MAX_RECEIPTS = 1000  # notifications of which some targets were told and others not
_HOST_IN_URL = ("jsons", "forms", "xmls")  # services whose URL names the server itself


class Apprise(Route):
    """E-mail, SMS, chat and more, by the library Apprise."""

    def __init__(self, name: str, options: AlertRoute) -> None:
        super().__init__(name, options)
        require_extra("apprise", f"route {name} needs Apprise", "alerts")
        import apprise  # noqa: PLC0415  a second of imports, for those who use it
        from apprise.plugins.base import _delivery_tracker  # noqa: PLC0415

        from sightline.supervisor.sinks import kept_mail  # noqa: PLC0415

        self._types = {
            Severity.INFO: apprise.NotifyType.INFO,
            Severity.WARNING: apprise.NotifyType.WARNING,
            Severity.ERROR: apprise.NotifyType.FAILURE,
            Severity.CRITICAL: apprise.NotifyType.FAILURE,
        }
        self._text_format = apprise.NotifyFormat.TEXT
        self._mail = kept_mail
        self._receipts: dict[str, kept_mail.Receipt] = {}  # by key, oldest first
        self._told = _delivery_tracker  # the set in it has the targets that are skipped
        for library in _TALKATIVE:  # their lines name URLs, and with them tokens; what failed is told by us
            logging.getLogger(library).setLevel(logging.CRITICAL + 1)
        lines = logging.getLogger("apprise")
        lines.setLevel(logging.DEBUG)  # those of the reasons go into its results
        lines.addFilter(_only_reasons)
        lines.propagate = False
        lines.addHandler(logging.NullHandler())
        self._apprise = apprise.Apprise()
        url = options.apprise.get_secret_value() if options.apprise else ""
        if not self._apprise.add(url):
            cure = "see https://appriseit.com/services/ for those there are"
            raise ConfigError(f"alerts.routes.{name}.apprise", f"is no URL that Apprise knows; {cure}")
        service: Any
        for service in self._apprise:
            service.socket_connect_timeout = service.socket_read_timeout = options.timeout_s
            if service.secure_protocol == "mailtos":
                service.request_rate_per_sec = 0  # a mail server of one's own takes more than one in 5.5 s
                if service.password and service.secure_mode == "insecure" and not _is_here(service.smtp_host):
                    self.warning = f"sends its password to {service.smtp_host} in clear; write mailtos://"
        self._is_mail = all(service.secure_protocol == "mailtos" for service in self._apprise)

    def send(self, notification: Mapping[str, Any], picture: Path | None = None) -> None:
        """Send one notification; see :meth:`Route.send`. Services that take no files are given the text.

        Of several people each is told once, whatever comes of the others; an address that is refused for
        good is given up.
        """
        key = key_of(notification)
        receipt = self._receipts.setdefault(key, self._mail.Receipt())
        receipt.with_picture, receipt.is_answered = picture is not None, False
        told, of_mail = self._told.set(receipt.told), self._mail.RECEIPT.set(receipt)
        try:
            result = self._apprise.notify(
                body="\n".join(
                    filter(None, (notification["text"], notification["link"], self.recording(notification)))
                ),
                title=notification["title"],
                notify_type=self._types[Severity(notification["severity"])],
                body_format=self._text_format,
                attach=f"file://{quote(str(picture))}" if picture else None,
                log_level=logging.DEBUG,
            )
        finally:
            self._told.reset(told)
            self._mail.RECEIPT.reset(of_mail)
        while len(self._receipts) > MAX_RECEIPTS:
            del self._receipts[next(iter(self._receipts))]
        if not result:
            reasons = dict.fromkeys(entry.message for entry in result.logs())
            problem = "; ".join(reasons) or "the service did not take it"
            raise (NotTaken if receipt.is_answered or not self._is_mail else OSError)(problem)
        if receipt.refused:
            refusals = "; ".join(f"{address}: {words}" for address, words in receipt.refused.items())
            people = len(receipt.served) + len(receipt.refused)
            raise DeliveryRefused(f"{refusals}; {len(receipt.served)} of {people} have it")
        self._receipts.pop(key, None)  # it may have been among the oldest

    def tick(self) -> None:
        """Let go of connections to mail servers that are not used, too."""
        super().tick()
        self._mail.CONNECTIONS.close(self._mail.KEEP_S)

    def close(self) -> None:
        """Close all of them."""
        self._mail.CONNECTIONS.close()

    def reach(self) -> str:
        """Log in to mail servers, connect to others as far as it is known where; see :meth:`Route.reach`."""
        return ", ".join(map(self._reach, self._apprise))

    def _reach(self, service: Any) -> str:
        if hasattr(service, "smtp_host"):
            server = (service.smtp_host, service.port, service.secure_mode, service.user, service.password)
            with self._mail.Controller(*server, service.verify_certificate, service.socket_connect_timeout):
                has = "has logged us in" if service.user else "answers"
            self.close()
            return f"the mail server {service.smtp_host} {has}"
        url = getattr(type(service), "notify_url", "")
        if service.secure_protocol in _HOST_IN_URL:
            port = f":{service.port}" if service.port else ""
            url = f"{'https' if service.secure else 'http'}://{service.host}{port}/"
        if not (isinstance(url, str) and re.match(r"https?://[\w.-]+(?::\d+)?(?:/|$)", url)):
            return f"a URL of {service.service_name}, which was not tried"
        return f"{service.service_name}: {reach_server(url, self.options.timeout_s)}"


def _only_reasons(record: logging.LogRecord) -> bool:
    """Of the lines of the lowest level those that say what went wrong; others hold whole messages."""
    if record.levelno >= logging.WARNING:
        return True
    if not str(record.msg).startswith(("Socket Exception: ", "I/O Exception: ")):
        return False  # before it is put together: it may hold a picture
    reason = _REASON.match(record.getMessage())
    if reason is not None:
        record.msg, record.args = reason[1], ()
    return reason is not None


def _is_here(host: str) -> bool:
    """Whether it is this machine, by its address or as localhost."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
