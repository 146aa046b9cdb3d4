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

import argparse
import math
import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sightline.base import machine
from sightline.errors import ServerError
from sightline.serving.model_configs import STEPS, replace

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # where the other tools are
from load import settings
from load.analyzer import TRANSPORTS, Level, Measured, check_transports, prepare
from load.reports import about_run
from load.servers import DETECTOR, ROOT, make_parser, served
from load.settings import KEYS, PARAMETERS, Axes, Trial, Value, Values, show

OVERHEAD_S = 6  # of a measurement: loading the model, the pilot run
#: Values worth trying where the three steps are models of their own, one engine, or one process on the CPU.
ENGINE = {"instances": "1,2,3,4", "preferred": "none,4,8,4+8", "delay_us": "0,500,1000,2000"}
STEP, LARGEST = {"instances": "1,2", "delay_us": "0,500,1000"}, {"max_batch": "1,4,8"}
ENSEMBLE = {"yolo": ENGINE, "preprocess": STEP, "postprocess": STEP, "*": LARGEST}
ONE_PROCESS = {"waiting": "0,1,2,4", "instances": "1,2", "delay_us": "0,1000", "max_batch": "1,8"}


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; 0 when the settings were written, or the plan was told."""
    options = parse(arguments)
    try:
        texts = base_texts(options.model_repository, options.config_name)
        configs = configs_of(texts)
        axes = axes_of(options.tried or (), texts, configs)
        if options.dry_run:
            print(plan(options, axes, configs))
            return 0
        check_transports(options.shared_memory)
        best, trials = tune(options, axes)
        run = about_run("load/tune.py", arguments)
        about = [
            f"# How {options.name}.pbtxt was found",
            "",
            f"- command: {run['command']}",
            f"- date: {run['date']}",
            f"- machine: {options.name}: {run['machine']}",
            f"- {options.concurrency} requests in flight, {options.shared_memory} shared memory; medians",
            "",
        ]
        lines = settings.table(trials, options.p99_ms)
        # All configurations are checked before the first is written.
        found = f"measured: detector/configs/{options.name}.md"
        head = f"# Batch and instance settings by tools/load/tune.py, {run['date']}; {found}\n"
        values = settings.expand(best, configs)
        new = [head + settings.rewritten(text, values.get(model, {})) for model, text in texts.items()]
        for path, text in zip(options.places, [*new, "\n".join([*about, *lines, ""])], strict=True):
            path.parent.mkdir(exist_ok=True)
            replace(path, text)
    except (ServerError, ValueError, OSError) as error:
        print(f"tune: {error}", file=sys.stderr)
        return 1
    print("\n".join(lines))
    print(f"tune: kept {told(best)}; written: {', '.join(map(str, options.places))}")
    return 0


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line; ``places`` is where the settings go, the table last."""
    parser = make_parser(__doc__, "tune")
    add = parser.add_argument
    add("--input", type=Path, help="picture or video to take frames from (default: noise)")
    add("--name", help="configs/NAME.pbtxt to write (default: the GPU's name, else the cores)")
    add("--config-name", help="configs/NAME.pbtxt to begin with (default: cpu; with --url: gpu)")
    add("--model-repository", type=Path, default=ROOT / "model_repository")
    add("--try", dest="tried", action="append", metavar="MODEL.KEY=V,V", help="instead of the usual")
    add("--shared-memory", choices=TRANSPORTS, default="system")
    add("--concurrency", type=int, default=16, help="requests in flight (default: %(default)s)")
    add("--seconds", type=float, default=8.0, help="of a measurement, warm-up included")
    add("--requests", type=int, help="so many requests instead of --seconds")
    add("--rounds", type=int, default=3, help="turns of each value; the median counts")
    add("--passes", type=int, default=2, help="times through all settings, at most")
    add("--p99-ms", type=float, default=math.inf, help="what the 99th percentile may be")
    add("--dry-run", action="store_true", help="say what would be tried, and how long it takes")
    options = parser.parse_args(arguments)
    options.config_name = options.config_name or ("gpu" if options.url else "cpu")
    gpu = machine.gpu() if options.name is None else None
    usual = re.sub(r"[^a-z0-9]+", "-", gpu.lower()).strip("-") if gpu else f"cpu-{os.cpu_count()}-cores"
    options.name = name = options.name or usual
    if not re.fullmatch(r"[a-z0-9][a-z0-9._-]{0,62}", name) or name == options.config_name:
        parser.error(f"--name {name}: small letters, digits, . _ -, and not the one to begin with")
    places = [
        *(f"{model}/configs/{name}.pbtxt" for model in (*STEPS, DETECTOR)),
        f"{DETECTOR}/configs/{name}.md",
    ]
    options.places = [options.model_repository / place for place in places]
    return options


def base_texts(folder: Path, config_name: str) -> dict[str, str]:
    """The texts of the configurations that Triton takes under this name, steps first.

    One process that does everything has no use for the steps, but a server that is started with the new name
    looks for all of them under it. A ValueError when the repository has no detector.
    """
    texts = {}
    for model in (*STEPS, DETECTOR):
        paths = (folder / model / "configs" / f"{config_name}.pbtxt", folder / model / "config.pbtxt")
        path = next((path for path in paths if path.is_file()), None)
        if path is None:
            raise ValueError(f"{folder} is no model repository: it has no {model}/config.pbtxt")
        texts[model] = path.read_text()
    return texts


def configs_of(texts: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """The models that take part in a request: the steps of the ensemble and itself, or the one process."""
    steps = STEPS if "ensemble_scheduling" in texts[DETECTOR] else ()
    return {model: settings.parse_config(texts[model]) for model in (*steps, DETECTOR)}


def axes_of(tried: Sequence[str], texts: Mapping[str, str], configs: Mapping[str, Mapping[str, Any]]) -> Axes:
    """What to try: the options', else what is usual for this form of ``detector``.

    A ValueError when a setting is unknown, or a batch is larger than the engines were built for.
    """
    wanted = dict(part.partition("=")[::2] for part in tried)
    if not wanted:
        cores = os.cpu_count() or 1
        streams = {"streams": ",".join(map(str, sorted({0, max(1, cores // 2), cores, cores + 1})))}
        alone = ONE_PROCESS | streams if "KIND_CPU" in texts[DETECTOR] else ENGINE | LARGEST
        usual = ENSEMBLE if len(configs) > 1 else {DETECTOR: alone}
        wanted = {f"{model}.{key}": text for model, keys in usual.items() for key, text in keys.items()}
    largest = min(int(config["max_batch_size"]) for config in configs.values())
    axes = {}
    for setting, text in wanted.items():
        model, _, key = setting.rpartition(".")
        if key not in KEYS or (key in PARAMETERS and 'backend: "python"' not in texts.get(model, "")):
            known = f"{', '.join(KEYS)} (the last two: one process only)"
            raise ValueError(f"{setting}: what can be set is {known}")
        axes[setting] = values = tuple(settings.parse_value(key, value) for value in text.split(","))
        if key == "max_batch" and any(isinstance(value, int) and value > largest for value in values):
            raise ValueError(f"the engines take batches of {largest} at most")
    settings.current(axes, configs)  # names a model that is not there
    return axes


def plan(options: argparse.Namespace, axes: Axes, configs: Mapping[str, Mapping[str, Any]]) -> str:
    """What would be done, in words."""
    start = settings.current(axes, configs)
    runs = sum(options.rounds * len({start[setting], *values}) for setting, values in axes.items())
    each = f"{options.requests} requests" if options.requests else f"{options.seconds:g} s"
    minutes = runs * (options.seconds + OVERHEAD_S) / 60
    tried = {name: ", ".join(map(show, values)) for name, values in axes.items()}
    lines = [
        f"server: {options.url or f'embedded, on {options.model_repository}'}, {options.config_name!r}",
        *(f"{name}: {show(start[name])} now; tried: {values}" for name, values in tried.items()),
        f"{runs} measurements of {each} a pass ({options.passes} passes at most): {minutes:.0f} minutes",
        f"{options.concurrency} requests in flight, shared memory: {options.shared_memory}",
        *(f"would write {path}" for path in options.places),
    ]
    return "\n".join(lines)


def tune(options: argparse.Namespace, axes: Axes) -> tuple[dict[str, Value], list[Trial]]:
    """Search on the server; a ServerError when that or perf_analyzer failed."""
    with served(options, options.model_repository) as server:
        analyzer, _ = prepare(options, server, options.input)
        level = Level("concurrency", options.concurrency)
        with settings.trying(server, analyzer, level, options.shared_memory) as (configs, measure):

            def measured(values: Values) -> Measured:
                result = measure(values)
                outcome = result.problem or f"{result.throughput:.1f} frames/s, p99 {result.p99_ms:.0f} ms"
                print(f"tune: {told(values)}: {outcome}", file=sys.stderr, flush=True)
                return result

            how = {"rounds": options.rounds, "passes": options.passes, "bound_ms": options.p99_ms}
            return settings.search(axes, settings.current(axes, configs), measured, **how)


def told(values: Values) -> str:
    """Settings in a line."""
    return ", ".join(f"{setting}={show(value)}" for setting, value in sorted(values.items()))


if __name__ == "__main__":
    sys.exit(main())
