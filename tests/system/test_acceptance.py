"""The main job on real videos, with real weights: skipped where the shared inputs are not there."""

import time
from pathlib import Path

import pytest

from conftest import Postgres
from sightline.serving.server import TritonServer
from sightline.simulation.rtsp_server import RtspServer, copy_at_fps
from support.real_video import NEEDS_SHARED, VIDEO
from support.system import DAY_S, System, leftovers
from support.waiting import until

SECONDS = 139.4
PERSONS = 6  # counted by eye

pytestmark = [
    pytest.mark.long,
    pytest.mark.alone,
    pytest.mark.triton,
    pytest.mark.rtsp,
    NEEDS_SHARED,
]


def test_six_persons_are_six_at_10_and_at_5_frames_a_second(
    tmp_path: Path, yolo_triton: TritonServer, postgres: Postgres, tmp_path_factory: pytest.TempPathFactory
) -> None:
    half = copy_at_fps(VIDEO, 5, tmp_path_factory.mktemp("half"))
    streams = {"sqlite10": VIDEO, "sqlite5": half, "postgres10": VIDEO, "postgres5": half}
    databases = {"sqlite": None, "postgres": postgres.new_database()}
    systems: dict[str, System] = {}

    def of(name: str) -> System:
        return systems[name.rstrip("0123456789")]

    with RtspServer(streams) as server:
        try:
            for kind, url in databases.items():
                cameras = {name: {"url": server.url(name)} for name in streams if name.startswith(kind)}
                folder = tmp_path / kind
                folder.mkdir()
                systems[kind] = System(
                    folder,
                    cameras,
                    triton_url=yolo_triton.grpc_url,
                    database_url=url,
                    count={"window_s": DAY_S, "classes": ["person"]},
                )
                systems[kind].start()
            for name in streams:
                of(name).until_state(name, "online")
            # The last person leaves at 136 s; the next loop brings the first again at 145 s.
            time.sleep(SECONDS - 2)
            frames = {name: of(name).camera(name) for name in streams}
            for system in systems.values():
                system.stop()
        finally:
            for system in systems.values():
                system.__exit__()
    dropped = {
        name: f"{camera['dropped_total']} of {camera['frames_total']}" for name, camera in frames.items()
    }
    counts = {name: of(name).counts(name) for name in streams}
    assert counts == {name: {"person": PERSONS} for name in streams}, f"frames dropped: {dropped}"
    until(lambda: leftovers() == [])
