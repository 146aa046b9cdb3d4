"""The program is killed (-9) again and again while its configuration is saved by the API."""

from __future__ import annotations

import http.client
import json
import random
import re
import threading
import time
from contextlib import closing
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from sightline.config.loader import load_config
from sightline.config.secret_text import masked_text
from sightline.config.yaml_text import secrets_folder
from sightline.entities import Role
from sightline.supervisor.config_history import UNSEEN
from support.people import ROOT, People, people_of
from support.saving_program import saving_program
from support.waiting import until

KILLS = 32
WRITTEN = """\
# kept by Anna
retention: {paths_rows: 1000}  # of each camera
cameras:
  gate:  # over the door
    url: rtsp://u:first@10.0.0.1/0
  yard: {url: rtsp://10.0.0.2/}
"""


@dataclass
class Saver:
    """Saves one number after the other in one part of the file, as an engineer does by the API."""

    path: str
    token: str
    sent: int = 0  # the newest that may have been saved
    saved: int = 0  # the newest of which the API has said so
    refused: list[str] = field(default_factory=list)

    def run(self, address: tuple[str, int]) -> None:
        """Until the other side is gone."""
        try:
            while True:
                part = self._ask(address, "GET")[1]
                self.sent += 1
                body = {"value": self.value(part["written"] or {}, self.sent)}
                status, answer = self._ask(address, "PUT", body, part["version"])
                if status == 200:
                    self.saved = self.sent
                elif status != 412:  # else the other one was sooner
                    self.refused.append(f"{status} {answer}")
        except (OSError, http.client.HTTPException, ValueError):
            return

    def value(self, written: dict[str, Any], number: int) -> dict[str, Any]:
        raise NotImplementedError

    def number_in(self, config: Any) -> int:
        raise NotImplementedError

    def _ask(
        self, address: tuple[str, int], method: str, body: Any = None, version: str = ""
    ) -> tuple[int, Any]:
        sent = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        sent |= {"If-Match": version} if version else {}
        with closing(http.client.HTTPConnection(*address, timeout=10)) as connection:
            connection.request(method, self.path, json.dumps(body) if body else None, sent)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())


class CameraSaver(Saver):
    """Another password each time: a secret's file with every save."""

    def value(self, written: dict[str, Any], number: int) -> dict[str, Any]:
        return {**written, "url": f"rtsp://u:secret-{number}@10.0.0.1/{number}"}

    def number_in(self, config: Any) -> int:
        password, number = re.fullmatch(
            r"rtsp://u:(.+)@10\.0\.0\.1/(\d+)", config.cameras["gate"].source_url
        ).groups()  # type: ignore[union-attr]
        assert password == ("first" if number == "0" else f"secret-{number}"), "the secret of this very save"
        return int(number)


class SectionSaver(Saver):
    """One number of a section."""

    def value(self, written: dict[str, Any], number: int) -> dict[str, Any]:
        return {**written, "paths_rows": 1000 + number}

    def number_in(self, config: Any) -> int:
        return int(config.options.retention.paths_rows) - 1000


@pytest.mark.fault(31)
def test_a_kill_while_it_is_saved_leaves_the_configuration_whole(tmp_path: Path) -> None:
    config, url = tmp_path / "config.yml", f"sqlite:///{tmp_path}/people.db"
    config.write_text(WRITTEN)
    config.chmod(0o600)
    chance = random.Random(7)
    with people_of(url) as people:
        token = people.tokens.create("saver", Role.ENGINEER, ROOT, days=1)
        camera = CameraSaver("/api/v1/cameras/gate/config", token)
        section = SectionSaver("/api/v1/config/retention", token)
        for _ in range(KILLS):
            enough = camera.sent + section.sent + chance.randint(1, 8)
            with saving_program(config, url) as (process, address):
                check(config, people, camera, section)
                savers = [threading.Thread(target=saver.run, args=(address,)) for saver in (camera, section)]
                for saver in savers:
                    saver.start()
                # By saves, not by seconds, of which a busy machine makes little.
                until(lambda enough=enough: camera.sent + section.sent >= enough, 30, every_s=0.002)
                time.sleep(chance.uniform(0, 0.06))
                process.kill()
                for saver in savers:
                    saver.join(15)
            check_file(config, camera, section)
        with saving_program(config, url):
            check(config, people, camera, section)
        assert (camera.refused, section.refused) == ([], [])
        assert min(camera.saved, section.saved) > 0


def check_file(config: Path, *savers: Saver) -> None:
    """It is whole: what was saved last, or what was about to be; its secrets are there, its comments too."""
    loaded = load_config(config)
    assert (loaded.problems, oct(config.stat().st_mode & 0o777)) == ((), "0o600")
    for saver in savers:
        number = saver.number_in(loaded)
        assert saver.saved <= number <= saver.sent
        saver.saved = number
    text = config.read_text()
    assert text.startswith("# kept by Anna\n")
    assert "# over the door" in text
    backup = config.with_name("config.yml.bak")
    if backup.exists():
        assert backup.read_text().startswith("# kept by Anna\n")
        assert backup.read_text().endswith("  yard: {url: rtsp://10.0.0.2/}\n")


def check(config: Path, people: People, *savers: Saver) -> None:
    """As the program has begun again: its history leads without a gap to what is in the file."""
    check_file(config, *savers)
    text = config.read_text()
    with people.store.reading() as rows:
        changes = rows.changes(500)[::-1]
    if changes:
        assert changes[-1].after == masked_text(text, str(config))
        assert all(a.after == b.before for a, b in pairwise(changes))
        assert all(change.who in {"token saver", UNSEEN} for change in changes)
        assert "secret-" not in "".join(change.after for change in changes)
    folder = secrets_folder(config)
    names = {path.name for path in folder.iterdir()} if folder.exists() else set()
    assert set(re.findall(r"\{(SIGHTLINE_\w+)\}", text)) <= names
    assert len(names) < KILLS, "what nothing names goes with one of the next saves"
