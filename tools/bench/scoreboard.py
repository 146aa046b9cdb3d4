"""The whole scoreboard: all scenes, lights, weathers and frame rates, and ten seeds of ten minutes.

    python tools/bench/scoreboard.py                              # everything; hours on a small machine
    python tools/bench/scoreboard.py --only rates --load 60       # a part of it, 60 frames a second at a time
    python tools/bench/scoreboard.py --write docs/scoreboard.md   # the page, from what is finished

Each cell is a self-test (``sightline selftest``) whose result is kept in ``--folder``; what is there is not
run again, so it may be stopped at any time. Videos and truth are kept too, unless ``--drop-videos`` is given.
"""

import json
import os
import sys
import threading
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any

from sightline.base.machine import processor
from sightline.base.signals import stop_on_signals
from sightline.errors import SightlineError
from sightline.serving.server import TritonServer
from sightline.simulation import demo
from sightline.simulation.scenes import spec
from sightline.simulation.scenes.spec import LIGHTS, SCENES, WEATHERS, SceneSpec
from sightline.simulation.selftest.figures import LATENCIES, judge
from sightline.simulation.selftest.ground_truth import BEST_CAMERA, Interrupted, SimulatedCamera, prepare
from sightline.simulation.selftest.runner import run_and_collect
from sightline.simulation.stack import progress

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # where the other tools are
from load.reports import markdown_table

CROWDS = (2.0, 4.0)  # so many times as many people as usual
RATES = (5.0, 10.0, 15.0, 30.0)
LONG_FIRST = 21  # of the ten long seeds: nothing was chosen or mended on these
Conditions = tuple[spec.SceneName, spec.LightName, spec.WeatherName, float, float]
#: Scene, light, weather, frames a second and people of each cell of a part, by the part's title.
PARTS: dict[str, tuple[str, list[Conditions]]] = {
    "rates": ("Frame rates, by day", [(one, "day", "clear", fps, 1.0) for one in SCENES for fps in RATES]),
    "weather": (
        "Light and weather, 10 frames a second",
        [
            (one, *sky, 10.0, 1.0)
            for one in SCENES
            for sky in product(LIGHTS, WEATHERS if one == "street" else WEATHERS[:1])
        ],
    ),
    "crowds": (
        "Crowds, by day, 10 frames a second",
        [(one, "day", "clear", 10.0, people) for one in ("street", "shop") for people in CROWDS],
    ),
    "long": (
        "Ten minutes of the street, by day, 10 frames a second",
        [("street", "day", "clear", 10.0, 1.0)],
    ),
}
COLUMNS = {  # of the page: figure -> head, format
    "crossing_recall": ("found", "{:.1%}"),
    "crossing_precision": ("true", "{:.1%}"),
    "crossing_bias": ("bias", "{:+.1%}"),
    "crossing_any_class_wrong": ("wrong, any class", "{:.0f}"),
    "count_error": ("counts", "{:.0%}"),
    "zone_recall": ("zones found", "{:.0%}"),
    "zone_precision": ("zones true", "{:.0%}"),
    "occupancy_mae": ("occupancy", "{:.2f}"),
    "dwell_error_s": ("dwell s", "{:.2f}"),
    "idf1": ("IDF1", "{:.3f}"),
    "hota": ("HOTA", "{:.3f}"),
    "map50": ("mAP50", "{:.3f}"),
    "row_p50_s": ("row p50 s", "{:.2f}"),
    "row_p99_s": ("row p99 s", "{:.2f}"),
    "frames_lost": ("lost", "{:.1%}"),
}

say = progress("scoreboard")


@dataclass(frozen=True, slots=True)
class Cell:
    """One self-test: the same scene for several seeds."""

    part_of: str
    scene: spec.SceneName
    light: spec.LightName
    weather: spec.WeatherName
    fps: float
    people: float
    seeds: tuple[int, ...]
    length_s: float

    @property
    def name(self) -> str:
        """Of its file."""
        kind = f"{self.part_of}-{self.scene}-{self.light}-{self.weather}"
        kind += f"-people{self.people:g}" if self.people != 1 else ""
        return f"{kind}-{self.fps:g}fps-{self.seeds[0]}-{self.seeds[-1]}-{self.length_s:g}s"

    @property
    def cameras(self) -> dict[str, SimulatedCamera]:
        """By name, one for each seed."""
        conditions = self.light, self.weather, BEST_CAMERA[self.scene]
        specs = [SceneSpec(self.scene, seed, *conditions, people=self.people) for seed in self.seeds]
        cameras = [SimulatedCamera(one, self.fps, self.length_s) for one in specs]
        return {camera.name: camera for camera in cameras}


def cells(arguments: Namespace) -> Iterator[Cell]:
    """Everything that the options ask for."""
    few, length_s = [tuple(range(1, 1 + arguments.seeds))], arguments.length
    long = [(seed,) for seed in range(LONG_FIRST, LONG_FIRST + arguments.long_seeds)]
    for part_of in arguments.only or PARTS:
        runs = (long, arguments.long_length) if part_of == "long" else (few, length_s)
        for condition, seeds in product(PARTS[part_of][1], runs[0]):
            yield Cell(part_of, *condition, seeds, runs[1])


def groups(wanted: Sequence[Cell], load: float) -> Iterator[list[Cell]]:
    """Cells that may run at the same time: of one frame rate and length, so many frames a second in all.

    No two of them have a camera in common (a clear day at 10 frames a second is in two tables).
    """
    waiting = list(wanted)
    while waiting:
        group = [waiting.pop(0)]
        for cell in list(waiting):
            alike = (cell.fps, cell.length_s) == (group[0].fps, group[0].length_s)
            taken = {name for chosen in group for name in chosen.cameras}
            due = sum(one.fps * len(one.seeds) for one in [*group, cell])
            if alike and taken.isdisjoint(cell.cameras) and due <= load:
                group.append(cell)
                waiting.remove(cell)
        yield group


def run(arguments: Namespace, stop: threading.Event) -> None:
    """Run what is not finished."""
    folder: Path = arguments.folder.resolve()
    results, videos = folder / "results", folder / "videos"
    results.mkdir(parents=True, exist_ok=True)
    missing = [cell for cell in cells(arguments) if not (results / f"{cell.name}.json").is_file()]
    say(f"{len(missing)} cells are to be run")
    if not missing:
        return
    model = arguments.model or demo.bundled_model()
    with TritonServer(demo.prepare_model(model, folder), log_path=folder / "triton.log") as triton:
        for group in groups(missing, arguments.load):
            say(f"{', '.join(cell.name for cell in group)}")
            cameras = [camera for cell in group for camera in cell.cameras.values()]
            prepare(cameras, videos, say, stop=stop)
            played = run_and_collect(cameras, folder, triton.grpc_url, None, stop)
            for cell in group:
                record = judge([camera for camera in played if camera[0] in cell.cameras]).record()
                now, machine = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC", f"{os.cpu_count()} x {processor()}"
                about = {"cell": cell.name, "date": now, "machine": machine}
                draft = results / f"{cell.name}.part"
                draft.write_text(json.dumps(about | record, indent=1) + "\n")
                draft.replace(results / f"{cell.name}.json")
                names = ("crossing_recall", "crossing_wrong", "idf1", "map50")
                figures = {name: record["figures"][name] for name in names}
                say(f"{cell.name}: {figures}")
            if arguments.drop_videos:
                for camera in cameras:
                    camera.video(videos).unlink(missing_ok=True)


def page(arguments: Namespace) -> str:
    """What is finished, as a page of the documents."""
    paths = {cell: arguments.folder / "results" / f"{cell.name}.json" for cell in cells(arguments)}
    records = {cell: json.loads(path.read_text()) for cell, path in paths.items() if path.is_file()}
    made_by = "`python tools/bench/scoreboard.py` made this page"
    lines = ["# Scoreboard", "", f"{made_by}; what figures mean: [the self-test](selftest.md).", ""]
    if not records:
        return "\n".join([*lines, "Nothing is finished yet.", ""])
    dates, machines = (sorted({r[key] for r in records.values()}) for key in ("date", "machine"))
    lines += [f"{dates[0]} to {dates[-1]}, on {' and '.join(machines)}.", ""]
    places = ", ".join(f"the {scene} from place {place}" for scene, place in BEST_CAMERA.items())
    lines += [f"Seen are {places} ([scenes](scenes.md)).", ""]
    for part_of, (title, _) in PARTS.items():
        chosen = {cell: record for cell, record in records.items() if cell.part_of == part_of}
        if chosen:
            lines += [f"## {title}", "", *(_long_table if part_of == "long" else _table)(chosen)]
    return "\n".join([*lines, *_latencies(records)])


def _latencies(records: Mapping[Cell, dict[str, Any]]) -> list[str]:
    """By kind of event, over the cells that tell it: the median of the p50 and the largest p99."""
    by_kind: dict[str, list[dict[str, float | None]]] = {}
    for record in records.values():
        for kind, latencies in record.get("latencies", {}).items():
            by_kind.setdefault(kind, []).append(latencies)
    rows = []
    for kind, each in sorted(by_kind.items()):
        columns = {
            name: [v for one in each if (v := one[name]) is not None] for name in ("number", *LATENCIES)
        }
        chosen = [(median if "p50" in name else max, columns[name]) for name in LATENCIES]
        times = [f"{choose(values):.2f}" if values else "-" for choose, values in chosen]
        rows.append([kind, f"{sum(columns['number']):.0f}", *times])
    heads = ["kind", "events", *(name.replace("_", " ") for name in LATENCIES)]
    about = (
        "Until an event is certain; from then until its row, and its alert: the median p50, the worst p99."
    )
    return ["## Latency of events", "", about, "", *markdown_table(heads, rows), ""] if rows else []


def _table(chosen: Mapping[Cell, dict[str, Any]]) -> list[str]:
    rows = []
    for cell, record in chosen.items():
        light = f"{cell.light}, {cell.weather}" if cell.weather != "clear" else cell.light
        light += f", {cell.people:g} x people" if cell.people != 1 else ""
        values = [_shown(record["figures"][name], form) for name, (_, form) in COLUMNS.items()]
        rows.append([cell.scene, light, f"{cell.fps:g}", *values])
    heads = ["scene", "light", "fps", *(head for head, _ in COLUMNS.values())]
    return [
        *markdown_table(heads, rows),
        "",
        f"Seeds {cell.seeds[0]} to {cell.seeds[-1]}, {cell.length_s:g} s each.",
        "",
    ]


def _shown(value: float | None, form: str) -> str:
    return "-" if value is None else form.format(value)


def _long_table(chosen: Mapping[Cell, dict[str, Any]]) -> list[str]:
    def wrong(lines: Iterable[dict[str, Any]]) -> list[int]:
        return [sum(len(line[kind]) for line in lines) for kind in ("missed", "extra")]

    clean = exact = 0
    rows, faults = [], []
    for cell, record in chosen.items():
        (camera,) = record["cameras"].values()
        by_line, seed = camera["crossings"], cell.seeds[0]
        own, loose = wrong(by_line.values()), wrong(camera["crossings_any_class"].values())
        exact += not any(own)
        clean += not any(loose)
        for line, kind in ((line, kind) for line in by_line for kind in ("missed", "extra")):
            faults += [f"seed {seed}, {kind} at {line}: {text}" for text in by_line[line][kind]]
        true, hidden = (sum(line[key] for line in by_line.values()) for key in ("true", "hidden"))
        lost = _shown(record["figures"]["frames_lost"], "{:.1%}")
        rows.append([seed, true, *own, hidden, *loose, lost])
    heads = ["seed", "crossings", "missed", "extra", "hidden", "any class: missed", "extra", "lost frames"]
    right = f"No crossing missed or extra in {exact} of {len(chosen)} seeds; whatever the class, in {clean}."
    return [
        *markdown_table(heads, rows),
        "",
        right,
        "",
        f"What was wrong: {'; '.join(faults) or 'nothing'}.",
        "",
    ]


def main() -> int:
    """Run what is missing, then write the page."""
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--only", choices=tuple(PARTS), action="append", help="a part; repeatable (default: all)")
    add("--seeds", type=int, default=2, help="of each short cell (default: %(default)s)")
    add("--length", type=float, default=60.0, help="seconds of each short cell (default: %(default)s)")
    add("--long-seeds", type=int, default=10, help="default: %(default)s")
    add("--long-length", type=float, default=600.0, help="seconds (default: %(default)s)")
    add("--load", type=float, default=30.0, help="frames/s of all cameras at a time (default: %(default)s)")
    add("--model", type=Path, help="default: the bundled detector")
    add("--folder", type=Path, default=Path("artifacts/scoreboard"))
    add("--drop-videos", action="store_true", help="remove each video once it has been played")
    add("--write", type=Path, metavar="PAGE", help="run nothing; write the page")
    arguments = parser.parse_args()
    if arguments.write:
        arguments.write.write_text(page(arguments))
        return 0
    try:
        run(arguments, stop_on_signals())
    except Interrupted:
        say("stopped; what is finished is kept")
        return 130
    except SightlineError as error:
        say(str(error))
        return 1
    print(page(arguments))
    return 0


if __name__ == "__main__":
    sys.exit(main())
