"""What the console is told: its database, where the supervisor's HTTP port is, and links to recordings."""

import argparse
import os
import ssl
import sys
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from urllib.parse import urlsplit

from sightline.config import Config, load_config
from sightline.config.groups import HttpOptions
from sightline.config.recording_options import RecordingOptions
from sightline.supervisor.control_socket import socket_folder
from sightline.supervisor.http.own_programs import KEY_FILE, KEY_HEADER, own_tls

URL_VARIABLE = "SIGHTLINE_DATABASE_URL"
_DEFAULT_URL = "sqlite:///sightline.db"


@dataclass(frozen=True, slots=True)
class SupervisorPort:
    """Where the supervisor's HTTP port is, and by what it knows this program."""

    host: str
    port: int
    certificate: Path | None  # its own; None: no TLS
    folder: Path  # of its commands: the key of this user's own programs is there

    @property
    def netloc(self) -> str:
        """HOST:PORT."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def url(self) -> str:
        """Without a path."""
        return f"{'https' if self.certificate else 'http'}://{self.netloc}"

    @property
    def tls(self) -> ssl.SSLContext | None:
        """What is needed to connect; made anew each time, since certificates are replaced."""
        return own_tls(self.certificate)

    def on_behalf_of(self, address: str, *, secure: bool) -> dict[str, str]:
        """Headers that say for whom it is asked; they are believed for the key, or for our own address."""
        headers = {"x-forwarded-for": address, "x-forwarded-proto": "https" if secure else "http"}
        with suppress(OSError):  # on another machine, or another user's
            headers[KEY_HEADER] = (self.folder / KEY_FILE).read_text()
        return headers


@dataclass(frozen=True, slots=True)
class ConsoleOptions:
    """What the console is told."""

    database_url: str
    recording: RecordingOptions  # links from events to recordings
    supervisor: SupervisorPort


def console_options() -> ConsoleOptions:
    """As the environment (the database alone) and the configuration say; read anew when the file changes.

    The file is the one of ``--config FILE``, else ``config.yml`` here, else there is none.

    Raises:
        ConfigError: the configuration cannot be read.
    """
    parser = argparse.ArgumentParser(prog="sightline console", exit_on_error=False)
    parser.add_argument("--config", "-c", type=Path)
    named: Path | None = parser.parse_known_args(sys.argv[1:])[0].config
    path = (named or Path("config.yml")).absolute()
    with suppress(OSError):
        return _options_of(path, path.stat().st_mtime_ns, os.environ.get(URL_VARIABLE))
    return _options_of(path if named else None, 0, os.environ.get(URL_VARIABLE))


@lru_cache(maxsize=8)
def _options_of(path: Path | None, changed_ns: int, url: str | None) -> ConsoleOptions:
    del changed_ns  # only tells one content of the file from the next
    options = Config() if path is None else load_config(path).options
    own = _DEFAULT_URL if path is None else options.database.url.get_secret_value()
    port = port_of(options.http, socket_folder(options.database))
    return ConsoleOptions(url or own, options.recording, port)


def port_of(options: HttpOptions, folder: Path) -> SupervisorPort:
    """The HTTP port of the supervisor with these options.

    Args:
        options: ``http`` of its configuration.
        folder: of its commands.
    """
    parts = urlsplit(options.url)
    return SupervisorPort(parts.hostname or "", options.port, options.tls_cert, folder)
