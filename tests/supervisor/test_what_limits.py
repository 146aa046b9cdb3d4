"""The bottleneck in one sentence: of constructed states, and of what the watchers make of figures."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from sightline.entities import CameraState, CameraStatus, Event, EventKind
from sightline.store.spooled_store import WriterHealth
from sightline.supervisor.bottlenecks import Bottlenecks, Cause, Notice
from sightline.supervisor.machine_watch import DiskRoom
from sightline.supervisor.sinks import SinkHealth
from sightline.supervisor.troubles import Troubles, signs_of
from sightline.supervisor.what_limits import Limit, Limiter, SystemState, limits_of
from support.fake_workers import FakeClock

GB = 1_000_000_000
NAMES = ("dock", "gate", "roof", "yard")
WELL = WriterHealth(owns_database=True, write_s=0.004, oldest_age_s=0.6, last_success_time=1000.0)
ROOM = DiskRoom(("clips",), "/clips", 60 * GB, 100 * GB)


def status(name: str, state: CameraState = CameraState.ONLINE, **figures: Any) -> CameraStatus:
    known: dict[str, Any] = {"fps": 5.0, "due_fps": 5.0, "model_version": "m-1"}
    return CameraStatus(name, state, figures.pop("message", ""), 1000.0, **{**known, **figures})


def system(**others: Any) -> SystemState:
    """Four cameras that are well, and whatever is not; ``of_NAME``: that camera's status."""
    statuses = [others.pop(f"of_{name}", status(name)) for name in NAMES]
    return SystemState(statuses, **{"writer": WELL, "disks": (ROOM,), **others})


def notice(cause: Cause, *cameras: str) -> tuple[Notice, ...]:
    return (Notice(cause, f"{cause}: the figures", 900.0, cameras),)


def trouble(kind: EventKind, source: str = "", place: str = "", **values: Any) -> tuple[Event, ...]:
    return (Event(source, kind, place, 0, "", 900.0, 905.0, first_time=900.0, **values),)


def offline(name: str, state: CameraState = CameraState.OFFLINE) -> dict[str, Any]:
    return {f"of_{name}": status(name, state, message=f"{name} is away")}


AWAY = trouble(EventKind.CAMERA_OFFLINE, "yard")
FULL = DiskRoom(("clips", "the database"), "/data", 3_000_000, 100 * GB)
LOW = replace(ROOM, free_bytes=GB // 2)
SPOOLING = replace(WELL, state="spooling", database_away=True, spooled_records=900, last_error="locked")


@pytest.mark.parametrize(
    ("state", "limiter", "text", "remedy"),
    [
        (
            system(notices=notice(Cause.DETECTOR, "dock", "gate", "roof", "yard")),
            Limiter.DETECTOR,
            "All 4 cameras are analysed too seldom: the detector is busy all of the time.",
            "fewer pictures a second",
        ),
        (
            system(notices=notice(Cause.DECODER, "dock", "gate")),
            Limiter.DECODER,
            "2 of 4 cameras (dock, gate) are behind: reading the video takes more of the processor",
            "more cores",
        ),
        (
            system(notices=notice(Cause.WORKER, *NAMES)),
            Limiter.WORKER,
            "All 4 cameras are analysed too seldom: the processor of this machine is too slow.",
            "more cores",
        ),
        (
            system(notices=notice(Cause.BURSTS, "yard")),
            Limiter.BURSTS,
            "Camera yard is analysed with gaps: the pictures come in bursts, so the network",
            "network between camera and machine",
        ),
        (
            system(**offline("yard"), troubles=AWAY),
            Limiter.CAMERA,
            "Camera yard is not answering.",
            "power, cable and network",
        ),
        (
            system(**offline("yard", CameraState.UNAUTHORIZED), troubles=AWAY),
            Limiter.CAMERA,
            "Camera yard is refusing the password.",
            "password anew",
        ),
        (
            system(**offline("yard", CameraState.MISCONFIGURED)),
            Limiter.CAMERA,
            "Camera yard is not running: its entry in the configuration has a mistake.",
            "Correct it",
        ),
        (
            system(notices=notice(Cause.CAMERA, "yard")),
            Limiter.RATE,
            "Camera yard is analysed less often than asked for",
            "in the camera's own settings",
        ),
        (
            system(notices=notice(Cause.TRITON, *NAMES)),
            Limiter.TRITON,
            "All 4 cameras are not analysed: the detector does not answer.",
            "Start it",
        ),
        (
            system(troubles=trouble(EventKind.VIEW_MOVED, "gate")),
            Limiter.VIEW,
            "Camera gate is turned away from what it was set up to see; this time is not counted.",
            "Turn it back",
        ),
        (
            system(writer=replace(WELL, write_s=3.2, oldest_age_s=4.0)),
            Limiter.DATABASE_SLOW,
            "The database is slow: results are written 4 s late.",
            "what else uses the database",
        ),
        (
            system(writer=SPOOLING, troubles=trouble(EventKind.DATABASE_AWAY)),
            Limiter.DATABASE_AWAY,
            "The database does not answer; results wait on this machine's disk.",
            "whether the database runs",
        ),
        (
            system(writer=replace(SPOOLING, last_error="database or disk is full", spool_used=0.4)),
            Limiter.DISK_FULL,
            "The database is full; results wait on this machine's disk, of whose room for them 40% is used.",
            "Make room on the database's disk",
        ),
        (
            system(writer=replace(WELL, state="spooling", spooled_records=900, oldest_age_s=60.0)),
            Limiter.DATABASE_SLOW,
            "The database is back, and 900 results that waited are being written.",
            "ends by itself",
        ),
        (
            system(writer=replace(SPOOLING, state="memory", alarm=True)),
            Limiter.RESULTS_LOST,
            "Results are being lost, or soon will be: neither the database nor the disk takes them.",
            "Make room on the disk",
        ),
        (
            system(troubles=trouble(EventKind.DELIVERY_FAILED, place="mqtt")),
            Limiter.DELIVERY,
            "“mqtt” takes no messages; what it is to get waits.",
            "whether the other side runs",
        ),
        (
            system(troubles=trouble(EventKind.UPLOAD_FAILED, place="uploads", value=3.0)),
            Limiter.DELIVERY,
            "“uploads” has refused 3 clips for good.",
            "whether the other side runs",
        ),
        (
            system(troubles=trouble(EventKind.DELIVERY_FAILED, place="clip_retention")),
            Limiter.CLIPS,
            "Old clips cannot be deleted, so their disk fills.",
            "folder of clips",
        ),
        (
            system(disks=(FULL,), troubles=trouble(EventKind.CLIPS_FAILED, "gate")),
            Limiter.DISK_FULL,
            "The disk of clips and the database is full: 0.0 of 100 GB are free.",
            "clips for fewer days",
        ),
        (
            system(troubles=trouble(EventKind.CLIPS_FAILED, "gate")),
            Limiter.CLIPS,
            "Clips of gate cannot be written.",
            "may be written",
        ),
        (system(disks=(LOW,)), Limiter.DISK_LOW, "The disk of clips is nearly full: 0.5 of 100 GB", "room"),
    ],
    ids=lambda value: str(value) if isinstance(value, Limiter) else "",
)
def test_the_bottleneck_is_named_with_what_to_do(
    state: SystemState, limiter: Limiter, text: str, remedy: str
) -> None:
    first = limits_of(state)[0]
    assert first.limiter is limiter
    assert first.text.startswith(text)
    assert first.text.endswith(".")
    assert remedy in first.remedy


@pytest.mark.parametrize(
    "state",
    [
        system(),
        SystemState([]),
        SystemState([status("gate")]),  # as it is told to who sees some cameras
        system(of_yard=status("yard", CameraState.STOPPED, fps=0.0)),
        system(of_yard=status("yard", CameraState.CONNECTING, fps=0.0)),
        system(of_yard=status("yard", CameraState.OFFLINE)),  # for a moment: no trouble yet
        system(writer=replace(WELL, pending_records=500)),
        system(disks=(replace(ROOM, free_bytes=2 * GB),)),
        system(disks=(DiskRoom(("clips",), "/", 200_000_000, 4 * GB),)),  # a small disk, half empty
    ],
)
def test_where_nothing_limits_nothing_is_named(state: SystemState) -> None:
    assert limits_of(state) == []


def test_what_may_be_why_others_hold_stands_first_and_the_others_follow() -> None:
    troubles = (*AWAY, *trouble(EventKind.DELIVERY_FAILED, place="kafka"))
    notices = (*notice(Cause.DECODER, "dock", "gate"), *notice(Cause.DETECTOR, "roof"))
    state = system(**offline("yard"), troubles=troubles, notices=notices, disks=(LOW,), writer=SPOOLING)
    assert [limit.limiter for limit in limits_of(state)] == [
        Limiter.DATABASE_AWAY,
        Limiter.DECODER,  # it holds more cameras back
        Limiter.DETECTOR,
        Limiter.CAMERA,
        Limiter.DELIVERY,
        Limiter.DISK_LOW,
    ]


def test_cameras_that_are_all_away_point_to_what_they_share() -> None:
    away = [trouble(EventKind.CAMERA_OFFLINE, name)[0] for name in NAMES]
    states = {key: value for name in NAMES for key, value in offline(name).items()}
    [limit] = limits_of(system(**states, troubles=away))
    assert (limit.text, limit.since) == ("All 4 cameras are not answering.", 900.0)
    assert "share" in limit.remedy
    assert "gate is away" in limit.detail


def test_of_cameras_that_somebody_does_not_see_nothing_is_told() -> None:
    state = SystemState([status("gate")], notice(Cause.DETECTOR, "gate", "yard"))
    [limit] = limits_of(state)
    assert limit == Limit(
        Limiter.DETECTOR,
        "Camera gate is analysed too seldom: the detector is busy all of the time.",
        limit.remedy,
        900.0,
        ("gate",),
        "",
    )
    assert limits_of(SystemState([status("gate")], notice(Cause.DETECTOR, "yard"))) == []


def test_no_secret_is_told() -> None:
    camera = status("yard", CameraState.OFFLINE, message="rtsp://admin:hunter2@10.0.0.9 is silent")
    writer = replace(SPOOLING, last_error="postgresql://u:hunter2@db/x refused")
    limits = limits_of(system(of_yard=camera, troubles=AWAY, writer=writer))
    assert [limit.limiter for limit in limits] == [Limiter.DATABASE_AWAY, Limiter.CAMERA]
    assert "hunter2" not in str(limits)


def test_every_cause_and_every_state_of_a_camera_that_is_away_has_words() -> None:
    for cause in Cause:
        assert limits_of(system(notices=notice(cause, "gate")))
    for state in (CameraState.NOT_FOUND, CameraState.UNUSABLE):
        assert limits_of(system(**offline("yard", state), troubles=AWAY))
    kinds = (EventKind.VIEW_COVERED, EventKind.VIEW_FROZEN, EventKind.VIEW_DEFOCUSED, EventKind.OUTPUT_FAILED)
    for kind in kinds:
        assert limits_of(system(troubles=trouble(kind, "gate")))
    for writer_state in ("refused", "lost", "stopped"):
        assert limits_of(system(writer=replace(WELL, state=writer_state)))


# -- as the program has it: figures, what the watchers make of them, and the sentence -----------------------

#: Figures of a status, and what they come to; tests/system does the same with a real program
#: (test_limits_named.py, test_overload.py).
QUICK = {"decode": {"mean": 3.4}, "infer": {"mean": 61.0}}
FIGURES: tuple[tuple[dict[str, Any], Limiter | None], ...] = (
    ({"fps": 5.0, "due_fps": 5.0, "decoder_busy": 0.03, "worker_busy": 0.11, "stages_ms": QUICK}, None),
    (
        {
            "fps": 1.9,
            "due_fps": 5.0,
            "decoder_busy": 0.06,
            "worker_busy": 0.2,
            "stages_ms": {"decode": {"mean": 5.0}, "infer": {"mean": 930.0}},
        },
        Limiter.DETECTOR,
    ),
    (
        {
            "fps": 7.2,
            "due_fps": 7.2,
            "asked_fps": 25.0,
            "decoder_busy": 1.0,
            "worker_busy": 0.3,
            "stages_ms": {"decode": {"mean": 130.0}, "infer": {"mean": 40.0}},
        },
        Limiter.DECODER,
    ),
    (
        {"fps": 12.0, "due_fps": 25.0, "decoder_busy": 0.2, "worker_busy": 0.97, "stages_ms": QUICK},
        Limiter.DETECTOR,  # 0.7 frames of each camera are with it at any time
    ),
)


@pytest.mark.parametrize(("figures", "limiter"), FIGURES)
def test_figures_lead_to_the_sentence(figures: dict[str, Any], limiter: Limiter | None) -> None:
    clock = FakeClock()
    bottlenecks, troubles = Bottlenecks(clock), Troubles(clock, clock)
    statuses = [status(name, **figures) for name in NAMES]
    for _ in range(20):
        clock.now += 1
        bottlenecks.look(statuses, "h:1")
        troubles.look(signs_of(statuses, WELL, bottlenecks.notices, ()))
    limits = limits_of(SystemState(statuses, bottlenecks.notices, troubles.lasting, WELL, (ROOM,)))
    assert [limit.limiter for limit in limits] == ([] if limiter is None else [limiter])


def test_a_sink_and_a_camera_that_are_away_are_named_once_that_has_lasted() -> None:
    clock = FakeClock()
    troubles = Troubles(clock, clock)
    dead = SinkHealth("mqtt", False, 0, 9, 0, "refused", trouble=EventKind.DELIVERY_FAILED)
    statuses = [status("gate"), status("yard", CameraState.OFFLINE)]
    seen: dict[int, list[Limiter]] = {}
    for second in range(70):
        clock.now += 1
        troubles.look(signs_of(statuses, WELL, (), [dead]))
        seen[second] = [
            limit.limiter for limit in limits_of(SystemState(statuses, (), troubles.lasting, WELL))
        ]
    assert seen[5] == []
    assert seen[20] == [Limiter.CAMERA]
    assert seen[69] == [Limiter.CAMERA, Limiter.DELIVERY]
    for _ in range(10):
        clock.now += 1
        troubles.look(signs_of([status("gate"), status("yard")], WELL, (), [replace(dead, ok=True)]))
    assert troubles.lasting == ()
