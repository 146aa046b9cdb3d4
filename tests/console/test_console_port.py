"""The console's port: what it does before it serves."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

pytest.importorskip("streamlit", reason="the console's packages are not installed")

from console.console_port import PAGES_FILE

#: In a process of its own, since what is frozen stays so.
STARTS = """
import asyncio, gc, json, sys

sys.path.insert(0, sys.argv[1])
from console.console_port import with_pages


async def start():
    async with with_pages(None):
        watched = len(gc.get_objects())
        kept = gc.get_freeze_count()
    print(json.dumps(["console.pages.overview_page" in sys.modules, watched, kept]))


asyncio.run(start())
"""


def test_pages_are_there_before_the_first_visit_and_are_no_garbage_to_look_through() -> None:
    command = [sys.executable, "-c", STARTS, str(PAGES_FILE.parent)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    has_pages, watched, kept = json.loads(done.stdout)
    assert has_pages
    assert kept > 100_000
    assert watched < kept / 20, "each run of a page would look at them again"
