"""The whole scoreboard: all scenes, lights, weathers and frame rates, and ten seeds of ten minutes.

    python tools/bench/scoreboard.py                              # everything; hours on a small machine
    python tools/bench/scoreboard.py --only rates --load 60       # a part of it, 60 frames a second at a time
    python tools/bench/scoreboard.py --write docs/scoreboard.md   # the page, from what is finished

Each cell is a self-test (``sightline selftest``) whose result is kept in ``--folder``; what is there is not
run again, so it may be stopped at any time. Videos and truth are kept too, unless ``--drop-videos`` is given.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sightline.base.machine import processor
from sightline.base.signals import stop_on_signals
from sightline.errors import SightlineError
from sightline.serving.server import TritonServer
from sightline.simulation import demo
from sightline.simulation.scenes.spec import (
    LIGHTS,
    SCENES,
    WEATHERS,
    LightName,
    SceneName,
    SceneSpec,
    WeatherName,
)
from sightline.simulation.selftest.figures import judge
from sightline.simulation.selftest.runner import run_and_collect
from sightline.simulation.selftest.simulated_cameras import BEST_CAMERA, Interrupted, SimulatedCamera, prepare

SETS = ("rates", "weather", "crowds", "long")
CROWDS = (2.0, 4.0)  # so many times as many people as usual
RATES = (5.0, 10.0, 15.0, 30.0)
LONG_FIRST = 21  # of the ten long seeds: nothing was chosen or mended on these
#: Scene, light, weather, frames a second and people of each cell of a part.
CONDITIONS: dict[str, list[tuple[SceneName, LightName, WeatherName, float, float]]] = {
    "rates": [(scene, "day", "clear", fps, 1.0) for scene in SCENES for fps in RATES],
    "weather": [
        (scene, light, weather, 10.0, 1.0)
        for scene in SCENES
        for light in LIGHTS
        for weather in (WEATHERS if scene == "street" else WEATHERS[:1])
    ],
    "crowds": [
        (scene, "day", "clear", 10.0, people) for scene in SCENES if scene != "factory" for people in CROWDS
    ],
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


@dataclass(frozen=True, slots=True)
class Cell:
    """One self-test: the same scene for several seeds."""

    part_of: str
    scene: SceneName
    light: LightName
    weather: WeatherName
    fps: float
    seeds: tuple[int, ...]
    length_s: float
    people: float = 1.0

    @property
    def name(self) -> str:
        """Of its file."""
        seeds = f"{self.seeds[0]}-{self.seeds[-1]}"
        kind = f"{self.part_of}-{self.scene}-{self.light}-{self.weather}"
        kind += f"-people{self.people:g}" if self.people != 1 else ""
        return f"{kind}-{self.fps:g}fps-{seeds}-{self.length_s:g}s"

    @property
    def load(self) -> float:
        """Frames a second of all its cameras."""
        return self.fps * len(self.seeds)

    def parts(self) -> list[SimulatedCamera]:
        """Its cameras."""
        camera = BEST_CAMERA[self.scene]
        specs = [
            SceneSpec(self.scene, seed, self.light, self.weather, camera, people=self.people)
            for seed in self.seeds
        ]
        return [SimulatedCamera(spec, self.fps, self.length_s) for spec in specs]


def cells(arguments: argparse.Namespace) -> Iterator[Cell]:
    """Everything that the options ask for."""
    few, length_s = tuple(range(1, 1 + arguments.seeds)), arguments.length
    for part_of in arguments.only or SETS:
        if part_of == "long":
            for seed in range(LONG_FIRST, LONG_FIRST + arguments.long_seeds):
                yield Cell("long", "street", "day", "clear", 10.0, (seed,), arguments.long_length)
        for scene, light, weather, fps, people in CONDITIONS.get(part_of, ()):
            yield Cell(part_of, scene, light, weather, fps, few, length_s, people)


def groups(wanted: Sequence[Cell], load: float) -> Iterator[list[Cell]]:
    """Cells that may run at the same time: of one frame rate and length, so many frames a second in all.

    No two of them have a camera in common (a clear day at 10 frames a second is in two tables).
    """
    waiting = list(wanted)
    while waiting:
        group = [waiting.pop(0)]
        for cell in list(waiting):
            same = (cell.fps, cell.length_s) == (group[0].fps, group[0].length_s)
            taken = {part.name for chosen in group for part in chosen.parts()}
            if (
                same
                and taken.isdisjoint(part.name for part in cell.parts())
                and sum(c.load for c in [*group, cell]) <= load
            ):
                group.append(cell)
                waiting.remove(cell)
        yield group


def run(arguments: argparse.Namespace, stop: threading.Event) -> None:
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
            parts = [part for cell in group for part in cell.parts()]
            prepare(parts, videos, say, stop=stop)
            for cell, record in run_group(group, folder, triton.grpc_url, stop):
                keep(cell, record, results)
            if arguments.drop_videos:
                for part in parts:
                    part.video(videos).unlink(missing_ok=True)


def run_group(
    group: Sequence[Cell], folder: Path, triton_url: str, stop: threading.Event
) -> Iterator[tuple[Cell, dict[str, Any]]]:
    """Play all cameras of a group together; the scoreboard of each cell."""
    found = run_and_collect([part for cell in group for part in cell.parts()], folder, triton_url, None, stop)
    for cell in group:
        names = {part.name for part in cell.parts()}
        yield cell, judge([camera for camera in found if camera[0] in names]).record()


def keep(cell: Cell, record: dict[str, Any], results: Path) -> None:
    """Write a finished cell."""
    about = {"cell": cell.name, "date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC", "machine": machine()}
    path = results / f"{cell.name}.json"
    path.with_suffix(".part").write_text(json.dumps(about | record, indent=1) + "\n")
    path.with_suffix(".part").replace(path)
    figures = {
        name: record["figures"][name] for name in ("crossing_recall", "crossing_wrong", "idf1", "map50")
    }
    say(f"{cell.name}: {figures}")


def machine() -> str:
    """What it ran on."""
    return f"{os.cpu_count()} x {processor()}"


# -- the page ----------------------------------------------------------------------------------------


def page(arguments: argparse.Namespace) -> str:
    """What is finished, as a page of the documents."""
    found = {}
    for cell in cells(arguments):
        path = arguments.folder / "results" / f"{cell.name}.json"
        if path.is_file():
            found[cell] = json.loads(path.read_text())
    dates = sorted({record["date"] for record in found.values()})
    machines = sorted({record["machine"] for record in found.values()})
    told = (
        "`python tools/bench/scoreboard.py` made this page; what figures mean: [the self-test](selftest.md)."
    )
    lines = ["# Scoreboard", "", told, ""]
    if not found:
        return "\n".join([*lines, "Nothing is finished yet.", ""])
    lines += [f"{dates[0]} to {dates[-1]}, on {' and '.join(machines)}.", ""]
    places = ", ".join(f"the {scene} from place {place}" for scene, place in BEST_CAMERA.items())
    lines += [f"Seen are {places} ([scenes](scenes.md)).", ""]
    titles = {
        "rates": "Frame rates, by day",
        "weather": "Light and weather, 10 frames a second",
        "crowds": "Crowds, by day, 10 frames a second",
    }
    for part_of, title in titles.items():
        chosen = {cell: record for cell, record in found.items() if cell.part_of == part_of}
        if chosen:
            lines += [f"## {title}", "", *_table(chosen), ""]
    long = {cell: record for cell, record in found.items() if cell.part_of == "long"}
    return "\n".join([*lines, *(_long_table(long) if long else [])])


def _table(chosen: dict[Cell, dict[str, Any]]) -> list[str]:
    heads = ["scene", "light", "fps", *(head for head, _ in COLUMNS.values())]
    lines = [f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}"]
    for cell, record in chosen.items():
        light = f"{cell.light}, {cell.weather}" if cell.weather != "clear" else cell.light
        light += f", {cell.people:g} x people" if cell.people != 1 else ""
        values = [_shown(record["figures"][name], form) for name, (_, form) in COLUMNS.items()]
        lines.append(f"| {' | '.join([cell.scene, light, f'{cell.fps:g}', *values])} |")
    cell = next(iter(chosen))
    return [*lines, "", f"Seeds {cell.seeds[0]} to {cell.seeds[-1]}, {cell.length_s:g} s each."]


def _shown(value: float | None, form: str) -> str:
    return "-" if value is None else form.format(value)


def _long_table(chosen: dict[Cell, dict[str, Any]]) -> list[str]:
    lines = ["## Ten minutes of the street, by day, 10 frames a second", "",
             "| seed | crossings | missed | extra | hidden | any class: missed | extra | lost frames |",
             "|---|---|---|---|---|---|---|---|"]  # fmt: skip
    clean = exact = 0
    wrong = []
    for cell, record in chosen.items():
        (camera,) = record["cameras"].values()
        own, loose = list(camera["crossings"].values()), list(camera["crossings_any_class"].values())
        missed, extra = _wrong(own)
        loose_missed, loose_extra = _wrong(loose)
        clean += loose_missed + loose_extra == 0
        exact += missed + extra == 0
        wrong += [f"seed {cell.seeds[0]}, {text}" for text in _named(camera["crossings"])]
        numbers = [sum(c["true"] for c in own), missed, extra, sum(c["hidden"] for c in own), loose_missed,
                   loose_extra]  # fmt: skip
        lost = _shown(record["figures"]["frames_lost"], "{:.1%}")
        lines.append(f"| {cell.seeds[0]} | {' | '.join(map(str, numbers))} | {lost} |")
    return [
        *lines,
        "",
        f"No crossing missed or extra in {exact} of {len(chosen)} seeds; whatever the class, in {clean}.",
        "",
        f"What was wrong: {'; '.join(wrong) or 'nothing'}.",
        "",
    ]


def _named(lines: dict[str, Any]) -> list[str]:
    return [
        f"{kind} at {line}: {text}"
        for line, found in lines.items()
        for kind in ("missed", "extra")
        for text in found[kind]
    ]


def _wrong(lines: Sequence[dict[str, Any]]) -> tuple[int, int]:
    return sum(len(line["missed"]) for line in lines), sum(len(line["extra"]) for line in lines)


def say(text: str) -> None:
    """One line of progress."""
    print(f"scoreboard: {text}", file=sys.stderr, flush=True)


def main() -> int:
    """Run what is missing, then write the page."""
    arguments = parse()
    if not arguments.write:
        try:
            run(arguments, stop_on_signals())
        except Interrupted:
            say("stopped; what is finished is kept")
            return 130
        except SightlineError as error:
            say(str(error))
            return 1
    text = page(arguments)
    if arguments.write:
        arguments.write.write_text(text)
    else:
        print(text)
    return 0


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", choices=SETS, action="append", help="a part; repeatable (default: all)")
    parser.add_argument("--seeds", type=int, default=2, help="of each short cell (default: %(default)s)")
    parser.add_argument(
        "--length", type=float, default=60.0, help="seconds of each short cell (default: %(default)s)"
    )
    parser.add_argument("--long-seeds", type=int, default=10, help="default: %(default)s")
    parser.add_argument("--long-length", type=float, default=600.0, help="seconds (default: %(default)s)")
    parser.add_argument(
        "--load",
        type=float,
        default=30.0,
        help="frames a second of all cameras at a time (default: %(default)s)",
    )
    parser.add_argument("--model", type=Path, help="default: the bundled detector")
    parser.add_argument("--folder", type=Path, default=Path("artifacts/scoreboard"))
    parser.add_argument(
        "--drop-videos", action="store_true", help="remove each video once it has been played"
    )
    parser.add_argument("--write", type=Path, metavar="PAGE", help="run nothing; write the page")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
