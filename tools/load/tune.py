"""Find good batch and instance settings for this machine and write them as configs/<name>.pbtxt.

    python tools/load/tune.py --input VIDEO.mp4 --name cpu-2-cores     # embedded server, no GPU
    python tools/load/tune.py --input VIDEO.mp4 --url 127.0.0.1:8001 --shared-memory cuda --concurrency 64
    python tools/load/tune.py --config-name gpu --dry-run              # what would be tried on a GPU

One setting after the other: its values are measured in turns by perf_analyzer with real pictures and many
requests in flight; the best is kept when it is better by 3 %. Trials go to the server in load requests, so it
must have explicit model control, and no cameras: its detector is away for a moment at each trial. At the end
it serves its own settings again. What was found is checked as ModelConfig and written for every model of the
detector; the table lies beside it in detector/configs/<name>.md. See docs/load.md.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sightline.base import machine
from sightline.errors import ServerError
from sightline.serving.model_configs import STEPS, replace

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # where the other tools are
from load import load_report
from load.analyzer import TRANSPORTS, Analyzer, check_transport
from load.measured import Level
from load.pictures import network_size, pictures, write_input
from load.search import Axis, LoadStep, Settings, count, search, table
from load.servers import served
from load.settings import KEYS, PARAMETERS, Setting, parse_config, parse_value, rewritten, show
from load.trials import Trials, current, expand

ROOT = Path(__file__).resolve().parents[2]
DETECTOR = "detector"
OVERHEAD_S = 6  # of a measurement: loading the model, the pilot run
#: Values worth trying where the three steps are models of their own, one engine, or one process on the CPU.
ENSEMBLE = {
    "yolo.instances": "1,2,3,4",
    "yolo.preferred": "none,4,8,4+8",
    "yolo.delay_us": "0,500,1000,2000",
    "preprocess.instances": "1,2",
    "preprocess.delay_us": "0,500,1000",
    "postprocess.instances": "1,2",
    "postprocess.delay_us": "0,500,1000",
    "*.max_batch": "1,4,8",
}
ONE_PLAN = {
    "detector.instances": "1,2,3,4",
    "detector.preferred": "none,4,8,4+8",
    "detector.delay_us": "0,500,1000,2000",
    "detector.max_batch": "1,4,8",
}
ONE_PROCESS = {
    "detector.waiting": "0,1,2,4",
    "detector.instances": "1,2",
    "detector.delay_us": "0,1000",
    "detector.max_batch": "1,8",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; 0 when the settings were written, or the plan was told."""
    options = parse(arguments)
    try:
        texts = base_texts(options.model_repository, options.config_name)
        axes = axes_of(options, texts)
        if options.dry_run:
            print(plan(options, axes, texts))
            return 0
        check_transport(options.shared_memory)
        best, steps = tune(options, axes)
        about = about_run(sys.argv[1:] if arguments is None else arguments, options)
        written = write(options, texts, best, [*about, "", *table(steps, options.p99_ms)])
    except (ServerError, ValueError, OSError) as error:
        print(f"tune: {error}", file=sys.stderr)
        return 1
    print("\n".join(table(steps, options.p99_ms)))
    print(f"tune: kept {told(best)}; written: {', '.join(map(str, written))}")
    return 0


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--input", type=Path, help="picture or video to take frames from (default: noise)")
    parser.add_argument(
        "--name", help="configs/NAME.pbtxt to write (default: the GPU's name, else the cores)"
    )
    parser.add_argument(
        "--config-name", help="configs/NAME.pbtxt to begin with (default: cpu; with --url: gpu)"
    )
    parser.add_argument("--model-repository", type=Path, default=ROOT / "model_repository")
    parser.add_argument("--url", help="host:port of gRPC of a server with explicit model control")
    parser.add_argument("--http-url", default="http://127.0.0.1:8000", help="its HTTP (default: %(default)s)")
    parser.add_argument(
        "--try", dest="tried", action="append", metavar="MODEL.KEY=V,V", help="instead of the usual"
    )
    parser.add_argument("--shared-memory", choices=TRANSPORTS, default="system")
    parser.add_argument(
        "--concurrency", type=int, default=16, help="requests in flight (default: %(default)s)"
    )
    parser.add_argument("--seconds", type=float, default=8.0, help="of a measurement, warm-up included")
    parser.add_argument("--requests", type=int, help="so many requests instead of --seconds")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each value; the median counts")
    parser.add_argument("--passes", type=int, default=2, help="times through all settings, at most")
    parser.add_argument("--p99-ms", type=float, help="what the 99th percentile may be")
    parser.add_argument(
        "--dry-run", action="store_true", help="say what would be tried, and how long it takes"
    )
    parser.add_argument(
        "--folder", type=Path, default=ROOT / "artifacts" / "tune", help="perf_analyzer's own reports"
    )
    options = parser.parse_args(arguments)
    options.config_name = options.config_name or ("gpu" if options.url else "cpu")
    options.name = options.name or machine_name()
    if not re.fullmatch(r"[a-z0-9][a-z0-9._-]{0,62}", options.name) or options.name == options.config_name:
        parser.error(f"--name {options.name}: small letters, digits, . _ -, and not the one to begin with")
    return options


def machine_name() -> str:
    """``nvidia-h200``, or ``cpu-2-cores`` where there is no GPU."""
    name = machine.gpu()
    if name is None:
        return f"cpu-{os.cpu_count()}-cores"
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def base_texts(folder: Path, config_name: str) -> dict[str, str]:
    """The texts of the configurations that Triton takes under this name, steps first.

    One process that does everything has no use for the steps, but a server that is started with the new name
    looks for all of them under it.

    Raises:
        ValueError: the repository has no detector.
    """
    found = {}
    for model in (*STEPS, DETECTOR):
        paths = (folder / model / "configs" / f"{config_name}.pbtxt", folder / model / "config.pbtxt")
        path = next((path for path in paths if path.is_file()), None)
        if path is None:
            raise ValueError(f"{folder} is no model repository: it has no {model}/config.pbtxt")
        found[model] = path.read_text()
    return found


def axes_of(options: argparse.Namespace, texts: Mapping[str, str]) -> list[Axis]:
    """What to try: the options', else what is usual for this form of ``detector``.

    Raises:
        ValueError: a setting is unknown, or a batch is larger than the engines were built for.
    """
    configs = configs_of(texts)
    given = dict(part.partition("=")[::2] for part in options.tried or ())
    wanted = given or usual_values(texts[DETECTOR])
    axes = []
    for name, values in wanted.items():
        model, _, key = name.rpartition(".")
        if key not in KEYS or (key in PARAMETERS and 'backend: "python"' not in texts.get(model, "")):
            raise ValueError(f"{name}: what can be set is {', '.join(KEYS)} (the last two: one process only)")
        axes.append(Axis(Setting(model, key), tuple(parse_value(key, value) for value in values.split(","))))
    most = min(int(config["max_batch_size"]) for config in configs.values())
    batches = [value for axis in axes if axis.setting.key == "max_batch" for value in axis.values]
    if any(isinstance(value, int) and value > most for value in batches):
        raise ValueError(f"the engines take batches of {most} at most")
    current([axis.setting for axis in axes], configs)  # names a model that is not there
    return axes


def usual_values(detector: str) -> dict[str, str]:
    """What is worth trying with this form of ``detector``."""
    if "ensemble_scheduling" in detector:
        return ENSEMBLE
    return {**ONE_PROCESS, "detector.streams": _streams()} if "KIND_CPU" in detector else ONE_PLAN


def configs_of(texts: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """The models that take part in a request: the steps of the ensemble and itself, or the one process."""
    detector = parse_config(texts[DETECTOR])
    steps = STEPS if "ensemble_scheduling" in detector else ()
    return {step: parse_config(texts[step]) for step in steps} | {DETECTOR: detector}


def _streams() -> str:
    cores = os.cpu_count() or 1
    return ",".join(map(str, sorted({0, max(1, cores // 2), cores, cores + 1})))


def plan(options: argparse.Namespace, axes: Sequence[Axis], texts: Mapping[str, str]) -> str:
    """What would be done, in words."""
    start = current([axis.setting for axis in axes], configs_of(texts))
    runs = count(axes, start, options.rounds)
    lines = [f"server: {options.url or f'embedded, on {options.model_repository}'}, {options.config_name!r}"]
    lines += [
        f"{axis.setting}: {show(start[axis.setting])} now; tried: {', '.join(map(show, axis.values))}"
        for axis in axes
    ]
    each = f"{options.requests} requests" if options.requests else f"{options.seconds:g} s"
    minutes = runs * (options.seconds + OVERHEAD_S) / 60
    lines += [
        f"{runs} measurements of {each} a pass ({options.passes} passes at most): {minutes:.0f} minutes",
        f"{options.concurrency} requests in flight, shared memory: {options.shared_memory}",
    ]
    lines += [f"would write {path}" for path in places(options, texts)]
    return "\n".join(lines)


def tune(options: argparse.Namespace, axes: Sequence[Axis]) -> tuple[Settings, list[LoadStep]]:
    """Search on the server.

    Raises:
        ServerError: the server or perf_analyzer failed.
    """
    where = {"config_name": options.config_name}
    with (
        served(options.url, options.http_url, options.model_repository, DETECTOR, **where) as server,
        tempfile.TemporaryDirectory(prefix="sightline-tune-") as folder,
    ):
        url, http = server.grpc_url, server.http_url
        size = network_size(http, DETECTOR)
        analyzer = Analyzer(
            url=url,
            data=write_input(pictures(options.input, *size), Path(folder) / "input.json"),
            folder=options.folder,
            seconds=options.seconds,
            requests=options.requests,
        )
        level = Level("concurrency", options.concurrency)
        with Trials(url, http, analyzer, level, options.shared_memory) as trials:
            start = current([axis.setting for axis in axes], trials.configs)

            def measure(settings: Settings) -> Any:
                result = trials.measure(settings)
                outcome = result.problem or f"{result.throughput:.1f} frames/s, p99 {result.p99_ms:.0f} ms"
                print(f"tune: {told(settings)}: {outcome}", file=sys.stderr, flush=True)
                return result

            return search(
                axes, start, measure, rounds=options.rounds, passes=options.passes, bound_ms=options.p99_ms
            )


def places(options: argparse.Namespace, texts: Mapping[str, str]) -> list[Path]:
    """Where the settings go, the table last."""
    paths = [options.model_repository / model / "configs" / f"{options.name}.pbtxt" for model in texts]
    return [*paths, options.model_repository / DETECTOR / "configs" / f"{options.name}.md"]


def write(
    options: argparse.Namespace, texts: Mapping[str, str], best: Settings, lines: Sequence[str]
) -> list[Path]:
    """Write the configurations, all of them checked before the first is written, and the table.

    Raises:
        ValueError: a configuration could not be rewritten; nothing was written.
    """
    values = expand(best, configs_of(texts))
    table_name = f"detector/configs/{options.name}.md"
    head = (
        f"# Batch and instance settings by tools/load/tune.py, {load_report.now()}; measured: {table_name}\n"
    )
    new = [head + rewritten(text, values.get(model, {})) for model, text in texts.items()]
    found = places(options, texts)
    for path, text in zip(found, [*new, "\n".join([*lines, ""])], strict=True):
        path.parent.mkdir(exist_ok=True)
        replace(path, text)
    return found


def about_run(arguments: Sequence[str], options: argparse.Namespace) -> list[str]:
    """What the table says of itself."""
    return [
        f"# How {options.name}.pbtxt was found",
        "",
        f"- command: {shlex.join(['python', 'tools/load/tune.py', *arguments])}",
        f"- date: {load_report.now()}",
        f"- machine: {options.name}: {load_report.machine()}",
        f"- {options.concurrency} requests in flight, {options.shared_memory} shared memory; medians",
    ]


def told(settings: Settings) -> str:
    """Settings in a line."""
    return ", ".join(f"{setting}={show(value)}" for setting, value in sorted(settings.items()))


if __name__ == "__main__":
    sys.exit(main())
