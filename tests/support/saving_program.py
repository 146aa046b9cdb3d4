"""The part of the program that saves its configuration, in a process that may be killed at any moment."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, cast

from sightline.config.loader import load_config
from sightline.store.read.readonly import Database
from sightline.supervisor.config_history import ConfigHistory
from sightline.supervisor.control import Control
from sightline.supervisor.http.door import Door
from sightline.supervisor.http.site import api_endpoints
from support.front import KEY, known, served_door
from support.people import people_of

_SERVERS = multiprocessing.get_context("forkserver")
# What takes long to import, once for all that follow; where the tests lie is not known there.
_SERVERS.set_forkserver_preload(
    ["argon2", "sightline.supervisor.http.http_server", "sightline.supervisor.http.site"]
)


@contextmanager
def saving_program(config: Path, url: str) -> Iterator[tuple[Any, tuple[str, int]]]:
    """The process, and the address of its HTTP port; killed at the end."""
    ours, theirs = _SERVERS.Pipe()
    process = _SERVERS.Process(target=_serve, args=(config, url, theirs), daemon=True)
    process.start()
    theirs.close()
    try:
        assert ours.poll(30)
        yield process, ours.recv()
    finally:
        process.kill()
        process.join(10)
        ours.close()


def _serve(config: Path, url: str, line: Connection) -> None:
    with people_of(url) as people:
        history = ConfigHistory(people.store)
        control = Control(config, load_config(config), lambda _: None, keep=history.keep)
        history.catch_up(control.shown)
        endpoints = api_endpoints(cast(Any, None), control, {}, Database(url), people.store)
        with served_door(Door(endpoints, known(people), KEY)) as front:
            line.send(front.address)
            line.recv()  # never: until it is killed
