"""The run behind ``sightline selftest``: the parts of production play cameras whose truth is known."""

import argparse
import contextlib
import json
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import Any

from sightline.base.signals import stop_on_signals
from sightline.errors import ServerError
from sightline.serving.server import TritonServer
from sightline.simulation import demo
from sightline.simulation.rtsp_server import RtspServer, player
from sightline.simulation.scenes.scene_places import DETECT, camera_places
from sightline.simulation.scenes.spec import SCENES, SceneSpec
from sightline.simulation.selftest import ground_truth
from sightline.simulation.selftest.alert_listener import listening
from sightline.simulation.selftest.box_scores import TRACKEVAL_MISSING, identity_is_measured
from sightline.simulation.selftest.evidence import Evidence, gather
from sightline.simulation.selftest.figures import Scoreboard, failures, judge, table, thresholds
from sightline.simulation.selftest.ground_truth import BEST_CAMERA, Interrupted, SimulatedCamera, prepare
from sightline.simulation.stack import SightlineProcess, progress

#: From a player's start to its first frame, so that its client is ready for it.
LEAD_S = 2.0
START_S = 180.0  # long enough for an overloaded machine
SETTLE_S = 2.0  # after the last frame, until what it brought has been told
DAY_S = 86_400  # one window for the whole run: a track is counted once
EXIT_BELOW, EXIT_INTERRUPTED = 3, 130

say = progress("selftest")


def run_selftest(arguments: argparse.Namespace) -> int:
    """Prepare, play, judge, print; 0 when every threshold is kept, 3 when not."""
    try:
        bounds = thresholds(arguments.require)
    except ValueError as error:
        raise ServerError(f"--require: {error}") from error
    if bounds.keys() & {"idf1", "hota"} and not identity_is_measured():
        raise ServerError(f"{TRACKEVAL_MISSING}, or give --require idf1= --require hota= to do without")
    stop = stop_on_signals()
    started_s = time.monotonic()
    try:
        scoreboard = _run(arguments, stop)
    except Interrupted:
        say("stopped; nothing is left running")
        return EXIT_INTERRUPTED
    sys.stdout.write(table(scoreboard, bounds) + "\n")
    failed = failures(scoreboard, bounds)
    if arguments.json:
        names = ("scene", "seeds", "fps", "length", "light", "weather", "people", "camera")
        options = {name: getattr(arguments, name) for name in names}
        record = scoreboard.record() | {"options": options, "failed": failed}
        arguments.json.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    took_s = time.monotonic() - started_s
    say(f"{'below what is wanted: ' + ', '.join(failed) if failed else 'passed'} ({took_s:.0f} s)")
    return EXIT_BELOW if failed else 0


def _run(arguments: argparse.Namespace, stop: Event) -> Scoreboard:
    folder: Path = arguments.folder.resolve()
    cameras = []
    for scene in SCENES if arguments.scene == "all" else (arguments.scene,):
        viewpoint = BEST_CAMERA[scene] if arguments.camera is None else arguments.camera
        for seed in arguments.seeds:
            conditions = arguments.light, arguments.weather, viewpoint
            spec = SceneSpec(scene, seed, *conditions, people=arguments.people)
            cameras.append(SimulatedCamera(spec, arguments.fps, arguments.length))
    prepare(cameras, folder / "videos", say, stop=stop)
    if arguments.triton_url:
        return judge(run_and_collect(cameras, folder, arguments.triton_url, arguments.database_url, stop))
    model = arguments.model or demo.bundled_model()
    with TritonServer(demo.prepare_model(model, folder), log_path=folder / "triton.log") as triton:
        say(f"Triton serves {model.name}")
        return judge(run_and_collect(cameras, folder, triton.grpc_url, arguments.database_url, stop))


@dataclass(frozen=True, slots=True)
class Play:
    """What a run does differently from the self-test's."""

    #: Further sections of the configuration; without ``alerts`` every event is told to a webhook of ours.
    sections: Mapping[str, Any] = field(default_factory=dict)
    places: Callable[[SceneSpec], Mapping[str, Any]] = (
        camera_places  # ``rules`` of a camera that sees a scene
    )
    length_s: float | None = None  # each video is played over and over for so long; None: once


_AS_USUAL = Play()


def run_and_collect(
    cameras: Sequence[SimulatedCamera],
    folder: Path,
    triton_url: str,
    database_url: str | None,
    stop: Event,
    play: Play = _AS_USUAL,
) -> list[tuple[str, ground_truth.GroundTruth, Evidence]]:
    """Play prepared cameras, all at the same time, through a running Triton (host:port of gRPC).

    Videos and truths are in ``videos`` of the folder. Its folder ``run`` is emptied, for the rows of an
    earlier run must not be counted, and gets configuration, database, logs and kept tracks. The database must
    be empty; None for SQLite in the folder. Returned are name, truth and evidence of each.
    ``ServerError``: a process of the path did not start, or ended. ``Interrupted``: ``stop`` was set.
    """
    run, videos = folder.resolve() / "run", folder / "videos"
    if run.is_dir():
        shutil.rmtree(run)
    run.mkdir(parents=True)
    say(f"playing {len(cameras)} cameras: {', '.join(camera.name for camera in cameras)}")
    options: dict[str, Any] = {
        "count": {"window_s": DAY_S},
        "track_log": {"folder": str(run / "tracks"), "time_code": True},
        "detect": DETECT,
        **play.sections,
    }
    with contextlib.ExitStack() as stack:
        listener, servers, entries = stack.enter_context(listening()), [], {}
        options.setdefault("alerts", listener.options)
        for camera in cameras:  # each plays its video from its first client's connection on
            once, began = ["--once"] if play.length_s is None else [], run / f"{camera.name}.began"
            feed = player(camera.video(videos), *once, "--began", str(began), "--lead", str(LEAD_S))
            servers.append(stack.enter_context(RtspServer({camera.name: feed})))
            entries[camera.name] = {"url": servers[-1].url(camera.name), "rules": play.places(camera.spec)}
        sightline = SightlineProcess(
            run, entries, triton={"url": triton_url}, database_url=database_url, options=options
        )
        stack.enter_context(sightline)
        length_s = play.length_s or max(camera.length_s for camera in cameras)
        began_s = said_s = time.monotonic()
        while any(server.running for server in servers):
            if stop.wait(0.2):
                raise Interrupted
            sightline.check()
            waiting = [camera.name for camera in cameras if not (run / f"{camera.name}.began").is_file()]
            now = time.monotonic()
            if waiting and now - began_s > START_S:
                text = f"no client has opened {', '.join(sorted(waiting))}; see {sightline.log_path}"
                raise ServerError(text)
            if now - began_s > START_S + length_s + 60:
                raise ServerError(f"a camera did not end within {length_s + 60:.0f} s of its start")
            if play.length_s is not None and not waiting and now - began_s > LEAD_S + length_s:
                for server in servers:
                    server.stop()
                stop.wait(SETTLE_S)
            if now - said_s > 10:
                said_s = now
                gone = f"{now - began_s:.0f} of about {length_s + 6:.0f} s"
                say(f"{len(cameras) - len(waiting)} of {len(cameras)} cameras play; {gone}")
    say("judging")
    told, url = listener.times, sightline.database_url
    return [
        (camera.name, ground_truth.load(camera.truth(videos)), gather(camera, run, url, told))
        for camera in cameras
    ]
