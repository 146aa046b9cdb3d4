"""The search for batch and instance settings: what is tried, what is kept, what is written."""

import shutil
from pathlib import Path

import pytest
from google.protobuf import text_format
from tritonclient.grpc import InferenceServerClient, model_config_pb2

from load import tune
from load.analyzer import Level, Measured
from load.settings import MARGIN, changed, expand, parse_config, read, rewritten, search, table
from sightline.models.registry import repository
from sightline.serving import model_configs
from sightline.serving.server import TritonServer

ROOT = Path(__file__).resolve().parents[2]
YOLO = (ROOT / "model_repository/yolo/config.pbtxt").read_text()
CPU = (ROOT / "model_repository/detector/configs/cpu.pbtxt").read_text()
MANIFEST = {
    **{
        "network_height": 192,
        "network_width": 320,
        "precision": "fp16",
        "score_floor": 0.1,
        "head": "anchors",
    },
    **{"model_version": "toy-1", "class_names": ["person"], "output_shape": [5, 1260]},
}
A, B = "yolo.instances", "yolo.delay_us"


def result(throughput, p99_ms, problem=""):
    times = None if problem else {"p99": p99_ms}
    level = Level("concurrency", 2)
    return Measured(level, "system", throughput=throughput, percentiles_ms=times, problem=problem)


# --- the search ---------------------------------------------------------------------------------------


def hill(best):
    """A server that is fastest at ``best`` and slower the further away, and remembers what it was asked."""
    asked = []

    def measure(settings):
        asked.append(dict(settings))
        distance = sum(abs(settings[key] - value) for key, value in best.items())
        return result(100 / (1 + distance), 10.0)

    return measure, asked


def test_the_best_of_each_setting_is_kept_and_a_pass_without_change_is_the_last():
    measure, asked = hill({A: 3, B: 2})
    axes = {A: (1, 2, 3), B: (0, 1, 2)}
    best, trials = search(axes, {A: 1, B: 0}, measure, rounds=1, passes=5)
    assert best == {A: 3, B: 2}
    assert [trial.setting for trial in trials] == [A, A, A, B, B, B] * 2  # the second pass changes nothing
    assert len(asked) == 12


def test_a_little_better_is_no_reason_to_change():
    rates = {1: 100.0, 2: 100.0 * (1 + MARGIN / 2)}
    best, _ = search({A: (2,)}, {A: 1}, lambda s: result(rates[s[A]], 1.0))
    assert best == {A: 1}


def test_what_does_not_run_or_is_too_slow_is_never_kept():
    def measure(settings):
        if settings[A] == 2:
            return result(0.0, float("inf"), "not loaded: no memory")
        return result(100.0 * settings[A], 500.0 if settings[A] == 3 else 20.0)

    best, trials = search({A: (1, 2, 3, 4)}, {A: 1}, measure, bound_ms=100)
    assert best == {A: 4}
    text = "\n".join(table(trials, 100))
    assert "no memory" in text
    assert "over the bound" in text
    assert "**kept**" in text


def test_the_turns_are_taken_side_by_side_and_the_median_counts():
    answers = {1: [100.0, 100.0, 100.0], 2: [900.0, 50.0, 50.0]}  # one lucky turn
    asked = []

    def measure(settings):
        asked.append(settings[A])
        return result(answers[settings[A]].pop(0), 1.0)

    best, _ = search({A: (2,)}, {A: 1}, measure, rounds=3)
    assert asked == [1, 2] * 3
    assert best == {A: 1}


# --- settings in configurations -----------------------------------------------------------------------

VALUES = {"max_batch": 4, "instances": 3, "preferred": (2, 4), "delay_us": 750}


@pytest.mark.parametrize("values", [VALUES, {"preferred": (), "delay_us": 0}, {"instances": 1}, {}])
def test_the_text_and_the_load_request_say_the_same(values):
    text = rewritten(YOLO, values)
    request = changed(parse_config(YOLO), values)
    assert read(parse_config(text)) == read(request) == {**read(parse_config(YOLO)), **values}
    assert [w.get("batch_size") for w in parse_config(text)["model_warmup"]] == [
        w.get("batch_size") for w in request["model_warmup"]
    ]
    assert text.count("\n#") == YOLO.count("\n#"), "comments stay"
    assert parse_config(text).get("parameters") == parse_config(YOLO).get("parameters")


def test_no_warm_up_is_larger_than_the_largest_batch():
    config = text_format.Parse(rewritten(YOLO, {"max_batch": 4}), model_config_pb2.ModelConfig())
    assert [one.batch_size for one in config.model_warmup] == [1, 4]


def test_what_our_backend_reads_from_its_parameters_is_served_with_what_the_network_says():
    text = rewritten(rewritten(CPU, {"streams": 3, "waiting": 1}), {"streams": 5})
    assert read(parse_config(text))["streams"] == 5
    served = model_configs.filled(text, "detector", model_configs.Choice(1), MANIFEST)
    assert read(parse_config(served)) == {**read(parse_config(CPU)), "streams": 5, "waiting": 1}
    assert parse_config(served)["parameters"]["network_height"]["string_value"] == "192"


def test_a_text_that_is_laid_out_otherwise_is_refused():
    with pytest.raises(ValueError, match="instance_group"):
        rewritten('name: "x"\nmax_batch_size: 8\n', {"instances": 2})


def test_an_ensemble_follows_only_in_its_largest_batch():
    configs = tune.configs_of(tune.base_texts(ROOT / "model_repository", "gpu"))
    configs["yolo"] = changed(configs["yolo"], {"preferred": (4, 8)})
    values = {"*.max_batch": 4, "yolo.instances": 3}
    found = expand(values, configs)
    assert found["detector"] == {"max_batch": 4}
    assert found["yolo"] == {"max_batch": 4, "instances": 3, "preferred": (4,)}
    assert found["preprocess"] == {"max_batch": 4}


# --- the command --------------------------------------------------------------------------------------


def test_a_dry_run_says_what_would_be_tried_on_a_gpu_and_writes_nothing(tmp_path, capsys):
    folder = tmp_path / "repository"
    repository.prepare_repository(folder)
    before = sorted(folder.rglob("*"))
    command = [
        "--dry-run",
        "--config-name",
        "gpu",
        "--name",
        "nvidia-h200",
        "--model-repository",
        str(folder),
    ]
    assert tune.main(command) == 0
    said = capsys.readouterr().out
    assert "yolo.instances: 2 now; tried: 1, 2, 3, 4" in said
    assert "would write" in said
    assert "yolo/configs/nvidia-h200.pbtxt" in said
    assert sorted(folder.rglob("*")) == before


@pytest.mark.parametrize(
    ("name", "said"), [("cpu", "detector.waiting: 2 now"), ("fused", "detector.preferred: none now")]
)
def test_what_is_tried_depends_on_the_form_of_the_detector(name, said, capsys):
    assert tune.main(["--dry-run", "--config-name", name, "--name", "x"]) == 0
    assert said in capsys.readouterr().out


@pytest.mark.parametrize(
    ("tried", "text"),
    [
        ("yolo.colour=1", "what can be set"),
        ("yolo.streams=1", "one process only"),
        ("nothing.instances=1", "there is no model"),
        ("*.max_batch=16", "batches of 8 at most"),
    ],
)
def test_a_setting_that_cannot_be_tried_is_refused(tried, text, capsys):
    assert tune.main(["--dry-run", "--config-name", "gpu", "--name", "x", "--try", tried]) == 1
    assert text in capsys.readouterr().err


@pytest.mark.long
@pytest.mark.triton
def test_settings_are_found_on_the_real_server_and_what_is_written_serves(toy_repository, tmp_path):
    folder = tmp_path / "repository"
    shutil.copytree(toy_repository, folder)
    shutil.rmtree(folder / "detector" / "configs")  # as on a GPU: the ensemble
    command = ["--name", "here", "--model-repository", str(folder), "--folder", str(tmp_path / "perf")]
    command += ["--requests", "30", "--rounds", "1", "--passes", "1", "--concurrency", "2"]
    assert tune.main([*command, "--try", "*.max_batch=4"]) == 0
    text = (folder / "detector/configs/here.md").read_text()
    assert "| *.max_batch | 4 |" in text
    assert "not loaded" not in text
    with TritonServer(folder, config_name="here") as server, InferenceServerClient(server.grpc_url) as client:
        for model in ("detector", *model_configs.STEPS):
            written = read(parse_config((folder / model / "configs/here.pbtxt").read_text()))
            name = model if model == "detector" else f"{model}-1"
            served = read(client.get_model_config(name, as_json=True)["config"])
            for key in ("max_batch", "instances", "delay_us"):
                assert served[key] == written[key]
